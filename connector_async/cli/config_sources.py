"""Reads the layers of the settings: the options, the environment, the project's file and the user's file.

The rules of the settings are in `settings`.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

from connector_async._files import check_regular

from .settings import SETTINGS, SOURCE_SETTINGS, SOURCE_TABLE, Layer, Settings, SettingsError, resolve

PROJECT_FILE: Final = "connector-async.toml"
PROFILES_TABLE: Final = "profiles"
PROFILE_VARIABLE: Final = "CONNECTOR_PROFILE"
_USER_FILE: Final = Path("connector-async", "config.toml")
_WRITABLE_BY_ALL: Final = 0o002


def read_settings(
    options: Mapping[str, Any], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Settings:
    """Return the settings of a command.

    Options win over the profile, if one is named, then the environment, the project's file and the user's. A profile is
    a table `[profiles.NAME]` of a file: a server with its tenant and credentials. No variable of the environment mixes
    with it, and neither do the tables `[tenants.ID]` outside of it.

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
    profile = given.pop("profile", None) or environment.get(PROFILE_VARIABLE) or None
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
    files = []
    project = project_file(folder)
    if project is not None:
        _check_owner(project)
        files.append(_read_file(project, f"./{PROJECT_FILE}" if project.parent == folder else str(project)))
    user = user_file(environment)
    if user.is_file():
        files.append(_read_file(user, str(user)))
    for file in files:
        for table in file.profiles.values():
            resolve([table])  # an invalid profile is found before it is used
    if profile is None:
        return resolve([*layers, *(file.layer for file in files)])
    chosen = [file.profiles[profile] for file in files if profile in file.profiles]
    if not chosen:
        names = sorted({name for file in files for name in file.profiles})
        known = f"the profiles are {', '.join(names)}" if names else "connector-async configure makes one"
        raise SettingsError(f"--profile: there is no profile {profile!r}; {known}")
    general = [evolve(file.layer, tenants={}) for file in files]
    return resolve([layers[0], *chosen, layers[1], *general])


def project_file(folder: Path) -> Path | None:
    """Return the project's file: that of a folder, or of the nearest parent that has one; `None`: there is none."""
    return next(filter(Path.is_file, (parent / PROJECT_FILE for parent in (folder, *folder.parents))), None)


def user_file(environment: Mapping[str, str]) -> Path:
    """Return the path of the user's file, which need not exist."""
    # XDG Base Directory Specification 0.8: a relative path is ignored.
    configured = Path(environment.get("XDG_CONFIG_HOME", ""))
    if configured.is_absolute():
        return configured / _USER_FILE
    return Path(environment.get("HOME") or "~").expanduser() / ".config" / _USER_FILE


def _check_owner(path: Path) -> None:
    """Reject a project's file that someone else may have written: it decides where secrets are sent and what runs."""
    if not hasattr(os, "geteuid"):  # Windows has access lists instead of an owner and a mode
        return
    status = path.stat()
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & _WRITABLE_BY_ALL:
        raise SettingsError(f"{path}: the file must belong to you or to root, and must not be writable by everybody")


@frozen
class _File:
    """The content of a settings file."""

    layer: Layer
    """What it sets outside of its profiles."""
    profiles: Mapping[str, Layer]
    """Its tables `[profiles.NAME]`, by name."""


def _read_file(path: Path, shown: str) -> _File:
    try:
        check_regular(path)
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{shown}: not TOML: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{shown}: not TOML: not UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{shown}: cannot be read: {error.strerror}") from None
    profiles = _table(content, PROFILES_TABLE, shown, "must hold tables such as [profiles.test]")
    tables = {}
    for name, table in profiles.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{shown}: {PROFILES_TABLE}.{name} must be a table")
        tables[name] = _layer(table, f"{shown} [{PROFILES_TABLE}.{name}]", path.parent)
    return _File(_layer(content, shown, path.parent), tables)


def _layer(content: dict[str, Any], shown: str, folder: Path) -> Layer:
    tenants = _table(content, "tenants", shown, "must hold tables such as [tenants.acme]")
    source = _table(content, SOURCE_TABLE, shown, "must be a table")
    if "profile" in content:
        raise SettingsError(f"{shown}: profile must not be in a file: use --profile or {PROFILE_VARIABLE}")
    return Layer(kind="file", values=content, tenants=tenants, source=source, file=shown, folder=folder)


def _table(content: dict[str, Any], name: str, shown: str, rule: str) -> dict[str, Any]:
    table = content.pop(name, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{shown}: {name} {rule}")
    return table
