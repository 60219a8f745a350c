"""What a mirror is, and how a file is replaced by a whole new one or not at all. It knows no format."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from connector_async._checks import check_tenant_id, check_text
from connector_async._files import check_replaceable, create_temporary_file
from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import SourceRecord

from .reading import CHUNK, unusable


class RecordWriter(Protocol):
    """Takes the records of a mirror one by one."""

    async def write(self, record: SourceRecord) -> None:
        """Add a record.

        Raises:
            SourceError: The mirror cannot be written.
            ValueError: The key or the tenant of the record cannot be one; the record is not added.
            TypeError: It is no record.
            RuntimeError: The block that the writer belongs to has ended.
        """
        ...


class Mirror(Protocol):
    """Where a complete set of records is kept."""

    def writing(self) -> AbstractAsyncContextManager[RecordWriter]:
        """Return a block whose writer takes the complete set, which replaces the old one when the block ends.

        A block that is left by an error or a cancellation changes nothing. Cancelled while the new set is being put in
        place, the old one is there or the new one, and never a part of either. A file is readable by its owner only.

        Raises:
            SourceError: The mirror cannot be written.
        """
        ...


@contextlib.asynccontextmanager
async def replacing(
    path: Path | str, encode: Callable[[list[SourceRecord]], bytes], *, head: bytes = b"", tail: bytes = b""
) -> AsyncIterator[RecordWriter]:
    """Replace a file by what is written in the block; see `Mirror.writing`.

    Args:
        path: The file; where it is a symbolic link, what that points to.
        encode: Returns the bytes of some records; called in a worker thread.
        head: What stands before all records.
        tail: What stands behind them.
    """
    file = _Replacement(path)
    writer = _FileWriter(file, encode)
    try:
        await writer.begin(head)
        yield writer
        await writer.end(tail)
    finally:
        writer.closed = True
        await asyncio.shield(asyncio.to_thread(file.discard))


class _Replacement:
    """A file that is written beside its target and then takes its place. Its methods block, and take turns.

    Whoever awaits one in a thread may be cancelled while it runs on, so that the next one may come before its end.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._target = ""
        self._descriptor: int | None = None
        self._temporary: str | None = None
        self._discarded = False
        self._turn = threading.Lock()

    def begin(self) -> None:
        with self._turn:
            if self._discarded:
                return
            check_replaceable(Path(self._path))
            self._target = os.path.realpath(self._path)
            self._descriptor, self._temporary = create_temporary_file(Path(self._target))

    def write(self, data: bytes) -> None:
        with self._turn:
            rest = memoryview(data)
            while rest and self._descriptor is not None:
                rest = rest[os.write(self._descriptor, rest) :]

    def commit(self) -> None:
        with self._turn:
            if self._descriptor is None or self._temporary is None:
                return
            os.fsync(self._descriptor)
            self._close()
            os.replace(self._temporary, self._target)  # noqa: PTH105 - both are texts
            self._temporary = None

    def discard(self) -> None:
        with self._turn:
            self._discarded = True
            with contextlib.suppress(OSError):  # why the block was left is what counts
                self._close()
            if self._temporary is not None:
                with contextlib.suppress(OSError):
                    Path(self._temporary).unlink()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    async def in_thread(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            await asyncio.to_thread(function, *arguments)
        except OSError as error:
            raise unusable(self._path, error) from None

    def incomplete(self) -> SourceError:
        return SourceError(f"{os.fspath(self._path)}: not all records were written")


class _FileWriter:
    def __init__(self, file: _Replacement, encode: Callable[[list[SourceRecord]], bytes]) -> None:
        self._file = file
        self._encode = encode
        self._batch: list[SourceRecord] = []
        self._pending = 0
        self.closed = False

    async def begin(self, head: bytes) -> None:
        await self._file.in_thread(self._file.begin)
        await self._file.in_thread(self._file.write, head)

    async def write(self, record: SourceRecord) -> None:
        if self.closed:
            raise RuntimeError("the block of this writer has ended")
        if not isinstance(record, SourceRecord):
            raise TypeError(f"record must be a SourceRecord, not {type(record).__name__}")
        check_text("key", record.key)
        check_tenant_id(record.calendar.tenant_id)
        self._batch.append(record)
        if len(self._batch) >= CHUNK:
            await self._flush()

    async def end(self, tail: bytes) -> None:
        self.closed = True
        await self._flush()
        if self._pending:
            # A write that failed or was cancelled, and the caller went on: what is there must not pass for the whole.
            raise self._file.incomplete()
        await self._file.in_thread(self._file.write, tail)
        await self._file.in_thread(self._file.commit)

    async def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self._pending += 1
        await self._file.in_thread(self._put, batch)
        self._pending -= 1

    def _put(self, batch: list[SourceRecord]) -> None:
        self._file.write(self._encode(batch))
