"""Files that are for their owner alone, and the work on them, which is done in a thread."""

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from connector_async._files import fsync_path

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


def create_private(path: Path) -> None:
    """Create an empty file that survives a power cut from now on, unless there is one.

    Raises:
        OSError: It cannot be created.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE))
    fsync_path(path.parent)


def make_private(path: Path) -> None:
    """Take a file from all but its owner, if there is one.

    Raises:
        OSError: It is not the caller's.
    """
    if path.exists() and stat.S_IMODE(path.stat().st_mode) != PRIVATE:
        path.chmod(PRIVATE)
