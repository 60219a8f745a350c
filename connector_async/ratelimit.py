"""The pace at which a tenant's requests are sent, and the penalty that holds all of them back.

GCRA by reservation (the generic cell rate algorithm of ATM Forum TM 4.0): whoever wants to send takes the next slot and
waits for it, first come, first served. It knows neither requests nor models.
"""

import asyncio
import math
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, Protocol, Self, runtime_checkable

import attrs

from . import log
from .deadline import Clock, Deadline, check_seconds, checked_clock
from .exceptions import DeadlineExceededError

_MOST_UNUSED: Final = 1_000
MAX_PENALTY: Final = 24 * 3600.0
"""Seconds: an absurd `Retry-After` does not silence a tenant for longer."""


def _check_limit(_: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if isinstance(value, bool) or not (isinstance(value, int) or value == math.inf):
        raise TypeError(f"{field.name} must be an int, not {type(value).__name__}")
    if sys.float_info.max < value < math.inf:
        raise ValueError(f"{field.name} must be less, or math.inf")


def _check_burst(limit: "RateLimit", field: "attrs.Attribute[int]", value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{field.name} must be an int, not {type(value).__name__}")
    if not 1 <= value < limit.limit:
        raise ValueError(f"{field.name} must be 1 or more, and less than limit")


def _check_per(_: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    check_seconds(field.name, value, above_zero=True)


@attrs.frozen
class RateLimit:
    """How many requests a tenant may send: by default the 60 per minute that the API documents.

    After a pause `burst` requests may go at once, and the rest follow at `limit - burst` per `per` seconds: so no more
    than `limit` fall into any `per` seconds, by whatever kind of window the server counts.

    Raises:
        ValueError: A field is out of its range; the message names it.
        TypeError: A field is of another type.
    """

    limit: float = attrs.field(default=60, validator=_check_limit)
    """Requests: everything that is sent counts, retries, replays and token requests included."""
    per: float = attrs.field(default=60, validator=_check_per)
    """Seconds."""
    burst: int = attrs.field(default=10, validator=_check_burst)
    """Requests at once, after a pause. The smaller, the nearer the steady pace comes to `limit`: 1 suits bulk jobs."""

    interval: float = attrs.field(init=False, repr=False, eq=False)
    """Seconds between two requests, once the burst is used up."""
    tolerance: float = attrs.field(init=False, repr=False, eq=False)
    """Seconds by which the burst may run ahead of that."""

    def __attrs_post_init__(self) -> None:
        interval = self.per / (self.limit - self.burst)
        object.__setattr__(self, "interval", interval)
        object.__setattr__(self, "tolerance", interval * (self.burst - 1))

    @classmethod
    def unlimited(cls) -> Self:
        """Return the limit that keeps no pace. A server that throttles is heeded all the same."""
        return cls(limit=math.inf, burst=1)


class Reservation(NamedTuple):
    """A slot that was taken."""

    slot: float
    """Where it is, on the key's own clock, which stands still during penalties."""
    wait: float
    """Seconds until it comes, as long as no penalty does."""
    before: float = -math.inf
    """What the store knew of the key before; with `after` it finds out whether the slot can be given back."""
    after: float = math.inf


@runtime_checkable
class RateLimitStore(Protocol):
    """Where the slots are kept. One that several processes share makes them keep one pace together.

    Each method is one round trip, and each instance has one clock, its own. What a method raises reaches the caller.
    """

    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | None:
        """Take the next slot of `key`; take none and return `None` when it comes in more than `max_wait` seconds.

        With `ahead` the slot comes at once, or with the end of a penalty, and those who reserve later pay for it.
        """
        ...

    async def delay(self, key: str, reservation: Reservation) -> float:
        """Return in how many seconds the slot comes, zero or less when it has: a penalty moves it."""
        ...

    async def cancel(self, key: str, reservation: Reservation) -> None:
        """Give back a slot that is not used. It can be taken anew when all that were taken after it are given back."""
        ...

    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        """Let no slot of `key` come for so long, those taken included, which keep their order and their distances.

        What was saved up for a burst is lost.

        Returns:
            Whether that is longer than a penalty that is on already.
        """
        ...


@attrs.define
class _Pace:
    """One key's slots. Its clock is the store's less `stood`, which a penalty increases: every slot moves at once."""

    next_slot: float = -math.inf
    """When the next one comes if nothing is saved up; the burst may go before."""
    stood: float = 0.0
    penalized_until: float = -math.inf
    """On the store's clock."""
    unused: dict[float, float] = attrs.field(factory=dict)
    """`after` to `before` of what was given back while later slots were taken."""


class MemoryRateLimitStore:
    """Keeps the slots of this process; it may be used from several threads and event loops.

    Raises:
        TypeError: `clock` is no `Clock`.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = checked_clock(clock)
        self._paces: dict[str, _Pace] = {}
        self._lock = threading.Lock()

    def take(self, key: str, limit: RateLimit) -> bool:
        """Take the next slot if it has come, and tell whether it has: the common case, without a coroutine."""
        now = self._clock.monotonic()
        with self._lock:
            pace = self._paces.get(key) or self._pace(key)
            earliest = now - pace.stood
            # Without max(), which would be a fifth of what this costs.
            following = pace.next_slot if pace.next_slot > earliest else earliest  # noqa: FURB136
            if following - limit.tolerance > earliest or now < pace.penalized_until:
                return False
            pace.next_slot = following + limit.interval
            return True

    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | None:
        """Take the next slot; see `RateLimitStore`."""
        now = self._clock.monotonic()
        with self._lock:
            pace = self._paces.get(key) or self._pace(key)
            earliest = now - pace.stood  # in a penalty, before every slot: `penalize` saw to that
            before = pace.next_slot
            following = max(before, earliest)
            slot = max(following - limit.tolerance, earliest)
            if ahead:
                slot = max(now, pace.penalized_until) - pace.stood
            wait = slot + pace.stood - now
            if wait > max_wait:
                return None
            pace.next_slot = following + limit.interval
            return Reservation(slot, wait, before, pace.next_slot)

    async def delay(self, key: str, reservation: Reservation) -> float:
        """Return in how many seconds the slot comes; see `RateLimitStore`."""
        return reservation.slot + self._pace(key).stood - self._clock.monotonic()

    async def cancel(self, key: str, reservation: Reservation) -> None:
        """Give back a slot; see `RateLimitStore`."""
        with self._lock:
            pace = self._pace(key)
            now = self._clock.monotonic() - pace.stood
            if len(pace.unused) >= _MOST_UNUSED:
                pace.unused = {after: before for after, before in pace.unused.items() if after > now}
            pace.unused[reservation.after] = reservation.before
            # Those who are cancelled together are so from the first to the last.
            while (before := pace.unused.pop(pace.next_slot, None)) is not None:
                pace.next_slot = before

    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        """Hold everything back; see `RateLimitStore`."""
        now = self._clock.monotonic()
        with self._lock:
            pace = self._pace(key)
            begins_at = max(now, pace.penalized_until)
            longer_by = now + seconds - begins_at
            if longer_by <= 0:
                return False
            pace.next_slot = max(pace.next_slot, begins_at - pace.stood + limit.tolerance)
            pace.stood += longer_by
            pace.penalized_until = now + seconds
            return True

    def _pace(self, key: str) -> _Pace:
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = _Pace()
        return pace


@attrs.frozen(eq=False)
class Limiter:
    """Lets the requests of one key go at their pace."""

    key: str
    """What is counted together: the tenant's URL."""
    limit: RateLimit
    _store: RateLimitStore
    _sleep: Callable[[float], Awaitable[None]]

    def take(self) -> bool:
        """Take a turn if it has come and the store can tell at once; tell whether it was taken."""
        store = self._store
        return isinstance(store, MemoryRateLimitStore) and store.take(self.key, self.limit)

    async def acquire(self, deadline: Deadline | None, *, ahead: bool = False) -> float:
        """Wait for a turn; with `ahead` only for the end of a penalty, before all who wait.

        Returns:
            The seconds that it had to be waited for; 0 when the turn had come.

        Raises:
            DeadlineExceededError: It would come after the deadline; nothing was waited for.
        """
        max_wait = math.inf if deadline is None else deadline.remaining()
        if deadline is None or isinstance(self._store, MemoryRateLimitStore):
            reservation = await self._store.reserve(self.key, self.limit, max_wait, ahead=ahead)
        else:
            reservation = await self._reserve_in_time(max_wait, ahead=ahead)
        if reservation is None:
            raise _too_late()
        if reservation.wait <= 0:
            return 0.0
        return await self._wait(reservation, deadline)

    async def penalize(self, seconds: float) -> None:
        """Send nothing for so many seconds, a day at most, because the server throttles.

        Raises:
            ValueError: `seconds` is negative, or no number.
            TypeError: `seconds` is neither an int nor a float.
        """
        seconds = min(check_seconds("seconds", seconds, finite=False), MAX_PENALTY)
        if await self._store.penalize(self.key, self.limit, seconds):
            log.penalty(key=self.key, seconds=seconds)

    async def _wait(self, reservation: Reservation, deadline: Deadline | None) -> float:
        waited, wait = 0.0, reservation.wait
        try:
            while wait > 0:
                await self._sleep(wait)
                waited += wait
                wait = await self._store.delay(self.key, reservation)
                if deadline is not None and wait > max(0.0, deadline.remaining()):
                    raise _too_late()
        except BaseException:
            try:
                await self._store.cancel(self.key, reservation)
            except Exception as failure:  # noqa: BLE001 - a slot is lost, and no more
                log.hook_failure("cancel", failure)
            raise
        return waited

    async def _reserve_in_time(self, max_wait: float, *, ahead: bool) -> Reservation | None:
        """Ask a store that may be slow itself, as one beyond a network is."""
        try:
            async with asyncio.timeout(max_wait):
                return await self._store.reserve(self.key, self.limit, max_wait, ahead=ahead)
        except TimeoutError:
            return None


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError("the turn under the rate limit would come after the deadline", sent=False)
