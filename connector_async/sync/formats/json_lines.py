"""JSON Lines: one object of `FIELDS` on each line, in UTF-8.

The format keeps every field of a record. A key that occurs twice in one object is not detected: the last value counts.
"""

import json
import os
from collections.abc import AsyncIterator, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import orjson

from connector_async._checks import check_type
from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import FIELDS, SourceProblem, SourceRecord, row_of

from .encoding import utf16_reason
from .mapping import RowMapper, row_mapper, unknown_reason
from .merging import changed_fields, merge_into_file
from .mirror import RecordChange, RecordId, RecordWriter, replace_file
from .reading import Piece, ReadingCounts, RowReader, iterate_in_thread
from .row_file import RowFileSource

_FIELDS: Final = frozenset(FIELDS)
_STRINGS: Final = frozenset({str, type(None)})
_DECODER: Final = json.JSONDecoder()
_SPACE: Final = frozenset(" \t\r\n")


class JsonLinesSource(RowFileSource):
    """The records of a JSON Lines file. Blank lines are skipped.

    Args:
        path: The file.
        tenant_id: The tenant of a line without one.
        mapping: The members of the fields, if they have other names. `None`: each has the name of its field.
        assume_zone: The time zone of times that a `date_format` of the mapping reads without an offset.
        ignore_unknown: Whether members that no field is read from are ignored, instead of a problem.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id, `assume_zone` has no UTC offset, or it is missing and the
            mapping has a `date_format` without `%z`.
        TypeError: If an argument has another type.
    """

    def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        """Yield the records. A worker thread reads some hundred at a time.

        A line is a problem if it is not UTF-8, is not a JSON object of `FIELDS`, or breaks the rule of a field.

        Raises:
            SourceError: If the file cannot be read or is UTF-16.
        """
        return iterate_in_thread(self._read())

    def _pieces(self, lines: Iterable[tuple[int, bytes]], mapper: RowMapper | None) -> Generator[Piece, None, None]:
        return _JsonLinesEditor(self._reader, mapper).pieces(lines)


class _JsonLinesEditor:
    """Reads and edits a JSON Lines file; see `FileEditor`."""

    def __init__(self, reader: RowReader, mapper: RowMapper | None = None) -> None:
        self._reader = reader
        self._mapper = mapper
        self.line_end = b"\n"

    def prepare(self, records: Sequence[SourceRecord]) -> None:
        """Do nothing: a line can have any member."""

    def pieces(self, lines: Iterable[tuple[int, bytes]]) -> Generator[Piece, None, None]:
        """Yield each line."""
        for number, line in lines:
            if number == 1:
                if (reason := utf16_reason(line)) is not None:
                    raise SourceError(f"{self._reader.source} cannot be read: {reason}")
                if line.endswith(b"\r\n"):
                    self.line_end = b"\r\n"
            yield Piece(line, (self._read_line(number, line),) if line.strip() else ())

    def kept(self, piece: Piece) -> bytes:
        """Return a line as it is."""
        return piece.raw

    def changed(self, piece: Piece, changes: Mapping[RecordId, SourceRecord | None]) -> bytes:
        """Return a line with the members that differ. The others stay as they are, in their order."""
        (record,) = changes.values()
        if record is None:
            return b""
        return _splice(piece.raw.decode(), changed_fields(orjson.loads(piece.raw), record)).encode()

    def added(self, records: Sequence[SourceRecord]) -> bytes:
        """Return new lines."""
        return b"".join(orjson.dumps(row_of(record)) + self.line_end for record in records)

    def _read_line(self, number: int, line: bytes) -> SourceRecord | SourceProblem:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return self._problem("not JSON in UTF-8", number, _parse_leniently(line))
        if not isinstance(row, dict):
            return self._problem("not an object", number, {})
        if self._mapper is not None:
            values, row = row, {}
            try:
                self._mapper.fill(row, values)
            except ValueError as error:
                return self._problem(str(error), number, row)
        elif not row.keys() <= _FIELDS:
            return self._problem(unknown_reason(min(row.keys() - _FIELDS)), number, row)
        # A record takes every false value for a missing one, so the types are checked here.
        if not _STRINGS.issuperset(map(type, row.values())):
            name = next(name for name in FIELDS if type(row.get(name)) not in _STRINGS)
            return self._problem(f"{name} must be a str, not {type(row[name]).__name__}", number, row)
        return self._reader.read(row, number)

    def _problem(self, reason: str, number: int, row: dict[str, Any]) -> SourceProblem:
        strings = {name: value if isinstance(value, str | None) else _NotAString() for name, value in row.items()}
        return self._reader.problem(reason, number, strings)


class JsonLinesMirror:
    """A mirror in a JSON Lines file. Unknown fields of an appointment (`extra`) are not written.

    Args:
        path: The file.
        tenant_id: The tenant of a line without one, as for the source that reads the file.
        ignore_unknown: Whether a merge keeps members that are not known, as for the source that reads the file.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id.
        TypeError: If `ignore_unknown` is not a bool.
    """

    def __init__(self, path: Path | str, *, tenant_id: str | None = None, ignore_unknown: bool = False) -> None:
        check_type("ignore_unknown", ignore_unknown, bool)
        self._path = path
        self._reader = RowReader(os.fspath(path), tenant_id)
        self.ignore_unknown: Final = ignore_unknown
        """Whether members that are not known are kept as they are."""

    @property
    def tenant_id(self) -> str | None:
        """The tenant of a record that names none."""
        return self._reader.tenant_id

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Return a context manager that replaces the file with the written records; see `Mirror.writing`."""
        return replace_file(self._path, _encode)

    async def merge(self, changes: Mapping[RecordId, RecordChange]) -> Collection[RecordId]:
        """Merge changes into the file as it is now; see `MergingMirror.merge`.

        Other lines, and the members of a changed line that stay, are kept byte for byte.
        """

        def editor() -> _JsonLinesEditor:
            mapper = row_mapper(None, ignore_unknown=self.ignore_unknown, counts=ReadingCounts())
            return _JsonLinesEditor(self._reader, mapper)

        return await merge_into_file(self._path, editor, changes)

    def source(self) -> JsonLinesSource | None:
        """Return a source of what the file has now; `None` if there is no file yet."""
        if not Path(self._path).exists():
            return None
        return JsonLinesSource(self._path, tenant_id=self.tenant_id, ignore_unknown=self.ignore_unknown)


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


def _splice(line: str, changes: Mapping[str, str | None]) -> str:
    """Return a line with some members changed, removed (`None`) or added, and everything else as it is.

    The line must be a JSON object with a member.
    """
    start = position = line.index("{") + 1
    members: list[tuple[str, str, str, str]] = []  # the name, what stands before the value, the value, what follows it
    separator = ","
    while separator == ",":
        name, after_name = _DECODER.raw_decode(line, _skip(line, position))
        value = _skip(line, _skip(line, after_name) + 1)
        after_value = _DECODER.raw_decode(line, value)[1]
        end = _skip(line, after_value)
        separator = line[end]
        rest = line[after_value:end] if separator == "," else ""
        members.append((name, line[position:value], line[value:after_value], rest))
        position = end + 1 if separator == "," else after_value
    kept = [
        before + (_json(changes[name]) if name in changes else value) + rest
        for name, before, value, rest in members
        if changes.get(name, "") is not None
    ]
    # New members look like the last one.
    like = members[-1][1]
    space, colon = like[: _skip(like, 0)], like[_DECODER.raw_decode(like, _skip(like, 0))[1] :]
    known = {name for name, *_ in members}
    new = [
        f"{space}{_json(name)}{colon}{_json(value)}"
        for name, value in changes.items()
        if name not in known and value is not None
    ]
    return line[:start] + ",".join([*kept, *new]) + line[position:]


def _skip(text: str, position: int) -> int:
    """Return the position of the next character that is not white space."""
    while text[position : position + 1] in _SPACE:
        position += 1
    return position


def _json(value: str | None) -> str:
    return orjson.dumps(value).decode()


def _encode(records: list[SourceRecord]) -> bytes:
    return b"".join(orjson.dumps(row_of(record)) + b"\n" for record in records)
