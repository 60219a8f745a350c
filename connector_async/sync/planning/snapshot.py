"""What the server has of one calendar: read by a preview, and compared with what the state knows."""

from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing
from datetime import datetime, timedelta
from typing import Final, Protocol, Self

import attrs

from connector_async import _log
from connector_async.appointments import AppointmentService
from connector_async.exceptions import ConnectorError, DecodingError, NotFoundError
from connector_async.models import Appointment, NewAppointment
from connector_async.pagination import AsyncPager, Page
from connector_async.sync.budget import BudgetSpentError
from connector_async.sync.failures import ApplicationError, containing_errors
from connector_async.sync.guard import MissingGuard
from connector_async.sync.records import ABSENT, Calendar, content_hash, summary_hash
from connector_async.sync.scope import Scope
from connector_async.sync.state.reader import LastSeen, StateReader

from .normalization import is_normalization_of, is_same_version, minute_of

_MINUTE: Final = timedelta(minutes=1)
_HTML: Final = "Html"

Operations = Callable[[], AbstractContextManager[bool]]
"""Returns a block for one request, which yields whether it may start: `Budget.operation`."""


class Previewing(Protocol):
    """The part of an `AppointmentService` that a snapshot needs."""

    def preview(self, start: datetime | None = None, end: datetime | None = None) -> AsyncPager[Appointment]:
        """Return what overlaps a range of time."""
        ...


class AmbiguousMatchError(Exception):
    """Several different appointments may be the server's version of one record."""


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
    outdated: set[str] = attrs.field(factory=set, repr=False)
    """The ids of the known appointments that are shown as they may have been before a recent write."""
    untracked: dict[str, Appointment] = attrs.field(factory=dict, repr=False)
    """The appointments that the state does not know, by id, in the server's order."""
    shows_descriptions: bool = False
    """Whether any appointment was shown with a description."""
    shown: dict[str, Appointment] | None = attrs.field(default=None, repr=False)
    """All appointments, by id, in the server's order; `None` if only what differs is kept."""
    recreated: dict[str, Appointment] = attrs.field(factory=dict, repr=False)
    """What the server may have created in place of known appointments, by their ids; see `match_recreated`."""
    _reserved: set[str] = attrs.field(factory=set, repr=False)
    _by_content: defaultdict[str, deque[str]] = attrs.field(factory=lambda: defaultdict(deque), repr=False)
    _by_minute: defaultdict[datetime, list[Appointment]] | None = attrs.field(default=None, repr=False)

    @classmethod
    async def look(
        cls,
        service: Previewing,
        known: Mapping[str, LastSeen],
        scope: Scope,
        operation: Operations,
        *,
        window: timedelta | None = None,
        keep_all: bool = False,
    ) -> Self:
        """Return what a preview of a calendar shows.

        Args:
            service: The service of the calendar.
            known: What the state knows, by id.
            scope: The range of time. An end may be missing where the wire format allows it.
            operation: Is asked before each page.
            window: The length of each preview; `None` to preview the whole scope at once.
            keep_all: Whether the unchanged appointments are kept as well.

        Raises:
            ConnectorError: If the preview failed.
            BudgetSpentError: If no more requests may be sent.
        """
        snapshot = cls(known, shown={} if keep_all else None)
        async with aclosing(_pages(service, scope, window, operation)) as pages:
            async for page in pages:
                snapshot.pages += 1
                for appointment in page.items:
                    snapshot.add(appointment)
        snapshot._match_ids_without_case()
        return snapshot

    def add(self, appointment: Appointment) -> None:
        """Add an appointment that the server has shown.

        What a recent write has replaced says nothing: the look may be from before that write.
        """
        appointment_id, content = appointment.appointment_id, content_hash(appointment)
        self.shows_descriptions = self.shows_descriptions or appointment.description is not None
        if self.shown is not None:
            self.shown[appointment_id] = appointment
        last_seen = self.known.get(appointment_id)
        if last_seen is not None:
            if _is_as_known(appointment, content, last_seen):
                self.unchanged.add(appointment_id)
            elif last_seen.may_be_outdated(appointment):
                self.outdated.add(appointment_id)
            else:
                self.changed[appointment_id] = appointment
        elif appointment_id not in self.untracked:  # pages that shift while they are read show one twice
            self.untracked[appointment_id] = appointment
            self._by_content[content].append(appointment_id)

    @property
    def missing(self) -> list[str]:
        """The ids of the known appointments within the range that the preview did not show, but had to."""
        shown = self.unchanged | self.changed.keys() | self.outdated
        return [
            appointment_id
            for appointment_id, last_seen in self.known.items()
            if last_seen.in_range
            and not last_seen.may_be_missing
            and appointment_id not in shown
            and appointment_id not in self.recreated
        ]

    @property
    def outdated_since(self) -> float | None:
        """When the last write was that the look may be from before of; `None` if there was none.

        In seconds since 1970 in UTC. Deletes do not count: nothing is done about an appointment that was deleted.
        """
        times = [
            last_seen.recent_since
            for appointment_id, last_seen in self.known.items()
            if last_seen.recent_since is not None
            and last_seen.remote_hash != ABSENT
            and (
                appointment_id in self.outdated
                or (last_seen.in_range and last_seen.may_be_missing and not self._shows(appointment_id))
            )
        ]
        return max(times, default=None)

    def _shows(self, appointment_id: str) -> bool:
        return appointment_id in self.unchanged or appointment_id in self.changed or appointment_id in self.outdated

    @property
    def unconfirmed(self) -> list[str]:
        """The keys whose last write is shown for the first time, as it was known."""
        known = [self.known[appointment_id] for appointment_id in self.unchanged]
        return [last_seen.key for last_seen in known if not last_seen.is_confirmed]

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

    def match_recreated(self) -> None:
        """Match each missing appointment with an untracked one of equal content: it may be that with a new id."""
        for appointment_id in self.missing if self.untracked else ():
            last_seen = self.known[appointment_id]
            found = None if last_seen.remote_hash is None else self.claim(last_seen.remote_hash)
            if found is None and last_seen.remote_hash is not None and last_seen.summary_hash is not None:
                found = self.claim_without_description(last_seen.summary_hash)
            if found is not None:
                self.recreated[appointment_id] = found

    def reserve(self, contents: Iterable[str]) -> None:
        """Keep an untracked appointment of each of these contents for `claim` alone: a better match is to come."""
        for content, count in Counter(contents).items():
            self._reserved.update(list(self._by_content.get(content, ()))[:count])

    def claim(self, content: str) -> Appointment | None:
        """Remove one untracked appointment of this content, and return it; `None` if there is none.

        Appointments of the same content are twins: any of them may be claimed, each of them once.
        """
        candidates = self._by_content.get(content)
        return self.untracked.pop(candidates.popleft()) if candidates else None

    def claim_without_description(self, summary: str) -> Appointment | None:
        """Remove one untracked appointment that the server shows without a description, and return it.

        Returns `None` if there is none. Appointments are compared by title and times.

        Args:
            summary: The hash of the title and the times alone.
        """
        candidates = self._by_content.get(summary, deque())
        for appointment_id in candidates:
            if self.untracked[appointment_id].description is None and appointment_id not in self._reserved:
                return self.claim_by_id(appointment_id)
        return None

    def claim_normalization(self, sent: NewAppointment) -> Appointment | None:
        """Remove one untracked appointment that may be the server's version of what it was sent, and return it.

        Returns `None` if there is none. Candidates that were cut off come last, and equal ones are twins.

        Raises:
            AmbiguousMatchError: If there are candidates that differ by more than how servers normalize.
        """
        if self._by_minute is None:
            self._by_minute = defaultdict(list)
            for appointment in self.untracked.values():
                self._by_minute[minute_of(appointment.start_time)].append(appointment)
        minute = minute_of(sent.start_time)
        candidates = [
            appointment
            for appointment in self._by_minute.get(minute, []) + self._by_minute.get(_next(minute), [])
            if appointment.appointment_id in self.untracked
            and appointment.appointment_id not in self._reserved
            and is_normalization_of(appointment, sent)
        ]
        if not candidates:
            return None
        whole = [candidate for candidate in candidates if is_same_version(candidate, sent)]
        first, *others = whole or candidates
        if not all(is_same_version(other, first) for other in others):
            raise AmbiguousMatchError
        return self.claim_by_id(first.appointment_id)

    def claim_by_id(self, appointment_id: str) -> Appointment | None:
        """Remove the untracked appointment of this id, and return it; `None` if there is none."""
        appointment = self.untracked.pop(appointment_id, None)
        if appointment is not None:
            self._by_content[content_hash(appointment)].remove(appointment_id)
        return appointment

    def _match_ids_without_case(self) -> None:
        """Take an untracked appointment for the known one whose id differs in case alone, if there is one of each."""
        if not self.untracked or not self.known:
            return
        shown, known = defaultdict(list), defaultdict(list)
        for appointment_id in self.untracked:
            shown[appointment_id.casefold()].append(appointment_id)
        for appointment_id in self.known:
            known[appointment_id.casefold()].append(appointment_id)
        for folded, (shown_id, *others) in shown.items():
            candidates = known.get(folded, [])
            if len(candidates) != 1 or others or candidates[0] in self.unchanged or candidates[0] in self.changed:
                continue
            appointment = self.claim_by_id(shown_id)
            if self.shown is not None:
                self.shown.pop(shown_id, None)
            if appointment is not None:
                self.add(attrs.evolve(appointment, appointment_id=candidates[0]))


def _is_as_known(appointment: Appointment, content: str, last_seen: LastSeen) -> bool:
    """Return whether the server shows what it had before. What is omitted is unknown, and so as before.

    The type of a description may be omitted as well.
    """
    if last_seen.remote_hash is None:
        return False
    if content == last_seen.remote_hash:
        return True
    if appointment.description is None:
        return last_seen.summary_hash is not None and summary_hash(appointment) == last_seen.summary_hash
    if appointment.description_type is not None:
        return False
    return content_hash(attrs.evolve(appointment, description_type=_HTML)) == last_seen.remote_hash


class CalendarReader:
    """Reads one calendar of the server, as long as the budget lasts.

    Args:
        service: The service of the calendar.
        operation: Returns a block for one request, which yields whether it may start.
    """

    def __init__(self, service: AppointmentService, operation: Operations) -> None:
        self._service = service
        self._operation = operation
        self.requests_needed = 0
        """How many requests the reads need, without those of retries."""
        self.outdated_since: float | None = None
        """When the last write was that the look may be from before of; see `ServerSnapshot.outdated_since`."""

    @property
    def needs_range(self) -> bool:
        """Whether a preview needs both ends of a range of time."""
        return self._service.session.wire_format.carries_user

    async def look(
        self, known: Mapping[str, LastSeen], scope: Scope, window: timedelta | None, *, keep_all: bool = False
    ) -> ServerSnapshot:
        """Return what a preview of the calendar shows; see `ServerSnapshot.look`.

        Raises:
            ConnectorError: If the preview failed.
            BudgetSpentError: If no more requests may be sent.
        """
        snapshot = await ServerSnapshot.look(
            self._service, known, scope, self._operation, window=window, keep_all=keep_all
        )
        self.requests_needed += snapshot.pages
        self.outdated_since = snapshot.outdated_since
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
                with containing_errors():
                    return await self._service.get(appointment_id)
            except NotFoundError:
                return None


def _next(minute: datetime) -> datetime:
    return minute + min(_MINUTE, datetime.max.replace(tzinfo=minute.tzinfo) - minute)


async def _pages(
    service: Previewing, scope: Scope, window: timedelta | None, operation: Operations
) -> AsyncGenerator[Page[Appointment], None]:
    """Yield the pages of a preview. An error of the paging style or of the session fails this calendar alone.

    The windows are not left to the service, so that the budget is asked before each page of each window.
    """
    try:
        for start, end in _windows(scope, window):
            async with aclosing(service.preview(start, end).pages()) as pages:
                has_next = True
                while has_next:
                    with operation() as may_start:
                        if not may_start:
                            raise BudgetSpentError
                        page = await anext(pages)
                    yield page
                    has_next = page.continuation_token is not None
    except (ConnectorError, BudgetSpentError):
        raise
    except (ValueError, TypeError) as error:
        _log.hook_failure("preview", error)
        failure: ConnectorError = DecodingError("the preview cannot be read", problems=[f"$: {type(error).__name__}"])
    except Exception as error:  # noqa: BLE001 - the application's
        _log.hook_failure("preview", error)
        failure = ApplicationError(f"the preview raised {type(error).__name__}")
    else:
        return
    raise failure


def _windows(scope: Scope, window: timedelta | None) -> Iterator[tuple[datetime | None, datetime | None]]:
    """Yield the ends of each preview."""
    start, end = scope.start, scope.end
    if window is not None and start is not None and end is not None:
        while window < end - start:
            yield start, start + window
            start += window
    yield start, end
