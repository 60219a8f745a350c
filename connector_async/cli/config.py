"""The command `config show`: each setting, and where its value comes from. It reads no secret and sends nothing."""

import os
import shlex
from collections.abc import Iterator
from typing import Any, Final

from .config_sources import read_settings
from .exit_codes import ExitCode
from .options import TABLE, UNCONNECTED, Connection, Display
from .output import Printer, Record
from .settings import SETTINGS, Setting, Settings, Value

_COLUMNS: Final = ("setting", "value", "origin")
_HIDDEN: Final = "***"


def show(*, connection: Connection = UNCONNECTED, display: Display = TABLE) -> ExitCode:
    """Print each setting, its value, and where that comes from; secrets as ***."""
    printer = Printer(display, _COLUMNS)
    for record in records_of(read_settings(connection.flags())):
        printer.add(record)
    printer.end()
    return ExitCode.DONE


def records_of(settings: Settings) -> Iterator[Record]:
    """Yield what is shown of each setting, and then of each tenant's own."""
    for setting in SETTINGS:
        yield _record(setting, setting.name, settings.values[setting.name])
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
        # Its arguments may hold a secret.
        return f"{os.fspath(shlex.split(value)[0])} {_HIDDEN}"
    return value
