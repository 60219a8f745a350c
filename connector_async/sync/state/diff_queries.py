"""The queries of how the source differs from what was last in step, built once for each selection.

To build one takes SQLAlchemy a few times as long as SQLite takes to answer it. Their parameters are `tenant_id`,
`domain_id` and `ad_id`, and what else each one says.
"""

import functools
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, case, exists, func, literal, not_, null, or_, select, union, union_all
from sqlalchemy.sql.elements import ColumnElement

from connector_async.sync.records import ABSENT
from connector_async.sync.scope import Selection

from .reader import OF_READING, overlaps
from .schema import CALENDAR, KEY, cells, dead_letters, desired, intents, items

Query = Select[*tuple[Any, ...]]


class DifferenceQueries:
    """Those of one selection."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    @functools.cached_property
    def delete_counts(self) -> Query:
        """A calendar, and how many of its items would be deleted, are known, and are records of the source."""
        is_deleted = and_(self._is_gone(), self._is_to_be_tried(items, literal(ABSENT)))
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
        opened = opened.where(not_(exists(select(desired.c.key).where(_same(desired, intents, KEY)))))
        both = union_all(known, wanted, opened).subquery()
        names = [both.c[name] for name in CALENDAR]
        query = select(*names, func.sum(both.c.deletes), func.sum(both.c.known), func.sum(both.c.records))
        return query.group_by(*names).order_by(*names)

    @functools.cached_property
    def calendars(self) -> Any:
        """The calendars of a tenant that have a difference or an open create."""
        return union(*self._calendars())

    @functools.cached_property
    def calendars_to_look_at(self) -> Any:
        """These, and all others that are known or wanted, but for those that a `lineage` of runs has finished."""
        done = select(cells.c.done_run).where(cells.c.done_run == bindparam("lineage"))
        others = [
            _of_tenant(table, select(*_names(table)).where(not_(exists(done.where(_same(cells, table, CALENDAR))))))
            for table in (desired, items)
        ]
        return union(*self._calendars(), *others)

    @functools.cached_property
    def changes(self) -> tuple[Query, Query]:
        """The first `limit` keys of a calendar, `after` one, that differ: in the source, and gone from it."""
        return self._entries(self._wanted(), self._left())

    @functools.cached_property
    def entries(self) -> tuple[Query, Query]:
        """The same of all keys that are to be compared with what the server has."""
        wanted = self._is_to_be_tried(desired, desired.c.content_hash, with_conflicts=True)
        left = self._is_to_be_tried(items, literal(ABSENT), with_conflicts=True)
        return self._entries(_of_source().where(wanted), _of_state().where(self._is_absent(), left))

    @functools.cached_property
    def accounts(self) -> Query:
        """Of a tenant, the fields of `Accounts`, for the run of `run_id`."""
        wanted_otherwise, left_otherwise = self._others()
        is_in_step = and_(not_(_HAS_CHANGED), not_(exists(_given_up(desired, desired.c.content_hash))))
        return select(
            (_count(desired, self._wanted()) + _count(items, self._left())).label("to_be_tried"),
            (_count(desired, wanted_otherwise) + _count(items, left_otherwise)).label("others"),
            _count(desired, select(desired.c.key).where(desired.c.content_hash.is_not(None))).label("records"),
            _count(desired, _of_source().where(is_in_step)).label("in_step"),
        )

    @functools.cached_property
    def others(self) -> Any:
        """The keys of a calendar, among `keys`, that `accounts` has among the others."""
        queries = []
        for table, others in zip((desired, items), self._others(), strict=True):
            of_keys = _of_calendar(table, others).where(table.c.key.in_(bindparam("keys", expanding=True)))
            queries.append(of_keys.with_only_columns(table.c.key))
        return union(*queries)

    def _others(self) -> tuple[Query, Query]:
        """Select what is neither in step nor to be tried, but for what the run of `run_id` has given up."""
        wanted = self._is_other(desired, desired.c.content_hash, _HAS_CHANGED)
        left = and_(self._is_absent(), self._is_other(items, literal(ABSENT), _WAS_THERE))
        return _of_source().where(wanted), _of_state().where(left)

    def _calendars(self) -> list[Query]:
        parts = ((desired, self._wanted()), (items, self._left()), (intents, select(intents)))
        return [_of_tenant(table, query).with_only_columns(*_names(table)) for table, query in parts]

    def _entries(self, wanted: Query, left: Query) -> tuple[Query, Query]:
        return _page(desired, wanted), _page(items, left)

    def _wanted(self) -> Query:
        """Select what the source has in another way than it was in step."""
        return _of_source().where(_HAS_CHANGED, self._is_to_be_tried(desired, desired.c.content_hash))

    def _left(self) -> Query:
        """Select what was in step, and is not in the source although it speaks of that time."""
        return _of_state().where(self._is_gone(), self._is_to_be_tried(items, literal(ABSENT)))

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
        self, table: Any, content_hash: ColumnElement[Any], differs: ColumnElement[bool]
    ) -> ColumnElement[bool]:
        given_up = _given_up(table, content_hash)
        is_left = and_(differs, self._is_to_be_tried(table, content_hash))
        is_counted = exists(given_up.where(dead_letters.c.run_id == bindparam("run_id")))
        return and_(or_(differs, exists(given_up)), not_(is_left), not_(is_counted))


@functools.lru_cache(maxsize=16)
def queries_of(selection: Selection) -> DifferenceQueries:
    """Return the queries of a selection."""
    return DifferenceQueries(selection)


_IS_OPEN: Final = items.c.pending_hashes.is_not(None)
_HAS_CHANGED: Final = or_(items.c.key.is_(None), items.c.local_hash != desired.c.content_hash, _IS_OPEN)
_WAS_THERE: Final = or_(items.c.local_hash != ABSENT, _IS_OPEN)


def _of_source() -> Query:
    """Select what the source has, and what was in step beside it."""
    columns = [desired.c[name] for name in ("content_hash", "body", "modified", "start_time", "end_time")]
    known = and_(_same(desired, items, KEY), items.c.deleted_at.is_(None))
    query = select(desired.c.key, *columns, *_in_step()).select_from(desired.outerjoin(items, known))
    return query.where(desired.c.content_hash.is_not(None), not_(_is_intended(desired)))


def _of_state() -> Query:
    """Select what was in step, in the columns of `_of_source`."""
    columns = (items.c.key, literal(ABSENT), null(), null(), items.c.start_time, items.c.end_time)
    query = select(*columns, *_in_step()).select_from(_known_and_wanted())
    return query.where(items.c.deleted_at.is_(None), not_(_is_intended(items)))


def _given_up(table: Any, content_hash: ColumnElement[Any] | None = None) -> Query:
    """Select the dead letters of a key: all, or those of a content."""
    query = select(dead_letters.c.key).where(
        _same(dead_letters, table, KEY),
        dead_letters.c.operation.not_in(OF_READING),
        dead_letters.c.resolved_at.is_(None),
    )
    return query if content_hash is None else query.where(dead_letters.c.content_hash == content_hash)


def _count(table: Any, query: Query) -> Any:
    return select(func.count()).select_from(_of_tenant(table, query).subquery()).scalar_subquery()


def _page(table: Any, query: Query) -> Query:
    query = _of_calendar(table, query).where(table.c.key > bindparam("after"))
    return query.order_by(table.c.key).limit(bindparam("limit"))


def _of_calendar(table: Any, query: Query) -> Query:
    return query.where(*(table.c[name] == bindparam(name) for name in CALENDAR))


def _of_tenant(table: Any, query: Query) -> Query:
    return query.where(table.c.tenant_id == bindparam("tenant_id"))


def _names(table: Any) -> list[Any]:
    return [table.c[name] for name in CALENDAR]


def _same(one: Any, other: Any, names: Sequence[str]) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in names))


def _known_and_wanted() -> Any:
    return items.outerjoin(desired, _same(items, desired, KEY))


def _is_intended(table: Any) -> ColumnElement[bool]:
    return exists(select(intents.c.key).where(_same(intents, table, KEY)))


def _in_step() -> list[Any]:
    return [items.c[name] for name in ("local_hash", "remote_hash", "pending_hashes", "appointment_id")]
