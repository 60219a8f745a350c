"""iCalendar (RFC 5545): an event of a calendar is a record. Needs the extra `sync`.

What iCalendar has no place for stands in properties and parameters that begin with `X-CONNECTOR-`, so that what a
mirror writes is read back whole, and other programs read what they know of it.
"""

import os
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

from connector_async._checks import check_tenant_id, check_time_zone
from connector_async._timestamps import zone_named
from connector_async.sync.records import SourceProblem, SourceRecord, row_of

from .icalendar_components import ZONE, Component, components
from .icalendar_event import EventReader, event_of, is_cancelled
from .mirror import RecordWriter, replacing
from .reading import in_chunks, problem_of, record_or_problem

_HEAD: Final = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//connector-async//mirror//EN\r\n"
_TAIL: Final = b"END:VCALENDAR\r\n"


class ICalendarSource:
    """Records of an iCalendar file: its events. Other components are left out, and so are cancelled events.

    A record's key is the UID, with `/` and the RECURRENCE-ID in UTC behind it where there is one. The tenant and the
    user are X-CONNECTOR-TENANT-ID, X-CONNECTOR-DOMAIN-ID and X-CONNECTOR-AD-ID. It was changed at LAST-MODIFIED, or
    else at DTSTAMP. It ends at DTEND, or after DURATION, whose days have 24 hours unless DTSTART is a day; without
    both, a day lasts a day, and anything else no time.

    Args:
        path: The file.
        tenant_id: The tenant of an event that names none.
        assume_zone: The zone of floating times and of days. `None`: an event that has such a one is a problem.

    Raises:
        ValueError: `tenant_id` cannot be a tenant's, or `assume_zone` is none that has an offset.
        TypeError: `assume_zone` is no `tzinfo`.
    """

    def __init__(self, path: Path | str, *, tenant_id: str | None = None, assume_zone: tzinfo | None = None) -> None:
        if assume_zone is not None:
            check_time_zone("assume_zone", assume_zone)
        self._path = path
        self._tenant_id = None if tenant_id is None else check_tenant_id(tenant_id)
        self._assume_zone = assume_zone

    @property
    def name(self) -> str:
        """The file, as it was named."""
        return os.fspath(self._path)

    def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        """Yield the records, read in a worker thread some hundred at a time. The line of one is that of BEGIN:VEVENT.

        An event that recurs is a problem, as the API knows no recurrence. So is one whose zone is neither a known name
        nor that of a VTIMEZONE that stands before it.

        Raises:
            SourceError: The file cannot be read, is no iCalendar file, or was cut off.
        """
        return in_chunks(self._read())

    def _read(self) -> Generator[SourceRecord | SourceProblem, None, None]:
        zones = _Zones()
        reader = EventReader(zones.named, self._assume_zone)
        for component in components(self._path):
            if component.name == ZONE:
                zones.add(component)
            elif (item := self._item(component, reader)) is not None:
                yield item

    def _item(self, component: Component, reader: EventReader) -> SourceRecord | SourceProblem | None:
        # Imported here: nobody needs it who reads no such file.
        from icalendar import Event  # noqa: PLC0415

        row: dict[str, str | None] = {}
        try:
            event = Event.from_ical(component.text())
        except Exception:  # noqa: BLE001 - it raises what it runs into, and its messages hold the texts
            return self._problem(row, "the event cannot be parsed", component.line)
        if is_cancelled(event):
            return None
        try:
            row |= reader.identity(event)
            row |= reader.content(event)
        except ValueError as error:
            return self._problem(row, str(error), component.line)
        return record_or_problem(row, source=self.name, line=component.line, tenant_id=self._tenant_id)

    def _problem(self, row: dict[str, str | None], reason: str, line: int) -> SourceProblem:
        return problem_of(row, reason, source=self.name, line=line, tenant_id=self._tenant_id)


class ICalendarMirror:
    """Keeps a set of records as an iCalendar file. Further fields of an appointment (`extra`) are not written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Replace the file by what is written in the block; see `Mirror.writing`."""
        return replacing(self._path, _encode, head=_HEAD, tail=_TAIL)


class _Zones:
    """The zones that events may name: those of IANA and of Windows, and those that the file itself describes."""

    def __init__(self) -> None:
        self._waiting: list[Component] = []
        self._described: dict[str, tzinfo] = {}

    def add(self, component: Component) -> None:
        self._waiting.append(component)

    def named(self, name: str) -> tzinfo | None:
        known = zone_named(name)
        if known is not None:
            return known
        while self._waiting:
            self._describe(self._waiting.pop(0))
        return self._described.get(name)

    def _describe(self, component: Component) -> None:
        from icalendar import Timezone  # noqa: PLC0415 - as above

        try:
            parsed: Any = Timezone.from_ical(component.text())
            self._described.setdefault(str(parsed["TZID"]), parsed.to_tz(lookup_tzid=False))
        except Exception:  # noqa: BLE001 - as above; an event that needs it tells that it is not known
            return


def _encode(records: list[SourceRecord]) -> bytes:
    return b"".join(event_of(record, row_of(record)) for record in records)
