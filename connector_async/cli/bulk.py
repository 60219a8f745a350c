"""Commands with many inputs: prints the result or the failure of each input, and finds the exit code."""

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from connector_async.appointments import AppointmentService
from connector_async.bulk_calls import Bulk, Outcome, Status, bulk
from connector_async.exceptions import AuthenticationError, DecodingError
from connector_async.models import Appointment, NewAppointment
from connector_async.sync.formats import format_of_suffix
from connector_async.sync.records import SourceProblem, SourceRecord

from .connect import own_calendar, service_of
from .exit_codes import ExitCode, combined_exit_code, exit_code
from .line_reader import read_lines
from .messages import error_message, print_message
from .options import DisplayOptions
from .output import Printer
from .output_formats import Record
from .settings import Settings
from .source_options import MappingOptions, mapping_of
from .standard_input import opened_source

T = TypeVar("T")

_RESULT_COLUMNS: Final = ("line", "status", "appointment_id", "error")
_RECORD_COLUMNS: Final = ("record", "line", "key", "status", "appointment_id", "error")
_CONCURRENCY: Final = 16


async def print_outcomes(calls: Bulk[str, T], printer: Printer, record: Callable[[str, T], Record]) -> ExitCode:
    """Print the record of each successful call, and a message for each failed one.

    Args:
        calls: The calls, by the id of the appointment.
        printer: Prints the records.
        record: Returns the record for an id and the result of its call.

    Returns:
        The exit code of the command.
    """
    codes = set()
    async with aclosing(calls.outcomes()) as outcomes:
        async for outcome in outcomes:
            codes.add(_exit_code(outcome))
            if outcome.status is Status.DONE:
                printer.add(record(outcome.input, outcome.result))  # type: ignore[arg-type]  # a T when it is done
            else:
                print_message(f"{outcome.input}: {_reason(outcome)}")
    return combined_exit_code(codes)


async def create_from(source: str, appointments: AppointmentService, display: DisplayOptions) -> ExitCode:
    """Create the appointments of a file, and print a result for each line.

    Args:
        source: The path of a file of JSON Lines; `-` is the standard input.
        appointments: Creates the appointments.
        display: How the results are printed.

    Returns:
        The exit code of the command.

    Raises:
        ValueError: If the file cannot be read. The appointments of the lines before have been created.
    """

    async def create(numbered_line: tuple[int, bytes]) -> Appointment:
        return await appointments.create(NewAppointment.from_dict(_decoded(numbered_line[1])))

    codes, printer = set(), Printer(display, _RESULT_COLUMNS, done="created")
    calls = bulk(create, read_lines(source), concurrency=_CONCURRENCY, ordered=True, ends_on=AuthenticationError)
    with printer:
        async with aclosing(calls.outcomes()) as outcomes:
            async for outcome in outcomes:
                codes.add(_exit_code(outcome))
                printer.add({"line": outcome.input[0]} | _result(outcome))
    return combined_exit_code(codes)


def is_plain_json_lines(source: str, options: MappingOptions, settings: Settings) -> bool:
    """Return whether a file has drafts in JSON Lines under the names of their fields, which may have `extra`."""
    if settings.get("ignore_unknown") or mapping_of(settings) is not None:
        return False
    return (options.source_format or format_of_suffix(source) or "jsonl") == "jsonl"


async def create_records(path: Path, options: MappingOptions, settings: Settings, display: DisplayOptions) -> ExitCode:
    """Create the appointments of the records of a source, and print a result for each.

    The key of a record is printed, and not needed in CSV and JSON Lines.

    Args:
        path: The file; `-` is the standard input.
        options: Describe the source.
        settings: Describe the source, the server and the calendar.
        display: How the results are printed.

    Returns:
        The exit code of the command.

    Raises:
        ValueError: If an option or a setting is invalid; nothing was sent.
        SourceError: If the file cannot be read. The appointments of the records before have been created.
    """
    calendar = own_calendar(settings)

    async def create(item: SourceRecord | SourceProblem) -> Appointment:
        if isinstance(item, SourceProblem):
            raise ValueError(item.reason)
        if item.calendar != calendar:
            raise ValueError("the calendar must be that of --tenant-id, --ad-id and --domain-id, or not be named")
        return await appointments.create(item.appointment)

    codes, printer = set(), Printer(display, _RECORD_COLUMNS, done="created")
    async with (
        opened_source(path, options, settings, derives_key=True) as (source, _),
        service_of(settings) as appointments,
    ):
        calls = bulk(create, source.records(), concurrency=_CONCURRENCY, ordered=True, ends_on=AuthenticationError)
        with printer:
            async with aclosing(calls.outcomes()) as outcomes:
                async for outcome in outcomes:
                    codes.add(_exit_code(outcome))
                    line = outcome.input.line if isinstance(outcome.input, SourceProblem) else None
                    position = {"record": outcome.index + 1, "line": line, "key": outcome.input.key}
                    printer.add(position | _result(outcome))
    return combined_exit_code(codes)


def _decoded(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        raise ValueError("not JSON") from None


def _result(outcome: Outcome[Any, Appointment]) -> dict[str, Any]:
    result: dict[str, Any] = {"status": outcome.status.value}
    if outcome.result is not None:
        return result | outcome.result.to_dict()
    if isinstance(outcome.error, DecodingError) and outcome.error.appointment_id:
        result["appointment_id"] = outcome.error.appointment_id
    return result | {"error": _reason(outcome)}


def _exit_code(outcome: Outcome[Any, Any]) -> ExitCode:
    """Return the exit code that one input would have alone."""
    if outcome.status is Status.DONE:
        return ExitCode.DONE
    # A create that may have happened must not count as transient: a retry could create it twice.
    if outcome.error is None or outcome.status is Status.UNKNOWN:
        return ExitCode.DEAD_LETTERS
    return exit_code(outcome.error)


def _reason(outcome: Outcome[Any, Any]) -> str:
    if outcome.error is not None:
        return error_message(outcome.error)
    return "not started" if outcome.status is Status.NOT_STARTED else "cut off: it may have happened"
