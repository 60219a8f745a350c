"""`BulkReport`: how a bulk went, and what is left of it. It makes no calls."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

import attrs
import orjson

from connector_async.models import UNSET

from .outcome import Outcome, Status
from .progress import ProgressListener

InputT = TypeVar("InputT")
ResultT = TypeVar("ResultT")

_TO_REPEAT: Final = (Status.FAILED, Status.NOT_STARTED)


def _as_json(value: object) -> object:
    if not attrs.has(type(value)):
        return value
    fields = attrs.asdict(value, recurse=False)  # type: ignore[arg-type]
    set_fields = {name: field for name, field in fields.items() if field is not UNSET}
    return {name: dict(field) if isinstance(field, Mapping) else field for name, field in set_fields.items()}


@attrs.define
class BulkReport(Generic[InputT, ResultT]):
    """How many outcomes of each kind there were, and every outcome that is not done."""

    counts: Counter[Status] = attrs.field(init=False, factory=Counter)
    """How many outcomes of each kind were taken."""
    unfinished: list[Outcome[InputT, ResultT]] = attrs.field(init=False, factory=list, repr=False)
    """The outcomes that are not done, as they came."""

    async def collect(
        self,
        outcomes: AsyncIterable[Outcome[InputT, ResultT]],
        *,
        progress: ProgressListener | None = None,
        total: int | None = None,
    ) -> Self:
        """Take all outcomes and add them up; return this report.

        When it is cancelled, the report holds what was taken, and may collect what is left.

        Args:
            outcomes: A `Bulk`, or any outcomes.
            progress: Is told of each.
            total: How many there will be, for the listener; `None`: nobody knows.

        Raises:
            Exception: What the iterable of the inputs raised, once all its outcomes were taken.
        """
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

        Without any, those that failed or were not started: to repeat the unknown ones may do twice what happened.
        """
        return [outcome.input for outcome in self.unfinished if outcome.status in (statuses or _TO_REPEAT)]

    def write_jsonl(self, path: Path | str, encode: Callable[[InputT], object] = _as_json) -> None:
        """Write what is not done as JSON Lines, each with its input: it may hold personal data.

        A line is an object of `index`, `status`, `error` (the name of its class), `http_status`, `request_id`,
        `attempts`, `elapsed` (seconds) and `input`.

        Args:
            path: The file, which is replaced.
            encode: Turns an input into what JSON can say; by default a model becomes an object of its set fields.

        Raises:
            TypeError: JSON cannot say what `encode` returns; the file is as it was.
            OSError: The file cannot be written.
        """
        lines = [orjson.dumps(_line(outcome, encode)) + b"\n" for outcome in self.unfinished]
        Path(path).write_bytes(b"".join(lines))


def read_inputs(path: Path | str, *statuses: Status) -> Iterator[Any]:
    """Yield the inputs of a file that `BulkReport.write_jsonl` wrote, as JSON has them; see `BulkReport.inputs`.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is not one of that file; the message tells which.
    """
    wanted = statuses or _TO_REPEAT
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                parsed = orjson.loads(line)
                status, value = Status(parsed["status"]), parsed["input"]
            except (ValueError, TypeError, KeyError):
                raise ValueError(f"line {number} of {path} is not an outcome") from None
            if status in wanted:
                yield value


def _line(outcome: Outcome[InputT, Any], encode: Callable[[InputT], object]) -> dict[str, object]:
    error = outcome.error
    return {
        "index": outcome.index,
        "status": outcome.status.value,
        "error": None if error is None else type(error).__name__,
        "http_status": getattr(error, "status", None),
        "request_id": getattr(error, "request_id", None),
        "attempts": outcome.attempts,
        "elapsed": outcome.elapsed,
        "input": encode(outcome.input),
    }
