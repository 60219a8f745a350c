"""The accounts of a run: its record in the state, the requests it sends, and what became of every key."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import isfinite

from connector_async._clock import Clock
from connector_async.session import ConnectorSession, Traffic
from connector_async.sync.budget import Budget
from connector_async.sync.planning.operations import Operation
from connector_async.sync.planning.planner import Planner
from connector_async.sync.records import Calendar
from connector_async.sync.report import Fate, RunReport, TenantReport
from connector_async.sync.state.diff import TenantProgress
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.reader import StateReader


@asynccontextmanager
async def recorded_run(
    journal: Journal, report: RunReport, budget: Budget, clock: Clock, *, kind: str, mode: str, conditions: str = ""
) -> AsyncGenerator[None, None]:
    """Record the start and the end of a run in the state.

    If the block raises, the run has failed. Otherwise it is done, or the budget says why it ended early.

    Raises:
        StateError: If the state cannot be written, or belongs to another kind of run.
    """
    started_at = clock.monotonic()
    await journal.start_run(kind=kind, mode=mode, conditions=conditions)
    status = "failed"
    try:
        yield
        report.reason = budget.reason
        status = "ended" if budget.reason is None else budget.reason.value
    finally:
        report.elapsed = clock.monotonic() - started_at
        await journal.end_run(report, status)


class TrafficMeter:
    """Counts the requests that are sent for one tenant, from its first session on.

    A request is counted when an operation of the tenant ends after it: a moment after it was sent.

    Args:
        budget: The budget that the requests are taken from.
        report: The report that gets the sums, and their course over time.
        clock: The clock for the course over time.
    """

    def __init__(self, budget: Budget, report: TenantReport, clock: Clock) -> None:
        self._budget = budget
        self._report = report
        self._clock = clock
        self._started_at = 0.0
        self._session: ConnectorSession | None = None
        self._before = Traffic()

    def watch(self, session: ConnectorSession) -> None:
        """Count the requests of a session of the tenant. All sessions of a tenant share one count."""
        if self._session is None:
            self._session = session
            self._before = session.traffic
            self._started_at = self._clock.monotonic()
            limit, timeline = session.rate_limit, self._report.timeline
            timeline.started_at = self._clock.time()
            timeline.limit = (limit.limit, limit.per) if isfinite(limit.limit) else None

    @contextmanager
    def operation(self) -> Iterator[bool]:
        """Yield whether one more operation may start, as `Budget.operation` does, and count its requests."""
        with self._budget.operation() as may_start:
            try:
                yield may_start
            finally:
                self.update()

    def update(self) -> None:
        """Bring the report and the budget up to date."""
        if self._session is None:
            return
        now = self._session.traffic
        requests = now.requests - self._before.requests
        if sent := requests - self._report.requests:
            self._budget.spend(sent)
            self._report.timeline.add(self._clock.monotonic() - self._started_at, sent)
        self._report.requests = requests
        self._report.waited = now.waited - self._before.waited


class OutcomeCounter:
    """Counts what became of the keys of one tenant in one run.

    Args:
        tenant_id: The tenant.
        reader: Knows which creates are pending in the end.
        report: The report that gets the counts.
    """

    def __init__(self, tenant_id: str, reader: StateReader, report: TenantReport) -> None:
        self._tenant_id = tenant_id
        self._state_reader = reader
        self._report = report
        self._retryable: set[tuple[Calendar, str]] = set()
        self._given_up: set[tuple[Calendar, str]] = set()

    def add(self, operation: Operation, fate: Fate) -> None:
        """Count what became of an operation. What may still change is counted by `finish`."""
        key = operation.calendar, operation.key
        if fate is Fate.NOT_STARTED:
            return
        if fate is Fate.RETRYABLE:
            self._retryable.add(key)
        else:
            self._retryable.discard(key)
        if fate in {Fate.RETRYABLE, Fate.UNKNOWN} or key in self._given_up:
            return  # counted by `finish`, or in an earlier pass
        if fate in {Fate.CONFLICT, Fate.REFUSED}:
            self._given_up.add(key)
        self._report.counts[fate] += 1

    async def finish(
        self, planner: Planner, *, retries_only: bool, has_ended: bool, failing: int, refused: int
    ) -> None:
        """Count the keys that are left.

        Args:
            planner: Knows what differs.
            retries_only: Whether the run acts on the dead letters of another run alone.
            has_ended: Whether the work was ended early, so that some of what is left may not have been started.
            failing: How many calendars failed transiently.
            refused: How many calendars failed permanently. What is left of them was not started.
        """
        counts = self._report.counts
        progress = await planner.progress()
        left = progress.to_do
        retryable = min(left, len(self._retryable)) if has_ended or refused else left
        counts[Fate.RETRYABLE] += retryable
        counts[Fate.NOT_STARTED] += left - retryable
        counts[Fate.UNKNOWN] += await self._state_reader.count_pending_creates(self._tenant_id)
        count_unsent(self._report, progress, retries_only=retries_only)
        self._report.calendars_failed, self._report.calendars_refused = failing, refused


def count_unsent(report: TenantReport, progress: TenantProgress, *, retries_only: bool) -> None:
    """Count the keys of a tenant that are in sync, and those that a run skips.

    Args:
        report: The report of the tenant.
        progress: How far the keys are.
        retries_only: Whether the run acts on the dead letters of another run alone.
    """
    report.counts[Fate.NOT_STARTED if retries_only else Fate.SKIPPED] += progress.skipped
    report.records = progress.records
    report.in_sync = progress.in_sync
