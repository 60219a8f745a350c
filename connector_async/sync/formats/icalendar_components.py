"""Cutting an iCalendar file into its events and time zones, so that it need not be in memory as a whole.

It knows lines that begin and end a component (RFC 5545, section 3.4) and nothing of what stands between them.
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
_BEHIND: Final = {_BEGIN + EVENT, _BEGIN + ZONE, _BEGIN + _CALENDAR, _END + _CALENDAR}
"""What cannot stand in an event or a time zone, so that one which is still open there lacks its end."""


@attrs.define
class Component:
    """The lines of an event or a time zone; without the last one where the file does not end it."""

    name: bytes
    """`EVENT` or `ZONE`."""
    line: int
    """Where it begins, from 1."""
    lines: list[bytes]

    def text(self) -> str:
        """Return all of it; a byte that is not UTF-8 becomes a lone surrogate."""
        return b"".join(self.lines).decode("utf-8", "surrogateescape")


def components(path: Path | str) -> Iterator[Component]:
    """Yield the events and time zones of a file in their order; other components are left out.

    Raises:
        SourceError: The file cannot be read, is no iCalendar file, or ends in the middle of a calendar: it was cut off.
    """
    open_calendar, begun = False, False
    current: Component | None = None
    with closing(numbered_lines(path)) as lines:
        for number, line in lines:
            # Not stripped on the left: a line that begins with a space goes on with somebody's text.
            mark = line.rstrip().upper()
            if not begun and mark:
                begun = True
                if mark != _BEGIN + _CALENDAR:
                    raise SourceError(f"{os.fspath(path)}: not an iCalendar file")
            if current is not None and mark in _BEHIND:
                yield current
                current = None
            if mark in {_BEGIN + EVENT, _BEGIN + ZONE}:
                current = Component(mark.removeprefix(_BEGIN), number, [])
            elif mark in {_BEGIN + _CALENDAR, _END + _CALENDAR}:
                open_calendar = mark.startswith(_BEGIN)
            if current is not None:
                current.lines.append(line)
                if mark == _END + current.name:
                    yield current
                    current = None
    if open_calendar or not begun:
        raise SourceError(f"{os.fspath(path)}: not an iCalendar file, or cut off before its end")
