"""One run of the bulk sync from the command line: what it needs is opened, signals end it, and it is accounted for."""

import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from connector_async._timestamps import zone_named
from connector_async.sync.budget import Budget
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.formats import FileFormat, Source, file_source
from connector_async.sync.report import RunReport
from connector_async.sync.state import State

from .config_sources import read_settings
from .connect import wire_format_of
from .exit_codes import ExitCode
from .messages import tell
from .options import Connection, Display
from .settings import Settings
from .signals import stoppable
from .sync_options import HeldState, LimitOptions, PerformanceOptions, StateFile
from .sync_progress import SyncProgress
from .sync_report import exit_code_of, print_report, write_dead_letters
from .sync_sessions import TenantServices


@attrs.frozen
class Opened:
    """What a run works with."""

    state: State
    services: TenantServices


def sync_settings(connection: Connection, state: StateFile) -> Settings:
    """Return the settings of a run.

    Raises:
        SettingsError: One breaks its rule.
    """
    return read_settings(connection.flags() | state.flags())


def state_path(settings: Settings) -> Path:
    """Return the file of the state; a relative one in a file of settings is beside that."""
    value = settings.values["state"]
    return value.folder / Path(value.value).expanduser()


def source_of(path: Path, source_format: FileFormat | None, settings: Settings) -> Source:
    """Return the source that a file is.

    Raises:
        ValueError: Its format is not known.
    """
    zone = settings.get("assume_zone")
    return file_source(
        path,
        format=source_format,
        tenant_id=settings.get("tenant_id"),
        assume_zone=None if zone is None else zone_named(zone),
    )


@asynccontextmanager
async def opened(settings: Settings, *, wait: float) -> AsyncIterator[Opened]:
    """Open the connections and the state, and keep other runs away meanwhile.

    Raises:
        ValueError: A setting breaks its rule, or is missing.
        StateBusyError: Another run works with the state.
        StateError: The state cannot be used.
    """
    async with aclosing(TenantServices(settings)) as services:
        owner = f"process {os.getpid()} on {socket.gethostname()}"
        async with await State.open(state_path(settings), owner=owner, wait=wait) as state:
            yield Opened(state, services)


async def follow(
    work: Coroutine[Any, Any, RunReport], budget: Budget, state: State, ending: LimitOptions, display: Display
) -> ExitCode:
    """Do the work until it ends or is ended, print its report, and return the status.

    Raises:
        SyncError: It could not begin, or not go on.
    """
    report, signalled = await stoppable(work, budget, patience=ending.stop_timeout)
    if report is None:
        tell(sys.stderr, "cut off: what was under way may have happened, and is settled by the next run")
        return signalled or ExitCode.OTHER
    print_report(report, display)
    if ending.dead_letters is not None:
        await write_dead_letters(state, report.run_id, ending.dead_letters)
    return signalled or exit_code_of(report, tells_nothing=ending.exit_code)


@attrs.frozen(kw_only=True)
class Push:
    """The options of a run that sends what differs."""

    settings: Settings
    held: HeldState
    effort: PerformanceOptions
    ending: LimitOptions
    display: Display

    async def run(self, begin: Callable[[BulkSync, State, Budget], Coroutine[Any, Any, RunReport]]) -> ExitCode:
        """Open what a sync needs, and follow the run that `begin` makes of it.

        Raises:
            ValueError: An option or a setting breaks its rule.
            SyncError: It could not begin, or not go on.
        """
        budget = self.ending.budget()
        how = self.effort.settings(wire_format_of(self.settings))
        async with opened(self.settings, wait=self.held.wait) as it:
            sync = BulkSync(it.state, it.services, how, progress=SyncProgress(Console(stderr=True)))
            return await follow(begin(sync, it.state, budget), budget, it.state, self.ending, self.display)
