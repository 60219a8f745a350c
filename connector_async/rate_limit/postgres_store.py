"""`PostgresRateLimitStore`: keeps the slots and the retry quota of each tenant in PostgreSQL, for many processes.

The rules are those of the memory store, as SQL. All times are seconds since 1970 by the clock of the server.
"""

import random
import time
from collections.abc import Mapping
from typing import Any, Final, LiteralString, Self

import psycopg

from connector_async import _log
from connector_async._checks import check_int, check_seconds
from connector_async._postgres import Connections, Row, checked_url, is_transient
from connector_async._remote_store import POOL_SIZE, TIMEOUT, PerLoop, call_store
from connector_async._tracebacks import hiding_arguments
from connector_async.exceptions import RateLimitStoreError

from .limit import RateLimit
from .store import Reservation

_CLEANING_INTERVAL: Final = 3600.0

# The lock (the number is "conn") lets one process create the table. The fillfactor leaves room for new versions of a
# row in its page, so that no update touches the index. An unlogged table would forget the penalties in a crash.
_CREATE: Final = """
SELECT pg_advisory_xact_lock(1668247150);
CREATE TABLE IF NOT EXISTS connector_rate_limits (
    key text COLLATE "C" PRIMARY KEY,
    next_slot double precision NOT NULL DEFAULT 0,
    stopped double precision NOT NULL DEFAULT 0,
    penalized_until double precision NOT NULL DEFAULT 0,
    floor double precision NOT NULL DEFAULT 0,
    unused_after double precision[] NOT NULL DEFAULT '{}',
    unused_before double precision[] NOT NULL DEFAULT '{}',
    reserved_slot double precision NOT NULL DEFAULT 0,
    reserved_wait double precision NOT NULL DEFAULT 0,
    reserved_before double precision NOT NULL DEFAULT 0,
    quota_spent bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50)
"""

# The clock is read after the row is locked. The columns `reserved_*` are there to be returned. The commit does not wait
# for the disk: a crash of the server may lose the slots of its last moments, which have mostly come by the time that it
# is up again. The commit of a penalty waits, whatever the server's default is.
_RESERVE: Final = """
INSERT INTO connector_rate_limits AS slots (key, next_slot, reserved_slot)
SELECT %(key)s, now + %(interval)s, now FROM (
    SELECT extract(epoch FROM clock_timestamp())::float8 AS now, set_config('synchronous_commit', 'off', true)
) AS clock
ON CONFLICT (key) DO UPDATE SET (next_slot, reserved_slot, reserved_wait, reserved_before) = (
    SELECT CASE WHEN wait <= %(max_wait)s THEN following + %(interval)s ELSE slots.next_slot END,
        slot, wait, slots.next_slot
    FROM (SELECT extract(epoch FROM clock_timestamp())::float8 AS now) AS clock
    CROSS JOIN LATERAL (SELECT greatest(now, slots.penalized_until) - slots.stopped AS earliest) AS by_key_clock
    CROSS JOIN LATERAL (SELECT greatest(slots.next_slot, earliest) AS following) AS in_order
    CROSS JOIN LATERAL (
        SELECT CASE WHEN %(ahead)s THEN earliest ELSE greatest(following - %(tolerance)s, earliest) END AS slot
    ) AS found
    CROSS JOIN LATERAL (SELECT slot + slots.stopped - now AS wait) AS until
)
RETURNING reserved_slot, reserved_wait, reserved_before, next_slot
"""

_DELAY: Final = """
SELECT greatest(%(slot)s + stopped, penalized_until) - extract(epoch FROM clock_timestamp())::float8
FROM connector_rate_limits WHERE key = %(key)s
"""

# `chain` leads from the last slot over those given back directly before it. UNION ends it where two are equal. Of the
# others given back, those that have not come are kept, 1,000 at most.
_CANCEL: Final = """
UPDATE connector_rate_limits AS slots SET (next_slot, unused_after, unused_before) = (
    WITH RECURSIVE unused AS MATERIALIZED (
        SELECT after, before
        FROM unnest(slots.unused_after || %(after)s::float8, slots.unused_before || %(before)s::float8)
            AS given_back (after, before)
        WHERE after > extract(epoch FROM clock_timestamp())::float8 - slots.stopped
        ORDER BY after DESC LIMIT 1000
    ), chain (slot) AS (
        SELECT slots.next_slot
        UNION
        SELECT greatest(unused.before, slots.floor) FROM chain JOIN unused ON unused.after = chain.slot
    ), last (slot) AS (SELECT min(slot) FROM chain)
    SELECT min(last.slot),
        coalesce(array_agg(unused.after) FILTER (WHERE unused.after < last.slot), '{}'),
        coalesce(array_agg(unused.before) FILTER (WHERE unused.after < last.slot), '{}')
    FROM last LEFT JOIN unused ON true
)
WHERE key = %(key)s
"""

_PENALIZE: Final = """
INSERT INTO connector_rate_limits AS slots (key, stopped, penalized_until, floor, next_slot)
SELECT %(key)s, %(seconds)s, now + %(seconds)s, now + %(tolerance)s, now + %(tolerance)s
FROM (
    SELECT extract(epoch FROM clock_timestamp())::float8 AS now, set_config('synchronous_commit', 'on', true)
) AS clock
ON CONFLICT (key) DO UPDATE SET (floor, next_slot, stopped, penalized_until) = (
    SELECT new_floor, greatest(slots.next_slot, new_floor),
        slots.stopped + excluded.penalized_until - starts_at, excluded.penalized_until
    FROM (SELECT greatest(excluded.penalized_until - %(seconds)s, slots.penalized_until) AS starts_at) AS penalty
    CROSS JOIN LATERAL (SELECT starts_at - slots.stopped + %(tolerance)s AS new_floor) AS by_key_clock
)
WHERE excluded.penalized_until > slots.penalized_until
RETURNING true
"""

_LIFT: Final = """
UPDATE connector_rate_limits SET stopped = stopped - (penalized_until - now), penalized_until = now
FROM (SELECT extract(epoch FROM clock_timestamp())::float8 AS now) AS clock
WHERE key = %(key)s AND penalized_until > now
RETURNING true
"""

_SPEND: Final = """
INSERT INTO connector_rate_limits AS slots (key, quota_spent)
SELECT %(key)s, %(cost)s::bigint WHERE %(cost)s <= %(capacity)s
ON CONFLICT (key) DO UPDATE SET quota_spent = greatest(slots.quota_spent - %(refund)s, 0) + %(cost)s
WHERE greatest(slots.quota_spent - %(refund)s, 0) + %(cost)s <= %(capacity)s
RETURNING %(capacity)s - quota_spent
"""

# A key that nothing was reserved for in a day equals a new one, apart from its retry quota, which is full by then.
_CLEAN: Final = """
DELETE FROM connector_rate_limits WHERE key IN (
    SELECT key FROM connector_rate_limits
    WHERE greatest(next_slot + stopped, penalized_until) < extract(epoch FROM clock_timestamp())::float8 - 86400
    FOR UPDATE SKIP LOCKED
)
"""


class PostgresRateLimitStore:
    """Keeps the slots of rate limits in PostgreSQL, so that all processes that use the database keep one pace.

    A reservation is one statement and one round trip. A call that has waited for its slot asks once more whether a
    penalty was added. The table `connector_rate_limits` is created at the first use, in the first schema of the
    `search_path`. Keys that were not used for a day are deleted.

    It works in several event loops, one after another or at once in threads. Each has its own connections, which are
    closed when the loop shuts down. On Windows psycopg needs a `SelectorEventLoop`.

    Args:
        url: `postgresql://` and a database, with the options of libpq.
        pool_size: The most connections, in each event loop. They are opened as they are needed.
        timeout: Seconds for one operation, including retries while the server restarts.

    Raises:
        ValueError: If an argument breaks its rule. The message names the argument.
        TypeError: If an argument has another type. The message names the argument.
    """

    @hiding_arguments  # the URL may have a password
    def __init__(self, url: str, *, pool_size: int = POOL_SIZE, timeout: float = TIMEOUT) -> None:
        url = checked_url(url)
        check_int("pool_size", pool_size)
        self._timeout = check_seconds("timeout", timeout, above_zero=True)
        self._connections = PerLoop(lambda: Connections(url, pool_size), Connections.aclose)
        # Processes that start together clean at different times.
        self._clean_at = time.monotonic() + _CLEANING_INTERVAL * random.random()  # noqa: S311 - not used for secrets

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | float:
        """Reserve the next slot; see `RateLimitStore`.

        Raises:
            RateLimitStoreError: If the database fails or does not respond in time. Nothing may be sent then.
        """
        if time.monotonic() >= self._clean_at:
            await self._clean()
        row = await self._run(
            _RESERVE,
            {
                "key": key,
                "interval": limit.interval,
                "tolerance": limit.tolerance,
                "max_wait": max_wait,
                "ahead": ahead,
            },
        )
        assert row is not None  # noqa: S101 - it inserts or updates a row
        slot, wait, before, after = row
        return Reservation(slot, wait, before, after) if wait <= max_wait else wait

    async def delay(self, key: str, reservation: Reservation) -> float:
        """Return the seconds until the slot comes; see `RateLimitStore`.

        Raises:
            RateLimitStoreError: If the database fails or does not respond in time. Nothing may be sent then.
        """
        row = await self._run(_DELAY, {"key": key, "slot": reservation.slot})
        return 0.0 if row is None else row[0]  # a key is deleted only after all of its slots have come

    async def cancel(self, key: str, reservation: Reservation) -> None:
        """Give back a slot; see `RateLimitStore`.

        Raises:
            RateLimitStoreError: If the database fails or does not respond in time.
        """
        await self._run(_CANCEL, {"key": key, "before": reservation.before, "after": reservation.after})

    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        """Delay every slot, or lift a penalty; see `RateLimitStore`.

        Raises:
            RateLimitStoreError: If the database fails or does not respond in time.
        """
        query = _PENALIZE if seconds > 0 else _LIFT
        return await self._run(query, {"key": key, "seconds": seconds, "tolerance": limit.tolerance}) is not None

    async def spend_quota(self, key: str, cost: int, *, refund: int, capacity: int) -> int | None:
        """Refund and spend some of the retry quota of `key`; see `RetryQuotaStore`.

        Raises:
            RateLimitStoreError: If the database fails or does not respond in time.
        """
        row = await self._run(_SPEND, {"key": key, "cost": cost, "refund": refund, "capacity": capacity})
        return None if row is None else row[0]

    async def delete_idle_keys(self) -> None:
        """Delete the keys that were not used for a day. The store does this by itself once an hour.

        Raises:
            RateLimitStoreError: If the database fails or does not respond in time.
        """
        await self._run(_CLEAN, {})

    async def _clean(self) -> None:
        self._clean_at = time.monotonic() + _CLEANING_INTERVAL
        try:
            await self.delete_idle_keys()
        except RateLimitStoreError as failure:  # such as a timeout of the statement: the call does not depend on it
            _log.hook_failure("delete_idle_keys", failure)

    async def aclose(self) -> None:
        """Close the connections of the running event loop. Other loops close theirs when they shut down."""
        await self._connections.aclose()

    async def _run(self, query: LiteralString, parameters: Mapping[str, Any]) -> Row | None:
        async def execute() -> Row | None:
            connections = await self._connections.get()
            try:
                return await connections.execute(query, parameters)
            except psycopg.errors.UndefinedTable:
                await connections.execute(_CREATE)
            return await connections.execute(query, parameters)

        return await call_store(
            execute,
            seconds=self._timeout,
            errors=psycopg.Error,
            is_transient=is_transient,
            name="the store of the rate limits",
            raises=RateLimitStoreError,
        )
