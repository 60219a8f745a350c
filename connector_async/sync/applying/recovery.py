"""Recovery: finds out what became of creates that lost their response. One preview is enough for a calendar."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs
import orjson

from connector_async._clock import Clock
from connector_async._timestamps import parse_instant
from connector_async.appointments import AppointmentService
from connector_async.exceptions import NotFoundError
from connector_async.models import UNSET, Appointment, NewAppointment
from connector_async.sync.budget import Budget, BudgetSpentError
from connector_async.sync.failures import containing_errors
from connector_async.sync.planning.operations import written_pair
from connector_async.sync.planning.options import SyncSettings
from connector_async.sync.planning.snapshot import AmbiguousMatchError, Operations, ServerSnapshot
from connector_async.sync.records import (
    Calendar,
    appointment_from_row,
    as_carried,
    is_usable_id,
)
from connector_async.sync.scope import Scope
from connector_async.sync.state.journal import Journal, SyncedPair
from connector_async.sync.state.reader import PendingCreate, StateReader

_MARGIN: Final = timedelta(minutes=1)
_MAX_READS: Final = 3  # of known appointments that a preview does not show


@attrs.frozen
class Resolved:
    """What became of the pending creates of a calendar."""

    created: frozenset[str] = frozenset()
    """The keys of those that happened."""
    not_created: frozenset[str] = frozenset()
    """The keys of those that did not."""
    from_earlier_run: frozenset[str] = frozenset()
    """The keys, among both, of those that an earlier run had sent."""
    undecided: frozenset[str] = frozenset()
    """The keys of those that stay pending: the preview did not show all that the server has, or shows several
    appointments that one of them may be."""


@attrs.frozen
class _Matches:
    """The pending creates of a calendar, compared with a preview."""

    created: list[SyncedPair] = attrs.field(factory=list)
    """The pairs of those that are shown."""
    not_shown: list[str] = attrs.field(factory=list)
    """The keys of those that are not."""
    ambiguous: list[str] = attrs.field(factory=list)
    """The keys of those that may be one of several."""

    def add(self, create: PendingCreate, appointment: Appointment, sent: Mapping[str, NewAppointment]) -> None:
        """Add the pair of a create that is shown."""
        pair = written_pair(create, appointment.appointment_id, appointment, create.sent_at)
        new = sent.get(create.key)
        omits_description = appointment.description is None and not (new is not None and new.description is UNSET)
        self.created.append(attrs.evolve(pair, is_confirmed=not omits_description))


class PendingCreateResolver:
    """Finds out what became of the pending creates of one run.

    A server may still be working on a create when its response is lost, or when the process that sent it is killed. So
    the resolver looks after a grace period. It starts when the create is sent, measured by the monotonic clock. What is
    left of it for the creates of an earlier run is measured by the wall clock. If that was set back in between, the
    whole grace period is waited for, and no longer. If it was set forward, the resolver may look too early, and a
    create that the server does not show yet is sent again.

    Args:
        reader: Knows which creates are pending.
        journal: Records what became of them.
        budget: Ends the waits.
        clock: The clock to wait by.
        settings: Have the grace period.
    """

    def __init__(
        self, reader: StateReader, journal: Journal, budget: Budget, clock: Clock, settings: SyncSettings
    ) -> None:
        self._state_reader = reader
        self._journal = journal
        self._budget = budget
        self._clock = clock
        self._settings = settings
        self._started_at = clock.monotonic(), clock.time()
        self._sent_at: dict[tuple[Calendar, str], float] = {}

    def sent(self, calendar: Calendar, key: str) -> None:
        """Note that a create is about to be sent."""
        self._sent_at[calendar, key] = self._clock.monotonic()

    def resolved(self, calendar: Calendar, key: str) -> None:
        """Note that the result of a create is known."""
        self._sent_at.pop((calendar, key), None)

    async def due(self, calendar: Calendar) -> float | None:
        """Return when the grace period of a calendar ends, by the monotonic clock; `None` if no create is pending."""
        return self._due(calendar, await self._state_reader.pending_creates(calendar))

    async def resolve(self, service: AppointmentService, calendar: Calendar, operation: Operations) -> Resolved:
        """Wait for the end of the grace period, and find out what became of the pending creates of a calendar.

        Creates of equal content are twins: as many of them have happened as the preview shows untracked appointments.

        Args:
            service: The service of the calendar.
            calendar: The calendar.
            operation: Is asked before each request.

        Raises:
            ConnectorError: If the preview failed; nothing is resolved then.
            StateError: If the result could not be recorded.
        """
        pending = await self._state_reader.pending_creates(calendar)
        due = self._due(calendar, pending)
        if due is None:
            return Resolved()
        wait = due - self._clock.monotonic()
        if wait > 0 and not await self._budget.sleep(wait):
            return Resolved()
        scope = _range_of(service, pending)
        recent = self._settings.recent(self._clock.time())
        known = await self._state_reader.last_seen(calendar, *scope.bounds(), recent=recent)
        try:
            snapshot = await ServerSnapshot.look(service, known, scope, operation)
        except BudgetSpentError:
            return Resolved()
        matches = _match(pending, snapshot, await self._sent(service, calendar))
        if matches.created:
            await self._journal.record_synced(calendar, matches.created)
        not_created, undecided = frozenset(matches.not_shown), frozenset(matches.ambiguous)
        if not_created and await self._is_complete(service, snapshot, scope, operation):
            await self._journal.drop_pending_creates(calendar, matches.not_shown)
        else:
            not_created, undecided = frozenset(), undecided | not_created
        from_earlier_run = frozenset(create.key for create in pending if (calendar, create.key) not in self._sent_at)
        for create in pending:
            if create.key not in undecided:
                self.resolved(calendar, create.key)
        return Resolved(
            created=frozenset(pair.key for pair in matches.created),
            not_created=not_created,
            from_earlier_run=from_earlier_run - undecided,
            undecided=undecided,
        )

    async def _sent(self, service: AppointmentService, calendar: Calendar) -> dict[str, NewAppointment]:
        """Return what was sent with the pending creates of a calendar, by key, where the source still has it."""
        bodies = await self._state_reader.pending_bodies(calendar)
        wire_format = service.session.wire_format
        return {key: as_carried(appointment_from_row(orjson.loads(body)), wire_format) for key, body in bodies.items()}

    async def _is_complete(
        self, service: AppointmentService, snapshot: ServerSnapshot, scope: Scope, operation: Operations
    ) -> bool:
        """Return whether the server does not have some of what a preview does not show.

        Raises:
            ConnectorError: If an appointment could not be read.
        """
        missing = [appointment_id for appointment_id in snapshot.missing if is_usable_id(appointment_id)]
        for appointment_id in missing[:: -(-len(missing) // _MAX_READS) or 1]:
            with operation() as may_start:
                if not may_start:
                    return False
                try:
                    with containing_errors():
                        appointment = await service.get(appointment_id)
                except NotFoundError:
                    continue
            if scope.overlaps(appointment):  # otherwise it was moved, and the preview is right
                return False
        return True

    def _due(self, calendar: Calendar, pending: Sequence[PendingCreate]) -> float | None:
        if not pending:
            return None
        return max(self._end_of_grace(calendar, create) for create in pending)

    def _end_of_grace(self, calendar: Calendar, create: PendingCreate) -> float:
        """Return when the grace period of a pending create ends, by the monotonic clock."""
        grace = self._settings.grace
        sent_at = self._sent_at.get((calendar, create.key))
        if sent_at is not None:
            return sent_at + grace
        started_at, wall_started_at = self._started_at
        return started_at + min(grace, max(0.0, create.sent_at + grace - wall_started_at))


def _match(pending: Sequence[PendingCreate], snapshot: ServerSnapshot, sent: Mapping[str, NewAppointment]) -> _Matches:
    """Return which of the creates a preview shows.

    Equal content comes first. Then a preview may omit descriptions, so that title and times must be enough. What is
    left may be the server's own version of what it was sent.
    """
    matches, unmatched = _Matches(), []
    for create in pending:
        if (appointment := snapshot.claim(create.content_hash)) is not None:
            matches.add(create, appointment, sent)
        else:
            unmatched.append(create)
    for create in unmatched.copy():
        if (appointment := snapshot.claim_without_description(create.summary_hash)) is not None:
            matches.add(create, appointment, sent)
            unmatched.remove(create)
    for create in unmatched:
        new = sent.get(create.key)
        try:
            appointment = None if new is None else snapshot.claim_normalization(new)
        except AmbiguousMatchError:
            matches.ambiguous.append(create.key)
            continue
        if appointment is not None:
            matches.add(create, appointment, sent)
        else:
            matches.not_shown.append(create.key)
    return matches


def _range_of(service: AppointmentService, pending: Sequence[PendingCreate]) -> Scope:
    """Return a range of time that all pending creates overlap, where the wire format asks for one.

    It is wider by a minute at each end, since a server may round times to minutes.
    """
    if not service.session.wire_format.carries_user:
        return Scope()
    start = min(parse_instant(create.start_time) for create in pending)
    end = max(parse_instant(create.end_time) for create in pending)
    return Scope(
        start=start - min(_MARGIN, start - datetime.min.replace(tzinfo=start.tzinfo)),
        end=end + min(_MARGIN, datetime.max.replace(tzinfo=end.tzinfo) - end),
    )
