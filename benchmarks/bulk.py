"""Many calls at a time: `get_many` and `create_many` beside `asyncio.gather` over raw aiohttp with a semaphore.

CPU in interleaved rounds, calls per second of the whole, what share of an allowed rate is reached without a refusal,
and how much the process grows by.
"""

import argparse
import asyncio
import functools
import itertools
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import orjson
from yarl import URL

from benchmarks import rounds, server
from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectorSession,
    NewAppointment,
    RateLimit,
    Status,
    bulk,
)
from connector_async.sandbox import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    LimitWindow,
    Sandbox,
    SandboxLimit,
    synthetic_seeds,
)

_CONCURRENCY = 32
_TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
_BODY = {"title": "Visit", "startTime": "2024-01-15T10:00:00Z", "endTime": "2024-01-15T10:00:00Z"}

_ids = itertools.count()


def _some_ids(count: int) -> Iterator[str]:
    return (f"7c01f588-{next(_ids)}" for _ in range(count))


def _drafts(count: int) -> Iterator[NewAppointment]:
    return (NewAppointment(title="Visit", start_time=_TEN, end_time=_TEN) for _ in range(count))


async def _gather(call: Callable[[str], Awaitable[object]], inputs: Iterable[str]) -> None:
    free = asyncio.Semaphore(_CONCURRENCY)

    async def bounded(value: str) -> object:
        async with free:
            return await call(value)

    await asyncio.gather(*(bounded(value) for value in inputs))


async def _take_all(outcomes: AsyncIterator[object]) -> None:
    async for outcome in outcomes:
        assert getattr(outcome, "status", None) is Status.DONE, outcome


async def measure(base_url: str, *, rounds_: int, calls: int) -> Mapping[str, rounds.Figures]:
    """Return the figures of every contestant, and print their rates."""
    url = URL(f"{base_url}/acme/appointment")
    headers = {"Authorization": "Bearer " + "x" * 300, "tenantId": "acme", "Accept": "application/json"}
    body = orjson.dumps(_BODY)
    limit = RateLimit(limit=10**9, per=60, burst=10**6)
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), headers=headers) as raw,
        ConnectorSession(
            base_url, tenant_id="acme", auth=ClientCredentials("id", "secret"), rate_limit=limit
        ) as session,
    ):
        appointments = AppointmentService(session, deadline=60)

        async def get(appointment_id: str) -> object:
            async with raw.get(url.with_query({"appointmentId": appointment_id})) as response:
                return orjson.loads(await response.read())

        async def create(_: str) -> object:
            async with raw.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
                return orjson.loads(await response.read())

        contestants: dict[str, Callable[[], Awaitable[object]]] = {
            "get: gather, raw aiohttp": lambda: _gather(get, _some_ids(calls)),
            "get_many": lambda: _take_all(aiter(appointments.get_many(_some_ids(calls), concurrency=_CONCURRENCY))),
            "create: gather, raw aiohttp": lambda: _gather(create, _some_ids(calls)),
            "create_many": lambda: _take_all(aiter(appointments.create_many(_drafts(calls), concurrency=_CONCURRENCY))),
        }
        walls: dict[str, list[float]] = {name: [] for name in contestants}

        async def timed(name: str) -> None:
            begun_at = time.perf_counter()
            await contestants[name]()
            walls[name].append(time.perf_counter() - begun_at)

        figures = await rounds.measure(
            {name: functools.partial(timed, name) for name in contestants}, rounds=rounds_, calls=calls
        )
    for name, seconds in walls.items():
        print(f"{name:32}{calls / sorted(seconds)[len(seconds) // 2]:12,.0f} calls a second")
    return figures


async def _pace(calls: int) -> None:
    """Print the share of the allowed rate that `get_many` reaches against a server that counts by a sliding window."""
    allowed = SandboxLimit(requests=600, per=10.0, window=LimitWindow.SLIDING)
    limit = RateLimit(limit=600, per=10, burst=1)
    auth = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    async with (
        Sandbox(limit=allowed) as sandbox,
        ConnectorSession(sandbox.base_url, tenant_id="acme", auth=auth, rate_limit=limit) as session,
    ):
        (known,) = await sandbox.seed("acme", synthetic_seeds(1))
        begun_at = time.perf_counter()
        await _take_all(aiter(AppointmentService(session).get_many([known] * calls, concurrency=_CONCURRENCY)))
        rate = sandbox.log.count() / (time.perf_counter() - begun_at)
        refused = sandbox.log.count(status=429)
    print(f"under a limit of 60 a second: {rate / 60:.3f} of it, {refused} refused")


async def _grow(kind: str, count: int) -> None:
    """Print by how many megabytes the process grows over so many inputs, when the calls do nothing."""

    async def nothing(_: int) -> None:
        await asyncio.sleep(0)

    def resident() -> float:
        found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found[1]) / 1_000

    before = resident()
    if kind == "gather":
        free = asyncio.Semaphore(_CONCURRENCY)

        async def bounded(value: int) -> None:
            async with free:
                await nothing(value)

        await asyncio.gather(*(bounded(value) for value in range(count)))
    else:
        await _take_all(aiter(bulk(nothing, range(count), concurrency=_CONCURRENCY)))
    print(f"{resident() - before:.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--grow", nargs=2, metavar=("KIND", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grow:
        asyncio.run(_grow(arguments.grow[0], int(arguments.grow[1])))
        return
    with server.running() as base_url:
        figures = asyncio.run(measure(base_url, rounds_=arguments.rounds, calls=arguments.calls))
    for floor in ("get: gather, raw aiohttp", "create: gather, raw aiohttp"):
        operation = floor.partition(":")[0]
        rounds.show(
            operation, {name: each for name, each in figures.items() if name.startswith(operation)}, floor=floor
        )
    asyncio.run(_pace(calls=1_800))
    for kind in ("gather", "bulk"):
        for count in (10_000, 1_000_000):
            command = [sys.executable, "-m", "benchmarks.bulk", "--grow", kind, str(count)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"{kind:10}{count:12,} inputs: {done.stdout.strip()} MB more")


if __name__ == "__main__":
    main()
