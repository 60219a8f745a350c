"""A sync of the tests: a real sandbox, a real state file, and a source that is a list."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs

from connector_async import (
    AppointmentService,
    ClientCredentials,
    Clock,
    ConnectorSession,
    NewAppointment,
    RateLimit,
    RetryPolicy,
    WireFormat,
)
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, BodyFormat, Sandbox
from connector_async.sync import (
    Budget,
    BulkSync,
    Calendar,
    Runner,
    RunReport,
    SavedPlan,
    SourceProblem,
    SourceRecord,
    State,
    SyncOptions,
    SyncSettings,
    save_plan,
)

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
ACME = Calendar("acme")


def record(key: str, title: str = "", *, calendar: Calendar = ACME, hour: int = 0, **fields: Any) -> SourceRecord:
    """Return a record; unless told, its title says its key."""
    start = TEN + timedelta(hours=hour)
    modified = fields.pop("modified", None)
    appointment = NewAppointment(
        title=title or f"Visit {key}", start_time=start, end_time=start + timedelta(minutes=30), **fields
    )
    return SourceRecord(key=key, calendar=calendar, appointment=appointment, modified=modified)


@attrs.frozen
class Listed:
    """A source that is there already."""

    found: Iterable[SourceRecord | SourceProblem]
    name: str = "list"

    async def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        for one in self.found:
            yield one


class Syncing:
    """One state and one server; each `run` is a run of its own."""

    def __init__(self, sandbox: Sandbox, session: ConnectorSession, path: Path, clock: Clock) -> None:
        self.sandbox = sandbox
        self.session = session
        self.path = path
        self.clock = clock
        self.settings: dict[str, Any] = {"grace": 0.0, "pause": 0.0}
        self.retry = RetryPolicy(attempts=2, wait_initial=0, wait_initial_throttled=0)
        self.runner: Runner | None = None

    def service(self, calendar: Calendar) -> AppointmentService:
        session = self.session.for_tenant(calendar.tenant_id)
        return AppointmentService(session, user=calendar.user, retry=self.retry)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[BulkSync, State]]:
        async with await State.open(self.path, owner="test", clock=self.clock) as state:
            settings = SyncSettings(wire_format=self.session.wire_format, **self.settings)
            yield BulkSync(state, self.service, settings, clock=self.clock, runner=self.runner), state

    async def run(
        self, records: Iterable[SourceRecord | SourceProblem], budget: Budget | None = None, **plan: Any
    ) -> RunReport:
        async with self.opened() as (sync, _):
            return await sync.run(Listed(records), SyncOptions(**plan), budget)

    async def titles(self, calendar: Calendar = ACME) -> list[str]:
        """Return what the server has."""
        span: Mapping[str, Any] = {}
        if calendar.ad_id:
            span = {"start": TEN - timedelta(days=9_000), "end": TEN + timedelta(days=9_000)}
        return sorted([item.title async for item in self.service(calendar).preview(**span)])

    def writes(self) -> dict[str, int]:
        """Return how many requests of each kind the server has seen."""
        return {
            operation: count
            for operation in ("create", "update", "delete", "preview", "get")
            if (count := self.sandbox.log.count(operation=operation))
        }


async def saved(sync: Syncing, path: Path, records: list[SourceRecord], **plan: Any) -> SavedPlan:
    """Plan a sync, save that, and open it again."""
    async with sync.opened() as (bulk_sync, opened):
        plan_ = SyncOptions(**plan)
        serial = await opened.serial()
        await save_plan(bulk_sync.plan(Listed(records), plan_), path, serial=serial, options=plan_)
    return SavedPlan.open(path)


@asynccontextmanager
async def syncing(path: Path, *, clock: Clock | None = None, **sandbox_options: Any) -> AsyncIterator[Syncing]:
    """Start a server, and open a session that keeps no pace."""
    reference = sandbox_options.get("body_format") is BodyFormat.REFERENCE
    async with (
        Sandbox(**sandbox_options) as sandbox,
        ConnectorSession(
            sandbox.base_url,
            tenant_id="acme",
            auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
            rate_limit=RateLimit.unlimited(),
            wire_format=WireFormat.REFERENCE if reference else WireFormat.GUIDE,
        ) as session,
    ):
        yield Syncing(sandbox, session, path, clock or Clock())
