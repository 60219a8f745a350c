"""CSV (RFC 4180) in UTF-8. The header line names columns of `FIELDS`, in any order.

An empty cell is a missing field. So a description that is empty or `null` is read back as a missing one, and its
description type is ignored.
"""

import csv
import io
import os
import re
from collections.abc import AsyncIterator, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Final

from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import FIELDS, SourceProblem, SourceRecord, row_of

from .merging import changed_fields, merge_into_file
from .mirror import RecordChange, RecordId, RecordWriter, replace_file
from .reading import Piece, RowReader, iterate_in_thread, numbered_lines

_REQUIRED: Final = ("key", "title", "start_time", "end_time")
_NEEDED: Final = ("tenant_id", "ad_id", "domain_id", "description", "description_type")
"""The optional columns without which a record would be another one, or have other content."""
_CELL: Final = re.compile('"(?:[^"]|"")*"|[^,\r\n]*')


class CsvSource:
    """The records of a CSV file. Blank lines are skipped.

    Args:
        path: The file.
        tenant_id: The tenant of a row without one. If it is given, the column `tenant_id` is optional.

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

    @property
    def tenant_id(self) -> str | None:
        """The tenant of a record that names none."""
        return self._reader.tenant_id

    def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        """Yield the records. A worker thread reads some hundred at a time. The line of a record is its first one.

        A row with too many or too few fields is a problem without a key, since its cells may be in the wrong columns.
        So is a row with malformed quotes, or with a cell longer than `csv.field_size_limit()`.

        Raises:
            SourceError: If the file cannot be read, its header lacks a column or has an unknown one, or the quotes of a
                record over several lines are malformed, so that the start of the next record is unknown.
        """
        return iterate_in_thread(self._read())

    def _read(self) -> Generator[SourceRecord | SourceProblem, None, None]:
        with closing(numbered_lines(self._path)) as lines:
            for piece in _CsvEditor(self._reader).pieces(lines):
                yield from piece.items


class _CsvEditor:
    """Reads and edits a CSV file; see `FileEditor`.

    If a changed or new record needs a column that the file does not have, it is added at the end of the header and of
    each row: for a description, its type, a user or a tenant. Other columns are not added.
    """

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader
        self._needed: dict[str, None] = {}
        self._header = b""
        self._columns: list[str] = []
        self.line_end = b"\r\n"

    def prepare(self, records: Sequence[SourceRecord]) -> None:
        """Find out which columns some records need."""
        for record in records:
            row = row_of(record)
            defaults = {"tenant_id": self._reader.tenant_id, "description_type": "Text"}
            self._needed |= {name: None for name in _NEEDED if row.get(name) and row[name] != defaults.get(name)}

    def pieces(self, lines: Iterable[tuple[int, bytes]]) -> Generator[Piece, None, None]:
        """Yield the header, the rows and the blank lines."""
        for line, raw, cells in self._rows(lines):
            if cells is not None and not any(cell.strip() for cell in cells[:1]) and len(cells) < 2:
                yield Piece(raw)
            elif not self._columns:
                self._columns = self._check_header(cells)
                self._header = raw
                self.line_end = b"\r\n" if raw.endswith(b"\r\n") or not raw.endswith(b"\n") else b"\n"
                yield Piece(raw)
            else:
                yield Piece(raw, (self._read_row(line, cells),))
        if not self._columns:
            self._check_header(None)

    def kept(self, piece: Piece) -> bytes:
        """Return a part as it is, with a cell for each column that is added."""
        added = self._added()
        if not added or not piece.raw.strip():
            return piece.raw
        if piece.raw is self._header:
            return _with_cells(piece.raw, added)
        cells, _ = _split(piece.raw)
        return _with_cells(piece.raw, [""] * len(added)) if len(cells) == len(self._columns) else piece.raw

    def changed(self, piece: Piece, changes: Mapping[RecordId, SourceRecord | None]) -> bytes:
        """Return a row with the cells that differ. The others stay as they are, with their quotes."""
        (record,) = changes.values()
        if record is None:
            return b""
        raw, end = _split(piece.raw)
        values = next(csv.reader(io.StringIO(_decode(piece.raw), newline=""), strict=True))
        row = {name: value for name, value in zip(self._columns, values, strict=True) if value}
        fields = changed_fields(row, record)
        for number, name in enumerate(self._columns):
            if name in fields:
                raw[number] = _cell(fields[name] or "")
        new = row_of(record)
        raw += [_cell(new.get(name) or "") for name in self._added()]
        return _encode_text(",".join(raw) + end)

    def added(self, records: Sequence[SourceRecord]) -> bytes:
        """Return rows with the columns of the file."""
        output = io.StringIO(newline="")
        writer = csv.writer(output, lineterminator=self.line_end.decode())
        for row in map(row_of, records):
            writer.writerow([row.get(name) or "" for name in [*self._columns, *self._added()]])
        return output.getvalue().encode()

    def _added(self) -> list[str]:
        return [name for name in self._needed if name not in self._columns]

    def _rows(self, lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes, list[str] | None]]:
        """Yield the first line, the bytes and the cells of each row; `None` for cells that cannot be separated."""
        raw: list[bytes] = []

        def decoded() -> Iterator[str]:
            for _, line in lines:
                raw.append(line)
                yield _decode(line)

        rows = csv.reader(decoded(), strict=True)
        while True:
            line = rows.line_num + 1
            raw.clear()
            cells: list[str] | None
            try:
                cells = next(rows, None)
            except csv.Error:
                if rows.line_num > line:
                    name = self._reader.source
                    raise SourceError(f"{name}, line {line}: a quoted field is not closed, or too long") from None
                yield line, b"".join(raw), None
                continue
            if cells is None:
                return
            yield line, b"".join(raw), cells

    def _check_header(self, header: list[str] | None) -> list[str]:
        name = self._reader.source
        if header is None:
            raise SourceError(f"{name} has no header line that can be read")
        # Missing columns are reported first: in a file without a header line, the unknown names are personal data.
        for column in _REQUIRED if self._reader.tenant_id else (*_REQUIRED, "tenant_id"):
            if column not in header:
                raise SourceError(f"the header of {name} lacks the column {column}")
        for number, column in enumerate(header, 1):
            if column not in FIELDS:
                shown = column if column.isidentifier() else f"number {number}"
                raise SourceError(f"the header of {name} has an unknown column: {shown}")
            if column in header[: number - 1]:
                raise SourceError(f"the header of {name} has the column {column} twice")
        return header

    def _read_row(self, line: int, cells: list[str] | None) -> SourceRecord | SourceProblem:
        if cells is None:
            return self._reader.problem("the quotes are malformed, or a field is too long", line)
        if len(cells) != len(self._columns):
            return self._reader.problem(f"{len(cells)} fields, but the header has {len(self._columns)}", line)
        row = {name: cell for name, cell in zip(self._columns, cells, strict=True) if cell}
        if "description" not in row:
            row.pop("description_type", None)
        return self._reader.read(row, line)


class CsvMirror:
    """A mirror in a CSV file. Unknown fields of an appointment (`extra`) are not written.

    Args:
        path: The file.
        tenant_id: The tenant of a row without one, as for the source that reads the file.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id.
    """

    def __init__(self, path: Path | str, *, tenant_id: str | None = None) -> None:
        self._path = path
        self._reader = RowReader(os.fspath(path), tenant_id)

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
        return await merge_into_file(self._path, lambda: _CsvEditor(self._reader), changes)

    def source(self) -> CsvSource | None:
        """Return a source of what the file has now; `None` if there is no file yet."""
        return CsvSource(self._path) if Path(self._path).exists() else None


def _encode(records: list[SourceRecord]) -> bytes:
    output = io.StringIO(newline="")
    # Cells that start with = + - @ are not escaped, although a spreadsheet may take them for formulas: the file is for
    # programs, and an added sign would be read back as part of the title.
    writer = csv.writer(output)
    for row in map(row_of, records):
        writer.writerow([row.get(name) or "" for name in FIELDS])
    return output.getvalue().encode()


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")  # a byte that is not UTF-8 is a lone surrogate, which fields reject


def _encode_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _split(raw: bytes) -> tuple[list[str], str]:
    """Return the cells of a row as they are written, with their quotes, and its line end."""
    text, position, cells = _decode(raw), 0, []
    while True:
        match = _CELL.match(text, position)
        assert match is not None  # it matches the empty string  # noqa: S101
        cells.append(match[0])
        position = match.end()
        if text[position : position + 1] != ",":
            return cells, text[position:]
        position += 1


def _with_cells(raw: bytes, cells: list[str]) -> bytes:
    row = raw.rstrip(b"\r\n")
    return row + b"".join(b"," + cell.encode() for cell in cells) + raw[len(row) :]


def _cell(value: str) -> str:
    output = io.StringIO(newline="")
    csv.writer(output).writerow([value, ""])  # a single empty cell would get quotes
    return output.getvalue().removesuffix(",\r\n")
