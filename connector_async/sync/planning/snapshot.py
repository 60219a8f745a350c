"""What the server has of one calendar, as a preview shows it: told apart by what was known, and by content."""

from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Protocol

import attrs

from connector_async import _log
from connector_async.exceptions import DecodingError
from connector_async.models import Appointment
from connector_async.pagination import AsyncPager, Page
from connector_async.sync.records import content_hash
from connector_async.sync.state.reader import LastSeen


class Previewing(Protocol):
    """What is needed of an `AppointmentService` to look."""

    def preview(
        self, start: datetime | None = None, end: datetime | None = None, *, window: timedelta | None = None
    ) -> AsyncPager[Appointment]:
        """Return what overlaps a time."""
        ...


async def pages_of(
    service: Previewing, start: datetime | None, end: datetime | None, window: timedelta | None
) -> AsyncGenerator[Page[Appointment], None]:
    """Yield the pages of a calendar's preview. What its pages make a paging style raise is a failure of this calendar.

    Raises:
        DecodingError: The preview raised `ValueError` or `TypeError`, which is logged.
        ConnectorError: The preview failed.
    """
    try:
        async with aclosing(service.preview(start, end, window=window).pages()) as pages:
            async for page in pages:
                yield page
    except (ValueError, TypeError) as error:
        _log.hook_failure("preview", error)
        problem = f"$: {type(error).__name__}"
    else:
        return
    raise DecodingError("the preview cannot be read", problems=[problem])


@attrs.define
class ServerSnapshot:
    """The appointments of one calendar on the server, as far as a time of it was looked at."""

    known: Mapping[str, LastSeen] = attrs.field(repr=False)
    """By id, what it had."""
    pages: int = 0
    """How many requests it took."""
    unchanged: set[str] = attrs.field(factory=set, repr=False)
    """The ids of those that are as they were known."""
    changed: dict[str, Appointment] = attrs.field(factory=dict, repr=False)
    """By id: those that are known, and not as they were."""
    unknown: dict[str, Appointment] = attrs.field(factory=dict, repr=False)
    """By id: those that are not known; in the server's order."""
    _by_content: defaultdict[str, deque[str]] = attrs.field(factory=lambda: defaultdict(deque), repr=False)

    @classmethod
    async def look(
        cls,
        service: Previewing,
        known: Mapping[str, LastSeen],
        start: datetime | None,
        end: datetime | None,
        *,
        window: timedelta | None = None,
    ) -> "ServerSnapshot":
        """Preview a time of a calendar.

        Args:
            service: Of the calendar.
            known: By id, what it had.
            start: Aware; `None`: from the beginning of time, where the wire format allows it.
            end: Aware; `None`: to its end, where the wire format allows it.
            window: How long a time is previewed at once; `None`: the whole.

        Raises:
            ConnectorError: The preview failed.
        """
        remote = cls(known)
        async with aclosing(pages_of(service, start, end, window)) as pages:
            async for page in pages:
                remote.pages += 1
                for appointment in page.items:
                    remote._add(appointment)
        return remote

    def _add(self, appointment: Appointment) -> None:
        appointment_id, content = appointment.appointment_id, content_hash(appointment)
        had = self.known.get(appointment_id)
        if had is not None:
            if had.remote_hash == content:
                self.unchanged.add(appointment_id)
            else:
                self.changed[appointment_id] = appointment
        elif appointment_id not in self.unknown:  # pages that shift while they are walked show one twice
            self.unknown[appointment_id] = appointment
            self._by_content[content].append(appointment_id)

    @property
    def missing(self) -> list[str]:
        """The ids of those that were known, lie in the time that was looked at, and were not shown."""
        shown = self.unchanged | self.changed.keys()
        return [
            appointment_id for appointment_id, had in self.known.items() if had.in_range and appointment_id not in shown
        ]

    @property
    def shown(self) -> int:
        """How many appointments the server has shown, but for those that have been claimed."""
        return len(self.unchanged) + len(self.changed) + len(self.unknown)

    def claim(self, content: str) -> str | None:
        """Return the id of one that nobody knows and that has this content, and take it: nobody else gets it.

        Several of the same content are twins, and stand for each other.
        """
        candidates = self._by_content.get(content)
        if not candidates:
            return None
        appointment_id = candidates.popleft()
        del self.unknown[appointment_id]
        return appointment_id

    def claim_without_description(self, summary: str) -> str | None:
        """Do the same among those that the server shows without a description, by the hash of title and times."""
        candidates = self._by_content.get(summary, deque())
        for appointment_id in candidates:
            if self.unknown[appointment_id].description is None:
                candidates.remove(appointment_id)
                del self.unknown[appointment_id]
                return appointment_id
        return None

    def claim_by_id(self, appointment_id: str) -> Appointment | None:
        """Return the one of that id if nobody knows it, and take it."""
        appointment = self.unknown.pop(appointment_id, None)
        if appointment is not None:
            self._by_content[content_hash(appointment)].remove(appointment_id)
        return appointment
