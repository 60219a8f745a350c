"""`BulkSync`: brings the appointments of many tenants in sync with a source, and accounts for every record."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from connector_async._checks import check_type
from connector_async._clock import Clock, checked_clock
from connector_async.appointments import AppointmentService
from connector_async.bulk_calls import ProgressListener, check_progress
from connector_async.exceptions import (
    AuthenticationError,
    ConnectFailedError,
    ConnectorError,
    InvalidArgumentError,
    SyncError,
)
from connector_async.rate_limit import bulk_priority

from .applying.accounting import count_unsent, recorded_run
from .applying.executor import OperationExecutor, UnrecordedCreate, warn_of
from .applying.recovery import PendingCreateResolver
from .applying.scheduler import LocalRunner, Runner, Slice
from .applying.tenant_worker import RunContext, TenantWorker
from .applying.writeback import SourceWriteback, restore_pulled
from .budget import Budget, BudgetSpentError
from .exceptions import GuardError, SourceError, TargetMismatchError
from .failures import HookError
from .formats import MergingMirror, Mirror, Source, check_same_reading, expanded_range
from .guard import DeleteGuard
from .planning.operations import Operation
from .planning.options import Mode, Services, SyncOptions, SyncSettings, service_of
from .planning.planner import CalendarPlanner, Planner, PlanningContext
from .planning.saved_plan import SavedPlan
from .planning.snapshot import CalendarReader
from .records import Calendar
from .report import RunReport, TenantReport
from .scope import Selection
from .state import State
from .state.db.retrying import repeatable
from .state.diff import Differences
from .state.failure_log import tenants_with_failures
from .state.identity import Target, bind, first_calendar, mismatch, read_identity
from .state.journal import Journal
from .state.reader import StateReader
from .state.staging import Staged, stage

_BATCH: Final = 200
_SHOWN_PROBLEMS: Final = 20


class BulkSync:
    """Syncs sources with the server over one state.

    Args:
        state: What is remembered between runs.
        services: Returns the service of a calendar. Its session limits the tenant's rate, and has the wire format of
            the settings. All services have one base URL: the state belongs to one server. Any other error that this
            function raises fails that calendar alone.
        settings: How the sync works.
        clock: The clock to wait by; `None` for that of the state.
        runner: Decides which tenant is worked on when; `None` to work on all at once in this process.
        progress: Gets each operation that was sent.

    Raises:
        TypeError: If an argument has another type; the message names it.
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
        self._services = services
        self._settings = settings
        self._clock = state.clock if clock is None else checked_clock(clock)
        self._runner = runner or LocalRunner()
        self._progress = progress
        self._target: Target | None = None

    async def run(
        self, source: Source, options: SyncOptions, budget: Budget | None = None, *, mirror: Mirror | None = None
    ) -> RunReport:
        """Bring the server in sync with a source, and with `Mode.TWO_WAY` also the source with the server.

        Args:
            source: The records that the server should have.
            options: What to look at, who wins, and what may be deleted.
            budget: When to end before the work is done; `None` for no limit.
            mirror: Gets what the server has changed, for `Mode.TWO_WAY`. It is where the source reads its records. A
                `MergingMirror` may be edited by others meanwhile, and have records that cannot be read.

        Raises:
            ValueError: If `mirror` is missing with `Mode.TWO_WAY`, given with another mode or `options.tenants`, or has
                another `tenant_id` than the source, or if the options ask for what the wire format cannot do; nothing
                was written.
            TypeError: If `options` is not a `SyncOptions`.
            SourceError: If the source cannot be read at all, or has a record that cannot be read and `mirror` is not a
                `MergingMirror`. If the mirror cannot be written; what it should get is kept for the next run.
            GuardError: If more would be deleted than allowed; nothing was sent.
            TargetMismatchError: If the state belongs to another server, and `options.rebind` is off; nothing was sent.
            StateError: If the state cannot be used. The next run finds out what became of what was sent.
        """
        check_type("options", options, SyncOptions)
        if (options.mode is Mode.TWO_WAY) is (mirror is None):
            raise ValueError("mirror must be given with Mode.TWO_WAY, and only then")
        if mirror is not None:
            if options.tenants is not None:
                raise ValueError("tenants must be None in a two-way run, which writes the whole source back")
            check_same_reading(source, mirror)
        options.check(self._settings.wire_format)
        budget = budget or Budget(self._clock)
        if not options.rebind:
            await self._bind()
        await self._lease(options)
        journal = Journal.for_new_run(self._state, self._clock)
        report = RunReport(run_id=journal.run_id, expanded=expanded_range(source))
        async with recorded_run(
            journal, report, budget, self._clock, kind="run", mode=options.mode.value, conditions=options.conditions()
        ):
            try:
                context = await self._staged_context(source, options, budget, journal, report, mirror)
            except BudgetSpentError:  # without the whole source, nothing is known to be missing in it
                return report
            tenants = list(report.tenants)
            failed_tenants = await tenants_with_failures(self._state)
            busy = {*await context.tenants_with_work(tenants), *failed_tenants}
            idle = [tenant_id for tenant_id in tenants if tenant_id not in busy]
            for tenant_id, progress in (await context.progress(idle)).items():
                count_unsent(report.tenants[tenant_id], progress, retries_only=options.retry_run is not None)
            planners = {tenant_id: CalendarPlanner(tenant_id, context) for tenant_id in tenants if tenant_id in busy}
            await self._run_workers(planners, options, journal, report, budget, failed_tenants)
            if mirror is not None:
                await SourceWriteback(self._state, journal).rewrite(mirror)
        return report

    async def stage_source(
        self, source: Source, options: SyncOptions, journal: Journal, report: RunReport
    ) -> PlanningContext:
        """Start a run whose tenants are worked on by `run_tenant`, in any process: stage its source, check the guard.

        Args:
            source: The records that the server should have.
            options: What to look at, who wins, and what may be deleted; neither two-way nor with `rebind`.
            journal: That of the new run.
            report: Gets the tenants and what could not be read.

        Returns:
            What the planners of all tenants share. The state has the leases of the tenants.

        Raises:
            ValueError: If the options ask for what the wire format or such a run cannot do; nothing was written.
            SourceError: If the source cannot be read at all.
            GuardError: If more would be deleted than allowed.
            TargetMismatchError: If the state belongs to another server.
            StateError: If the state cannot be used, or another run has one of the tenants.
        """
        if options.mode is Mode.TWO_WAY or options.rebind:
            raise ValueError("options must be neither two-way nor with rebind, which concern the whole source")
        options.check(self._settings.wire_format)
        await self._bind()
        await self._lease(options)
        await journal.start_run(kind="run", mode=options.mode.value, conditions=options.conditions())
        try:
            return await self._staged_context(source, options, Budget(self._clock), journal, report)
        except BaseException:
            await journal.end_run(report, "failed")
            raise

    @property
    def target(self) -> Target | None:
        """The server of the run that was started last; `None` if it is not known."""
        return self._target

    async def bind_to(self, target: Target) -> None:
        """Bind the state to the server of a run, before anything is done for it.

        Raises:
            TargetMismatchError: If the services are of another server or wire format, or the state belongs to another
                one; the message names both.
            StateError: If the state cannot be used.
        """
        calendar = await first_calendar(self._state, has_user=self._settings.wire_format.carries_user)
        if calendar is None:
            return
        try:
            ours: object = Target.of(self._services(calendar).session)
        except SyncError:
            raise
        except InvalidArgumentError as error:  # a service of the other format
            if error.argument != "user":
                return
            ours = f"a server with the {'guide' if calendar.ad_id else 'reference'} format"
        except Exception:  # noqa: BLE001 - the application's, and of this calendar alone
            return
        if ours != target:
            raise TargetMismatchError(f"the run is for {target}, not for {ours}")
        await bind(self._state, target, now=self._clock.time())
        self._target = target

    async def run_tenant(
        self,
        tenant_id: str,
        context: PlanningContext,
        journal: Journal,
        budget: Budget,
        on_unrecorded: Callable[[UnrecordedCreate], None] = warn_of,
    ) -> RunReport:
        """Work on one tenant of a run that `stage_source` has started, until nothing is left or the budget is spent.

        Args:
            tenant_id: The tenant. The state must have its lease.
            context: That of the run.
            journal: That of the run.
            budget: When to end before the work is done.
            on_unrecorded: See `OperationExecutor`.

        Returns:
            The report of this work alone.

        Raises:
            TargetMismatchError: If the state belongs to another server; nothing was sent.
            StateError: If the state cannot be used, or another run has taken over the tenant.
        """
        if self._target is None:
            await self._bind()
        report = RunReport(run_id=journal.run_id, tenants={tenant_id: TenantReport()})
        failed_tenants = await tenants_with_failures(self._state, tenant_id)
        planners = {tenant_id: CalendarPlanner(tenant_id, context)}
        await self._run_workers(planners, context.options, journal, report, budget, failed_tenants, on_unrecorded)
        return report

    async def apply(self, saved: SavedPlan, budget: Budget | None = None) -> RunReport:
        """Execute the operations of a saved plan.

        Raises:
            StalePlanError: If the plan was made with another state, or the state has changed since for one of its
                tenants; nothing was sent.
            TargetMismatchError: If the plan or the state belongs to another server; nothing was sent.
            SourceError: If the plan names users and the wire format carries none, or the other way round; nothing was
                sent.
            StateError: If the state cannot be used. The next run finds out what became of what was sent.
        """
        budget, mode = budget or Budget(self._clock), saved.options.mode.value
        await self._state.lease(saved.tenants())
        saved.check_state(await read_identity(self._state), self._state.location)
        saved.check(await self._state.serials(), self._settings.wire_format)
        await self._bind_plan(saved)
        journal = Journal.for_new_run(self._state, self._clock)
        report = RunReport(run_id=journal.run_id)
        async with recorded_run(
            journal, report, budget, self._clock, kind="apply", mode=mode, conditions=saved.options.conditions()
        ):
            reader, tenants = StateReader(self._state), saved.tenants()
            report.tenants = {tenant_id: TenantReport() for tenant_id in tenants}
            planners = {tenant_id: saved.planner(tenant_id, reader, journal.run_id) for tenant_id in tenants}
            await self._run_workers(planners, saved.options, journal, report, budget)
        return report

    async def plan(
        self,
        source: Source,
        options: SyncOptions,
        *,
        on_unreadable: Callable[[str], None] | None = None,
        on_failure: Callable[[Calendar, ConnectorError], None] | None = None,
    ) -> AsyncGenerator[Operation, None]:
        """Yield what `run` would do, without sending anything but the reads that the mode asks for.

        Pending creates, as a crash leaves them, are not among the operations: only a run finds out what became of them.

        Args:
            source: The records that the server should have.
            options: What to look at, who wins, and what may be deleted.
            on_unreadable: Called before the first operation for each record that cannot be read or has a duplicate key,
                with the source, the line if it is known, and the reason.
            on_failure: Called with each calendar that could not be read, and the error. If it is given, the others are
                planned all the same, unless there is no connection to the server. Rejected credentials and the guard
                end the plan of the tenant.

        Raises:
            ValueError: If the options ask for what the wire format cannot do, or for `rebind`: what a run with it would
                do is not known as long as the state still knows the other server.
            TargetMismatchError: If the state belongs to another server.
            ConnectorError: If the server could not be read, and `on_failure` was not called.
            SourceError: If the source cannot be read at all.
            GuardError: If more would be deleted than allowed, or too much is missing on the server.
            StateError: If the state cannot be used.
        """
        options.check(self._settings.wire_format)
        if options.rebind:
            raise ValueError("rebind must be off in a plan, which writes nothing: run with it instead")
        await self._bind()
        await self._lease(options)
        budget = Budget(self._clock)
        staged, tenants = await self._stage(source, options, budget, forget=False, on_unreadable=on_unreadable)
        context = await self._planning_context(source, options, staged, tenants)
        for tenant_id in sorted(await context.tenants_with_work(tenants)):
            planner = CalendarPlanner(tenant_id, context)
            for calendar in await planner.calendars():
                try:
                    reader = CalendarReader(self._service(calendar), budget.operation)
                    async with aclosing(planner.batches(reader, calendar, lambda: _BATCH)) as batches:
                        while (batch := await _next_of(batches)) is not None:
                            for operation in batch:
                                yield operation
                except ConnectorError as error:
                    if on_failure is None or not _concerns_tenant(error):
                        raise
                    on_failure(calendar, error)
                    if isinstance(error, AuthenticationError | GuardError):
                        break

    async def _staged_context(
        self,
        source: Source,
        options: SyncOptions,
        budget: Budget,
        journal: Journal,
        report: RunReport,
        mirror: Mirror | None = None,
    ) -> PlanningContext:
        """Stage a source for a run, and bring its report up to date.

        Raises:
            BudgetSpentError: If the budget ended the reading.
        """
        staged, tenants = await self._stage(source, options, budget, forget=True)
        context = await self._planning_context(source, options, staged, tenants, journal)
        if staged.problems and mirror is not None and not isinstance(mirror, MergingMirror):
            reason = staged.problems[0][1].reason
            raise SourceError(f"{reason}; the source cannot be rewritten without losing what cannot be read")
        if staged.problems:
            await journal.record_dead_letters(staged.problems)
        report.unreadable = staged.unreadable
        report.problems = [letter.reason for _, letter in staged.problems[:_SHOWN_PROBLEMS]]
        report.tenants = {tenant_id: TenantReport(records=staged.records[tenant_id]) for tenant_id in tenants}
        return context

    async def _planning_context(
        self,
        source: Source,
        options: SyncOptions,
        staged: Staged,
        tenants: Sequence[str],
        journal: Journal | None = None,
    ) -> PlanningContext:
        """Check the guard, and return what the planners of all tenants share."""
        withheld = tenants if staged.withholds_all else sorted(staged.withheld)
        losing = await self._check_deletes(options, options.selection(withheld, expanded_range(source)), set(tenants))
        return PlanningContext(
            options=options,
            settings=self._settings,
            clock=self._clock,
            state=self._state,
            withheld=withheld,
            expanded=expanded_range(source),
            losing=losing,
            ambiguous=tenants if staged.withholds_all else staged.ambiguous,
            run_id="" if journal is None else journal.run_id,
            lineage="" if journal is None else journal.lineage,
            journal=journal,
        )

    def _service(self, calendar: Calendar) -> AppointmentService:
        service = service_of(self._services, calendar)
        if service.session.wire_format is not self._settings.wire_format:
            theirs, ours = service.session.wire_format, self._settings.wire_format
            raise ValueError(f"services must return a service in {ours}, as the settings say, not in {theirs}")
        target = Target.of(service.session)
        if self._target is not None and target != self._target:
            raise mismatch(self._state, self._target, target)
        return service

    async def _bind(self, *, rebind: bool = False) -> None:
        """Compare the server with that of the state before any request, and also when none will be sent.

        Raises:
            TargetMismatchError: If the state belongs to another server, and `rebind` is off.
        """
        self._target = None
        wire_format = self._settings.wire_format
        calendar = await first_calendar(self._state, has_user=wire_format.carries_user)
        if calendar is not None:
            try:
                target = Target.of(self._service(calendar).session)
            except HookError:  # the services of the other calendars are compared with what is known
                self._target = (await read_identity(self._state)).target
                return
            await bind(self._state, target, now=self._clock.time(), rebind=rebind)
            self._target = target
        elif not rebind and await first_calendar(self._state, has_user=not wire_format.carries_user) is not None:
            # No service can be asked for a calendar of the other format.
            known = (await read_identity(self._state)).target
            if known is not None and known.wire_format != wire_format.value:
                raise mismatch(self._state, known, f"a server with the {wire_format.value} format")

    async def _bind_plan(self, saved: SavedPlan) -> None:
        """Compare the server with that of a plan and of the state."""
        self._target = None
        for calendar in saved.calendars():
            target = Target.of(self._service(calendar).session)
            saved.check_target(target)
            await bind(self._state, target, now=self._clock.time())
            self._target = target
            return  # the services of the others are compared with this one

    async def _stage(
        self,
        source: Source,
        options: SyncOptions,
        budget: Budget,
        *,
        forget: bool,
        on_unreadable: Callable[[str], None] | None = None,
    ) -> tuple[Staged, list[str]]:
        """Read the source into the state, and return what was read, and all tenants.

        Raises:
            BudgetSpentError: If the budget ended the reading.
        """
        async with budget.ending():
            staged = await stage(source, self._state, self._settings.wire_format, budget.check, tenants=options.tenants)
        await self._bind(rebind=options.rebind)
        if on_unreadable is not None:
            for _, letter in staged.problems:
                on_unreadable(letter.reason)
        await restore_pulled(self._state, forget=forget)
        return staged, await self._lease(options)

    async def _lease(self, options: SyncOptions) -> list[str]:
        """Keep other runs from the tenants of a run, and return those that the state knows.

        Raises:
            StateBusyError: If another run has one of them.
        """
        known = await self._tenants()
        tenants = known if options.tenants is None else [each for each in known if each in options.tenants]
        await self._state.lease(tenants if options.tenants is None else options.tenants)
        return tenants

    @repeatable
    async def _tenants(self) -> list[str]:
        async with self._state.reading() as connection:
            return await Differences(connection, Selection()).tenants()

    @repeatable
    async def _check_deletes(
        self, options: SyncOptions, selection: Selection, tenants: Collection[str]
    ) -> Collection[str]:
        """Return those of some tenants that lose appointments, and raise if more would be deleted than allowed."""
        losing: set[str] = set()
        guard = DeleteGuard(options.max_delete, allow_empty=options.allow_empty)
        async with (
            self._state.reading() as connection,
            aclosing(Differences(connection, selection).delete_counts()) as counts,
        ):
            async for calendar, count in counts:
                if calendar.tenant_id in tenants:
                    guard.add(calendar, count)
                    if count.deletes:
                        losing.add(calendar.tenant_id)
        guard.finish()
        return losing

    async def _run_workers(
        self,
        planners: Mapping[str, Planner],
        options: SyncOptions,
        journal: Journal,
        report: RunReport,
        budget: Budget,
        failed_tenants: Collection[str] = (),
        on_unrecorded: Callable[[UnrecordedCreate], None] = warn_of,
    ) -> None:
        reader, settings = StateReader(self._state), self._settings
        resolver = PendingCreateResolver(reader, journal, budget, self._clock, settings)
        context = RunContext(
            options=options,
            settings=settings,
            services=self._service,
            state_reader=reader,
            journal=journal,
            executor=OperationExecutor(journal, resolver, self._clock, options, settings, on_unrecorded),
            resolver=resolver,
            writeback=SourceWriteback(self._state, journal),
            budget=budget,
            clock=self._clock,
            failed_tenants=failed_tenants,
            progress=self._progress,
        )
        workers = {
            tenant_id: TenantWorker(tenant_id, planner, context, report.tenants[tenant_id])
            for tenant_id, planner in planners.items()
        }

        async def run_slice(piece: Slice) -> bool:
            return await workers[piece.tenant_id].run_slice(piece.quantum)

        if self._progress is not None:
            # How much has changed on the server is not known before the previews.
            has_total = options.mode is not Mode.TWO_WAY
            progress = [await planner.progress() for planner in planners.values()]
            self._progress.begin(sum(tenant.to_do for tenant in progress) if has_total else None)
        try:
            await self._runner.run(workers, run_slice)
        finally:
            for worker in workers.values():
                await worker.aclose()
            if self._progress is not None:
                self._progress.end()


def _concerns_tenant(error: ConnectorError) -> bool:
    """Return whether an error says nothing about other tenants."""
    return isinstance(error, GuardError) or not isinstance(error, ConnectFailedError | SyncError)


async def _next_of(batches: AsyncGenerator[list[Operation], None]) -> list[Operation] | None:
    """Return the next batch; `None` at the end.

    The priority is set here for each batch: set inside the generator, it would stay set for the caller between batches.
    """
    with bulk_priority():
        return await anext(batches, None)
