"""Prints the records of a command to the standard output, as `DisplayOptions` says."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from .escaping import json_text, printable
from .messages import print_message
from .options import DisplayOptions
from .output_formats import OutputFormat, Record, writer_of


class OutputError(OSError):
    """The standard output could not be written, also because its reader has closed it."""


class Printer:
    """Prints the records of one command.

    Args:
        display: The format, and which records and columns are printed.
        columns: The columns. JSON and YAML have all fields of a record instead, unless `--columns` selects some. A
            table leaves out a column without a value.
        done: What the command has done with the appointment of a record, such as `created`. If the standard output
            cannot be written, a message says so for each record, with the id. `None`: the command changes nothing.

    Raises:
        ValueError: If `--columns` names an unknown column, or `--query` is not a JMESPath expression.
    """

    def __init__(self, display: DisplayOptions, columns: Sequence[str], *, done: str | None = None) -> None:
        selected, self._query = display.check(columns)
        self._writer = writer_of(display.format, selected or columns, whole=selected is None)
        self._format = display.format
        self._limit = display.limit
        self._done = done
        self._records: list[Record] = []
        self._count = 0
        self._has_started = False
        self._failure: OSError | None = None

    @property
    def is_full(self) -> bool:
        """Whether as many records were printed as `--limit` allows. Further ones are left out."""
        return self._limit is not None and self._count >= self._limit

    def add(self, record: Record) -> None:
        """Print a record, or keep it for the table or the query.

        Raises:
            OSError: If the standard output cannot be written. A command that changes appointments goes on, and `end`
                raises.
        """
        if self.is_full:
            return
        self._count += 1
        self._records.append(record)
        if self._query is None and len(self._records) >= self._writer.rows_at_once:
            self._write_records()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """Print what is kept. After an error, nothing is printed if there was no record."""
        if error_type is None:
            self.end()
        elif self._count:
            with suppress(OSError):  # the error of the block is raised
                self.end()

    def end(self) -> None:
        """Print what is kept.

        Raises:
            OSError: If the standard output cannot be written.
            OutputError: If the command changes appointments, and the standard output could not be written.
        """
        if self._query is None:
            self._write_records()
            self._write(self._writer.end())
        else:
            self._write_result(self._query.search([dict(record) for record in self._records]))
        if self._failure is not None:
            raise OutputError(self._failure.errno, self._failure.strerror)

    def _write_records(self) -> None:
        text = "" if self._has_started else self._writer.start()
        self._has_started = True
        records, self._records = self._records, []
        self._write(text + (self._writer.rows(records) if records else ""), records)

    def _write(self, text: str, records: Sequence[Record] = ()) -> None:
        """Write a text to the standard output, or report the records that it has."""
        if self._failure is None:
            try:
                write_output(text, self._writer.encoding)
                return
            except OSError as error:
                if self._done is None:
                    raise
                self._failure = error
        for record in records:
            print_message(self._account(record))

    def _account(self, record: Record) -> str:
        """Return in one line what became of a record that could not be printed."""
        where = next((f"{name} {record[name]}: " for name in ("line", "record") if record.get(name) is not None), "")
        reason, appointment_id = record.get("error"), record.get("appointment_id")
        return where + (f"{self._done} {appointment_id}" if reason is None else f"not {self._done}: {reason}")

    def _write_result(self, result: Any) -> None:
        """Write the result of the query: objects as records, and anything else as JSON, an element a line."""
        elements = result if isinstance(result, list) else [result]
        if elements and all(isinstance(element, dict) for element in elements):
            names = list(dict.fromkeys(name for element in elements for name in element))
            writer = writer_of(self._format, names, whole=True)
            self._write(writer.start() + writer.rows(elements) + writer.end(), self._records)
        elif self._format is OutputFormat.JSON:
            self._write(f"{json_text(result)}\n", self._records)
        else:
            lines = (element if isinstance(element, str) else json_text(element) for element in elements)
            self._write("".join(f"{printable(line)}\n" for line in lines), self._records)


def write_output(text: str, encoding: str | None = None) -> None:
    """Write a text to the standard output. Characters that the encoding lacks are written as backslash escapes.

    Args:
        text: The text.
        encoding: The encoding; `None`: that of the standard output.

    Raises:
        OSError: If it cannot be written.
    """
    if text:
        write_bytes(text.encode(encoding or sys.stdout.encoding, errors="backslashreplace"))


def write_bytes(content: bytes) -> None:
    """Write bytes to the standard output as they are.

    Raises:
        OSError: If they cannot be written.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
