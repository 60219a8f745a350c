"""A sync in a process of its own: `python -m tests.support.sync_child BASE_URL STATE SOURCE POINT TIMES`.

It kills itself when it reaches the point for that time. Without a point it runs to its end and prints its report.
"""

import asyncio
import os
import signal
import sys
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
    "intent committed": lambda: _after(Journal, "intend"),
    "POST sent": lambda: _when_sent("POST"),
    "create returned": lambda: _after(AppointmentService, "create"),
    "pair recorded": lambda: _after(Journal, "in_step"),
    "guard passed": lambda: _after(DeleteGuard, "finish"),
    "PUT sent": lambda: _when_sent("PUT"),
    "update returned": lambda: _after(AppointmentService, "update"),
    "DELETE sent": lambda: _when_sent("DELETE"),
    "delete returned": lambda: _after(AppointmentService, "delete"),
    "operation executed": lambda: _after(OperationExecutor, "execute"),
}


async def main(base_url: str, state_path: str, source_path: str) -> None:
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
            source = JsonLinesSource(Path(source_path), tenant_id="acme")
            report = await sync.run(source, SyncOptions(max_delete=MaxDelete(share=1.0)))
    print(orjson.dumps(report.as_json()).decode())


if __name__ == "__main__":
    _, base_url, state_path, source_path, point, times = sys.argv
    if point:
        _left = int(times)
        POINTS[point]()
    asyncio.run(main(base_url, state_path, source_path))
