"""What the source takes over from the server: kept until its file is written anew, also through a crash in between."""

from collections.abc import Sequence
from typing import Any, Final

import attrs
import orjson
from sqlalchemy import and_, delete, func, literal, not_, select, tuple_, update

from connector_async.sync.formats import Mirror
from connector_async.sync.planning.operations import Operation
from connector_async.sync.records import ABSENT, record_from_row, record_of, row_of, sortable
from connector_async.sync.state import State, Transaction
from connector_async.sync.state.journal import Journal, SyncedPair
from connector_async.sync.state.reader import in_calendar
from connector_async.sync.state.schema import KEY, desired, items, pulled

_AT_A_TIME: Final = 500


@attrs.frozen
class _Taken:
    operation: Operation
    body: bytes | None = attrs.field(repr=False)


class SourceWriteback:
    """Takes over for one run.

    Args:
        state: Where the source's side is kept until its file is written.
        ledger: Is told that both sides are in step.
    """

    def __init__(self, state: State, ledger: Journal) -> None:
        self._state = state
        self._ledger = ledger

    async def take(self, operations: Sequence[Operation]) -> list[Operation]:
        """Let the source have what the server has, all of one calendar at once; return what no record can say.

        Raises:
            StateError: It could not be written down; nothing is.
        """
        taken, refused = [], []
        for operation in operations:
            try:
                taken.append(_Taken(operation, _body(operation)))
            except (ValueError, TypeError):
                refused.append(operation)
        if taken:
            async with self._state.writing() as transaction:
                await self._write_pulled(transaction, taken)
                await self._write_sides(transaction, taken)
        return refused

    async def overlay(self, *, forgets: bool) -> None:
        """Let the source have what was taken over and is not in its file yet, unless that has been changed since.

        Args:
            forgets: Whether what the file has by now, or has been changed in it, need not be kept any longer.
        """
        same = and_(*(pulled.c[name] == desired.c[name] for name in KEY))
        is_unreadable = and_(desired.c.key.is_not(None), desired.c.content_hash.is_(None))
        now = func.coalesce(desired.c.content_hash, ABSENT)
        query = select(pulled, now.label("now")).select_from(pulled.outerjoin(desired, same)).where(not_(is_unreadable))
        async with self._state.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        async with self._state.writing() as transaction:
            for row in rows:
                if row["now"] != row["replaced_hash"]:
                    if forgets:
                        await self._forget(transaction, row)
                elif row["body"] is None:
                    await transaction.connection.execute(delete(desired).where(_of_row(desired, row)))
                else:
                    content = {name: row[name] for name in ("content_hash", "start_time", "end_time", "body")}
                    names = {name: row[name] for name in KEY}
                    await transaction.upsert(desired, [names | content | {"modified": None, "copies": 1}])

    async def _forget(self, transaction: Transaction, row: Any) -> None:
        """Keep no longer what the file has by now, or what has been changed in it meanwhile: that is a conflict."""
        await transaction.connection.execute(delete(pulled).where(_of_row(pulled, row)))
        if row["now"] != row["content_hash"] and row["replaced_hash"] != ABSENT:
            before = {"local_hash": row["replaced_hash"], "remote_hash": row["replaced_hash"], "deleted_at": None}
            await transaction.connection.execute(update(items).where(_of_row(items, row)).values(before))

    async def write(self, mirror: Mirror) -> int:
        """Write the source's file anew if something was taken over; return how many keys were.

        Raises:
            SourceError: It cannot be written; what was taken over is kept for the next run.
        """
        async with self._state.reading() as connection:
            count = int((await connection.execute(select(func.count()).select_from(pulled))).scalar_one())
        if count:
            async with mirror.writing() as writer:
                after: tuple[Any, ...] | None = None
                while rows := await self._page(after):
                    for row in rows:
                        await writer.write(record_from_row(orjson.loads(row.body)))
                    after = tuple(rows[-1])[: len(KEY)]
            async with self._state.writing() as transaction:
                await transaction.connection.execute(delete(pulled))
        return count

    async def _page(self, after: tuple[Any, ...] | None) -> Sequence[Any]:
        names = [desired.c[name] for name in KEY]
        query = select(*names, desired.c.body).where(desired.c.body.is_not(None)).order_by(*names).limit(_AT_A_TIME)
        if after is not None:
            query = query.where(tuple_(*names) > tuple_(*map(literal, after)))
        async with self._state.reading() as connection:
            return (await connection.execute(query)).all()

    async def _write_pulled(self, transaction: Transaction, taken: Sequence[_Taken]) -> None:
        for each in taken:
            operation = each.operation
            # What was taken over before and is not in the file yet has replaced what the file has.
            query = select(pulled.c.replaced_hash).where(_of_operation(pulled, operation))
            before = (await transaction.connection.execute(query)).scalar_one_or_none()
            row = {"replaced_hash": operation.local if before is None else before, "body": each.body}
            await transaction.upsert(pulled, [row | _names(operation) | _content(operation)])

    async def _write_sides(self, transaction: Transaction, taken: Sequence[_Taken]) -> None:
        there = [each for each in taken if each.body is not None]
        gone = [each.operation for each in taken if each.body is None]
        if there:
            rows = [_names(each.operation) | _content(each.operation) | {"body": each.body} for each in there]
            await transaction.upsert(desired, [row | {"modified": None, "copies": 1} for row in rows])
            results = [_in_step(each.operation) for each in there]
            await self._ledger.write_synced(transaction, there[0].operation.calendar, results)
        for operation in gone:
            await transaction.connection.execute(delete(desired).where(_of_operation(desired, operation)))
        if gone:
            await self._ledger.write_deleted(transaction, gone[0].calendar, [operation.key for operation in gone])


def _body(operation: Operation) -> bytes | None:
    if operation.appointment is None:
        return None
    return orjson.dumps(row_of(record_of(operation.appointment, key=operation.key, calendar=operation.calendar)))


def _names(operation: Operation) -> dict[str, Any]:
    return attrs.asdict(operation.calendar) | {"key": operation.key}


def _content(operation: Operation) -> dict[str, Any]:
    return {"content_hash": operation.remote or ABSENT} | _times(operation)


def _times(operation: Operation) -> dict[str, str]:
    appointment = operation.appointment
    if appointment is None:
        return {"start_time": operation.start_time, "end_time": operation.end_time}
    return {
        "start_time": sortable(appointment.start_time),
        "end_time": sortable(appointment.end_time),
    }


def _in_step(operation: Operation) -> SyncedPair:
    remote = operation.remote or ABSENT
    return SyncedPair(
        key=operation.key,
        appointment_id=operation.appointment_id or "",
        local_hash=remote,
        remote_hash=remote,
        **_times(operation),
    )


def _of_operation(table: Any, operation: Operation) -> Any:
    return and_(in_calendar(table, operation.calendar), table.c.key == operation.key)


def _of_row(table: Any, row: Any) -> Any:
    return and_(*(table.c[name] == row[name] for name in KEY))
