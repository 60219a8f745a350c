"""The lines of a file or of the standard input, while an event loop goes on with other work."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from typing import Final

STANDARD_INPUT: Final = "-"
_PIECE: Final = 64 * 1024
_LONGEST: Final = 10 * 1024 * 1024


async def lines_of(path: str) -> AsyncIterator[tuple[int, bytes]]:
    """Yield each line that is not blank, with its number from 1 and without its end.

    Args:
        path: The file; `-` is the standard input.

    Raises:
        ValueError: It cannot be read, or a line is too long; the message names it.
    """
    try:
        descriptor = os.dup(0) if path == STANDARD_INPUT else os.open(path, os.O_RDONLY)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not a path'}") from None
    number, rest = 0, b""
    async for piece in _pieces(descriptor, path):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LONGEST:
            raise ValueError(f"{path}: line {number + len(lines) + 1} is longer than {_LONGEST} bytes")
        for line in lines:
            number += 1
            if line.strip():
                yield number, line
    if rest.strip():
        yield number + 1, rest


async def _pieces(descriptor: int, path: str) -> AsyncIterator[bytes]:
    # A thread of its own for each piece, and a daemon: one that waits for a terminal or a pipe keeps neither the event
    # loop from ending, as those of `asyncio.to_thread` would, nor the process.
    loop = asyncio.get_running_loop()
    content, reading = b"first", False
    try:
        while content:
            piece: asyncio.Future[bytes] = loop.create_future()
            reading = True
            threading.Thread(target=_read, args=(descriptor, loop, piece), daemon=True).start()
            content = await piece
            reading = False
            yield content
    except OSError as error:
        reading = False
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    finally:
        if not reading:  # by the thread, whose next file it would be otherwise
            os.close(descriptor)


def _read(descriptor: int, loop: asyncio.AbstractEventLoop, piece: "asyncio.Future[bytes]") -> None:
    content, failure = b"", None
    try:
        content = os.read(descriptor, _PIECE)
    except OSError as error:
        failure = error

    def tell() -> None:
        if piece.cancelled():
            return
        if failure is not None:
            piece.set_exception(failure)
        else:
            piece.set_result(content)

    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(tell)
