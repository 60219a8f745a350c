"""The commands of the bulk sync that compare a source with the server: run, plan, apply, check and retry-failed."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from connector_async.sync.budget import Budget
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.formats import file_mirror
from connector_async.sync.planning.operations import Kind, Operation
from connector_async.sync.planning.options import Mode, SyncOptions
from connector_async.sync.planning.options import SyncSettings as How
from connector_async.sync.planning.saved_plan import SavedPlan, save_plan
from connector_async.sync.report import RunReport
from connector_async.sync.state import State
from connector_async.sync.state.inspection import read_dead_letters

from .connect import wire_format_of
from .exit_codes import ExitCode
from .messages import tell
from .options import TABLE, UNCONNECTED, Connection, Display
from .settings import Settings
from .sync_options import CheckRules, HeldState, LimitOptions, PerformanceOptions, RunRules, SourceFile
from .sync_report import print_operation
from .sync_run import Opened, Push, opened, source_of, sync_settings

_HELD: Final = HeldState()
_CHECK_RULES: Final = CheckRules()
_RUN_RULES: Final = RunRules()
_EFFORT: Final = PerformanceOptions()
_ENDING: Final = LimitOptions()

_PlanFile = Annotated[Path, Parameter(name="FILE", help="What sync plan --out has written.")]
_RunId = Annotated[str, Parameter(name="RUN", help="The run, as its report names it.")]
_TellsChanges = Annotated[
    bool, Parameter(name="--exit-code", negative="", help="End with 10 when there are changes to be made.")
]


async def run(
    source: SourceFile,
    /,
    *,
    rules: RunRules = _RUN_RULES,
    effort: PerformanceOptions = _EFFORT,
    ending: LimitOptions = _ENDING,
    held: HeldState = _HELD,
    connection: Connection = UNCONNECTED,
    display: Display = TABLE,
) -> ExitCode:
    """Bring the appointments of all tenants into step with a file, and account for every record of it.

    It may be ended and begun again at any time: what has been done is not done twice.
    """
    settings = sync_settings(connection, held)
    plan = rules.plan(Mode(rules.mode), wire_format_of(settings))
    push = Push(settings=settings, held=held, effort=effort, ending=ending, display=display)
    return await _run(push, source, rules, plan)


async def retry_failed(
    run_id: _RunId,
    source: SourceFile,
    /,
    *,
    rules: RunRules = _RUN_RULES,
    effort: PerformanceOptions = _EFFORT,
    ending: LimitOptions = _ENDING,
    held: HeldState = _HELD,
    connection: Connection = UNCONNECTED,
    display: Display = TABLE,
) -> ExitCode:
    """Try again what a run has given up, and nothing else."""
    settings = sync_settings(connection, held)
    plan = rules.plan(Mode(rules.mode), wire_format_of(settings), retry_run=run_id)
    push = Push(settings=settings, held=held, effort=effort, ending=ending, display=display)
    return await _run(push, source, rules, plan)


async def apply(
    file: _PlanFile,
    /,
    *,
    effort: PerformanceOptions = _EFFORT,
    ending: LimitOptions = _ENDING,
    held: HeldState = _HELD,
    connection: Connection = UNCONNECTED,
    display: Display = TABLE,
) -> ExitCode:
    """Do what a saved plan says, unless the state has changed since."""
    settings = sync_settings(connection, held)
    saved = SavedPlan.open(file)

    async def begin(sync: BulkSync, _: State, budget: Budget) -> RunReport:
        return await sync.apply(saved, budget)

    push = Push(settings=settings, held=held, effort=effort, ending=ending, display=display)
    return await push.run(begin)


async def plan(
    source: SourceFile,
    /,
    *,
    out: Path | None = None,
    rules: RunRules = _RUN_RULES,
    exit_code: _TellsChanges = False,
    held: HeldState = _HELD,
    connection: Connection = UNCONNECTED,
    display: Display = TABLE,
) -> ExitCode:
    """Print what a run would do, an operation on each line, and send nothing but what looks at the server.

    Parameters
    ----------
    out
        Where to save it for sync apply. The file holds what is to be sent: personal data.
    """
    settings = sync_settings(connection, held)
    how = rules.plan(Mode(rules.mode), wire_format_of(settings))
    async with opened(settings, wait=held.wait) as it:
        tally = _Pending(display)
        operations = tally.printed(_planned(it, source, rules, how, settings))
        async with aclosing(operations):
            if out is None:
                async for _ in operations:
                    pass
            else:
                await save_plan(operations, out, serial=await it.state.serial(), options=how)
    return tally.exit_code(tells_changes=exit_code)


async def check(
    source: SourceFile,
    /,
    *,
    rules: CheckRules = _CHECK_RULES,
    exit_code: _TellsChanges = False,
    held: HeldState = _HELD,
    connection: Connection = UNCONNECTED,
    display: Display = TABLE,
) -> ExitCode:
    """Look at every calendar on both sides, print what differs, and change nothing."""
    settings = sync_settings(connection, held)
    how = rules.plan(Mode.TWO_WAY, wire_format_of(settings))
    tally = _Pending(display, agreed=False)
    async with (
        opened(settings, wait=held.wait) as it,
        aclosing(tally.printed(_planned(it, source, rules, how, settings))) as operations,
    ):
        async for _ in operations:
            pass
    return tally.exit_code(tells_changes=exit_code)


async def _run(push: Push, source: Path, rules: RunRules, plan: SyncOptions) -> ExitCode:
    records = source_of(source, rules.source_format, push.settings)
    mirror = file_mirror(source, format=rules.source_format) if plan.mode is Mode.TWO_WAY else None

    async def begin(sync: BulkSync, state: State, budget: Budget) -> RunReport:
        if plan.retry_run is not None:
            await _check_retried(state, plan.retry_run)
        return await sync.run(records, plan, budget, mirror=mirror)

    return await push.run(begin)


async def _check_retried(state: State, run_id: str) -> None:
    async with aclosing(read_dead_letters(state, run_id)) as letters:
        async for _ in letters:
            return
    raise ValueError(f"{run_id} has given nothing up, or is no run of this state")


def _planned(
    it: Opened, source: Path, rules: CheckRules, how: SyncOptions, settings: Settings
) -> AsyncGenerator[Operation, None]:
    records = source_of(source, rules.source_format, settings)
    sync = BulkSync(it.state, it.services, How(wire_format=wire_format_of(settings)))
    return sync.plan(records, how)


class _Pending:
    """Prints operations, and counts those that would change something.

    Args:
        display: How they are printed.
        agreed: Whether those are printed, too, that only take note of what is in step.
    """

    def __init__(self, display: Display, *, agreed: bool = True) -> None:
        self._display = display
        self._agreed = agreed
        self._count = 0

    async def printed(self, operations: AsyncGenerator[Operation, None]) -> AsyncGenerator[Operation, None]:
        async with aclosing(operations):
            async for operation in operations:
                self._count += operation.kind is not Kind.AGREE
                if self._agreed or operation.kind is not Kind.AGREE:
                    print_operation(operation, self._display)
                yield operation

    def exit_code(self, *, tells_changes: bool) -> ExitCode:
        """Tell how many there are, and return the status."""
        sys.stdout.flush()
        tell(sys.stderr, f"{self._count} {'change' if self._count == 1 else 'changes'} to be made")
        return ExitCode.CHANGES_PENDING if tells_changes and self._count else ExitCode.DONE
