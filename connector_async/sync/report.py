"""What became of a run: every record accounted for, and what it cost. It makes no calls."""

import enum
from collections import Counter
from typing import Any

import attrs

from .budget import StopReason


class Fate(enum.Enum):
    """What became of one key."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    UNCHANGED = "unchanged"
    """Nothing was sent: both sides had the same, or what the server has was taken note of."""
    PULLED = "pulled"
    """The source takes over what the server has."""
    CONFLICT = "conflict"
    """Both sides had changed it, or in one direction the server alone, and nobody wins: a dead letter."""
    REFUSED = "refused"
    """The server refuses it as it is: a dead letter."""
    RETRYABLE = "retryable"
    """The server or the way to it failed; a later run tries again."""
    UNKNOWN = "unknown"
    """A create whose outcome is still open; a later run settles it."""
    SKIPPED = "skipped"
    """It was given up before, and the source has not changed it since: it was not tried."""
    NOT_STARTED = "not_started"
    """It was not begun: the run or its tenant had been stopped before, or it is not among what is to be tried again."""
    UNREADABLE = "unreadable"
    """The record could not be read: a dead letter."""


class Stopped(enum.Enum):
    """Why a tenant's work ended before its end."""

    CREDENTIALS = "credentials"
    """They were rejected."""
    GUARD = "guard"
    """More has gone from the server than may have."""


@attrs.define(kw_only=True)
class TenantReport:
    """What became of one tenant's share."""

    records: int = 0
    """How many records the source has that can be read."""
    in_sync: int = 0
    """How many of them are in step with the server in the end; what became of the others is among the counts."""
    counts: Counter[Fate] = attrs.field(factory=Counter)
    """How many keys came to what; those that are in step already are in none."""
    minimum: int = 0
    """How many requests it needed: one for each operation and for each page of each preview that the mode asks for."""
    requests: int = 0
    """How many requests were sent: tokens, retries, and what settles lost answers, too."""
    waited: float = 0.0
    """Seconds that its requests waited for their turns, added up."""
    elapsed: float = 0.0
    """Seconds from the first share of its work to the end of the last."""
    calendars_failed: int = 0
    """How many calendars could not be brought into step for what may pass."""
    stopped: Stopped | None = None
    """Why it ended before its end; `None`: it did not, or the run did."""


@attrs.define(kw_only=True)
class RunReport:
    """What became of a run."""

    run_id: str
    tenants: dict[str, TenantReport] = attrs.field(factory=dict)
    """By tenant."""
    unreadable: int = 0
    """How many records could not be read, those of no tenant included."""
    elapsed: float = 0.0
    """Seconds."""
    reason: StopReason | None = None
    """Why it ended before its work did; `None`: it did not."""

    @property
    def counts(self) -> Counter[Fate]:
        """Of all tenants together."""
        total: Counter[Fate] = Counter()
        for report in self.tenants.values():
            total += report.counts
        total[Fate.UNREADABLE] = self.unreadable
        return +total

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return sum(report.requests for report in self.tenants.values())

    @property
    def minimum(self) -> int:
        """How many requests were needed."""
        return sum(report.minimum for report in self.tenants.values())

    @property
    def waited(self) -> float:
        """Seconds that requests waited for their turns, added up."""
        return sum(report.waited for report in self.tenants.values())

    @property
    def dead_letters(self) -> int:
        """How many keys were given up, by this run or before."""
        counts = self.counts
        return counts[Fate.CONFLICT] + counts[Fate.REFUSED] + counts[Fate.UNREADABLE] + counts[Fate.SKIPPED]

    def stopped(self, reason: Stopped) -> list[str]:
        """Return the tenants that were stopped for that reason."""
        return [tenant_id for tenant_id, report in self.tenants.items() if report.stopped is reason]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return {
            "run_id": self.run_id,
            "elapsed": self.elapsed,
            "stopped": None if self.reason is None else self.reason.value,
            "requests": self.requests,
            "minimum": self.minimum,
            "waited": self.waited,
            "counts": {fate.value: number for fate, number in self.counts.items() if number},
            "tenants": {tenant_id: _as_json(report) for tenant_id, report in self.tenants.items()},
        }


def _as_json(report: TenantReport) -> dict[str, Any]:
    return attrs.asdict(report, filter=lambda field, _: field.name not in {"counts", "stopped"}) | {
        "counts": {fate.value: number for fate, number in report.counts.items() if number},
        "stopped": None if report.stopped is None else report.stopped.value,
    }
