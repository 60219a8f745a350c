"""Shows how far a bulk is: a bar on a terminal, a line now and then elsewhere. It makes no calls."""

import time
from collections.abc import Callable
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from connector_async.bulk_calls import Outcome, Status

_SECONDS_BETWEEN_LINES: Final = 2.0


class BulkProgress:
    """A `ProgressListener` that draws on a console.

    Args:
        console: Where to; a bar when it is a terminal, plain lines otherwise.
        description: What is done.
        pace: Requests per second that the rate limit allows at most, for the time that is left; 0: no time is told.
        between_lines: Seconds from one plain line to the next, at least.
        monotonic: Seconds.
    """

    def __init__(
        self,
        console: Console,
        description: str,
        *,
        pace: float,
        between_lines: float = _SECONDS_BETWEEN_LINES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._description = escape(description)
        self._pace = pace
        self._between_lines = between_lines
        self._monotonic = monotonic
        self._total: int | None = None
        self._taken = 0
        self._failed = 0
        self._not_started = 0
        self._begun_at = self._told_at = 0.0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def begin(self, total: int | None) -> None:
        """So many outcomes will come; `None`: nobody knows."""
        self._total, self._taken, self._failed, self._not_started = total, 0, 0, 0
        self._begun_at = self._told_at = self._monotonic()
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
        """One more has come."""
        self._taken += 1
        if self._total is not None:
            self._total = max(self._total, self._taken)  # it was an estimate
        self._failed += outcome.status in {Status.FAILED, Status.UNKNOWN}
        self._not_started += outcome.status is Status.NOT_STARTED
        if self._bar is not None:
            self._bar.update(self._task, advance=1, total=self._total, state=self._state())
        elif self._monotonic() - self._told_at >= self._between_lines:
            self._told_at = self._monotonic()
            self._print_line()

    def end(self) -> None:
        """No more will come."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        else:
            self._print_line()

    def _print_line(self) -> None:
        of_total = "" if self._total is None else f" of {self._total}"
        self._console.print(f"{self._description}: {self._taken}{of_total}, {self._state()}")

    def _state(self) -> str:
        seconds = self._monotonic() - self._begun_at
        rate = (self._taken - self._not_started) / seconds if seconds > 0 else 0.0
        failed = f"{self._failed} failed" + (f", {self._not_started} not started" if self._not_started else "")
        left = ""
        # The burst goes faster than the rest can.
        expected = min(rate, self._pace) or self._pace
        if self._total is not None and self._taken < self._total and expected > 0:
            left = f", {(self._total - self._taken) / expected:,.0f} s left"
        return f"{failed}, {rate:,.0f}/s{left}"
