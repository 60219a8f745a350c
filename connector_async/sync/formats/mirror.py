"""The mirror protocol, and the replacement of a file by a complete new set of records. It knows no file format."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, TypeVar, runtime_checkable

import attrs

from connector_async._checks import check_tenant_id, check_text
from connector_async._files import atomic_replace, run_in_thread
from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import Calendar, SourceRecord

from .reading import CHUNK, source_error
from .source import Source

T = TypeVar("T")


RecordId: TypeAlias = tuple[Calendar, str]
"""The calendar and the key of a record."""


@attrs.frozen(kw_only=True)
class RecordChange:
    """A change of one record."""

    replaced_hash: str
    """The hash of the record that the change replaces; `ABSENT`: the record is new."""
    content_hash: str
    """The hash of the record after the change; `ABSENT`: the record is removed."""
    record: SourceRecord | None = attrs.field(repr=False)
    """The record after the change; `None`: it is removed."""


class RecordWriter(Protocol):
    """Writes the records of a mirror one by one."""

    async def write(self, record: SourceRecord) -> None:
        """Add a record.

        Raises:
            SourceError: If the mirror cannot be written.
            ValueError: If the key or the tenant of the record is invalid. The record is not added.
            TypeError: If `record` is not a `SourceRecord`.
            RuntimeError: If the block of this writer has ended.
        """
        ...


class Mirror(Protocol):
    """A place that keeps a complete set of records."""

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Return a context manager that gives a writer for a new complete set of records.

        The new set replaces the old one when the block ends. A block that ends with an error or a cancellation changes
        nothing. If the task is cancelled during the replacement, the mirror holds either the old set or the new set as
        a whole. A file is readable by its owner only.

        Raises:
            SourceError: If the mirror cannot be written.
        """
        ...


@runtime_checkable
class ReadableMirror(Mirror, Protocol):
    """A mirror with records that can be read back."""

    def source(self) -> Source | None:
        """Return a source of what the mirror has now; `None` if it was never written."""
        ...


@runtime_checkable
class MergingMirror(Mirror, Protocol):
    """A mirror that is also edited by others, so that changes are merged into what it has now.

    A two-way run calls `merge` if its mirror has it. Otherwise it writes the complete set of records anew, and others
    must not edit the mirror during the run.
    """

    async def merge(self, changes: Mapping[RecordId, RecordChange]) -> Collection[RecordId]:
        """Change some records, and leave everything else as it is now. Either all changes are written, or none.

        A record is changed only if it can be read, occurs once, and has the `replaced_hash`. A new record is added only
        if there is none with its key.

        Returns:
            The changed records that the mirror has durably now, including those that it had already. The others are
            kept for the next run, which finds out what has become of them.

        Raises:
            SourceError: If the mirror cannot be read or written; nothing has changed.
        """
        ...


@contextlib.asynccontextmanager
async def replace_file(
    path: Path | str, encode: Callable[[list[SourceRecord]], bytes], *, header: bytes = b"", footer: bytes = b""
) -> AsyncIterator[RecordWriter]:
    """Replace a file with the records that are written in the block; see `Mirror.writing`.

    Args:
        path: The file. If it is a symbolic link, the file that the link points to is replaced.
        encode: Returns the bytes of some records; called in a worker thread.
        header: The bytes before all records.
        footer: The bytes after all records.
    """
    writer = _FileWriter(path, encode)
    try:
        await writer.open(header)
        yield writer
        await writer.commit(footer)
    except BaseException as error:
        await writer.discard(error)
        raise


class _FileWriter:
    """Writes the temporary file of a replacement in worker threads."""

    def __init__(self, path: Path | str, encode: Callable[[list[SourceRecord]], bytes]) -> None:
        self._path = path
        self._encode = encode
        self._stack = ExitStack()
        self._batch: list[SourceRecord] = []
        self._unwritten = 0  # batches
        self._closed = False

    async def open(self, header: bytes) -> None:
        self._file = await self._in_thread(self._open_file)
        await self._in_thread(self._file.write, header)

    async def write(self, record: SourceRecord) -> None:
        if self._closed:
            raise RuntimeError("the block of this writer has ended")
        if not isinstance(record, SourceRecord):
            raise TypeError(f"record must be a SourceRecord, not {type(record).__name__}")
        check_text("key", record.key)
        check_tenant_id(record.calendar.tenant_id)
        self._batch.append(record)
        if len(self._batch) >= CHUNK:
            await self._write_batch()

    async def commit(self, footer: bytes) -> None:
        self._closed = True
        await self._write_batch()
        if self._unwritten:
            # A write failed or was cancelled, and the caller ignored that: the file would be incomplete.
            raise SourceError(f"{os.fspath(self._path)}: not all records were written")
        await self._in_thread(self._file.write, footer)
        await self._in_thread(self._stack.close)

    async def discard(self, error: BaseException) -> None:
        self._closed = True
        with contextlib.suppress(OSError):  # the error that ended the block is the one to report
            await run_in_thread(self._stack.__exit__, type(error), error, error.__traceback__)

    def _open_file(self) -> BinaryIO:
        temporary = self._stack.enter_context(atomic_replace(Path(self._path)))
        return self._stack.enter_context(temporary.open("wb"))

    async def _write_batch(self) -> None:
        batch, self._batch = self._batch, []
        self._unwritten += 1
        await self._in_thread(lambda: self._file.write(self._encode(batch)))
        self._unwritten -= 1

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return await run_in_thread(function, *args)
        except OSError as error:
            raise source_error(self._path, error) from None
