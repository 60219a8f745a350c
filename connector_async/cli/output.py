"""Prints the data of a command to the standard output, as JSON Lines or as a table."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from .messages import printable
from .options import DisplayOptions

Record = Mapping[str, Any]
"""One row: strings, numbers, booleans and `None` by column. Other values are printed only as JSON."""

_UNLIMITED_WIDTH: Final = 100_000  # a table that is not read on a terminal is not cut


class Printer:
    """Prints records: JSON Lines at once, a table at the end.

    Args:
        display: Which of the two.
        columns: The columns of the table. A column without a value is left out.
    """

    def __init__(self, display: DisplayOptions, columns: Sequence[str]) -> None:
        self._json = display.json
        self._columns = columns
        self._records: list[Record] = []

    def add(self, record: Record) -> None:
        """Print a record as JSON, or keep it for the table."""
        if self._json:
            # Bytes, since the encoding of the terminal may not have every character.
            sys.stdout.flush()
            sys.stdout.buffer.write(_json_line(record))
            sys.stdout.buffer.flush()
        else:
            self._records.append(record)

    def end(self) -> None:
        """Print the table."""
        if self._records:
            _print_table(self._records, self._columns)
        sys.stdout.flush()


def _json_line(record: Record) -> bytes:
    """Return a record as a line of JSON, with characters that a terminal would interpret escaped."""
    try:
        line = orjson.dumps(record).decode()
    except TypeError:  # an integer beyond 64 bits in an unknown field
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    if line.isprintable():
        return line.encode() + b"\n"
    return "".join(char if char.isprintable() else _json_escape(char) for char in line).encode() + b"\n"


def _json_escape(character: str) -> str:
    r"""Return the `\u` escapes of a character's UTF-16 units (RFC 8259, section 7)."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[index : index + 2].hex()}" for index in range(0, len(units), 2))


def _print_table(records: Sequence[Record], columns: Sequence[str]) -> None:
    from rich import box  # noqa: PLC0415 - JSON Lines do not need rich
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    # With NO_COLOR rich leaves out colors only; bold is an escape sequence as well (no-color.org).
    console = Console(file=sys.stdout, color_system=None if os.environ.get("NO_COLOR") else "auto")
    on_terminal = console.is_terminal
    if not on_terminal:
        console.width = _UNLIMITED_WIDTH
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
