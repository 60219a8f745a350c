"""Prints what sync commands find and do, writes the dead letters, and finds the exit code. No personal data."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import attrs
import orjson

from connector_async._files import atomic_replace
from connector_async._timestamps import format_instant, parse_instant
from connector_async.exceptions import AuthenticationError, ConnectorError
from connector_async.sync.budget import StopReason
from connector_async.sync.exceptions import GuardError
from connector_async.sync.failures import Failure, is_permanent
from connector_async.sync.planning.operations import Operation
from connector_async.sync.records import Calendar
from connector_async.sync.report import Fate, RunReport, Stopped, TenantReport
from connector_async.sync.scope import Scope
from connector_async.sync.state import State
from connector_async.sync.state.db.errors import file_errors
from connector_async.sync.state.inspection import read_dead_letters
from connector_async.sync.state.left_out import LeftOut

from .exit_codes import ExitCode
from .messages import print_message
from .options import DisplayOptions
from .output import Printer
from .output_formats import Record

_MOST_CAUSES: Final = 20
REPORT_COLUMNS: Final = (
    "tenant_id",
    "records",
    *(fate.value for fate in Fate),
    "calendars_failed",
    "calendars_refused",
    "requests",
    "minimum",
    "waited",
    "elapsed",
    "stopped",
)
_COUNTS: Final = (
    "items",
    "deleted",
    "pending_creates",
    "dead_letters",
    "resolved_dead_letters",
    "failures",
    "awaiting_writeback",
)
RUN_COLUMNS: Final = (
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
KEY_COLUMNS: Final = (
    "what",
    "tenant_id",
    "domain_id",
    "ad_id",
    "appointment_id",
    "start_time",
    "end_time",
    "side",
    "operation",
    "error",
    "reason",
    "status",
    "request_id",
    "run_id",
    "at",
)
CHANGE_COLUMNS: Final = ("kind", "tenant_id", "ad_id", "key", "reason")
_TIME_COLUMNS: Final = ("started_at", "ended_at", "at")
_STOP_REASONS: Final = {
    StopReason.REQUESTS: "the request limit was reached",
    StopReason.DURATION: "the time limit was reached",
    StopReason.SIGNAL: "a signal stopped it",
}


def print_report(report: RunReport, display: DisplayOptions, *, state: object) -> None:
    """Print the report of a run with a state: one object, or a row for each tenant.

    What could not be read, and why something failed, is printed to the standard error stream.
    """
    _print_causes(report)
    printer = Printer(display, REPORT_COLUMNS)
    if display.is_structured:
        printer.add(report.as_json() | {"state": str(state)})
    else:
        for tenant_id, tenant in report.tenants.items():
            printer.add(_tenant_record(tenant_id, tenant, hides_zeros=display.hides_zeros))
    printer.end()


def print_expanded(expanded: Scope | None) -> None:
    """Print in which time recurring events of the source were expanded, if it may have any."""
    if expanded is not None and expanded.start is not None and expanded.end is not None:
        start, end = (format_instant(instant.replace(microsecond=0)) for instant in (expanded.start, expanded.end))
        print_message(f"recurring events were expanded from {start} to {end}")


def _print_causes(report: RunReport) -> None:
    """Print the first records that could not be read, and the first distinct reasons of failures with their counts."""
    print_expanded(report.expanded)
    for problem in report.problems:
        print_message(problem)
    if report.unreadable > len(report.problems):
        print_message(f"records that could not be read, in all: {report.unreadable}")
    causes = [(tenant_id, reason) for tenant_id, tenant in report.tenants.items() for reason in tenant.reasons]
    for tenant_id, reason in causes[:_MOST_CAUSES]:
        times = f" ({reason.count} times)" if reason.count > 1 else ""
        print_message(f"tenant {tenant_id}: {reason.error}: {reason.reason}{times}")
    if causes[_MOST_CAUSES:]:
        print_message(f"{len(causes) - _MOST_CAUSES} more reasons; --json has them all")


def operation_record(operation: Operation, display: DisplayOptions, *, state: object) -> Record:
    """Return an operation that is planned with a state as an object, or as a row of `CHANGE_COLUMNS`."""
    if display.is_structured:
        return operation.as_json() | {"state": str(state)}
    return _change(operation.kind.value, operation.calendar, operation.key, operation.reason)


def left_out_record(left_out: LeftOut, display: DisplayOptions, *, state: object) -> Record:
    """Return a key that is not in sync and has no operation as an object, or as a row of `CHANGE_COLUMNS`."""
    calendar = left_out.calendar
    if display.is_structured:
        fields = {"kind": left_out.kind.value, "key": left_out.key, "reason": left_out.reason, "state": str(state)}
        return attrs.asdict(calendar) | fields
    return _change(left_out.kind.value.replace("_", " "), calendar, left_out.key, left_out.reason)


def _change(kind: str, calendar: Calendar, key: str, reason: str) -> Record:
    return {"kind": kind, "tenant_id": calendar.tenant_id, "ad_id": calendar.ad_id, "key": key, "reason": reason}


def print_failure(
    calendar: Calendar, error: ConnectorError, display: DisplayOptions, printer: Printer, *, state: object
) -> ExitCode:
    """Print why a calendar could not be compared, and return the exit code that it asks for."""
    failure = Failure.of(error)
    user = f", user {calendar.ad_id}" if calendar.ad_id else ""
    print_message(f"tenant {calendar.tenant_id}{user}: {failure.error}: {failure.reason}")
    if display.is_structured:
        fields = {"kind": "failed", "error": failure.error, "status": failure.status, "reason": failure.reason}
        printer.add(attrs.asdict(calendar) | fields | {"state": str(state)})
    if isinstance(error, GuardError):
        return ExitCode.GUARD
    if isinstance(error, AuthenticationError):
        return ExitCode.CREDENTIALS
    return ExitCode.DEAD_LETTERS if is_permanent(error) else ExitCode.RETRYABLE


def print_status(status: Mapping[str, Any], display: DisplayOptions, *, state: object) -> None:
    """Print the counts of a state and its latest runs as one object, or the runs as rows and the counts as a line."""
    printer = Printer(display, RUN_COLUMNS)
    if display.is_structured:
        printer.add({**status, "state": str(state)})
    else:
        counts = ", ".join(f"{status[name]} {name.replace('_', ' ')}" for name in _COUNTS if status.get(name))
        print_message(f"state {state}: {counts or 'empty'}")
        for run in status["runs"]:
            printer.add(_readable(run))
    printer.end()


def print_key_history(rows: Sequence[Mapping[str, Any]], display: DisplayOptions, *, state: object) -> None:
    """Print what a state holds about a key, one row for each entry."""
    printer = Printer(display, KEY_COLUMNS)
    if not display.is_structured:
        print_message(f"state {state}")
    for row in rows:
        printer.add({**row, "state": str(state)} if display.is_structured else _readable(row))
    printer.end()


def print_lost_versions(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print versions that lost a conflict, with their content, as lines of JSON."""
    printer = Printer(DisplayOptions(json=True), ())
    for row in rows:
        printer.add(row)
    printer.end()


def report_exit_code(report: RunReport, *, reports_nothing_to_do: bool = False) -> ExitCode:
    """Return the exit code for a run that ended by itself, by a limit or by a signal.

    Args:
        report: The report of the run.
        reports_nothing_to_do: Whether a run with nothing to do has an exit code of its own.
    """
    counts = report.counts
    failed_calendars = sum(tenant.calendars_failed for tenant in report.tenants.values())
    refused_calendars = sum(tenant.calendars_refused for tenant in report.tenants.values())
    changes = counts.total() - counts[Fate.UNCHANGED] - counts[Fate.SKIPPED]
    codes = (
        (report.stopped(Stopped.GUARD), ExitCode.GUARD),
        (report.stopped(Stopped.CREDENTIALS), ExitCode.CREDENTIALS),
        (report.reason is not None, ExitCode.LIMIT_REACHED),
        (failed_calendars + counts[Fate.RETRYABLE] + counts[Fate.UNKNOWN], ExitCode.RETRYABLE),
        (report.dead_letters + refused_calendars + len(report.stopped(Stopped.ERROR)), ExitCode.DEAD_LETTERS),
        (reports_nothing_to_do and not changes, ExitCode.NOTHING_TO_DO),
    )
    return next((code for applies, code in codes if applies), ExitCode.DONE)


async def write_dead_letters(state: State, run_id: str, path: Path) -> None:
    """Write the dead letters of a run to a new file of JSON Lines that only its owner can read.

    Raises:
        StateError: If the state cannot be read, or the file cannot be written.
    """
    with file_errors(path), atomic_replace(path) as partial, partial.open("wb") as lines:
        async with aclosing(read_dead_letters(state, run_id)) as letters:
            async for letter in letters:
                lines.write(orjson.dumps(letter) + b"\n")


def _tenant_record(tenant_id: str, tenant: TenantReport, *, hides_zeros: bool) -> Record:
    failures = {"calendars_failed": tenant.calendars_failed, "calendars_refused": tenant.calendars_refused}
    counts: dict[str, Any] = {fate.value: tenant.counts[fate] for fate in Fate} | failures
    if hides_zeros:
        counts = {name: count or None for name, count in counts.items()}
    return counts | {
        "tenant_id": tenant_id,
        "records": tenant.records,
        "requests": tenant.requests,
        "minimum": tenant.minimum,
        "waited": f"{tenant.waited:.1f} s",
        "elapsed": f"{tenant.elapsed:.1f} s",
        "stopped": None if tenant.stopped is None else tenant.stopped.value,
    }


def totals(report: RunReport, *, state: object) -> str:
    """Return the totals of a run with a state in one line."""
    nothing = "nothing to do" if report.reason is None else "nothing started"
    counts = [f"{number} {fate.value.replace('_', ' ')}" for fate, number in report.counts.items()]
    line = (
        f"run {report.run_id}: {', '.join(counts) or nothing}; {report.requests} requests sent, "
        f"{report.minimum} needed; waited {report.waited:.1f} s, took {report.elapsed:.1f} s"
    )
    reason = "" if report.reason is None else f"; {_STOP_REASONS[report.reason]}"
    return f"{line}{reason}; state {state}"


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for a table: times to the second, counts as words, and `None` for an empty value."""
    readable: dict[str, Any] = {name: None if value == "" else value for name, value in row.items()}
    for name in _TIME_COLUMNS:
        if readable.get(name) is not None:
            readable[name] = format_instant(parse_instant(readable[name]).replace(microsecond=0))
    if isinstance(readable.get("counts"), dict):
        readable["counts"] = ", ".join(f"{number} {fate}" for fate, number in readable["counts"].items()) or None
    return readable
