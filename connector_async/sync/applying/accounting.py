"""Counting what became of a tenant's keys, so that every record is accounted for."""

from connector_async.sync.planning.operations import Operation
from connector_async.sync.planning.planner import Planner
from connector_async.sync.records import Calendar
from connector_async.sync.report import Fate, TenantReport
from connector_async.sync.state.reader import StateReader

from .recovery import PendingCreateResolver


class OutcomeCounter:
    """Counts for one tenant in one run.

    Args:
        run_id: The run.
        tenant_id: The tenant.
        known: Knows which creates are open in the end.
        settlement: Is told of the creates whose outcome is known.
        report: Gets the counts.
    """

    def __init__(
        self, run_id: str, tenant_id: str, known: StateReader, settlement: PendingCreateResolver, report: TenantReport
    ) -> None:
        self._run_id = run_id
        self._tenant_id = tenant_id
        self._known = known
        self._settlement = settlement
        self._report = report
        self._temporary: set[tuple[Calendar, str]] = set()
        self._given_up: set[tuple[Calendar, str]] = set()

    def add(self, operation: Operation, fate: Fate) -> None:
        """Count what became of one operation; what may change yet is counted in the end."""
        place = operation.calendar, operation.key
        if fate is Fate.NOT_STARTED:
            return
        if fate is Fate.RETRYABLE:
            self._temporary.add(place)
        else:
            self._temporary.discard(place)
        if fate is not Fate.UNKNOWN:
            self._settlement.answered(*place)
        if fate in {Fate.RETRYABLE, Fate.UNKNOWN} or place in self._given_up:
            return  # it is counted in the end, or was in a pass before
        if fate in {Fate.CONFLICT, Fate.REFUSED}:
            self._given_up.add(place)
        self._report.counts[fate] += 1

    async def finish(self, planner: Planner, *, has_ended: bool, failing: int) -> None:
        """Count what is left.

        Args:
            planner: Knows what differs.
            has_ended: Whether the work was ended before its end, so that what is left may not have been begun.
            failing: How many calendars failed in a way that may pass.
        """
        counts = self._report.counts
        accounts = await planner.accounts(self._tenant_id, self._run_id)
        rest = accounts.to_be_tried
        temporary = min(rest, len(self._temporary)) if has_ended else rest
        counts[Fate.RETRYABLE] += temporary
        counts[Fate.NOT_STARTED] += rest - temporary
        counts[Fate.UNKNOWN] += await self._known.count_open(self._tenant_id)
        others = Fate.NOT_STARTED if planner.tries_again else Fate.SKIPPED
        counts[others] += accounts.others
        self._report.records = accounts.records
        self._report.in_sync = accounts.in_step
        self._report.calendars_failed = failing
