"""`Pull`: mirrors what the server has, calendar by calendar, and yields what has changed since the last pull."""

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress
from datetime import timedelta
from itertools import chain, zip_longest
from typing import Final, Self

import attrs

from connector_async._checks import check_sequence, check_timedelta, check_type, validator
from connector_async._clock import Clock, checked_clock
from connector_async.bulk_calls import bulk
from connector_async.exceptions import AuthenticationError, ConnectorError, SyncError
from connector_async.models import Appointment
from connector_async.wire import WireFormat

from .applying.accounting import TrafficMeter, recorded_run
from .budget import Budget, BudgetSpentError
from .exceptions import GuardError
from .failures import Failure, HookError, is_permanent
from .formats import Mirror, ReadableMirror, RecordWriter
from .guard import MaxDelete, MissingGuard
from .planning.operations import key_of_server, pulled_pair
from .planning.options import MAX_DELETE, Services, check_preview_range, service_of
from .planning.snapshot import CalendarReader, ServerSnapshot
from .records import Calendar, SourceProblem, UnusableIdError, content_hash, record_of, unrecordable_reason, usable_id
from .report import MOST_REASONS, Fate, RunReport, Stopped, TenantReport
from .scope import Scope
from .state import State
from .state.failure_log import tenants_with_failures
from .state.identity import Target, bind, mismatch
from .state.journal import DeadLetter, Journal
from .state.reader import StateReader

_CONCURRENCY: Final = 128


class ChangeKind(enum.Enum):
    """What has happened to an appointment."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    MOVED = "moved"
    """The appointment has moved out of the mirrored range of time, and so out of the mirror."""


@attrs.frozen(kw_only=True)
class Change:
    """What has happened to one appointment on the server since the last pull."""

    kind: ChangeKind
    calendar: Calendar
    key: str
    """The key in the mirror: `server:` and the id."""
    appointment_id: str
    appointment: Appointment | None = attrs.field(default=None, repr=False)
    """What the server has now; `None` with `DELETED`."""

    @classmethod
    def of(cls, kind: ChangeKind, calendar: Calendar, key: str, appointment: Appointment) -> Self:
        """Return the change of an appointment that the server has now."""
        return cls(
            kind=kind,
            calendar=calendar,
            key=key,
            appointment_id=appointment.appointment_id,
            appointment=appointment,
        )


@attrs.frozen(kw_only=True)
class PullOptions:
    """What a pull mirrors.

    Raises:
        ValueError: If a field is out of its range; the message names it.
        TypeError: If a field has another type; the message names it.
    """

    calendars: Sequence[Calendar] = attrs.field(validator=validator(check_sequence, Calendar))
    """The calendars to mirror."""
    scope: Scope = attrs.field(factory=Scope, validator=validator(check_type, Scope))
    """The range of time to mirror."""
    window: timedelta | None = attrs.field(default=None, validator=validator(check_timedelta, optional=True))
    """The length of each preview; `None` to preview the whole scope at once."""
    max_delete: MaxDelete = attrs.field(default=MAX_DELETE, validator=validator(check_type, MaxDelete))
    """How much of a calendar, of a tenant and of all may be missing on the server at once. More is not believed."""
    allow_empty: bool = attrs.field(default=False, validator=validator(check_type, bool))
    """Whether an empty preview of a calendar with known appointments is believed."""
    rebind: bool = attrs.field(default=False, validator=validator(check_type, bool))
    """Whether a state of another server forgets what it knows, and belongs to this server from now on."""

    def __attrs_post_init__(self) -> None:
        if not self.calendars:
            raise ValueError("calendars must not be empty: a mirror without calendars would lose all its records")

    def check(self, wire_format: WireFormat) -> None:
        """Reject options that the wire format cannot serve.

        Raises:
            ValueError: If a calendar has a user and the format carries none, or the other way round, or if the range
                of time cannot be previewed.
        """
        for calendar in self.calendars:
            calendar.check(wire_format)
        check_preview_range(wire_format, self.scope, self.window, looks=True)


@attrs.frozen
class _Look:
    """What the server has of one calendar."""

    snapshot: ServerSnapshot
    shown: Sequence[Appointment]
    """The appointments within the range of time."""
    deleted: Sequence[str]
    """The ids of those that the server has deleted."""
    moved: Sequence[Appointment]
    """Those that have moved out of the range."""


class Pull:
    """One pull, for `async for change in pull`. A calendar is recorded as seen when its changes have been taken.

    Args:
        state: What is remembered between pulls. No other kind of run may use it.
        services: Returns the service of a calendar. Its session limits the tenant's rate.
        options: What to mirror.
        mirror: Is rewritten with everything that the server has, and for calendars that could not be read with what it
            had before. A mirror that is no `ReadableMirror` stays as it was if a calendar could not be read. `None` for
            the changes alone.
        clock: The clock to measure by; `None` for that of the state.
        budget: When to end before the work is done; `None` for no limit.

    Raises:
        TypeError: If an argument has another type; the message names it.
    """

    def __init__(
        self,
        state: State,
        services: Services,
        options: PullOptions,
        *,
        mirror: Mirror | None = None,
        clock: Clock | None = None,
        budget: Budget | None = None,
    ) -> None:
        check_type("state", state, State)
        check_type("options", options, PullOptions)
        self._clock = state.clock if clock is None else checked_clock(clock)
        self._services = services
        self._options = options
        self._mirror = mirror
        self._budget = budget or Budget(self._clock)
        self._state = state
        self._target: Target | None = None
        self._state_reader = StateReader(state)
        self._guard = MissingGuard(options.max_delete, allow_empty=options.allow_empty)
        self._journal = Journal.for_new_run(state, self._clock)
        self.report = RunReport(run_id=self._journal.run_id)
        """What became of the calendars."""
        for calendar in options.calendars:
            self.report.tenants.setdefault(calendar.tenant_id, TenantReport())
        self._unread = dict.fromkeys(options.calendars)
        self._started: dict[str, float] = {}
        self._meters = {
            tenant_id: TrafficMeter(self._budget, report, self._clock)
            for tenant_id, report in self.report.tenants.items()
        }

    @property
    def is_whole(self) -> bool:
        """Whether every calendar could be read. The mirror has what it had before for the others."""
        return not self._unread

    def __aiter__(self) -> AsyncIterator[Change]:
        return self.changes()

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield the changes. With `contextlib.aclosing` around it, leaving the loop early ends the pull at once.

        Raises:
            ValueError: If the options ask for what the wire format of the services cannot do; nothing was started.
            SourceError: If the mirror cannot be written.
            TargetMismatchError: If the state belongs to another server, and `rebind` is off; nothing was sent.
            StateBusyError: If another run works for one of the tenants.
            StateError: If the state cannot be used, or belongs to another kind of run.
        """
        target = self._checked_target()
        looks = bulk(self._look, _in_turn(self._options.calendars), concurrency=_CONCURRENCY, ends_on=Exception)
        await self._state.lease({calendar.tenant_id for calendar in self._options.calendars})
        async with recorded_run(self._journal, self.report, self._budget, self._clock, kind="pull", mode="pull"):
            if target is not None:
                await bind(self._state, target, now=self._clock.time(), rebind=self._options.rebind)
                self._target = target
            try:
                async with self._writing() as writer, aclosing(looks.outcomes()) as outcomes:
                    async for outcome in outcomes:
                        if outcome.error is not None:
                            raise outcome.error
                        if outcome.result is not None:
                            async with aclosing(self._changes(outcome.input, outcome.result, writer)) as changes:
                                async for change in changes:
                                    yield change
                            del self._unread[outcome.input]
                    if self._unread and writer is not None and not await self._keep_unread(writer):
                        raise _IncompleteError
            except _IncompleteError:
                pass
            await self._finish()

    def _checked_target(self) -> Target | None:
        """Reject options that the wire format of the services cannot serve, and return their server.

        Returns `None` if no calendar has a service.
        """
        for calendar in self._options.calendars:
            with suppress(HookError):
                session = service_of(self._services, calendar).session
                self._options.check(session.wire_format)
                return Target.of(session)
        return None

    async def _keep_unread(self, writer: RecordWriter) -> bool:
        """Write what the mirror has of the calendars that could not be read, and return whether that is all."""
        if not isinstance(self._mirror, ReadableMirror):
            return False
        source = self._mirror.source()
        if source is not None:
            async for item in source.records():
                if item.calendar is None or item.calendar in self._unread:
                    if isinstance(item, SourceProblem):
                        return False  # its record would be lost
                    await writer.write(item)
        return True

    async def _finish(self) -> None:
        """Say why something failed, and forget the failures of earlier runs."""
        failed_tenants = await tenants_with_failures(self._state)
        run_id = self._journal.run_id
        unread = {calendar.tenant_id for calendar in self._unread}
        for tenant_id in failed_tenants & self.report.tenants.keys() - unread:
            await self._journal.drop_other_failures(tenant_id)
        for tenant_id, report in self.report.tenants.items():
            if tenant_id in failed_tenants or report.counts[Fate.REFUSED]:
                report.reasons = await self._state_reader.reasons(tenant_id, run_id, limit=MOST_REASONS)

    def _writing(self) -> AbstractAsyncContextManager[RecordWriter | None]:
        return nullcontext() if self._mirror is None else self._mirror.writing()

    async def _look(self, calendar: Calendar) -> _Look | None:
        """Return what the server has of a calendar; `None` if it could not be read."""
        report, meter = self.report.tenants[calendar.tenant_id], self._meters[calendar.tenant_id]
        if report.stopped is Stopped.CREDENTIALS or self._budget.reason is not None:
            return None
        started_at = self._started.setdefault(calendar.tenant_id, self._clock.monotonic())
        try:
            service = service_of(self._services, calendar)
            if self._target is not None and (target := Target.of(service.session)) != self._target:
                raise mismatch(self._state, self._target, target)
            meter.watch(service.session)
            return await self._preview(calendar, CalendarReader(service, meter.operation), report)
        except BudgetSpentError:
            pass
        except AuthenticationError as error:
            report.stopped = Stopped.CREDENTIALS
            await self._journal.record_failure(Calendar(calendar.tenant_id), Failure.of(error))
        except GuardError as error:
            report.stopped = Stopped.GUARD  # of this calendar alone: the tenant's others are read
            await self._journal.record_failure(calendar, Failure.of(error))
        except SyncError:
            raise
        except ConnectorError as error:
            if is_permanent(error):
                report.calendars_refused += 1
            else:
                report.calendars_failed += 1
            await self._journal.record_failure(calendar, Failure.of(error))
        finally:
            report.elapsed = self._clock.monotonic() - started_at
        return None

    async def _preview(self, calendar: Calendar, reader: CalendarReader, report: TenantReport) -> _Look:
        scope = self._options.scope
        known = await self._state_reader.last_seen(calendar, *scope.bounds())
        snapshot = await reader.look(known, scope, self._options.window, keep_all=True)
        report.minimum += snapshot.pages
        shown, deleted, moved = snapshot.shown or {}, [], []
        for appointment_id in await snapshot.check_missing(self._guard, calendar, self._state_reader):
            # It may have moved out of the range that is mirrored, and a preview may lag behind.
            try:
                usable_id(appointment_id)
                report.minimum += 1
                appointment = await reader.get(appointment_id)
            except UnusableIdError:  # no request can name the id: the preview alone decides
                appointment = None
            if appointment is None:
                deleted.append(appointment_id)
            elif scope.overlaps(appointment):
                shown[appointment_id] = appointment
            else:
                moved.append(appointment)
        return _Look(snapshot, list(shown.values()), deleted, moved)

    async def _changes(
        self, calendar: Calendar, look: _Look, writer: RecordWriter | None
    ) -> AsyncGenerator[Change, None]:
        """Yield what has changed in a calendar, and then record that it was seen."""
        known = look.snapshot.known
        pairs, letters = [], []
        for appointment in look.shown:
            last_seen = known.get(appointment.appointment_id)
            key = key_of_server(appointment.appointment_id) if last_seen is None else last_seen.key
            if not await _write(writer, calendar, key, appointment):
                letters.append((calendar, _dead_letter(key, appointment)))
            if last_seen is None or last_seen.remote_hash != content_hash(appointment):
                kind = ChangeKind.CREATED if last_seen is None else ChangeKind.UPDATED
                yield Change.of(kind, calendar, key, appointment)
                pairs.append(pulled_pair(key, appointment.appointment_id, appointment))
        for appointment in look.moved:
            yield Change.of(ChangeKind.MOVED, calendar, known[appointment.appointment_id].key, appointment)
        for appointment_id in look.deleted:
            key = known[appointment_id].key
            yield Change(kind=ChangeKind.DELETED, calendar=calendar, key=key, appointment_id=appointment_id)
        removed = [*look.deleted, *(appointment.appointment_id for appointment in look.moved)]
        removed_keys = [known[appointment_id].key for appointment_id in removed]
        await self._journal.record_pull(calendar, synced=pairs, deleted=removed_keys, letters=letters)
        report = self.report.tenants[calendar.tenant_id]
        report.records += len(look.shown)
        report.in_sync += len(look.shown) - len(letters)
        report.counts[Fate.PULLED] += len(pairs) + len(removed_keys)
        report.counts[Fate.REFUSED] += len(letters)


class _IncompleteError(Exception):
    """Not every calendar could be read."""


def _in_turn(calendars: Sequence[Calendar]) -> Iterator[Calendar]:
    """Yield one calendar of each tenant in turn, so that no tenant waits for another one's rate limit."""
    by_tenant: dict[str, list[Calendar]] = {}
    for calendar in dict.fromkeys(calendars):
        by_tenant.setdefault(calendar.tenant_id, []).append(calendar)
    return (calendar for calendar in chain.from_iterable(zip_longest(*by_tenant.values())) if calendar is not None)


async def _write(writer: RecordWriter | None, calendar: Calendar, key: str, appointment: Appointment) -> bool:
    """Write an appointment to the mirror, and return whether a record can hold it."""
    try:
        record = record_of(appointment, key=key, calendar=calendar)
        if writer is not None:
            await writer.write(record)
    except (ValueError, TypeError):
        return False
    return True


def _dead_letter(key: str, appointment: Appointment) -> DeadLetter:
    reason = unrecordable_reason(appointment)
    return DeadLetter(
        key=key, operation="pull", error="ValueError", reason=reason, content_hash=content_hash(appointment)
    )
