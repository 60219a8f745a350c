"""The rate limit of a tenant: slots for its requests, penalties that delay all of them, and which calls go first.

It is GCRA by reservation (the generic cell rate algorithm of ATM Forum TM 4.0): a call reserves the next slot and waits
for it, first come, first served. It knows neither requests nor models. The stores on a server are imported at their
first use, because they need clients from the extras.
"""

from typing import TYPE_CHECKING

from connector_async._first_use import first_use

from .limit import RateLimit
from .limiter import MAX_PENALTY, Limiter
from .memory_store import MemoryRateLimitStore
from .priorities import Priority, bulk_priority, priority
from .store import RateLimitStore, Reservation

if TYPE_CHECKING:
    from .postgres_store import PostgresRateLimitStore
    from .redis_store import RedisRateLimitStore

__all__ = [
    "MAX_PENALTY",
    "Limiter",
    "MemoryRateLimitStore",
    "PostgresRateLimitStore",
    "Priority",
    "RateLimit",
    "RateLimitStore",
    "RedisRateLimitStore",
    "Reservation",
    "bulk_priority",
    "priority",
]

__getattr__ = first_use(
    __name__, {"postgres_store": ("PostgresRateLimitStore",), "redis_store": ("RedisRateLimitStore",)}
)
