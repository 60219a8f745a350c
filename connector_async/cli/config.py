"""The command `config show`: each setting, its value and its origin. It reads no secret and sends nothing."""

import shlex
from collections.abc import Iterator
from typing import Any, Final

from .config_sources import read_settings
from .options import DEFAULT_CONNECTION, DEFAULT_DISPLAY, ConnectionOptions, DisplayOptions
from .output import Printer
from .output_formats import Record
from .settings import SETTINGS, SOURCE_SETTINGS, SOURCE_TABLE, Setting, Settings, Value

_COLUMNS: Final = ("setting", "value", "origin")
_HIDDEN: Final = "***"


def show(*, connection: ConnectionOptions = DEFAULT_CONNECTION, display: DisplayOptions = DEFAULT_DISPLAY) -> None:
    """Print each setting with its value and origin; secrets are shown as ***."""
    printer = Printer(display, _COLUMNS)
    for record in _records(read_settings(connection.as_settings())):
        printer.add(record)
    printer.end()


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
    if setting.name.endswith("_command"):
        return f"{shlex.split(value)[0]} {_HIDDEN}"  # the arguments may hold a secret
    if setting.kind is dict:
        return ", ".join(f"{field}={'+'.join(columns)}" for field, columns in value.items())
    if setting.kind is tuple:
        return ", ".join(value)
    return value
