"""`BulkSync`: brings the appointments of many tenants into step with a source, and accounts for every record."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

import attrs

from connector_async._checks import check_int, check_seconds, check_type
from connector_async._clock import Clock, checked_clock
from connector_async.appointments import AppointmentService
from connector_async.bulk_calls import ProgressListener, check_progress
from connector_async.rate_limit import bulk_priority
from connector_async.sync.applying.executor import OperationExecutor
from connector_async.sync.applying.recovery import PendingCreateResolver
from connector_async.sync.applying.scheduler import Job, LocalRunner, Runner
from connector_async.sync.applying.tenant_worker import TenantWorker, Tools
from connector_async.sync.applying.writeback import SourceWriteback
from connector_async.sync.planning.operations import Operation
from connector_async.sync.planning.options import Services, SyncOptions
from connector_async.sync.planning.planner import CalendarPlanner, Planner, PlanningContext
from connector_async.sync.planning.saved_plan import SavedPlan
from connector_async.sync.planning.three_way import Mode
from connector_async.sync.planning.traffic_meter import TrafficMeter
from connector_async.sync.state.diff import Differences
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.reader import StateReader
from connector_async.sync.state.staging import Staged, stage
from connector_async.wire import WireFormat

from .budget import Budget
from .exceptions import SourceError
from .formats import Mirror, Source
from .guard import DeleteGuard, MissingGuard
from .records import Calendar
from .report import RunReport, TenantReport
from .scope import Selection
from .state import State

GRACE: Final = 30.0

_BATCH: Final = 200

_Prepare = Callable[[Journal, RunReport], Awaitable[Callable[[str], Planner]]]
"""Finds out what is to be done, names the tenants to the report, and returns what says it for each of them."""


@attrs.frozen(kw_only=True)
class SyncSettings:
    """How a sync works.

    Raises:
        ValueError: A number is out of its range; the message names it.
        TypeError: A value is of another type.
    """

    wire_format: WireFormat = WireFormat.GUIDE
    """That of the services' sessions."""
    concurrency: int = 4
    """How many operations of a tenant are under way at a time."""
    grace: float = GRACE
    """Seconds that the server may take to make visible what it was sent. Too short, and an appointment whose answer was
    lost is created twice."""
    passes: int = 3
    """How often a calendar is gone through, as long as something in it fails that may pass."""
    pause: float = 5.0
    """Seconds between two passes."""
    read_first: bool = False
    """Whether an update reads the appointment first, for servers whose PUT replaces the whole."""

    def __attrs_post_init__(self) -> None:
        check_type("wire_format", self.wire_format, WireFormat)
        check_type("read_first", self.read_first, bool)
        check_int("concurrency", self.concurrency)
        check_int("passes", self.passes)
        check_seconds("grace", self.grace)
        check_seconds("pause", self.pause)


class BulkSync:
    """Syncs over one state.

    Args:
        state: What it remembers between runs.
        services: Returns the service of a calendar; its session keeps the tenant's pace, and is in the wire format of
            the settings. What it raises ends the run.
        settings: How it works.
        clock: Time as it reads it; `None`: the machine's.
        runner: Who works on which tenant when; `None`: this process, on all at once.
        progress: Is told of each operation that sends something.

    Raises:
        TypeError: An argument is of another type; the message names it.
    """

    def __init__(
        self,
        state: State,
        services: Services,
        settings: SyncSettings,
        *,
        clock: Clock | None = None,
        runner: Runner | None = None,
        progress: ProgressListener | None = None,
    ) -> None:
        check_type("state", state, State)
        check_type("services", services, Callable)  # type: ignore[arg-type]  # it is a class to isinstance
        check_type("settings", settings, SyncSettings)
        check_progress(progress, None)
        self._state = state
        self._services_of_caller = services
        self._settings = settings
        self._clock = checked_clock(clock)
        self._runner = runner or LocalRunner()
        self._progress = progress

    async def run(
        self, source: Source, plan: SyncOptions, budget: Budget | None = None, *, mirror: Mirror | None = None
    ) -> RunReport:
        """Bring the server into step with what a source says, and with `Mode.TWO_WAY` the source with the server.

        Args:
            source: What there should be.
            plan: How to go about it.
            budget: When to end before the work does; `None`: never.
            mirror: Where the source is written anew, with what it takes over from the server; with `Mode.TWO_WAY`.

        Raises:
            ValueError: `mirror` is missing, or too much for the mode, or the plan asks for what the wire format cannot
                do; nothing was written.
            TypeError: `plan` is no `Plan`.
            SourceError: The source cannot be read at all.
            GuardError: More would be deleted than may be; nothing was sent.
            StateError: The state cannot be used. What was sent so far is settled by the next run.
        """
        check_type("plan", plan, SyncOptions)
        if (plan.mode is Mode.TWO_WAY) is (mirror is None):
            raise ValueError("mirror must be given with Mode.TWO_WAY, and only then")
        plan.check(self._settings.wire_format)
        budget = budget or Budget(self._clock)

        async def prepare(ledger: Journal, report: RunReport) -> Callable[[str], Planner]:
            staged, withheld, tenants = await self._stage(source, plan, forgets=True)
            looking = self._looking(plan, budget, withheld, ledger.lineage)
            if staged.problems:
                await ledger.record_dead_letters(staged.problems)
            report.unreadable = staged.unreadable
            for tenant_id in tenants:
                report.tenants[tenant_id] = TenantReport(records=staged.records[tenant_id])
            return lambda tenant_id: CalendarPlanner(plan, looking, report.tenants[tenant_id])

        return await self._run("run", plan, prepare, budget, mirror)

    async def apply(self, saved: SavedPlan, budget: Budget | None = None) -> RunReport:
        """Do what a plan says that was saved.

        Raises:
            StalePlanError: The state has changed since; nothing was sent.
            SourceError: The plan was made for another wire format; nothing was sent.
            StateError: The state cannot be used. What was sent so far is settled by the next run.
        """
        budget = budget or Budget(self._clock)

        async def prepare(ledger: Journal, report: RunReport) -> Callable[[str], Planner]:
            saved.check(await self._state.serial(), self._settings.wire_format)
            known = StateReader(self._state)
            for tenant_id in saved.tenants():
                report.tenants[tenant_id] = TenantReport()
            meters = {tenant_id: TrafficMeter(budget, tenant) for tenant_id, tenant in report.tenants.items()}
            return lambda tenant_id: saved.planner(tenant_id, known, ledger.run_id, meters[tenant_id])

        return await self._run("apply", saved.plan, prepare, budget)

    async def plan(self, source: Source, plan: SyncOptions) -> AsyncGenerator[Operation, None]:
        """Yield what `run` would do; nothing is sent but what the mode looks at.

        A create that is still open, as a crash leaves it, is not among it: only a run finds out what became of it.

        Raises:
            ValueError: The plan asks for what the wire format cannot do.
            ConnectorError: The server could not be looked at.
            SourceError: The source cannot be read at all.
            GuardError: More would be deleted than may be, or more has gone from the server.
            StateError: The state cannot be used.
        """
        plan.check(self._settings.wire_format)
        _, withheld, tenants = await self._stage(source, plan, forgets=False)
        looking = self._looking(plan, Budget(self._clock), withheld, "")
        for tenant_id in tenants:
            planner = CalendarPlanner(plan, looking, TenantReport())
            for calendar in await planner.calendars(tenant_id):
                async with aclosing(planner.batches(self._services(calendar), calendar, lambda: _BATCH)) as batches:
                    # Set for each step alone: what a generator sets stays with its caller while it is suspended.
                    while (batch := await _next_of(batches)) is not None:
                        for operation in batch:
                            yield operation

    def _looking(self, plan: SyncOptions, budget: Budget, withheld: Sequence[str], lineage: str) -> PlanningContext:
        return PlanningContext(
            state=self._state,
            known=StateReader(self._state),
            budget=budget,
            guard=MissingGuard(plan.max_delete, allow_empty=plan.allow_empty),
            withheld=withheld,
            lineage=lineage,
        )

    def _services(self, calendar: Calendar) -> AppointmentService:
        service = self._services_of_caller(calendar)
        if service.session.wire_format is not self._settings.wire_format:
            theirs, ours = service.session.wire_format, self._settings.wire_format
            raise ValueError(f"services must return one in {ours}, as the settings say, not in {theirs}")
        return service

    async def _stage(self, source: Source, plan: SyncOptions, *, forgets: bool) -> tuple[Staged, list[str], list[str]]:
        """Take the source in, pass the guard, and return the tenants of which nothing is deleted, and all tenants."""
        staged = await stage(source, self._state, self._settings.wire_format)
        if plan.mode is Mode.TWO_WAY and staged.problems:
            reason = staged.problems[0][1].reason
            raise SourceError(f"{reason}; the source cannot be written anew without losing what cannot be read")
        await SourceWriteback(self._state, Journal(self._state, "", self._clock)).overlay(forgets=forgets)
        async with self._state.reading() as connection:
            tenants = await Differences(connection, Selection()).tenants()
            withheld = tenants if staged.withholds_all else sorted(staged.withheld)
            guard = DeleteGuard(plan.max_delete, allow_empty=plan.allow_empty)
            async for calendar, count in Differences(connection, plan.selection(withheld)).delete_counts():
                guard.add(calendar, count)
        guard.finish()
        return staged, withheld, tenants

    async def _run(
        self, kind: str, plan: SyncOptions, prepare: _Prepare, budget: Budget, mirror: Mirror | None = None
    ) -> RunReport:
        ledger = Journal.for_new_run(self._state, self._clock)
        report = RunReport(run_id=ledger.run_id)
        begun_at = self._clock.monotonic()
        await ledger.start_run(kind=kind, mode=plan.mode.value, conditions=plan.conditions())
        status = "failed"
        try:
            planner_of = await prepare(ledger, report)
            await self._work(planner_of, plan, ledger, report, budget)
            if mirror is not None:
                await SourceWriteback(self._state, ledger).write(mirror)
            report.reason = budget.reason
            status = "ended" if budget.reason is None else budget.reason.value
        finally:
            report.elapsed = self._clock.monotonic() - begun_at
            await ledger.end_run(report, status)
        return report

    async def _work(
        self,
        planner_of: Callable[[str], Planner],
        plan: SyncOptions,
        ledger: Journal,
        report: RunReport,
        budget: Budget,
    ) -> None:
        known = StateReader(self._state)
        settlement = PendingCreateResolver(known, ledger, budget, self._clock, grace=self._settings.grace)
        push = OperationExecutor(
            ledger,
            self._clock.time,
            policy=plan.rules.policy,
            read_first=self._settings.read_first,
            intended=lambda operation: settlement.sent(operation.calendar, operation.key),
        )
        tools = Tools(
            services=self._services,
            known=known,
            ledger=ledger,
            push=push,
            settlement=settlement,
            take_over=SourceWriteback(self._state, ledger),
            budget=budget,
            clock=self._clock,
            progress=self._progress,
            concurrency=self._settings.concurrency,
            passes=self._settings.passes,
            pause=self._settings.pause,
        )
        planners = {tenant_id: planner_of(tenant_id) for tenant_id in report.tenants}
        works = {
            tenant_id: TenantWorker(tenant_id, planner, tools, report.tenants[tenant_id])
            for tenant_id, planner in planners.items()
        }

        async def share(job: Job) -> bool:
            return await works[job.tenant_id].share(job)

        if self._progress is not None:
            accounts = [await planner.accounts(tenant_id, ledger.run_id) for tenant_id, planner in planners.items()]
            # What has changed on the server is not known before it is looked at.
            self._progress.begin(None if plan.mode is Mode.TWO_WAY else sum(each.to_do for each in accounts))
        try:
            await self._runner.run(works, share)
        finally:
            for work in works.values():
                await work.aclose()
            if self._progress is not None:
                self._progress.end()


async def _next_of(batches: AsyncGenerator[list[Operation], None]) -> list[Operation] | None:
    """Return the next batch, whose calls are bulk calls; `None` at the end."""
    with bulk_priority():
        return await anext(batches, None)
