"""Reading records from a file in a worker thread, with bounded memory. It knows lines and rows, but no file format."""

import codecs
import os
from collections import Counter
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from connector_async._checks import check_tenant_id
from connector_async._files import open_regular, run_in_thread
from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import (
    Calendar,
    SourceProblem,
    SourceRecord,
    calendar_of,
    key_of,
    record_from_row,
)

T = TypeVar("T")

CHUNK: Final = 500
"""The number of records that a thread reads or writes at a time: some milliseconds, and some hundred kilobytes."""


@attrs.define(kw_only=True)
class ReadingCounts:
    """What a reading of a file has left out on purpose, or has made records of. It names no content."""

    cancelled: int = 0
    """Cancelled events, which are absent."""
    superseded: int = 0
    """Older revisions of an event."""
    series: int = 0
    """Recurring events that were expanded."""
    instances: int = 0
    """The records that they were expanded into."""
    ignored: Counter[str] = attrs.field(factory=Counter)
    """How often each ignored part occurs, by its name: a component of iCalendar, a column, a member of an object."""


async def iterate_in_thread(items: Generator[T, None, None]) -> AsyncIterator[T]:
    """Yield the items of a generator that runs in a worker thread. The generator is closed at the end, on every way."""
    try:
        while chunk := await run_in_thread(lambda: list(islice(items, CHUNK))):
            for item in chunk:
                yield item
    finally:
        await run_in_thread(items.close)


def numbered_lines(path: Path | str) -> Generator[tuple[int, bytes], None, None]:
    """Yield each line of a file with its number, from 1. A byte order mark before the first line is left out.

    Raises:
        SourceError: If the file is not a regular file, or cannot be opened or read.
    """
    try:
        with open_regular(path) as lines:
            for number, line in enumerate(lines, 1):
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    except OSError as error:
        raise source_error(path, error) from None


def source_error(path: Path | str, error: OSError) -> SourceError:
    """Return the error for a file that the operating system cannot read or write."""
    return SourceError(f"{os.fspath(path)}: {error.strerror or type(error).__name__}")


@attrs.frozen
class Piece:
    """A part of a file. The parts of a file are all of its bytes, without a byte order mark."""

    raw: bytes = attrs.field(repr=False)
    """The bytes."""
    item: SourceRecord | SourceProblem | None = None
    """The record in it; `None`: it has none."""
    is_end: bool = False
    """Whether new records must stand before it, unless a later part is one as well."""


@attrs.frozen
class RowReader:
    """Makes records of the rows of one file.

    Raises:
        ValueError: If `tenant_id` is not a valid tenant id.
    """

    source: str
    """The file, as the caller named it."""
    tenant_id: str | None = None
    """The tenant of a row without one; `None`: each row needs one."""

    def __attrs_post_init__(self) -> None:
        if self.tenant_id is not None:
            check_tenant_id(self.tenant_id)

    def read(self, row: Mapping[str, Any], line: int) -> SourceRecord | SourceProblem:
        """Return the record of a row of `FIELDS`, or the problem if it breaks a rule."""
        try:
            return record_from_row(row, tenant_id=self.tenant_id)
        except (ValueError, TypeError) as error:
            return self.problem(str(error), line, row)

    def problem(self, reason: str, line: int, row: Mapping[str, Any] | None = None) -> SourceProblem:
        """Return the problem of a line, with its key and calendar if `row` has valid ones.

        Without a row the calendar is unknown, even if there is a default tenant: the line may have named another one.
        """
        key: str | None = None
        calendar: Calendar | None = None
        if row:
            with suppress(ValueError, TypeError):
                key = key_of(row)
            with suppress(ValueError, TypeError):
                calendar = calendar_of(row, tenant_id=self.tenant_id)
        return SourceProblem(source=self.source, line=line, reason=reason, key=key, calendar=calendar)
