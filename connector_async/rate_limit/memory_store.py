"""`MemoryRateLimitStore`: keeps the slots of one process."""

import asyncio
import math
import threading
from collections import OrderedDict
from typing import Final

import attrs

from connector_async._clock import Clock, checked_clock, wake

from .limit import RateLimit
from .store import Reservation

_IDLE_KEYS: Final = 1_000
_INITIAL_UNUSED_LIMIT: Final = 1_000


@attrs.define(eq=False, repr=False)
class _Slots:
    """The slots of one key.

    Their clock is the store's clock minus `stopped`. A penalty increases `stopped`, which delays every slot at once.
    """

    next_slot: float = -math.inf
    """When the next slot comes if no burst is saved up. Slots of a burst come earlier."""
    stopped: float = 0.0
    penalized_until: float = -math.inf
    """By the store's clock."""
    floor: float = -math.inf
    """The lowest value of `next_slot` after slots are given back: the burst saved up before a penalty is lost."""
    unused: dict[float, float] | None = None
    """`after` to `before` of the reservations that were given back while later slots were reserved."""
    unused_limit: int = _INITIAL_UNUSED_LIMIT
    """The size of `unused` at which past slots are removed from it."""
    sleepers: set[asyncio.Future[None]] | None = None
    """The calls that wait for their slots. A penalty that is lifted wakes them."""

    def give_back(self, reservation: Reservation, now: float) -> None:
        """Make a slot free. If it was the last one, slots given back directly before it become free as well."""
        unused = self.unused = {} if self.unused is None else self.unused
        if len(unused) >= self.unused_limit:
            unused = self.unused = {after: before for after, before in unused.items() if after > now}
            # Doubled, so that each slot is looked at twice on average, however many are given back.
            self.unused_limit = max(_INITIAL_UNUSED_LIMIT, 2 * len(unused))
        unused[reservation.after] = reservation.before
        # Calls that are cancelled together give their slots back from the first to the last.
        while (before := unused.pop(self.next_slot, None)) is not None:
            self.next_slot = max(before, self.floor)

    def is_idle(self, now: float) -> bool:
        """Return whether the key equals a new one: every slot has come, no penalty is active, and no call waits."""
        return self.next_slot + self.stopped <= now and self.penalized_until <= now and not self.sleepers


class MemoryRateLimitStore:
    """Keeps the slots of this process. It is thread-safe, and several event loops may use it.

    When there are more than 1,000 keys, idle keys are dropped: an idle key equals a new one.

    Raises:
        TypeError: If `clock` is not a `Clock`.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = checked_clock(clock)
        self._slots: OrderedDict[str, _Slots] = OrderedDict()
        """By key."""
        self._lock = threading.Lock()

    def take(self, key: str, limit: RateLimit) -> bool:
        """Take the next slot if it has come, and return whether it has: the common case, without a coroutine."""
        now = self._clock.monotonic()
        with self._lock:
            slots = self._slots.get(key) or self._add(key, now)
            earliest = now - slots.stopped
            # max() would be a fifth of the cost of this method.
            following = slots.next_slot if slots.next_slot > earliest else earliest  # noqa: FURB136
            if following - limit.tolerance > earliest or now < slots.penalized_until:
                return False
            slots.next_slot = following + limit.interval
            return True

    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | float:
        """Reserve the next slot; see `RateLimitStore`."""
        now = self._clock.monotonic()
        with self._lock:
            slots = self._slots.get(key) or self._add(key, now)
            earliest = max(now, slots.penalized_until) - slots.stopped
            before = slots.next_slot
            following = max(before, earliest)
            slot = earliest if ahead else max(following - limit.tolerance, earliest)
            wait = slot + slots.stopped - now
            if wait > max_wait:
                return wait
            slots.next_slot = following + limit.interval
            return Reservation(slot, wait, before, slots.next_slot)

    async def delay(self, key: str, reservation: Reservation) -> float:
        """Return the seconds until the slot comes; see `RateLimitStore`."""
        now = self._clock.monotonic()
        with self._lock:
            slots = self._slots.get(key)
            # A key is dropped only after all of its slots have come.
            return 0.0 if slots is None else max(reservation.slot + slots.stopped, slots.penalized_until) - now

    async def cancel(self, key: str, reservation: Reservation) -> None:
        """Give back a slot; see `RateLimitStore`."""
        now = self._clock.monotonic()
        with self._lock:
            slots = self._slots.get(key)
            if slots is not None:
                slots.give_back(reservation, now - slots.stopped)

    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        """Delay every slot, or lift a penalty; see `RateLimitStore`."""
        now = self._clock.monotonic()
        with self._lock:
            slots = self._slots.get(key) or self._add(key, now)
            starts_at = max(now, slots.penalized_until)
            longer_by = now + seconds - starts_at
            if seconds == 0 and longer_by < 0:
                slots.stopped += longer_by
                slots.penalized_until = now
                wake(slots.sleepers or ())
                return True
            if longer_by <= 0:
                return False
            slots.floor = starts_at - slots.stopped + limit.tolerance
            slots.next_slot = max(slots.next_slot, slots.floor)
            slots.stopped += longer_by
            slots.penalized_until = now + seconds
            return True

    def sleepers(self, key: str) -> set[asyncio.Future[None]]:
        """Return the set of calls that wait for slots of `key`. A penalty that is lifted wakes them."""
        now = self._clock.monotonic()
        with self._lock:
            slots = self._slots.get(key) or self._add(key, now)
            if slots.sleepers is None:
                slots.sleepers = set()
            return slots.sleepers

    def _add(self, key: str, now: float) -> _Slots:
        # Two old keys are looked at for each new one. So idle keys are dropped faster than new ones are added, and no
        # call looks at all keys.
        for _ in range(2 if len(self._slots) >= _IDLE_KEYS else 0):
            oldest, slots = self._slots.popitem(last=False)
            if not slots.is_idle(now):
                self._slots[oldest] = slots
        slots = self._slots[key] = _Slots()
        return slots
