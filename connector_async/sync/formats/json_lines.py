"""JSON Lines: one object of `FIELDS` on each line, in UTF-8.

The format keeps every field of a record. A key that occurs twice in one object is not detected: the last value counts.
"""

import json
import os
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import orjson

from connector_async.sync.records import FIELDS, SourceProblem, SourceRecord, row_of

from .mirror import RecordWriter, replace_file
from .reading import RowReader, iterate_in_thread, numbered_lines


class JsonLinesSource:
    """The records of a JSON Lines file. Blank lines are skipped.

    Args:
        path: The file.
        tenant_id: The tenant of a line without one.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id.
    """

    def __init__(self, path: Path | str, *, tenant_id: str | None = None) -> None:
        self._path = path
        self._reader = RowReader(os.fspath(path), tenant_id)

    @property
    def name(self) -> str:
        """The file, as the caller named it."""
        return self._reader.source

    def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        """Yield the records. A worker thread reads some hundred at a time.

        A line is a problem if it is not UTF-8, is not a JSON object of `FIELDS`, or breaks the rule of a field.

        Raises:
            SourceError: If the file cannot be read.
        """
        return iterate_in_thread(self._read())

    def _read(self) -> Generator[SourceRecord | SourceProblem, None, None]:
        with closing(numbered_lines(self._path)) as lines:
            for number, line in lines:
                if line.strip():
                    yield self._read_line(number, line)

    def _read_line(self, number: int, line: bytes) -> SourceRecord | SourceProblem:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return self._problem("not JSON in UTF-8", number, _parse_leniently(line))
        if not isinstance(row, dict):
            return self._problem("not an object", number, {})
        for name in FIELDS:
            # A record takes every false value for a missing one, so the types are checked here.
            if not isinstance(row.get(name, ""), str | None):
                return self._problem(f"{name} must be a str, not {type(row[name]).__name__}", number, row)
        return self._reader.read(row, number)

    def _problem(self, reason: str, number: int, row: dict[str, Any]) -> SourceProblem:
        strings = {name: value if isinstance(value, str | None) else _NotAString() for name, value in row.items()}
        return self._reader.problem(reason, number, strings)


class JsonLinesMirror:
    """A mirror in a JSON Lines file. Unknown fields of an appointment (`extra`) are not written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Return a context manager that replaces the file with the written records; see `Mirror.writing`."""
        return replace_file(self._path, _encode)

    def source(self) -> JsonLinesSource | None:
        """Return a source of what the file has now; `None` if there is no file yet."""
        return JsonLinesSource(self._path) if Path(self._path).exists() else None


class _NotAString:
    """Replaces a value of another type in a row. It is true, so it cannot be taken for a missing value."""


def _parse_leniently(line: bytes) -> dict[str, Any]:
    """Return the row of a line that orjson rejects for invalid UTF-8 or a lone surrogate, to read its key.

    Returns an empty row if the line is not a JSON object.
    """
    try:
        row = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _encode(records: list[SourceRecord]) -> bytes:
    return b"".join(orjson.dumps(row_of(record)) + b"\n" for record in records)
