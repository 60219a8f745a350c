"""The work of one tenant, a share at a time: its calendars one after the other, in each what differs."""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import attrs

from connector_async.appointments import AppointmentService
from connector_async.bulk import ProgressListener, bulk
from connector_async.deadline import Clock
from connector_async.exceptions import AuthenticationError, ConnectorError, SyncError
from connector_async.session import ConnectorSession, Traffic

from .budget import Budget
from .decision import GONE
from .exceptions import GuardError
from .ledger import Ledger
from .operations import Kind, Operation
from .plan import Planner, Services
from .push import Push, agreed
from .records import Calendar
from .report import Fate, Stopped, TenantReport
from .runner import Job
from .settlement import Settlement
from .takeover import TakeOver

_ROUNDS: Final = 5  # of creates that are lost again and again
_SENDING: Final = (Kind.CREATE, Kind.UPDATE, Kind.DELETE, Kind.CONFLICT)
_IN_HAND: Final = (Fate.TEMPORARY, Fate.UNKNOWN)


@attrs.frozen(kw_only=True)
class Tools:
    """What the work of every tenant of a run shares."""

    services: Services
    ledger: Ledger
    push: Push
    settlement: Settlement
    take_over: TakeOver
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


class TenantWork:
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
        self._session: ConnectorSession | None = None
        self._before = Traffic()
        self._failing: list[Calendar] = []
        self._lost: deque[_Lost] = deque()
        self._temporary: set[tuple[Calendar, str]] = set()
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
            await anext(self._shares)
        except StopAsyncIteration:
            await self._count_rest()
            return False
        except AuthenticationError:
            self._report.stopped = Stopped.CREDENTIALS
            await self._count_rest()
            return False
        finally:
            self._report.elapsed = clock.monotonic() - self._begun_at
            traffic = self.traffic
            self._report.requests, self._report.waited = traffic.requests, traffic.waited
        return True

    @property
    def traffic(self) -> Traffic:
        """What was sent for the tenant since the work began."""
        now = self._before if self._session is None else self._session.traffic
        return Traffic(now.requests - self._before.requests, now.waited - self._before.waited)

    async def aclose(self) -> None:
        """End it, wherever it is."""
        await self._shares.aclose()

    async def _work(self) -> AsyncGenerator[None, None]:
        async for calendar in self._planner.calendars(self._tenant_id):
            async for _ in self._calendar(calendar, is_first=True):
                yield
            async for _ in self._settle(waits=False):
                yield
            if self._tools.budget.reason is not None:
                return
        async for _ in self._settle(waits=True):
            yield
        for _ in range(self._tools.passes - 1):
            if not self._failing or not await self._tools.budget.sleep(self._tools.pause):
                return
            async for _ in self._pass_again():
                yield

    async def _pass_again(self) -> AsyncGenerator[None, None]:
        """Go through the calendars once more in which something failed that may pass."""
        failing, self._failing = self._failing, []
        for calendar in failing:
            async for _ in self._calendar(calendar, is_first=False):
                yield
        async for _ in self._settle(waits=True):
            yield

    async def _calendar(self, calendar: Calendar, *, is_first: bool) -> AsyncGenerator[None, None]:
        """Bring one calendar into step, as far as it goes without settling what is lost."""
        service = self._service(calendar)
        failures = 0
        try:
            if self._planner.looks_at_all:
                # What a run before has created and does not know of would pass for new on the server.
                failures += await self._create_again(service, calendar)
            async for batch in self._planner.batches(service, calendar, lambda: self._quantum):
                failures += await self._apply(service, batch, is_first=is_first)
                yield
                if self._tools.budget.reason is not None:
                    return
        except GuardError:
            self._report.stopped = Stopped.GUARD
        except (AuthenticationError, SyncError):
            raise
        except ConnectorError:
            failures += 1
        await self._finish(calendar, failures)

    async def _finish(self, calendar: Calendar, failures: int, *, rounds: int = 1) -> None:
        """Note what is left of a calendar: what failed, what is to be settled, or nothing."""
        due = await self._tools.settlement.due(calendar)
        if due is not None and rounds < _ROUNDS:
            self._lost.append(_Lost(due, calendar, rounds))
        if failures:
            self._failing.append(calendar)
        elif due is None and self._tools.budget.reason is None and self._report.stopped is None:
            await self._tools.ledger.done(calendar)

    async def _settle(self, *, waits: bool) -> AsyncGenerator[None, None]:
        """Settle the calendars whose grace has passed; with `waits` all. Meanwhile the others go on."""
        now = self._tools.clock.monotonic
        while self._lost and (waits or self._lost[0].due <= now()) and self._tools.budget.reason is None:
            lost = self._lost.popleft()
            failures = 0
            try:
                failures += await self._create_again(self._service(lost.calendar), lost.calendar)
            except (AuthenticationError, SyncError):
                raise
            except ConnectorError:
                failures += 1
            await self._finish(lost.calendar, failures, rounds=lost.rounds + 1)
            yield

    async def _create_again(self, service: AppointmentService, calendar: Calendar) -> int:
        """Settle the creates whose answers were lost, and send again those that have not happened."""
        settled = await self._tools.settlement.settle(service, calendar)
        self._report.counts[Fate.CREATED] += settled.found
        self._report.minimum += settled.absent_before
        if not settled.absent:
            return 0
        again = await self._planner.again(calendar, settled.absent)
        return await self._apply(service, again, is_first=False)

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
                self._report.minimum += is_first and operation.kind is not Kind.CONFLICT
                return await self._tools.push.perform(service, operation)
            finally:
                self._tools.budget.end()

        sending = [operation for operation in operations if operation.kind in _SENDING]
        changing = [operation.key for operation in sending if operation.kind in {Kind.UPDATE, Kind.DELETE}]
        if changing:
            await self._tools.ledger.pending(sending[0].calendar, changing)
        run = bulk(perform, sending, concurrency=self._tools.concurrency, ends_on=Exception)
        async with aclosing(run.outcomes()) as outcomes:
            async for outcome in outcomes:
                error = error or outcome.error
                self._count(outcome.input, outcome.result or Fate.NOT_STARTED)
                failures += outcome.result is Fate.TEMPORARY
                if self._tools.progress is not None:
                    self._tools.progress.advance(outcome)
        if error is not None:
            raise error
        return failures

    async def _agree(self, operations: Sequence[Operation]) -> None:
        """Write down what is in step without anything sent."""
        agreeing = [operation for operation in operations if operation.kind is Kind.AGREE]
        gone = [operation for operation in agreeing if operation.local == GONE and operation.remote == GONE]
        there = [operation for operation in agreeing if operation not in gone]
        if gone:
            await self._tools.ledger.deleted(gone[0].calendar, [operation.key for operation in gone])
        if there:
            await self._tools.ledger.in_step(there[0].calendar, [agreed(operation) for operation in there])
        self._report.counts[Fate.AGREED] += len(agreeing)

    async def _pull(self, operations: Sequence[Operation]) -> None:
        """Let the source take over what the server has."""
        pulling = [operation for operation in operations if operation.kind is Kind.PULL]
        refused = await self._tools.take_over.take(pulling)
        for operation in refused:
            await self._tools.push.refuse(operation, "pull", "ValueError", "no record can say what the server has")
        self._report.counts[Fate.REFUSED] += len(refused)
        self._report.counts[Fate.PULLED] += len(pulling) - len(refused)

    def _count(self, operation: Operation, fate: Fate) -> None:
        place = operation.calendar, operation.key
        if fate is Fate.TEMPORARY:
            self._temporary.add(place)
        elif fate is not Fate.NOT_STARTED:
            self._temporary.discard(place)
        if fate not in _IN_HAND and fate is not Fate.NOT_STARTED:
            self._report.counts[fate] += 1
        if fate is not Fate.UNKNOWN:
            self._tools.settlement.answered(*place)

    async def _count_rest(self) -> None:
        """Count what is left: what failed in a way that may pass, and what was not begun."""
        counts = self._report.counts
        rest = await self._planner.count(self._tenant_id)
        ended_early = self._tools.budget.reason is not None or self._report.stopped is not None
        temporary = min(rest, len(self._temporary)) if ended_early else rest
        counts[Fate.TEMPORARY] += temporary
        counts[Fate.NOT_STARTED] += rest - temporary
        counts[Fate.UNKNOWN] += await self._tools.ledger.count_open(self._tenant_id)
        self._report.calendars_failed = len(self._failing)

    def _service(self, calendar: Calendar) -> AppointmentService:
        service = self._tools.services(calendar)
        if self._session is None:
            self._session = service.session
            self._before = service.session.traffic
        return service
