"""`Share`: one tenant's part of a run, which any process can work on; and the work on it.

Any engine that delivers each share at least once is correct, whatever it repeats, delays or reorders. What keeps two
processes from working on one tenant is its lease in the state, and what is left to do is in the state as well.
"""

import enum
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, Final, Self

import attrs

from connector_async._checks import check_int, check_tenant_id, check_text, check_type, validator
from connector_async._clock import Clock, checked_clock
from connector_async.exceptions import ConnectorError
from connector_async.sync.budget import Budget, StopReason
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.exceptions import (
    FencedError,
    StateBusyError,
    StateDamagedError,
    StateError,
    StateVersionError,
)
from connector_async.sync.failures import Failure
from connector_async.sync.planning.options import Services
from connector_async.sync.planning.planner import PlanningContext
from connector_async.sync.report import Fate, RunReport, Stopped, TenantReport
from connector_async.sync.request_timeline import RequestTimeline
from connector_async.sync.state import State
from connector_async.sync.state.db.engine import LEASE_SECONDS
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.shares import (
    ShareStatus,
    StoredShare,
    count_settled,
    ending_of,
    has_share,
    lease_share,
    read_shared_options,
    read_shared_report,
    write_share,
)

from .stored_options import RunSettings
from .unrecorded import UnrecordedCreates

QUANTUM: Final = 1_000
"""How many requests a share has at most by default. At the documented limit, that is a quarter of an hour."""

_MOST_RUNS: Final = 8  # whose options are kept in memory
_WRITTEN: Final = (Fate.CREATED, Fate.UPDATED, Fate.DELETED, Fate.UNCHANGED)
_GIVEN_UP: Final = (Fate.CONFLICT, Fate.REFUSED)
_ADDED: Final = (*_WRITTEN, Fate.PULLED)
"""What a later slice of work adds to. The other fates are those of the last slice."""


@attrs.frozen(kw_only=True)
class Share:
    """One tenant's part of a run. It is plain data, without personal data, for the message of any queue.

    Raises:
        ValueError: If a value breaks its rule; the message names it.
        TypeError: If a value has another type; the message names it.
    """

    run_id: str = attrs.field(validator=validator(check_text))
    """The run, as its report names it."""
    tenant_id: str = attrs.field(validator=lambda *checked: check_tenant_id(checked[2]))
    """The tenant."""
    quantum: int = attrs.field(default=QUANTUM, validator=validator(check_int))
    """How many requests to send before the tenant's lease is given back, and other shares get their turn."""

    def as_json(self) -> dict[str, Any]:
        """Return the share as a JSON object."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Return the share of a JSON object that `as_json` has made. Further members are ignored.

        Raises:
            ValueError: If a member is missing or breaks its rule.
            TypeError: If a member has another type.
        """
        check_type("fields", fields, Mapping)
        names = [field.name for field in attrs.fields(cls)]
        if missing := [name for name in names if name not in fields]:
            raise ValueError(f"a share must have {', '.join(missing)}")
        return cls(**{name: fields[name] for name in names})


class ShareResult(enum.Enum):
    """What became of a share."""

    DONE = "done"
    """Nothing is left: the tenant is done or has failed, or another source was staged for it."""
    MORE = "more"
    """Its quantum was used up, or the worker was stopped: put it into the queue again."""
    BUSY = "busy"
    """Another process works on the tenant, or was killed less than a lease ago: retry in some seconds."""
    UNKNOWN = "unknown"
    """The state does not have such a run, or no such tenant in it: drop the share."""

    @property
    def has_more(self) -> bool:
        """Whether the share must be delivered again."""
        return self in {ShareResult.MORE, ShareResult.BUSY}


class ShareWorker:
    """Works on shares over one open state, which all of them use: for a process that works on many.

    Shares of different tenants can be worked on concurrently.

    Args:
        state: The open state. Nothing else may use it for runs.
        services: Returns the service of a calendar; see `BulkSync`. Processes keep the limit of a tenant together if
            its sessions have a `rate_limit_store` that they share.
        clock: The clock to wait by; `None` for that of the state.

    Raises:
        TypeError: If `state` is not a `State`.
    """

    def __init__(self, state: State, services: Services, *, clock: Clock | None = None) -> None:
        check_type("state", state, State)
        self._state = state
        self._services = services
        self._clock = state.clock if clock is None else checked_clock(clock)
        self._runs: dict[str, tuple[RunSettings, BulkSync]] = {}
        self._budgets: dict[str, Budget] = {}
        """The budgets of the shares that are worked on, by tenant."""
        self._unrecorded = UnrecordedCreates(state, self._clock)
        self._is_stopped = False

    @property
    def state(self) -> State:
        """The open state."""
        return self._state

    def stop(self) -> None:
        """Let no operation start any more. Shares end when their operations in flight have, and have more left."""
        self._is_stopped = True
        for budget in self._budgets.values():
            budget.stop()

    async def finish(self) -> None:
        """Find out a last time whether others have found what this process has created and could not record.

        Call it when no share is worked on any more, before the state is closed. What they have not found may exist
        twice, and is logged.
        """
        await self._unrecorded.finish()

    async def work(self, share: Share) -> ShareResult:
        """Send what is left of a share, its quantum at most, and return what became of it.

        Raises:
            TargetMismatchError: If `services` are of another server or wire format than the run: this process cannot
                work on any share of it. The tenant was not taken from others.
            StateVersionError: If another version of this package has started the run, with options that this one does
                not know.
            StateDamagedError: If what the state has of the tenant cannot be read. `give_up` ends the share.
            StateError: If the state cannot be used. The share must be delivered again, some times at most; `give_up`
                ends it.
        """
        check_type("share", share, Share)
        if self._is_stopped:
            return ShareResult.MORE
        async with AsyncExitStack() as stack:
            try:
                stack.enter_context(self._reserved(share.tenant_id))
            except StateBusyError:
                return ShareResult.BUSY
            run = await self._run(share.run_id)
            if run is None:
                return ShareResult.UNKNOWN
            try:
                stored = await stack.enter_async_context(self._leased(share))
            except StateBusyError:
                return ShareResult.BUSY
            if stored is None:
                return await self._ended(share)
            try:
                result = await self._work_leased(share, stored, *run)
            except FencedError:  # this process was stopped for longer than a lease, and another one works on it
                return ShareResult.BUSY
        if result is ShareResult.DONE:
            await end_shared_run(self._state, share.run_id, self._clock)
        return result

    async def give_up(self, share: Share, error: Exception) -> bool:
        """Record that a share has failed permanently, so that its run can end. The next run does what is left of it.

        The reason is the message of a `ConnectorError`; that of another error may have personal data, and only its
        class is recorded.

        Args:
            share: The share.
            error: What its work has raised.

        Returns:
            Whether it was recorded: not if the share was not waiting any more.

        Raises:
            StateBusyError: If the tenant is worked on, in another process or in this one.
            StateError: If the state cannot be used.
        """
        check_type("share", share, Share)
        check_type("error", error, Exception)
        with self._reserved(share.tenant_id):
            async with self._leased(share, replace_damaged=True) as stored:
                if stored is not None:
                    await self._record_failed(share, stored, error)
        await end_shared_run(self._state, share.run_id, self._clock)
        return stored is not None

    async def _record_failed(self, share: Share, stored: StoredShare, error: Exception) -> None:
        report = stored.report
        before = report.counts.total()
        with suppress(StateDamagedError):  # what it has settled cannot be read
            await self._correct(share, report)
        settled = report.counts.total() - before  # keys that were not started when the last slice ended
        report.counts[Fate.NOT_STARTED] = max(0, report.counts[Fate.NOT_STARTED] - settled)
        report.stopped = Stopped.ERROR
        if isinstance(error, ConnectorError):
            failure = attrs.evolve(Failure.of(error), operation="sync")
        else:
            reason = "an error in the program or its settings; the log of the worker has it"
            failure = Failure(operation="sync", error=type(error).__name__, reason=reason)
        await write_share(self._state, share.run_id, attrs.evolve(stored, status=ShareStatus.FAILED), failure)

    @contextmanager
    def _reserved(self, tenant_id: str) -> Iterator[None]:
        """Keep other tasks of this process from a tenant. A lease does not: it is that of the process.

        Raises:
            StateBusyError: If the tenant is worked on in this process.
        """
        if tenant_id in self._budgets:
            raise StateBusyError(f"{self._state.location}: this process works on tenant {tenant_id}")
        self._budgets[tenant_id] = Budget(self._clock)
        try:
            yield
        finally:
            del self._budgets[tenant_id]

    @asynccontextmanager
    async def _leased(self, share: Share, *, replace_damaged: bool = False) -> AsyncIterator[StoredShare | None]:
        """Keep other processes from the tenant of a share, and return the share, or `None` if it is not waiting.

        Raises:
            StateBusyError: If the tenant is worked on in another process.
            StateDamagedError: If the share cannot be read, and is not to be replaced; see `lease_share`.
        """
        stored = await lease_share(self._state, share.run_id, share.tenant_id, replace_damaged=replace_damaged)
        try:
            yield stored
        finally:
            if self._state.has_lease(share.tenant_id):  # not if it was released with the result of the work
                await self._state.release([share.tenant_id])

    async def _ended(self, share: Share) -> ShareResult:
        """Return the result of a share that is not waiting."""
        if not await has_share(self._state, share.run_id, share.tenant_id):
            return ShareResult.UNKNOWN
        await end_shared_run(self._state, share.run_id, self._clock)  # a worker may have been killed just before
        return ShareResult.DONE

    async def _work_leased(self, share: Share, stored: StoredShare, run: RunSettings, sync: BulkSync) -> ShareResult:
        # A quantum that did not suffice for any result, such as one preview of many pages, is doubled.
        budget = Budget(self._clock, max_requests=share.quantum << stored.idle)
        self._budgets[share.tenant_id] = budget
        if self._is_stopped:
            budget.stop()
        journal = Journal(self._state, share.run_id, self._clock)
        context = PlanningContext(
            options=run.options,
            settings=run.settings,
            clock=self._clock,
            state=self._state,
            withheld=[share.tenant_id] if stored.withheld else [],
            expanded=run.expanded,
            ambiguous=[share.tenant_id] if stored.ambiguous else [],
            run_id=share.run_id,
            lineage=share.run_id,
            journal=journal,
        )
        report = await sync.run_tenant(share.tenant_id, context, journal, budget, self._unrecorded.add)
        return await self._finish(share, stored, report.tenants[share.tenant_id], budget.reason, run)

    async def _finish(
        self, share: Share, stored: StoredShare, report: TenantReport, reason: StopReason | None, run: RunSettings
    ) -> ShareResult:
        """Record the result of a slice of work."""
        has_result = any(report.counts[fate] for fate in (*_ADDED, *_GIVEN_UP))
        idle = 0 if has_result else stored.idle + (reason is StopReason.REQUESTS)
        has_more = reason is not None and idle < run.settings.passes
        add_report(stored.report, report)
        if not has_more:
            await self._correct(share, stored.report)
        status = ShareStatus.WAITING if has_more else ShareStatus.DONE
        await write_share(self._state, share.run_id, attrs.evolve(stored, status=status, idle=idle))
        return ShareResult.MORE if has_more else ShareResult.DONE

    async def _correct(self, share: Share, report: TenantReport) -> None:
        """Count what processes have done that were killed before they could report it.

        What was given up is counted as the state has it: a later slice gives the same conflict up once more.
        """
        settled = await count_settled(self._state, share.run_id, share.tenant_id)
        lost = sum(settled[fate] for fate in _WRITTEN) - sum(report.counts[fate] for fate in _ADDED)
        for fate in _WRITTEN:
            uncounted = min(lost, settled[fate] - report.counts[fate])
            if uncounted > 0:
                report.counts[fate] += uncounted
                lost -= uncounted
        for fate in _GIVEN_UP:
            report.counts[fate] = settled[fate]

    async def _run(self, run_id: str) -> tuple[RunSettings, BulkSync] | None:
        """Return the settings of a run, and what works on its tenants; `None` if the state has no such run.

        Raises:
            TargetMismatchError: If `services` are of another server or wire format.
            StateVersionError: If this version does not know the settings.
        """
        if run_id not in self._runs:
            stored = await read_shared_options(self._state, run_id)
            if stored is None:
                return None
            try:
                run = RunSettings.from_json(stored)
            except (ValueError, TypeError, LookupError):
                raise StateVersionError(
                    f"{self._state.location}: another version of connector_async has started run {run_id}, with "
                    "options that this version does not know; let workers of that version do it"
                ) from None
            sync = BulkSync(self._state, self._services, run.settings, clock=self._clock)
            if run.target is not None:
                await sync.bind_to(run.target)
            while len(self._runs) >= _MOST_RUNS:
                del self._runs[next(iter(self._runs))]
            self._runs[run_id] = run, sync
        return self._runs[run_id]


def ends_share(error: Exception) -> bool:
    """Return whether the work on a share that has raised this error can never succeed, in any process.

    A database may restart, a lease may be lost, and another process may have another version or server. A state that is
    damaged stays so.
    """
    return not isinstance(error, StateError) or isinstance(error, StateDamagedError)


async def work_share(
    state_url: str, share: Share, services: Services, *, lease: float = LEASE_SECONDS, wait: float = 0.0
) -> bool:
    """Send what is left of a share, its quantum at most, and return whether more is left.

    If so, the share must be delivered again: at once, or in some seconds if another process works on the tenant. After
    an error as well: if it is permanent, the share is recorded as failed, and nothing is left the next time. It opens
    the state for this share; a process that works on many has a `ShareWorker`.

    Args:
        state_url: The URL of the state.
        share: The share. One that is delivered twice, or whose run has ended or was deleted, does no harm.
        services: Returns the service of a calendar; see `BulkSync`.
        lease: Seconds after which another process may take over the tenant if this one was killed.
        wait: Seconds to wait while another process works on the tenant.

    Raises:
        TargetMismatchError: If `services` are of another server or wire format than the run.
        StateError: If the state cannot be used.
        ValueError: If an argument breaks its rule.
    """
    async with await State.open(state_url, owner=f"share of {share.run_id}", lease=lease, wait=wait) as state:
        worker = ShareWorker(state, services)
        try:
            return (await worker.work(share)).has_more
        except Exception as error:
            if ends_share(error):
                await worker.give_up(share, error)
            raise
        finally:
            await worker.finish()


async def end_shared_run(state: State, run_id: str, clock: Clock) -> None:
    """Record the end of a run if none of its shares is waiting."""
    ending = await ending_of(state, run_id)
    if ending is None:
        return
    status, started_at = ending
    report = RunReport(run_id=run_id)
    with suppress(StateDamagedError):  # the run ends all the same
        report = await read_shared_report(state, run_id) or report
    report.elapsed = max(0.0, clock.time() - started_at)
    await Journal(state, run_id, clock).end_run(report, status)


def add_report(total: TenantReport, report: TenantReport) -> None:
    """Add what a slice of work has reported to what the slices before it have."""
    counts = total.counts.copy()
    total.counts.clear()
    total.counts.update({fate: counts[fate] for fate in (*_ADDED, *_GIVEN_UP) if counts[fate]})
    total.counts.update(report.counts)
    for name in ("records", "in_sync", "calendars_failed", "calendars_refused", "stopped"):
        setattr(total, name, getattr(report, name))
    for name in ("minimum", "requests", "waited", "elapsed"):
        setattr(total, name, getattr(total, name) + getattr(report, name))
    _add_timeline(total.timeline, report.timeline)


def _add_timeline(total: RequestTimeline, timeline: RequestTimeline) -> None:
    if timeline.started_at is None:
        return
    if total.started_at is None:
        total.started_at, total.limit = timeline.started_at, timeline.limit
    for index, requests in enumerate(timeline.requests):
        if requests:
            seconds = timeline.started_at - total.started_at + index * timeline.interval
            total.add(max(0.0, seconds), requests)
