"""The formats of `--output`: each turns records into text that can be written piece by piece."""

import abc
import csv
import enum
import json
import os
import sys
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from .escaping import json_text, printable

if TYPE_CHECKING:
    from rich.table import Table

Record = Mapping[str, Any]
"""One row: strings, numbers, booleans and `None` by column. Other values are written only as JSON and YAML."""

_LEAST_WIDTH: Final = 10  # of a column that gives way to ids and times
_UNLIMITED_WIDTH: Final = 100_000  # a table that is not read on a terminal is not cut


class OutputFormat(enum.Enum):
    """How the records of a command are printed."""

    TABLE = "table"
    """A table to read."""
    JSON = "json"
    """An array (RFC 8259)."""
    JSONL = "jsonl"
    """An object a line."""
    CSV = "csv"
    """A header and a line for each record (RFC 4180, with line feeds)."""
    TSV = "tsv"
    """A header and a line for each record, separated by tabs. Tabs and line feeds in a value are escaped."""
    YAML = "yaml"
    """A sequence (YAML 1.1)."""


class Writer(abc.ABC):
    """Writes records in one format. The texts of `start`, of each `rows` and of `end` make the whole output."""

    encoding: str | None = None
    """The encoding of the output; `None`: that of the standard output."""
    rows_at_once: int = 1
    """After how many records the output is written."""

    def start(self) -> str:
        """Return what stands before the first record."""
        return ""

    @abc.abstractmethod
    def rows(self, records: Sequence[Record]) -> str:
        """Return the text of one or more records."""

    def end(self) -> str:
        """Return what stands after the last record."""
        return ""


def writer_of(output: OutputFormat, columns: Sequence[str], *, whole: bool) -> Writer:
    """Return a writer.

    Args:
        output: The format.
        columns: The columns, in their order.
        whole: Whether JSON and YAML have all fields of a record rather than those of `columns`.
    """
    fields = None if whole else columns
    match output:
        case OutputFormat.JSON:
            return _JsonArray(fields)
        case OutputFormat.JSONL:
            return _JsonLines(fields)
        case OutputFormat.YAML:
            return _Yaml(fields)
        case OutputFormat.CSV:
            return _Csv(columns)
        case OutputFormat.TSV:
            return _Tsv(columns)
        case OutputFormat.TABLE:
            return _Table(columns)


class _Objects(Writer):
    """A format of whole records, or of some of their fields."""

    encoding = "utf-8"

    def __init__(self, fields: Sequence[str] | None) -> None:
        self._fields = fields
        self._is_empty = True

    def rows(self, records: Sequence[Record]) -> str:
        if self._fields is not None:
            records = [{name: record.get(name) for name in self._fields} for record in records]
        text = self.objects(records)
        self._is_empty = False
        return text

    @abc.abstractmethod
    def objects(self, records: Sequence[Record]) -> str:
        """Return the text of records with the fields that are written."""


class _JsonLines(_Objects):
    def objects(self, records: Sequence[Record]) -> str:
        return "".join(f"{json_text(record)}\n" for record in records)


class _JsonArray(_Objects):
    def start(self) -> str:
        return "["

    def objects(self, records: Sequence[Record]) -> str:
        return ("\n" if self._is_empty else ",\n") + ",\n".join(map(json_text, records))

    def end(self) -> str:
        return "]\n" if self._is_empty else "\n]\n"


class _Yaml(_Objects):
    def objects(self, records: Sequence[Record]) -> str:
        import yaml  # noqa: PLC0415 - the other formats do not need it

        plain = [json.loads(json_text(record)) for record in records]
        return yaml.safe_dump(plain, allow_unicode=True, sort_keys=False)

    def end(self) -> str:
        return "[]\n" if self._is_empty else ""


class _Rows(Writer):
    """A format of rows under a header."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns


class _Csv(_Rows):
    def start(self) -> str:
        return self._lines([self._columns])

    def rows(self, records: Sequence[Record]) -> str:
        return self._lines([[self._cell(record.get(name)) for name in self._columns] for record in records])

    @staticmethod
    def _cell(value: Any) -> str:
        return "\n".join(_cell(line) for line in value.split("\n")) if isinstance(value, str) else _cell(value)

    @staticmethod
    def _lines(rows: Sequence[Sequence[str]]) -> str:
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue()


class _Tsv(_Rows):
    def start(self) -> str:
        return self._line(self._columns)

    def rows(self, records: Sequence[Record]) -> str:
        return "".join(self._line([_cell(record.get(name)) for name in self._columns]) for record in records)

    @staticmethod
    def _line(cells: Sequence[str]) -> str:
        return "\t".join(cells) + "\n"


class _Table(_Rows):
    """A table for each 1,000 records, so that a long output takes no more memory than that."""

    rows_at_once = 1000

    def rows(self, records: Sequence[Record]) -> str:
        from rich import box  # noqa: PLC0415 - the other formats do not need rich
        from rich.cells import cell_len  # noqa: PLC0415
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        # With NO_COLOR rich leaves out colors only; bold is an escape sequence as well (no-color.org).
        terminal = Console(file=sys.stdout, color_system=None if os.environ.get("NO_COLOR") else "auto")
        on_terminal = terminal.is_terminal
        text = StringIO()  # what fails to be written must fail in the writing
        console = Console(
            file=text,
            color_system=terminal.color_system,  # type: ignore[arg-type]  # one of the names that it accepts
            force_terminal=on_terminal,
            width=terminal.width if on_terminal else _UNLIMITED_WIDTH,
        )
        shown = [name for name in self._columns if any(record.get(name) is not None for record in records)]
        table = Table(box=box.ROUNDED if on_terminal else None, pad_edge=on_terminal)
        least_width = 1  # with the borders
        for name in shown:
            cells = [_cell(record.get(name)) for record in records]
            # An id or a time is copied from the table: the other columns give way.
            is_copied = name == "key" or name.endswith(("_id", "_time"))
            width = max(map(cell_len, cells))
            least_width += max(len(name), width if is_copied else min(width, _LEAST_WIDTH)) + 3
            table.add_column(name, no_wrap=is_copied, overflow="fold", min_width=width if is_copied else None)
        if on_terminal and least_width > console.width:
            console.print(_fields_below_each_other(records, shown))
            return text.getvalue()
        for record in records:
            table.add_row(*(Text(_cell(record.get(name))) for name in shown))
        console.print(table)
        return text.getvalue()


def _fields_below_each_other(records: Sequence[Record], columns: Sequence[str]) -> "Table":
    """Return a table with a line for each field, for a terminal that is too narrow for a row."""
    from rich.table import Table  # noqa: PLC0415 - see _Table
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for record in records:
        for name in columns:
            table.add_row(Text(name, "bold"), Text(_cell(record.get(name))))
        table.add_row()
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return json_text(value) if isinstance(value, Mapping | list | tuple) else printable(str(value))
