"""A sync for tests: a real sandbox, a real state file, and a source in memory."""

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
    MaxDelete,
    Mode,
    RecordWriter,
    Runner,
    RunReport,
    SavedPlan,
    Scope,
    SourceError,
    SourceProblem,
    SourceRecord,
    State,
    SyncOptions,
    SyncSettings,
    save_plan,
)

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
ACME = Calendar("acme")
USER = Calendar("acme", "d-1", "u-1")
SCOPE = Scope(start=TEN - timedelta(days=10), end=TEN + timedelta(days=10))
EVERYTHING = MaxDelete(share=1.0)


def record(key: str, title: str = "", *, calendar: Calendar = ACME, hour: int = 0, **fields: Any) -> SourceRecord:
    """Return a record of half an hour. Without a title, it is named after its key."""
    start = TEN + timedelta(hours=hour)
    modified = fields.pop("modified", None)
    appointment = NewAppointment(
        title=title or f"Visit {key}", start_time=start, end_time=start + timedelta(minutes=30), **fields
    )
    return SourceRecord(key=key, calendar=calendar, appointment=appointment, modified=modified)


@attrs.frozen
class ListSource:
    """A source that yields what a list has."""

    items: Iterable[SourceRecord | SourceProblem]
    name: str = "list"

    async def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        for item in self.items:
            yield item


class MemorySource:
    """A source that is its own mirror. With `fails`, it cannot be rewritten."""

    name = "memory"

    def __init__(self, *records: SourceRecord) -> None:
        self.kept = list(records)
        self.rewrites = 0
        self.fails = False

    async def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        for each in self.kept:
            yield each

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[RecordWriter]:
        written: list[SourceRecord] = []

        class Writer:
            async def write(self, record: SourceRecord) -> None:
                written.append(record)

        yield Writer()
        if self.fails:
            raise SourceError("memory: No space left on device")
        self.kept = written
        self.rewrites += 1

    def titles(self) -> dict[str, str]:
        return {each.key: each.appointment.title for each in self.kept}


class Syncing:
    """One state and one server. Each `run` opens the state anew."""

    def __init__(self, sandbox: Sandbox, session: ConnectorSession, path: Path, clock: Clock) -> None:
        self.sandbox = sandbox
        self.session = session
        self.path = path
        self.location: str | None = None
        """The URL of the state, in place of the path."""
        self.clock = clock
        self.settings: dict[str, Any] = {"grace": 0.0, "pause": 0.0}
        self.retry = RetryPolicy(attempts=2, wait_initial=0, wait_initial_throttled=0)
        self.runner: Runner | None = None
        self.assume_empty = True
        """Whether runs in `Mode.TRUST` create without a look at the server."""

    def service(self, calendar: Calendar) -> AppointmentService:
        session = self.session.for_tenant(calendar.tenant_id)
        return AppointmentService(session, user=calendar.user, retry=self.retry)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[BulkSync, State]]:
        async with await State.open(self.location or self.path, owner="test", clock=self.clock, wait=20) as state:
            settings = SyncSettings(wire_format=self.session.wire_format, **self.settings)
            yield BulkSync(state, self.service, settings, clock=self.clock, runner=self.runner), state

    async def run(
        self, records: Iterable[SourceRecord | SourceProblem], budget: Budget | None = None, **options: Any
    ) -> RunReport:
        async with self.opened() as (sync, _):
            return await sync.run(ListSource(records), self._options(options), budget)

    async def run_two_way(self, source: MemorySource, budget: Budget | None = None, **options: Any) -> RunReport:
        async with self.opened() as (sync, _):
            return await sync.run(source, SyncOptions(mode=Mode.TWO_WAY, **options), budget, mirror=source)

    async def save(self, path: Path, records: Iterable[SourceRecord], **options: Any) -> SavedPlan:
        """Save a plan, and open it again."""
        async with self.opened() as (sync, state):
            sync_options = self._options(options)
            await save_plan(sync.plan(ListSource(records), sync_options), path, state=state, options=sync_options)
        return SavedPlan.open(path)

    def _options(self, options: Mapping[str, Any]) -> SyncOptions:
        return SyncOptions(**{"assume_empty": self.assume_empty} | dict(options))

    async def titles(self, calendar: Calendar = ACME) -> list[str]:
        """Return the titles on the server, sorted."""
        span: Mapping[str, Any] = {}
        if calendar.ad_id:
            span = {"start": TEN - timedelta(days=9_000), "end": TEN + timedelta(days=9_000)}
        return sorted([item.title async for item in self.service(calendar).preview(**span)])

    async def ids(self, calendar: Calendar = ACME) -> dict[str, str]:
        """Return the ids on the server, by title."""
        span: Mapping[str, Any] = {}
        if calendar.ad_id:
            span = {"start": SCOPE.start, "end": SCOPE.end}
        return {item.title: item.appointment_id async for item in self.service(calendar).preview(**span)}

    async def retitle(self, title: str, new: str, calendar: Calendar = ACME) -> None:
        """Let someone else change a title on the server."""
        await self.service(calendar).update((await self.ids(calendar))[title], title=new)

    async def delete(self, *titles: str, calendar: Calendar = ACME) -> None:
        """Let someone else delete appointments on the server."""
        ids = await self.ids(calendar)
        for title in titles:
            await self.service(calendar).delete(ids[title])

    def requests(self) -> dict[str, int]:
        """Return how many requests of each kind the server has seen."""
        return {
            operation: count
            for operation in ("create", "update", "delete", "preview", "get")
            if (count := self.sandbox.log.count(operation=operation))
        }


@asynccontextmanager
async def syncing(path: Path, *, clock: Clock | None = None, **sandbox_options: Any) -> AsyncIterator[Syncing]:
    """Start a server, and open a session without a rate limit."""
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
