"""Runs of a sync against a server with habits, over one state."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connector_async import AppointmentService, Clock, ConnectorSession, StaticToken
from connector_async.sync import (
    Budget,
    BulkSync,
    Calendar,
    Mode,
    RunReport,
    SourceRecord,
    State,
    SyncOptions,
    SyncSettings,
    read_dead_letters,
)
from tests.conftest import ManualClock
from tests.support.calendar_server import CalendarServer
from tests.support.syncing import EVERYTHING, ListSource, MemorySource


class SteadyClock(ManualClock):
    """A manual clock whose wall clock goes along, apart from jumps."""

    offset = 0.0

    def time(self) -> float:
        return super().time() + self.now + self.offset


class ServerRuns:
    """Runs with all defaults, but for the clock."""

    def __init__(self, server: CalendarServer, path: Path, clock: Clock, **session_options: Any) -> None:
        self.server = server
        self.path = path
        self.clock = clock
        self.settings = SyncSettings()
        self.service: Callable[[Calendar], AppointmentService]
        """The services while the state is opened."""
        self._session_options: dict[str, Any] = {"auth": StaticToken("t"), **session_options}

    async def run(
        self, source: list[SourceRecord] | MemorySource, budget: Budget | None = None, **options: Any
    ) -> RunReport:
        """Run once; two ways with a source that is its own mirror, unless a mode is given."""
        options.setdefault("max_delete", EVERYTHING)
        options.setdefault("allow_empty", True)
        async with self.opened() as (sync, _):
            if isinstance(source, MemorySource) and options.setdefault("mode", Mode.TWO_WAY) is Mode.TWO_WAY:
                return await sync.run(source, SyncOptions(**options), budget, mirror=source)
            records = source.kept if isinstance(source, MemorySource) else source
            return await sync.run(ListSource(records), SyncOptions(**options), budget)

    async def letters(self) -> list[dict[str, Any]]:
        """Return the dead letters that are left."""
        async with self.opened() as (_, state):
            return [letter async for letter in read_dead_letters(state) if letter["resolved_at"] is None]

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[BulkSync, State]]:
        session = ConnectorSession(
            self.server.base_url, tenant_id="acme", clock=self.clock, attempt_timeout=100_000, **self._session_options
        )

        self.service = lambda calendar: AppointmentService(session.for_tenant(calendar.tenant_id))
        async with session, await State.open(self.path, owner="test", clock=self.clock, wait=20) as state:
            yield BulkSync(state, self.service, self.settings, clock=self.clock), state
