"""What becomes of many inputs: the data of those that succeeded, a line for each that did not, and a status."""

import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final, TypeVar

from connector_async.appointments import AppointmentService
from connector_async.bulk_calls import Bulk, Outcome, Status, bulk
from connector_async.exceptions import AuthenticationError, DecodingError
from connector_async.models import Appointment

from .exit_codes import ExitCode, Tally, exit_code
from .line_reader import lines_of
from .messages import message_of, tell
from .options import Display
from .output import Printer, Record, record_of
from .parsing import draft_from_line

T = TypeVar("T")

_RESULTS: Final = ("line", "status", "appointment_id", "error")
_CONCURRENCY: Final = 16


async def print_outcomes(many: Bulk[str, T], printer: Printer, record: Callable[[str, T], Record]) -> ExitCode:
    """Print the record of each input that is done, and tell why another is not.

    Args:
        many: The calls.
        printer: Of the records.
        record: Makes one of an input and the result of its call.

    Returns:
        The status of the whole.
    """
    tally = Tally()
    async with aclosing(many.outcomes()) as outcomes:
        async for outcome in outcomes:
            tally.add(_failure(outcome))
            if outcome.status is Status.DONE:
                printer.add(record(outcome.input, outcome.result))  # type: ignore[arg-type]  # it is one when done
            else:
                tell(sys.stderr, f"{outcome.input}: {_reason(outcome)}")
    return tally.exit_code()


async def create_from(source: str, appointments: AppointmentService, display: Display) -> ExitCode:
    """Create the appointments that a file says, and print a result for each of its lines.

    Args:
        source: JSON Lines; `-` is the standard input.
        appointments: Creates them.
        display: How the results are printed.

    Raises:
        ValueError: The file cannot be read; what could was created.
    """

    async def create(numbered: tuple[int, bytes]) -> Appointment:
        return await appointments.create(draft_from_line(numbered[1]))

    tally, printer = Tally(), Printer(display, _RESULTS)
    many = bulk(create, lines_of(source), concurrency=_CONCURRENCY, ordered=True, ends_on=AuthenticationError)
    async with aclosing(many.outcomes()) as outcomes:
        try:
            async for outcome in outcomes:
                tally.add(_failure(outcome))
                printer.add(_result(outcome))
        finally:
            printer.end()
    return tally.exit_code()


def _result(outcome: Outcome[tuple[int, bytes], Appointment]) -> dict[str, Any]:
    result: dict[str, Any] = {"line": outcome.input[0], "status": outcome.status.value}
    if outcome.result is None:
        created_id = outcome.error.appointment_id if isinstance(outcome.error, DecodingError) else None
        return result | ({"appointment_id": created_id} if created_id else {}) | {"error": _reason(outcome)}
    return result | record_of(outcome.result)


def _failure(outcome: Outcome[Any, Any]) -> ExitCode | None:
    """Return the status after this one alone; `None`: it is done."""
    if outcome.status is Status.DONE:
        return None
    # What may have happened must not be taken for what may simply be repeated.
    if outcome.error is None or outcome.status is Status.UNKNOWN:
        return ExitCode.DEAD_LETTERS
    return exit_code(outcome.error)


def _reason(outcome: Outcome[Any, Any]) -> str:
    if outcome.error is not None:
        return message_of(outcome.error)
    return "not started" if outcome.status is Status.NOT_STARTED else "cut off: it may have happened"
