"""What the state knows of a calendar: what the server had, and which creates are open. It writes nothing."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
from sqlalchemy import and_, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from connector_async.sync.records import ABSENT, Calendar

from . import State
from .schema import CALENDAR, dead_letters, intents, items

OF_READING: Final = ("read", "pull")
"""The operations of the dead letters that tell of what could not be read on one side, rather than be sent."""

_DELETE: Final = "-"
_KEYS_AT_A_TIME: Final = 1_000  # a database takes no statement of any length


@attrs.frozen(kw_only=True)
class Intent:
    """A create that was begun and of which nobody knows yet what became."""

    key: str
    content_hash: str
    """Of all that counts of what was sent."""
    summary_hash: str
    """Of the title and the times alone, for a preview that leaves descriptions out."""
    start_time: str
    """As the state has instants."""
    end_time: str
    """As the state has instants."""
    sent_at: float
    """Seconds since 1970 in UTC; just before it was sent."""


@attrs.frozen(kw_only=True)
class LastSeen:
    """An appointment that the server had."""

    key: str
    remote_hash: str | None
    """Of its content; `None`: not known yet."""
    in_time: bool
    """Whether it overlaps the time that was asked about."""


class StateReader:
    """Reads a state."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def appointments(
        self, calendar: Calendar, start: str | None = None, end: str | None = None
    ) -> dict[str, LastSeen]:
        """Return what the server had of a calendar, by id.

        Args:
            calendar: Whose.
            start: Where the time begins that is asked about, as the state has instants; `None`: there is no such end.
            end: Where it ends.
        """
        query = select(items.c.appointment_id, items.c.key, items.c.remote_hash, overlaps(start, end).label("in_time"))
        there = (items.c.deleted_at.is_(None), items.c.remote_hash.is_distinct_from(ABSENT))
        async with self._state.reading() as connection:
            rows = await connection.execute(query.where(of_calendar(items, calendar), *there))
            return {
                row.appointment_id: LastSeen(key=row.key, remote_hash=row.remote_hash, in_time=bool(row.in_time))
                for row in rows
            }

    async def count(self, tenant_id: str | None = None) -> int:
        """Return how many appointments the server had of a tenant, or of all."""
        query = select(func.count()).select_from(items)
        query = query.where(items.c.deleted_at.is_(None), items.c.remote_hash.is_distinct_from(ABSENT))
        if tenant_id is not None:
            query = query.where(items.c.tenant_id == tenant_id)
        async with self._state.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def settled_by(self, run_id: str, calendar: Calendar, keys: Sequence[str]) -> dict[str, bool]:
        """Return the keys, among some, of which a run has found out what becomes of them, and whether they are in step.

        Those whose create is open, and those that the run has given up, are not in step.
        """
        found: dict[str, bool] = {}
        async with self._state.reading() as connection:
            for first in range(0, len(keys), _KEYS_AT_A_TIME):
                some = keys[first : first + _KEYS_AT_A_TIME]
                of_some = {
                    table: and_(of_calendar(table, calendar), table.c.key.in_(some))
                    for table in (items, intents, dead_letters)
                }
                ours = select(items.c.key, items.c.deleted_at).where(of_some[items], items.c.run_id == run_id)
                found |= {row.key: row.deleted_at is None for row in await connection.execute(ours)}
                is_open = select(intents.c.key).where(of_some[intents])
                given_up = select(dead_letters.c.key).where(of_some[dead_letters], dead_letters.c.run_id == run_id)
                given_up = given_up.where(dead_letters.c.operation != "read")
                for query in (is_open, given_up):
                    found |= dict.fromkeys((await connection.execute(query)).scalars(), False)
        return found

    async def open_intents(self, calendar: Calendar) -> list[Intent]:
        """Return the creates of a calendar of which nobody knows what became."""
        columns = [intents.c[field.name] for field in attrs.fields(Intent)]
        query = select(*columns).where(of_calendar(intents, calendar)).order_by(intents.c.key)
        async with self._state.reading() as connection:
            return [Intent(**row) for row in (await connection.execute(query)).mappings()]

    async def count_open(self, tenant_id: str) -> int:
        """Return how many creates of a tenant are open."""
        query = select(func.count()).select_from(intents).where(intents.c.tenant_id == tenant_id)
        async with self._state.reading() as connection:
            return int((await connection.execute(query)).scalar_one())


def of_calendar(table: Any, calendar: Calendar) -> ColumnElement[bool]:
    """Tell the rows of a calendar."""
    return and_(*(table.c[name] == getattr(calendar, name) for name in CALENDAR))


def overlaps(start: str | None, end: str | None) -> ColumnElement[bool]:
    """Tell the items that overlap a time, from its start (included) to its end (excluded); `None`: it has none."""
    conditions: list[ColumnElement[bool]] = []
    if start is not None:
        # One without duration that begins at the start lies in it, although it does not end after it.
        conditions.append(or_(items.c.end_time > start, items.c.start_time >= start))
    if end is not None:
        conditions.append(items.c.start_time < end)
    return and_(items.c.key.is_not(None), *conditions)


def hashes_of(pending: str | None) -> frozenset[str]:
    """Return the hashes that the state has as one text."""
    return (
        frozenset() if pending is None else frozenset(ABSENT if each == _DELETE else each for each in pending.split())
    )


def text_of(hashes: Iterable[str]) -> str | None:
    """Return hashes as the state has them; `None` when there are none."""
    return " ".join(sorted(each or _DELETE for each in hashes)) or None
