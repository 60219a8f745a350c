"""Reads the lines of a file or of the standard input without blocking the event loop."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from connector_async._files import open_regular, run_in_thread

STANDARD_INPUT: Final = "-"
_CHUNK_BYTES: Final = 64 * 1024
_MAX_LINE_BYTES: Final = 10 * 1024 * 1024


async def read_lines(path: str) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the number, from 1, and the content of each line that is not blank.

    Args:
        path: A file, or `-` for the standard input.

    Raises:
        ValueError: If the file cannot be read, or a line is too long. The message names the file.
    """
    number, rest = 0, b""
    async for chunk in read_chunks(path):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _MAX_LINE_BYTES:
            raise ValueError(f"{path}: line {number + len(lines) + 1} is longer than {_MAX_LINE_BYTES} bytes")
        for line in lines:
            number += 1
            if line.strip():
                yield number, line
    if rest.strip():
        yield number + 1, rest


async def count_lines(path: str) -> int | None:
    """Return the number of lines of a regular file that are not blank; `None`: it cannot be read twice."""

    def count() -> int | None:
        try:
            with open_regular(path) as file:
                return sum(bool(line.strip()) for line in file)
        except (OSError, ValueError):
            return None  # the reading says why

    return None if path == STANDARD_INPUT else await run_in_thread(count)


async def read_chunks(path: str) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a file in order; the last part is empty.

    Args:
        path: A file, or `-` for the standard input.

    Raises:
        ValueError: If the file cannot be read. The message names it.
    """
    try:
        descriptor = os.dup(0) if path == STANDARD_INPUT else os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not a path'}") from None
    # Each chunk is read by a daemon thread of its own. If it blocks on a terminal or a pipe, the event loop and the
    # process can still end; a thread of `asyncio.to_thread` would keep both alive.
    loop = asyncio.get_running_loop()
    chunk, is_reading = b"not the end", False
    try:
        while chunk:
            future: asyncio.Future[bytes] = loop.create_future()
            is_reading = True
            threading.Thread(target=_read_chunk, args=(descriptor, loop, future), daemon=True).start()
            chunk = await future
            is_reading = False
            yield chunk
    except OSError as error:
        is_reading = False
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    finally:
        if not is_reading:  # otherwise the thread could read from the next file with this descriptor
            os.close(descriptor)


def _read_chunk(descriptor: int, loop: asyncio.AbstractEventLoop, future: "asyncio.Future[bytes]") -> None:
    chunk, failure = b"", None
    try:
        chunk = os.read(descriptor, _CHUNK_BYTES)
    except OSError as error:
        failure = error

    def complete() -> None:
        if future.cancelled():
            return
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(chunk)

    with contextlib.suppress(RuntimeError):  # the loop has been closed
        loop.call_soon_threadsafe(complete)
