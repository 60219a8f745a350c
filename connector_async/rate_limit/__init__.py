"""The pace at which a tenant's requests are sent, the penalty that holds all of them back, and who goes first.

GCRA by reservation (the generic cell rate algorithm of ATM Forum TM 4.0): a call takes the next slot and waits for it,
first come, first served. It knows neither requests nor models.
"""

from .limit import RateLimit
from .limiter import MAX_PENALTY, Limiter
from .memory_store import MemoryRateLimitStore
from .priorities import Priority, bulk_priority, priority
from .store import RateLimitStore, Reservation
from .waking import resolve, wake

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
    "resolve",
    "wake",
]
