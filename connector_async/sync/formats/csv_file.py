"""CSV (RFC 4180) in UTF-8. The header line names columns of `FIELDS`, in any order.

An empty cell is a missing field. So a description that is empty or `null` is read back as a missing one, and its
description type is ignored.
"""

import csv
import io
import os
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Final

from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import FIELDS, SourceProblem, SourceRecord, row_of

from .mirror import RecordWriter, replace_file
from .reading import RowReader, iterate_in_thread, numbered_lines

_REQUIRED: Final = ("key", "title", "start_time", "end_time")


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
            # A byte that is not UTF-8 becomes a lone surrogate, which every field rejects.
            rows = self._rows(line.decode("utf-8", "surrogateescape") for _, line in lines)
            _, header = next(rows, (0, None))
            columns = self._check_header(header)
            for line, cells in rows:
                yield self._read_row(line, columns, cells)

    def _rows(self, lines: Iterator[str]) -> Iterator[tuple[int, list[str] | None]]:
        """Yield the first line and the cells of each row; `None` for cells that cannot be separated."""
        rows = csv.reader(lines, strict=True)
        while True:
            line = rows.line_num + 1
            try:
                cells = next(rows, None)
            except csv.Error:
                if rows.line_num > line:
                    raise SourceError(f"{self.name}, line {line}: a quoted field is not closed, or too long") from None
                yield line, None
                continue
            if cells is None:
                return
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield line, cells

    def _check_header(self, header: list[str] | None) -> list[str]:
        if header is None:
            raise SourceError(f"{self.name} has no header line that can be read")
        # Missing columns are reported first: in a file without a header line, the unknown names are personal data.
        for name in _REQUIRED if self._reader.tenant_id else (*_REQUIRED, "tenant_id"):
            if name not in header:
                raise SourceError(f"the header of {self.name} lacks the column {name}")
        for number, name in enumerate(header, 1):
            if name not in FIELDS:
                shown = name if name.isidentifier() else f"number {number}"
                raise SourceError(f"the header of {self.name} has an unknown column: {shown}")
            if name in header[: number - 1]:
                raise SourceError(f"the header of {self.name} has the column {name} twice")
        return header

    def _read_row(self, line: int, columns: list[str], cells: list[str] | None) -> SourceRecord | SourceProblem:
        if cells is None:
            return self._reader.problem("the quotes are malformed, or a field is too long", line)
        if len(cells) != len(columns):
            return self._reader.problem(f"{len(cells)} fields, but the header has {len(columns)}", line)
        row = {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
        if "description" not in row:
            row.pop("description_type", None)
        return self._reader.read(row, line)


class CsvMirror:
    """A mirror in a CSV file. Unknown fields of an appointment (`extra`) are not written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Return a context manager that replaces the file with the written records; see `Mirror.writing`."""
        return replace_file(self._path, _encode, header=",".join(FIELDS).encode() + b"\r\n")

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
