"""The sync commands: run, plan, apply, check, pull, retry-failed, status and explain."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from rich.console import Console

from connector_async.bulk_calls import Outcome, Status
from connector_async.sync.budget import Budget
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.exceptions import StateError
from connector_async.sync.formats import FileFormat, file_mirror
from connector_async.sync.planning.operations import Kind, Operation
from connector_async.sync.planning.options import Mode, SyncSettings
from connector_async.sync.planning.saved_plan import SavedPlan, save_plan
from connector_async.sync.pull import Pull, PullOptions
from connector_async.sync.records import Calendar
from connector_async.sync.report import RunReport
from connector_async.sync.state import State, inspection

from .calendar_list import read_calendars
from .config_sources import read_settings
from .connect import selected_format, selected_user
from .exit_codes import ExitCode
from .messages import print_message
from .options import DEFAULT_CONNECTION, DEFAULT_DISPLAY, ConnectionOptions, DisplayOptions
from .progress import SyncProgress
from .settings import Settings
from .sync_options import (
    CompareOptions,
    ExitCodeForChanges,
    LimitOptions,
    LockedStateOptions,
    PerformanceOptions,
    Rebind,
    RunOptions,
    ScopeOptions,
    SourceFile,
    StateOptions,
)
from .sync_report import print_key_history, print_operation, print_status
from .sync_run import (
    PULL_STATE,
    configured_state,
    existing_state,
    finish_run,
    open_source,
    open_sync,
    run_sync,
    state_path,
)

_STATE: Final = StateOptions()
_LOCKED_STATE: Final = LockedStateOptions()
_SCOPE: Final = ScopeOptions()
_COMPARE: Final = CompareOptions()
_RUN: Final = RunOptions()
_PERFORMANCE: Final = PerformanceOptions()
_LIMITS: Final = LimitOptions()

_PlanFile = Annotated[Path, Parameter(name="FILE", help="A file that sync plan --out wrote.")]
_RunId = Annotated[str, Parameter(name="RUN", help="The id of the run, as its report shows it.")]
_Key = Annotated[str, Parameter(name="KEY", help="The key of a record.")]


async def run(
    source: SourceFile,
    /,
    *,
    options: RunOptions = _RUN,
    rebind: Rebind = False,
    performance: PerformanceOptions = _PERFORMANCE,
    limits: LimitOptions = _LIMITS,
    state: LockedStateOptions = _LOCKED_STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Bring the appointments of all tenants in sync with a file, and account for every record.

    It may be stopped at any time. The next run resumes, and sends nothing twice.
    """
    return await _run(
        source,
        options,
        rebind=rebind,
        performance=performance,
        limits=limits,
        state=state,
        connection=connection,
        display=display,
    )


async def retry_failed(
    run_id: _RunId,
    source: SourceFile,
    /,
    *,
    options: RunOptions = _RUN,
    performance: PerformanceOptions = _PERFORMANCE,
    limits: LimitOptions = _LIMITS,
    state: LockedStateOptions = _LOCKED_STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Retry the records that a run gave up, and no others."""
    return await _run(
        source,
        options,
        retry_run=run_id,
        performance=performance,
        limits=limits,
        state=state,
        connection=connection,
        display=display,
    )


async def apply(
    file: _PlanFile,
    /,
    *,
    performance: PerformanceOptions = _PERFORMANCE,
    limits: LimitOptions = _LIMITS,
    state: LockedStateOptions = _LOCKED_STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Run a saved plan, unless the state has changed since."""
    settings = _settings(connection, state)
    saved_plan = SavedPlan.open(file)

    async def start(sync: BulkSync, _: State, budget: Budget) -> RunReport:
        return await sync.apply(saved_plan, budget)

    return await run_sync(
        start,
        configured_state(settings) or _planned_state(saved_plan),
        settings=settings,
        state=state,
        performance=performance,
        limits=limits,
        display=display,
    )


async def plan(
    source: SourceFile,
    /,
    *,
    out: Annotated[
        Path | None, Parameter(help="A file to save the plan to, for sync apply. It contains personal data.")
    ] = None,
    options: RunOptions = _RUN,
    exit_code: ExitCodeForChanges = False,
    state: LockedStateOptions = _LOCKED_STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Print what a run would do, one operation a line (a dry run). It writes nothing to the server."""
    return await _print_changes(
        source,
        options,
        Mode(options.mode),
        out=out,
        exit_code=exit_code,
        state=state,
        connection=connection,
        display=display,
    )


async def check(
    source: SourceFile,
    /,
    *,
    options: CompareOptions = _COMPARE,
    exit_code: ExitCodeForChanges = False,
    state: LockedStateOptions = _LOCKED_STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Compare every calendar with the source, and print what differs. It writes nothing to the server."""
    return await _print_changes(
        source,
        options,
        Mode.TWO_WAY,
        changes_only=True,
        exit_code=exit_code,
        state=state,
        connection=connection,
        display=display,
    )


async def pull(
    *,
    to: Annotated[Path, Parameter(help="The file to write.")],
    to_format: Annotated[
        FileFormat | None, Parameter(help="The format of the file; the default follows from its name.")
    ] = None,
    calendars: Annotated[
        Path | None,
        Parameter(
            help="A file with the calendars to mirror: CSV with a header, or JSON Lines, with tenant_id, and for "
            "reference ad_id and domain_id. The default is the calendar of --tenant-id, --ad-id and --domain-id."
        ),
    ] = None,
    options: ScopeOptions = _SCOPE,
    rebind: Rebind = False,
    limits: LimitOptions = _LIMITS,
    state: LockedStateOptions = _LOCKED_STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Mirror the appointments of the server into a file.

    The file is replaced once every calendar was read. The state must be used for pulls only.
    """
    settings = _settings(connection, state)
    wire_format = selected_format(settings)
    if calendars is None:
        mirrored = [_own_calendar(settings)]
    else:
        mirrored = read_calendars(calendars, wire_format, tenant_id=settings.get("tenant_id"))
    pull_options = PullOptions(
        calendars=mirrored,
        scope=options.scope(wire_format, previews=True),
        window=options.window,
        max_delete=options.deletion_limit(),
        rebind=rebind,
    )
    mirror = file_mirror(to, format=to_format)
    budget = limits.budget()
    async with open_sync(state_path(settings, to, PULL_STATE), settings, wait=state.wait) as (opened, services):
        pulling = Pull(opened, services, pull_options, mirror=mirror, budget=budget)
        return await finish_run(_run_pull(pulling), budget, opened, limits, display)


async def status(*, state: StateOptions = _STATE, display: DisplayOptions = DEFAULT_DISPLAY) -> None:
    """Print what the state holds and its latest runs, even while a run works with it."""
    async with await _open_to_read(state) as opened:
        print_status(await inspection.read_status(opened), display, state=opened.location)


async def explain(key: _Key, /, *, state: StateOptions = _STATE, display: DisplayOptions = DEFAULT_DISPLAY) -> ExitCode:
    """Print everything that the state knows about a key: what is in sync, what is pending, and why it was given up."""
    async with await _open_to_read(state) as opened:
        rows = await inspection.explain_key(opened, key)
    print_key_history(rows, display, state=opened.location)
    if rows:
        return ExitCode.DONE
    print_message("nothing is known about this key")
    return ExitCode.OTHER


def _settings(connection: ConnectionOptions, state: StateOptions) -> Settings:
    return read_settings(connection.as_settings() | state.as_settings())


async def _open_to_read(state: StateOptions) -> State:
    return await State.open(existing_state(read_settings(state.as_settings())), owner="sync status", read_only=True)


def _planned_state(saved: SavedPlan) -> Path:
    """Return the path of the state that a plan was made with."""
    path = Path(saved.state)
    if not path.is_file():
        raise StateError(f"{path}: there is no state, but the plan was made with it; --state names it if it was moved")
    return path


async def _run(
    source: Path,
    options: RunOptions,
    *,
    retry_run: str | None = None,
    rebind: bool = False,
    performance: PerformanceOptions,
    limits: LimitOptions,
    state: LockedStateOptions,
    connection: ConnectionOptions,
    display: DisplayOptions,
) -> ExitCode:
    settings = _settings(connection, state)
    sync_options = options.sync_options(
        Mode(options.mode), selected_format(settings), retry_run=retry_run, rebind=rebind
    )
    records = open_source(source, options.source_format, settings)
    mirror = file_mirror(source, format=options.source_format) if sync_options.mode is Mode.TWO_WAY else None

    async def start(sync: BulkSync, opened: State, budget: Budget) -> RunReport:
        if retry_run is not None:
            await _check_has_dead_letters(opened, retry_run)
        return await sync.run(records, sync_options, budget, mirror=mirror)

    return await run_sync(
        start,
        state_path(settings, source),
        settings=settings,
        state=state,
        performance=performance,
        limits=limits,
        display=display,
    )


async def _check_has_dead_letters(state: State, run_id: str) -> None:
    async with aclosing(inspection.read_dead_letters(state, run_id)) as letters:
        async for _ in letters:
            return
    raise ValueError(f"RUN must be a run that gave records up: the state has none of {run_id}")


async def _print_changes(
    source: Path,
    options: CompareOptions,
    mode: Mode,
    *,
    out: Path | None = None,
    changes_only: bool = False,
    exit_code: bool,
    state: LockedStateOptions,
    connection: ConnectionOptions,
    display: DisplayOptions,
) -> ExitCode:
    """Print what a run in `mode` would do and which records cannot be read, and save the operations to `out`.

    With `changes_only`, operations are left out that only note in the state what is in sync already.
    """
    settings = _settings(connection, state)
    wire_format = selected_format(settings)
    sync_options = options.sync_options(mode, wire_format)
    records = open_source(source, options.source_format, settings)
    changes = unreadable = 0

    def print_unreadable(reason: str) -> None:
        nonlocal unreadable
        unreadable += 1
        print_message(reason)

    async def printed(operations: AsyncGenerator[Operation, None]) -> AsyncGenerator[Operation, None]:
        nonlocal changes
        async with aclosing(operations):
            async for operation in operations:
                is_change = operation.kind is not Kind.AGREE
                changes += is_change
                if is_change or not changes_only:
                    print_operation(operation, display, state=path)
                yield operation

    async with open_sync(state_path(settings, source), settings, wait=state.wait) as (opened, services):
        path = opened.location
        sync = BulkSync(opened, services, SyncSettings(wire_format=wire_format))
        planned = sync.plan(records, sync_options, on_unreadable=print_unreadable)
        async with aclosing(printed(planned)) as operations:
            if out is None:
                async for _ in operations:
                    pass
            else:
                await save_plan(operations, out, state=opened, options=sync_options)
    sys.stdout.flush()
    print_message(f"{changes} {'change' if changes == 1 else 'changes'} to make")
    if unreadable:
        print_message(f"{unreadable} {'record' if unreadable == 1 else 'records'} could not be read")
    print_message(f"state {path}")
    if unreadable:
        return ExitCode.DEAD_LETTERS
    return ExitCode.CHANGES_PENDING if exit_code and changes else ExitCode.DONE


async def _run_pull(pull: Pull) -> RunReport:
    progress, count = SyncProgress(Console(stderr=True), "changes"), 0
    progress.begin(None)
    try:
        async with aclosing(pull.changes()) as changes:
            async for _ in changes:
                progress.advance(Outcome(index=count, input=None, status=Status.DONE))
                count += 1
    finally:
        progress.end()
    return pull.report


def _own_calendar(settings: Settings) -> Calendar:
    user = selected_user(settings)
    tenant_id = settings.required("tenant_id")
    return Calendar(tenant_id) if user is None else Calendar(tenant_id, user.domain_id, user.ad_id)
