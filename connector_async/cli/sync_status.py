"""The command `sync status`: what the state holds, once, or with `--watch` until a run by shares has ended."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from connector_async._checks import check_seconds
from connector_async.sync.state import State, inspection
from connector_async.sync.state.shares import FailedShare, SharedProgress, read_failed_shares, read_progress

from .exit_codes import ExitCode
from .messages import print_message
from .options import DEFAULT_DISPLAY, DisplayOptions
from .output import Printer
from .sync_options import StateOptions
from .sync_report import RUN_COLUMNS, print_status
from .sync_run import opened_to_read

_STATE: Final = StateOptions()
_MOST_FAILED: Final = 20


async def status(
    *,
    watch: Annotated[
        bool,
        Parameter(
            negative="",
            help="Print how far the latest run of sync enqueue is, until it has ended: tenants, workers, rate, time "
            "that is left.",
        ),
    ] = False,
    interval: Annotated[float, Parameter(help="Seconds from one line of --watch to the next.")] = 2.0,
    state: StateOptions = _STATE,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Print what the state holds and its latest runs, even while a run works with it.

    With --watch, the exit code is 3 if a tenant of the run could not be synced because of a permanent error.
    """
    display.check(RUN_COLUMNS)
    check_seconds("interval", interval, above_zero=True)
    async with opened_to_read(state, "sync status") as opened:
        if watch:
            return await _watch(opened, interval, display)
        failed = await read_failed_shares(opened)
        status = await inspection.read_status(opened) | {"failed_tenants": [attrs.asdict(each) for each in failed]}
        print_status(status, display, state=opened.location)
        if not display.is_structured:
            _print_failed(failed)
    return ExitCode.DONE


async def _watch(state: State, interval: float, display: DisplayOptions) -> ExitCode:
    first: tuple[float, SharedProgress] | None = None
    while True:
        progress, now = await read_progress(state), time.monotonic()
        if progress is None:
            print_message("no run was enqueued")
            return ExitCode.OTHER
        if first is None or first[1].run_id != progress.run_id:
            first = now, progress
        rate = (progress.settled - first[1].settled) / (now - first[0]) if now > first[0] else 0.0
        _print(progress, rate, display)
        if not progress.waiting:
            _print_failed(await read_failed_shares(state, progress.run_id))
            return ExitCode.DEAD_LETTERS if progress.failed else ExitCode.DONE
        await asyncio.sleep(interval)


def _print_failed(failed: Sequence[FailedShare]) -> None:
    """Print why the first tenants could not be synced."""
    for share in failed[:_MOST_FAILED]:
        print_message(f"tenant {share.tenant_id} of run {share.run_id}: {share.error}: {share.reason}")
    if failed[_MOST_FAILED:]:
        print_message(f"{len(failed) - _MOST_FAILED} more tenants have failed; --json has them all")


def _print(progress: SharedProgress, rate: float, display: DisplayOptions) -> None:
    left = max(0, progress.to_do - progress.settled) if progress.waiting else 0
    eta = left / rate if rate > 0 else None
    if display.is_structured:
        fields: dict[str, Any] = {**attrs.asdict(progress), "rate": rate, "seconds_left": eta if left else 0.0}
        printer = Printer(display, tuple(fields))
        printer.add(fields)
        printer.end()
        return
    superseded = f", {progress.superseded} superseded" if progress.superseded else ""
    failed = f", {progress.failed} failed" if progress.failed else ""
    line = (
        f"run {progress.run_id}: {progress.tenants - progress.waiting} of {progress.tenants} tenants done"
        f"{superseded}{failed}, {progress.waiting} left; {progress.settled} of {progress.to_do} keys; "
        f"{progress.workers} working; {rate:,.1f}/s"
    )
    print_message(line + (f", {eta:,.0f} s left" if eta else ""))
