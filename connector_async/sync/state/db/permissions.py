"""Files that are for their owner alone, and the work on them, which is done in a thread."""

import os
import stat
from pathlib import Path
from typing import Final

from connector_async._files import sync_to_disk

PRIVATE: Final = 0o600
"""The mode of all that holds a state: keys and hashes tell about people."""


def beside(path: Path, suffix: str) -> Path:
    """Return the file in the same folder whose name has that suffix more."""
    return path.with_name(path.name + suffix)


def create_private(path: Path) -> None:
    """Create an empty file that survives a power cut from now on, unless there is one.

    Raises:
        OSError: It cannot be created.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE))
    sync_to_disk(path.parent)


def make_private(path: Path) -> None:
    """Take a file from all but its owner, if there is one.

    Raises:
        OSError: It is not the caller's.
    """
    if path.exists() and stat.S_IMODE(path.stat().st_mode) != PRIVATE:
        path.chmod(PRIVATE)
