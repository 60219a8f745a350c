"""`MemoryRateLimitStore`: keeps the slots of one process."""

import asyncio
import math
import threading
from collections import OrderedDict
from typing import Final

import attrs

from connector_async._clock import Clock, checked_clock

from .limit import RateLimit
from .store import Reservation
from .waking import wake

_KEPT_IDLE: Final = 1_000
_UNUSED_AT_FIRST: Final = 1_000


@attrs.define
class _Pace:
    """One key's slots. Its clock is the store's less `stood`, which a penalty increases: every slot moves at once."""

    next_slot: float = -math.inf
    """When the next one comes if nothing is saved up; the burst may go before."""
    stood: float = 0.0
    penalized_until: float = -math.inf
    """On the store's clock."""
    floor: float = -math.inf
    """What `next_slot` does not fall below when slots are given back: what was saved up before a penalty is lost."""
    unused: dict[float, float] | None = None
    """`after` to `before` of what was given back while later slots were taken."""
    unused_limit: int = _UNUSED_AT_FIRST
    """How many there may be before those that are over are looked for."""
    sleepers: set[asyncio.Future[None]] | None = None
    """Calls that wait for their slots, to be woken when a penalty is lifted."""

    def give_back(self, reservation: Reservation, now: float) -> None:
        """Make a slot free, with those that were given back before and that follow each other up to the last."""
        unused = self.unused = {} if self.unused is None else self.unused
        if len(unused) >= self.unused_limit:
            unused = self.unused = {after: before for after, before in unused.items() if after > now}
            # Doubled, so that a slot is looked at twice on average, however many are given back.
            self.unused_limit = max(_UNUSED_AT_FIRST, 2 * len(unused))
        unused[reservation.after] = reservation.before
        # Those who are cancelled together are so from the first to the last.
        while (before := unused.pop(self.next_slot, None)) is not None:
            self.next_slot = max(before, self.floor)

    def is_idle(self, now: float) -> bool:
        """Return whether it equals a new one: every slot has come, no penalty is on, and no call waits."""
        return self.next_slot + self.stood <= now and self.penalized_until <= now and not self.sleepers


class MemoryRateLimitStore:
    """Keeps the slots of this process; it is thread-safe, and may be used from several event loops.

    A key that has not been used for some time is forgotten when there are more than 1,000: it equals a new one.

    Raises:
        TypeError: If `clock` is not a `Clock`.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = checked_clock(clock)
        self._paces: OrderedDict[str, _Pace] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str, limit: RateLimit) -> bool:
        """Take the next slot if it has come, and return whether it has: the common case, without a coroutine."""
        now = self._clock.monotonic()
        with self._lock:
            pace = self._paces.get(key) or self._new_pace(key, now)
            earliest = now - pace.stood
            # Without max(), which would be a fifth of what this costs.
            following = pace.next_slot if pace.next_slot > earliest else earliest  # noqa: FURB136
            if following - limit.tolerance > earliest or now < pace.penalized_until:
                return False
            pace.next_slot = following + limit.interval
            return True

    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | float:
        """Take the next slot; see `RateLimitStore`."""
        now = self._clock.monotonic()
        with self._lock:
            pace = self._paces.get(key) or self._new_pace(key, now)
            earliest = max(now, pace.penalized_until) - pace.stood
            before = pace.next_slot
            following = max(before, earliest)
            slot = earliest if ahead else max(following - limit.tolerance, earliest)
            wait = slot + pace.stood - now
            if wait > max_wait:
                return wait
            pace.next_slot = following + limit.interval
            return Reservation(slot, wait, before, pace.next_slot)

    async def delay(self, key: str, reservation: Reservation) -> float:
        """Return in how many seconds the slot comes; see `RateLimitStore`."""
        now = self._clock.monotonic()
        with self._lock:
            pace = self._paces.get(key)
            # A key is forgotten only when all of its slots have come.
            return 0.0 if pace is None else max(reservation.slot + pace.stood, pace.penalized_until) - now

    async def cancel(self, key: str, reservation: Reservation) -> None:
        """Give back a slot; see `RateLimitStore`."""
        now = self._clock.monotonic()
        with self._lock:
            pace = self._paces.get(key)
            if pace is not None:
                pace.give_back(reservation, now - pace.stood)

    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        """Hold everything back, or lift what does; see `RateLimitStore`."""
        now = self._clock.monotonic()
        with self._lock:
            pace = self._paces.get(key) or self._new_pace(key, now)
            starts_at = max(now, pace.penalized_until)
            longer_by = now + seconds - starts_at
            if seconds == 0 and longer_by < 0:
                pace.stood += longer_by
                pace.penalized_until = now
                wake(pace.sleepers or ())
                return True
            if longer_by <= 0:
                return False
            pace.floor = starts_at - pace.stood + limit.tolerance
            pace.next_slot = max(pace.next_slot, pace.floor)
            pace.stood += longer_by
            pace.penalized_until = now + seconds
            return True

    def sleepers(self, key: str) -> set[asyncio.Future[None]]:
        """Return the calls that wait for slots of `key`: a penalty that is lifted wakes them."""
        now = self._clock.monotonic()
        with self._lock:
            pace = self._paces.get(key) or self._new_pace(key, now)
            if pace.sleepers is None:
                pace.sleepers = set()
            return pace.sleepers

    def _new_pace(self, key: str, now: float) -> _Pace:
        paces = self._paces
        # Two for each new one: so those that are idle go faster than others come, and no call looks at all of them.
        for _ in range(2 if len(paces) >= _KEPT_IDLE else 0):
            oldest, pace = paces.popitem(last=False)
            if not pace.is_idle(now):
                paces[oldest] = pace
        pace = paces[key] = _Pace()
        return pace
