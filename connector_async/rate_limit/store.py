"""`RateLimitStore`: the interface of a store that keeps the slots of rate limits."""

import math
from typing import NamedTuple, Protocol, runtime_checkable

from .limit import RateLimit


class Reservation(NamedTuple):
    """A reserved slot."""

    slot: float
    """When the slot comes, by the key's own clock, which stands still during penalties."""
    wait: float
    """Seconds until the slot comes, if no penalty is added."""
    before: float = -math.inf
    """What the store knew of the key before the reservation. With `after` it decides whether the slot can be given
    back."""
    after: float = math.inf
    """What the store knew of the key after the reservation."""


@runtime_checkable
class RateLimitStore(Protocol):
    """Keeps the slots of rate limits, by key. Processes that share a store keep one pace together.

    Each method is one round trip. Each store has its own clock. Errors of a method reach the caller, and nothing is
    sent then. No slot may start during a penalty, whatever is reserved, cancelled or penalized meanwhile. A store that
    is a `RetryQuotaStore`, too, shares the retry quota. `connector_async.testing.rate_limit_conformance` has checks for
    a store of your own.
    """

    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | float:
        """Reserve the next slot of `key`.

        With `ahead` the slot comes at once, or at the end of a penalty, and later slots are delayed for it.

        Returns:
            The reservation. If the slot comes in more than `max_wait` seconds, no slot is reserved, and the result is
            the number of seconds until it would have come.
        """
        ...

    async def delay(self, key: str, reservation: Reservation) -> float:
        """Return the seconds until a reserved slot comes, zero or less if it has come. A penalty delays slots.

        A waiting call asks again when its time is over. If the store is not a `MemoryRateLimitStore`, it also asks
        every 30 seconds, so that it notices when a penalty is lifted.
        """
        ...

    async def cancel(self, key: str, reservation: Reservation) -> None:
        """Give back an unused slot. It can be reserved again once all slots after it have been given back."""
        ...

    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        """Delay every slot of `key`, reserved ones included, until the penalty ends. Their order and distances stay.

        The saved-up burst is lost. 0 seconds lift a penalty: the reserved slots come as if it had ended now.

        Returns:
            Whether anything has changed: the penalty ends later than the current one, or lifts it.
        """
        ...
