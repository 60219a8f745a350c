"""Processes that share the rate limit of one tenant through PostgreSQL, against a server that counts its requests."""

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from connector_async.sandbox import LimitWindow, Sandbox, SandboxLimit, StatusFault
from tests.support.postgres import FLAVORS, PostgresServer

PROCESSES = 4
LIMIT = SandboxLimit(requests=100, per=10, window=LimitWindow.SLIDING)
"""600 a minute, in a window that slides through the whole measurement."""
MEASURED = 20.0
"""Seconds."""
MEASUREMENTS = 3
"""A machine that is busy delays requests by more than an interval, so that the server counts two at once."""


class Arrivals(list[tuple[float, int]]):
    """The time and the status of each request."""

    def __init__(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        record = sandbox.log.record

        def record_with_time(entry: Any) -> None:
            self.append((time.monotonic(), entry.status))
            record(entry)

        monkeypatch.setattr(sandbox.log, "record", record_with_time)

    def between(self, start: float, end: float) -> list[float]:
        return [moment for moment, _ in self if start <= moment < end]


class Child:
    """A process that reads from the server, and the times at which it did."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.times: list[float] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, *arguments: str) -> AsyncIterator["Child"]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.limited_child",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        child = cls(process)
        try:
            yield child
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await child._reading
            await process.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.times.append(float(line))

    def count(self, start: float, end: float) -> int:
        return sum(start <= moment < end for moment in self.times)


def jain(counts: list[int]) -> float:
    """Return Jain's index of fairness: 1 when all are equal, 1 / n when one has everything."""
    return sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts))


@pytest.mark.slow
@pytest.mark.row("M5")
async def test_processes_share_the_limit_of_a_tenant_evenly_and_pause_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with PostgresServer.started(FLAVORS["pgserver"]) as postgres:
        async with Sandbox(limit=LIMIT) as sandbox, contextlib.AsyncExitStack() as stack:
            arrivals = Arrivals(sandbox, monkeypatch)
            arguments = (sandbox.base_url, postgres.url("postgres"), str(LIMIT.requests), str(LIMIT.per))
            children = [await stack.enter_async_context(Child.started(*arguments)) for _ in range(PROCESSES)]
            while not all(child.times for child in children):
                await asyncio.sleep(0.02)

            measured = []
            for _ in range(MEASUREMENTS):
                start = time.monotonic()
                await asyncio.sleep(MEASURED)
                end = start + MEASURED
                refused = sum(status == 429 and moment >= start for moment, status in arrivals)
                used = len(arrivals.between(start, end)) / (LIMIT.requests * MEASURED / LIMIT.per)
                measured.append((refused, used, jain([child.count(start, end) for child in children])))
                if refused == 0 and used >= 0.98 and measured[-1][2] >= 0.99:
                    break
            else:
                pytest.fail(f"429s, share of the limit and fairness are {measured}")
            print(f"429s, share of the limit and fairness: {measured}")

            sandbox.faults.script(StatusFault(429, retry_after=3), operation="get")
            while not sandbox.log.count(fault="status-429"):
                await asyncio.sleep(0.02)
            refused_at = next(moment for moment, status in reversed(arrivals) if status == 429)
            async with asyncio.timeout(30):
                while not all(child.count(refused_at + 3, math.inf) for child in children):
                    await asyncio.sleep(0.02)
            assert len(arrivals.between(refused_at + 0.001, refused_at + 3)) <= 1  # in flight
