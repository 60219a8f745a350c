"""Changes the settings files: sets values in a TOML file and keeps the rest, comments included.

The rules of the settings are in `settings`; a value that breaks one is not written.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from connector_async._files import atomic_replace

from .config_sources import PROFILES_TABLE
from .settings import Layer, SettingsError, resolve


def write_settings(path: Path, values: Mapping[str, Any], *, profile: str | None = None, private: bool) -> None:
    """Set values in a settings file, which need not exist. A new one is readable by its owner only.

    Args:
        path: The file.
        values: The values by the name of the setting; `None` removes a setting.
        profile: The table `[profiles.NAME]` to set them in; `None`: the file itself.
        private: Whether only its owner can read the file then, also if others could before.

    Raises:
        SettingsError: If a value is not valid, or the file is not TOML.
        OSError: If the file cannot be read or written.
    """
    given = {name: value for name, value in values.items() if value is not None}
    resolve([Layer(kind="file", values=given, file=str(path), folder=path.parent)])
    document = _read(path)
    table: Any = document
    if profile is not None:
        for name in (PROFILES_TABLE, profile):
            table = table.setdefault(name, tomlkit.table(is_super_table=name == PROFILES_TABLE))
    for name, value in values.items():
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value
    make_private_folder(path.parent)
    with atomic_replace(path, keep_access=path.exists() and not private) as temporary:
        temporary.write_text(tomlkit.dumps(document), encoding="utf-8")


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read.

    Raises:
        OSError: If it cannot be written.
    """
    make_private_folder(path.parent)
    with atomic_replace(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner can open, unless it exists."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _read(path: Path) -> tomlkit.TOMLDocument:
    with contextlib.suppress(FileNotFoundError):
        try:
            return tomlkit.parse(path.read_text(encoding="utf-8"))
        except (TOMLKitError, UnicodeDecodeError):
            raise SettingsError(f"{os.fspath(path)}: not TOML; nothing was written") from None
    return tomlkit.document()
