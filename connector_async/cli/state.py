"""The commands for the file of a state: check, backup, export and import."""

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from connector_async.sync import state as states

from .config_sources import read_settings
from .exit_codes import ExitCode
from .messages import print_message
from .sync_options import StateFileOptions, StateOptions, configured_state
from .sync_run import only_state, opened_to_read

_STATE: Final = StateOptions()
_FILE: Final = StateFileOptions()

_Target = Annotated[Path, Parameter(name="TO", help="The file to write; an existing one is replaced.")]
_Source = Annotated[Path, Parameter(name="FROM", help="A file that state export wrote.")]


async def check(*, state: StateFileOptions = _FILE) -> ExitCode:
    """Look for damage in the state, and print it. It changes nothing."""
    problems = await states.find_damage(_path(state))
    for problem in problems:
        print_message(problem)
    if problems:
        return ExitCode.OTHER
    print_message("the state is not damaged")
    return ExitCode.DONE


async def backup(target: _Target, /, *, state: StateFileOptions = _FILE) -> None:
    """Copy the state as it is at one moment, even while a run works with it."""
    await states.backup(_path(state), target)


async def export(target: _Target, /, *, state: StateOptions = _STATE) -> None:
    """Write the state as JSON Lines, for other programs and later versions."""
    async with opened_to_read(state, "state export") as opened:
        rows = await states.export_state(opened, target)
    print_message(f"exported {rows} rows")


async def import_(source: _Source, /, *, state: StateOptions = _STATE) -> None:
    """Create a state from an export. If the state exists, it must be empty."""
    async with state.located(read_settings(state.as_settings()), only_state) as location:
        rows = await states.import_state(source, location)
    print_message(f"imported {rows} rows")


def _path(state: StateFileOptions) -> str | Path:
    return configured_state(read_settings(state.as_settings())) or only_state()
