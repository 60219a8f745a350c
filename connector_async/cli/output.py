"""Prints the data of a command on the standard output, as JSON Lines or a table, whatever it is of."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import orjson

from connector_async._timestamps import format_instant
from connector_async.models import Appointment

from .messages import printable
from .options import Display

Record = Mapping[str, Any]
"""One line: texts, numbers, booleans and `None` by the names of its columns, and more in JSON alone."""

# Wider than any table: what is not read on a terminal must not be cut to fit one.
_ENDLESS: Final = 100_000


def record_of(appointment: Appointment) -> dict[str, Any]:
    """Return an appointment as a record: instants in UTC."""
    record = attrs.asdict(appointment, recurse=False)
    times = {name: format_instant(record[name]) for name in ("start_time", "end_time")}
    return record | times | {"extra": dict(appointment.extra)}


class Printer:
    """Prints records, as JSON each at once, as a table all at the end.

    Args:
        display: Which of them.
        columns: Of the table; those that are empty throughout are left out, and so is what is not named.
    """

    def __init__(self, display: Display, columns: Sequence[str]) -> None:
        self._json = display.json
        self._columns = columns
        self._records: list[Record] = []

    def add(self, record: Record) -> None:
        """Take one more."""
        if self._json:
            # The bytes, since a text may hold what the terminal's encoding cannot write.
            sys.stdout.flush()
            sys.stdout.buffer.write(_json_line(record))
            sys.stdout.buffer.flush()
        else:
            self._records.append(record)

    def end(self) -> None:
        """Print what is left to print."""
        if self._records:
            _print_table(self._records, self._columns)
        sys.stdout.flush()


def _json_line(record: Record) -> bytes:
    """Return a record as a line of JSON in which what a terminal would obey is escaped, which changes no value."""
    try:
        text = orjson.dumps(record).decode()
    except TypeError:  # an integer beyond 64 bits in an unknown field
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    if text.isprintable():
        return text.encode() + b"\n"
    return "".join(each if each.isprintable() else _escaped(each) for each in text).encode() + b"\n"


def _escaped(character: str) -> str:
    """Return a character as JSON escapes it (RFC 8259, section 7): its UTF-16 units."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def _print_table(records: Sequence[Record], columns: Sequence[str]) -> None:
    from rich import box  # noqa: PLC0415 - JSON Lines need none of it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    # With NO_COLOR rich leaves out colours alone; its bold is an escape sequence, too (no-color.org).
    console = Console(file=sys.stdout, color_system=None if os.environ.get("NO_COLOR") else "auto")
    on_terminal = console.is_terminal
    if not on_terminal:
        console.width = _ENDLESS
    shown = [name for name in columns if any(record.get(name) is not None for record in records)]
    table = Table(box=box.ROUNDED if on_terminal else None, pad_edge=on_terminal)
    for name in shown:
        table.add_column(name, overflow="fold")
    for record in records:
        table.add_row(*(Text(_cell(record.get(name))) for name in shown))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else printable(str(value))
