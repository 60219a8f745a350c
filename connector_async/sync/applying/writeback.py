"""The write-back to the source: what the server has changed is kept until the source's file has it durably.

It survives a crash in between.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

import attrs
import orjson
from sqlalchemy import RowMapping, Select, Table, and_, delete, func, literal, not_, select, tuple_, update

from connector_async.sync.formats import MergingMirror, Mirror, RecordChange, RecordId
from connector_async.sync.planning.operations import Operation, pulled_pair
from connector_async.sync.records import ABSENT, Calendar, record_from_row, record_of, row_of, sortable
from connector_async.sync.state import State, Transaction
from connector_async.sync.state.db.retrying import repeatable
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.lost_versions import LostVersion
from connector_async.sync.state.reader import in_calendar
from connector_async.sync.state.schema import CALENDAR, KEY, desired, items, pulled

_PAGE: Final = 500
_MERGED: Final = 20_000  # changes that are in memory at a time: some ten megabytes


@attrs.frozen
class _Pulled:
    """An operation, and the row that the source gets; no row if the server has deleted the appointment."""

    operation: Operation
    body: bytes | None = attrs.field(repr=False)


class SourceWriteback:
    """Writes back to the source what the server has changed, for one run.

    Args:
        state: Keeps the changes until the file is rewritten.
        journal: Records that both sides are in sync.
    """

    def __init__(self, state: State, journal: Journal) -> None:
        self._state = state
        self._journal = journal

    async def keep(self, operations: Sequence[Operation]) -> list[Operation]:
        """Keep what the server has for the source, and return the operations that no record can hold.

        Args:
            operations: Operations of one calendar.

        Raises:
            StateError: If the state cannot be written; nothing is kept then.
        """
        kept, unrecordable = [], []
        for operation in operations:
            try:
                kept.append(_Pulled(operation, _body(operation)))
            except (ValueError, TypeError):
                unrecordable.append(operation)
        if kept:
            lost = [source_version(each.operation) for each in kept if each.operation.overwrites]
            await self._keep(kept, lost)
        return unrecordable

    @repeatable
    async def _keep(self, kept: Sequence[_Pulled], lost: Sequence[LostVersion]) -> None:
        async with self._state.writing(kept[0].operation.calendar.tenant_id) as transaction:
            await self._journal.write_lost_versions(transaction, lost)
            await self._write_pulled(transaction, kept)
            await self._write_synced(transaction, kept)

    async def rewrite(self, mirror: Mirror) -> int:
        """Bring the source's file up to date if anything is kept for it, and return how many keys were.

        Raises:
            SourceError: If the file cannot be written; everything is kept for the next run.
        """
        count = await self._count_pulled()
        if count and isinstance(mirror, MergingMirror):
            await self._merge(mirror)
        elif count:
            records = select(desired).where(desired.c.body.is_not(None))
            async with mirror.writing() as writer, aclosing(self._pages(records, desired, _PAGE)) as pages:
                async for rows in pages:
                    for row in rows:
                        await writer.write(record_from_row(orjson.loads(row["body"])))
            await self._state.write(self._forget_all)
        return count

    @repeatable
    async def _count_pulled(self) -> int:
        count = select(func.count()).select_from(pulled).where(self._state.is_leased(pulled.c.tenant_id))
        async with self._state.reading() as connection:
            return int((await connection.execute(count)).scalar_one())

    async def _forget_all(self, transaction: Transaction) -> None:
        await transaction.connection.execute(delete(pulled).where(self._state.is_leased(pulled.c.tenant_id)))

    async def _merge(self, mirror: MergingMirror) -> None:
        """Merge what is kept into the mirror, some thousand changes at a time, and forget what it has then.

        What the mirror does not take stays kept: its record was changed there meanwhile, so that both sides have
        changed, or cannot be read. The next run decides.
        """
        async with aclosing(self._pages(select(pulled), pulled, _MERGED)) as pages:
            async for rows in pages:
                taken = set(await mirror.merge(dict(map(_change, rows))))
                await self._forget([row for row in rows if _record_id(row) in taken])

    @repeatable
    async def _forget(self, rows: Sequence[RowMapping]) -> None:
        async with self._state.writing(*{row["tenant_id"] for row in rows}) as transaction:
            for row in rows:
                await transaction.connection.execute(delete(pulled).where(_matches_row(pulled, row)))

    async def _pages(self, query: Select[Any], table: Table, size: int) -> AsyncGenerator[Sequence[RowMapping], None]:
        """Yield the rows of a query by their keys, some at a time. Each page is read in a separate transaction."""
        names = [table.c[name] for name in KEY]
        page = query = query.where(self._state.is_leased(table.c.tenant_id)).order_by(*names).limit(size)
        while True:
            rows = await self._page(page)
            if not rows:
                return
            yield rows
            after = [literal(rows[-1][name]) for name in KEY]
            page = query.where(tuple_(*names) > tuple_(*after))

    @repeatable
    async def _page(self, query: Select[Any]) -> Sequence[RowMapping]:
        async with self._state.reading() as connection:
            return list((await connection.execute(query)).mappings())

    async def _write_pulled(self, transaction: Transaction, kept: Sequence[_Pulled]) -> None:
        for each in kept:
            operation = each.operation
            # If an earlier version is kept already, the file still has what that one replaced.
            query = select(pulled.c.replaced_hash).where(_matches_operation(pulled, operation))
            before = (await transaction.connection.execute(query)).scalar_one_or_none()
            row = {"replaced_hash": operation.local if before is None else before, "body": each.body}
            await transaction.upsert(pulled, [row | _key_columns(operation) | _content(operation)])

    async def _write_synced(self, transaction: Transaction, kept: Sequence[_Pulled]) -> None:
        rows, pairs, deleted = [], [], []
        for each in kept:
            operation, appointment = each.operation, each.operation.appointment
            if appointment is None:
                deleted.append(operation.key)
                await transaction.connection.execute(delete(desired).where(_matches_operation(desired, operation)))
            else:
                rows.append(_key_columns(operation) | _content(operation) | _AS_STAGED | {"body": each.body})
                pairs.append(pulled_pair(operation.key, operation.appointment_id or "", appointment))
        calendar = kept[0].operation.calendar
        if pairs:
            await transaction.upsert(desired, rows)
            await self._journal.write_synced(transaction, calendar, pairs)
        if deleted:
            await self._journal.write_deleted(transaction, calendar, deleted)


def source_version(operation: Operation) -> LostVersion:
    """Return what the source loses by an operation."""
    return LostVersion(
        calendar=operation.calendar,
        key=operation.key,
        side="source",
        content_hash=operation.local,
        body=operation.body,
    )


def server_version(operation: Operation) -> LostVersion:
    """Return what the server loses by an operation: the whole appointment, as it was seen."""
    return LostVersion(
        calendar=operation.calendar,
        key=operation.key,
        side="server",
        content_hash=operation.remote or ABSENT,
        body=operation.overwritten,
    )


@repeatable
async def restore_pulled(state: State, *, forget: bool) -> None:
    """Apply to the staged source what is kept for it, unless the file has been changed there since.

    Args:
        state: The state, with the source staged.
        forget: Whether to delete the kept changes that the file has by now, or that it has overwritten.
    """
    same = and_(*(pulled.c[name] == desired.c[name] for name in KEY))
    is_unreadable = and_(desired.c.key.is_not(None), desired.c.content_hash.is_(None))
    now = func.coalesce(desired.c.content_hash, ABSENT)
    query = select(pulled, now.label("now")).select_from(pulled.outerjoin(desired, same)).where(not_(is_unreadable))
    query = query.where(state.is_leased(pulled.c.tenant_id))
    async with state.reading() as connection:
        rows = (await connection.execute(query)).mappings().all()
    async with state.writing(*{row["tenant_id"] for row in rows}) as transaction:
        for row in rows:
            if row["now"] != row["replaced_hash"]:
                if forget:
                    await _forget(transaction, row)
            elif row["body"] is None:
                await transaction.connection.execute(delete(desired).where(_matches_row(desired, row)))
            else:
                columns = (*KEY, "content_hash", "start_time", "end_time", "body")
                await transaction.upsert(desired, [{name: row[name] for name in columns} | _AS_STAGED])


async def _forget(transaction: Transaction, row: Any) -> None:
    """Delete what was kept for a key. If the file has something else by now, both sides have changed: a conflict."""
    await transaction.connection.execute(delete(pulled).where(_matches_row(pulled, row)))
    if row["now"] != row["content_hash"] and row["replaced_hash"] != ABSENT:
        before = {"local_hash": row["replaced_hash"], "remote_hash": row["replaced_hash"], "deleted_at": None}
        before["summary_hash"] = None
        await transaction.connection.execute(update(items).where(_matches_row(items, row)).values(before))


_AS_STAGED: Final = {"modified": None, "copies": 1}


def _body(operation: Operation) -> bytes | None:
    if operation.appointment is None:
        return None
    return orjson.dumps(row_of(record_of(operation.appointment, key=operation.key, calendar=operation.calendar)))


def _key_columns(operation: Operation) -> dict[str, Any]:
    return attrs.asdict(operation.calendar) | {"key": operation.key}


def _content(operation: Operation) -> dict[str, Any]:
    appointment = operation.appointment
    start_time = operation.start_time if appointment is None else sortable(appointment.start_time)
    end_time = operation.end_time if appointment is None else sortable(appointment.end_time)
    return {"content_hash": operation.remote or ABSENT, "start_time": start_time, "end_time": end_time}


def _record_id(row: Any) -> RecordId:
    return Calendar(*(row[name] for name in CALENDAR)), row["key"]


def _change(row: Any) -> tuple[RecordId, RecordChange]:
    record = None if row["body"] is None else record_from_row(orjson.loads(row["body"]))
    change = RecordChange(replaced_hash=row["replaced_hash"], content_hash=row["content_hash"], record=record)
    return _record_id(row), change


def _matches_operation(table: Any, operation: Operation) -> Any:
    return and_(in_calendar(table, operation.calendar), table.c.key == operation.key)


def _matches_row(table: Any, row: Any) -> Any:
    return and_(*(table.c[name] == row[name] for name in KEY))
