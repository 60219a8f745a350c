"""Shows the progress of a command: a bar on a terminal, and a line every few seconds elsewhere."""

import sys
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
        always_prints_end: Whether the last plain line is printed also if there was none before.
        started_at: When the first outcome was awaited, by `monotonic`; `None`: at `begin`.
        monotonic: Returns the time in seconds.
    """

    def __init__(
        self,
        console: Console,
        description: str = "sync",
        *,
        seconds_between_lines: float = _SECONDS_BETWEEN_LINES,
        always_prints_end: bool = True,
        started_at: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._description = escape(description)
        self._seconds_between_lines = seconds_between_lines
        self._prints_end = always_prints_end
        self._monotonic = monotonic
        self._total: int | None = None
        self._taken = 0
        self._failed = 0
        self._not_started = 0
        self._begun_at = started_at
        self._started_at = self._printed_at = 0.0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def begin(self, total: int | None) -> None:
        """Start with the expected number of outcomes, or `None` if it is unknown."""
        self._total, self._taken, self._failed, self._not_started = total, 0, 0, 0
        self._printed_at = self._monotonic()
        self._started_at = self._printed_at if self._begun_at is None else self._begun_at
        if self._console.is_terminal:
            count = TextColumn("{task.completed}") if total is None else MofNCompleteColumn()
            columns = (TextColumn("{task.description}"), BarColumn(), count, TextColumn("{task.fields[state]}"))
            # The records go to the standard output as bytes, which rich's replacement for it does not take.
            self._bar = Progress(*columns, console=self._console, transient=not self._prints_end, redirect_stdout=False)
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
            self._prints_end = True
            self._print_line()

    def end(self) -> None:
        """Remove the bar, or print the last line."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._prints_end:
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


def error_console(*, may_draw: bool = True, quiet: bool = False) -> Console:
    """Return the console of the standard error stream.

    Args:
        may_draw: Whether a bar may be drawn on a terminal. It never is on one that the records are printed to as well,
            unless they are printed at the end.
        quiet: Whether nothing is printed.
    """
    draws = not quiet and (may_draw or not sys.stdout.isatty())
    return Console(stderr=True, quiet=quiet, force_terminal=None if draws else False)
