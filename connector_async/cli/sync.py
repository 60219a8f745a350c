"""The sync commands: run, plan, apply, check, pull, retry-failed and explain."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from connector_async.bulk_calls import Outcome, Status
from connector_async.exceptions import ConnectorError
from connector_async.sync.budget import Budget
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.exceptions import StateError
from connector_async.sync.formats import FileFormat, expanded_range, file_mirror
from connector_async.sync.planning.operations import Kind, Operation
from connector_async.sync.planning.options import Mode, SyncSettings
from connector_async.sync.planning.saved_plan import SavedPlan, save_plan
from connector_async.sync.pull import Pull, PullOptions
from connector_async.sync.records import Calendar
from connector_async.sync.report import RunReport
from connector_async.sync.state import State, inspection
from connector_async.sync.state.left_out import LeftOut, LeftOutKind, read_left_out

from .calendar_list import read_calendars
from .config_sources import read_settings
from .connect import is_quiet, own_calendar, selected_format
from .exit_codes import ExitCode
from .messages import print_message
from .options import DEFAULT_CONNECTION, DEFAULT_DISPLAY, ConnectionOptions, DisplayOptions
from .output import Printer
from .progress import SyncProgress, error_console
from .settings import Settings, assumed_zone, is_url
from .source_options import DEFAULT_SOURCE, SourceFile, SourceOptions, mapping_of
from .standard_input import is_standard_input, opened_source
from .sync_options import (
    CompareOptions,
    ExitCodeForChanges,
    LimitOptions,
    LockedStateOptions,
    PerformanceOptions,
    PullScopeOptions,
    Rebind,
    RunOptions,
    StateOptions,
)
from .sync_report import (
    CHANGE_COLUMNS,
    KEY_COLUMNS,
    REPORT_COLUMNS,
    left_out_record,
    operation_record,
    print_expanded,
    print_failure,
    print_key_history,
    print_lost_versions,
)
from .sync_run import (
    PULL_STATE,
    RUN_STATE,
    finish_run,
    open_mirror,
    open_sync,
    opened_to_read,
    run_sync,
)

_STATE: Final = StateOptions()
_LOCKED_STATE: Final = LockedStateOptions()
_SCOPE: Final = PullScopeOptions()
_COMPARE: Final = CompareOptions()
_RUN: Final = RunOptions()
_PERFORMANCE: Final = PerformanceOptions()
_LIMITS: Final = LimitOptions()

_BY_SEVERITY: Final = (ExitCode.GUARD, ExitCode.CREDENTIALS, ExitCode.RETRYABLE, ExitCode.DEAD_LETTERS)

_PlanFile = Annotated[Path, Parameter(name="FILE", help="A file that sync plan --out wrote.")]
_RunId = Annotated[str, Parameter(name="RUN", help="The id of the run, as its report shows it.")]
_Key = Annotated[str, Parameter(name="KEY", help="The key of a record.")]


async def run(
    source: SourceFile,
    /,
    *,
    options: RunOptions = _RUN,
    source_options: SourceOptions = DEFAULT_SOURCE,
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
        source_options,
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
    source_options: SourceOptions = DEFAULT_SOURCE,
    performance: PerformanceOptions = _PERFORMANCE,
    limits: LimitOptions = _LIMITS,
    state: LockedStateOptions = _LOCKED_STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Retry the records that a run gave up, and no others."""
    return await _run(
        source,
        source_options,
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
    display.check(REPORT_COLUMNS)
    settings = _settings(connection, state)
    saved_plan = SavedPlan.open(file)

    async def start(sync: BulkSync, _: State, budget: Budget) -> RunReport:
        return await sync.apply(saved_plan, budget)

    async with state.located(settings, lambda: _planned_state(saved_plan)) as location:
        return await run_sync(
            start,
            location,
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
    source_options: SourceOptions = DEFAULT_SOURCE,
    exit_code: ExitCodeForChanges = False,
    state: LockedStateOptions = _LOCKED_STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Print what a run would do, one operation a line (a dry run). It writes nothing to the server."""
    return await _print_changes(
        source,
        source_options,
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
    source_options: SourceOptions = DEFAULT_SOURCE,
    exit_code: ExitCodeForChanges = False,
    state: LockedStateOptions = _LOCKED_STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Compare every calendar with the source, and print what differs. It writes nothing to the server."""
    return await _print_changes(
        source,
        source_options,
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
        FileFormat | None, Parameter(show_default="by its name", help="The format of the file.")
    ] = None,
    calendars: Annotated[
        Path | None,
        Parameter(
            show_default="the calendar of --tenant-id, --ad-id and --domain-id",
            help="A file with the calendars to mirror: CSV with a header, or JSON Lines, with tenant_id, and for "
            "reference ad_id and domain_id.",
        ),
    ] = None,
    options: PullScopeOptions = _SCOPE,
    rebind: Rebind = False,
    limits: LimitOptions = _LIMITS,
    state: LockedStateOptions = _LOCKED_STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Mirror the appointments of the server into a file.

    The file is replaced once every calendar was read. The state must be used for pulls only.
    """
    display.check(REPORT_COLUMNS)
    settings = _settings(connection, state)
    wire_format = selected_format(settings)
    if calendars is None:
        mirrored = [own_calendar(settings)]
    else:
        mirrored = read_calendars(calendars, wire_format, tenant_id=settings.get("tenant_id"))
    pull_options = PullOptions(
        calendars=mirrored,
        scope=options.scope(wire_format, assumed_zone(settings), previews=True),
        window=options.window,
        max_delete=options.deletion_limit(),
        allow_empty=options.allow_empty,
        rebind=rebind,
    )
    mirror = file_mirror(to, format=to_format)
    budget = limits.budget()
    async with (
        state.located(settings, lambda: to.with_suffix(PULL_STATE)) as location,
        open_sync(location, settings, wait=state.wait) as (opened, services),
    ):
        pulling = Pull(opened, services, pull_options, mirror=mirror, budget=budget)
        return await finish_run(_run_pull(pulling, quiet=is_quiet(settings)), budget, opened, limits, display)


async def explain(
    key: _Key,
    /,
    *,
    archived: Annotated[
        bool,
        Parameter(
            negative="",
            help="Print the versions that lost a conflict, as JSON with titles and descriptions: personal data.",
        ),
    ] = False,
    state: StateOptions = _STATE,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Print everything that the state knows about a key: what is in sync, what is pending, and why it was given up."""
    display.check(KEY_COLUMNS)
    async with opened_to_read(state, "sync explain") as opened:
        if archived:
            rows = await inspection.read_lost_versions(opened, key)
            print_lost_versions(rows)
        else:
            rows = await inspection.explain_key(opened, key)
            print_key_history(rows, display, state=opened.location)
    if rows:
        return ExitCode.DONE
    print_message("no version of this key is archived" if archived else "nothing is known about this key")
    return ExitCode.OTHER


def _settings(connection: ConnectionOptions, state: StateOptions, source: SourceOptions = DEFAULT_SOURCE) -> Settings:
    return read_settings(connection.as_settings() | state.as_settings() | source.as_settings())


def _planned_state(saved: SavedPlan) -> Path:
    """Return the path of the state that a plan was made with."""
    if is_url(saved.state):
        raise StateError(f"the plan was made with {saved.state}: --state must name it")
    path = Path(saved.state)
    if not path.is_file():
        raise StateError(f"{path}: there is no state, but the plan was made with it; --state names it if it was moved")
    return path


async def _run(
    path: Path,
    source_options: SourceOptions,
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
    display.check(REPORT_COLUMNS)
    settings = _settings(connection, state, source_options)
    sync_options = options.sync_options(
        Mode(options.mode), selected_format(settings), assumed_zone(settings), retry_run=retry_run, rebind=rebind
    )
    _check_source(path, sync_options.mode, settings, state)
    async with (
        opened_source(path, source_options, settings) as (records, _),
        state.located(settings, lambda: path.with_suffix(RUN_STATE)) as location,
    ):
        two_way = sync_options.mode is Mode.TWO_WAY
        mirror = open_mirror(path, records, source_options, settings) if two_way else None

        async def start(sync: BulkSync, opened: State, budget: Budget) -> RunReport:
            if retry_run is not None:
                await _check_has_dead_letters(opened, retry_run)
            return await sync.run(records, sync_options, budget, mirror=mirror)

        return await run_sync(
            start,
            location,
            settings=settings,
            state=state,
            performance=performance,
            limits=limits,
            display=display,
        )


def _check_source(path: Path, mode: Mode, settings: Settings, state: StateOptions) -> None:
    """Reject a source that a two-way run could not write back, and standard input without a state.

    Raises:
        ValueError: If an option or a setting is invalid.
    """
    if mode is Mode.TWO_WAY and mapping_of(settings) is not None:
        raise ValueError(
            "--mode must not be two-way with --map, --date-format or --preset (or [source] in a settings file): the "
            "cells of the file cannot be written back exactly"
        )
    if not is_standard_input(path):
        return
    if mode is Mode.TWO_WAY:
        raise ValueError("--mode must not be two-way with standard input, which cannot be written back")
    if not state.is_named(settings):
        raise ValueError("--state must be given with standard input")


async def _check_has_dead_letters(state: State, run_id: str) -> None:
    async with aclosing(inspection.read_dead_letters(state, run_id)) as letters:
        async for _ in letters:
            return
    raise ValueError(f"RUN must be a run that gave records up: the state has none of {run_id}")


async def _print_changes(
    path: Path,
    source_options: SourceOptions,
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
    printer = Printer(display, CHANGE_COLUMNS)
    settings = _settings(connection, state, source_options)
    wire_format = selected_format(settings)
    sync_options = options.sync_options(mode, wire_format, assumed_zone(settings))
    _check_source(path, Mode.TRUST if changes_only else mode, settings, state)  # a check writes nothing back
    async with (
        opened_source(path, source_options, settings) as (records, _),
        state.located(settings, lambda: path.with_suffix(RUN_STATE)) as location,
        open_sync(location, settings, wait=state.wait) as (opened, services),
    ):
        found = _Found(display, printer, str(opened.location), changes_only=changes_only)
        sync = BulkSync(opened, services, SyncSettings(wire_format=wire_format))
        # A plan that lacks a calendar is not saved.
        on_failure = found.print_failed if out is None else None
        planned = sync.plan(records, sync_options, on_unreadable=found.print_unreadable, on_failure=on_failure)
        async with aclosing(found.printed(planned)) as operations:
            if out is None:
                async for _ in operations:
                    pass
            else:
                await save_plan(operations, out, state=opened, options=sync_options)
        async with aclosing(read_left_out(opened, with_conflicts=mode is Mode.TRUST)) as keys:
            async for key in keys:
                found.print_left_out(key)
    found.printer.end()
    print_expanded(expanded_range(records))
    return found.print_totals(exit_code=exit_code)


@attrs.define
class _Found:
    """Prints what a plan or a check finds, and counts it."""

    display: DisplayOptions
    printer: Printer
    state: str
    """The location of the state."""
    changes_only: bool
    """Whether operations are left out that only note in the state what is in sync already: for a check."""
    changes: int = 0
    unreadable: int = 0
    left_out: Counter[LeftOutKind] = attrs.field(factory=Counter)
    failures: set[ExitCode] = attrs.field(factory=set)
    """The exit codes of the calendars that could not be read."""

    def print_unreadable(self, reason: str) -> None:
        self.unreadable += 1
        print_message(reason)

    def print_failed(self, calendar: Calendar, error: ConnectorError) -> None:
        self.failures.add(print_failure(calendar, error, self.display, self.printer, state=self.state))

    def print_left_out(self, key: LeftOut) -> None:
        self.left_out[key.kind] += 1
        self.printer.add(left_out_record(key, self.display, state=self.state))

    async def printed(self, operations: AsyncGenerator[Operation, None]) -> AsyncGenerator[Operation, None]:
        """Yield operations, each after it was printed."""
        async with aclosing(operations):
            async for operation in operations:
                is_change = operation.kind is not Kind.AGREE
                self.changes += is_change
                if is_change or not self.changes_only:
                    self.printer.add(operation_record(operation, self.display, state=self.state))
                yield operation

    def print_totals(self, *, exit_code: bool) -> ExitCode:
        """Print the counts, and return the exit code; with `exit_code`, there is one for differences."""
        given_up, pending = self.left_out[LeftOutKind.GIVEN_UP], self.left_out[LeftOutKind.PENDING]
        differences = self.changes + given_up + pending + self.unreadable
        if self.changes_only:
            print_message(_counted(differences, "difference"))
        else:
            print_message(f"{_counted(self.changes, 'change')} to make")
        for count, what, outcome in (
            (self.unreadable, "record", "could not be read"),
            (given_up, "key", "given up before; sync explain says why"),
            (pending, "create", "pending; a run finds out what became of it"),
        ):
            if count:
                print_message(f"{_counted(count, what)} {outcome}")
        print_message(f"state {self.state}")
        if self.failures:
            return next(code for code in _BY_SEVERITY if code in self.failures)
        if self.unreadable or given_up:
            return ExitCode.DEAD_LETTERS
        return ExitCode.CHANGES_PENDING if exit_code and differences else ExitCode.DONE


def _counted(count: int, what: str) -> str:
    return f"{count} {what if count == 1 else what + 's'}"


async def _run_pull(pull: Pull, *, quiet: bool) -> RunReport:
    progress, count = SyncProgress(error_console(quiet=quiet), "changes"), 0
    progress.begin(None)
    try:
        async with aclosing(pull.changes()) as changes:
            async for _ in changes:
                progress.advance(Outcome(index=count, input=None, status=Status.DONE))
                count += 1
    finally:
        progress.end()
    return pull.report
