"""Reading a file in a worker thread, so that neither the event loop nor the memory feels its length.

It knows lines and rows, and no format.
"""

import asyncio
import codecs
import os
import threading
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

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
"""How many records are read, or written, in one go: some milliseconds of a thread, and some hundred kilobytes."""


class _Walk(Generic[T]):
    """A generator that threads take turns at: one that still runs cannot be closed by another."""

    def __init__(self, items: Generator[T, None, None]) -> None:
        self._items = items
        self._turn = threading.Lock()

    def take(self) -> list[T]:
        with self._turn:
            return list(islice(self._items, CHUNK))

    def close(self) -> None:
        with self._turn:
            self._items.close()


async def in_chunks(items: Generator[T, None, None]) -> AsyncIterator[T]:
    """Yield what a generator does, which runs in a worker thread; it is closed when this ends, however it does."""
    walk = _Walk(items)
    try:
        while chunk := await asyncio.to_thread(walk.take):
            for item in chunk:
                yield item
    finally:
        await asyncio.shield(asyncio.to_thread(walk.close))


def numbered_lines(path: Path | str) -> Generator[tuple[int, bytes], None, None]:
    """Yield each line with its number, from 1, without a byte order mark before the first.

    Raises:
        SourceError: The file cannot be opened or read.
    """
    try:
        with Path(path).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    except OSError as error:
        raise unusable(path, error) from None


def unusable(path: Path | str, error: OSError) -> SourceError:
    """Return the error for a file that the operating system does not let be read or written."""
    return SourceError(f"{os.fspath(path)}: {error.strerror or type(error).__name__}")


def record_or_problem(
    row: Mapping[str, Any], *, source: str, line: int | None, tenant_id: str | None
) -> SourceRecord | SourceProblem:
    """Return the record that a row of `FIELDS` says, or what is wrong with it."""
    try:
        return record_from_row(row, tenant_id=tenant_id)
    except (ValueError, TypeError) as error:
        return problem_of(row, str(error), source=source, line=line, tenant_id=tenant_id)


def problem_of(
    row: Mapping[str, Any], reason: str, *, source: str, line: int | None, tenant_id: str | None
) -> SourceProblem:
    """Return the problem of a row, with as much of its identity as can be read; of an empty row, that is nothing."""
    key: str | None = _or_none(lambda: key_of(row))
    # What could not be read at all may have named another tenant.
    calendar: Calendar | None = _or_none(lambda: calendar_of(row, tenant_id=tenant_id)) if row else None
    return SourceProblem(source=source, line=line, reason=reason, key=key, calendar=calendar)


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (ValueError, TypeError):
        return None
