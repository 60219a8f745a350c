"""Staging: copying the records of a source into the state, so that queries can compare them with the last sync.

An appointment is not deleted if its record may be one of those that cannot be read.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import orjson
from sqlalchemy import delete, exists, func, insert, literal, literal_column, not_, null, select, text, tuple_, union

from connector_async.sync.formats.source import Source
from connector_async.sync.records import (
    Calendar,
    SourceProblem,
    SourceRecord,
    as_carried,
    content_hash_of_row,
    row_of,
    sortable_string,
)
from connector_async.wire import WireFormat

from .db.engine import State, Transaction, streamed
from .db.errors import CommitLostError
from .db.retrying import repeatable, repeatable_once
from .journal import DeadLetter
from .schema import KEY, desired, intents, items, shares
from .shares import supersede

_ROWS_PER_WRITE: Final = 5_000
_RECORDS_PER_CHECK: Final = 100
_CONTENT: Final = ("content_hash", "start_time", "end_time", "modified", "body")
_NO_CONTENT: Final = (None,) * len(_CONTENT)

_Row: TypeAlias = tuple[Any, ...]
"""The values of the columns of `desired`, in order."""


@attrs.define
class Staged:
    """The result of staging a source."""

    records: Counter[str] = attrs.field(factory=Counter)
    """The number of records by tenant, without those that cannot be read or have a duplicate key."""
    unreadable: int = 0
    """The number of records that cannot be read or have a duplicate key."""
    problems: list[tuple[Calendar | None, DeadLetter]] = attrs.field(factory=list)
    """The problems of the source, each with its calendar if that is known."""
    withheld: set[str] = attrs.field(factory=set)
    """The tenants without deletes: one of their records could not be read, and may have any key."""
    ambiguous: set[str] = attrs.field(factory=set)
    """The tenants with a record that cannot be read and may be of an appointment that the state does not know."""
    series: set[tuple[str, str]] = attrs.field(factory=set)
    """The tenants and keys of the recurring events that cannot be read."""
    withholds_all: bool = False
    """Whether there are no deletes at all: a record could not be read, and may belong to any tenant."""


async def stage(
    source: Source,
    state: State,
    wire_format: WireFormat,
    check: Callable[[], None],
    *,
    tenants: Collection[str] | None = None,
) -> Staged:
    """Replace the staged records of the tenants that the state has leased with those of a source.

    The tenants that the source has beyond those are leased when they are first seen.

    Args:
        source: The source.
        state: The state.
        wire_format: The format in which the records will be sent. A record that does not fit it is a problem.
        check: Called between records; what it raises ends the staging. The next run stages the source anew.
        tenants: The tenants to stage; the records of others are left out. `None`: all.

    Raises:
        SourceError: If the source cannot be read to its end.
        StateBusyError: If another run has one of the tenants.
        StateError: If the state cannot be written.
        TypeError: If the source yields anything but records and problems.
    """
    staged = Staged()
    await _clear(state)
    batch: list[_Row] = []
    written: Counter[str] = Counter()
    count = position = 0
    async for item in source.records():
        if position % _RECORDS_PER_CHECK == 0:
            check()
        position += 1
        if tenants is not None and _is_of_others(item, tenants):
            continue
        count += 1
        row = _row_for(item, staged, source.name, wire_format)
        if row is not None:
            batch.append(row)
        if len(batch) >= _ROWS_PER_WRITE:
            await _write_batch(state, batch, written)
            batch = []
    if batch:
        await _write_batch(state, batch, written)
    if count > _ROWS_PER_WRITE:
        await _analyze(state)
    if staged.problems:
        await _protect_occurrences(state, staged)
        await _protect_other_calendars(state)
    await _count_records(state, staged, source.name)
    if staged.problems:
        await _find_ambiguous(state, staged)
    staged.unreadable = count - staged.records.total()
    return staged


def _is_of_others(item: object, tenants: Collection[str]) -> bool:
    """Return whether an item is known to be of none of some tenants."""
    calendar = item.calendar if isinstance(item, SourceRecord | SourceProblem) else None
    return calendar is not None and calendar.tenant_id not in tenants


def _row_for(item: SourceRecord | SourceProblem, staged: Staged, name: str, wire_format: WireFormat) -> _Row | None:
    if isinstance(item, SourceRecord):
        reason = _misfit(item, wire_format)
        if reason is None:
            return _record_row(item)
        item = SourceProblem(source=name, line=None, reason=reason, key=item.key, calendar=item.calendar)
    elif not isinstance(item, SourceProblem):
        raise TypeError(f"{name} must yield SourceRecord and SourceProblem, not {type(item).__name__}")
    return _add_problem(item, staged)


def _misfit(record: SourceRecord, wire_format: WireFormat) -> str | None:
    """Return why a record cannot be sent, or `None` if it can."""
    try:
        record.calendar.check(wire_format)
        as_carried(record.appointment, wire_format)
    except ValueError as error:
        return str(error)
    return None


def _add_problem(problem: SourceProblem, staged: Staged) -> _Row | None:
    place = problem.source if problem.line is None else f"{problem.source}:{problem.line}"
    # A file name may have bytes that are not UTF-8.
    reason = f"{place}: {problem.reason}".encode(errors="backslashreplace").decode()
    letter = DeadLetter(key=problem.key or "", operation="read", error="SourceProblem", reason=reason)
    staged.problems.append((problem.calendar, letter))
    if problem.calendar is None:
        staged.withholds_all = True
    elif problem.key is None:
        staged.withheld.add(problem.calendar.tenant_id)
    else:
        if problem.is_series:
            staged.series.add((problem.calendar.tenant_id, problem.key))
        calendar = problem.calendar
        return _protecting_row(calendar.tenant_id, calendar.domain_id, calendar.ad_id, problem.key)
    return None


def _protecting_row(*key: str) -> _Row:
    """Return a row without content, which protects the appointment with its key."""
    return (*key, *_NO_CONTENT, 1)


def _record_row(record: SourceRecord) -> _Row:
    calendar, row = record.calendar, row_of(record)
    start_time, end_time = row["start_time"] or "", row["end_time"] or ""
    return (
        calendar.tenant_id,
        calendar.domain_id,
        calendar.ad_id,
        record.key,
        content_hash_of_row(row),
        sortable_string(start_time),
        sortable_string(end_time),
        row.get("modified"),
        bytes(memoryview(orjson.dumps(row))),  # copied: each result of orjson keeps a kilobyte from being used again
        1,
    )


@repeatable
async def _clear(state: State) -> None:
    async with state.writing() as transaction:
        await transaction.connection.execute(delete(desired).where(state.is_leased(desired.c.tenant_id)))
        await supersede(transaction, state.is_leased(shares.c.tenant_id))


async def _write_batch(state: State, rows: Sequence[_Row], written: Counter[str]) -> None:
    """Write rows, and add their number to that of each tenant's written rows."""
    added: Counter[str] = Counter(row[0] for row in rows)
    new = added.keys() - written.keys()
    if new:
        await state.lease(new)
    batch = _Batch(rows, added.keys(), new)
    try:
        await _write(state, batch)
    except CommitLostError:
        await _write_unless_written(state, batch, written)
    written.update(added)


@attrs.frozen
class _Batch:
    """Rows that are written in one transaction."""

    rows: Sequence[_Row]
    tenant_ids: Collection[str]
    """The tenants of the rows."""
    new: Collection[str]
    """Those of them without written rows."""

    async def write(self, transaction: Transaction) -> None:
        if self.new:  # another run may have staged and released them meanwhile
            await transaction.connection.execute(delete(desired).where(desired.c.tenant_id.in_(self.new)))
            await supersede(transaction, shares.c.tenant_id.in_(self.new))
        # Which of two records with the same key is meant is unknown, so the key loses its content.
        duplicate = dict.fromkeys(_CONTENT, null()) | {"copies": desired.c.copies + literal_column("1")}
        await transaction.upsert_tuples(desired, self.rows, on_conflict=duplicate)


@repeatable_once
async def _write(state: State, batch: _Batch) -> None:
    async with state.writing(*batch.tenant_ids) as transaction:
        await batch.write(transaction)


@repeatable
async def _write_unless_written(state: State, batch: _Batch, written: Mapping[str, int]) -> None:
    """Write a batch of which it is not known whether it was written. A second time would make its keys duplicates.

    For new tenants that does no harm: their rows are deleted first.
    """
    known = {tenant_id: written[tenant_id] for tenant_id in batch.tenant_ids if tenant_id not in batch.new}
    copies = select(desired.c.tenant_id, func.sum(desired.c.copies)).where(desired.c.tenant_id.in_(known))
    async with state.writing(*batch.tenant_ids) as transaction:
        found = await transaction.connection.execute(copies.group_by(desired.c.tenant_id))
        if dict(map(tuple, found)) == known:
            await batch.write(transaction)


@repeatable
async def _analyze(state: State) -> None:
    """Let PostgreSQL plan its queries for the rows that there are now.

    By its old numbers, it compares each record of a tenant with each of its items.
    """
    async with state.writing() as transaction:
        if transaction.connection.dialect.name == "postgresql":
            await transaction.connection.execute(text("ANALYZE desired, items"))


@repeatable
async def _protect_other_calendars(state: State) -> None:
    """Add a row without content for every item with the key of an unreadable record, in all calendars of its tenant.

    The item may belong to that record: its user may be the field that is invalid, or the record may have moved.
    """
    staged = desired.alias()
    unreadable = select(staged.c.tenant_id, staged.c.key).where(
        staged.c.content_hash.is_(None), state.is_leased(staged.c.tenant_id)
    )
    protected = []
    for table in (items, intents):
        has_key = tuple_(table.c.tenant_id, table.c.key).in_(unreadable)
        is_staged = exists().where(*(desired.c[column] == table.c[column] for column in KEY))
        protected.append(select(*(table.c[column] for column in KEY), literal(1)).where(has_key, not_(is_staged)))
    protected[0] = protected[0].where(items.c.deleted_at.is_(None))
    async with state.writing() as transaction:
        await transaction.connection.execute(insert(desired).from_select([*KEY, "copies"], union(*protected)))


@repeatable
async def _protect_occurrences(state: State, staged: Staged) -> None:
    """Add a row without content for every item that may be an occurrence of an unreadable recurring event."""
    tenants = {tenant_id for tenant_id, _ in staged.series}
    protected: list[_Row] = []
    for table in (items, intents) if tenants else ():
        columns = [table.c[column] for column in KEY]
        query = select(*columns).where(table.c.tenant_id.in_(tenants), table.c.key.contains("/"))
        async with state.reading() as connection, streamed(connection, query) as result:
            protected += [
                _protecting_row(*row) async for row in result if (row.tenant_id, _series_of(row.key)) in staged.series
            ]
    async with state.writing() as transaction:
        for first in range(0, len(protected), _ROWS_PER_WRITE):
            some = protected[first : first + _ROWS_PER_WRITE]
            await transaction.upsert_tuples(desired, some, on_conflict={"copies": desired.c.copies})


def _series_of(key: str) -> str:
    return key.rpartition("/")[0]


@repeatable
async def _find_ambiguous(state: State, staged: Staged) -> None:
    """Find the tenants with an unreadable record that is not known to be of a known appointment."""
    is_known = exists().where(
        items.c.tenant_id == desired.c.tenant_id, items.c.key == desired.c.key, items.c.deleted_at.is_(None)
    )
    query = select(desired.c.tenant_id).where(desired.c.content_hash.is_(None), not_(is_known))
    query = query.where(state.is_leased(desired.c.tenant_id)).distinct()
    async with state.reading() as connection:
        staged.ambiguous = staged.withheld | set((await connection.execute(query)).scalars())


@repeatable
async def _count_records(state: State, staged: Staged, name: str) -> None:
    """Count the records of each tenant, and report duplicate keys."""
    is_leased = state.is_leased(desired.c.tenant_id)
    query = select(desired.c.tenant_id, func.count(desired.c.content_hash), func.max(desired.c.copies))
    query = query.where(is_leased).group_by(desired.c.tenant_id)
    duplicates = select(*(desired.c[column] for column in KEY), desired.c.copies).where(desired.c.copies > 1, is_leased)
    async with state.reading() as connection:
        counts = (await connection.execute(query)).all()
        has_duplicates = any(row[2] > 1 for row in counts)
        rows = (await connection.execute(duplicates)).all() if has_duplicates else []
    for row in counts:
        if row[1]:
            staged.records[row[0]] = row[1]
    for *calendar, key, copies in map(tuple, rows):
        reason = f"{name}: key {key} occurs {copies} times"
        letter = DeadLetter(key=key, operation="read", error="SourceProblem", reason=reason)
        staged.problems.append((Calendar(*calendar), letter))
