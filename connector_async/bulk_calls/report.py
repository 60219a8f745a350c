"""`BulkReport`: how a bulk went, and what is left of it. It makes no calls."""

import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from pathlib import Path
from typing import Any, Generic

import attrs
from typing_extensions import TypeVar

from connector_async._checks import check_plain_callable

from .outcome import Outcome, Status
from .outcome_file import TO_REPEAT, as_json, check_statuses, write_outcomes
from .progress import ProgressListener, check_progress

# With defaults (PEP 696), so that `BulkReport()` needs no annotation: `collect` says of what it is.
InputT = TypeVar("InputT", default=Any)
ResultT = TypeVar("ResultT", default=Any)
OtherInputT = TypeVar("OtherInputT")
OtherResultT = TypeVar("OtherResultT")


@attrs.define
class BulkReport(Generic[InputT, ResultT]):
    """How many outcomes of each kind there were, and every outcome that is not done.

    To a type checker `await BulkReport().collect(outcomes)` is a report of what the outcomes are of, and `BulkReport()`
    one of anything.
    """

    counts: Counter[Status] = attrs.field(init=False, factory=Counter)
    """How many outcomes of each kind were taken."""
    unfinished: list[Outcome[InputT, ResultT]] = attrs.field(init=False, factory=list, repr=False)
    """The outcomes that are not done, as they came."""

    async def collect(
        self: "BulkReport[Any, Any]",
        outcomes: AsyncIterable[Outcome[OtherInputT, OtherResultT]],
        *,
        progress: ProgressListener | None = None,
        total: int | None = None,
    ) -> "BulkReport[OtherInputT, OtherResultT]":
        """Take all outcomes and add them up; return this report.

        When it is cancelled, the report holds what was taken, and may collect what is left.

        Args:
            outcomes: A `Bulk`, or any outcomes.
            progress: Is told of each.
            total: How many there will be, for the listener; `None`: nobody knows.

        Raises:
            ValueError: `total` is negative; nothing was taken.
            TypeError: An argument is of another type; nothing was taken.
            Exception: What the iterable of the inputs raised, once all its outcomes were taken.
        """
        if not isinstance(outcomes, AsyncIterable):
            raise TypeError(f"outcomes must be an async iterable, such as a Bulk, not {type(outcomes).__name__}")
        check_progress(progress, total)
        walk = aiter(outcomes)
        if progress is not None:
            progress.begin(total)
        try:
            async for outcome in walk:
                self.counts[outcome.status] += 1
                if outcome.status is not Status.DONE:
                    self.unfinished.append(outcome)
                if progress is not None:
                    progress.advance(outcome)
        finally:
            try:
                if isinstance(walk, AsyncGenerator):
                    await walk.aclose()  # a loop that is left is ended at once
            finally:
                if progress is not None:
                    progress.end()
        return self

    def inputs(self, *statuses: Status) -> list[InputT]:
        """Return the inputs whose outcomes have one of these statuses, to be fed to another bulk.

        Without any, those that failed or were not started: to repeat an unknown one might do it twice.

        Raises:
            TypeError: What is given is no status.
        """
        check_statuses(statuses)
        return [outcome.input for outcome in self.unfinished if outcome.status in (statuses or TO_REPEAT)]

    def write_jsonl(self, path: Path | str, encode: Callable[[InputT], object] = as_json) -> None:
        """Write what is not done as JSON Lines, each with its input: it may hold personal data.

        A line is an object of `index`, `status`, `error` (the name of its class), `http_status`, `request_id`,
        `appointment_id` (of a create that has happened although its response could not be decoded), `attempts`,
        `elapsed` (seconds) and `input`. Where JSON cannot say the input that is `null`, and `problem` says
        so. The file can be read by its owner only; it is replaced as a whole, or left as it was.

        Args:
            path: The file, which is replaced; where it is a symbolic link, what that points to.
            encode: Turns an input into what JSON can say; by default a model becomes an object of its set fields.

        Raises:
            OSError: The file cannot be written, or is none, such as a folder or a device.
            TypeError: `path` or `encode` is of another type, or `encode` a coroutine function.
            Exception: What `encode` raises.
        """
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path must be a Path or a str, not {type(path).__name__}")
        if not callable(encode):
            raise TypeError(f"encode must be callable, not {type(encode).__name__}")
        check_plain_callable("encode", encode)
        write_outcomes(path, self.unfinished, encode)
