"""`BulkReport`: counts the outcomes of a bulk, keeps those that are not done, and informs a `ProgressListener`."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from pathlib import Path
from typing import Any, Generic, Protocol, runtime_checkable

import attrs
from typing_extensions import TypeVar

from connector_async._checks import (
    check_callable,
    check_int,
    check_plain_callable,
    check_plain_methods,
    check_sequence,
    check_type,
)

from .outcome import Outcome, Status
from .outcome_file import TO_REPEAT, as_json, write_outcomes

# With defaults (PEP 696), so that `BulkReport()` needs no annotation: `collect` returns a report with the types of the
# outcomes.
InputT = TypeVar("InputT", default=Any)
ResultT = TypeVar("ResultT", default=Any)
OtherInputT = TypeVar("OtherInputT")
OtherResultT = TypeVar("OtherResultT")


@runtime_checkable
class ProgressListener(Protocol):
    """Receives each outcome as it is taken. An error of its methods ends the loop that takes the outcomes.

    Once `begin` has returned, `end` is called exactly once, whatever happens. If `begin` raises, `end` is not called:
    no outcome has been taken, and the listener has to clean up itself.
    """

    def begin(self, total: int | None) -> None:
        """Called before the first outcome is taken, with the number of outcomes, or `None` if it is not known."""
        ...

    def advance(self, outcome: Outcome[Any, Any]) -> None:
        """Called with each outcome."""
        ...

    def end(self) -> None:
        """Called after the last outcome, or when the loop that takes the outcomes is left."""
        ...


def check_progress(progress: ProgressListener | None, total: int | None) -> None:
    """Reject a listener or a total that cannot be used.

    Raises:
        ValueError: If `total` is negative.
        TypeError: If `progress` is a class, lacks a method, or has a method that is a coroutine function, or `total` is
            not an int.
    """
    check_type("progress", progress, ProgressListener, optional=True)
    if progress is not None:
        check_plain_methods("progress", progress, "begin", "advance", "end")
    if total is not None:
        check_int("total", total, minimum=0)


@attrs.define
class BulkReport(Generic[InputT, ResultT]):
    """The number of outcomes of each status, and every outcome that is not done.

    For a type checker, `BulkReport()` is a report of anything, and `await BulkReport().collect(outcomes)` is a report
    with the types of the outcomes.
    """

    counts: Counter[Status] = attrs.field(init=False, factory=Counter)
    """The number of outcomes of each status."""
    unfinished: list[Outcome[InputT, ResultT]] = attrs.field(init=False, factory=list, repr=False)
    """The outcomes that are not done, in the order in which they were taken."""

    async def collect(
        self: "BulkReport[Any, Any]",
        outcomes: AsyncIterable[Outcome[OtherInputT, OtherResultT]],
        *,
        progress: ProgressListener | None = None,
        total: int | None = None,
    ) -> "BulkReport[OtherInputT, OtherResultT]":
        """Take all outcomes, add them to this report, and return it.

        If it is cancelled, the report has what was taken so far. Call it again to collect the rest.

        Args:
            outcomes: A `Bulk`, or any other async iterable of outcomes.
            progress: Is informed of each outcome.
            total: The number of outcomes, for the listener. `None`: unknown.

        Raises:
            ValueError: If `total` is negative. Nothing was taken.
            TypeError: If an argument has another type. Nothing was taken.
            Exception: If the iterable of the inputs raised it. All outcomes were taken before.
        """
        check_progress(progress, total)
        iterator = aiter(outcomes)
        if progress is not None:
            progress.begin(total)
        try:
            async for outcome in iterator:
                self.counts[outcome.status] += 1
                if outcome.status is not Status.DONE:
                    self.unfinished.append(outcome)
                if progress is not None:
                    progress.advance(outcome)
        finally:
            try:
                if isinstance(iterator, AsyncGenerator):
                    await iterator.aclose()  # otherwise a loop that was left would end only when garbage is collected
            finally:
                if progress is not None:
                    progress.end()
        return self

    def inputs(self, *statuses: Status) -> list[InputT]:
        """Return the inputs of the outcomes with one of these statuses, to be passed to another bulk.

        The default is `FAILED` and `NOT_STARTED`. An `UNKNOWN` call might happen twice if it is repeated.

        Raises:
            TypeError: If an argument is not a `Status`.
        """
        check_sequence("statuses", statuses, Status)
        return [outcome.input for outcome in self.unfinished if outcome.status in (statuses or TO_REPEAT)]

    def write_jsonl(self, path: Path | str, encode: Callable[[InputT], object] = as_json) -> None:
        """Write the outcomes that are not done as JSON Lines, each with its input. The file may hold personal data.

        A line is an object of `index`, `status`, `error` (the name of its class), `http_status`, `request_id`,
        `appointment_id` (of a create that has happened although its response could not be decoded), `attempts`,
        `elapsed` (seconds) and `input`. If JSON cannot express the input, `input` is `null` and the line has a
        `problem`. The file can be read only by its owner. It is replaced atomically.

        Args:
            path: The file to replace. If it is a symbolic link, the file that the link points to is replaced.
            encode: Turns an input into a JSON value. By default a model becomes an object of its set fields.

        Raises:
            OSError: If the file cannot be written, or is a folder or a device.
            TypeError: If `path` or `encode` has another type, or `encode` is a coroutine function.
            Exception: If `encode` raises it.
        """
        check_callable("encode", encode)
        check_plain_callable("encode", encode)
        write_outcomes(path, self.unfinished, encode)
