"""Reading what the state knows about a calendar: the appointments that the server had, and the pending creates."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
from sqlalchemy import Table, and_, case, false, func, not_, null, or_, select
from sqlalchemy.sql.elements import ColumnElement

from connector_async.models import Appointment
from connector_async.sync.records import ABSENT, Calendar, content_hash, summary_hash
from connector_async.sync.report import Reason

from .db.engine import State
from .db.retrying import repeatable
from .failure_log import read_reasons
from .schema import CALENDAR, KEY, cells, dead_letters, desired, intents, items

READ_OPERATIONS: Final = ("read", "pull")
"""The operations of dead letters for records or appointments that could not be read. All other operations send."""

KEYS_PER_QUERY: Final = 1_000
"""The number of keys in one statement. Databases limit its parameters."""

REPLACED_PREFIX: Final = "replaced:"
"""The start of the keys of appointments that an update has given another id, under the old id. They are deleted."""

_DELETE: Final = "-"
IS_ON_SERVER: Final = and_(items.c.deleted_at.is_(None), items.c.remote_hash.is_distinct_from(ABSENT))
"""The condition for items with an appointment that the server had when it was last looked at."""


@attrs.frozen(kw_only=True)
class PendingCreate:
    """A create that was sent, or is about to be, with an unknown result."""

    key: str
    content_hash: str
    """The hash of the content that was sent."""
    summary_hash: str
    """The hash of the title and the times alone, to compare with a preview without descriptions."""
    start_time: str
    """An instant, as the state stores it."""
    end_time: str
    """An instant, as the state stores it."""
    sent_at: float
    """The time just before it was sent, in seconds since 1970 in UTC."""


@attrs.frozen(kw_only=True)
class LastSeen:
    """An appointment that the server had when it was last looked at."""

    key: str
    remote_hash: str | None
    """The hash of its content; `None`: unknown."""
    in_range: bool
    """Whether it overlaps the requested time range."""
    summary_hash: str | None = None
    """The hash of its title and times; `None`: unknown."""
    is_confirmed: bool = True
    """Whether a look has shown what the server has made of the last write."""
    recent_since: float | None = None
    """When it was written or deleted, if that was so recent that a look may still show what was there before; seconds
    since 1970 in UTC. `None`: not recently."""
    replaced: frozenset[str] | None = None
    """The hashes of what its last writes have replaced, `ABSENT` for a create; `None`: not known."""

    @property
    def may_be_missing(self) -> bool:
        """Whether a look may not show it although it exists, since its create is recent."""
        return self.recent_since is not None and (self.replaced is None or ABSENT in self.replaced)

    def may_be_outdated(self, shown: Appointment) -> bool:
        """Return whether what a look shows may be from before a recent write, or before a recent delete."""
        if self.recent_since is None:
            return False
        if self.replaced is None or self.remote_hash == ABSENT or content_hash(shown) in self.replaced:
            return True
        return shown.description is None and summary_hash(shown) in self.replaced

    @property
    def is_replaced(self) -> bool:
        """Whether an update has given it another id, and so deleted it."""
        return self.remote_hash == ABSENT and self.key.startswith(REPLACED_PREFIX)


class StateReader:
    """Reads a state."""

    def __init__(self, state: State) -> None:
        self._state = state

    @repeatable
    async def last_seen(
        self,
        calendar: Calendar,
        start: str | None = None,
        end: str | None = None,
        *,
        recent: tuple[float, float] | None = None,
    ) -> dict[str, LastSeen]:
        """Return all appointments that the server had in a calendar, by id.

        Args:
            calendar: The calendar.
            start: The start of the time range for `LastSeen.in_range`, as the state stores instants; `None`: open.
            end: The end of the time range; `None`: open.
            recent: The time of a write or a delete that is recent lies between these two, in seconds since 1970 in UTC.
                What was deleted then is included, and in no time range, as is what an update has replaced. `None`:
                nothing is recent.
        """
        is_deleted = items.c.deleted_at.is_not(None)
        is_replaced = and_(is_deleted, items.c.key.startswith(REPLACED_PREFIX, autoescape=True))
        is_recent: ColumnElement[bool] = false()
        recent_since: ColumnElement[Any] = null()
        if recent is not None:
            changed_at = func.coalesce(items.c.deleted_at, items.c.written_at)
            is_recent = and_(changed_at > recent[0], changed_at < recent[1])
            recent_since = case((is_recent, changed_at))
        names = ("appointment_id", "key", "remote_hash", "summary_hash", "replaced_hashes")
        columns = [items.c[name] for name in names]
        query = select(
            *columns,
            and_(overlaps(start, end), not_(is_deleted)).label("in_range"),
            items.c.confirmed_at.is_not(None).label("is_confirmed"),
            recent_since.label("recent_since"),
        )
        query = query.where(in_calendar(items, calendar), or_(IS_ON_SERVER, and_(is_deleted, is_recent), is_replaced))
        query = query.order_by(is_deleted.desc())  # of two keys with one id, the last one counts
        async with self._state.reading() as connection:
            return {
                row.appointment_id: LastSeen(
                    key=row.key,
                    remote_hash=row.remote_hash,
                    summary_hash=row.summary_hash,
                    in_range=bool(row.in_range),
                    is_confirmed=bool(row.is_confirmed),
                    recent_since=row.recent_since,
                    replaced=None if row.replaced_hashes is None else parse_hashes(row.replaced_hashes),
                )
                for row in await connection.execute(query)
            }

    @repeatable
    async def new_contents(self, calendar: Calendar) -> list[str]:
        """Return the content hashes of the records of a calendar that have no appointment yet."""
        own = and_(*(desired.c[name] == items.c[name] for name in KEY), IS_ON_SERVER)
        query = select(desired.c.content_hash).select_from(desired.outerjoin(items, own))
        query = query.where(in_calendar(desired, calendar), items.c.key.is_(None), desired.c.content_hash.is_not(None))
        async with self._state.reading() as connection:
            return list((await connection.execute(query)).scalars())

    @repeatable
    async def count_appointments(self, tenant_id: str | None = None) -> int:
        """Return how many appointments the server had, of one tenant or of all."""
        query = select(func.count()).select_from(items).where(IS_ON_SERVER)
        if tenant_id is not None:
            query = query.where(items.c.tenant_id == tenant_id)
        async with self._state.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    @repeatable
    async def was_looked_at(self, calendar: Calendar) -> bool:
        """Return whether what the server had in a calendar is in the state.

        An older version has not recorded that. There, a calendar with items counts as looked at.
        """
        look = select(cells.c.previewed_at).where(in_calendar(cells, calendar), cells.c.window_start == "")
        async with self._state.reading() as connection:
            if (row := (await connection.execute(look)).first()) is not None:
                return row.previewed_at is not None
            item = select(items.c.key).where(in_calendar(items, calendar)).limit(1)
            return (await connection.execute(item)).first() is not None

    @repeatable
    async def span(self, calendar: Calendar) -> tuple[str, str] | None:
        """Return the earliest start and the latest end of the source's records of a calendar; `None` without records.

        Both are as the state stores instants.
        """
        query = select(func.min(desired.c.start_time), func.max(desired.c.end_time))
        query = query.where(in_calendar(desired, calendar), desired.c.content_hash.is_not(None))
        async with self._state.reading() as connection:
            start, end = (await connection.execute(query)).one()
        return None if start is None else (start, end)

    @repeatable
    async def processed_by(self, run_id: str, calendar: Calendar, keys: Sequence[str]) -> dict[str, bool]:
        """Return those of some keys that a run has processed, and for each whether it is in sync.

        Keys with a pending create, and keys that the run has written a dead letter for, are not in sync.
        """
        processed: dict[str, bool] = {}
        async with self._state.reading() as connection:
            for first in range(0, len(keys), KEYS_PER_QUERY):
                some = keys[first : first + KEYS_PER_QUERY]
                has_key = {
                    table: and_(in_calendar(table, calendar), table.c.key.in_(some))
                    for table in (items, intents, dead_letters)
                }
                synced = select(items.c.key, items.c.deleted_at).where(has_key[items], items.c.run_id == run_id)
                processed |= {row.key: row.deleted_at is None for row in await connection.execute(synced)}
                pending = select(intents.c.key).where(has_key[intents])
                failed = select(dead_letters.c.key).where(has_key[dead_letters], dead_letters.c.run_id == run_id)
                failed = failed.where(dead_letters.c.operation != "read")
                for query in (pending, failed):
                    processed |= dict.fromkeys((await connection.execute(query)).scalars(), False)
        return processed

    @repeatable
    async def pending_creates(self, calendar: Calendar) -> list[PendingCreate]:
        """Return the pending creates of a calendar, by key."""
        columns = [intents.c[field.name] for field in attrs.fields(PendingCreate)]
        query = select(*columns).where(in_calendar(intents, calendar)).order_by(intents.c.key)
        async with self._state.reading() as connection:
            return [PendingCreate(**row) for row in (await connection.execute(query)).mappings()]

    @repeatable
    async def pending_bodies(self, calendar: Calendar) -> dict[str, bytes]:
        """Return the rows of the records that were sent with the pending creates of a calendar, as JSON, by key.

        Those that the source has changed or removed since are left out. Personal data.
        """
        is_as_sent = and_(
            *(desired.c[name] == intents.c[name] for name in KEY), desired.c.content_hash == intents.c.content_hash
        )
        query = select(desired.c.key, desired.c.body).join_from(intents, desired, is_as_sent)
        query = query.where(in_calendar(intents, calendar), desired.c.body.is_not(None))
        async with self._state.reading() as connection:
            return {row.key: row.body for row in await connection.execute(query)}

    @repeatable
    async def count_pending_creates(self, tenant_id: str) -> int:
        """Return how many creates of a tenant are pending."""
        query = select(func.count()).select_from(intents).where(intents.c.tenant_id == tenant_id)
        async with self._state.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def reasons(self, tenant_id: str, run_id: str, *, limit: int) -> list[Reason]:
        """Return the most frequent reasons of a tenant's failures in a run; see `read_reasons`."""
        return await read_reasons(self._state, tenant_id, run_id, limit=limit)


def in_calendar(table: Table, calendar: Calendar) -> ColumnElement[bool]:
    """Return the condition for the rows of a calendar."""
    return and_(*(table.c[name] == getattr(calendar, name) for name in CALENDAR))


def overlaps(start: str | None, end: str | None) -> ColumnElement[bool]:
    """Return the condition for items that overlap a time range with its start and without its end; `None`: open."""
    conditions: list[ColumnElement[bool]] = []
    if start is not None:
        # An item without duration at the start is in the range, although it does not end after the start.
        conditions.append(or_(items.c.end_time > start, items.c.start_time >= start))
    if end is not None:
        conditions.append(items.c.start_time < end)
    return and_(items.c.key.is_not(None), *conditions)


def parse_hashes(stored: str | None) -> frozenset[str]:
    """Return the hashes in a value of `pending_hashes`."""
    return frozenset() if stored is None else frozenset(ABSENT if part == _DELETE else part for part in stored.split())


def format_hashes(hashes: Iterable[str]) -> str | None:
    """Return the value of `pending_hashes` for some hashes; `None` if there are none."""
    return " ".join(sorted(part or _DELETE for part in hashes)) or None
