"""A sync in a process of its own, which can kill itself at a point.

The processes are forked from one that has imported this module: to import it takes ten times as long as such a sync.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from connector_async import AppointmentService, ClientCredentials, ConnectorSession, RateLimit, RetryPolicy
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from connector_async.session.transport import _SentOnceResponse
from connector_async.sync import BulkSync, Calendar, MaxDelete, State, SyncOptions, SyncSettings
from connector_async.sync.applying.executor import OperationExecutor
from connector_async.sync.formats import JsonLinesSource
from connector_async.sync.guard import DeleteGuard
from connector_async.sync.state.journal import Journal

GRACE = 0.3
"""Seconds. The server of the tests takes less to show what it was sent."""

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
    start = _SentOnceResponse.start

    async def dies(self: Any, connection: Any) -> Any:
        if self.method == method and not self.url.path.endswith("/token"):
            await asyncio.sleep(0)  # now the request is in the socket
            _die()
        return await start(self, connection)

    _SentOnceResponse.start = dies  # type: ignore[method-assign]


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


def run(base_url: str, state: Path, source: Path, report: Path, point: str, times: int) -> None:
    """Sync, and write the report; or kill this process when it comes to a point for that time."""
    global _left  # noqa: PLW0603 - one process, one death
    if point:
        _left = times
        POINTS[point]()
    report.write_bytes(asyncio.run(_sync(base_url, state, source)))


async def _sync(base_url: str, state_path: Path, source_path: Path) -> bytes:
    async with ConnectorSession(
        base_url,
        tenant_id="acme",
        auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
        rate_limit=RateLimit.unlimited(),
    ) as session:

        def service(calendar: Calendar) -> AppointmentService:
            return AppointmentService(session.for_tenant(calendar.tenant_id), retry=RetryPolicy(wait_initial=0.01))

        async with await State.open(state_path, owner="child") as state:
            sync = BulkSync(state, service, SyncSettings(grace=GRACE, pause=0.0))
            source = JsonLinesSource(source_path, tenant_id="acme")
            report = await sync.run(source, SyncOptions(max_delete=MaxDelete(share=1.0)))
    return orjson.dumps(report.as_json())
