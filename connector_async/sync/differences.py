"""How the source differs from what was last in step, as queries over the state. It decides nothing."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

import attrs
from sqlalchemy import Select, and_, case, func, literal, not_, null, or_, select, tuple_, union, union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from connector_async.instants import format_instant

from .decision import GONE, Base
from .guard import DeleteCount
from .records import Calendar
from .state.schema import cells, dead_letters, desired, intents, items

_CALENDAR: Final = ("tenant_id", "domain_id", "ad_id")
_CALENDARS_AT_A_TIME: Final = 200


@attrs.frozen(kw_only=True)
class Scope:
    """Which time the source speaks of. What is outside of it is never taken for gone."""

    start: datetime | None = None
    """Aware; `None`: from the beginning of time."""
    end: datetime | None = None
    """Aware; `None`: to its end."""

    def as_texts(self) -> tuple[str | None, str | None]:
        """Return both ends as the state has them; `None` where there is none."""
        return (
            None if self.start is None else format_instant(self.start),
            None if self.end is None else format_instant(self.end),
        )


@attrs.frozen(kw_only=True)
class Entry:
    """One key: what was last in step, and what the source says now."""

    key: str
    base: Base | None
    appointment_id: str | None
    """Of what was last in step; `None`: there was nothing."""
    was_start_time: str | None
    """When what was last in step began; RFC 3339, in UTC. `None`: there was nothing."""
    was_end_time: str | None
    local: str
    """The hash of what the source has, or `GONE`."""
    start_time: str
    """When what the source has begins, or what was last in step if it has nothing; RFC 3339, in UTC."""
    end_time: str
    body: bytes | None
    """The row of the source, as JSON; `None`: it has none."""
    modified: str | None
    """When the source changed it; RFC 3339, in UTC. `None`: it does not say."""


class Differences:
    """Asks over one connection.

    Args:
        connection: Sees the state as it is now, or as it was when its transaction began.
        scope: Which time the source speaks of.
        retry_run: The run whose dead letters are tried again, and nothing else; `None`: everything but dead letters.
        withheld: Tenants of which nothing is deleted, since a record of theirs could not be read.
        done_by: The lineage of runs whose finished calendars need not be looked at again unless they differ.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        scope: Scope,
        *,
        retry_run: str | None = None,
        withheld: Sequence[str] = (),
        done_by: str = "",
    ) -> None:
        self._connection = connection
        self._scope = scope
        self._retry_run = retry_run
        self._withheld = withheld
        self._done_by = done_by

    async def tenants(self) -> list[str]:
        """Return every tenant of which something is known, wanted or open."""
        queries = [select(table.c.tenant_id) for table in (desired, items, intents)]
        return sorted((await self._connection.execute(union(*queries))).scalars())

    async def delete_counts(self) -> AsyncIterator[tuple[Calendar, DeleteCount]]:
        """Yield how much of what is known of each calendar would be deleted, by tenant."""
        known = select(
            *_names(items),
            func.count().label("known"),
            func.sum(case((self._is_gone(), 1), else_=0)).label("deletes"),
            literal(0).label("records"),
        )
        known = known.select_from(_known_and_wanted()).where(items.c.deleted_at.is_(None)).group_by(*_names(items))
        wanted = select(*_names(desired), literal(0), literal(0), func.count()).group_by(*_names(desired))
        both = union_all(known, wanted).subquery()
        names = [both.c[name] for name in _CALENDAR]
        query = select(*names, func.sum(both.c.deletes), func.sum(both.c.known), func.sum(both.c.records))
        rows = await self._connection.stream(query.group_by(*names).order_by(*names))
        async for row in rows:
            *calendar, deletes, count, records = tuple(row)
            yield Calendar(*calendar), DeleteCount(deletes=deletes, known=count, records=records)

    async def calendars(self, tenant_id: str, after: Calendar | None, *, changed: bool) -> list[Calendar]:
        """Return the calendars of a tenant that come after one, some at a time.

        Args:
            tenant_id: The tenant.
            after: The last one of those before; `None`: from the first on.
            changed: Whether only those that have a difference or an open create.
        """
        parts: list[Select[Any]] = []
        sources = [(desired, self._wanted(changed=True)), (items, self._left(changed=True)), (intents, select(intents))]
        if not changed:
            sources += [
                (table, query.where(not_(self._is_done(table))))
                for table, query in ((desired, self._wanted(changed=False)), (items, self._left(changed=False)))
            ]
        for table, query in sources:
            names = [table.c[name] for name in _CALENDAR]
            part = query.with_only_columns(*names).where(table.c.tenant_id == tenant_id)
            if after is not None:
                part = part.where(tuple_(*names[1:]) > tuple_(literal(after.domain_id), literal(after.ad_id)))
            parts.append(part.distinct().order_by(*names).limit(_CALENDARS_AT_A_TIME))
        rows = union(*(select(part.subquery()) for part in parts))
        found = sorted(Calendar(*row) for row in await self._connection.execute(rows))
        return found[:_CALENDARS_AT_A_TIME]

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
            part = query.where(*(table.c[name] == getattr(calendar, name) for name in _CALENDAR))
            if after is not None:
                part = part.where(table.c.key > after)
            found += map(_entry, await self._connection.execute(part.order_by(table.c.key).limit(limit)))
        found.sort(key=lambda entry: entry.key)
        return found[:limit]

    async def count(self, tenant_id: str) -> int:
        """Return how many keys of a tenant differ."""
        parts = [
            query.with_only_columns(table.c.key).where(table.c.tenant_id == tenant_id)
            for table, query in ((desired, self._wanted(changed=True)), (items, self._left(changed=True)))
        ]
        counts = [select(func.count()).select_from(part.subquery()) for part in parts]
        return sum([(await self._connection.execute(query)).scalar_one() for query in counts])

    def _wanted(self, *, changed: bool) -> Any:
        """Select what the source has, and what was in step beside it."""
        columns = [desired.c[name] for name in ("content_hash", "body", "modified", "start_time", "end_time")]
        query = select(desired.c.key, *columns, *_in_step()).select_from(
            desired.outerjoin(items, and_(_same(desired, items), items.c.deleted_at.is_(None)))
        )
        query = query.where(desired.c.content_hash.is_not(None), not_(_exists_open(desired)))
        if changed:
            query = query.where(or_(items.c.key.is_(None), items.c.local_hash != desired.c.content_hash))
        return query.where(self._is_to_be_tried(desired, desired.c.content_hash))

    def _left(self, *, changed: bool) -> Any:
        """Select what was in step, and is not in the source."""
        columns = (items.c.key, literal(GONE), null(), null(), items.c.start_time, items.c.end_time)
        query = select(*columns, *_in_step()).select_from(_known_and_wanted())
        query = query.where(items.c.deleted_at.is_(None), desired.c.key.is_(None), not_(_exists_open(items)))
        if changed:
            query = query.where(self._is_gone())
        return query.where(self._is_to_be_tried(items, literal(GONE)))

    def _is_gone(self) -> ColumnElement[bool]:
        """Tell what the source does not have any more, of the time that it speaks of."""
        conditions = [desired.c.key.is_(None), items.c.local_hash != GONE]
        if self._scope.start is not None:
            # Texts of one form: in UTC, and with a fraction only when there is one, which sorts before the Z.
            conditions.append(items.c.end_time >= format_instant(self._scope.start))
        if self._scope.end is not None:
            conditions.append(items.c.start_time < format_instant(self._scope.end))
        if self._withheld:
            conditions.append(items.c.tenant_id.not_in(self._withheld))
        return and_(*conditions)

    def _is_done(self, table: Any) -> ColumnElement[bool]:
        same = (cells.c[name] == table.c[name] for name in _CALENDAR)
        return select(cells.c.done_run).where(*same, cells.c.done_run == self._done_by).exists()

    def _is_to_be_tried(self, table: Any, content_hash: ColumnElement[Any]) -> ColumnElement[bool]:
        given_up = select(dead_letters.c.key).where(_same(dead_letters, table), dead_letters.c.operation != "read")
        if self._retry_run is not None:
            return given_up.where(dead_letters.c.run_id == self._retry_run).exists()
        return not_(given_up.where(dead_letters.c.content_hash == content_hash).exists())


def _names(table: Any) -> list[Any]:
    return [table.c[name] for name in _CALENDAR]


def _same(one: Any, other: Any) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in (*_CALENDAR, "key")))


def _known_and_wanted() -> Any:
    return items.outerjoin(desired, _same(items, desired))


def _exists_open(table: Any) -> ColumnElement[bool]:
    return select(intents.c.key).where(_same(intents, table)).exists()


def _in_step() -> list[Any]:
    return [items.c[name] for name in ("local_hash", "remote_hash", "appointment_id", "start_time", "end_time")]


def _entry(row: Any) -> Entry:
    key, local, body, modified, start_time, end_time, local_hash, remote_hash, appointment_id, *was = row
    return Entry(
        key=key,
        base=None if local_hash is None else Base(local_hash, remote_hash),
        appointment_id=appointment_id,
        was_start_time=was[0],
        was_end_time=was[1],
        local=local,
        start_time=start_time,
        end_time=end_time,
        body=body,
        modified=modified,
    )
