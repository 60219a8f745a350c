"""`RedisRateLimitStore`: keeps the slots and the retry quota of each tenant in Redis or Valkey, for many processes.

The rules are those of the memory store, as scripts that the server runs. All times are seconds since 1970 by its clock.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, Self

import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from connector_async._checks import check_int, check_seconds
from connector_async._remote_store import POOL_SIZE, TIMEOUT, PerLoop, call_store
from connector_async._tracebacks import hiding_arguments
from connector_async.exceptions import InvalidArgumentError, RateLimitStoreError

from .limit import RateLimit
from .store import Reservation

_PREFIX: Final = "connector_async:rate_limit:"

# A number has 17 significant digits, so that it is the same one when it is read again: slots are compared for equality.
# A key expires a day after its last slot or penalty. It then equals a new one, apart from its retry quota.
_COMMON: Final = """
local key = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local values = redis.call('HMGET', key, 'next_slot', 'stopped', 'penalized_until', 'floor', 'quota_spent')
local next_slot, stopped, penalized_until = tonumber(values[1] or 0), tonumber(values[2] or 0), tonumber(values[3] or 0)
local floor, quota_spent = tonumber(values[4] or 0), tonumber(values[5] or 0)

local function text(number)
    return string.format('%.17g', number)
end

local function store(...)
    redis.call('HSET', key, ...)
    redis.call('EXPIREAT', key, math.ceil(math.max(now, next_slot + stopped, penalized_until)) + 86400)
end
"""

_RESERVE: Final = (
    _COMMON
    + """
local interval, tolerance, max_wait = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local before = next_slot
local earliest = math.max(now, penalized_until) - stopped
local following = math.max(before, earliest)
local slot = ARGV[4] == '1' and earliest or math.max(following - tolerance, earliest)
local wait = slot + stopped - now
if max_wait and wait > max_wait then
    return {text(wait)}
end
next_slot = following + interval
store('next_slot', text(next_slot))
return {text(slot), text(wait), text(before), text(next_slot)}
"""
)

_DELAY: Final = (
    _COMMON
    + """
return text(math.max(ARGV[1] + stopped, penalized_until) - now)
"""
)

# The slots given back while later ones are reserved are fields of the hash, named by the slot that follows. When there
# are 1,000, the earlier half of them is deleted.
_CANCEL: Final = (
    _COMMON
    + """
if redis.call('HLEN', key) >= 1000 then
    local unused = {}
    for _, field in ipairs(redis.call('HKEYS', key)) do
        if tonumber(field) then
            table.insert(unused, field)
        end
    end
    table.sort(unused, function(one, other) return tonumber(one) < tonumber(other) end)
    redis.call('HDEL', key, unpack(unused, 1, #unused / 2))
end
redis.call('HSET', key, ARGV[2], ARGV[1])
local before = redis.call('HGET', key, text(next_slot))
while before do
    redis.call('HDEL', key, text(next_slot))
    next_slot = math.max(tonumber(before), floor)
    before = redis.call('HGET', key, text(next_slot))
end
store('next_slot', text(next_slot))
"""
)

_PENALIZE: Final = (
    _COMMON
    + """
local seconds, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
local starts_at = math.max(now, penalized_until)
local longer_by = now + seconds - starts_at
if seconds == 0 and longer_by < 0 then
    stopped, penalized_until = stopped + longer_by, now
elseif longer_by <= 0 then
    return 0
else
    floor = starts_at - stopped + tolerance
    next_slot = math.max(next_slot, floor)
    stopped, penalized_until = stopped + longer_by, now + seconds
end
store('next_slot', text(next_slot), 'stopped', text(stopped), 'penalized_until', text(penalized_until),
    'floor', text(floor))
return 1
"""
)

_SPEND: Final = (
    _COMMON
    + """
local cost, refund, capacity = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
quota_spent = math.max(quota_spent - refund, 0) + cost
if quota_spent > capacity then
    return false
end
store('quota_spent', quota_spent)
return capacity - quota_spent
"""
)

_SCHEMES: Final = {"valkey": "redis", "valkeys": "rediss"}


class RedisRateLimitStore:
    """Keeps the slots of rate limits in Redis or Valkey, so that all processes that use the server keep one pace.

    A reservation is one script and one round trip. A call that has waited for its slot asks once more whether a penalty
    was added. Keys start with `connector_async:rate_limit:`, and expire when they were not used for a day.

    The server must be Redis 6.2 or later, or Valkey, and no cluster. It must not evict keys (`maxmemory-policy
    noeviction`), and forgets penalties in a crash unless it has an append-only file.

    It works in several event loops, one after another or at once in threads. Each has its own connections, which are
    closed when the loop shuts down.

    Args:
        url: `redis://`, `rediss://` (TLS), `valkey://`, `valkeys://` or `unix://`, as redis-py defines it.
        pool_size: The most connections, in each event loop. They are opened as they are needed.
        timeout: Seconds for one operation, including retries while the server restarts.

    Raises:
        ValueError: If an argument breaks its rule. The message names the argument.
        TypeError: If an argument has another type. The message names the argument.
    """

    @hiding_arguments  # the URL may have a password
    def __init__(self, url: str, *, pool_size: int = POOL_SIZE, timeout: float = TIMEOUT) -> None:
        url = _checked_url(url)
        check_int("pool_size", pool_size)
        self._timeout = check_seconds("timeout", timeout, above_zero=True)
        self._clients = PerLoop(lambda: _client(url, pool_size, timeout), redis.asyncio.Redis.aclose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | float:
        """Reserve the next slot; see `RateLimitStore`.

        Raises:
            RateLimitStoreError: If the server fails or does not respond in time. Nothing may be sent then.
        """
        longest = "" if max_wait == math.inf else max_wait
        numbers = [
            float(each)
            for each in await self._run(_RESERVE, key, [limit.interval, limit.tolerance, longest, int(ahead)])
        ]
        return Reservation(*numbers) if len(numbers) > 1 else numbers[0]

    async def delay(self, key: str, reservation: Reservation) -> float:
        """Return the seconds until the slot comes; see `RateLimitStore`.

        Raises:
            RateLimitStoreError: If the server fails or does not respond in time. Nothing may be sent then.
        """
        return float(await self._run(_DELAY, key, [reservation.slot]))

    async def cancel(self, key: str, reservation: Reservation) -> None:
        """Give back a slot; see `RateLimitStore`.

        Raises:
            RateLimitStoreError: If the server fails or does not respond in time.
        """
        await self._run(_CANCEL, key, [f"{reservation.before:.17g}", f"{reservation.after:.17g}"])

    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        """Delay every slot, or lift a penalty; see `RateLimitStore`.

        Raises:
            RateLimitStoreError: If the server fails or does not respond in time.
        """
        return bool(await self._run(_PENALIZE, key, [seconds, limit.tolerance]))

    async def spend_quota(self, key: str, cost: int, *, refund: int, capacity: int) -> int | None:
        """Refund and spend some of the retry quota of `key`; see `RetryQuotaStore`.

        Raises:
            RateLimitStoreError: If the server fails or does not respond in time.
        """
        left: int | None = await self._run(_SPEND, key, [cost, refund, capacity])
        return left

    async def aclose(self) -> None:
        """Close the connections of the running event loop. Other loops close theirs when they shut down."""
        await self._clients.aclose()

    async def _run(self, script: str, key: str, arguments: Sequence[float | str]) -> Any:
        async def execute() -> Any:
            client = await self._clients.get()
            # It sends EVALSHA, and the script itself only to a server that does not know it.
            return await client.register_script(script)(keys=[_PREFIX + key], args=arguments)

        return await call_store(
            execute,
            seconds=self._timeout,
            errors=exceptions.RedisError,
            is_transient=_is_transient,
            name="the store of the rate limits",
            raises=RateLimitStoreError,
        )


def _client(url: str, pool_size: int, timeout: float) -> "redis.asyncio.Redis":
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=pool_size,
        timeout=timeout,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),  # `call_store` repeats an operation
    )
    return redis.asyncio.Redis.from_pool(pool)


def _is_transient(error: Exception) -> bool:
    if isinstance(error, exceptions.AuthenticationError) or isinstance(error.__cause__, exceptions.AuthenticationError):
        return False
    return isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError)


def _checked_url(url: str) -> str:
    """Return a URL as redis-py takes it."""
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    checked = f"{_SCHEMES.get(scheme, scheme)}{separator}{rest}"
    try:
        redis.asyncio.ConnectionPool.from_url(checked)
    except (ValueError, TypeError):  # a message may hold the password
        checked = ""
    if not checked:
        raise InvalidArgumentError("url must start with redis://, rediss://, valkey:// or unix://", argument="url")
    return checked
