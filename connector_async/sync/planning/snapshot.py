"""What the server has of one calendar: read by a preview, and compared with what the state knows."""

from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractContextManager, aclosing
from datetime import datetime, timedelta
from typing import Final, Protocol, Self

import attrs

from connector_async import _log
from connector_async.appointments import AppointmentService
from connector_async.exceptions import DecodingError, NotFoundError
from connector_async.models import Appointment, NewAppointment
from connector_async.pagination import AsyncPager, Page
from connector_async.sync.guard import MissingGuard
from connector_async.sync.records import Calendar, content_hash
from connector_async.sync.scope import Scope
from connector_async.sync.state.reader import LastSeen, StateReader

from .normalization import is_normalization_of, minute_of

_MINUTE: Final = timedelta(minutes=1)


class Previewing(Protocol):
    """The part of an `AppointmentService` that a snapshot needs."""

    def preview(
        self, start: datetime | None = None, end: datetime | None = None, *, window: timedelta | None = None
    ) -> AsyncPager[Appointment]:
        """Return what overlaps a range of time."""
        ...


@attrs.define
class ServerSnapshot:
    """The appointments of one calendar on the server, within a range of time."""

    known: Mapping[str, LastSeen] = attrs.field(repr=False)
    """What the state knows, by id."""
    pages: int = 0
    """How many requests the preview took."""
    unchanged: set[str] = attrs.field(factory=set, repr=False)
    """The ids of the known appointments that are as the state knows them."""
    changed: dict[str, Appointment] = attrs.field(factory=dict, repr=False)
    """The known appointments that differ from what the state knows, by id."""
    untracked: dict[str, Appointment] = attrs.field(factory=dict, repr=False)
    """The appointments that the state does not know, by id, in the server's order."""
    shown: dict[str, Appointment] | None = attrs.field(default=None, repr=False)
    """All appointments, by id, in the server's order; `None` if only what differs is kept."""
    _by_content: defaultdict[str, deque[str]] = attrs.field(factory=lambda: defaultdict(deque), repr=False)
    _by_minute: defaultdict[datetime, list[Appointment]] | None = attrs.field(default=None, repr=False)

    @classmethod
    async def look(
        cls,
        service: Previewing,
        known: Mapping[str, LastSeen],
        scope: Scope,
        *,
        window: timedelta | None = None,
        keep_all: bool = False,
    ) -> Self:
        """Return what a preview of a calendar shows.

        Args:
            service: The service of the calendar.
            known: What the state knows, by id.
            scope: The range of time. An end may be missing where the wire format allows it.
            window: The length of each preview; `None` to preview the whole scope at once.
            keep_all: Whether the unchanged appointments are kept as well.

        Raises:
            ConnectorError: If the preview failed.
        """
        snapshot = cls(known, shown={} if keep_all else None)
        async with aclosing(_pages(service, scope, window)) as pages:
            async for page in pages:
                snapshot.pages += 1
                for appointment in page.items:
                    snapshot.add(appointment)
        return snapshot

    def add(self, appointment: Appointment) -> None:
        """Add an appointment that the server has shown."""
        appointment_id, content = appointment.appointment_id, content_hash(appointment)
        if self.shown is not None:
            self.shown[appointment_id] = appointment
        last_seen = self.known.get(appointment_id)
        if last_seen is not None:
            if last_seen.remote_hash == content:
                self.unchanged.add(appointment_id)
            else:
                self.changed[appointment_id] = appointment
        elif appointment_id not in self.untracked:  # pages that shift while they are read show one twice
            self.untracked[appointment_id] = appointment
            self._by_content[content].append(appointment_id)

    @property
    def missing(self) -> list[str]:
        """The ids of the known appointments within the range that the preview did not show."""
        shown = self.unchanged | self.changed.keys()
        return [
            appointment_id
            for appointment_id, last_seen in self.known.items()
            if last_seen.in_range and appointment_id not in shown
        ]

    async def check_missing(self, guard: MissingGuard, calendar: Calendar, reader: StateReader) -> list[str]:
        """Return the ids in `missing`, after a check that they are not too many to be believed.

        Raises:
            GuardError: If they are too many.
        """
        missing = self.missing
        if missing:
            guard.check(
                calendar,
                missing=len(missing),
                shown=len(self.unchanged) + len(self.changed) + len(self.untracked),
                known=sum(last_seen.in_range for last_seen in self.known.values()),
                known_of_tenant=await reader.count_appointments(calendar.tenant_id),
                known_of_all=await reader.count_appointments(),
            )
        return missing

    def claim(self, content: str) -> str | None:
        """Remove one untracked appointment of this content, and return its id; `None` if there is none.

        Appointments of the same content are twins: any of them may be claimed, each of them once.
        """
        candidates = self._by_content.get(content)
        if not candidates:
            return None
        appointment_id = candidates.popleft()
        del self.untracked[appointment_id]
        return appointment_id

    def claim_without_description(self, summary: str) -> str | None:
        """Remove one untracked appointment that the server shows without a description, and return its id.

        Returns `None` if there is none. Appointments are compared by title and times.

        Args:
            summary: The hash of the title and the times alone.
        """
        candidates = self._by_content.get(summary, deque())
        for appointment_id in candidates:
            if self.untracked[appointment_id].description is None:
                candidates.remove(appointment_id)
                del self.untracked[appointment_id]
                return appointment_id
        return None

    def claim_normalization(self, sent: NewAppointment) -> Appointment | None:
        """Do the same with one that may be the server's version of what it was sent, and return all of it."""
        if self._by_minute is None:
            self._by_minute = defaultdict(list)
            for appointment in self.untracked.values():
                self._by_minute[minute_of(appointment.start_time)].append(appointment)
        minute = minute_of(sent.start_time)
        for appointment in self._by_minute.get(minute, []) + self._by_minute.get(_next(minute), []):
            if appointment.appointment_id in self.untracked and is_normalization_of(appointment, sent):
                return self.claim_by_id(appointment.appointment_id)
        return None

    def claim_by_id(self, appointment_id: str) -> Appointment | None:
        """Remove the untracked appointment of this id, and return it; `None` if there is none."""
        appointment = self.untracked.pop(appointment_id, None)
        if appointment is not None:
            self._by_content[content_hash(appointment)].remove(appointment_id)
        return appointment


class BudgetSpentError(Exception):
    """No more requests may be sent."""


class CalendarReader:
    """Reads one calendar of the server, as long as the budget lasts.

    Args:
        service: The service of the calendar.
        operation: Returns a block for one operation, which yields whether it may start.
    """

    def __init__(self, service: AppointmentService, operation: Callable[[], AbstractContextManager[bool]]) -> None:
        self._service = service
        self._operation = operation
        self.requests_needed = 0
        """How many requests the reads need, without those of retries."""

    @property
    def needs_range(self) -> bool:
        """Whether a preview needs both ends of a range of time."""
        return self._service.session.wire_format.carries_user

    async def look(self, known: Mapping[str, LastSeen], scope: Scope, window: timedelta | None) -> ServerSnapshot:
        """Return what a preview of the calendar shows; see `ServerSnapshot.look`.

        Raises:
            ConnectorError: If the preview failed.
            BudgetSpentError: If no more requests may be sent.
        """
        with self._operation() as may_start:
            if not may_start:
                raise BudgetSpentError
            snapshot = await ServerSnapshot.look(self._service, known, scope, window=window)
        self.requests_needed += snapshot.pages
        return snapshot

    async def get(self, appointment_id: str) -> Appointment | None:
        """Return an appointment; `None` if it does not exist.

        Raises:
            ConnectorError: If the request failed otherwise.
            BudgetSpentError: If no more requests may be sent.
        """
        with self._operation() as may_start:
            if not may_start:
                raise BudgetSpentError
            self.requests_needed += 1
            try:
                return await self._service.get(appointment_id)
            except NotFoundError:
                return None


def _next(minute: datetime) -> datetime:
    return minute + min(_MINUTE, datetime.max.replace(tzinfo=minute.tzinfo) - minute)


async def _pages(
    service: Previewing, scope: Scope, window: timedelta | None
) -> AsyncGenerator[Page[Appointment], None]:
    """Yield the pages of a preview. An error of the paging style fails this calendar alone."""
    try:
        async with aclosing(service.preview(scope.start, scope.end, window=window).pages()) as pages:
            async for page in pages:
                yield page
    except (ValueError, TypeError) as error:
        _log.hook_failure("preview", error)
        problem = f"$: {type(error).__name__}"
    else:
        return
    raise DecodingError("the preview cannot be read", problems=[problem])
