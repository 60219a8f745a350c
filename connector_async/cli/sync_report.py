"""What is told of a run of the bulk sync: its report, its dead letters, its status. No personal data."""

import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import orjson

from connector_async._files import atomic_replace
from connector_async.sync.budget import StopReason
from connector_async.sync.planning.operation_json import as_json
from connector_async.sync.planning.operations import Operation
from connector_async.sync.report import Fate, RunReport, Stopped, TenantReport
from connector_async.sync.state import State
from connector_async.sync.state.db.errors import file_errors
from connector_async.sync.state.inspection import read_dead_letters

from .exit_codes import ExitCode
from .messages import printable
from .options import Display
from .output import Printer, Record

_COLUMNS: Final = (
    "tenant_id",
    "records",
    *(fate.value for fate in Fate),
    "requests",
    "minimum",
    "waited",
    "elapsed",
    "stopped",
)
_REASONS: Final = {
    StopReason.REQUESTS: "the limit of requests was reached",
    StopReason.DURATION: "the limit of time was reached",
    StopReason.SIGNAL: "it was asked to stop",
}


def print_report(report: RunReport, display: Display) -> None:
    """Print what became of a run: one JSON line, or a table by tenant and a line of the totals."""
    printer = Printer(display, _COLUMNS)
    if display.json:
        printer.add(report.as_json())
        return
    for tenant_id, tenant in report.tenants.items():
        printer.add(_record(tenant_id, tenant))
    printer.end()
    print_line(_totals(report))


def print_line(text: str) -> None:
    """Print a line of data."""
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()


def print_operation(operation: Operation, display: Display) -> None:
    """Print what is to be done with one key, in a line of its own."""
    if display.json:
        Printer(display, ()).add(as_json(operation))
        return
    calendar = operation.calendar
    columns = (operation.kind.value, calendar.tenant_id, calendar.ad_id, operation.key, operation.reason)
    sys.stdout.write("\t".join(map(printable, columns)) + "\n")


def exit_code_of(report: RunReport, *, tells_nothing: bool) -> ExitCode:
    """Return the status after a run that came to its end, or to a limit.

    Args:
        report: What became of it.
        tells_nothing: Whether that there was nothing to do has a status of its own.
    """
    counts = report.counts
    failed = sum(tenant.calendars_failed for tenant in report.tenants.values())
    did = counts.total() - counts[Fate.UNCHANGED] - counts[Fate.SKIPPED]
    found = (
        (report.stopped(Stopped.GUARD), ExitCode.GUARD),
        (report.stopped(Stopped.CREDENTIALS), ExitCode.CREDENTIALS),
        (report.reason is not None, ExitCode.LIMIT_REACHED),
        (failed + counts[Fate.RETRYABLE] + counts[Fate.UNKNOWN], ExitCode.RETRYABLE),
        (report.dead_letters, ExitCode.DEAD_LETTERS),
        (tells_nothing and not did, ExitCode.NOTHING_TO_DO),
    )
    return next((code for holds, code in found if holds), ExitCode.DONE)


async def write_dead_letters(state: State, run_id: str, path: Path) -> None:
    """Write what a run has given up as JSON Lines, to a new file that nobody else may read.

    Raises:
        StateError: The state cannot be read, or the file not be written.
    """
    with file_errors(path), atomic_replace(path) as partial, partial.open("wb") as lines:
        async with aclosing(read_dead_letters(state, run_id)) as letters:
            async for letter in letters:
                lines.write(orjson.dumps(letter) + b"\n")


def _record(tenant_id: str, tenant: TenantReport) -> Record:
    # A fate that nobody has met has no column.
    fates: dict[str, Any] = {fate.value: tenant.counts[fate] or None for fate in Fate}
    return fates | {
        "tenant_id": tenant_id,
        "records": tenant.records,
        "requests": tenant.requests,
        "minimum": tenant.minimum,
        "waited": f"{tenant.waited:.1f} s",
        "elapsed": f"{tenant.elapsed:.1f} s",
        "stopped": None if tenant.stopped is None else tenant.stopped.value,
    }


def _totals(report: RunReport) -> str:
    counts = [f"{number} {fate.value.replace('_', ' ')}" for fate, number in report.counts.items()]
    text = (
        f"run {report.run_id}: {', '.join(counts) or 'nothing to do'}; {report.requests} requests sent, "
        f"{report.minimum} needed; waited {report.waited:.1f} s, took {report.elapsed:.1f} s"
    )
    return text if report.reason is None else f"{text}; {_REASONS[report.reason]}"
