"""`Limiter`: delays the requests of one tenant to the pace of its rate limit, interactive calls before bulk calls."""

import asyncio
import math
from typing import Final, Protocol

import attrs

from connector_async import _log
from connector_async._checks import check_seconds
from connector_async._clock import Deadline
from connector_async.exceptions import ThrottledError

from .limit import RateLimit
from .memory_store import MemoryRateLimitStore
from .priorities import BulkQueue, Priority, priority
from .store import RateLimitStore, Reservation

MAX_PENALTY: Final = 24 * 3600.0
"""Seconds. An absurd `Retry-After` does not stop a tenant for longer."""

_SOON: Final = 0.1
"""Seconds. While a bulk call waits for a slot that comes so soon, the next bulk call may reserve one. Otherwise a slot
would be lost whenever the event loop is late by more than the interval of a fast pace. An interactive call hardly
notices."""

_LONGEST_SLEEP: Final = 30.0
"""Seconds after which a call asks a store outside the process whether a penalty was lifted."""


class Sleep(Protocol):
    """How a limiter waits."""

    async def __call__(self, seconds: float, others: set[asyncio.Future[None]] | None = None) -> None:
        """Wait for a number of seconds. Meanwhile `others` holds the sleeper, which `wake` can resolve."""
        ...


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Limiter:
    """Delays the requests of one key to the pace of a rate limit.

    An interactive call reserves a slot at once. Of the bulk calls that wait in one event loop, only the first holds a
    slot, apart from those with a slot in the next 0.1 seconds. So an interactive call waits behind one bulk slot for
    each event loop with bulk calls. Bulk calls are not starved: beside n interactive calls that wait all the time, they
    get one slot of n + 1.
    """

    key: str
    """The URL of the tenant. Requests with the same key are counted together."""
    limit: RateLimit
    _store: RateLimitStore
    _sleep: Sleep
    _bulk_queue: BulkQueue = attrs.field(init=False, factory=BulkQueue)

    def take(self) -> bool:
        """Take a slot without waiting, and return whether that was possible. It never is with an external store."""
        if self._bulk_queue.waiting and priority.get() is Priority.BULK:
            return False
        store = self._store
        return isinstance(store, MemoryRateLimitStore) and store.take(self.key, self.limit)

    async def acquire(self, deadline: Deadline | None, *, ahead: bool = False) -> None:
        """Wait for a slot. With `ahead`, go before all waiting calls, and wait for the end of a penalty only.

        Raises:
            ThrottledError: If the slot comes after the deadline. It is raised as soon as that is known.
        """
        if not ahead and priority.get() is Priority.BULK:
            await self._acquire_in_bulk_queue(deadline)
        else:
            await self._wait(await self._reserve(deadline, ahead=ahead), deadline)

    async def penalize(self, seconds: float) -> None:
        """Send nothing for a number of seconds, a day at most, because the server throttles. 0 lifts a penalty.

        Raises:
            ValueError: If `seconds` is negative or NaN.
            TypeError: If `seconds` is neither an int nor a float.
        """
        seconds = min(check_seconds("seconds", seconds, finite=False), MAX_PENALTY)
        if not await self._store.penalize(self.key, self.limit, seconds):
            return
        if seconds > 0:
            _log.penalty(key=self.key, seconds=seconds)
        else:
            _log.lifted_penalty(key=self.key)

    async def _acquire_in_bulk_queue(self, deadline: Deadline | None) -> None:
        await self._enter_bulk_queue(deadline)
        try:
            reservation = await self._reserve(deadline)
            if reservation.wait > _SOON:
                await self._wait(reservation, deadline)
                return
        finally:
            self._bulk_queue.leave(asyncio.get_running_loop())
        await self._wait(reservation, deadline)

    async def _enter_bulk_queue(self, deadline: Deadline | None) -> None:
        # Each call in the queue takes a slot, and the head may have reserved its slot already.
        at_least = max(0, self._bulk_queue.length() - 1) * self.limit.interval
        max_wait = None if deadline is None else deadline.remaining()
        if max_wait is not None and at_least > max_wait:
            raise _throttled(at_least)
        try:
            await self._bulk_queue.enter(max_wait)
        except TimeoutError:
            raise _throttled(None) from None

    async def _reserve(self, deadline: Deadline | None, *, ahead: bool = False) -> Reservation:
        max_wait = math.inf if deadline is None else deadline.remaining()
        reserved: Reservation | float | None
        if deadline is None or isinstance(self._store, MemoryRateLimitStore):
            reserved = await self._store.reserve(self.key, self.limit, max_wait, ahead=ahead)
        else:
            reserved = await self._reserve_in_time(max_wait, ahead=ahead)
        if not isinstance(reserved, Reservation):
            raise _throttled(reserved)
        return reserved

    async def _reserve_in_time(self, max_wait: float, *, ahead: bool) -> Reservation | float | None:
        """Reserve a slot in a store that may itself be slow. Return `None` if it did not respond in time."""
        try:
            async with asyncio.timeout(max_wait):
                return await self._store.reserve(self.key, self.limit, max_wait, ahead=ahead)
        except TimeoutError:
            return None

    async def _wait(self, reservation: Reservation, deadline: Deadline | None) -> None:
        wait = reservation.wait
        if wait > 0:
            _log.slot_wait(key=self.key, seconds=wait)
        try:
            while wait > 0:
                await self._sleep_for(wait)
                wait = await self._store.delay(self.key, reservation)
                if deadline is not None and wait > max(0.0, deadline.remaining()):
                    raise _throttled(wait)
        except BaseException:
            try:
                await self._store.cancel(self.key, reservation)
            except Exception as failure:  # noqa: BLE001 - only a slot is lost
                _log.hook_failure("cancel", failure)
            raise

    async def _sleep_for(self, seconds: float) -> None:
        """Sleep, but not for long after a penalty is lifted: the slot comes earlier then."""
        if isinstance(self._store, MemoryRateLimitStore):
            await self._sleep(seconds, self._store.sleepers(self.key))
        else:
            await self._sleep(min(seconds, _LONGEST_SLEEP))


def _throttled(seconds: float | None) -> ThrottledError:
    known = "" if seconds is None else f"; the next one comes in {seconds:.3g} seconds"
    return ThrottledError(f"no rate-limit slot comes before the deadline{known}", retry_after=seconds, sent=False)
