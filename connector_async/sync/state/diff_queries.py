"""The queries for the differences between the source and the last sync, built once for each selection.

Building a query takes SQLAlchemy several times as long as SQLite needs to execute it.

A *record* is a row of `desired` that can be read, and an *item* is a row of `items` that is not deleted. Keys with a
pending create are in no difference: its result is found out first. The queries for one calendar have the parameters
`tenant_id`, `domain_id` and `ad_id`, those for one tenant have `tenant_id`, and those for many tenants `tenant_ids`;
other parameters are named by the query. Many tenants take one query: most of them have nothing to do in most runs.
"""

import functools
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, case, exists, func, literal, not_, null, or_, select, union, union_all
from sqlalchemy.sql.elements import ColumnElement

from connector_async.sync.records import ABSENT
from connector_async.sync.scope import Selection

from .reader import READ_OPERATIONS, overlaps
from .schema import CALENDAR, KEY, cells, dead_letters, desired, intents, items, tenants

Query = Select[*tuple[Any, ...]]


class DifferenceQueries:
    """The queries for one selection."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    @functools.cached_property
    def delete_counts(self) -> Query:
        """One row for each calendar: the numbers of its items that would be deleted, its items, and its source rows.

        The source rows include those that cannot be read. A pending create that the source has lost counts as an item,
        and as one that would be deleted.
        """
        is_deleted = and_(self._is_removed(), self._is_to_do(items, literal(ABSENT)))
        known = select(
            *_calendar_columns(items),
            func.count().label("known"),
            func.sum(case((is_deleted, 1), else_=0)).label("deletes"),
            literal(0).label("records"),
        )
        known = known.select_from(_ITEMS_WITH_RECORDS).where(items.c.deleted_at.is_(None))
        known = known.group_by(*_calendar_columns(items))
        records = select(*_calendar_columns(desired), literal(0), literal(0), func.count())
        records = records.group_by(*_calendar_columns(desired))
        # A pending create that the source no longer has is deleted if it turns out to have happened.
        pending = select(*_calendar_columns(intents), func.count(), func.count(), literal(0))
        pending = pending.where(not_(exists(select(desired.c.key).where(_equal(desired, intents, KEY)))))
        pending = pending.group_by(*_calendar_columns(intents))
        counts = union_all(known, records, pending).subquery()
        names = [counts.c[name] for name in CALENDAR]
        query = select(*names, func.sum(counts.c.deletes), func.sum(counts.c.known), func.sum(counts.c.records))
        return query.group_by(*names).order_by(*names)

    @functools.cached_property
    def tenants_with_changes(self) -> Query:
        """Those of some tenants with a changed record or a pending create. It stops at the first key of each."""
        changes = exists(_of_tenants(desired, self._changed_records()))
        return _SELECT_TENANTS.where(or_(changes, exists(_of_tenants(intents, select(intents)))))

    @functools.cached_property
    def calendars(self) -> Any:
        """The calendars of a tenant with something to do or with a pending create."""
        return union(*self._calendars())

    @functools.cached_property
    def unfinished_calendars(self) -> Any:
        """The rows of `calendars`, and all other calendars of the tenant that the runs of `lineage` have not done."""
        done = select(cells.c.done_run).where(cells.c.done_run == bindparam("lineage"))
        others = [
            _in_tenant(
                table,
                select(*_calendar_columns(table)).where(not_(exists(done.where(_equal(cells, table, CALENDAR))))),
            )
            for table in (desired, items)
        ]
        return union(*self._calendars(), *others)

    @functools.cached_property
    def changes(self) -> tuple[Query, Query]:
        """The next `limit` entries of a calendar with keys after `after` that are to do, as two queries.

        The first returns changed records, the second items that the source has lost.
        """
        return _page(desired, self._changed_records()), _page(items, self._removed_items())

    @functools.cached_property
    def entries(self) -> tuple[Query, Query]:
        """The next `limit` entries of a calendar with keys after `after`, to compare with the server, as two queries.

        The first returns records, the second items without a record. Entries with a dead letter are left out, except
        for conflicts, which the server may have ended.
        """
        record_is_to_do = self._is_to_do(desired, desired.c.content_hash, with_conflicts=True)
        item_is_to_do = self._is_to_do(items, literal(ABSENT), with_conflicts=True)
        records = _select_records().where(record_is_to_do)
        return _page(desired, records), _page(items, _select_items().where(self._is_missing(), item_is_to_do))

    @functools.cached_property
    def progress(self) -> Query:
        """The fields of `TenantProgress` for each of some tenants and the run `run_id`, after the tenant."""
        skipped_records, skipped_items = self._skipped()
        is_synced = and_(not_(_IS_CHANGED), not_(exists(_dead_letters_of(desired, desired.c.content_hash))))
        return _SELECT_TENANTS.add_columns(
            (_count(desired, self._changed_records()) + _count(items, self._removed_items())).label("to_do"),
            (_count(desired, skipped_records) + _count(items, skipped_items)).label("skipped"),
            _count(desired, select(desired.c.key).where(desired.c.content_hash.is_not(None))).label("records"),
            _count(desired, _select_records().where(is_synced)).label("in_sync"),
        )

    @functools.cached_property
    def skipped_keys(self) -> Any:
        """Those of the keys `keys` of a calendar that `progress` counts as skipped in the run `run_id`."""
        queries = []
        for table, skipped in zip((desired, items), self._skipped(), strict=True):
            query = _in_calendar(table, skipped).where(table.c.key.in_(bindparam("keys", expanding=True)))
            queries.append(query.with_only_columns(table.c.key))
        return union(*queries)

    def _calendars(self) -> list[Query]:
        """Return queries for the calendars of a tenant with changed records, removed items and pending creates."""
        work = [(desired, self._changed_records()), (items, self._removed_items()), (intents, select(intents))]
        return [_in_tenant(table, query).with_only_columns(*_calendar_columns(table)) for table, query in work]

    def _changed_records(self) -> Query:
        """Return the query for records that differ from the last sync and are to do."""
        return _select_records().where(_IS_CHANGED, self._is_to_do(desired, desired.c.content_hash))

    def _removed_items(self) -> Query:
        """Return the query for items that the source had at the last sync, has lost since, and that are to do."""
        return _select_items().where(self._is_removed(), self._is_to_do(items, literal(ABSENT)))

    def _skipped(self) -> tuple[Query, Query]:
        """Return the queries for records and for items that are skipped in the run `run_id`.

        They differ from the last sync or have a dead letter, but are not to do. Those with a dead letter of the run
        itself are left out, since the run has counted them.
        """
        record_is_skipped = self._is_skipped(desired, desired.c.content_hash, _IS_CHANGED)
        item_is_skipped = and_(self._is_missing(), self._is_skipped(items, literal(ABSENT), _WAS_PRESENT))
        return _select_records().where(record_is_skipped), _select_items().where(item_is_skipped)

    def _is_missing(self) -> ColumnElement[bool]:
        """Return the condition for items without a record, in the scope of the source, that may be deleted."""
        conditions = [desired.c.key.is_(None), overlaps(*self._selection.scope.bounds())]
        if self._selection.expanded is not None:
            conditions.append(or_(not_(_IS_OCCURRENCE), overlaps(*self._selection.expanded.bounds())))
        if self._selection.withheld:
            conditions.append(items.c.tenant_id.not_in(self._selection.withheld))
        return and_(*conditions)

    def _is_removed(self) -> ColumnElement[bool]:
        """Return the condition for missing items that the source had at the last sync."""
        return and_(self._is_missing(), _WAS_PRESENT)

    def _is_to_do(
        self, table: Any, content_hash: ColumnElement[Any], *, with_conflicts: bool = False
    ) -> ColumnElement[bool]:
        """Return the condition for rows that the selection includes.

        Without `retry_run`, these are the rows without a dead letter for their content. With `retry_run`, they are the
        rows with a dead letter of that run.
        """
        if self._selection.retry_run is not None:
            return exists(_dead_letters_of(table).where(dead_letters.c.run_id == self._selection.retry_run))
        letters = _dead_letters_of(table, content_hash)
        if with_conflicts:
            letters = letters.where(dead_letters.c.operation != "conflict")
        return not_(exists(letters))

    def _is_skipped(
        self, table: Any, content_hash: ColumnElement[Any], differs: ColumnElement[bool]
    ) -> ColumnElement[bool]:
        letters = _dead_letters_of(table, content_hash)
        is_to_do = and_(differs, self._is_to_do(table, content_hash))
        is_counted = exists(letters.where(dead_letters.c.run_id == bindparam("run_id")))
        return and_(or_(differs, exists(letters)), not_(is_to_do), not_(is_counted))


@functools.lru_cache(maxsize=16)
def queries_for(selection: Selection) -> DifferenceQueries:
    """Return the queries for a selection, from a cache."""
    return DifferenceQueries(selection)


def _equal(one: Any, other: Any, names: Sequence[str]) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in names))


_IS_OCCURRENCE: Final = items.c.key.regexp_match("/[0-9]{8}(T[0-9]{6}Z?)?$")
"""The condition for items whose key ends in a RECURRENCE-ID."""
_IS_PENDING: Final = items.c.pending_hashes.is_not(None)
_IS_CHANGED: Final = or_(items.c.key.is_(None), items.c.local_hash != desired.c.content_hash, _IS_PENDING)
"""The condition for records that are new, have other content than at the last sync, or were sent with an unknown
result."""
_WAS_PRESENT: Final = or_(items.c.local_hash != ABSENT, _IS_PENDING)
"""The condition for items that the source had at the last sync, or that were sent with an unknown result."""
_ITEMS_WITH_RECORDS: Final = items.outerjoin(desired, _equal(items, desired, KEY))
_ITEM_COLUMNS: Final = [
    items.c[name]
    for name in (
        "appointment_id",
        "local_hash",
        "remote_hash",
        "pending_hashes",
        "summary_hash",
        "written_at",
        "confirmed_at",
        "replaced_hashes",
    )
]


def _select_records() -> Query:
    """Return the query for all records without a pending create, each with the columns of its item if it has one."""
    columns = [desired.c[name] for name in ("content_hash", "body", "modified", "start_time", "end_time")]
    own_item = and_(_equal(desired, items, KEY), items.c.deleted_at.is_(None))
    query = select(desired.c.key, *columns, *_ITEM_COLUMNS).select_from(desired.outerjoin(items, own_item))
    return query.where(desired.c.content_hash.is_not(None), not_(_has_pending_create(desired)))


def _select_items() -> Query:
    """Return the query for all items without a pending create, in the columns of `_select_records`."""
    columns = (items.c.key, literal(ABSENT), null(), null(), items.c.start_time, items.c.end_time)
    query = select(*columns, *_ITEM_COLUMNS).select_from(_ITEMS_WITH_RECORDS)
    return query.where(items.c.deleted_at.is_(None), not_(_has_pending_create(items)))


def _dead_letters_of(table: Any, content_hash: ColumnElement[Any] | None = None) -> Query:
    """Return the query for the open dead letters of a row's key about sending: all, or those for a content."""
    query = select(dead_letters.c.key).where(
        _equal(dead_letters, table, KEY),
        dead_letters.c.operation.not_in(READ_OPERATIONS),
        dead_letters.c.resolved_at.is_(None),
    )
    return query if content_hash is None else query.where(dead_letters.c.content_hash == content_hash)


def _has_pending_create(table: Any) -> ColumnElement[bool]:
    return exists(select(intents.c.key).where(_equal(intents, table, KEY)))


_SELECT_TENANTS: Final = select(tenants.c.tenant_id).where(
    tenants.c.tenant_id.in_(bindparam("tenant_ids", expanding=True))
)


def _count(table: Any, query: Query) -> Any:
    count = _of_tenants(table, query).with_only_columns(func.count(), maintain_column_froms=True)
    return count.scalar_subquery()


def _of_tenants(table: Any, query: Query) -> Query:
    """Return a query for rows of the tenant of `_SELECT_TENANTS`, as a part of that query."""
    return query.where(table.c.tenant_id == tenants.c.tenant_id).correlate(tenants)


def _page(table: Any, query: Query) -> Query:
    query = _in_calendar(table, query).where(table.c.key > bindparam("after"))
    return query.order_by(table.c.key).limit(bindparam("limit"))


def _in_calendar(table: Any, query: Query) -> Query:
    return query.where(*(table.c[name] == bindparam(name) for name in CALENDAR))


def _in_tenant(table: Any, query: Query) -> Query:
    return query.where(table.c.tenant_id == bindparam("tenant_id"))


def _select_all_tenants(table: Any) -> Query:
    """Return the query for the tenants with rows of a table. It looks each up in the index; DISTINCT reads all rows."""
    found = select(func.min(table.c.tenant_id).label("tenant_id")).cte(f"tenants_of_{table.name}", recursive=True)
    following = select(func.min(table.c.tenant_id)).where(table.c.tenant_id > found.c.tenant_id)
    found = found.union_all(select(following.scalar_subquery()).where(found.c.tenant_id.is_not(None)))
    return select(found.c.tenant_id).where(found.c.tenant_id.is_not(None))


TENANTS: Final = union(*map(_select_all_tenants, (desired, items, intents)))
"""All tenants with records, items or pending creates."""


def _calendar_columns(table: Any) -> list[Any]:
    return [table.c[name] for name in CALENDAR]
