"""How the source differs from what was last in step, as queries over the state. It decides nothing."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

import attrs
from sqlalchemy import and_, case, exists, func, literal, not_, null, or_, select, union, union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from connector_async.models import Appointment

from .decision import GONE, Base
from .guard import DeleteCount
from .known import hashes_of, of_calendar, overlaps
from .records import Calendar, sortable
from .state.schema import CALENDAR, KEY, cells, dead_letters, desired, intents, items


@attrs.frozen(kw_only=True)
class Scope:
    """Which time the source speaks of. What is outside of it is never taken for gone."""

    start: datetime | None = None
    """Aware; `None`: from the beginning of time."""
    end: datetime | None = None
    """Aware; `None`: to its end."""

    def has(self, appointment: Appointment) -> bool:
        """Tell whether an appointment overlaps it."""
        begins = self.end is None or appointment.start_time < self.end
        is_after = self.start is None or appointment.end_time > self.start or appointment.start_time >= self.start
        return begins and is_after

    def as_texts(self) -> tuple[str | None, str | None]:
        """Return both ends as the state has instants; `None` where there is none."""
        start = None if self.start is None else sortable(self.start)
        return start, None if self.end is None else sortable(self.end)


@attrs.frozen(kw_only=True)
class Entry:
    """One key: what was last in step, and what the source says now."""

    key: str
    base: Base | None
    appointment_id: str | None
    """Of what was last in step; `None`: there was nothing."""
    local: str
    """The hash of what the source has, or `GONE`."""
    start_time: str
    """When what the source has begins, or what was last in step if it has nothing; as the state has instants."""
    end_time: str
    """When it ends."""
    body: bytes | None = attrs.field(repr=False)
    """The row of the source, as JSON: personal data. `None`: it has none."""
    modified: str | None
    """When the source changed it; RFC 3339, in UTC. `None`: it does not say."""


@attrs.frozen(kw_only=True)
class Selection:
    """Which differences are meant."""

    scope: Scope = attrs.field(factory=Scope)
    """Which time the source speaks of."""
    withheld: Sequence[str] = ()
    """Tenants of which nothing is deleted, since a record of theirs could not be read."""
    retry_run: str | None = None
    """The run whose dead letters are tried again, and nothing else; `None`: everything but dead letters."""


class Differences:
    """Asks over one connection.

    Args:
        connection: Sees the state as it is now.
        selection: Which differences are meant.
    """

    def __init__(self, connection: AsyncConnection, selection: Selection) -> None:
        self._connection = connection
        self._selection = selection

    async def tenants(self) -> list[str]:
        """Return every tenant of which something is known, wanted or open."""
        queries = [select(table.c.tenant_id) for table in (desired, items, intents)]
        return sorted((await self._connection.execute(union(*queries))).scalars())

    async def delete_counts(self) -> AsyncIterator[tuple[Calendar, DeleteCount]]:
        """Yield how much of what is known of each calendar would be deleted, by tenant."""
        is_deleted = and_(self._is_gone(), self._is_to_be_tried(items, literal(GONE)))
        known = select(
            *_names(items),
            func.count().label("known"),
            func.sum(case((is_deleted, 1), else_=0)).label("deletes"),
            literal(0).label("records"),
        )
        known = known.select_from(_known_and_wanted()).where(items.c.deleted_at.is_(None)).group_by(*_names(items))
        wanted = select(*_names(desired), literal(0), literal(0), func.count()).group_by(*_names(desired))
        # A create that is open and not wanted any more is deleted if it has happened.
        opened = select(*_names(intents), func.count(), func.count(), literal(0)).group_by(*_names(intents))
        opened = opened.where(not_(select(desired.c.key).where(_same(desired, intents, KEY)).exists()))
        both = union_all(known, wanted, opened).subquery()
        names = [both.c[name] for name in CALENDAR]
        query = select(*names, func.sum(both.c.deletes), func.sum(both.c.known), func.sum(both.c.records))
        rows = await self._connection.stream(query.group_by(*names).order_by(*names))
        async for row in rows:
            *calendar, deletes, count, records = tuple(row)
            yield Calendar(*calendar), DeleteCount(deletes=deletes, known=count, records=records)

    async def calendars(self, tenant_id: str, *, unless_done_by: str | None = None) -> list[Calendar]:
        """Return the calendars of a tenant that have a difference or an open create, sorted.

        Args:
            tenant_id: The tenant.
            unless_done_by: All others that are known as well, but for those that this lineage of runs has finished.
        """
        parts = [(desired, self._wanted(changed=True)), (items, self._left(changed=True)), (intents, select(intents))]
        if unless_done_by is not None:
            done = select(cells.c.done_run).where(cells.c.done_run == unless_done_by)
            parts += [
                (table, select(table).where(not_(done.where(_same(cells, table, CALENDAR)).exists())))
                for table in (desired, items)
            ]
        queries = [
            query.with_only_columns(*_names(table)).where(table.c.tenant_id == tenant_id) for table, query in parts
        ]
        return sorted(Calendar(*row) for row in await self._connection.execute(union(*queries)))

    async def entries(self, calendar: Calendar, after: str | None, limit: int, *, changed: bool) -> list[Entry]:
        """Return the entries of a calendar whose keys come after one, in the order of their keys.

        Args:
            calendar: Whose.
            after: The last key of those before; `None`: from the first on.
            limit: How many at most.
            changed: Whether only those that have a difference.
        """
        found: list[Entry] = []
        for table, query in ((desired, self._wanted(changed=changed)), (items, self._left(changed=changed))):
            part = query.where(of_calendar(table, calendar))
            if after is not None:
                part = part.where(table.c.key > after)
            found += map(_entry, await self._connection.execute(part.order_by(table.c.key).limit(limit)))
        found.sort(key=lambda entry: entry.key)
        return found[:limit]

    async def count(self, tenant_id: str) -> int:
        """Return how many keys of a tenant differ and are to be tried."""
        return await self._count(tenant_id, self._wanted(changed=True), self._left(changed=True))

    async def count_others(self, tenant_id: str, run_id: str) -> int:
        """Return how many keys of a tenant are neither in step nor to be tried, but for what a run has given up."""
        return await self._count(
            tenant_id,
            self._of_source().where(self._is_other(desired, desired.c.content_hash, _HAS_CHANGED, run_id)),
            self._of_state().where(self._is_absent(), self._is_other(items, literal(GONE), _WAS_THERE, run_id)),
        )

    async def count_records(self, tenant_id: str) -> int:
        """Return how many records of a tenant can be read."""
        query = select(func.count()).select_from(desired)
        query = query.where(desired.c.tenant_id == tenant_id, desired.c.content_hash.is_not(None))
        return int((await self._connection.execute(query)).scalar_one())

    async def count_in_step(self, tenant_id: str) -> int:
        """Return how many records of a tenant are in step."""
        query = self._of_source().where(not_(_HAS_CHANGED), not_(_given_up(desired, desired.c.content_hash).exists()))
        return await self._count(tenant_id, query)

    async def _count(self, tenant_id: str, wanted: Any, *left: Any) -> int:
        queries = [wanted.where(desired.c.tenant_id == tenant_id)]
        queries += [query.where(items.c.tenant_id == tenant_id) for query in left]
        counts = [select(func.count()).select_from(query.subquery()) for query in queries]
        return sum([(await self._connection.execute(query)).scalar_one() for query in counts])

    def _wanted(self, *, changed: bool) -> Any:
        """Select what the source has, and what was in step beside it."""
        query = self._of_source().where(_HAS_CHANGED) if changed else self._of_source()
        return query.where(self._is_to_be_tried(desired, desired.c.content_hash, with_conflicts=not changed))

    def _left(self, *, changed: bool) -> Any:
        """Select what was in step, and is not in the source although it speaks of that time."""
        query = self._of_state().where(self._is_gone() if changed else self._is_absent())
        return query.where(self._is_to_be_tried(items, literal(GONE), with_conflicts=not changed))

    def _of_source(self) -> Any:
        columns = [desired.c[name] for name in ("content_hash", "body", "modified", "start_time", "end_time")]
        known = and_(_same(desired, items, KEY), items.c.deleted_at.is_(None))
        query = select(desired.c.key, *columns, *_in_step()).select_from(desired.outerjoin(items, known))
        return query.where(desired.c.content_hash.is_not(None), not_(_exists_open(desired)))

    def _of_state(self) -> Any:
        columns = (items.c.key, literal(GONE), null(), null(), items.c.start_time, items.c.end_time)
        query = select(*columns, *_in_step()).select_from(_known_and_wanted())
        return query.where(items.c.deleted_at.is_(None), not_(_exists_open(items)))

    def _is_absent(self) -> ColumnElement[bool]:
        """Tell what the source does not have, of the time that it speaks of."""
        conditions = [desired.c.key.is_(None), overlaps(*self._selection.scope.as_texts())]
        if self._selection.withheld:
            conditions.append(items.c.tenant_id.not_in(self._selection.withheld))
        return and_(*conditions)

    def _is_gone(self) -> ColumnElement[bool]:
        """Tell what the source does not have any more."""
        return and_(self._is_absent(), _WAS_THERE)

    def _is_to_be_tried(
        self, table: Any, content_hash: ColumnElement[Any], *, with_conflicts: bool = False
    ) -> ColumnElement[bool]:
        if self._selection.retry_run is not None:
            retried = _given_up(table).where(dead_letters.c.run_id == self._selection.retry_run)
            return exists(retried)
        given_up = _given_up(table, content_hash)
        if with_conflicts:  # what is looked at may be none any more
            given_up = given_up.where(dead_letters.c.operation != "conflict")
        return not_(exists(given_up))

    def _is_other(
        self, table: Any, content_hash: ColumnElement[Any], differs: ColumnElement[bool], run_id: str
    ) -> ColumnElement[bool]:
        given_up = _given_up(table, content_hash)
        is_left = and_(differs, self._is_to_be_tried(table, content_hash))
        is_counted = given_up.where(dead_letters.c.run_id == run_id).exists()
        return and_(or_(differs, given_up.exists()), not_(is_left), not_(is_counted))


_IS_OPEN: Final = items.c.pending_hashes.is_not(None)
_HAS_CHANGED: Final = or_(items.c.key.is_(None), items.c.local_hash != desired.c.content_hash, _IS_OPEN)
_WAS_THERE: Final = or_(items.c.local_hash != GONE, _IS_OPEN)


def _given_up(table: Any, content_hash: ColumnElement[Any] | None = None) -> Any:
    """Select the dead letters of a key: all, or those of a content."""
    query = select(dead_letters.c.key).where(
        _same(dead_letters, table, KEY),
        dead_letters.c.operation.not_in(("read", "pull")),
        dead_letters.c.resolved_at.is_(None),
    )
    return query if content_hash is None else query.where(dead_letters.c.content_hash == content_hash)


def _names(table: Any) -> list[Any]:
    return [table.c[name] for name in CALENDAR]


def _same(one: Any, other: Any, names: Sequence[str]) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in names))


def _known_and_wanted() -> Any:
    return items.outerjoin(desired, _same(items, desired, KEY))


def _exists_open(table: Any) -> ColumnElement[bool]:
    return select(intents.c.key).where(_same(intents, table, KEY)).exists()


def _in_step() -> list[Any]:
    return [items.c[name] for name in ("local_hash", "remote_hash", "pending_hashes", "appointment_id")]


def _entry(row: Any) -> Entry:
    key, local, body, modified, start_time, end_time, local_hash, remote_hash, pending, appointment_id = row
    return Entry(
        key=key,
        base=None if local_hash is None else Base(local_hash, remote_hash, hashes_of(pending)),
        appointment_id=appointment_id,
        local=local,
        start_time=start_time,
        end_time=end_time,
        body=body,
        modified=modified,
    )
