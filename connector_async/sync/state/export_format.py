"""The lines of an exported state: rows to and from them. It knows no files and no database.

The first is `{"format": "connector-async sync state", "version": 1, "revision": …, "rows": …}`, where `rows` is how
many follow, and each other one `{"table": …, "row": {…}}`. What the source said is left out, since it is personal data,
and so is the lease, which says who works with that very file.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs
import orjson
from sqlalchemy import Column, Double, Integer, Table, Text

from connector_async.sync.exceptions import StateError, StateVersionError

from .schema import REVISIONS, cells, dead_letters, intents, items, runs, serial

TABLES: Final[Mapping[str, Table]] = {
    table.name: table for table in (serial, runs, cells, items, intents, dead_letters)
}
"""What is exported, in this order."""

_FORMAT: Final = "connector-async sync state"
_VERSION: Final = 1
_INTEGERS: Final = range(-(2**63), 2**63)  # what a database can hold


@attrs.frozen
class Line:
    """A line that was read."""

    number: int
    """Its number in the file, from 1."""
    table: Table
    """Where its row belongs."""
    row: Mapping[str, Any]
    """The row, with every column."""


def header_line(rows: int) -> bytes:
    """Return the first line of a file of so many rows."""
    return _line({"format": _FORMAT, "version": _VERSION, "revision": REVISIONS[-1], "rows": rows})


def row_line(table: Table, row: Mapping[str, Any]) -> bytes:
    """Return the line of a row."""
    # The names of columns are of a subclass of str, which orjson takes for no key.
    return _line({"table": table.name, "row": {str(name): value for name, value in row.items()}})


def read_header(text: bytes, *, place: object) -> int:
    """Return how many rows follow a first line.

    Args:
        text: The line.
        place: The file, to name in messages.

    Raises:
        StateVersionError: A newer version has written it.
        StateError: It is none.
    """
    header = _object(text)
    if header is None or header.get("format") != _FORMAT:
        raise StateError(f"{place}, line 1: no exported state begins like this")
    if header.get("version") != _VERSION or header.get("revision") not in REVISIONS:
        raise StateVersionError(f"{place}, line 1: a newer version has written it")
    rows = header.get("rows")
    if type(rows) is not int:
        raise StateError(f"{place}, line 1: it does not say how many rows follow")
    return rows


def read_line(number: int, text: bytes, *, place: object) -> Line:
    """Return what a line after the first says.

    A column that may be `NULL` may be missing, as it is in what an older version has written.

    Args:
        number: Of the line, from 1.
        text: The line.
        place: The file, to name in messages.

    Raises:
        StateError: It is no row of a table, or a value is not of its column's kind; the message has no values.
    """
    content = _object(text)
    if content is None or content.keys() != {"table", "row"}:
        raise StateError(f"{place}, line {number}: it is no row of a table")
    name, row = content["table"], content["row"]
    table = TABLES.get(name) if isinstance(name, str) else None
    if table is None or not isinstance(row, dict) or row.keys() - table.c.keys():
        raise StateError(f"{place}, line {number}: it is no row of a table")
    for column in table.c:
        if not _fits(column, row.get(column.name)):
            raise StateError(f"{place}, line {number}: {table.name}.{column.name} is missing or of another kind")
    return Line(number, table, {column.name: row.get(column.name) for column in table.c})


def _line(content: Mapping[str, Any]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def _fits(column: Column[Any], value: object) -> bool:
    if value is None:
        return bool(column.nullable)
    if isinstance(column.type, Text):
        return isinstance(value, str)
    if isinstance(column.type, Integer):
        return type(value) is int and value in _INTEGERS
    if isinstance(column.type, Double):
        return type(value) in (int, float)
    return isinstance(value, dict)  # JSON
