"""The worker of one tenant: works through its calendars slice by slice, and in each through what differs."""

from collections import deque
from collections.abc import AsyncGenerator, Collection, Sequence
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
from connector_async.sync.failures import Failure, is_permanent
from connector_async.sync.planning.operations import Kind, Operation, observed_pair
from connector_async.sync.planning.options import Services, SyncOptions, SyncSettings
from connector_async.sync.planning.planner import Planner
from connector_async.sync.planning.snapshot import CalendarReader
from connector_async.sync.records import ABSENT, Calendar, unrecordable_reason
from connector_async.sync.report import MOST_REASONS, Fate, Stopped, TenantReport
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.reader import StateReader

from .accounting import OutcomeCounter, TrafficMeter
from .executor import OperationExecutor
from .recovery import PendingCreateResolver
from .writeback import SourceWriteback

_MAX_ROUNDS: Final = 5  # of creates that lose their response again and again
_WITH_REASON: Final = (Fate.RETRYABLE, Fate.UNKNOWN, Fate.REFUSED, Fate.CONFLICT)
_EXECUTED: Final = (Kind.CREATE, Kind.UPDATE, Kind.DELETE, Kind.CONFLICT)


@attrs.frozen(kw_only=True)
class RunContext:
    """What the workers of all tenants of a run share."""

    options: SyncOptions
    settings: SyncSettings
    services: Services
    state_reader: StateReader
    journal: Journal
    executor: OperationExecutor
    resolver: PendingCreateResolver
    writeback: SourceWriteback
    budget: Budget
    clock: Clock
    failed_tenants: Collection[str]
    """The tenants with failures of earlier runs, which end with a run over everything; empty for a run over a part."""
    progress: ProgressListener | None = None


@attrs.frozen
class _Unresolved:
    """A calendar with pending creates, or with writes that a look may not have shown."""

    due: float
    """The end of their grace period, by the monotonic clock."""
    calendar: Calendar
    rounds: int
    """How often they were sent."""
    is_planned: bool
    """Whether everything else in the calendar is done."""


class TenantWorker:
    """Works for one tenant.

    Args:
        tenant_id: The tenant.
        planner: Says what to do.
        context: What the workers of all tenants share.
        report: The report that gets the results.
    """

    def __init__(self, tenant_id: str, planner: Planner, context: RunContext, report: TenantReport) -> None:
        self._planner = planner
        self._context = context
        self._report = report
        self._meter = TrafficMeter(context.budget, report, context.clock)
        self._outcomes = OutcomeCounter(tenant_id, context.state_reader, report)
        self._quantum = 1
        self._started_at: float | None = None
        self._looked_at: set[Calendar] = set()
        self._looked_again: set[Calendar] = set()
        self._tenant_id = tenant_id
        self._failing: dict[Calendar, None] = {}
        self._refused: set[Calendar] = set()
        self._has_failed: set[Calendar] = set()
        self._unresolved: deque[_Unresolved] = deque()
        self._slices = self._work()

    async def run_slice(self, quantum: int) -> bool:
        """Work on one slice of at most `quantum` operations, and return whether more is left.

        Raises:
            StateError: If the state cannot be used. The run must end then.
        """
        self._quantum = quantum
        clock = self._context.clock
        if self._started_at is None:
            self._started_at = clock.monotonic()
        try:
            with bulk_priority():  # no matter which runner calls
                await anext(self._slices)
        except (StopAsyncIteration, AuthenticationError) as end:
            if isinstance(end, AuthenticationError):
                self._report.stopped = Stopped.CREDENTIALS
                await self._context.journal.record_failure(Calendar(self._tenant_id), Failure.of(end))
            await self._finish_tenant()
            return False
        finally:
            self._report.elapsed = clock.monotonic() - self._started_at
            self._meter.update()
        return True

    async def _finish_tenant(self) -> None:
        """Count what is left, and say why."""
        context, report = self._context, self._report
        retries_only, has_ended = context.options.retry_run is not None, self._has_ended()
        await self._outcomes.finish(
            self._planner,
            retries_only=retries_only,
            has_ended=has_ended,
            failing=len(self._failing),
            refused=len(self._refused),
        )
        is_whole = not (retries_only or has_ended or self._refused)
        if is_whole and self._tenant_id in context.failed_tenants:
            await context.journal.drop_other_failures(self._tenant_id)
        if self._has_failed or report.stopped or any(report.counts[fate] for fate in _WITH_REASON):
            report.reasons = await context.state_reader.reasons(
                self._tenant_id, context.journal.run_id, limit=MOST_REASONS
            )

    async def aclose(self) -> None:
        """End the work early."""
        await self._slices.aclose()

    async def _work(self) -> AsyncGenerator[None, None]:
        for calendar in await self._planner.calendars():
            async for _ in self._sync(calendar, is_first=True):
                yield
            async for _ in self._resolve(wait=False):
                yield
            if self._has_ended():
                return
        async for _ in self._resolve(wait=True):
            yield
        settings = self._context.settings
        for _ in range(settings.passes - 1):
            if not self._failing or self._has_ended() or not await self._context.budget.sleep(settings.pause):
                return
            async for _ in self._retry_failing():
                yield

    async def _retry_failing(self) -> AsyncGenerator[None, None]:
        """Work once more through the calendars in which something failed transiently."""
        failing, self._failing = self._failing, {}
        for calendar in failing:
            async for _ in self._sync(calendar, is_first=False):
                yield
        async for _ in self._resolve(wait=True):
            yield

    def _has_ended(self) -> bool:
        return self._context.budget.reason is not None or self._report.stopped is not None

    async def _sync(self, calendar: Calendar, *, is_first: bool) -> AsyncGenerator[None, None]:
        """Bring one calendar in sync, except for pending creates."""
        looks_at_all = self._context.options.looks_at_all_calendars
        due = await self._context.resolver.due(calendar) if looks_at_all else None
        if due is not None:
            # What an earlier run has created, and may not know of, would be taken for new on the server.
            self._unresolved.append(_Unresolved(due, calendar, rounds=1, is_planned=False))
            return
        failures, reader = 0, None
        try:
            service = self._service(calendar)
            reader = CalendarReader(service, self._meter.operation)
            is_first_look = await self._starts_first_look(calendar)
            async for batch in self._planner.batches(reader, calendar, lambda: self._quantum):
                failures += await self._apply(service, batch, is_first=is_first)
                yield
                if self._has_ended():
                    return
            if is_first_look and not self._has_ended():
                await self._context.journal.record_look(calendar, is_complete=True)
        except GuardError as error:
            self._report.stopped = Stopped.GUARD
            await self._record_failure(calendar, error)
            return
        except (AuthenticationError, SyncError):
            raise
        except ConnectorError as error:
            await self._record_failure(calendar, error)
            if is_permanent(error):
                self._refused.add(calendar)
                return
            failures += 1
        else:
            await self._drop_failure(calendar)
        finally:
            self._count_needed(calendar, 0 if reader is None else reader.requests_needed)
        await self._finish_look(calendar, failures, reader)

    async def _finish_look(self, calendar: Calendar, failures: int, reader: CalendarReader | None) -> None:
        """Note what is left of a calendar, and when to look again if a look may have been outdated."""
        again = None if failures or reader is None else self._next_look(calendar, reader.outdated_since)
        if again is None:
            await self._finish(calendar, failures)
        else:
            self._unresolved.append(_Unresolved(again, calendar, rounds=1, is_planned=False))

    def _next_look(self, calendar: Calendar, outdated_since: float | None) -> float | None:
        """Return when to look again at a calendar that may have been shown as it was before a recent write.

        `None`: not in this run. One more look, after the grace period of the write, is believed.
        """
        looks_at_all = self._context.options.looks_at_all_calendars
        if outdated_since is None or not looks_at_all or calendar in self._looked_again:
            return None
        self._looked_again.add(calendar)
        clock, grace = self._context.clock, self._context.settings.grace
        return clock.monotonic() + min(grace, max(0.0, outdated_since + grace - clock.time()))

    async def _starts_first_look(self, calendar: Calendar) -> bool:
        """Record that a calendar is looked at for the first time, and return whether that is so."""
        if self._context.options.assume_empty or await self._context.state_reader.was_looked_at(calendar):
            return False
        await self._context.journal.record_look(calendar, is_complete=False)
        return True

    async def _record_failure(self, calendar: Calendar, error: ConnectorError) -> None:
        self._has_failed.add(calendar)
        await self._context.journal.record_failure(calendar, Failure.of(error))

    async def _drop_failure(self, calendar: Calendar) -> None:
        """Forget the failure of an earlier pass."""
        if calendar in self._has_failed:
            self._has_failed.discard(calendar)
            await self._context.journal.drop_failure(calendar)

    def _count_needed(self, calendar: Calendar, requests: int) -> None:
        """Count the requests that a look at a calendar needed, for the first look alone."""
        if requests and calendar not in self._looked_at:
            self._looked_at.add(calendar)
            self._report.minimum += requests

    async def _finish(self, calendar: Calendar, failures: int, *, rounds: int = 1, is_planned: bool = True) -> None:
        """Note what is left of a calendar: pending creates, failures, or nothing."""
        due = await self._context.resolver.due(calendar)
        if due is not None and rounds < _MAX_ROUNDS:
            self._unresolved.append(_Unresolved(due, calendar, rounds, is_planned=is_planned))
        elif failures:
            self._failing[calendar] = None
        elif due is None and self._context.options.looks_at_all_calendars and is_planned and not self._has_ended():
            await self._context.journal.record_calendar_done(calendar)

    async def _resolve(self, *, wait: bool) -> AsyncGenerator[None, None]:
        """Resolve pending creates, and look again: after the grace period, or at all calendars with `wait`."""
        now = self._context.clock.monotonic
        while self._unresolved and (wait or self._unresolved[0].due <= now()) and not self._has_ended():
            unresolved = self._unresolved.popleft()
            calendar, failures, rounds = unresolved.calendar, 0, unresolved.rounds + 1
            if not await self._wait_until(unresolved.due):
                return
            try:
                undecided, failures = await self._resolve_creates(self._service(calendar), calendar)
                if undecided:  # another look at once would show the same
                    failures, rounds = failures + undecided, _MAX_ROUNDS
            except (AuthenticationError, SyncError):
                raise
            except ConnectorError as error:
                await self._record_failure(calendar, error)
                if is_permanent(error):
                    self._refused.add(calendar)
                    continue
                failures += 1
            else:
                await self._drop_failure(calendar)
            yield
            if unresolved.is_planned or failures:
                await self._finish(calendar, failures, rounds=rounds, is_planned=unresolved.is_planned)
            else:
                async for _ in self._sync(calendar, is_first=True):
                    yield

    async def _wait_until(self, due: float) -> bool:
        """Wait until a time of the monotonic clock, and return whether the run may go on."""
        seconds = due - self._context.clock.monotonic()
        return seconds <= 0 or await self._context.budget.sleep(seconds)

    async def _resolve_creates(self, service: AppointmentService, calendar: Calendar) -> tuple[int, int]:
        """Resolve the pending creates of a calendar, and do what is left to do with their keys.

        Returns:
            The number of creates that stay pending, since the preview was incomplete, and the number of failures.
        """
        resolved = await self._context.resolver.resolve(service, calendar, self._meter.operation)
        remaining = await self._planner.remaining(calendar, resolved.created | resolved.not_created)
        # A create that happened, and is not what the source has any more, is not counted as a create.
        counted_otherwise = {operation.key for operation in remaining.operations}.union(remaining.others)
        self._report.counts[Fate.CREATED] += len(resolved.created - counted_otherwise)
        # A create of this run that is sent again was counted as needed when it was sent first.
        uncounted_keys = resolved.from_earlier_run | resolved.created
        uncounted = [operation for operation in remaining.operations if operation.key in uncounted_keys]
        counted = [operation for operation in remaining.operations if operation.key not in uncounted_keys]
        failures = await self._apply(service, uncounted, is_first=True)
        failures += await self._apply(service, counted, is_first=False)
        return len(resolved.undecided), failures

    async def _apply(self, service: AppointmentService, operations: Sequence[Operation], *, is_first: bool) -> int:
        """Apply operations of one calendar, and return how many failed transiently."""
        if unchanged := [operation for operation in operations if operation.kind is Kind.AGREE]:
            await self._record_unchanged(unchanged)
        if pulled := [operation for operation in operations if operation.kind is Kind.PULL]:
            await self._pull(pulled)
        failures = 0
        error: Exception | None = None

        async def execute(operation: Operation) -> Fate:
            with self._meter.operation() as may_start:
                if not may_start:
                    return Fate.NOT_STARTED
                fate = await self._context.executor.execute(service, operation)
                needs_request = operation.kind is not Kind.CONFLICT and fate is not Fate.UNCHANGED
                self._report.minimum += is_first and needs_request
                return fate

        executed = [operation for operation in operations if operation.kind in _EXECUTED]
        run = bulk(execute, executed, concurrency=self._context.settings.concurrency, ends_on=Exception)
        async with aclosing(run.outcomes()) as outcomes:
            async for outcome in outcomes:
                error = error or outcome.error
                self._outcomes.add(outcome.input, outcome.result or Fate.NOT_STARTED)
                failures += outcome.result is Fate.RETRYABLE
                if self._context.progress is not None:
                    self._context.progress.advance(outcome)
        if error is not None:
            raise error
        return failures

    async def _record_unchanged(self, operations: Sequence[Operation]) -> None:
        """Record in the state what both sides have, without sending anything."""
        deleted, pairs = [], []
        for operation in operations:
            if operation.local == ABSENT == operation.last_remote:
                deleted.append(operation.key)
            else:
                pairs.append(observed_pair(operation))
        if deleted:
            await self._context.journal.record_deleted(operations[0].calendar, deleted)
        if pairs:
            await self._context.journal.record_synced(operations[0].calendar, pairs)
        self._report.counts[Fate.UNCHANGED] += len(operations)

    async def _pull(self, operations: Sequence[Operation]) -> None:
        """Keep for the source what the server has changed."""
        unrecordable = await self._context.writeback.keep(operations)
        for operation in unrecordable:
            reason = unrecordable_reason(operation.appointment)
            await self._context.executor.give_up(operation, "pull", "ValueError", reason)
            self._outcomes.add(operation, Fate.REFUSED)
        self._report.counts[Fate.PULLED] += len(operations) - len(unrecordable)

    def _service(self, calendar: Calendar) -> AppointmentService:
        service = self._context.services(calendar)
        self._meter.watch(service.session)
        return service
