"""Files that are written whole or not at all, readable by their owner alone."""

import asyncio
import errno
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def atomic_replace(to: Path) -> Iterator[Path]:
    """Give the path of an empty file in the folder of `to`, which takes its place when the block ends without an error.

    It has the mode 0600, and is on the disk before it takes the place. Where `to` is a link, that is the place of the
    file it leads to.

    Raises:
        OSError: A file cannot be written in that folder, or something else has its place.
    """
    check_replaceable(to)
    to = to.resolve()
    descriptor, name = open_beside(to)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        fsync_path(temporary)
        temporary.replace(to)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(to.parent)


def check_replaceable(to: Path) -> None:
    """Raise when a file cannot take this place, as far as that can be told without writing one.

    Raises:
        OSError: It is that of something else, such as a device, or the folder is not there or not to be written in.
    """
    resolved = to.resolve()
    if resolved.exists() and not resolved.is_file():
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(to))
    if not resolved.parent.is_dir():
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(to))
    if not os.access(resolved.parent, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(to))


def open_beside(to: Path) -> tuple[int, str]:
    """Create an empty file in the folder of `to`, with the mode 0600, and return its descriptor and its name.

    The name is short, whatever the length of the name beside it.

    Raises:
        OSError: A file cannot be written in that folder.
    """
    return tempfile.mkstemp(".tmp", ".replacement-", to.parent)


def fsync_path(path: Path) -> None:
    """Wait until what was written to a file, or the names in a folder, would outlast a power cut.

    Raises:
        OSError: It cannot be written.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def run_in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a blocking function in a worker thread, and return only after it has ended.

    A thread cannot be cancelled. A task that is cancelled meanwhile waits for the function before it raises, so that
    the caller still holds its locks and files while the function uses them.

    Raises:
        asyncio.CancelledError: If the task was cancelled. The function has ended; its result or error is lost.
    """
    work = asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args, **kwargs))
    cancellation: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        work.exception()  # retrieved, so that asyncio does not report it
        raise cancellation
    return work.result()
