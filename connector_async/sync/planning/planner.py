"""What a plan comes to for one calendar: operations, a batch at a time.

It changes nothing; it looks at the server as far as the plan's mode says.
"""

import functools
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Protocol

import attrs

from connector_async.appointments import AppointmentService
from connector_async.exceptions import NotFoundError
from connector_async.models import Appointment
from connector_async.sync.budget import Budget
from connector_async.sync.guard import MissingGuard
from connector_async.sync.records import Calendar
from connector_async.sync.report import TenantReport
from connector_async.sync.state import State
from connector_async.sync.state.diff import Differences, Entry, TenantProgress
from connector_async.sync.state.reader import StateReader

from .operations import Get, Operation, Reconciler
from .options import SyncOptions
from .snapshot import ServerSnapshot
from .three_way import Mode
from .traffic_meter import TrafficMeter

_PAGE: Final = 200


@attrs.frozen(kw_only=True)
class Remaining:
    """What is left to do with some keys."""

    operations: Sequence[Operation]
    others: Collection[str]
    """The keys that are out of step, and that the run is not meant for."""


class Planner(Protocol):
    """Says what is to be done in the calendars of one tenant."""

    @property
    def meter(self) -> TrafficMeter:
        """What reads off what is sent for the tenant."""
        ...

    @property
    def looks_at_all(self) -> bool:
        """Whether calendars are looked at in which the source has changed nothing."""
        ...

    async def calendars(self, tenant_id: str) -> Sequence[Calendar]:
        """Return those that there is something to do in, as far as that is known without looking at the server."""
        ...

    def batches(
        self, service: AppointmentService, calendar: Calendar, size: Callable[[], int]
    ) -> AsyncGenerator[list[Operation], None]:
        """Yield what is to be done in one, so many operations at a time."""
        ...

    async def again(self, calendar: Calendar, keys: Collection[str], run_id: str) -> Remaining:
        """Return what is to be done with keys of which it has been found out what the server has."""
        ...

    async def accounts(self, tenant_id: str, run_id: str) -> TenantProgress:
        """Return how far the keys of a tenant have come in a run."""
        ...

    @property
    def tries_again(self) -> bool:
        """Whether only what a run has given up is tried again."""
        ...


@attrs.frozen(kw_only=True)
class PlanningContext:
    """What the planners of all tenants share."""

    state: State
    known: StateReader
    """What the server had."""
    budget: Budget
    """Says whether it may be looked."""
    guard: MissingGuard
    """What the source would lose for being gone from the server."""
    withheld: Sequence[str] = ()
    """Tenants of which nothing is deleted, since a record of theirs could not be read."""
    lineage: str = ""
    """The runs whose finished calendars need not be looked at again."""


class CalendarPlanner:
    """Plans the calendars of one tenant.

    Args:
        plan: How to go about it.
        looking: What the planners of all tenants share.
        report: Is told how many requests were needed to look.
    """

    def __init__(self, plan: SyncOptions, looking: PlanningContext, report: TenantReport) -> None:
        self._plan = plan
        self._looking = looking
        self._report = report
        self._selection = plan.selection(looking.withheld)
        self._looked_at: set[Calendar] = set()
        self.meter = TrafficMeter(looking.budget, report)
        """What reads off what is sent for the tenant."""

    @property
    def looks_at_all(self) -> bool:
        """Whether calendars are looked at in which the source has changed nothing."""
        return self._plan.mode is Mode.TWO_WAY and self._plan.retry_run is None

    async def calendars(self, tenant_id: str) -> Sequence[Calendar]:
        """Return those that there is something to do in, as far as that is known without looking at the server."""
        lineage = self._looking.lineage if self.looks_at_all else None
        async with self._differences() as differences:
            return await differences.calendars(tenant_id, unless_done_by=lineage)

    async def accounts(self, tenant_id: str, run_id: str) -> TenantProgress:
        """Return how far the keys of a tenant have come in a run."""
        async with self._differences() as differences:
            return await differences.progress(tenant_id, run_id)

    @property
    def tries_again(self) -> bool:
        """Whether only what a run has given up is tried again."""
        return self._plan.retry_run is not None

    async def batches(
        self, service: AppointmentService, calendar: Calendar, size: Callable[[], int]
    ) -> AsyncGenerator[list[Operation], None]:
        """Look at a calendar if the mode says so, and yield what is to be done; nothing once the budget is spent.

        Args:
            service: Of the calendar.
            calendar: Whose keys.
            size: Returns how many entries to read for the next batch.

        Raises:
            ConnectorError: The server could not be looked at.
            GuardError: More has gone from the server than may have.
        """
        try:
            is_first = calendar not in self._looked_at
            remote = None if self._plan.mode is Mode.TRUST else await self._look(service, calendar, is_first=is_first)
            if remote is not None:
                self._looked_at.add(calendar)
            comparison = self._comparison(calendar, remote, functools.partial(self._get, service, is_first=is_first))
            after = None
            while entries := await self._entries(calendar, after, size(), changed=remote is None):
                found = [await comparison.operation(entry) for entry in entries]
                yield [operation for operation in found if operation is not None]
                after = entries[-1].key
        except _SpentError:
            return
        if self.looks_at_all:
            untracked = comparison.untracked()
            while batch := list(itertools.islice(untracked, size())):
                yield batch

    async def again(self, calendar: Calendar, keys: Collection[str], run_id: str) -> Remaining:
        """Return what is to be done with keys of which it has been found out what the server has."""
        comparison = self._comparison(calendar, None, _nothing)
        found, after = [], None
        while entries := await self._entries(calendar, after, _PAGE, changed=True):
            found += [await comparison.operation(entry) for entry in entries if entry.key in keys]
            after = entries[-1].key
        async with self._differences() as differences:
            others = await differences.skipped_keys(calendar, keys, run_id)
        return Remaining(operations=[operation for operation in found if operation is not None], others=others)

    def _comparison(self, calendar: Calendar, remote: ServerSnapshot | None, get: Get) -> Reconciler:
        two_way = remote is not None and self._plan.mode is Mode.TWO_WAY
        return Reconciler(calendar, remote, self._plan.rules, get, two_way=two_way)

    async def _get(self, service: AppointmentService, appointment_id: str, *, is_first: bool) -> Appointment | None:
        with self._spending():
            self._report.minimum += is_first
            try:
                return await service.get(appointment_id)
            except NotFoundError:
                return None

    async def _look(self, service: AppointmentService, calendar: Calendar, *, is_first: bool) -> ServerSnapshot:
        scope, window, known = self._plan.scope, self._plan.window, self._looking.known
        with self._spending():
            had = await known.last_seen(calendar, *scope.as_texts())
            remote = await ServerSnapshot.look(service, had, scope.start, scope.end, window=window)
        self._report.minimum += remote.pages * is_first
        missing = remote.missing
        if missing and self.looks_at_all:
            self._looking.guard.check(
                calendar,
                missing=len(missing),
                shown=remote.shown,
                known=sum(each.in_range for each in had.values()),
                known_of_tenant=await known.count_appointments(calendar.tenant_id),
                known_of_all=await known.count_appointments(),
            )
        return remote

    @contextmanager
    def _spending(self) -> Iterator[None]:
        if not self._looking.budget.begin():
            raise _SpentError
        try:
            yield
        finally:
            self._looking.budget.end()
            self.meter.note()

    async def _entries(self, calendar: Calendar, after: str | None, size: int, *, changed: bool) -> list[Entry]:
        async with self._differences() as differences:
            return await differences.entries(calendar, after, size, changed=changed)

    @asynccontextmanager
    async def _differences(self) -> AsyncIterator[Differences]:
        async with self._looking.state.reading() as connection:
            yield Differences(connection, self._selection)


class _SpentError(Exception):
    """Nothing more may be asked of the server."""


async def _nothing(_: str) -> None:
    """Stand for a server that is not asked."""
