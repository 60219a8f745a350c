"""What the sync is measured with: a sandbox with a rate limit, a session, a state, and appointments."""

import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectorSession,
    NewAppointment,
    RateLimit,
    WireFormat,
)
from connector_async.sandbox import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    BodyFormat,
    FaultRates,
    LimitWindow,
    Sandbox,
    SandboxLimit,
)
from connector_async.sync.budget import Budget
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.formats import IterableSource
from connector_async.sync.planning.options import Mode, Services, SyncOptions, SyncSettings
from connector_async.sync.records import Calendar, SourceRecord
from connector_async.sync.report import RunReport
from connector_async.sync.scope import Scope
from connector_async.sync.state import State

_TEN: Final = datetime(2024, 1, 15, 10, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
_HALF_HOUR: Final = timedelta(minutes=30)
SCOPE: Final = Scope(start=_TEN - timedelta(days=1), end=_TEN + timedelta(days=60))
GRACE: Final = 1.0


def calendars_of(tenants: int, users: int) -> list[Calendar]:
    """Return a calendar for each of `users` users of `tenants` tenants."""
    return [
        Calendar(f"tenant-{tenant}", "directory", f"user-{user}") for tenant in range(tenants) for user in range(users)
    ]


def record_of(calendar: Calendar, number: int, generation: int = 0) -> SourceRecord:
    """Return an appointment of the source; another generation has another title."""
    start = _TEN + number * _HOUR
    new = NewAppointment(
        title=f"Visit {number}, {generation}", start_time=start, end_time=start + _HALF_HOUR, description="x"
    )
    return SourceRecord(key=f"k{number}", calendar=calendar, appointment=new)


def records_of(calendars: Iterable[Calendar], items: int, *, changed_each: int = 0) -> list[SourceRecord]:
    """Return `items` records of each calendar. Every `changed_each`-th is changed; with 0 none is."""
    records = [(calendar, number) for calendar in calendars for number in range(items)]
    return [
        record_of(calendar, number, int(changed_each > 0 and index % changed_each == 0))
        for index, (calendar, number) in enumerate(records)
    ]


def session_for(base_url: str, rate_limit: RateLimit) -> ConnectorSession:
    """Return a session for a sandbox in the format of the reference."""
    return ConnectorSession(
        base_url,
        tenant_id="tenant-0",
        auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
        wire_format=WireFormat.REFERENCE,
        rate_limit=rate_limit,
    )


def services(session: ConnectorSession) -> Services:
    """Return the function that makes the service of a calendar."""
    return lambda calendar: AppointmentService(session.for_tenant(calendar.tenant_id), user=calendar.user)


@attrs.define
class SyncSetup:
    """A server, a session and a state."""

    sandbox: Sandbox
    session: ConnectorSession
    state: State

    @property
    def service(self) -> Services:
        return services(self.session)

    async def run(self, records: Sequence[SourceRecord], mode: Mode, budget: Budget | None = None) -> RunReport:
        sync = BulkSync(
            self.state, self.service, SyncSettings(wire_format=WireFormat.REFERENCE, grace=GRACE, pause=0.1)
        )
        scope = Scope() if mode is Mode.TRUST else SCOPE
        mirror = _DiscardingMirror() if mode is Mode.TWO_WAY else None
        return await sync.run(
            IterableSource(records), SyncOptions(mode=mode, scope=scope, assume_empty=True), budget, mirror=mirror
        )


class _DiscardingMirror:
    @asynccontextmanager
    async def writing(self) -> AsyncIterator["_DiscardingMirror"]:
        yield self

    async def write(self, record: SourceRecord) -> None:
        """Discard the record."""


@asynccontextmanager
async def open_setup(per_minute: int | None, faults: FaultRates | None = None) -> AsyncIterator[SyncSetup]:
    """Start everything, with `per_minute` requests a minute for each tenant; `None` is no limit."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        sandbox_limit = None
        rate_limit = RateLimit.unlimited()
        if per_minute is not None:
            sandbox_limit = SandboxLimit(requests=per_minute, per=60.0, window=LimitWindow.SLIDING)
            rate_limit = RateLimit(limit=per_minute, per=60, burst=1)
        sandbox = await stack.enter_async_context(
            Sandbox(body_format=BodyFormat.REFERENCE, limit=sandbox_limit, fault_rates=faults)
        )
        session = await stack.enter_async_context(session_for(sandbox.base_url, rate_limit))
        state = await stack.enter_async_context(await State.open(Path(folder) / "state.db", owner="benchmark"))
        yield SyncSetup(sandbox, session, state)
