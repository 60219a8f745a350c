"""The lines of an exported state: formatting and parsing of rows. No file or database is used here.

The first line is `{"format": "connector-async sync state", "version": 1, "revision": …, "rows": …}`. `rows` is the
number of lines that follow, each of them `{"table": …, "row": {…}}`. The records of the source are left out, since they
are personal data, and so is the lease, which belongs to one database.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs
import orjson
from sqlalchemy import Column, Double, Integer, Table, Text

from connector_async.sync.exceptions import StateError, StateVersionError

from .schema import REVISIONS, cells, dead_letters, failures, intents, items, runs, serial, target

TABLES: Final[Mapping[str, Table]] = {
    table.name: table for table in (serial, target, runs, cells, items, intents, dead_letters, failures)
}
"""The exported tables, in the order of the file."""

_FORMAT: Final = "connector-async sync state"
_VERSION: Final = 1
_INTEGERS: Final = range(-(2**63), 2**63)  # the range of an integer column


@attrs.frozen
class Line:
    """A parsed line."""

    number: int
    """The number of the line, from 1."""
    table: Table
    """The table of the row."""
    row: Mapping[str, Any]
    """The row, with every column."""


def format_header(rows: int) -> bytes:
    """Return the first line of a file with a number of rows."""
    return _format({"format": _FORMAT, "version": _VERSION, "revision": REVISIONS[-1], "rows": rows})


def format_row(table: Table, row: Mapping[str, Any]) -> bytes:
    """Return the line of a row."""
    # Column names are of a subclass of str, which orjson does not accept as a key.
    return _format({"table": table.name, "row": {str(name): value for name, value in row.items()}})


def parse_header(line: bytes, *, place: object) -> int:
    """Return the number of rows that a first line announces.

    Args:
        line: The line.
        place: The file, named in messages.

    Raises:
        StateVersionError: If a newer version has written the line.
        StateError: If it is not the first line of an exported state.
    """
    header = _parse(line)
    if header is None or header.get("format") != _FORMAT:
        raise StateError(f"{place}, line 1: not the start of an exported state")
    if header.get("version") != _VERSION or header.get("revision") not in REVISIONS:
        raise StateVersionError(f"{place}, line 1: a newer version has written it")
    rows = header.get("rows")
    if type(rows) is not int:
        raise StateError(f"{place}, line 1: the number of rows is missing")
    return rows


def parse_row(number: int, line: bytes, *, place: object) -> Line:
    """Return the content of a line after the first.

    A nullable column may be missing, as in the files of older versions.

    Args:
        number: The number of the line, from 1.
        line: The line.
        place: The file, named in messages.

    Raises:
        StateError: If it is not a row of a table, or a value has the wrong type. The message has no values.
    """
    content = _parse(line)
    if content is None or content.keys() != {"table", "row"}:
        raise StateError(f"{place}, line {number}: not a row of a table")
    name, row = content["table"], content["row"]
    table = TABLES.get(name) if isinstance(name, str) else None
    if table is None or not isinstance(row, dict) or row.keys() - table.c.keys():
        raise StateError(f"{place}, line {number}: not a row of a table")
    for column in table.c:
        if not _is_valid(column, row.get(column.name)):
            raise StateError(f"{place}, line {number}: {table.name}.{column.name} is missing or has the wrong type")
    return Line(number, table, {column.name: row.get(column.name) for column in table.c})


def _format(content: Mapping[str, Any]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        content = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def _is_valid(column: Column[Any], value: object) -> bool:
    if value is None:
        return bool(column.nullable)
    if isinstance(column.type, Text):
        return isinstance(value, str)
    if isinstance(column.type, Integer):
        return type(value) is int and value in _INTEGERS
    if isinstance(column.type, Double):
        return type(value) in (int, float)
    return isinstance(value, dict)  # JSON
