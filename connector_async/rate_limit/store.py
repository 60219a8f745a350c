"""`RateLimitStore`: what keeps the slots of a rate limit, in this process or beyond it."""

import math
from typing import NamedTuple, Protocol, runtime_checkable

from .limit import RateLimit


class Reservation(NamedTuple):
    """A slot that was taken."""

    slot: float
    """When it comes, on the key's own clock, which stands still during penalties."""
    wait: float
    """Seconds until it comes, as long as no penalty does."""
    before: float = -math.inf
    """What the store knew of the key before; with `after` it finds out whether the slot can be given back."""
    after: float = math.inf


@runtime_checkable
class RateLimitStore(Protocol):
    """Where the slots are kept. One that several processes share makes them keep one pace together.

    Each method is one round trip, and each instance has one clock, its own. What a method raises reaches the caller.
    No slot may start during a penalty, whatever is reserved, cancelled or penalized meanwhile.
    """

    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | float:
        """Take the next slot of `key`.

        With `ahead` the slot comes at once, or with the end of a penalty, and later reservations pay for it.

        Returns:
            The reservation. When the slot comes in more than `max_wait` seconds, none is taken, and the result is the
            number of seconds until it would have come.
        """
        ...

    async def delay(self, key: str, reservation: Reservation) -> float:
        """Return in how many seconds the slot comes, zero or less when it has: a penalty moves it.

        A waiting call asks when its time has passed; with a store other than `MemoryRateLimitStore` every 30 seconds as
        well, so that it notices when a penalty is lifted.
        """
        ...

    async def cancel(self, key: str, reservation: Reservation) -> None:
        """Give back a slot that is not used. It can be taken anew when all that were taken after it are given back."""
        ...

    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        """Let no slot of `key` come for so long, those taken included, which keep their order and their distances.

        What was saved up for a burst is lost. 0 seconds lift a penalty: the slots that were taken then come, at their
        distances, as if it had ended now.

        Returns:
            Whether that changes anything: it is longer than a penalty that is on already, or lifts one.
        """
        ...
