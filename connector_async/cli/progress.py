"""Shows the progress of a bulk sync: a bar on a terminal, and a line every few seconds elsewhere."""

import time
from collections.abc import Callable
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from connector_async.bulk_calls import Outcome, Status
from connector_async.sync.report import Fate

_SECONDS_BETWEEN_LINES: Final = 10.0  # a run may take hours, and a log keeps its lines
_FAILED: Final = {Status.FAILED, Status.UNKNOWN, Fate.CONFLICT, Fate.REFUSED, Fate.RETRYABLE, Fate.UNKNOWN}
_NOT_STARTED: Final = {Status.NOT_STARTED, Fate.NOT_STARTED}


class SyncProgress:
    """A `ProgressListener` that draws on a console.

    An operation that returned a `Fate` such as `CONFLICT` counts as failed, too.

    Args:
        console: Shows a bar if it is a terminal, and plain lines otherwise.
        description: What the numbers are about.
        seconds_between_lines: The least time from one plain line to the next.
        monotonic: Returns the time in seconds.
    """

    def __init__(
        self,
        console: Console,
        description: str = "sync",
        *,
        seconds_between_lines: float = _SECONDS_BETWEEN_LINES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._description = escape(description)
        self._seconds_between_lines = seconds_between_lines
        self._monotonic = monotonic
        self._total: int | None = None
        self._taken = 0
        self._failed = 0
        self._not_started = 0
        self._started_at = self._printed_at = 0.0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def begin(self, total: int | None) -> None:
        """Start with the expected number of outcomes, or `None` if it is unknown."""
        self._total, self._taken, self._failed, self._not_started = total, 0, 0, 0
        self._started_at = self._printed_at = self._monotonic()
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[state]}"),
            )
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task(self._description, total=total, state="")
            self._bar.start()

    def advance(self, outcome: Outcome[Any, Any]) -> None:
        """Count an outcome."""
        self._taken += 1
        if self._total is not None:
            self._total = max(self._total, self._taken)  # the total is an estimate
        result = outcome.result if isinstance(outcome.result, Fate) else outcome.status
        self._failed += result in _FAILED
        self._not_started += result in _NOT_STARTED
        if self._bar is not None:
            self._bar.update(self._task, advance=1, total=self._total, state=self._state())
        elif self._monotonic() - self._printed_at >= self._seconds_between_lines:
            self._printed_at = self._monotonic()
            self._print_line()

    def end(self) -> None:
        """Remove the bar, or print the last line."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        else:
            self._print_line()

    def _print_line(self) -> None:
        of_total = "" if self._total is None else f" of {self._total}"
        self._console.print(f"{self._description}: {self._taken}{of_total}, {self._state()}")

    def _state(self) -> str:
        seconds = self._monotonic() - self._started_at
        rate = (self._taken - self._not_started) / seconds if seconds > 0 else 0.0
        state = f"{self._failed} failed"
        if self._not_started:
            state += f", {self._not_started} not started"
        state += f", {rate:,.0f}/s"
        if self._total is not None and self._taken < self._total and rate > 0:
            state += f", {(self._total - self._taken) / rate:,.0f} s left"
        return state
