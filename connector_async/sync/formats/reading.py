"""Reading records from a file in a worker thread, with bounded memory. It knows lines and rows, but no file format."""

import codecs
import hashlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

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


_SLICE: Final = 0.05
"""The seconds after which a thread comes back, even if it has read less."""
_MAX_LINE: Final = 16 * 1024 * 1024
"""The bytes of a line, which is in memory as a whole."""


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


async def iterate_in_thread(items: Generator[T | None, None, None]) -> AsyncIterator[T]:
    """Yield the items of a generator that runs in a worker thread. The generator is closed at the end, on every way.

    A `None` is a step without an item. The thread comes back after some steps or milliseconds, so that a cancelled task
    waits for one step at most.
    """
    try:
        while True:
            chunk, end = await run_in_thread(lambda: _take(items))
            for item in chunk:
                yield item
            if isinstance(end, SourceError):
                raise end
            if end is not None:
                return
    finally:
        await run_in_thread(items.close)


def _take(items: Generator[T | None, None, None]) -> tuple[list[T], StopIteration | SourceError | None]:
    """Return the next items, and what ends them after these."""
    chunk: list[T] = []
    until = time.monotonic() + _SLICE
    try:
        while len(chunk) < CHUNK and time.monotonic() < until:
            item = next(items)
            if item is not None:
                chunk.append(item)
    except (StopIteration, SourceError) as end:
        return chunk, end
    return chunk, None


class FileLines:
    """The numbered lines of a file that is open. Each iteration starts from the first one.

    A byte order mark before the first line is left out.

    Args:
        file: The file.
        name: The file, as the caller named it.
        is_hashed: Whether to compute a digest of the lines.
    """

    def __init__(self, file: BinaryIO, name: str, *, is_hashed: bool = False) -> None:
        self._file = file
        self._name = name
        self._is_hashed = is_hashed
        self._hash = hashlib.blake2b()
        self.has_mark = False
        """Whether there is a byte order mark."""

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line with its number, from 1.

        Raises:
            SourceError: If a line is too long.
            OSError: If the file cannot be read.
        """
        self._file.seek(0)
        self._hash = hashlib.blake2b()
        number = 0
        while line := self._file.readline(_MAX_LINE + 1):
            number += 1
            if len(line) > _MAX_LINE:
                raise SourceError(f"{self._name}: line {number} is longer than {_MAX_LINE} bytes")
            if self._is_hashed:
                self._hash.update(line)
            if number == 1 and line.startswith(codecs.BOM_UTF8):
                self.has_mark = True
                line = line.removeprefix(codecs.BOM_UTF8)
            yield number, line

    def digest(self) -> bytes:
        """Return the digest of all lines that the latest iteration has read."""
        return self._hash.digest()


@contextmanager
def open_lines(path: Path | str) -> Iterator[FileLines]:
    """Open a file to read its lines.

    Raises:
        SourceError: If the file is not a regular file, or cannot be opened or read.
    """
    try:
        with open_regular(path) as file:
            yield FileLines(file, os.fspath(path))
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
    items: Sequence[SourceRecord | SourceProblem] = ()
    """The records in it: none, one, or the occurrences of a recurring event."""
    unchangeable: Collection[str] = ()
    """The keys of records that the format cannot change alone."""
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
