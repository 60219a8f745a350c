"""Splitting an iCalendar file into its events and time zones, so that the file need not fit into memory.

This module knows the BEGIN and END lines of components (RFC 5545, section 3.4), and nothing about their contents.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from connector_async.sync.exceptions import SourceError

_BEGIN: Final = b"BEGIN:"
_END: Final = b"END:"
_CALENDAR: Final = b"VCALENDAR"
EVENT: Final = b"VEVENT"
ZONE: Final = b"VTIMEZONE"
CALENDAR_END: Final = _END + _CALENDAR
_NOT_INSIDE: Final = {_BEGIN + EVENT, _BEGIN + ZONE, _BEGIN + _CALENDAR, CALENDAR_END}
"""The lines that cannot be inside an event or a time zone. One that is still open there lacks its END line."""


@attrs.define
class Component:
    """The lines of an event or a time zone, or another line. The END line is missing if the file lacks it."""

    name: bytes
    """`EVENT`, `ZONE`, `CALENDAR_END`, or empty for any other line."""
    line: int
    """The number of the first line, from 1."""
    lines: list[bytes]

    @property
    def raw(self) -> bytes:
        """All lines."""
        return b"".join(self.lines)

    def as_string(self) -> str:
        """Return all lines as one string. A byte that is not UTF-8 becomes a lone surrogate."""
        return self.raw.decode("utf-8", "surrogateescape")


def read_components(name: str, lines: Iterator[tuple[int, bytes]]) -> Iterator[Component]:
    """Yield the events and time zones of a file and all lines outside of them, in their order.

    Args:
        name: The file, for messages.
        lines: The numbered lines of the file.

    Raises:
        SourceError: If it is not an iCalendar file, or ends inside a calendar: it was cut off.
    """
    in_calendar, started = False, False
    current: Component | None = None
    for number, line in lines:
        # Not stripped on the left: a line that starts with a space continues the line before.
        mark = line.rstrip().upper()
        if not started and mark:
            started = True
            if mark != _BEGIN + _CALENDAR:
                raise SourceError(f"{name}: not an iCalendar file")
        if current is not None and mark in _NOT_INSIDE:
            yield current
            current = None
        if mark in {_BEGIN + EVENT, _BEGIN + ZONE}:
            current = Component(mark.removeprefix(_BEGIN), number, [])
        elif mark in {_BEGIN + _CALENDAR, CALENDAR_END}:
            in_calendar = mark.startswith(_BEGIN)
        if current is None:
            yield Component(CALENDAR_END if mark == CALENDAR_END else b"", number, [line])
            continue
        current.lines.append(line)
        if mark == _END + current.name:
            yield current
            current = None
    if in_calendar or not started:
        raise SourceError(f"{name}: not an iCalendar file, or cut off before its end")
