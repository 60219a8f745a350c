"""Commands with many inputs: prints the result or the failure of each input, and finds the exit code."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, TypeVar

from connector_async._clock import Clock
from connector_async.bulk_calls import Bulk, Outcome, Status, bulk
from connector_async.exceptions import AuthenticationError, DecodingError
from connector_async.models import Appointment
from connector_async.session import before_each_write
from connector_async.sync.budget import Budget
from connector_async.sync.exceptions import SourceError

from .connect import service_of
from .exit_codes import ExitCode, combined_exit_code, exit_code
from .late_progress import LateProgress
from .messages import error_message, print_message
from .options import DisplayOptions
from .output import Printer
from .output_formats import Record
from .resume_file import Draft, ResumeFile
from .settings import Settings
from .signals import stoppable

T = TypeVar("T")
InputT = TypeVar("InputT")

_RESULT_COLUMNS: Final = ("record", "line", "key", "status", "appointment_id", "error")
_CONCURRENCY: Final = 16
_STOP_TIMEOUT: Final = 5.0
"""Seconds from a signal until the calls in flight are cancelled."""
_MOST_REASONS: Final = 5


async def print_outcomes(
    calls: Bulk[str, T], printer: Printer, record: Callable[[str, T], Record], progress: LateProgress, total: int
) -> ExitCode:
    """Print the record of each successful call, and a message for each failed one.

    Args:
        calls: The calls, by the id of the appointment.
        printer: Prints the records.
        record: Returns the record for an id and the result of its call.
        progress: Shows the progress.
        total: The number of calls.

    Returns:
        The exit code of the command.
    """
    codes, was_ended = set(), False
    async with aclosing(_watched(calls, progress, total)) as outcomes:
        async for outcome in outcomes:
            codes.add(_exit_code(outcome))
            was_ended |= isinstance(outcome.error, AuthenticationError)
            if outcome.status is Status.DONE:
                printer.add(record(outcome.input, outcome.result))  # type: ignore[arg-type]  # a T when it is done
            else:
                print_message(f"{outcome.input}: {_reason(outcome)}")
    return combined_exit_code(codes, was_ended=was_ended)


async def _watched(
    calls: Bulk[InputT, T], progress: LateProgress, total: int | None
) -> AsyncGenerator[Outcome[InputT, T], None]:
    """Yield the outcomes of calls, and show the progress."""
    progress.begin(total)
    try:
        async with aclosing(calls.outcomes()) as outcomes:
            async for outcome in outcomes:
                progress.advance(outcome)
                yield outcome
    finally:
        progress.end()


async def create_drafts(
    drafts: AsyncIterable[Draft],
    settings: Settings,
    display: DisplayOptions,
    *,
    resume: Path | None,
    dry_run: bool,
    total: int | None = None,
) -> ExitCode:
    """Create the appointments of drafts, and print a result for each.

    The first SIGINT or SIGTERM lets the calls in flight end, for some seconds. A second one cancels them.

    Args:
        drafts: The drafts.
        settings: Describe the server and the calendar.
        display: How the results are printed.
        resume: A file that remembers what was done; `None`: there is none.
        dry_run: Whether nothing is sent.
        total: The number of drafts; `None`: it is not known.

    Returns:
        The exit code of the command.

    Raises:
        ValueError: If a setting is invalid, or a file cannot be read, and nothing was sent.
        SourceError: If a file cannot be read further. The drafts before have a result.
    """
    if dry_run:
        return await _check_drafts(drafts, display)
    budget = Budget(Clock())
    creation = _create_drafts(drafts, settings, display, resume, budget, total)
    code, signal_code = await stoppable(creation, budget, stop_timeout=_STOP_TIMEOUT)
    if signal_code is None:
        assert code is not None  # noqa: S101 - only a signal cancels it
        return code
    print_message("interrupted")
    return signal_code


async def _create_drafts(
    drafts: AsyncIterable[Draft],
    settings: Settings,
    display: DisplayOptions,
    resume: Path | None,
    budget: Budget,
    total: int | None,
) -> ExitCode:
    codes, was_ended = set(), False
    reasons, printer = Counter[str](), Printer(display, _RESULT_COLUMNS, done="created")
    progress = LateProgress("create", settings, display)
    with ResumeFile.opened(resume) as done, printer:
        async with service_of(settings) as appointments:

            async def create(draft: Draft) -> Appointment:
                if draft.appointment is None:
                    raise ValueError(draft.problem)

                async def remember() -> None:
                    done.start(draft)

                with before_each_write(remember):  # not before: it is not sent while it waits for the rate limit
                    appointment = await appointments.create(draft.appointment)
                done.created(draft, appointment)
                return appointment

            left = _until_stopped(done.not_done(drafts), budget)
            calls = bulk(create, left, concurrency=_CONCURRENCY, ordered=True, ends_on=AuthenticationError)
            left_out = 0 if total is None else done.left_out_count
            try:
                async with aclosing(_watched(calls, progress, None if total is None else total - left_out)) as outcomes:
                    async for outcome in outcomes:
                        done.not_created(outcome)
                        codes.add(_exit_code(outcome))
                        was_ended |= isinstance(outcome.error, AuthenticationError)
                        if outcome.status is not Status.DONE:
                            reasons[_reason(outcome)] += 1
                        printer.add(outcome.input.position | _result(outcome))
            except ValueError as error:  # of the drafts
                if codes <= {ExitCode.USAGE}:
                    raise
                failure = f"{error_message(error)}; the inputs before it have a result"
                raise SourceError(failure) from None  # not a usage error, with which nothing was sent
    _print_reasons(reasons)
    done.print_left_out()
    if budget.reason is not None:
        done.print_how_to_resume()
    if done.unknown_before:
        codes.add(ExitCode.DEAD_LETTERS)
    return combined_exit_code(codes, was_ended=was_ended)


async def _until_stopped(drafts: AsyncGenerator[Draft, None], budget: Budget) -> AsyncGenerator[Draft, None]:
    """Yield drafts until the budget is stopped, also while the next one is awaited."""
    stopped = asyncio.ensure_future(budget.stopped())
    try:
        async with aclosing(drafts):
            while budget.reason is None:
                following = asyncio.ensure_future(anext(drafts, None))
                try:
                    await asyncio.wait({following, stopped}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not following.done():
                        following.cancel()
                        await asyncio.wait({following})
                if following.cancelled() or (draft := following.result()) is None:
                    return
                yield draft
    finally:
        stopped.cancel()


def _print_reasons(reasons: Counter[str]) -> None:
    """Print the first distinct reasons of failures, with their counts."""
    for reason, count in list(reasons.items())[:_MOST_REASONS]:
        print_message(f"{count} failed: {reason}")
    if len(reasons) > _MOST_REASONS:
        print_message(f"{len(reasons) - _MOST_REASONS} more reasons; the records have them all")


async def _check_drafts(drafts: AsyncIterable[Draft], display: DisplayOptions) -> ExitCode:
    """Print what would be sent, and what is not valid."""
    codes = {ExitCode.DONE}
    with Printer(display, _RESULT_COLUMNS) as printer:
        async for draft in drafts:
            if draft.appointment is None:
                codes.add(ExitCode.USAGE)
                printer.add(draft.position | {"status": "failed", "error": draft.problem})
            else:
                printer.add(draft.position | {"status": "valid"} | draft.appointment.to_dict())
    return combined_exit_code(codes)


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
