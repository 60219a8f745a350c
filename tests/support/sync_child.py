"""A sync in a process of its own, which can kill itself at a point.

The processes are forked from one that has imported this module: to import it takes ten times as long as such a sync.
"""

import asyncio
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import orjson

from connector_async import AppointmentService, ClientCredentials, ConnectorSession, RateLimit, RetryPolicy, WireFormat
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, RequestLog
from connector_async.sync import (
    BulkSync,
    Calendar,
    MaxDelete,
    Mode,
    RunReport,
    SourceRecord,
    State,
    SyncOptions,
    SyncSettings,
)
from connector_async.sync.applying.executor import OperationExecutor
from connector_async.sync.formats import JsonLinesMirror, JsonLinesSource
from connector_async.sync.guard import DeleteGuard
from connector_async.sync.state.journal import Journal
from tests.support.state_rows import location_of

GRACE = 0.3
"""Seconds. The server of the tests takes less to show what it was sent."""

LEASE = 0.6
"""Seconds. So long is a killed process waited for on PostgreSQL."""

_left = 0


def _die() -> None:
    global _left  # noqa: PLW0603 - one process, one death
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def _after(owner: Any, name: str) -> None:
    """Kill the process when a method has returned."""
    method = getattr(owner, name)
    if asyncio.iscoroutinefunction(method):

        async def dies_after(*args: Any, **kwargs: Any) -> Any:
            result = await method(*args, **kwargs)
            _die()
            return result

        setattr(owner, name, dies_after)
    else:

        def dies(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            _die()
            return result

        setattr(owner, name, dies)


def _when_sent(method: str) -> None:
    """Kill the process when a request has been sent, before its response is read."""
    start = aiohttp.ClientResponse.start

    async def dies(self: Any, connection: Any) -> Any:
        if self.method == method and not self.url.path.endswith("/token"):
            await asyncio.sleep(0)  # now the request is in the socket
            _die()
        return await start(self, connection)

    aiohttp.ClientResponse.start = dies  # type: ignore[method-assign]


def _in_migration() -> None:
    from alembic import op  # noqa: PLC0415 - needed here alone

    _after(op, "create_table")


POINTS: dict[str, Callable[[], None]] = {
    "migration": _in_migration,
    "intent committed": lambda: _after(Journal, "record_pending_create"),
    "POST sent": lambda: _when_sent("POST"),
    "create returned": lambda: _after(AppointmentService, "create"),
    "pair recorded": lambda: _after(Journal, "record_written"),
    "guard passed": lambda: _after(DeleteGuard, "finish"),
    "PUT sent": lambda: _when_sent("PUT"),
    "update returned": lambda: _after(AppointmentService, "update"),
    "DELETE sent": lambda: _when_sent("DELETE"),
    "delete returned": lambda: _after(AppointmentService, "delete"),
    "operation executed": lambda: _after(OperationExecutor, "execute"),
}


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


@attrs.define
class SyncProcess:
    """Syncs a file of JSON Lines with a server, in a process of its own."""

    base_url: str
    folder: Path
    wire_format: WireFormat = WireFormat.GUIDE
    options: SyncOptions = attrs.field(factory=lambda: SyncOptions(max_delete=MaxDelete(share=1.0)))

    @property
    def state(self) -> Path:
        return self.folder / "state.db"

    @property
    def source(self) -> Path:
        return self.folder / "source.jsonl"

    async def write_source(self, records: Iterable[SourceRecord]) -> None:
        async with JsonLinesMirror(self.source).writing() as writer:
            for each in records:
                await writer.write(each)

    async def start(self, point: str = "", times: int = 1) -> ForkServerProcess:
        """Start a run, which kills itself when it comes to the point for that time."""
        process = FORKS.Process(target=self._run, args=(location_of(self.state), point, times))
        await asyncio.to_thread(process.start)  # the first one waits for the imports
        return process

    async def is_killed(self, point: str, times: int) -> bool:
        """Run until it kills itself when it comes to the point for that time, and return whether it did."""
        process = await self.start(point, times)
        await wait_for(process)
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0

    async def is_killed_at_random(self, log: RequestLog, draw: random.Random, *, requests: int) -> bool:
        """Run, kill it after fewer than so many requests, and return whether it had not ended before."""
        process = await self.start()
        before = log.count()
        while log.count() < before + draw.randrange(1, requests) and process.exitcode is None:
            await asyncio.sleep(0.005)
        await asyncio.sleep(draw.random() * 0.02)
        is_running = process.exitcode is None
        if is_running:
            process.kill()
        await wait_for(process)
        return is_running

    async def finished(self) -> dict[str, Any]:
        """Run, and return the report."""
        process = await self.start()
        await wait_for(process)
        assert process.exitcode == 0
        report: dict[str, Any] = orjson.loads((self.folder / "report.json").read_bytes())
        return report

    def _run(self, state: str, point: str, times: int) -> None:
        global _left  # noqa: PLW0603 - one process, one death
        if point:
            _left = times
            POINTS[point]()
        report = asyncio.run(self._sync(state))
        (self.folder / "report.json").write_bytes(orjson.dumps(report.as_json()))

    async def _sync(self, place: str) -> RunReport:
        async with ConnectorSession(
            self.base_url,
            tenant_id="acme",
            auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
            rate_limit=RateLimit.unlimited(),
            wire_format=self.wire_format,
        ) as session:

            def service(calendar: Calendar) -> AppointmentService:
                tenant = session.for_tenant(calendar.tenant_id)
                return AppointmentService(tenant, user=calendar.user, retry=RetryPolicy(wait_initial=0.01))

            async with await State.open(place, owner="child", wait=20, lease=LEASE) as state:
                sync = BulkSync(state, service, SyncSettings(wire_format=self.wire_format, grace=GRACE, pause=0.0))
                mirror = JsonLinesMirror(self.source) if self.options.mode is Mode.TWO_WAY else None
                return await sync.run(JsonLinesSource(self.source), self.options, mirror=mirror)


async def wait_for(process: ForkServerProcess) -> None:
    await asyncio.to_thread(process.join)
