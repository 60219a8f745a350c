"""How the source differs from what was last in step. It decides nothing."""

import sys
from collections.abc import AsyncIterator, Collection
from typing import Any, Final

import attrs
from sqlalchemy import select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from connector_async.sync.guard import DeleteCount
from connector_async.sync.records import Calendar, LastSynced
from connector_async.sync.scope import Selection

from .diff_queries import queries_of
from .reader import hashes_of
from .schema import desired, intents, items

_KEYS_AT_A_TIME: Final = 1_000  # a database takes no statement of any length


@attrs.frozen(kw_only=True)
class Entry:
    """One key: what was last in step, and what the source says now."""

    key: str
    base: LastSynced | None
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
class TenantProgress:
    """How far the keys of a tenant have come in a run; creates that are open are in none but the records."""

    to_be_tried: int
    """How many differ, as far as that is known without looking at the server, and have not been given up."""
    others: int
    """How many are neither in step nor to be tried, but for what the run itself has given up."""
    records: int
    """How many records of the source can be read."""
    in_step: int
    """How many of them are in step."""


class Differences:
    """Asks over one connection.

    Args:
        connection: Sees the state as it is now.
        selection: Which differences are meant.
    """

    def __init__(self, connection: AsyncConnection, selection: Selection) -> None:
        self._connection = connection
        self._queries = queries_of(selection)

    async def tenants(self) -> list[str]:
        """Return every tenant of which something is known, wanted or open."""
        queries = [select(table.c.tenant_id) for table in (desired, items, intents)]
        return sorted((await self._connection.execute(union(*queries))).scalars())

    async def delete_counts(self) -> AsyncIterator[tuple[Calendar, DeleteCount]]:
        """Yield how much of what is known of each calendar would be deleted, by tenant."""
        async for row in await self._connection.stream(self._queries.delete_counts):
            *calendar, deletes, count, records = tuple(row)
            yield Calendar(*calendar), DeleteCount(deletes=deletes, known=count, records=records)

    async def calendars(self, tenant_id: str, *, unless_done_by: str | None = None) -> list[Calendar]:
        """Return the calendars of a tenant that have a difference or an open create, sorted.

        Args:
            tenant_id: The tenant.
            unless_done_by: All others that are known as well, but for those that this lineage of runs has finished.
        """
        query, parameters = self._queries.calendars, {"tenant_id": tenant_id}
        if unless_done_by is not None:
            query, parameters = self._queries.calendars_to_look_at, parameters | {"lineage": unless_done_by}
        # There may be tens of thousands, most of one directory, whose name is one text for all of them.
        rows = map(tuple, await self._connection.execute(query, parameters))
        return sorted(Calendar(tenant_id, sys.intern(domain_id), ad_id) for _, domain_id, ad_id in rows)

    async def entries(self, calendar: Calendar, after: str | None, limit: int, *, changed: bool) -> list[Entry]:
        """Return the entries of a calendar whose keys come after one, in the order of their keys.

        Args:
            calendar: Whose.
            after: The last key of those before; `None`: from the first on.
            limit: How many at most.
            changed: Whether only those that have a difference.
        """
        parameters = attrs.asdict(calendar) | {"after": after or "", "limit": limit}
        found: list[Entry] = []
        for query in self._queries.changes if changed else self._queries.entries:
            found += map(_entry, await self._connection.execute(query, parameters))
        found.sort(key=lambda entry: entry.key)
        return found[:limit]

    async def others(self, calendar: Calendar, keys: Collection[str], run_id: str) -> set[str]:
        """Return the keys, among some of a calendar, that are among the `others` of its tenant's accounts."""
        found: set[str] = set()
        some = sorted(keys)
        for first in range(0, len(some), _KEYS_AT_A_TIME):
            parameters = attrs.asdict(calendar) | {"keys": some[first : first + _KEYS_AT_A_TIME], "run_id": run_id}
            found |= set((await self._connection.execute(self._queries.others, parameters)).scalars())
        return found

    async def accounts(self, tenant_id: str, run_id: str) -> TenantProgress:
        """Return how far the keys of a tenant have come in a run."""
        parameters = {"tenant_id": tenant_id, "run_id": run_id}
        row = (await self._connection.execute(self._queries.accounts, parameters)).one()
        return TenantProgress(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public way


def _entry(row: Any) -> Entry:
    key, local, body, modified, start_time, end_time, local_hash, remote_hash, pending, appointment_id = row
    return Entry(
        key=key,
        base=None if local_hash is None else LastSynced(local_hash, remote_hash, hashes_of(pending)),
        appointment_id=appointment_id,
        local=local,
        start_time=start_time,
        end_time=end_time,
        body=body,
        modified=modified,
    )
