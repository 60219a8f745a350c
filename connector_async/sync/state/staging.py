"""Taking in what the source says, so that it can be compared by queries.

What cannot be read is kept from being taken for gone.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol

import attrs
import orjson
from sqlalchemy import delete, exists, func, insert, literal, not_, select, tuple_, union

from connector_async._timestamps import format_instant
from connector_async.sync.records import (
    Calendar,
    SourceProblem,
    SourceRecord,
    as_carried,
    content_hash,
    row_of,
    sortable,
)
from connector_async.wire import WireFormat

from . import State
from .journal import DeadLetter
from .schema import KEY, desired, intents, items

_AT_A_TIME: Final = 500


class Records(Protocol):
    """A source, as far as it is taken in."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        """Yield its records, and what cannot be read."""
        ...


@attrs.define
class Staged:
    """What was taken in."""

    records: Counter[str] = attrs.field(factory=Counter)
    """How many records of each tenant can be read, and are the only ones of their keys."""
    unreadable: int = 0
    """How many records cannot be read, or are not the only ones of their keys."""
    problems: list[tuple[Calendar | None, DeadLetter]] = attrs.field(factory=list)
    """What could not be read, and whose it is if that is known."""
    withheld: set[str] = attrs.field(factory=set)
    """Tenants of which nothing may be deleted: a record of theirs could not be read, and may be of any key."""
    withholds_all: bool = False
    """Whether nothing may be deleted of anybody: a record could not be read, and may be of any tenant."""


async def stage(source: Records, state: State, wire_format: WireFormat) -> Staged:
    """Replace what the state holds of the source before.

    Args:
        source: What there should be.
        state: Takes it in.
        wire_format: In which it will be sent; a record that does not fit is a problem.

    Raises:
        SourceError: The source cannot be read at all.
        StateError: The state cannot be written.
    """
    staged = Staged()
    async with state.writing() as transaction:
        await transaction.connection.execute(delete(desired))
    batch: list[dict[str, Any]] = []
    taken = 0
    async for found in source.records():
        taken += 1
        batch += _take(found, staged, source.name, wire_format)
        if len(batch) >= _AT_A_TIME:
            await _write(state, batch)
            batch = []
    if batch:
        await _write(state, batch)
    if staged.problems:
        await _keep_elsewhere(state)
    await _find_twice(state, staged, source.name)
    await _count(state, staged)
    staged.unreadable = taken - staged.records.total()
    return staged


def _take(
    found: SourceRecord | SourceProblem, staged: Staged, name: str, wire_format: WireFormat
) -> list[dict[str, Any]]:
    if isinstance(found, SourceRecord):
        reason = _misfit(found, wire_format)
        if reason is None:
            return [_row(found)]
        found = SourceProblem(source=name, line=None, reason=reason, key=found.key, calendar=found.calendar)
    elif not isinstance(found, SourceProblem):
        raise TypeError(f"{name} must yield SourceRecord and SourceProblem, not {type(found).__name__}")
    return _take_problem(found, staged)


def _misfit(record: SourceRecord, wire_format: WireFormat) -> str | None:
    """Return why a record cannot be sent; `None`: it can."""
    try:
        record.calendar.check(wire_format)
        as_carried(record.appointment, wire_format)
    except ValueError as error:
        return str(error)
    return None


def _take_problem(problem: SourceProblem, staged: Staged) -> list[dict[str, Any]]:
    place = problem.source if problem.line is None else f"{problem.source}:{problem.line}"
    # The name of a file may have bytes that are no text.
    reason = f"{place}: {problem.reason}".encode(errors="backslashreplace").decode()
    letter = DeadLetter(key=problem.key or "", operation="read", error="SourceProblem", reason=reason)
    staged.problems.append((problem.calendar, letter))
    if problem.calendar is None:
        staged.withholds_all = True
    elif problem.key is None:
        staged.withheld.add(problem.calendar.tenant_id)
    else:
        # Known by its key, it keeps what is under that from being taken for gone.
        return [attrs.asdict(problem.calendar) | {"key": problem.key} | dict.fromkeys(_CONTENT)]
    return []


_CONTENT: Final = ("content_hash", "start_time", "end_time", "modified", "body")


def _row(record: SourceRecord) -> dict[str, Any]:
    appointment, modified = record.appointment, record.modified
    return attrs.asdict(record.calendar) | {
        "key": record.key,
        "content_hash": content_hash(appointment),
        "start_time": sortable(appointment.start_time),
        "end_time": sortable(appointment.end_time),
        "modified": None if modified is None else format_instant(modified),
        "body": orjson.dumps(row_of(record)),
    }


async def _write(state: State, rows: Sequence[dict[str, Any]]) -> None:
    async with state.writing() as transaction:
        # Of two records under one key nobody can tell which is meant: nothing is done to it.
        again = dict.fromkeys(_CONTENT) | {"copies": desired.c.copies + 1}
        await transaction.upsert(desired, [row | {"copies": 1} for row in rows], again=again)


async def _keep_elsewhere(state: State) -> None:
    """Keep what is known under the key of an unreadable record, in whichever calendar of its tenant.

    The record may be that one: whose it is may be what is wrong with it, or it has moved.
    """
    bad = desired.alias()
    unreadable = select(bad.c.tenant_id, bad.c.key).where(bad.c.content_hash.is_(None))
    places = []
    for table in (items, intents):
        is_one = tuple_(table.c.tenant_id, table.c.key).in_(unreadable)
        is_wanted = exists().where(*(desired.c[column] == table.c[column] for column in KEY))
        places.append(select(*(table.c[column] for column in KEY), literal(1)).where(is_one, not_(is_wanted)))
    places[0] = places[0].where(items.c.deleted_at.is_(None))
    async with state.writing() as transaction:
        await transaction.connection.execute(insert(desired).from_select([*KEY, "copies"], union(*places)))


async def _find_twice(state: State, staged: Staged, name: str) -> None:
    twice = select(*(desired.c[column] for column in KEY), desired.c.copies).where(desired.c.copies > 1)
    async with state.reading() as connection:
        for row in await connection.execute(twice):
            *calendar, key, copies = tuple(row)
            reason = f"{name}: key comes {copies} times"
            letter = DeadLetter(key=key, operation="read", error="SourceProblem", reason=reason)
            staged.problems.append((Calendar(*calendar), letter))


async def _count(state: State, staged: Staged) -> None:
    query = select(desired.c.tenant_id, func.count()).where(desired.c.content_hash.is_not(None))
    async with state.reading() as connection:
        for row in await connection.execute(query.group_by(desired.c.tenant_id)):
            staged.records[row[0]] = row[1]
