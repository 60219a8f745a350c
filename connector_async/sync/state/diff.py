"""The differences between the source and the last sync, without a decision what to do about them."""

import sys
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any

import attrs
from sqlalchemy.ext.asyncio import AsyncConnection

from connector_async.sync.guard import DeleteCount
from connector_async.sync.records import Calendar, LastSynced
from connector_async.sync.scope import Selection

from .db.engine import streamed
from .diff_queries import TENANTS, queries_for
from .reader import KEYS_PER_QUERY, parse_hashes


@attrs.frozen(kw_only=True)
class Entry:
    """One key: its state at the last sync, and its record in the source now."""

    key: str
    base: LastSynced | None
    """The hashes of the last sync; `None`: the key was never synced."""
    appointment_id: str | None
    """The id of the appointment; `None`: the key was never synced."""
    local: str
    """The hash of the record, or `ABSENT`."""
    start_time: str
    """The start of the record, or without one of the last sync; an instant, as the state stores it."""
    end_time: str
    """The end of the record, or without one of the last sync."""
    body: bytes | None = attrs.field(repr=False)
    """The row of the record, as JSON with personal data; `None`: the source has no record."""
    modified: str | None
    """The time when the source changed the record, RFC 3339 in UTC; `None`: unknown."""


@attrs.frozen(kw_only=True)
class TenantProgress:
    """The progress of a run with the keys of a tenant. Keys with a pending create are only in `records`."""

    to_do: int
    """The number of keys to create, update or delete, as far as known without a look at the server."""
    skipped: int
    """The number of other keys that are out of sync, without those that the run has written a dead letter for."""
    records: int
    """The number of records in the source that can be read."""
    in_sync: int
    """The number of these records that are in sync."""


class Differences:
    """Queries the differences over one connection, which sees one snapshot of the state.

    Args:
        connection: A connection for reading.
        selection: The differences to include.
    """

    def __init__(self, connection: AsyncConnection, selection: Selection) -> None:
        self._connection = connection
        self._queries = queries_for(selection)

    async def tenants(self) -> list[str]:
        """Return all tenants with records, items or pending creates, sorted."""
        return sorted((await self._connection.execute(TENANTS)).scalars())

    async def delete_counts(self) -> AsyncGenerator[tuple[Calendar, DeleteCount], None]:
        """Yield how many of the known appointments of each calendar would be deleted, ordered by tenant."""
        async with streamed(self._connection, self._queries.delete_counts) as result:
            async for row in result:
                *calendar, deletes, known, records = tuple(row)
                # PostgreSQL's sums of big integers are decimals.
                count = DeleteCount(deletes=int(deletes), known=int(known), records=int(records))
                yield Calendar(*calendar), count

    async def tenants_with_changes(self, tenant_ids: Sequence[str]) -> set[str]:
        """Return those of some leased tenants that have a changed record to do or a pending create."""
        found: set[str] = set()
        for first in range(0, len(tenant_ids), KEYS_PER_QUERY):
            some = {"tenant_ids": tenant_ids[first : first + KEYS_PER_QUERY]}
            found.update((await self._connection.execute(self._queries.tenants_with_changes, some)).scalars())
        return found

    async def calendars(self, tenant_id: str, *, unless_done_by: str | None = None) -> list[Calendar]:
        """Return the calendars of a tenant with something to do or a pending create, sorted.

        Args:
            tenant_id: The tenant.
            unless_done_by: A lineage of runs: all other known calendars that these runs have not done are included.
        """
        query, parameters = self._queries.calendars, {"tenant_id": tenant_id}
        if unless_done_by is not None:
            query, parameters = self._queries.unfinished_calendars, parameters | {"lineage": unless_done_by}
        # There may be tens of thousands, most of them in one directory: they share the string of its name.
        rows = map(tuple, await self._connection.execute(query, parameters))
        return sorted(Calendar(tenant_id, sys.intern(domain_id), ad_id) for _, domain_id, ad_id in rows)

    async def entries(self, calendar: Calendar, after: str | None, limit: int, *, changed: bool) -> list[Entry]:
        """Return the next entries of a calendar, ordered by key.

        Args:
            calendar: The calendar.
            after: The last key of the previous entries; `None`: start at the first key.
            limit: The number of entries at most.
            changed: Whether to return only entries that are to do.
        """
        parameters = attrs.asdict(calendar) | {"after": after or "", "limit": limit}
        entries: list[Entry] = []
        for query in self._queries.changes if changed else self._queries.entries:
            entries += map(_entry, await self._connection.execute(query, parameters))
        entries.sort(key=lambda entry: entry.key)
        return entries[:limit]

    async def skipped_keys(self, calendar: Calendar, keys: Collection[str], run_id: str) -> set[str]:
        """Return those of some keys of a calendar that `progress` counts as skipped in a run."""
        skipped: set[str] = set()
        remaining = sorted(keys)
        for first in range(0, len(remaining), KEYS_PER_QUERY):
            some = remaining[first : first + KEYS_PER_QUERY]
            parameters = attrs.asdict(calendar) | {"keys": some, "run_id": run_id}
            skipped |= set((await self._connection.execute(self._queries.skipped_keys, parameters)).scalars())
        return skipped

    async def progress(self, tenant_ids: Sequence[str], run_id: str) -> dict[str, TenantProgress]:
        """Return the progress of a run with the keys of each of some leased tenants."""
        progress: dict[str, TenantProgress] = {}
        for first in range(0, len(tenant_ids), KEYS_PER_QUERY):
            parameters = {"tenant_ids": tenant_ids[first : first + KEYS_PER_QUERY], "run_id": run_id}
            for row in (await self._connection.execute(self._queries.progress, parameters)).mappings():
                counts = dict(row)
                tenant_id = counts.pop("tenant_id")
                progress[tenant_id] = TenantProgress(**counts)
        return progress


def _entry(row: Any) -> Entry:
    key, local, body, modified, start_time, end_time, appointment_id, local_hash, remote_hash, pending, *rest = row
    summary_hash, written_at, confirmed_at, replaced = rest
    base = None
    if local_hash is not None:
        base = LastSynced(
            local_hash,
            remote_hash,
            parse_hashes(pending),
            summary_hash,
            written_at,
            None if replaced is None else parse_hashes(replaced),
            confirmed_at is not None,
        )
    return Entry(
        key=key,
        base=base,
        appointment_id=appointment_id,
        local=local,
        start_time=start_time,
        end_time=end_time,
        body=body,
        modified=modified,
    )
