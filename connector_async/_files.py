"""Files that are replaced atomically and can be read only by their owner."""

import asyncio
import errno
import functools
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

_IS_WINDOWS: Final = os.name == "nt"
_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def atomic_replace(
    target: Path, *, keep_access: bool = False, before_replace: Callable[[], None] | None = None
) -> Iterator[Path]:
    """Yield the path of an empty temporary file that replaces `target` when the block ends without an error.

    The temporary file is in the folder of `target`, has the mode 0600, and is on the disk before it replaces
    `target`. If the block raises, `target` stays as it was. If `target` is a symbolic link, the file that the link
    points to is replaced.

    Args:
        target: The file.
        keep_access: Whether the new file gets the mode, the group and, where the process may give it away, the owner
            of `target`, which must exist then.
        before_replace: Called as the last step before `target` is replaced. If it raises, `target` stays as it was.

    Raises:
        OSError: If the folder cannot be written to, or `target` is a folder or a device.
    """
    check_replaceable(target)
    target = target.resolve()
    descriptor, name = create_temporary_file(target)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if keep_access:
            _copy_access(target, temporary)
        fsync_path(temporary)
        if before_replace is not None:
            before_replace()
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(target.parent)


def check_replaceable(target: Path) -> None:
    """Reject a path where a file cannot be written, as far as that is known before writing one.

    Raises:
        OSError: If `target` is a folder or a device, or its folder does not exist or cannot be written to.
    """
    resolved = target.resolve()
    if resolved.exists() and not resolved.is_file():
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(target))
    if not resolved.parent.is_dir():
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(target))
    if not os.access(resolved.parent, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(target))


def open_regular(path: Path | str) -> BufferedReader:
    """Open a file to read its bytes. Nothing is opened that could block, such as a pipe without a writer.

    Raises:
        OSError: If it is not a regular file or a link to one, or it cannot be opened.
    """
    check_regular(path)
    return Path(path).open("rb")


def check_regular(path: Path | str) -> None:
    """Reject what is not a regular file or a link to one.

    Raises:
        OSError: If it is something else, or does not exist.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, "must be a regular file, not a folder, a pipe or a device", os.fspath(path))


def create_temporary_file(target: Path) -> tuple[int, str]:
    """Create an empty file with the mode 0600 in the folder of `target`, and return its descriptor and its path.

    Its name is short, even if the name of `target` is as long as the file system allows.

    Raises:
        OSError: If the folder cannot be written to.
    """
    return tempfile.mkstemp(".tmp", ".replacement-", target.parent)


def _copy_access(source: Path, target: Path) -> None:
    """Give a file the owner, the group and the mode of another one. Nobody else gets access to it."""
    status = source.stat()
    mode = stat.S_IMODE(status.st_mode) & 0o777
    if hasattr(os, "chown"):
        with suppress(PermissionError):
            os.chown(target, status.st_uid, -1)
        try:
            os.chown(target, -1, status.st_gid)
        except PermissionError:
            mode &= ~stat.S_IRWXG  # of a group that the file did not have
    target.chmod(mode)


def fsync_path(path: Path) -> None:
    """Wait until the content of a file, or the list of files in a folder, would survive a power loss.

    Raises:
        OSError: If the disk cannot be written to.
    """
    if _IS_WINDOWS and path.is_dir():  # only files can be opened there
        return
    # Windows flushes only what may be written. Child processes do not inherit the descriptor (PEP 446).
    descriptor = os.open(path, os.O_RDWR if _IS_WINDOWS else os.O_RDONLY)
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
