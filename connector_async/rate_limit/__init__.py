"""The rate limit of a tenant: slots for its requests, penalties that delay all of them, and which calls go first.

It is GCRA by reservation (the generic cell rate algorithm of ATM Forum TM 4.0): a call reserves the next slot and waits
for it, first come, first served. It knows neither requests nor models.
"""

from .limit import RateLimit
from .limiter import MAX_PENALTY, Limiter
from .memory_store import MemoryRateLimitStore
from .priorities import Priority, bulk_priority, priority
from .store import RateLimitStore, Reservation

__all__ = [
    "MAX_PENALTY",
    "Limiter",
    "MemoryRateLimitStore",
    "Priority",
    "RateLimit",
    "RateLimitStore",
    "Reservation",
    "bulk_priority",
    "priority",
]
