"""The work of one tenant, a share at a time: its calendars one after the other, in each what differs."""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import attrs

from connector_async._clock import Clock
from connector_async.appointments import AppointmentService
from connector_async.bulk_calls import ProgressListener, bulk
from connector_async.exceptions import AuthenticationError, ConnectorError, SyncError
from connector_async.rate_limit import bulk_priority
from connector_async.sync.budget import Budget
from connector_async.sync.exceptions import GuardError
from connector_async.sync.planning.operations import Kind, Operation
from connector_async.sync.planning.options import Services
from connector_async.sync.planning.planner import Planner
from connector_async.sync.records import ABSENT, Calendar, why_unsayable
from connector_async.sync.report import Fate, Stopped, TenantReport
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.reader import StateReader

from .accounting import OutcomeCounter
from .executor import OperationExecutor, agreed, seen_of
from .recovery import PendingCreateResolver
from .scheduler import Job
from .writeback import SourceWriteback

_ROUNDS: Final = 5  # of creates that are lost again and again
_SENDING: Final = (Kind.CREATE, Kind.UPDATE, Kind.DELETE, Kind.CONFLICT)


@attrs.frozen(kw_only=True)
class Tools:
    """What the work of every tenant of a run shares."""

    services: Services
    known: StateReader
    ledger: Journal
    push: OperationExecutor
    settlement: PendingCreateResolver
    take_over: SourceWriteback
    budget: Budget
    clock: Clock
    progress: ProgressListener | None = None
    concurrency: int = 4
    """How many operations of a tenant are under way at a time."""
    passes: int = 3
    """How often a calendar is gone through, as long as something in it fails that may pass."""
    pause: float = 5.0
    """Seconds between two passes."""


@attrs.frozen
class _Lost:
    """A calendar that has creates whose answers were lost."""

    due: float
    """When they can be settled, by the monotonic clock."""
    calendar: Calendar
    rounds: int
    """How often they were sent."""
    is_planned: bool
    """Whether all else in the calendar has been done."""


class TenantWorker:
    """Works for one tenant.

    Args:
        tenant_id: The tenant.
        planner: Says what is to be done.
        tools: What all tenants share.
        report: Is told what became of it.
    """

    def __init__(self, tenant_id: str, planner: Planner, tools: Tools, report: TenantReport) -> None:
        self._tenant_id = tenant_id
        self._planner = planner
        self._tools = tools
        self._report = report
        self._quantum = 1
        self._begun_at: float | None = None
        self._failing: dict[Calendar, None] = {}
        self._lost: deque[_Lost] = deque()
        self._tally = OutcomeCounter(tools.ledger.run_id, tenant_id, tools.known, tools.settlement, report)
        self._shares = self._work()

    async def share(self, job: Job) -> bool:
        """Do a share of the work, and tell whether there is more.

        Raises:
            StateError: The state cannot be used; the run has to end.
        """
        self._quantum = job.quantum
        clock = self._tools.clock
        if self._begun_at is None:
            self._begun_at = clock.monotonic()
        try:
            with bulk_priority():  # whatever runner it is that calls
                await anext(self._shares)
        except StopAsyncIteration:
            await self._tally.finish(self._planner, has_ended=self._has_ended(), failing=len(self._failing))
            return False
        except AuthenticationError:
            self._report.stopped = Stopped.CREDENTIALS
            await self._tally.finish(self._planner, has_ended=self._has_ended(), failing=len(self._failing))
            return False
        finally:
            self._report.elapsed = clock.monotonic() - self._begun_at
            self._planner.meter.note()
        return True

    async def aclose(self) -> None:
        """End it, wherever it is."""
        await self._shares.aclose()

    async def _work(self) -> AsyncGenerator[None, None]:
        for calendar in await self._planner.calendars(self._tenant_id):
            async for _ in self._calendar(calendar, is_first=True):
                yield
            async for _ in self._settle(waits=False):
                yield
            if self._has_ended():
                return
        async for _ in self._settle(waits=True):
            yield
        for _ in range(self._tools.passes - 1):
            if not self._failing or self._has_ended() or not await self._tools.budget.sleep(self._tools.pause):
                return
            async for _ in self._pass_again():
                yield

    async def _pass_again(self) -> AsyncGenerator[None, None]:
        """Go through the calendars once more in which something failed that may pass."""
        failing, self._failing = self._failing, {}
        for calendar in failing:
            async for _ in self._calendar(calendar, is_first=False):
                yield
        async for _ in self._settle(waits=True):
            yield

    def _has_ended(self) -> bool:
        return self._tools.budget.reason is not None or self._report.stopped is not None

    async def _calendar(self, calendar: Calendar, *, is_first: bool) -> AsyncGenerator[None, None]:
        """Bring one calendar into step, as far as it goes without settling what is lost."""
        due = await self._tools.settlement.due(calendar) if self._planner.looks_at_all else None
        if due is not None:
            # What a run before has created and does not know of would pass for new on the server.
            self._lost.append(_Lost(due, calendar, rounds=1, is_planned=False))
            return
        service = self._service(calendar)
        failures = 0
        try:
            async for batch in self._planner.batches(service, calendar, lambda: self._quantum):
                failures += await self._apply(service, batch, is_first=is_first)
                yield
                if self._has_ended():
                    return
        except GuardError:
            self._report.stopped = Stopped.GUARD
            return
        except (AuthenticationError, SyncError):
            raise
        except ConnectorError:
            failures += 1
        await self._finish(calendar, failures)

    async def _finish(self, calendar: Calendar, failures: int, *, rounds: int = 1, is_planned: bool = True) -> None:
        """Note what is left of a calendar: what is to be settled, what failed, or nothing."""
        due = await self._tools.settlement.due(calendar)
        if due is not None and rounds < _ROUNDS:
            self._lost.append(_Lost(due, calendar, rounds, is_planned=is_planned))
        elif failures:
            self._failing[calendar] = None
        elif due is None and self._planner.looks_at_all and is_planned and not self._has_ended():
            await self._tools.ledger.record_calendar_done(calendar)

    async def _settle(self, *, waits: bool) -> AsyncGenerator[None, None]:
        """Settle the calendars whose grace has passed; with `waits` all. Meanwhile the others go on."""
        now = self._tools.clock.monotonic
        while self._lost and (waits or self._lost[0].due <= now()) and not self._has_ended():
            lost = self._lost.popleft()
            failures = 0
            try:
                failures += await self._create_again(self._service(lost.calendar), lost.calendar)
            except (AuthenticationError, SyncError):
                raise
            except ConnectorError:
                failures += 1
            yield
            if lost.is_planned or failures:
                await self._finish(lost.calendar, failures, rounds=lost.rounds + 1, is_planned=lost.is_planned)
            else:
                async for _ in self._calendar(lost.calendar, is_first=True):
                    yield

    async def _create_again(self, service: AppointmentService, calendar: Calendar) -> int:
        """Settle the creates whose answers were lost, and do what is then to be done with their keys."""
        settled = await self._tools.settlement.settle(service, calendar)
        keys = settled.found | settled.absent
        remaining = await self._planner.again(calendar, keys, self._tools.ledger.run_id)
        # What has happened and is not what the source says any more has a fate of its own.
        has_another_fate = {operation.key for operation in remaining.operations}.union(remaining.others)
        self._report.counts[Fate.CREATED] += len(settled.found - has_another_fate)
        needed = settled.of_before | settled.found
        before = [operation for operation in remaining.operations if operation.key in needed]
        failures = await self._apply(service, before, is_first=True)
        rest = [operation for operation in remaining.operations if operation.key not in needed]
        return failures + await self._apply(service, rest, is_first=False)

    async def _apply(self, service: AppointmentService, operations: Sequence[Operation], *, is_first: bool) -> int:
        """Do operations of one calendar; return how many failed in a way that may pass."""
        await self._agree(operations)
        await self._pull(operations)
        failures = 0
        error: Exception | None = None

        async def perform(operation: Operation) -> Fate:
            if not self._tools.budget.begin():
                return Fate.NOT_STARTED
            try:
                fate = await self._tools.push.perform(service, operation)
                self._report.minimum += is_first and operation.kind is not Kind.CONFLICT
                return fate
            finally:
                self._tools.budget.end()
                self._planner.meter.note()

        sending = [operation for operation in operations if operation.kind in _SENDING]
        run = bulk(perform, sending, concurrency=self._tools.concurrency, ends_on=Exception)
        async with aclosing(run.outcomes()) as outcomes:
            async for outcome in outcomes:
                error = error or outcome.error
                self._tally.add(outcome.input, outcome.result or Fate.NOT_STARTED)
                failures += outcome.result is Fate.RETRYABLE
                if self._tools.progress is not None:
                    self._tools.progress.advance(outcome)
        if error is not None:
            raise error
        return failures

    async def _agree(self, operations: Sequence[Operation]) -> None:
        """Write down what is in step without anything sent."""
        agreeing = [operation for operation in operations if operation.kind is Kind.AGREE]
        gone = [operation for operation in agreeing if operation.local == ABSENT == seen_of(operation)]
        there = [operation for operation in agreeing if not operation.local == ABSENT == seen_of(operation)]
        if gone:
            await self._tools.ledger.record_deleted(gone[0].calendar, [operation.key for operation in gone])
        if there:
            await self._tools.ledger.record_synced(there[0].calendar, [agreed(operation) for operation in there])
        self._report.counts[Fate.UNCHANGED] += len(agreeing)

    async def _pull(self, operations: Sequence[Operation]) -> None:
        """Let the source take over what the server has."""
        pulling = [operation for operation in operations if operation.kind is Kind.PULL]
        refused = await self._tools.take_over.take(pulling)
        for operation in refused:
            await self._tools.push.refuse(operation, "pull", "ValueError", why_unsayable(operation.appointment))
            self._tally.add(operation, Fate.REFUSED)
        self._report.counts[Fate.PULLED] += len(pulling) - len(refused)

    def _service(self, calendar: Calendar) -> AppointmentService:
        service = self._tools.services(calendar)
        self._planner.meter.watch(service.session)
        return service
