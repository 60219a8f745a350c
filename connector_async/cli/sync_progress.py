"""Shows how far a bulk sync is, on the standard error stream or another console."""

import math
from typing import Any, Final

import attrs
from rich.console import Console

from connector_async.bulk_calls import Outcome, Status
from connector_async.sync.report import Fate

from .progress import BulkProgress

_STATUSES: Final = {
    Fate.CONFLICT: Status.FAILED,
    Fate.REFUSED: Status.FAILED,
    Fate.RETRYABLE: Status.FAILED,
    Fate.UNKNOWN: Status.UNKNOWN,
    Fate.NOT_STARTED: Status.NOT_STARTED,
}
_BETWEEN_LINES: Final = 10.0  # a run may take hours, and its lines are kept in a log


class SyncProgress(BulkProgress):
    """A `ProgressListener` that draws, and knows that an operation which ended may have failed all the same."""

    def __init__(self, console: Console, description: str = "sync", *, between_lines: float = _BETWEEN_LINES) -> None:
        super().__init__(console, description, pace=math.inf, between_lines=between_lines)

    def advance(self, outcome: Outcome[Any, Any]) -> None:
        """One more has come."""
        status = _STATUSES.get(outcome.result) if isinstance(outcome.result, Fate) else None
        super().advance(outcome if status is None else attrs.evolve(outcome, status=status))
