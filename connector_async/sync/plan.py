"""How a run goes about its work, and what that comes to for one calendar: operations, a batch at a time.

It changes nothing; it looks at the server as far as the mode says.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from datetime import timedelta
from typing import Final, Protocol

import attrs
from sqlalchemy.ext.asyncio import AsyncConnection

from connector_async.appointments import AppointmentService
from connector_async.exceptions import NotFoundError
from connector_async.models import Appointment

from .budget import Budget
from .decision import Mode
from .differences import Differences, Entry, Scope
from .exceptions import GuardError
from .guard import DeleteCount, MaxDelete
from .ledger import Ledger
from .operations import Comparison, Operation, Rules
from .records import Calendar
from .remote import Remote
from .report import TenantReport
from .state import State

Services = Callable[[Calendar], AppointmentService]
"""Returns the service of a calendar, over a session for its tenant."""

MAX_DELETE: Final = MaxDelete(share=0.5)

_PAGE: Final = 200


@attrs.frozen(kw_only=True)
class Plan:
    """How a run goes about its work."""

    mode: Mode = Mode.TRUST
    """What of the server is looked at."""
    rules: Rules = attrs.field(factory=Rules)
    """Who wins."""
    scope: Scope = attrs.field(factory=Scope)
    """Which time the source speaks of, and is looked at."""
    window: timedelta | None = None
    """How long a time is previewed at once; `None`: the whole scope."""
    max_delete: MaxDelete = MAX_DELETE
    """How much may be deleted at once."""
    allow_empty: bool = False
    """Whether a tenant of which the source has no record may lose what is known of it."""
    retry_run: str | None = None
    """The run whose dead letters are tried again, and nothing else; `None`: everything but dead letters."""
    withheld: Sequence[str] = ()
    """Tenants of which nothing is deleted, since a record of theirs could not be read."""


class Planner(Protocol):
    """Says what is to be done in the calendars of one tenant."""

    @property
    def looks_at_all(self) -> bool:
        """Whether calendars are looked at in which the source has changed nothing."""
        ...

    def calendars(self, tenant_id: str) -> AsyncGenerator[Calendar, None]:
        """Yield those that there is something to do in."""
        ...

    def batches(
        self, service: AppointmentService, calendar: Calendar, size: Callable[[], int]
    ) -> AsyncGenerator[list[Operation], None]:
        """Yield what is to be done in one, so many operations at a time."""
        ...

    async def again(self, calendar: Calendar, keys: Collection[str]) -> list[Operation]:
        """Return what is to be done with keys of which it is known that nothing of theirs is on the server."""
        ...

    async def count(self, tenant_id: str) -> int:
        """Return how many keys of a tenant are left to do."""
        ...


class CalendarPlanner:
    """Plans the calendars of one tenant.

    Args:
        plan: How to go about it.
        state: Where what was in step and what the source has are compared.
        ledger: Knows what the server had.
        report: Is told how many requests were needed to look.
        budget: Says whether it may be looked.
    """

    def __init__(self, plan: Plan, state: State, ledger: Ledger, report: TenantReport, budget: Budget) -> None:
        self._plan = plan
        self._state = state
        self._ledger = ledger
        self._report = report
        self._budget = budget

    @property
    def looks_at_all(self) -> bool:
        """Whether calendars are looked at in which the source has changed nothing."""
        return self._plan.mode is Mode.TWO_WAY and self._plan.retry_run is None

    async def calendars(self, tenant_id: str) -> AsyncGenerator[Calendar, None]:
        """Yield those that there is something to do in, as far as that is known without looking at the server."""
        after = None
        while True:
            async with self._state.reading() as connection:
                differences = self._differences(connection)
                found = await differences.calendars(tenant_id, after, changed=not self.looks_at_all)
            for calendar in found:
                yield calendar
            if not found:
                return
            after = found[-1]

    async def count(self, tenant_id: str) -> int:
        """Return how many keys of a tenant differ, as far as that is known without looking at the server."""
        async with self._state.reading() as connection:
            return await self._differences(connection).count(tenant_id)

    async def batches(
        self, service: AppointmentService, calendar: Calendar, size: Callable[[], int]
    ) -> AsyncGenerator[list[Operation], None]:
        """Look at a calendar if the mode says so, and yield what is to be done.

        Args:
            service: Of the calendar.
            calendar: Whose keys.
            size: Returns how many entries to read for the next batch.

        Raises:
            ConnectorError: The server could not be looked at.
            GuardError: More has gone from the server than the source may lose.
        """
        remote = None
        if self._plan.mode is not Mode.TRUST:
            if not self._budget.begin():
                return
            try:
                remote = await self._look(service, calendar)
            finally:
                self._budget.end()

        async def get(appointment_id: str) -> Appointment | None:
            self._report.minimum += 1
            try:
                return await service.get(appointment_id)
            except NotFoundError:
                return None

        comparison = Comparison(calendar, remote, self._plan.rules, get, two_way=self._plan.mode is Mode.TWO_WAY)
        after = None
        while entries := await self._entries(calendar, after, size(), changed=remote is None):
            found = [await comparison.operation(entry) for entry in entries]
            yield [operation for operation in found if operation is not None]
            after = entries[-1].key
        if self.looks_at_all:
            yield list(comparison.leftovers())

    async def again(self, calendar: Calendar, keys: Collection[str]) -> list[Operation]:
        """Return what is to be done with keys of which it is known that nothing of theirs is on the server."""

        async def get(_: str) -> Appointment | None:
            return None

        comparison = Comparison(calendar, None, self._plan.rules, get, two_way=False)
        found, after = [], None
        while entries := await self._entries(calendar, after, _PAGE, changed=True):
            found += [await comparison.operation(entry) for entry in entries if entry.key in keys]
            after = entries[-1].key
        return [operation for operation in found if operation is not None]

    async def _look(self, service: AppointmentService, calendar: Calendar) -> Remote:
        scope, window = self._plan.scope, self._plan.window
        known = await self._ledger.known(calendar)
        remote = await Remote.look(service, known, scope.start, scope.end, window=window)
        self._report.minimum += remote.pages
        if self.looks_at_all:
            await self._guard(calendar, remote)
        return remote

    async def _guard(self, calendar: Calendar, remote: Remote) -> None:
        """Raise when the source would lose too much for being gone from the server."""
        known = await self._ledger.count_known(calendar, *self._plan.scope.as_texts())
        missing = known - len(remote.unchanged) - len(remote.changed)
        count = DeleteCount(deletes=max(0, missing), known=known, records=known)
        if missing > 0 and (remote.is_empty or not self._plan.max_delete.allows(count)):
            raise GuardError(
                f"{missing} of {known} appointments of {calendar} are missing from its preview; "
                f"{'an empty one is not believed' if remote.is_empty else f'{self._plan.max_delete} may go'}"
            )

    async def _entries(self, calendar: Calendar, after: str | None, size: int, *, changed: bool) -> list[Entry]:
        async with self._state.reading() as connection:
            return await self._differences(connection).entries(calendar, after, size, changed=changed)

    def _differences(self, connection: AsyncConnection) -> Differences:
        plan = self._plan
        return Differences(
            connection,
            plan.scope,
            retry_run=plan.retry_run,
            withheld=plan.withheld,
            done_by=self._ledger.lineage,
        )
