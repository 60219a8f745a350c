"""CSV (RFC 4180) in UTF-8. The header line names columns of `FIELDS`, in any order.

An empty cell is a missing field. So a description that is empty or `null` is read back as a missing one, and its
description type is ignored.
"""

import csv
import functools
import io
import os
import re
from collections.abc import AsyncIterator, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import attrs

from connector_async._checks import check_type
from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import FIELDS, SourceProblem, SourceRecord, row_of

from .csv_dialect import decode, encode, read_header
from .encoding import not_utf8_reason
from .mapping import IGNORE_UNKNOWN_ADVICE, RowMapper, row_mapper
from .merging import changed_fields, merge_into_file
from .mirror import RecordChange, RecordId, RecordWriter, replace_file
from .reading import Piece, ReadingCounts, RowReader, iterate_in_thread
from .row_file import RowFileSource

_REQUIRED: Final = ("key", "title", "start_time", "end_time")
_NEEDED: Final = ("tenant_id", "ad_id", "domain_id", "description", "description_type")
"""The optional columns without which a record would be another one, or have other content."""
_FIELDS: Final = frozenset(FIELDS)


class CsvSource(RowFileSource):
    """The records of a CSV file. Blank lines are skipped, and so are rows that have empty cells only.

    Args:
        path: The file.
        tenant_id: The tenant of a row without one. If it is given, the column `tenant_id` is optional.
        mapping: The columns of the fields, if they have other names. `None`: each has the name of its field.
        assume_zone: The time zone of times that a `date_format` of the mapping reads without an offset.
        ignore_unknown: Whether columns that no field is read from are ignored, instead of an error.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id, `assume_zone` has no UTC offset, or it is missing and the
            mapping has a `date_format` without `%z`.
        TypeError: If an argument has another type.
    """

    def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        """Yield the records. A worker thread reads some hundred at a time. The line of a record is its first one.

        The delimiter is a comma, a semicolon or a tab, as the header shows, or what a first line `sep=;` says. A row
        with too many or too few fields is a problem without a key, since its cells may be in the wrong columns. So is
        a row with malformed quotes, with a cell longer than `csv.field_size_limit()`, or with a value in a column
        without a name. A row with bytes that are not UTF-8 is a problem as well.

        Raises:
            SourceError: If the file cannot be read or is UTF-16, its header lacks a column or has an unknown one, or
                the quotes of a record over several lines are malformed, so that the start of the next record is
                unknown.
        """
        return iterate_in_thread(self._read())

    def _pieces(self, lines: Iterable[tuple[int, bytes]], mapper: RowMapper | None) -> Generator[Piece, None, None]:
        return _CsvEditor(self._reader, mapper).pieces(lines)


class _CsvEditor:
    """Reads and edits a CSV file; see `FileEditor`.

    If a changed or new record needs a column that the file does not have, it is added at the end of the header and of
    each row: for a description, its type, a user or a tenant. Other columns are not added.
    """

    def __init__(self, reader: RowReader, mapper: RowMapper | None = None) -> None:
        self._reader = reader
        self._mapper = mapper
        self._needed: dict[str, None] = {}
        self._header = b""
        self._columns: list[str] = []
        self._width = 0
        """The number of cells to the last column that has a name."""
        self._delimiter = ","
        self.line_end = b"\r\n"

    def prepare(self, records: Sequence[SourceRecord]) -> None:
        """Find out which columns some records need."""
        for record in records:
            row = row_of(record)
            defaults = {"tenant_id": self._reader.tenant_id, "description_type": "Text"}
            self._needed |= {name: None for name in _NEEDED if row.get(name) and row[name] != defaults.get(name)}

    def pieces(self, lines: Iterable[tuple[int, bytes]]) -> Generator[Piece, None, None]:
        """Yield the header, the rows and the blank lines."""
        header, rest = read_header(self._reader.source, iter(lines), self._required())
        self._check_header(header.names)
        self._header, self._columns, self._delimiter = header.raw, header.names, header.delimiter
        self._width = max(number for number, name in enumerate(header.names, 1) if name)
        self.line_end = b"\r\n" if header.raw.endswith(b"\r\n") or not header.raw.endswith(b"\n") else b"\n"
        for raw in (*header.leading, header.raw):
            yield Piece(raw)
        for line, raw, cells in self._rows(rest, header.last_line):
            if cells is not None and not any(map(str.strip, cells)):
                yield Piece(raw)
            else:
                yield Piece(raw, (self._read_row(line, cells),))

    def kept(self, piece: Piece) -> bytes:
        """Return a part as it is, with a cell for each column that is added."""
        added = self._added()
        if not added or (not piece.items and piece.raw is not self._header):
            return piece.raw
        cells, end = self._split(piece.raw)
        if end.strip("\r\n") or not self._fits(cells):
            return piece.raw
        values = added if piece.raw is self._header else [""] * len(added)
        return self._joined(cells, values, end)

    def changed(self, piece: Piece, changes: Mapping[RecordId, SourceRecord | None]) -> bytes:
        """Return a row with the cells that differ. The others stay as they are, with their quotes."""
        (record,) = changes.values()
        if record is None:
            return b""
        raw, end = self._split(piece.raw)
        text = io.StringIO(decode(piece.raw), newline="")
        values = next(csv.reader(text, delimiter=self._delimiter, strict=True))
        row = {name: value for name, value in zip(self._columns, values, strict=False) if value}
        fields = changed_fields(row, record)
        for number, name in enumerate(self._columns):
            if name in fields:
                raw[number] = self._cell(fields[name] or "")
        new = row_of(record)
        return self._joined(raw, [self._cell(new.get(name) or "") for name in self._added()], end)

    def added(self, records: Sequence[SourceRecord]) -> bytes:
        """Return rows with the columns of the file."""
        output = io.StringIO(newline="")
        writer = csv.writer(output, delimiter=self._delimiter, lineterminator=self.line_end.decode())
        for row in map(row_of, records):
            writer.writerow([row.get(name) or "" for name in [*self._columns, *self._added()]])
        return output.getvalue().encode()

    def _added(self) -> list[str]:
        return [name for name in self._needed if name not in self._columns]

    def _rows(
        self, lines: Iterator[tuple[int, bytes]], last_line: int
    ) -> Iterator[tuple[int, bytes, list[str] | None]]:
        """Yield the first line, the bytes and the cells of each row; `None` for cells that cannot be separated."""
        raw: list[bytes] = []

        def decoded() -> Iterator[str]:
            for _, line in lines:
                raw.append(line)
                yield decode(line)

        rows = csv.reader(decoded(), delimiter=self._delimiter, strict=True)
        while True:
            line = last_line + rows.line_num + 1
            raw.clear()
            cells: list[str] | None
            try:
                cells = next(rows, None)
            except csv.Error:
                if last_line + rows.line_num > line:
                    name = self._reader.source
                    raise SourceError(f"{name}, line {line}: a quoted field is not closed, or too long") from None
                yield line, b"".join(raw), None
                continue
            if cells is None:
                return
            yield line, b"".join(raw), cells

    def _required(self) -> list[str]:
        """Return the columns that the header must have."""
        fields = _REQUIRED if self._reader.tenant_id else (*_REQUIRED, "tenant_id")
        return list(fields) if self._mapper is None else self._mapper.mapping.required_columns(fields)

    def _check_header(self, header: Sequence[str]) -> None:
        name = self._reader.source
        encoding = not_utf8_reason("".join(header))
        # Missing columns are reported first: in a file without a header line, the unknown names are personal data.
        for column in self._required():
            if column not in header:
                reason = f"; it is {encoding}" if encoding else ""
                raise SourceError(f"the header of {name} lacks the column {column}{reason}")
        used = _FIELDS if self._mapper is None else self._mapper.used
        ignores_unknown = self._mapper is not None and self._mapper.ignores_unknown
        for number, column in enumerate(header, 1):
            if column in used:
                if column in header[: number - 1]:
                    raise SourceError(f"the header of {name} has the column {column} twice")
            elif column and not ignores_unknown:
                shown = column if column.isprintable() else f"number {number}"
                reason = f"it is {encoding}" if encoding else IGNORE_UNKNOWN_ADVICE
                raise SourceError(f"the header of {name} has an unknown column: {shown}; {reason}")

    def _fits(self, cells: Sequence[str]) -> bool:
        """Return whether a row has a cell for each column, except for the last ones that have no name."""
        return self._width <= len(cells) <= len(self._columns)

    def _read_row(self, line: int, cells: list[str] | None) -> SourceRecord | SourceProblem:
        if cells is None:
            return self._reader.problem("the quotes are malformed, or a field is too long", line)
        if not self._fits(cells):
            return self._reader.problem(f"{len(cells)} fields, but the header has {len(self._columns)}", line)
        row: dict[str, Any] = {name: cell for name, cell in zip(self._columns, cells, strict=False) if cell}
        if "" in row:
            return self._reader.problem("a value in a column without a name", line)
        if self._mapper is not None:
            values, row = row, {}
            try:
                self._mapper.fill(row, values)
            except ValueError as error:
                return self._with_cause(self._reader.problem(str(error), line, row), cells)
        if "description" not in row:
            row.pop("description_type", None)
        item = self._reader.read(row, line)
        return item if isinstance(item, SourceRecord) else self._with_cause(item, cells)

    def _with_cause(self, problem: SourceProblem, cells: Sequence[str]) -> SourceProblem:
        """Return the problem of a row. Bytes that are not UTF-8 are its reason, since they cause the others."""
        if (encoding := not_utf8_reason("".join(cells))) is None:
            return problem
        number = next(number for number, cell in enumerate(cells) if not_utf8_reason(cell) is not None)
        return attrs.evolve(problem, reason=f"{self._shown(number)} is {encoding}")

    def _shown(self, number: int) -> str:
        name = self._columns[number]
        return f"the column {name}" if name.isprintable() else f"the column number {number + 1}"

    def _split(self, raw: bytes) -> tuple[list[str], str]:
        """Return the cells of a row as they are written, with their quotes, and its line end."""
        pattern = _cell_pattern(self._delimiter)
        text, position, cells = decode(raw), 0, []
        while True:
            match = pattern.match(text, position)
            assert match is not None  # it matches the empty string  # noqa: S101
            cells.append(match[0])
            position = match.end()
            if text[position : position + 1] != self._delimiter:
                return cells, text[position:]
            position += 1

    def _joined(self, cells: Sequence[str], added: Sequence[str], end: str) -> bytes:
        """Return a row with the cells of added columns, which stand after all columns of the header."""
        padding = [""] * (len(self._columns) - len(cells)) if added else []
        return encode(self._delimiter.join([*cells, *padding, *added]) + end)

    def _cell(self, value: str) -> str:
        output = io.StringIO(newline="")
        csv.writer(output, delimiter=self._delimiter).writerow([value, ""])  # a single empty cell would get quotes
        return output.getvalue().removesuffix(f"{self._delimiter}\r\n")


@functools.cache
def _cell_pattern(delimiter: str) -> re.Pattern[str]:
    return re.compile(f'"(?:[^"]|"")*"|[^{re.escape(delimiter)}\r\n]*')


class CsvMirror:
    """A mirror in a CSV file. Unknown fields of an appointment (`extra`) are not written.

    Args:
        path: The file.
        tenant_id: The tenant of a row without one, as for the source that reads the file.
        ignore_unknown: Whether a merge keeps columns that are not known, as for the source that reads the file.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id.
        TypeError: If `ignore_unknown` is not a bool.
    """

    def __init__(self, path: Path | str, *, tenant_id: str | None = None, ignore_unknown: bool = False) -> None:
        check_type("ignore_unknown", ignore_unknown, bool)
        self._path = path
        self._reader = RowReader(os.fspath(path), tenant_id)
        self.ignore_unknown: Final = ignore_unknown
        """Whether columns that are not known are kept as they are."""

    @property
    def tenant_id(self) -> str | None:
        """The tenant of a record that names none."""
        return self._reader.tenant_id

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Return a context manager that replaces the file with the written records; see `Mirror.writing`."""
        return replace_file(self._path, _encode, header=",".join(FIELDS).encode() + b"\r\n")

    async def merge(self, changes: Mapping[RecordId, RecordChange]) -> Collection[RecordId]:
        """Merge changes into the file as it is now; see `MergingMirror.merge`.

        Other rows, and the cells of a changed row that stay, are kept byte for byte. A column that is needed and
        missing is added at the end of the header and of each row.
        """

        def editor() -> _CsvEditor:
            mapper = row_mapper(None, ignore_unknown=self.ignore_unknown, counts=ReadingCounts())
            return _CsvEditor(self._reader, mapper)

        return await merge_into_file(self._path, editor, changes)

    def source(self) -> CsvSource | None:
        """Return a source of what the file has now; `None` if there is no file yet."""
        if not Path(self._path).exists():
            return None
        return CsvSource(self._path, tenant_id=self.tenant_id, ignore_unknown=self.ignore_unknown)


def _encode(records: list[SourceRecord]) -> bytes:
    output = io.StringIO(newline="")
    # Cells that start with = + - @ are not escaped, although a spreadsheet may take them for formulas: the file is for
    # programs, and an added sign would be read back as part of the title.
    writer = csv.writer(output)
    for row in map(row_of, records):
        writer.writerow([row.get(name) or "" for name in FIELDS])
    return output.getvalue().encode()
