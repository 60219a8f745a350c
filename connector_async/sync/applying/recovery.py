"""Finding out what became of creates whose answers were lost: one preview for all of a calendar, after a grace."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from connector_async._clock import Clock
from connector_async._timestamps import parse_instant
from connector_async.appointments import AppointmentService
from connector_async.sync.budget import Budget
from connector_async.sync.planning.snapshot import ServerSnapshot
from connector_async.sync.records import Calendar
from connector_async.sync.state.journal import Journal, SyncedPair
from connector_async.sync.state.reader import PendingCreate, StateReader

_MOMENT: Final = timedelta(seconds=1)


@attrs.frozen
class Settled:
    """What was found out."""

    found: frozenset[str] = frozenset()
    """The keys of those that have happened."""
    absent: frozenset[str] = frozenset()
    """The keys of those that have not."""
    of_before: frozenset[str] = frozenset()
    """The keys, among both, of those that a run before has sent."""


class PendingCreateResolver:
    """Settles the open creates of one run.

    A server may still be at work on what was sent when its answer is lost, or when the process that sent it is killed.
    So it is looked at when the grace has passed: since the create was sent, by the clock that never jumps; for those of
    a run before since this one began, as nobody knows how far the wall clock has jumped meanwhile.

    Args:
        known: Knows which are open.
        ledger: Is told what became of them.
        budget: Ends the waits.
        clock: By which it is waited.
        grace: Seconds that a server may take to make what it was sent visible.
    """

    def __init__(self, known: StateReader, ledger: Journal, budget: Budget, clock: Clock, *, grace: float) -> None:
        self._known = known
        self._ledger = ledger
        self._budget = budget
        self._clock = clock
        self._grace = grace
        self._begun_at = clock.monotonic()
        self._sent_at: dict[tuple[Calendar, str], float] = {}

    def sent(self, calendar: Calendar, key: str) -> None:
        """Note that a create is about to be sent."""
        self._sent_at[calendar, key] = self._clock.monotonic()

    def answered(self, calendar: Calendar, key: str) -> None:
        """Note that what became of it is known."""
        self._sent_at.pop((calendar, key), None)

    async def due(self, calendar: Calendar) -> float | None:
        """Return when the creates of a calendar can be settled, by the monotonic clock; `None`: none is open."""
        intents = await self._known.pending_creates(calendar)
        if not intents:
            return None
        return self._grace + max(self._sent_at.get((calendar, intent.key), self._begun_at) for intent in intents)

    async def settle(self, service: AppointmentService, calendar: Calendar) -> Settled:
        """Find out what became of the open creates of a calendar.

        Those of equal content are twins: as many as the preview shows, beyond what is known, have happened.

        Raises:
            ConnectorError: The preview failed; nothing is settled.
            StateError: It could not be written down.
        """
        due = await self.due(calendar)
        if due is None:
            return Settled()
        intents = await self._known.pending_creates(calendar)
        wait = due - self._clock.monotonic()
        if (wait > 0 and not await self._budget.sleep(wait)) or not self._budget.begin():
            return Settled()
        try:
            start, end = _time_of(service, intents)
            remote = await ServerSnapshot.look(service, await self._known.last_seen(calendar), start, end)
        finally:
            self._budget.end()
        found, absent = _match(intents, remote)
        if found:
            await self._ledger.record_synced(calendar, found)
        if absent:
            await self._ledger.drop_pending_creates(calendar, absent)
        before = frozenset(intent.key for intent in intents if (calendar, intent.key) not in self._sent_at)
        for intent in intents:
            self.answered(calendar, intent.key)
        return Settled(frozenset(result.key for result in found), frozenset(absent), before)


def _match(intents: Sequence[PendingCreate], remote: ServerSnapshot) -> tuple[list[SyncedPair], list[str]]:
    found, left = [], []
    for intent in intents:
        appointment_id = remote.claim(intent.content_hash)
        if appointment_id is None:
            left.append(intent)
        else:
            found.append(SyncedPair.from_pending_create(intent, appointment_id, intent.content_hash))
    absent = []
    for intent in left:
        # A preview may leave descriptions out: then title and times have to do.
        appointment_id = remote.claim_without_description(intent.summary_hash)
        if appointment_id is None:
            absent.append(intent.key)
        else:
            found.append(SyncedPair.from_pending_create(intent, appointment_id, None))
    return found, absent


def _time_of(service: AppointmentService, intents: Sequence[PendingCreate]) -> tuple[datetime | None, datetime | None]:
    """Return a time that all of them overlap, where the wire format asks for one."""
    if not service.session.wire_format.carries_user:
        return None, None
    start = min(parse_instant(intent.start_time) for intent in intents)
    end = max(parse_instant(intent.end_time) for intent in intents)
    return start, end + min(_MOMENT, datetime.max.replace(tzinfo=end.tzinfo) - end)
