"""The commands that look at a state or copy it: sync status, sync explain, and state backup, export and import."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from connector_async._timestamps import format_instant
from connector_async.sync import state as states
from connector_async.sync.state import inspection

from . import exit_codes
from .config_sources import read_settings
from .messages import tell
from .options import TABLE, Display
from .output import Printer
from .sync_options import StateFile
from .sync_run import state_path

_STATE: Final = StateFile()
_COUNTS: Final = ("items", "deleted", "open_creates", "dead_letters", "not_in_the_file_yet")
_RUNS: Final = (
    "run_id",
    "kind",
    "mode",
    "status",
    "started_at",
    "ended_at",
    "requests_sent",
    "requests_minimum",
    "counts",
)
_STORY: Final = (
    "what",
    "tenant_id",
    "domain_id",
    "ad_id",
    "appointment_id",
    "start_time",
    "end_time",
    "operation",
    "error",
    "reason",
    "status",
    "request_id",
    "run_id",
    "at",
)

_To = Annotated[Path, Parameter(name="TO", help="The file, which is replaced.")]
_From = Annotated[Path, Parameter(name="FROM", help="What state export has written.")]
_Key = Annotated[str, Parameter(name="KEY", help="The key of a record.")]


async def status(*, state: StateFile = _STATE, display: Display = TABLE) -> None:
    """Print what the state holds, and its latest runs; also while a run works with it."""
    async with await _looked_at(state) as opened:
        found = await inspection.status(opened)
    if display.json:
        Printer(display, ()).add(found)
        return
    for rows, columns in (([found], _COUNTS), (found["runs"], _RUNS)):
        printer = Printer(display, columns)
        for row in rows:
            printer.add(_readable(row))
        printer.end()


async def explain(key: _Key, /, *, state: StateFile = _STATE, display: Display = TABLE) -> exit_codes.ExitCode:
    """Print all that is known of a key: what was in step, what is open, and why it was given up."""
    async with await _looked_at(state) as opened:
        story = await inspection.why(opened, key)
    printer = Printer(display, _STORY)
    for row in story:
        printer.add(row if display.json else _readable(row))
    printer.end()
    if story:
        return exit_codes.ExitCode.DONE
    tell(sys.stderr, "nothing is known of that key")
    return exit_codes.ExitCode.OTHER


async def backup(to: _To, /, *, state: StateFile = _STATE) -> None:
    """Copy the state, as it is at one moment, also while a run works with it."""
    await states.backup(_path(state), to)


async def export(to: _To, /, *, state: StateFile = _STATE) -> None:
    """Write the state as JSON Lines, for other programs and later versions."""
    async with await _looked_at(state) as opened:
        rows = await states.export_state(opened, to)
    tell(sys.stderr, f"{rows} rows")


async def import_(source: _From, /, *, state: StateFile = _STATE) -> None:
    """Make a state of what was exported; one that is there must be empty."""
    tell(sys.stderr, f"{await states.import_state(source, _path(state))} rows")


def _path(state: StateFile) -> Path:
    return state_path(read_settings(state.flags()))


async def _looked_at(state: StateFile) -> states.State:
    return await states.State.open(_path(state), owner="sync status", read_only=True)


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its moments as instants, and its counts as words; `None` for what is empty."""
    shown: dict[str, Any] = {name: None if value == "" else value for name, value in row.items()}
    for name in ("started_at", "ended_at", "at"):
        if shown.get(name) is not None:
            shown[name] = format_instant(datetime.fromtimestamp(int(shown[name]), UTC))
    if isinstance(shown.get("counts"), dict):
        shown["counts"] = ", ".join(f"{number} {fate}" for fate, number in shown["counts"].items()) or None
    return shown
