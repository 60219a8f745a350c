"""The commands `config show`, `config path` and `config set`. They read no secret and send nothing."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from .config_sources import PROJECT_FILE, project_file, read_settings, user_file
from .messages import print_message
from .options import DEFAULT_CONNECTION, DEFAULT_DISPLAY, ConnectionOptions, DisplayOptions
from .output import Printer
from .output_formats import Record
from .settings import (
    SETTINGS,
    SOURCE_SETTINGS,
    SOURCE_TABLE,
    Layer,
    Setting,
    Settings,
    SettingsError,
    Value,
    convert_text,
    resolve,
    split_command,
)
from .settings_file import write_settings

_COLUMNS: Final = ("setting", "value", "origin")
_HIDDEN: Final = "***"


def show(*, connection: ConnectionOptions = DEFAULT_CONNECTION, display: DisplayOptions = DEFAULT_DISPLAY) -> None:
    """Print each setting with its value and origin; secrets are shown as ***."""
    printer = Printer(display, _COLUMNS)
    for record in _records(read_settings(connection.as_settings())):
        printer.add(record)
    printer.end()


def path(*, display: DisplayOptions = DEFAULT_DISPLAY) -> None:
    """Print the paths of the settings files, and whether they exist."""
    printer = Printer(display, ("file", "path", "exists"))
    project = project_file(Path.cwd())
    user = user_file(os.environ)
    printer.add({"file": "project", "path": str(project or Path.cwd() / PROJECT_FILE), "exists": project is not None})
    printer.add({"file": "user", "path": str(user), "exists": user.is_file()})
    printer.end()


def set_(
    name: Annotated[str, Parameter(name="NAME", help="The name of the setting, as config show prints it.")],
    value: Annotated[str, Parameter(name="VALUE", help="The value. An empty one removes the setting.")],
    /,
    *,
    profile: Annotated[str | None, Parameter(show_default="the file itself", help="The profile to set it in.")] = None,
    project: Annotated[bool, Parameter(negative="", help="Write connector-async.toml in this folder.")] = False,
) -> None:
    """Set a setting in the user's file, or in that of the project. The rest of the file stays as it is."""
    setting = next((setting for setting in SETTINGS if setting.name == name), None)
    if setting is None:
        accepted = ", ".join(setting.name for setting in SETTINGS if not setting.is_secret)
        raise SettingsError(f"NAME must be one of {accepted}")
    if setting.is_secret:
        raise SettingsError(f"{name} must not be in a file: use connector-async auth login, or {name}_file")
    target = Path.cwd() / PROJECT_FILE if project else user_file(os.environ)
    converted = convert_text(setting, value) if value else None
    if converted is not None:
        resolve([Layer(kind="file", values={name: converted}, file="VALUE")])  # messages name what was typed
    write_settings(target, {name: converted}, profile=profile, private=not project)
    print_message(f"{target} was written")


def _records(settings: Settings) -> Iterator[Record]:
    for setting in SETTINGS:
        yield _record(setting, setting.name, settings.values[setting.name])
    for setting in SOURCE_SETTINGS:
        value = settings.values[setting.name]
        if value.value != setting.default:
            yield _record(setting, f"{SOURCE_TABLE}.{setting.name}", value)
    for tenant_id, tables in settings.tenants.items():
        for setting in SETTINGS:
            found = next((table[setting.name] for table in tables if setting.name in table), None)
            if found is not None:
                yield _record(setting, f"tenants.{tenant_id}.{setting.name}", found)


def _record(setting: Setting, name: str, value: Value) -> Record:
    return {"setting": name, "value": _shown(setting, value.value), "origin": value.origin}


def _shown(setting: Setting, value: Any) -> Any:
    if value is None:
        return None
    if setting.is_secret:
        return _HIDDEN
    if setting.has_secret(value):
        return setting.masked(value)
    if setting.name.endswith("_command"):
        return f"{split_command(value)[0]} {_HIDDEN}"  # the arguments may hold a secret
    if setting.kind is dict:
        return ", ".join(f"{field}={'+'.join(columns)}" for field, columns in value.items())
    if setting.kind is tuple:
        return ", ".join(value)
    return value
