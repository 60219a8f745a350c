"""Files that only their owner can read."""

import os
import stat
from pathlib import Path
from typing import Final

from connector_async._files import fsync_path

PRIVATE: Final = 0o600
"""The mode of all files of a state: keys and hashes are personal data."""


def beside(path: Path, suffix: str) -> Path:
    """Return the file in the same folder with a suffix added to its name."""
    return path.with_name(path.name + suffix)


def create_private(path: Path) -> None:
    """Create an empty file, unless it exists. It survives a power cut as soon as this returns.

    Raises:
        OSError: If the file cannot be created.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, PRIVATE))
    fsync_path(path.parent)


def make_private(path: Path) -> None:
    """Set the mode of a file to `PRIVATE`, if the file exists.

    Raises:
        OSError: If another user owns the file.
    """
    if path.exists() and stat.S_IMODE(path.stat().st_mode) != PRIVATE:
        path.chmod(PRIVATE)
