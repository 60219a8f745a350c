"""Files that are whole or not there, and for their owner alone; and the work on them, which is done in a thread."""

import asyncio
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

PRIVATE: Final = 0o600
"""The mode of all that holds a state: keys and hashes tell about people."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a function in a thread, and come back only when it has ended.

    A thread cannot be cancelled. So a task that is cancelled meanwhile ends after it: the locks that the caller holds
    are held for as long as the work goes on.

    Raises:
        asyncio.CancelledError: The task was cancelled; the function has ended, and what it returned or raised is lost.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # read, so that it is not reported as forgotten
        raise


def beside(path: Path, suffix: str) -> Path:
    """Return the file in the same folder whose name has that suffix more."""
    return path.with_name(path.name + suffix)


@contextmanager
def replacing(to: Path) -> Iterator[Path]:
    """Give the path of an empty file in the folder of `to`, which takes its place when the block ends without an error.

    Where `to` is a link, that is the place of the file it leads to.

    Raises:
        OSError: A file cannot be written in that folder, or something else has its place.
    """
    check_replaceable(to)
    to = to.resolve()
    descriptor, name = tempfile.mkstemp(prefix=f".{to.name}.", dir=to.parent)  # readable by the owner alone
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(to)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(to.parent)


def check_replaceable(to: Path) -> None:
    """Raise when a file cannot take this place, as far as that can be told without writing one.

    Raises:
        OSError: It is that of something else, such as a device, or the folder is not there or not to be written in.
    """
    to = to.resolve()
    if to.exists() and not to.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    if not to.parent.is_dir():
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not os.access(to.parent, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def create_private(path: Path) -> None:
    """Create an empty file that survives a power cut from now on, unless there is one.

    Raises:
        OSError: It cannot be created.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE))
    _sync(path.parent)


def make_private(path: Path) -> None:
    """Take a file from all but its owner, if there is one.

    Raises:
        OSError: It is not the caller's.
    """
    if path.exists() and stat.S_IMODE(path.stat().st_mode) != PRIVATE:
        path.chmod(PRIVATE)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
