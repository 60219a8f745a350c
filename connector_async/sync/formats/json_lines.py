"""JSON Lines: an object of `FIELDS` on each line, in UTF-8.

Nothing is lost in it. It finds no key that comes twice in one object: the last one counts.
"""

import json
import os
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import orjson

from connector_async._checks import check_tenant_id
from connector_async.sync.records import FIELDS, SourceProblem, SourceRecord, row_of

from .mirror import RecordWriter, replacing
from .reading import in_chunks, numbered_lines, problem_of, record_or_problem


class JsonLinesSource:
    """Records of a JSON Lines file. Blank lines are skipped.

    Args:
        path: The file.
        tenant_id: The tenant of a line that names none.

    Raises:
        ValueError: `tenant_id` cannot be a tenant's.
    """

    def __init__(self, path: Path | str, *, tenant_id: str | None = None) -> None:
        self._path = path
        self._tenant_id = None if tenant_id is None else check_tenant_id(tenant_id)

    @property
    def name(self) -> str:
        """The file, as it was named."""
        return os.fspath(self._path)

    def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        """Yield the records, read in a worker thread some hundred at a time.

        A line that is not UTF-8, no JSON, no object of `FIELDS`, or breaks a rule of a field is a problem.

        Raises:
            SourceError: The file cannot be read.
        """
        return in_chunks(self._read())

    def _read(self) -> Generator[SourceRecord | SourceProblem, None, None]:
        with closing(numbered_lines(self._path)) as lines:
            for number, line in lines:
                if line.strip():
                    yield self._item(number, line)

    def _item(self, number: int, line: bytes) -> SourceRecord | SourceProblem:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return self._problem(_leniently(line), "not JSON in UTF-8", number)
        if not isinstance(row, dict):
            return self._problem({}, "not an object", number)
        for name in FIELDS:
            # A record takes what is false for missing, be it a text or not.
            if not isinstance(row.get(name, ""), str | None):
                return self._problem(row, f"{name} must be a text, not {type(row[name]).__name__}", number)
        return record_or_problem(row, source=self.name, line=number, tenant_id=self._tenant_id)

    def _problem(self, row: dict[str, Any], reason: str, number: int) -> SourceProblem:
        texts = {name: value if isinstance(value, str | None) else _NoText() for name, value in row.items()}
        return problem_of(texts, reason, source=self.name, line=number, tenant_id=self._tenant_id)


class JsonLinesMirror:
    """Keeps a set of records as a JSON Lines file. Further fields of an appointment (`extra`) are not written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Replace the file by what is written in the block; see `Mirror.writing`."""
        return replacing(self._path, _encode)


class _NoText:
    """Stands for what is no text in a row, so that it cannot pass for missing."""


def _leniently(line: bytes) -> dict[str, Any]:
    """Return the row of a line that orjson refuses for a byte or a surrogate in it, for its key; else an empty one."""
    try:
        row = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _encode(records: list[SourceRecord]) -> bytes:
    return b"".join(orjson.dumps(row_of(record)) + b"\n" for record in records)
