"""Reads the layers of the settings: the flags, the environment, the project's TOML file and the user's.

What the settings may be stands in `settings`.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .settings import SETTINGS, Layer, Setting, Settings, SettingsError, resolve

PROJECT_FILE: Final = "connector-async.toml"
_USER_FILE: Final = Path("connector-async", "config.toml")
_WRITABLE_BY_ALL: Final = 0o002


def read_settings(
    flags: Mapping[str, Any], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Settings:
    """Return the settings of a run: flags come before the environment, then the project's file, then the user's.

    Args:
        flags: By the names of settings; `None`: not given.
        environment: `None`: the one of this process.
        folder: Where to look for the project's file, and then in its parents; `None`: the current one.

    Raises:
        SettingsError: A layer breaks a rule.
    """
    environment = os.environ if environment is None else environment
    folder = Path.cwd() if folder is None else folder
    layers = [
        Layer(values={name: value for name, value in flags.items() if value is not None}, origin=_flag, folder=folder),
        Layer(values=_variables(environment), origin=_variable, is_text=True, folder=folder),
    ]
    project = next(filter(Path.is_file, (parent / PROJECT_FILE for parent in (folder, *folder.parents))), None)
    if project is not None:
        _check_owner(project)
        layers.append(_file(project, f"./{PROJECT_FILE}" if project.parent == folder else str(project)))
    user = user_file(environment)
    if user.is_file():
        layers.append(_file(user, str(user)))
    return resolve(layers)


def user_file(environment: Mapping[str, str]) -> Path:
    """Return where the user's file is, whether it exists or not."""
    # XDG Base Directory Specification 0.8: what is not absolute is ignored.
    configured = Path(environment.get("XDG_CONFIG_HOME", ""))
    if configured.is_absolute():
        return configured / _USER_FILE
    return Path(environment.get("HOME") or "~").expanduser() / ".config" / _USER_FILE


def _flag(setting: Setting) -> str:
    return f"flag {setting.flag}"


def _variable(setting: Setting) -> str:
    return f"environment {setting.variable}"


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the environment says; a variable that is empty says nothing."""
    return {setting.name: text for setting in SETTINGS if (text := environment.get(setting.variable))}


def _check_owner(path: Path) -> None:
    """Refuse a project's file that others could have put there: it says where secrets are sent, and what is run."""
    status = path.stat()
    mine = status.st_uid in {0, os.geteuid()} if hasattr(os, "geteuid") else True
    if not mine or status.st_mode & _WRITABLE_BY_ALL:
        raise SettingsError(f"{path}: it must belong to you or to root, and not be writable by everybody")


def _file(path: Path, shown: str) -> Layer:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{shown}: not TOML: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{shown}: not TOML: it is not UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{shown}: cannot be read: {error.strerror}") from None
    tenants = content.pop("tenants", {})
    if not isinstance(tenants, dict):
        raise SettingsError(f"{shown}: tenants must be a table of tables, as [tenants.acme]")
    return Layer(values=content, tenants=tenants, origin=lambda _: shown, is_file=True, folder=path.parent)
