"""Splitting an iCalendar file into its calendars, events and time zones, so that the file need not fit into memory.

It knows the BEGIN and END lines of components (RFC 5545, section 3.4), and nothing about their contents.
"""

import enum
import re
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from connector_async.sync.exceptions import SourceError

from .lines import ContentLine, content_lines

_MAX_BYTES: Final = 64 * 1024 * 1024
"""The size of a component, which is in memory as a whole. An event may have a file attached."""
_MAX_DEPTH: Final = 100
_CALENDAR: Final = b"VCALENDAR"
_BEGIN_CALENDAR: Final = b"BEGIN:VCALENDAR"
_EVENT: Final = b"VEVENT"
_ZONE: Final = b"VTIMEZONE"
_ALONE: Final = {_CALENDAR, _EVENT, _ZONE}
"""The components that cannot be inside an event or a time zone. One that is still open there lacks its END line."""
# Blanks and byte order marks around are not of RFC 5545, but an event that they hide would be deleted.
_MARK: Final = re.compile(rb"(?:\xef\xbb\xbf|\s)*(BEGIN|END)\s*:\s*([A-Z0-9-]+)\s*", re.IGNORECASE)


class Kind(enum.Enum):
    """What a part of the file is."""

    EVENT = "event"
    ZONE = "time zone"
    CALENDAR_START = "start of a calendar"
    CALENDAR_END = "end of a calendar"
    PROPERTY = "property of a calendar"
    OTHER = "other"
    """A line of another component, or a blank line."""


@attrs.define
class Component:
    """A part of the file."""

    kind: Kind
    lines: list[ContentLine]
    """The lines, those of an event or a time zone with BEGIN and END."""
    problem: str | None = None
    """What is wrong with its BEGIN and END lines."""
    name: str = ""
    """The name of another component that begins here."""

    @property
    def line(self) -> int:
        """The number of the first line, from 1."""
        return self.lines[0].number

    @property
    def raw(self) -> bytes:
        """All lines as they are in the file."""
        return b"".join(line.raw for line in self.lines)

    def own_lines(self) -> Iterator[ContentLine]:
        """Yield the lines of the component itself, without those of components in it, and without its BEGIN and END."""
        depth = 0
        for line in self.lines:
            mark = component_mark(line.content)
            if mark is None:
                if depth == 1:
                    yield line
            elif mark[0]:
                depth += 1
            elif depth > 1:  # an END line of nothing is ignored
                depth -= 1


def component_mark(content: bytes) -> tuple[bool, bytes] | None:
    """Return whether a line begins or ends a component, and the name of the component; `None` for any other line."""
    match = _MARK.fullmatch(content)
    return None if match is None else (match[1].upper() == b"BEGIN", match[2].upper())


def read_components(name: str, lines: Iterable[tuple[int, bytes]]) -> Iterator[Component]:
    """Yield the events and time zones of a file and all lines outside of them, in their order.

    Args:
        name: The file, for messages.
        lines: The numbered lines of the file.

    Raises:
        SourceError: If it is not an iCalendar file, has something else behind a calendar, or ends inside a calendar: it
            was cut off. If a component is too large.
    """
    return _Splitter(name).split(content_lines(lines))


class _Splitter:
    """Keeps which components are open."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open: list[bytes] = []
        self._current: Component | None = None
        self._size = 0
        self._unended = 0  # events without an END line so far, which may still come
        self._started = False

    def split(self, lines: Iterable[ContentLine]) -> Iterator[Component]:
        for line in lines:
            mark = component_mark(line.content)
            if not self._open and mark != (True, _CALENDAR) and self._is_unexpected(line, mark):
                raise SourceError(f"{self._name}, line {line.number}: not an iCalendar file, or cut off")
            if mark is None:
                yield from self._add(line)
            elif mark[0]:
                yield from self._begin(line, mark[1])
            else:
                yield from self._end(line, mark[1])
        if self._open or not self._started:
            raise SourceError(f"{self._name}: not an iCalendar file, or cut off before its end")

    def _is_unexpected(self, line: ContentLine, mark: tuple[bool, bytes] | None) -> bool:
        """Return whether a line outside of a calendar is anything but a remark behind one."""
        content = line.content.strip().upper()
        return bool(content) and (not self._started or mark is not None or _BEGIN_CALENDAR.startswith(content))

    def _add(self, line: ContentLine) -> Iterator[Component]:
        if self._current is None:
            yield Component(Kind.PROPERTY if self._open == [_CALENDAR] else Kind.OTHER, [line])
            return
        self._size += len(line.raw)
        if self._size > _MAX_BYTES:
            raise SourceError(f"{self._name}, line {self._current.line}: a component is longer than {_MAX_BYTES} bytes")
        self._current.lines.append(line)

    def _begin(self, line: ContentLine, name: bytes) -> Iterator[Component]:
        if name in _ALONE:
            yield from self._cut_off()
        self._open.append(name)
        if len(self._open) > _MAX_DEPTH:
            raise SourceError(f"{self._name}, line {line.number}: components are nested too deeply")
        if name in {_EVENT, _ZONE}:
            self._current, self._size = Component(Kind.EVENT if name == _EVENT else Kind.ZONE, [line]), len(line.raw)
        elif name == _CALENDAR:
            if len(self._open) > 1:
                raise SourceError(f"{self._name}, line {line.number}: the calendar before was cut off")
            self._started = True
            yield Component(Kind.CALENDAR_START, [line])
        elif self._current is not None:
            yield from self._add(line)
        else:
            is_of_calendar = self._open[:-1] == [_CALENDAR]
            yield Component(Kind.OTHER, [line], name=name.decode() if is_of_calendar else "")

    def _end(self, line: ContentLine, name: bytes) -> Iterator[Component]:
        if name == _CALENDAR:
            yield from self._cut_off()
            self._open, self._unended = [], 0
            yield Component(Kind.CALENDAR_END, [line])
            return
        if name not in self._open:
            if name == _EVENT and self._current is None and not self._unended:  # its BEGIN line is something else
                yield Component(Kind.EVENT, [line], "the event has an END line alone")
            elif name == _EVENT and self._current is None:  # of an event that had another one in it
                self._unended -= 1
                yield Component(Kind.OTHER, [line])
            else:
                yield from self._add(line)
            return
        if name not in {_EVENT, _ZONE} and self._is_around_current(name):
            yield from self._cut_off()
        while self._open.pop() != name:
            pass  # a component inside lacks its END line
        if self._current is not None and name in {_EVENT, _ZONE}:
            current, self._current = self._current, None
            current.lines.append(line)
            yield current
        else:
            yield from self._add(line)

    def _is_around_current(self, name: bytes) -> bool:
        """Return whether the component that ends is not one inside of the open event or time zone."""
        return self._current is not None and name not in self._open[self._position() :]

    def _position(self) -> int:
        """Return the position of the current event or time zone among the open components."""
        kind = None if self._current is None else self._current.kind
        return self._open.index(_EVENT if kind is Kind.EVENT else _ZONE)

    def _cut_off(self) -> Iterator[Component]:
        """Yield the event or time zone that is still open: it lacks its END line."""
        if self._current is None:
            return
        del self._open[self._position() :]
        self._unended += self._current.kind is Kind.EVENT
        current, self._current = self._current, None
        current.problem = f"the {current.kind.value} has no END line"
        yield current
