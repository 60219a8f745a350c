"""`Pull`: mirrors what the server has, calendar by calendar, and tells what has changed since it was last looked at."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from datetime import timedelta
from itertools import chain, zip_longest
from typing import Final

import attrs

from connector_async._checks import check_sequence, check_type, validator
from connector_async._clock import Clock, checked_clock
from connector_async.appointments import AppointmentService
from connector_async.bulk_calls import bulk
from connector_async.exceptions import AuthenticationError, ConnectorError, NotFoundError, SyncError
from connector_async.models import Appointment
from connector_async.session import Traffic
from connector_async.sync.planning.operations import key_of_server
from connector_async.sync.planning.options import MAX_DELETE, Services, check_time, check_window
from connector_async.sync.planning.snapshot import pages_of
from connector_async.sync.state.journal import DeadLetter, Journal, SyncedPair
from connector_async.sync.state.reader import LastSeen, StateReader
from connector_async.wire import WireFormat

from .budget import Budget
from .change import Change, ChangeKind
from .exceptions import GuardError
from .formats import Mirror, RecordWriter
from .guard import MaxDelete, MissingGuard
from .records import Calendar, UnusableIdError, content_hash, record_of, sortable, usable_id, why_unsayable
from .report import Fate, RunReport, Stopped, TenantReport
from .scope import Scope
from .state import State

_AT_A_TIME: Final = 128


@attrs.frozen(kw_only=True)
class PullOptions:
    """What a pull mirrors.

    Raises:
        ValueError: A field is out of its range; the message names it.
        TypeError: A field is of another type.
    """

    calendars: Sequence[Calendar] = attrs.field(validator=validator(check_sequence, Calendar))
    """Whose appointments."""
    scope: Scope = attrs.field(factory=Scope, validator=validator(check_type, Scope))
    """Of which time."""
    window: timedelta | None = attrs.field(default=None, validator=check_window)
    """How long a time is previewed at once; `None`: the whole scope."""
    max_delete: MaxDelete = attrs.field(default=MAX_DELETE, validator=validator(check_type, MaxDelete))
    """How much may have gone from the server at once, of a calendar, a tenant and all; more is not believed."""
    allow_empty: bool = attrs.field(default=False, validator=validator(check_type, bool))
    """Whether a preview that shows nothing at all is believed."""

    def __attrs_post_init__(self) -> None:
        if not self.calendars:
            raise ValueError("calendars must name one at least: a mirror of none would be emptied")

    def check(self, wire_format: WireFormat) -> None:
        """Refuse what a wire format cannot do.

        Raises:
            ValueError: A calendar has a user although the format carries none, or none although it names one; or the
                time cannot be asked for.
        """
        for calendar in self.calendars:
            calendar.check(wire_format)
        check_time(wire_format, self.scope, self.window, looks=True)


@attrs.frozen
class _Looked:
    """What the server has of one calendar."""

    appointments: Sequence[Appointment]
    known: Mapping[str, LastSeen]
    """By id, what it had."""
    gone: Sequence[str]
    """The ids of what it has not any more."""
    moved: Sequence[Appointment]
    """What it has outside of the time that is mirrored, and had in it."""


class Pull:
    """One pull, for `async for change in pull`; a calendar is written down as seen when its changes have been taken.

    Args:
        state: What it remembers between pulls; one that no other kind of run uses.
        services: Returns the service of a calendar; its session keeps the tenant's pace.
        plan: What is mirrored.
        mirror: Is written anew with all that the server has, unless a calendar could not be looked at; `None`: the
            changes are enough.
        clock: Time as it reads it; `None`: the machine's.
        budget: When to end before the work does; `None`: never.

    Raises:
        TypeError: An argument is of another type; the message names it.
    """

    def __init__(
        self,
        state: State,
        services: Services,
        plan: PullOptions,
        *,
        mirror: Mirror | None = None,
        clock: Clock | None = None,
        budget: Budget | None = None,
    ) -> None:
        check_type("state", state, State)
        check_type("plan", plan, PullOptions)
        self._clock = checked_clock(clock)
        self._services = services
        self._plan = plan
        self._mirror = mirror
        self._budget = budget or Budget(self._clock)
        self._before: dict[str, Traffic] = {}
        self._known = StateReader(state)
        self._guard = MissingGuard(plan.max_delete, allow_empty=plan.allow_empty)
        self._ledger = Journal.of_new_run(state, self._clock)
        self.report = RunReport(run_id=self._ledger.run_id)
        """What became of it."""
        for calendar in plan.calendars:
            self.report.tenants.setdefault(calendar.tenant_id, TenantReport())

    @property
    def is_whole(self) -> bool:
        """Whether every calendar could be looked at; if not, the mirror is as it was."""
        tenants = self.report.tenants.values()
        return self._budget.reason is None and not any(each.stopped or each.calendars_failed for each in tenants)

    def __aiter__(self) -> AsyncIterator[Change]:
        return self.changes()

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield the changes; with `contextlib.aclosing` around it, a loop that is left early is ended at once.

        Raises:
            ValueError: The plan asks for what the wire format of the services cannot do; nothing was begun.
            SourceError: The mirror cannot be written.
            StateError: The state cannot be used, or is one of another kind of run.
        """
        self._plan.check(self._services(self._plan.calendars[0]).session.wire_format)
        begun_at = self._clock.monotonic()
        await self._ledger.begin_run(kind="pull", mode="pull")
        looks = bulk(self._look, _in_turn(self._plan.calendars), concurrency=_AT_A_TIME, ends_on=Exception)
        status = "failed"
        try:
            async with self._writing() as writer, aclosing(looks.outcomes()) as outcomes:
                async for outcome in outcomes:
                    if outcome.error is not None:
                        raise outcome.error
                    if outcome.result is not None:
                        async with aclosing(self._changes(outcome.input, outcome.result, writer)) as changes:
                            async for change in changes:
                                yield change
                self.report.reason = self._budget.reason
                status = "ended" if self.report.reason is None else self.report.reason.value
                if not self.is_whole:
                    raise _PartOnlyError
        except _PartOnlyError:
            pass
        finally:
            self.report.elapsed = self._clock.monotonic() - begun_at
            await self._ledger.end_run(self.report, status)

    def _writing(self) -> AbstractAsyncContextManager[RecordWriter | None]:
        return nullcontext() if self._mirror is None else self._mirror.writing()

    async def _look(self, calendar: Calendar) -> _Looked | None:
        """Return what the server has of a calendar; `None`: it could not be looked at."""
        report = self.report.tenants[calendar.tenant_id]
        if report.stopped is Stopped.CREDENTIALS or not self._budget.begin():
            return None
        service = self._services(calendar)
        before = self._before.setdefault(calendar.tenant_id, service.session.traffic)
        try:
            return await self._preview(calendar, service, report)
        except AuthenticationError:
            report.stopped = Stopped.CREDENTIALS
        except GuardError:
            report.stopped = Stopped.GUARD  # of this calendar: the tenant's others go on
        except SyncError:
            raise
        except ConnectorError:
            report.calendars_failed += 1
        finally:
            self._budget.end()
            now = service.session.traffic
            report.requests, report.waited = now.requests - before.requests, now.waited - before.waited
        return None

    async def _preview(self, calendar: Calendar, service: AppointmentService, report: TenantReport) -> _Looked | None:
        scope = self._plan.scope
        appointments: list[Appointment] = []
        async with aclosing(pages_of(service, scope.start, scope.end, self._plan.window)) as pages:
            async for page in pages:
                report.minimum += 1
                appointments += page.items
        known = await self._known.appointments(calendar, *scope.as_texts())
        shown = {appointment.appointment_id: appointment for appointment in appointments}
        missing = [
            appointment_id for appointment_id, had in known.items() if had.in_time and appointment_id not in shown
        ]
        if missing:
            self._guard.check(
                calendar,
                missing=len(missing),
                shown=len(shown),
                known=sum(had.in_time for had in known.values()),
                known_of_tenant=await self._known.count(calendar.tenant_id),
                known_of_all=await self._known.count(),
            )
        gone, moved = [], []
        for appointment_id in missing:
            # It may have moved out of the time that is mirrored, and a preview may lag behind.
            try:
                asked = usable_id(appointment_id)
                report.minimum += 1
                appointment = await service.get(asked)
            except (NotFoundError, UnusableIdError):  # of one that no request can name the preview alone tells
                gone.append(appointment_id)
                continue
            if scope.has(appointment):
                shown[appointment_id] = appointment
            else:
                moved.append(appointment)
        return _Looked(list(shown.values()), known, gone, moved)

    async def _changes(
        self, calendar: Calendar, looked: _Looked, writer: RecordWriter | None
    ) -> AsyncGenerator[Change, None]:
        """Yield what has changed in a calendar, and then write it down."""
        report, there, letters = self.report.tenants[calendar.tenant_id], [], []
        for appointment in looked.appointments:
            had = looked.known.get(appointment.appointment_id)
            key = key_of_server(appointment.appointment_id) if had is None else had.key
            if not await _write(writer, calendar, key, appointment):
                letters.append((calendar, _unsayable(key, appointment)))
            if had is None or had.remote_hash != content_hash(appointment):
                kind = ChangeKind.CREATED if had is None else ChangeKind.UPDATED
                yield Change.of(kind, calendar, key, appointment)
                there.append(_in_step(key, appointment))
        for appointment in looked.moved:
            yield Change.of(ChangeKind.MOVED, calendar, looked.known[appointment.appointment_id].key, appointment)
        for appointment_id in looked.gone:
            key = looked.known[appointment_id].key
            yield Change(kind=ChangeKind.DELETED, calendar=calendar, key=key, appointment_id=appointment_id)
        left = [*looked.gone, *(appointment.appointment_id for appointment in looked.moved)]
        gone = [looked.known[appointment_id].key for appointment_id in left]
        await self._ledger.seen(calendar, there=there, gone=gone, letters=letters)
        report.records += len(looked.appointments)
        report.in_sync += len(looked.appointments) - len(letters)
        report.counts[Fate.PULLED] += len(there) + len(gone)
        report.counts[Fate.REFUSED] += len(letters)


class _PartOnlyError(Exception):
    """Not every calendar could be looked at."""


def _in_turn(calendars: Sequence[Calendar]) -> Iterator[Calendar]:
    """Yield one of each tenant in turn, so that no tenant waits for another's pace."""
    by_tenant: dict[str, list[Calendar]] = {}
    for calendar in dict.fromkeys(calendars):
        by_tenant.setdefault(calendar.tenant_id, []).append(calendar)
    return (calendar for calendar in chain.from_iterable(zip_longest(*by_tenant.values())) if calendar is not None)


async def _write(writer: RecordWriter | None, calendar: Calendar, key: str, appointment: Appointment) -> bool:
    """Mirror an appointment, and tell whether a record can say it."""
    try:
        record = record_of(appointment, key=key, calendar=calendar)
        if writer is not None:
            await writer.write(record)
    except (ValueError, TypeError):
        return False
    return True


def _unsayable(key: str, appointment: Appointment) -> DeadLetter:
    reason = why_unsayable(appointment)
    return DeadLetter(
        key=key, operation="pull", error="ValueError", reason=reason, content_hash=content_hash(appointment)
    )


def _in_step(key: str, appointment: Appointment) -> SyncedPair:
    content = content_hash(appointment)
    return SyncedPair(
        key=key,
        appointment_id=appointment.appointment_id,
        local_hash=content,
        remote_hash=content,
        start_time=sortable(appointment.start_time),
        end_time=sortable(appointment.end_time),
    )
