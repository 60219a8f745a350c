"""The planners: what to do in each calendar of a tenant, one batch of operations at a time.

They look at the server as far as the mode says, and change nothing, except that a run records what a look confirms.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final, Protocol

import attrs

from connector_async._clock import Clock
from connector_async._timestamps import parse_instant
from connector_async.sync.budget import BudgetSpentError
from connector_async.sync.guard import MissingGuard
from connector_async.sync.records import Calendar
from connector_async.sync.scope import Scope, Selection
from connector_async.sync.state import State
from connector_async.sync.state.db.retrying import repeatable
from connector_async.sync.state.diff import Differences, Entry, TenantProgress
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.reader import StateReader

from .operations import Get, Operation, Reconciler
from .options import Mode, SyncOptions, SyncSettings
from .snapshot import CalendarReader, ServerSnapshot

_PAGE: Final = 200


@attrs.frozen(kw_only=True)
class Remaining:
    """What is left to do with some keys."""

    operations: Sequence[Operation]
    others: Collection[str]
    """The keys that are out of sync, and that the run does not act on."""


class Planner(Protocol):
    """Says what to do in the calendars of one tenant."""

    async def calendars(self) -> Sequence[Calendar]:
        """Return the calendars with known work, without contacting the server."""
        ...

    def batches(
        self, reader: CalendarReader, calendar: Calendar, size: Callable[[], int]
    ) -> AsyncGenerator[list[Operation], None]:
        """Yield the operations of a calendar, `size()` at a time at most."""
        ...

    async def remaining(self, calendar: Calendar, keys: Collection[str]) -> Remaining:
        """Return what is left to do with keys after their pending creates have been resolved."""
        ...

    async def progress(self) -> TenantProgress:
        """Return how far the tenant's keys are in this run."""
        ...


@attrs.frozen(kw_only=True)
class PlanningContext:
    """What the planners of all tenants share."""

    options: SyncOptions
    settings: SyncSettings
    clock: Clock
    state: State
    expanded: Scope | None = None
    """The range of time within which the source has occurrences of recurring events."""
    withheld: Sequence[str] = ()
    """The tenants that keep every appointment, since one of their records could not be read."""
    losing: Collection[str] = ()
    """The tenants with known appointments that the source has lost, and that are to be deleted."""
    ambiguous: Collection[str] = ()
    """The tenants with a record that cannot be read, and may be of an appointment that the state does not know."""
    run_id: str = ""
    lineage: str = ""
    """The run that this run resumes, or its own id. Calendars that were finished in it are not looked at again."""
    journal: Journal | None = None
    """Records what a look confirms; `None` for a plan, which changes nothing."""

    guard: MissingGuard = attrs.field(
        init=False,
        default=attrs.Factory(
            lambda self: MissingGuard(self.options.max_delete, allow_empty=self.options.allow_empty), takes_self=True
        ),
    )
    """Stops a tenant if too many of its appointments are missing on the server."""
    _selection: Selection = attrs.field(
        init=False,
        default=attrs.Factory(lambda self: self.options.selection(self.withheld, self.expanded), takes_self=True),
    )

    @asynccontextmanager
    async def differences(self) -> AsyncIterator[Differences]:
        """Return the differences to act on, as they are in the state now."""
        async with self.state.reading() as connection:
            yield Differences(connection, self._selection)

    @repeatable
    async def tenants_with_work(self, tenant_ids: Sequence[str]) -> Collection[str]:
        """Return those of some leased tenants that have calendars with known work; see `Planner.calendars`."""
        if self.options.looks_at_all_calendars:
            return tenant_ids
        async with self.differences() as differences:
            changed = await differences.tenants_with_changes(tenant_ids)
        return changed.union(tenant_id for tenant_id in tenant_ids if tenant_id in self.losing)

    @repeatable
    async def progress(self, tenant_ids: Sequence[str]) -> Mapping[str, TenantProgress]:
        """Return how far the keys of each of some leased tenants are in this run."""
        async with self.differences() as differences:
            return await differences.progress(tenant_ids, self.run_id)


class CalendarPlanner:
    """Compares the source with the state, and with the server as far as the mode says, for one tenant.

    Args:
        tenant_id: The tenant.
        context: What the planners of all tenants share.
    """

    def __init__(self, tenant_id: str, context: PlanningContext) -> None:
        self._tenant_id = tenant_id
        self._context = context
        self._options = context.options

    @repeatable
    async def calendars(self) -> Sequence[Calendar]:
        """Return the calendars with known work, without contacting the server."""
        lineage = self._context.lineage if self._options.looks_at_all_calendars else None
        async with self._context.differences() as differences:
            return await differences.calendars(self._tenant_id, unless_done_by=lineage)

    async def batches(
        self, reader: CalendarReader, calendar: Calendar, size: Callable[[], int]
    ) -> AsyncGenerator[list[Operation], None]:
        """Look at a calendar if the mode says so, and yield its operations, until the budget is spent.

        Args:
            reader: Reads the calendar on the server.
            calendar: The calendar.
            size: Returns how many keys to read for the next batch.

        Raises:
            ConnectorError: If the server could not be read.
            GuardError: If too much is missing on the server.
        """
        looks = self._options.mode is not Mode.TRUST
        try:
            snapshot = await (self._look(reader, calendar) if looks else self._look_first(reader, calendar))
            reconciler = self._reconciler(calendar, snapshot, reader.get)
            # A first look shows which of the new records exist already, and says nothing about the others.
            trusting = reconciler if looks else self._reconciler(calendar, None, reader.get)
            after = None
            while entries := await self._entries(calendar, after, size(), changed=not looks):
                operations = [
                    await (reconciler if entry.base is None else trusting).operation(entry) for entry in entries
                ]
                yield [operation for operation in operations if operation is not None]
                after = entries[-1].key
            if self._options.retry_run is None and (replaced := reconciler.replaced()):
                yield replaced
            if self._options.looks_at_all_calendars and self._tenant_id not in self._context.ambiguous:
                async with aclosing(reconciler.untracked()) as untracked:
                    while batch := await _next(untracked, size()):
                        yield batch
        except BudgetSpentError:
            return

    async def remaining(self, calendar: Calendar, keys: Collection[str]) -> Remaining:
        """Return what is left to do with keys after their pending creates have been resolved."""
        reconciler = self._reconciler(calendar, None, _get_nothing)
        operations, after = [], None
        while entries := await self._entries(calendar, after, _PAGE, changed=True):
            operations += [await reconciler.operation(entry) for entry in entries if entry.key in keys]
            after = entries[-1].key
        others = await self._skipped_keys(calendar, keys)
        return Remaining(operations=[operation for operation in operations if operation is not None], others=others)

    async def progress(self) -> TenantProgress:
        """Return how far the tenant's keys are in this run."""
        return (await self._context.progress([self._tenant_id]))[self._tenant_id]

    def _reconciler(self, calendar: Calendar, snapshot: ServerSnapshot | None, get: Get) -> Reconciler:
        two_way = snapshot is not None and self._options.mode is Mode.TWO_WAY
        return Reconciler(calendar, snapshot, self._options.rules, get, two_way=two_way)

    async def _look(self, reader: CalendarReader, calendar: Calendar) -> ServerSnapshot:
        state_reader = StateReader(self._context.state)
        # A plan shows what the server shows: it cannot wait until a recent write is sure to be shown.
        is_run = self._context.journal is not None
        recent = self._context.settings.recent(self._context.clock.time()) if is_run else None
        known = await state_reader.last_seen(calendar, *self._options.scope.bounds(), recent=recent)
        snapshot = await reader.look(known, self._options.scope, self._options.window)
        if self._context.journal is not None and (confirmed := snapshot.unconfirmed):
            await self._context.journal.record_confirmed(calendar, confirmed)
        snapshot.match_recreated()
        if snapshot.untracked:
            snapshot.reserve(await state_reader.new_contents(calendar))
        if self._options.looks_at_all_calendars:
            await snapshot.check_missing(self._context.guard, calendar, state_reader)
        return snapshot

    async def _look_first(self, reader: CalendarReader, calendar: Calendar) -> ServerSnapshot | None:
        """Return what the server has in a calendar that was never looked at; `None` if it was, or is taken to be empty.

        The range of time is that of the source's records of the calendar, whatever the scope: what they may match is
        there.
        """
        state_reader = StateReader(self._context.state)
        if self._options.assume_empty or await state_reader.was_looked_at(calendar):
            return None
        if (span := await state_reader.span(calendar)) is None:
            return None
        known = await state_reader.last_seen(calendar)
        scope = Scope.around(*map(parse_instant, span)) if reader.needs_range else Scope()
        return await reader.look(known, scope, self._options.window if reader.needs_range else None)

    @repeatable
    async def _skipped_keys(self, calendar: Calendar, keys: Collection[str]) -> set[str]:
        async with self._context.differences() as differences:
            return await differences.skipped_keys(calendar, keys, self._context.run_id)

    @repeatable
    async def _entries(self, calendar: Calendar, after: str | None, size: int, *, changed: bool) -> list[Entry]:
        async with self._context.differences() as differences:
            return await differences.entries(calendar, after, size, changed=changed)


async def _next(operations: AsyncIterator[Operation], size: int) -> list[Operation]:
    """Return the next operations, `size` at most."""
    batch: list[Operation] = []
    while len(batch) < size and (operation := await anext(operations, None)) is not None:
        batch.append(operation)
    return batch


async def _get_nothing(_: str) -> None:
    """Return `None`, as for an appointment that does not exist, without a request."""
