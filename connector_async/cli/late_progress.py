"""The progress of a command with many calls.

A command that ends within a second shows none, and does not import rich for it.
"""

import time
from typing import TYPE_CHECKING, Any, Final

from connector_async.bulk_calls import Outcome

from .connect import is_quiet
from .options import DisplayOptions
from .output_formats import OutputFormat
from .settings import Settings

if TYPE_CHECKING:
    from .progress import SyncProgress

_PATIENCE: Final = 1.0  # seconds


class LateProgress:
    """A `ProgressListener` that shows nothing in the first second.

    Args:
        description: What the command does, such as `create`.
        settings: Say whether progress is shown at all.
        display: How the command prints its records.
        patience: The seconds without progress.
    """

    def __init__(
        self, description: str, settings: Settings, display: DisplayOptions, *, patience: float = _PATIENCE
    ) -> None:
        self._description = description
        self._is_quiet = is_quiet(settings)
        # A table is printed at the end, but a bar and rows that come one by one would disturb each other.
        self._may_draw = display.format is OutputFormat.TABLE
        self._patience = patience
        self._total: int | None = None
        self._started_at = 0.0
        self._early: list[Outcome[Any, Any]] = []
        self._shown: SyncProgress | None = None

    def begin(self, total: int | None) -> None:
        """Start with the expected number of outcomes, or `None` if it is unknown."""
        self._total = total
        self._started_at = time.monotonic()

    def advance(self, outcome: Outcome[Any, Any]) -> None:
        """Count an outcome."""
        if self._is_quiet:
            return
        if self._shown is not None:
            self._shown.advance(outcome)
            return
        self._early.append(outcome)
        if time.monotonic() - self._started_at >= self._patience:
            self._shown = self._new_progress()
            for early in self._early:
                self._shown.advance(early)
            self._early.clear()

    def end(self) -> None:
        """Remove the bar, or print the last line if there was one before."""
        if self._shown is not None:
            self._shown.end()

    def _new_progress(self) -> "SyncProgress":
        from .progress import SyncProgress, error_console  # noqa: PLC0415 - most commands end without it

        console = error_console(may_draw=self._may_draw)
        progress = SyncProgress(console, self._description, always_prints_end=False, started_at=self._started_at)
        progress.begin(self._total)
        return progress
