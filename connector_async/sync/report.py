"""The report of a run: what became of every record, and what that cost. It makes no calls."""

import enum
from collections import Counter
from typing import Any, Final, Self

import attrs

from .budget import StopReason
from .request_timeline import RequestTimeline
from .scope import Scope

MOST_REASONS: Final = 10
"""How many distinct reasons the report of a tenant has."""


class Fate(enum.Enum):
    """What became of one key."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    UNCHANGED = "unchanged"
    """Nothing was sent: both sides had the same, or the state was brought up to date with the server."""
    PULLED = "pulled"
    """The source gets what the server has."""
    CONFLICT = "conflict"
    """Both sides had changed it, or in one direction the server alone, and the policy lets neither win. It is a dead
    letter."""
    REFUSED = "refused"
    """The server refused it permanently, or no record can hold what the server has: a dead letter."""
    RETRYABLE = "retryable"
    """The server or the network failed. A later run retries it."""
    UNKNOWN = "unknown"
    """A pending create: whether it happened is not known. A later run finds out."""
    SKIPPED = "skipped"
    """It was given up before, and the source has not changed it since. Nothing was sent."""
    NOT_STARTED = "not_started"
    """It was not sent: the run or its tenant had been stopped before, or it is not among what this run retries."""
    UNREADABLE = "unreadable"
    """The record could not be read: a dead letter."""

    @property
    def stored_name(self) -> str:
        """The name in the state, which older versions read."""
        return _STORED_NAMES.get(self, self.value)

    @classmethod
    def from_stored(cls, name: str) -> Self:
        """Return the fate that has this name in the state.

        Raises:
            ValueError: If no fate has it.
        """
        return cls(_VALUES_OF_STORED_NAMES.get(name, name))


_STORED_NAMES: Final = {Fate.UNCHANGED: "agreed", Fate.RETRYABLE: "temporary", Fate.SKIPPED: "given_up"}
_VALUES_OF_STORED_NAMES: Final = {name: fate.value for fate, name in _STORED_NAMES.items()}


class Stopped(enum.Enum):
    """Why the work for one tenant was stopped."""

    CREDENTIALS = "credentials"
    """The credentials were rejected."""
    GUARD = "guard"
    """More is missing on the server than the limit allows."""
    ERROR = "error"
    """An error ended it that no other process could survive either. The failures of the state have the reason."""


@attrs.frozen(kw_only=True)
class Reason:
    """Why some keys or calendars of a tenant are not in sync."""

    error: str
    """The class name of the error, such as `ForbiddenError`."""
    status: int | None
    """The HTTP status of the response, if there was one."""
    reason: str
    """The message of the error, with the server's own explanation."""
    count: int
    """How many keys and calendars it concerns."""


@attrs.define(kw_only=True)
class TenantReport:
    """What became of the records of one tenant."""

    records: int = 0
    """How many readable records the source has."""
    in_sync: int = 0
    """How many of them are in sync with the server in the end. The counts say what became of the others."""
    counts: Counter[Fate] = attrs.field(factory=Counter)
    """How many keys had each fate. Keys that were in sync before are not counted."""
    minimum: int = 0
    """How many requests were needed: one for each operation, and for each page of the previews that the mode asks
    for."""
    requests: int = 0
    """How many requests were sent, those for tokens, retries and pending creates included."""
    waited: float = 0.0
    """The seconds during which at least one request of the tenant waited for a rate-limit slot."""
    elapsed: float = 0.0
    """The seconds from the start of the first slice of work to the end of the last."""
    calendars_failed: int = 0
    """How many calendars could not be synced because of a transient failure."""
    calendars_refused: int = 0
    """How many calendars could not be synced because of a permanent failure, such as 403 to a preview or to a create.
    The next run tries them again."""
    reasons: list[Reason] = attrs.field(factory=list)
    """The most frequent reasons for what failed or was given up in this run, ten at most."""
    stopped: Stopped | None = None
    """Why the tenant's work was stopped; `None` if it was not, or only with the run."""
    timeline: RequestTimeline = attrs.field(factory=RequestTimeline)
    """When the requests were sent. It is in the state and in the page of the run, not in the JSON of the report."""


@attrs.define(kw_only=True)
class RunReport:
    """What became of a run."""

    run_id: str
    tenants: dict[str, TenantReport] = attrs.field(factory=dict)
    """The reports by tenant."""
    unreadable: int = 0
    """How many records could not be read, including those whose tenant is not known."""
    problems: list[str] = attrs.field(factory=list)
    """The first twenty of these records: source, line and reason."""
    expanded: Scope | None = None
    """The range of time within which recurring events of the source were expanded; `None`: they were not."""
    elapsed: float = 0.0
    """The duration of the run in seconds."""
    reason: StopReason | None = None
    """Why the run ended before its work was done; `None` if it was done."""

    @property
    def counts(self) -> Counter[Fate]:
        """The counts of all tenants together."""
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
        """The longest time that one tenant waited for rate-limit slots, in seconds: tenants wait at the same time."""
        return max((report.waited for report in self.tenants.values()), default=0.0)

    @property
    def dead_letters(self) -> int:
        """How many keys were given up, by this run or before."""
        counts = self.counts
        return counts[Fate.CONFLICT] + counts[Fate.REFUSED] + counts[Fate.UNREADABLE] + counts[Fate.SKIPPED]

    def stopped(self, reason: Stopped) -> list[str]:
        """Return the tenants that were stopped for a reason."""
        return [tenant_id for tenant_id, report in self.tenants.items() if report.stopped is reason]

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "run_id": self.run_id,
            "elapsed": self.elapsed,
            "expanded": None
            if self.expanded is None
            else dict(zip(("start", "end"), self.expanded.bounds(), strict=True)),
            "stopped": None if self.reason is None else self.reason.value,
            "requests": self.requests,
            "minimum": self.minimum,
            "waited": self.waited,
            "counts": {fate.value: number for fate, number in self.counts.items() if number},
            "problems": self.problems,
            "tenants": {tenant_id: _as_json(report) for tenant_id, report in self.tenants.items()},
        }


def _as_json(report: TenantReport) -> dict[str, Any]:
    return attrs.asdict(report, filter=lambda field, _: field.name not in {"counts", "stopped", "timeline"}) | {
        "counts": {fate.value: number for fate, number in report.counts.items() if number},
        "stopped": None if report.stopped is None else report.stopped.value,
    }
