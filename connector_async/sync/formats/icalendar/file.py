"""An iCalendar file as a source and as a mirror.

Fields that iCalendar does not have are in properties and parameters that start with `X-CONNECTOR-`. So a mirror is read
back without loss, and other programs read the rest.
"""

import os
from collections.abc import AsyncIterator, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import tzinfo
from pathlib import Path
from typing import Final

import attrs

from connector_async._checks import check_time_zone
from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats.merging import changed_fields, merge_into_file
from connector_async.sync.formats.mirror import RecordChange, RecordId, RecordWriter, replace_file
from connector_async.sync.formats.reading import Piece, ReadingCounts, RowReader, iterate_in_thread, open_lines
from connector_async.sync.records import SourceProblem, SourceRecord
from connector_async.sync.scope import Scope

from .components import Component, Kind, read_components
from .editing import EventEditor, parsed, start_of_key
from .event import Event
from .event_group import EventGroup
from .event_reader import CalendarContext, EventReader, span, texts
from .expander import Expander
from .survey import Survey
from .writing import LINE_END, event_lines

_HEADER: Final = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//connector-async//mirror//EN\r\n"
_FOOTER: Final = b"END:VCALENDAR\r\n"


class _ICalendarFile:
    """What the source and the mirror have in common: how a file is read. Their docstrings describe the arguments."""

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
        if expand is not None and None in expand.bounds():
            raise ValueError("expand must have a start and an end")
        self._path = path
        self._reader = RowReader(os.fspath(path), tenant_id)
        self._assume_zone = assume_zone
        self._expand = expand
        self._counts = ReadingCounts()

    @property
    def expand(self) -> Scope | None:
        """The time range within which recurring events are expanded; `None`: they are problems."""
        return self._expand

    @property
    def tenant_id(self) -> str | None:
        """The tenant of a record that names none."""
        return self._reader.tenant_id

    def _editor(self, counts: ReadingCounts) -> "_ICalendarEditor":
        return _ICalendarEditor(self._reader, self._assume_zone, self._expand, counts)


class ICalendarSource(_ICalendarFile):
    """The records of an iCalendar file: its events. Other components are skipped.

    Of several revisions of an event, the one with the highest SEQUENCE counts. An event is absent if that is cancelled,
    by its STATUS or by the METHOD of its calendar. Events of other methods than PUBLISH, REQUEST and ADD are problems:
    they are not the organizer's (RFC 5546, section 1.4).

    The key of a record is the UID; with a RECURRENCE-ID, it is the UID, `/` and the RECURRENCE-ID in UTC. The tenant
    and the user are X-CONNECTOR-TENANT-ID, X-CONNECTOR-DOMAIN-ID and X-CONNECTOR-AD-ID. The time of the last change is
    LAST-MODIFIED, or else DTSTAMP. The end is DTEND, or DTSTART plus DURATION, whose days are days of the calendar.
    Without both, a date lasts one day, and a date-time has no duration.

    A recurring event is expanded into its occurrences that overlap `expand`, with the keys that their RECURRENCE-ID
    would give. An occurrence that was moved out of the range is still a record if its RECURRENCE-ID is in it.

    Args:
        path: The file.
        tenant_id: The tenant of an event without one.
        assume_zone: The time zone of floating times and of dates in a calendar without an X-WR-TIMEZONE. `None`: an
            event with one of them is a problem.
        expand: The time range within which recurring events are expanded. `None`: a recurring event is a problem.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id, `assume_zone` has no UTC offset, or `expand` lacks an end.
        TypeError: If `assume_zone` is not a `tzinfo`.
    """

    @property
    def counts(self) -> ReadingCounts:
        """What the latest reading has left out, and how many recurring events it has expanded."""
        return self._counts

    @property
    def name(self) -> str:
        """The file, as the caller named it."""
        return self._reader.source

    def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        """Yield the records. A worker thread reads some hundred at a time. The line of a record is its BEGIN:VEVENT.

        Each problem names the first rule that an event breaks. A line that is not needed, or an alarm, breaks none.

        Raises:
            SourceError: If the file cannot be read, is not an iCalendar file, or was cut off.
        """
        return iterate_in_thread(self._read())

    def _read(self) -> Generator[SourceRecord | SourceProblem | None, None, None]:
        self._counts = counts = ReadingCounts()
        with open_lines(self._path) as lines:
            yield from self._editor(counts).items(lines)


class ICalendarMirror(_ICalendarFile):
    """A mirror in an iCalendar file. Unknown fields of an appointment (`extra`) are not written.

    Args:
        path: The file.
        tenant_id: The tenant of an event without one, as for the source that reads the file.
        assume_zone: The time zone of floating times and of dates, as for the source that reads the file.
        expand: The time range within which recurring events are expanded, as for the source that reads the file.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id, `assume_zone` has no UTC offset, or `expand` lacks an end.
        TypeError: If `assume_zone` is not a `tzinfo`.
    """

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Return a context manager that replaces the file with the written records; see `Mirror.writing`."""
        return replace_file(self._path, _encode, header=_HEADER, footer=_FOOTER)

    async def merge(self, changes: Mapping[RecordId, RecordChange]) -> Collection[RecordId]:
        """Merge changes into the file as it is now; see `MergingMirror.merge`.

        Everything that stays is kept byte for byte: other components and events, and of a changed event all lines that
        say the same as before. A changed occurrence of a recurring event becomes an event with a RECURRENCE-ID, and a
        removed one an EXDATE. The occurrences that an event with RANGE=THISANDFUTURE has changed cannot be changed.
        """
        return await merge_into_file(self._path, lambda: self._editor(ReadingCounts()), changes)

    def source(self) -> ICalendarSource | None:
        """Return a source of what the file has now; `None` if there is no file yet."""
        if not Path(self._path).exists():
            return None
        return ICalendarSource(self._path, tenant_id=self.tenant_id, assume_zone=self._assume_zone, expand=self._expand)


@attrs.frozen
class _Part:
    """A part of the file."""

    component: Component
    context: CalendarContext | None = None
    """What the calendar of an event says; `None`: it is no event."""
    group: EventGroup | None = None
    """The events with the UID of an event; `None`: it is the only one."""

    @property
    def editor(self) -> EventEditor:
        """Makes new versions of the event."""
        assert self.context is not None  # it is an event  # noqa: S101
        return EventEditor(self.context.times)

    @property
    def is_series(self) -> bool:
        """Whether the records of an event are its occurrences."""
        return self.group is not None and self.group.is_series(self.component.line)

    def unchangeable(self, items: Iterable[SourceRecord | SourceProblem]) -> frozenset[str]:
        """Return the keys of records that an event has changed together with others."""
        if self.group is None:
            return frozenset()
        return frozenset(item.key for item in items if item.key and self.group.is_changed_by_range(item.key))


@attrs.frozen
class _EventPiece(Piece):
    """A part of the file that is an event."""

    part: _Part = attrs.field(kw_only=True)


class _ICalendarEditor:
    """Reads and edits an iCalendar file; see `FileEditor`."""

    def __init__(
        self, reader: RowReader, assume_zone: tzinfo | None, expand: Scope | None, counts: ReadingCounts
    ) -> None:
        self._name = reader.source
        self._assume_zone = assume_zone
        self._counts = counts
        self._expander = None if expand is None else Expander(expand)
        self._reader = EventReader(reader, counts)
        self.line_end = LINE_END

    def prepare(self, records: Sequence[SourceRecord]) -> None:
        """Do nothing: an event can have any property."""

    def items(self, lines: Iterable[tuple[int, bytes]]) -> Generator[SourceRecord | SourceProblem | None, None, None]:
        """Yield the records and problems, and `None` after each step."""
        for part in self._parts(lines):
            if part is not None and part.group is not None:
                yield from part.group.items_in_order(Event.of(part.component))
            elif part is not None:
                yield from self._items(part)
            yield None

    def pieces(self, lines: Iterable[tuple[int, bytes]]) -> Generator[Piece, None, None]:
        """Yield each event, each time zone, and each line outside of them; and empty parts before the first one."""
        is_first = True
        for part in self._parts(lines):
            if part is None:
                yield Piece(b"")
                continue
            raw = part.component.raw
            if is_first and not raw.endswith(LINE_END):
                self.line_end = b"\n"
            is_first = False
            if part.context is None:
                yield Piece(raw, is_end=part.component.kind is Kind.CALENDAR_END)
            else:
                items = tuple(self._items(part))
                yield _EventPiece(raw, items, part.unchangeable(items), part=part)

    def kept(self, piece: Piece) -> bytes:
        """Return a part as it is."""
        return piece.raw

    def changed(self, piece: Piece, changes: Mapping[RecordId, SourceRecord | None]) -> bytes:
        """Return an event with other lines, or what an event and its changed occurrences become."""
        assert isinstance(piece, _EventPiece)  # only events have records  # noqa: S101
        part = piece.part
        if part.is_series:
            return self._with_occurrences(part, {key: record for (_, key), record in changes.items()})
        (record,) = changes.values()
        if record is not None:
            return _edited(part.editor, part.component, record)
        # Without this revision, an older one would count, or the occurrence of the recurring event.
        return b"" if part.group is None else part.editor.cancelled(part.component)

    def added(self, records: Sequence[SourceRecord]) -> bytes:
        """Return new events."""
        return _encode(records).replace(LINE_END, self.line_end)

    def _with_occurrences(self, part: "_Part", changes: Mapping[str, SourceRecord | None]) -> bytes:
        """Return a recurring event without its removed occurrences, and an event for each changed one."""
        component, overrides = part.component, list[bytes]()
        event = Event.of(component)
        first, _ = part.editor.times.start(event)
        for key, record in sorted(changes.items()):
            start = start_of_key(key, first)
            if record is None:
                component = parsed(part.editor.excluding(component, start))
            else:
                overrides.append(_edited(part.editor, part.editor.override(part.component, start, first), record))
        return b"".join([component.raw, *overrides])

    def _items(self, part: "_Part") -> Iterator[SourceRecord | SourceProblem]:
        event = Event.of(part.component)
        if part.group is not None:
            yield from part.group.items(event)
        elif part.context is not None and (item := self._reader.read(event, part.context)) is not None:
            yield item

    def _parts(self, lines: Iterable[tuple[int, bytes]]) -> Iterator["_Part | None"]:
        """Yield the parts of the file; before, `None` for each step of the survey."""
        survey = Survey(self._name, self._assume_zone, self._reader, self._expander)
        for _ in survey.take(lines):
            yield None
        calendar, events = -1, 0
        for component in read_components(self._name, lines):
            calendar += component.kind is Kind.CALENDAR_START
            if component.kind is not Kind.EVENT:
                self._counts.ignored.update([component.name] if component.name else [])
                yield _Part(component)
                continue
            events += 1
            if events > survey.events:
                break
            yield _Part(component, survey.context(calendar), survey.group(component.line))
        if events != survey.events:
            raise SourceError(f"{self._name}: changed while it was read")


def _edited(editor: EventEditor, component: Component, record: SourceRecord) -> bytes:
    event = Event.of(component)
    row = texts(event, editor.times) | span(event, editor.times)
    return editor.changed(component, record, changed_fields(row, record))


def _encode(records: Sequence[SourceRecord]) -> bytes:
    return b"".join(map(event_lines, records))
