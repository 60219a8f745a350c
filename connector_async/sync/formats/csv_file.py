"""CSV as RFC 4180 has it, in UTF-8: a header line that names columns of `FIELDS`, in any order.

An empty cell is a field that is missing. So a description that is empty or `null` is read back as a missing one, and
the type of such a description does not count.
"""

import csv
import io
import os
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Final

from connector_async._checks import check_tenant_id
from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import FIELDS, SourceProblem, SourceRecord, row_of

from .mirror import RecordWriter, replacing
from .reading import in_chunks, numbered_lines, record_or_problem

_REQUIRED: Final = ("key", "title", "start_time", "end_time")


class CsvSource:
    """Records of a CSV file. Blank lines are skipped.

    Args:
        path: The file.
        tenant_id: The tenant of a row that names none; with it, the column `tenant_id` may be absent.

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
        """Yield the records, read in a worker thread some hundred at a time. The line of one is where it begins.

        A row of too many or too few fields is a problem that has no key, since its cells may stand in wrong columns;
        so is one whose quotes are wrong, or with a cell longer than `csv.field_size_limit()`.

        Raises:
            SourceError: The file cannot be read, its header lacks a column or has one that is not known, or the quotes
                of a record that spans lines are wrong, so that nobody can tell where the next one begins.
        """
        return in_chunks(self._read())

    def _read(self) -> Generator[SourceRecord | SourceProblem, None, None]:
        with closing(numbered_lines(self._path)) as lines:
            # A byte that is not UTF-8 becomes a lone surrogate, which every field refuses by itself.
            rows = self._rows(line.decode("utf-8", "surrogateescape") for _, line in lines)
            _, header = next(rows, (0, None))
            columns = self._columns(header)
            for line, cells in rows:
                yield self._item(line, columns, cells)

    def _rows(self, lines: Iterator[str]) -> Iterator[tuple[int, list[str] | None]]:
        """Yield each record's first line and cells, `None` for cells that cannot be told apart; no blank lines."""
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

    def _columns(self, header: list[str] | None) -> list[str]:
        if header is None:
            raise SourceError(f"{self.name} has no header line that can be read")
        # What is missing is told first: where there is no header line, the names would be somebody's data.
        for name in _REQUIRED if self._tenant_id else (*_REQUIRED, "tenant_id"):
            if name not in header:
                raise SourceError(f"the header of {self.name} lacks the column {name}")
        for number, name in enumerate(header, 1):
            if name not in FIELDS:
                known_as = name if name.isidentifier() else f"number {number}"
                raise SourceError(f"the header of {self.name} has a column that is not known: {known_as}")
            if name in header[: number - 1]:
                raise SourceError(f"the header of {self.name} has the column {name} twice")
        return header

    def _item(self, line: int, columns: list[str], cells: list[str] | None) -> SourceRecord | SourceProblem:
        if cells is None:
            return SourceProblem(source=self.name, line=line, reason="the quotes are wrong, or a field is too long")
        if len(cells) != len(columns):
            reason = f"{len(cells)} fields, where the header has {len(columns)}"
            return SourceProblem(source=self.name, line=line, reason=reason)
        row = {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
        if "description" not in row:
            row.pop("description_type", None)
        return record_or_problem(row, source=self.name, line=line, tenant_id=self._tenant_id)


class CsvMirror:
    """Keeps a set of records as a CSV file. Further fields of an appointment (`extra`) are not written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Replace the file by what is written in the block; see `Mirror.writing`."""
        return replacing(self._path, _encode, head=",".join(FIELDS).encode() + b"\r\n")


def _encode(records: list[SourceRecord]) -> bytes:
    text = io.StringIO(newline="")
    # Cells that begin with = + - @ are written as they are, although a spreadsheet may take them for formulas: the file
    # is for programs, and a sign put before them would come back as part of the title.
    writer = csv.writer(text)
    for row in map(row_of, records):
        writer.writerow([row.get(name) or "" for name in FIELDS])
    return text.getvalue().encode()
