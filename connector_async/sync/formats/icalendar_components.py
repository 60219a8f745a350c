"""Splitting an iCalendar file into its events and time zones, so that the file need not fit into memory.

This module knows the BEGIN and END lines of components (RFC 5545, section 3.4), and nothing about their contents.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import attrs

from connector_async.sync.exceptions import SourceError

from .reading import numbered_lines

_BEGIN: Final = b"BEGIN:"
_END: Final = b"END:"
_CALENDAR: Final = b"VCALENDAR"
EVENT: Final = b"VEVENT"
ZONE: Final = b"VTIMEZONE"
_NOT_INSIDE: Final = {_BEGIN + EVENT, _BEGIN + ZONE, _BEGIN + _CALENDAR, _END + _CALENDAR}
"""The lines that cannot be inside an event or a time zone. One that is still open there lacks its END line."""


@attrs.define
class Component:
    """The lines of an event or a time zone. The END line is missing if the file lacks it."""

    name: bytes
    """`EVENT` or `ZONE`."""
    line: int
    """The number of the BEGIN line, from 1."""
    lines: list[bytes]

    def as_string(self) -> str:
        """Return all lines as one string. A byte that is not UTF-8 becomes a lone surrogate."""
        return b"".join(self.lines).decode("utf-8", "surrogateescape")


def read_components(path: Path | str) -> Iterator[Component]:
    """Yield the events and time zones of a file in their order, without all other components.

    Raises:
        SourceError: If the file cannot be read, is not an iCalendar file, or ends inside a calendar: it was cut off.
    """
    in_calendar, started = False, False
    current: Component | None = None
    with closing(numbered_lines(path)) as lines:
        for number, line in lines:
            # Not stripped on the left: a line that starts with a space continues the line before.
            mark = line.rstrip().upper()
            if not started and mark:
                started = True
                if mark != _BEGIN + _CALENDAR:
                    raise SourceError(f"{os.fspath(path)}: not an iCalendar file")
            if current is not None and mark in _NOT_INSIDE:
                yield current
                current = None
            if mark in {_BEGIN + EVENT, _BEGIN + ZONE}:
                current = Component(mark.removeprefix(_BEGIN), number, [])
            elif mark in {_BEGIN + _CALENDAR, _END + _CALENDAR}:
                in_calendar = mark.startswith(_BEGIN)
            if current is not None:
                current.lines.append(line)
                if mark == _END + current.name:
                    yield current
                    current = None
    if in_calendar or not started:
        raise SourceError(f"{os.fspath(path)}: not an iCalendar file, or cut off before its end")
