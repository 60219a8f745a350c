"""Recovery: finds out what became of creates that lost their response. One preview is enough for a calendar."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from connector_async._clock import Clock
from connector_async._timestamps import parse_instant
from connector_async.appointments import AppointmentService
from connector_async.sync.budget import Budget
from connector_async.sync.planning.operations import synced_pair
from connector_async.sync.planning.options import SyncSettings
from connector_async.sync.planning.snapshot import ServerSnapshot
from connector_async.sync.records import Calendar
from connector_async.sync.scope import Scope
from connector_async.sync.state.journal import Journal, SyncedPair
from connector_async.sync.state.reader import PendingCreate, StateReader

_MOMENT: Final = timedelta(seconds=1)


@attrs.frozen
class Resolved:
    """What became of the pending creates of a calendar."""

    created: frozenset[str] = frozenset()
    """The keys of those that happened."""
    not_created: frozenset[str] = frozenset()
    """The keys of those that did not."""
    from_earlier_run: frozenset[str] = frozenset()
    """The keys, among both, of those that an earlier run had sent."""


class PendingCreateResolver:
    """Finds out what became of the pending creates of one run.

    A server may still be working on a create when its response is lost, or when the process that sent it is killed. So
    the resolver looks after a grace period. It starts when the create is sent, measured by the monotonic clock. For the
    creates of an earlier run it starts with this run, since the wall clock may have jumped in between.

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
        self._started_at = clock.monotonic()
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

    async def resolve(self, service: AppointmentService, calendar: Calendar) -> Resolved:
        """Wait for the end of the grace period, and find out what became of the pending creates of a calendar.

        Creates of equal content are twins: as many of them have happened as the preview shows untracked appointments.

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
        with self._budget.operation() as may_start:
            if not may_start:
                return Resolved()
            known = await self._state_reader.last_seen(calendar)
            snapshot = await ServerSnapshot.look(service, known, _range_of(service, pending))
        created, not_created = _match(pending, snapshot)
        if created:
            await self._journal.record_synced(calendar, created)
        if not_created:
            await self._journal.drop_pending_creates(calendar, not_created)
        from_earlier_run = frozenset(intent.key for intent in pending if (calendar, intent.key) not in self._sent_at)
        for intent in pending:
            self.resolved(calendar, intent.key)
        return Resolved(frozenset(pair.key for pair in created), frozenset(not_created), from_earlier_run)

    def _due(self, calendar: Calendar, pending: Sequence[PendingCreate]) -> float | None:
        if not pending:
            return None
        sent_at = max(self._sent_at.get((calendar, intent.key), self._started_at) for intent in pending)
        return self._settings.grace + sent_at


def _match(pending: Sequence[PendingCreate], snapshot: ServerSnapshot) -> tuple[list[SyncedPair], list[str]]:
    created, unmatched = [], []
    for intent in pending:
        appointment_id = snapshot.claim(intent.content_hash)
        if appointment_id is None:
            unmatched.append(intent)
        else:
            created.append(synced_pair(intent, appointment_id, intent.content_hash))
    not_created = []
    for intent in unmatched:
        # A preview may omit descriptions. Then title and times must be enough.
        appointment_id = snapshot.claim_without_description(intent.summary_hash)
        if appointment_id is None:
            not_created.append(intent.key)
        else:
            created.append(synced_pair(intent, appointment_id, None))
    return created, not_created


def _range_of(service: AppointmentService, pending: Sequence[PendingCreate]) -> Scope:
    """Return a range of time that all pending creates overlap, where the wire format asks for one."""
    if not service.session.wire_format.carries_user:
        return Scope()
    start = min(parse_instant(intent.start_time) for intent in pending)
    end = max(parse_instant(intent.end_time) for intent in pending)
    return Scope(start=start, end=end + min(_MOMENT, datetime.max.replace(tzinfo=end.tzinfo) - end))
