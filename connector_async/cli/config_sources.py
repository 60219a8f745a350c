"""Reads the layers of the settings: the options, the environment, the project's file and the user's file.

The rules of the settings are in `settings`.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from connector_async._files import check_regular

from .settings import SETTINGS, SOURCE_SETTINGS, SOURCE_TABLE, Layer, Settings, SettingsError, resolve

PROJECT_FILE: Final = "connector-async.toml"
_USER_FILE: Final = Path("connector-async", "config.toml")
_WRITABLE_BY_ALL: Final = 0o002


def read_settings(
    options: Mapping[str, Any], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Settings:
    """Return the settings of a command: options win over the environment, then the project's file, then the user's.

    Args:
        options: The values of the options by the name of the setting; `None` means that an option is not given.
        environment: `None` means the environment of this process.
        folder: Where the search for the project's file starts, before its parents; `None` means the current folder.

    Raises:
        SettingsError: If a file cannot be read, or a setting is invalid.
    """
    environment = os.environ if environment is None else environment
    folder = Path.cwd() if folder is None else folder
    given = {name: value for name, value in options.items() if value is not None}
    of_source = {setting.name for setting in SOURCE_SETTINGS}
    # An empty variable counts as not set.
    variables = {setting.name: value for setting in SETTINGS if (value := environment.get(setting.variable))}
    layers = [
        Layer(
            kind="options",
            values={name: value for name, value in given.items() if name not in of_source},
            source={name: value for name, value in given.items() if name in of_source},
            folder=folder,
        ),
        Layer(kind="environment", values=variables, folder=folder),
    ]
    project = next(filter(Path.is_file, (parent / PROJECT_FILE for parent in (folder, *folder.parents))), None)
    if project is not None:
        _check_owner(project)
        layers.append(_file_layer(project, f"./{PROJECT_FILE}" if project.parent == folder else str(project)))
    user = user_file(environment)
    if user.is_file():
        layers.append(_file_layer(user, str(user)))
    return resolve(layers)


def user_file(environment: Mapping[str, str]) -> Path:
    """Return the path of the user's file, which need not exist."""
    # XDG Base Directory Specification 0.8: a relative path is ignored.
    configured = Path(environment.get("XDG_CONFIG_HOME", ""))
    if configured.is_absolute():
        return configured / _USER_FILE
    return Path(environment.get("HOME") or "~").expanduser() / ".config" / _USER_FILE


def _check_owner(path: Path) -> None:
    """Reject a project's file that someone else may have written: it decides where secrets are sent and what runs."""
    status = path.stat()
    is_own = status.st_uid in {0, os.geteuid()} if hasattr(os, "geteuid") else True
    if not is_own or status.st_mode & _WRITABLE_BY_ALL:
        raise SettingsError(f"{path}: the file must belong to you or to root, and must not be writable by everybody")


def _file_layer(path: Path, shown: str) -> Layer:
    try:
        check_regular(path)
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{shown}: not TOML: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{shown}: not TOML: not UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{shown}: cannot be read: {error.strerror}") from None
    tenants = content.pop("tenants", {})
    if not isinstance(tenants, dict):
        raise SettingsError(f"{shown}: tenants must hold tables such as [tenants.acme]")
    source = content.pop(SOURCE_TABLE, {})
    if not isinstance(source, dict):
        raise SettingsError(f"{shown}: {SOURCE_TABLE} must be a table")
    return Layer(kind="file", values=content, tenants=tenants, source=source, file=shown, folder=path.parent)
