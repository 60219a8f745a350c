"""iCalendar (RFC 5545): each event of a calendar is a record. Needs the extra `sync`.

Fields that iCalendar does not have are in properties and parameters that start with `X-CONNECTOR-`. So a mirror is read
back without loss, and other programs read the rest.
"""

import os
from collections.abc import AsyncIterator, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

from connector_async._checks import check_time_zone
from connector_async._timestamps import zone_named
from connector_async.sync.records import SourceProblem, SourceRecord, row_of
from connector_async.sync.scope import Scope

from .icalendar_components import CALENDAR_END, EVENT, ZONE, Component, read_components
from .icalendar_event import EventReader, event_lines, is_cancelled
from .merging import merge_into_file
from .mirror import RecordChange, RecordId, RecordWriter, replace_file
from .reading import Piece, ReadingCounts, RowReader, iterate_in_thread, numbered_lines

_HEADER: Final = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//connector-async//mirror//EN\r\n"
_FOOTER: Final = b"END:VCALENDAR\r\n"


class ICalendarSource:
    """The records of an iCalendar file: its events. Other components are skipped, and so are cancelled events.

    The key of a record is the UID; with a RECURRENCE-ID, it is the UID, `/` and the RECURRENCE-ID in UTC. The tenant
    and the user are X-CONNECTOR-TENANT-ID, X-CONNECTOR-DOMAIN-ID and X-CONNECTOR-AD-ID. The time of the last change is
    LAST-MODIFIED, or else DTSTAMP. The end is DTEND, or DTSTART plus DURATION. Days of a duration have 24 hours, unless
    DTSTART is a date. Without both, a date lasts one day, and a date-time has no duration.

    Args:
        path: The file.
        tenant_id: The tenant of an event without one.
        assume_zone: The time zone of floating times and of dates. `None`: an event with one of them is a problem.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id, or `assume_zone` has no UTC offset.
        TypeError: If `assume_zone` is not a `tzinfo`.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        tenant_id: str | None = None,
        assume_zone: tzinfo | None = None,
        expand: Scope | None = None,
    ) -> None:
        if assume_zone is not None:
            check_time_zone("assume_zone", assume_zone)
        self.expand = expand
        self.counts = ReadingCounts()
        self._path = path
        self._reader = RowReader(os.fspath(path), tenant_id)
        self._assume_zone = assume_zone

    @property
    def name(self) -> str:
        """The file, as the caller named it."""
        return self._reader.source

    @property
    def tenant_id(self) -> str | None:
        """The tenant of a record that names none."""
        return self._reader.tenant_id

    def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        """Yield the records. A worker thread reads some hundred at a time. The line of a record is its BEGIN:VEVENT.

        A recurring event is a problem, as the API has no recurrence. So is an event with a time zone that is neither a
        known name nor described by a VTIMEZONE before the event.

        Raises:
            SourceError: If the file cannot be read, is not an iCalendar file, or was cut off.
        """
        return iterate_in_thread(self._read())

    def _read(self) -> Generator[SourceRecord | SourceProblem, None, None]:
        with closing(numbered_lines(self._path)) as lines:
            for piece in _ICalendarEditor(self._reader, self._assume_zone).pieces(lines):
                if piece.item is not None:
                    yield piece.item


class _ICalendarEditor:
    """Reads and edits an iCalendar file; see `FileEditor`. A changed event loses what this package does not model."""

    line_end = b"\r\n"

    def __init__(self, reader: RowReader, assume_zone: tzinfo | None) -> None:
        self._reader = reader
        self._assume_zone = assume_zone

    def prepare(self, records: Sequence[SourceRecord]) -> None:
        """Do nothing: an event can have any property."""

    def pieces(self, lines: Iterator[tuple[int, bytes]]) -> Generator[Piece, None, None]:
        """Yield each event, each time zone, and each line outside of them."""
        zones = _TimeZones()
        events = EventReader(zones.find, self._assume_zone)
        for component in read_components(self._reader.source, lines):
            if component.name == ZONE:
                zones.add(component)
            item = self._read_event(component, events) if component.name == EVENT else None
            yield Piece(component.raw, item, is_end=component.name == CALENDAR_END)

    def kept(self, piece: Piece) -> bytes:
        """Return a part as it is."""
        return piece.raw

    def changed(self, piece: Piece, record: SourceRecord) -> bytes:  # noqa: ARG002 - the protocol's
        """Return a new event in the place of an event."""
        return event_lines(record, row_of(record))

    def added(self, records: Sequence[SourceRecord]) -> bytes:
        """Return new events."""
        return _encode(records)

    def _read_event(self, component: Component, events: EventReader) -> SourceRecord | SourceProblem | None:
        # Imported here, since the other formats do not need it.
        from icalendar import Event  # noqa: PLC0415

        try:
            event = Event.from_ical(component.as_string())
        except Exception:  # noqa: BLE001 - the library raises anything, and its messages repeat personal data
            return self._reader.problem("the event cannot be parsed", component.line)
        if is_cancelled(event):
            return None
        row: dict[str, str | None] = {}
        try:
            row |= events.identity(event)
            row |= events.content(event)
        except ValueError as error:
            return self._reader.problem(str(error), component.line, row)
        return self._reader.read(row, component.line)


class ICalendarMirror:
    """A mirror in an iCalendar file. Unknown fields of an appointment (`extra`) are not written.

    Args:
        path: The file.
        tenant_id: The tenant of an event without one, as for the source that reads the file.
        assume_zone: The time zone of floating times and of dates, as for the source that reads the file.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id, or `assume_zone` has no UTC offset.
        TypeError: If `assume_zone` is not a `tzinfo`.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        tenant_id: str | None = None,
        assume_zone: tzinfo | None = None,
        expand: Scope | None = None,
    ) -> None:
        if assume_zone is not None:
            check_time_zone("assume_zone", assume_zone)
        self.expand = expand
        self.counts = ReadingCounts()
        self._path = path
        self._reader = RowReader(os.fspath(path), tenant_id)
        self._assume_zone = assume_zone

    @property
    def tenant_id(self) -> str | None:
        """The tenant of a record that names none."""
        return self._reader.tenant_id

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Return a context manager that replaces the file with the written records; see `Mirror.writing`."""
        return replace_file(self._path, _encode, header=_HEADER, footer=_FOOTER)

    async def merge(self, changes: Mapping[RecordId, RecordChange]) -> Collection[RecordId]:
        """Merge changes into the file as it is now; see `MergingMirror.merge`.

        Other events and other components are kept byte for byte. A changed event is written anew.
        """
        return await merge_into_file(self._path, lambda: _ICalendarEditor(self._reader, self._assume_zone), changes)

    def source(self) -> ICalendarSource | None:
        """Return a source of what the file has now; `None` if there is no file yet."""
        return ICalendarSource(self._path) if Path(self._path).exists() else None


class _TimeZones:
    """The time zones that events may name: those of IANA and of Windows, and those that the file itself describes."""

    def __init__(self) -> None:
        self._unparsed: list[Component] = []
        self._described: dict[str, tzinfo] = {}

    def add(self, component: Component) -> None:
        self._unparsed.append(component)

    def find(self, name: str) -> tzinfo | None:
        known = zone_named(name)
        if known is not None:
            return known
        while self._unparsed:
            self._parse(self._unparsed.pop(0))
        return self._described.get(name)

    def _parse(self, component: Component) -> None:
        from icalendar import Timezone  # noqa: PLC0415 - as above

        try:
            parsed: Any = Timezone.from_ical(component.as_string())
            self._described.setdefault(str(parsed["TZID"]), parsed.to_tz(lookup_tzid=False))
        except Exception:  # noqa: BLE001 - as above; an event with this time zone becomes a problem
            return


def _encode(records: Sequence[SourceRecord]) -> bytes:
    return b"".join(event_lines(record, row_of(record)) for record in records)
