"""Checks that a store of rate limits must pass, for users who write their own. They need no test framework.

Each check opens the store anew, uses keys of its own, and raises `AssertionError` if the store breaks a rule of
`RateLimitStore`. Hardly any waits: the intervals are so long that a busy machine makes no difference.
"""

import asyncio
import itertools
import math
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final

from connector_async.rate_limit import RateLimit, RateLimitStore, Reservation
from connector_async.retry import RetryQuotaStore

OpenStore = Callable[[], AbstractAsyncContextManager[RateLimitStore]]
"""Opens a client of the store. All clients that it opens share their slots."""

_INTERVAL: Final = 1_000.0
_TOLERANCE: Final = 30.0
"""Seconds that a check may take. They are too few to be mistaken for an interval."""
_PACED: Final = RateLimit(limit=61, per=60 * _INTERVAL, burst=1)
_BURSTING: Final = RateLimit(limit=65, per=60 * _INTERVAL, burst=5)
_CLIENTS: Final = 4


async def check_rate_limit_store(open_store: OpenStore) -> None:
    """Run all of `RATE_LIMIT_STORE_CHECKS`.

    Raises:
        AssertionError: If the store breaks a rule.
    """
    for check in RATE_LIMIT_STORE_CHECKS:
        await check(open_store)


async def check_slots_come_one_interval_apart(open_store: OpenStore) -> None:
    """The first slot comes at once, and each other one an interval after the one before it."""
    async with open_store() as store:
        key = _new_key()
        reserved = [await _reserve(store, key) for _ in range(4)]
        _check_waits([each.wait for each in reserved], [0, 1, 2, 3])
        _check_waits([await store.delay(key, each) for each in reserved], [0, 1, 2, 3])


async def check_burst_comes_at_once(open_store: OpenStore) -> None:
    """A new key has a burst saved up, and the slots after it come at the pace."""
    async with open_store() as store:
        key = _new_key()
        waits = [(await _reserve(store, key, _BURSTING)).wait for _ in range(8)]
        _check_waits(waits, [0, 0, 0, 0, 0, 1, 2, 3])


async def check_keys_are_independent(open_store: OpenStore) -> None:
    """Neither slots nor penalties of a key concern another one, also if the keys differ only in case."""
    async with open_store() as store:
        key = _new_key()
        await _reserve(store, f"{key}/a")
        await store.penalize(f"{key}/a", _PACED, 5 * _INTERVAL)
        _check_waits([(await _reserve(store, f"{key}/A")).wait], [0])


async def check_slot_after_max_wait_is_not_reserved(open_store: OpenStore) -> None:
    """If the slot comes after `max_wait`, the result is its wait as a plain number, and it stays free."""
    async with open_store() as store:
        key = _new_key()
        await _reserve(store, key)
        for _ in range(3):
            refused = await store.reserve(key, _PACED, _INTERVAL / 2)
            assert not isinstance(refused, Reservation), "a slot after max_wait must not be reserved"
            _check_waits([refused], [1])
        _check_waits([(await _reserve(store, key)).wait], [1])


async def check_request_ahead_comes_at_once_and_counts(open_store: OpenStore) -> None:
    """A reservation with `ahead` waits for the end of a penalty only, and delays later slots."""
    async with open_store() as store:
        key = _new_key()
        await _reserve(store, key)
        ahead = await store.reserve(key, _PACED, math.inf, ahead=True)
        assert isinstance(ahead, Reservation), "max_wait is infinite"
        await store.penalize(key, _PACED, 5 * _INTERVAL)
        penalized = await store.reserve(key, _PACED, math.inf, ahead=True)
        assert isinstance(penalized, Reservation), "max_wait is infinite"
        _check_waits([ahead.wait, penalized.wait, (await _reserve(store, key)).wait], [0, 5, 8])


async def check_changed_limit_applies_to_the_next_slot(open_store: OpenStore) -> None:
    """The slots after a change of the limit come at the new pace."""
    async with open_store() as store:
        key = _new_key()
        slower = RateLimit(limit=31, per=60 * _INTERVAL, burst=1)
        await _reserve(store, key)
        waits = [(await _reserve(store, key, slower)).wait for _ in range(3)]
        _check_waits([*waits, (await _reserve(store, key)).wait], [1, 3, 5, 7])


async def check_unlimited_rate_delays_only_during_a_penalty(open_store: OpenStore) -> None:
    """`RateLimit.unlimited()` delays nothing but honors a penalty."""
    async with open_store() as store:
        key, limit = _new_key(), RateLimit.unlimited()
        waits = [(await _reserve(store, key, limit)).wait for _ in range(3)]
        await store.penalize(key, limit, 5 * _INTERVAL)
        _check_waits([*waits, (await _reserve(store, key, limit)).wait], [0, 0, 0, 5])


async def check_penalty_delays_all_slots(open_store: OpenStore) -> None:
    """A penalty delays reserved and new slots, keeps their order and distances, and takes the burst."""
    async with open_store() as store:
        key = _new_key()
        reserved = [await _reserve(store, key) for _ in range(3)]
        assert await store.penalize(key, _PACED, 5 * _INTERVAL), "a new penalty changes something"
        _check_waits([await store.delay(key, each) for each in reserved], [5, 6, 7])
        _check_waits([(await _reserve(store, key)).wait], [8])
        for used in (0, 1):
            key = _new_key()
            for _ in range(used):
                await _reserve(store, key, _BURSTING)
            await store.penalize(key, _BURSTING, 5 * _INTERVAL)
            _check_waits([(await _reserve(store, key, _BURSTING)).wait for _ in range(3)], [5, 6, 7])


async def check_longest_penalty_counts(open_store: OpenStore) -> None:
    """A penalty that ends before the current one changes nothing; one that ends later replaces it."""
    async with open_store() as store:
        key = _new_key()
        changed = [await store.penalize(key, _PACED, intervals * _INTERVAL) for intervals in (5, 3, 8)]
        assert changed == [True, False, True], f"the results of penalize are {changed}"
        _check_waits([(await _reserve(store, key)).wait], [8])


async def check_lifted_penalty_lets_slots_come(open_store: OpenStore) -> None:
    """A penalty of 0 seconds lifts the current one: the reserved slots come as if it had ended now."""
    async with open_store() as store:
        key = _new_key()
        await _reserve(store, key)
        await store.penalize(key, _PACED, 5 * _INTERVAL)
        waiting = await _reserve(store, key)
        changed = [await store.penalize(key, _PACED, 0) for _ in range(2)]
        assert changed == [True, False], f"the results of penalize are {changed}"
        _check_waits([await store.delay(key, waiting), (await _reserve(store, key)).wait], [1, 2])


async def check_last_slot_can_be_given_back(open_store: OpenStore) -> None:
    """The last slot is reserved again after it was given back. An earlier one costs an interval at most."""
    async with open_store() as store:
        key = _new_key()
        _, second, third, fourth = [await _reserve(store, key) for _ in range(4)]
        for reservation in (fourth, third):
            await store.cancel(key, reservation)
        again = await _reserve(store, key)
        await store.cancel(key, second)
        _check_waits([again.wait, (await _reserve(store, key)).wait], [2, 3])
        await store.cancel(_new_key(), second)


async def check_slots_given_back_from_first_to_last_are_free(open_store: OpenStore) -> None:
    """Calls that are cancelled together give back their slots from the first to the last; all are free then."""
    async with open_store() as store:
        key = _new_key()
        reserved = [await _reserve(store, key) for _ in range(30)]
        for reservation in reserved[1:]:
            await store.cancel(key, reservation)
        _check_waits([(await _reserve(store, key)).wait], [1])


async def check_slots_given_back_during_a_penalty_are_no_burst(open_store: OpenStore) -> None:
    """Slots given back before and during a penalty come after it, one interval apart."""
    async with open_store() as store:
        key, limit = _new_key(), RateLimit(limit=55, per=1, burst=5)
        reserved = [await _reserve(store, key, limit) for _ in range(40)]
        for reservation in reserved[5:-1]:
            await store.cancel(key, reservation)
        await asyncio.sleep(10 * limit.interval)  # otherwise no burst could be saved up
        await store.penalize(key, limit, _INTERVAL)
        await store.cancel(key, reserved[-1])
        after = [await _reserve(store, key, limit) for _ in range(3)]
        assert after[0].wait > _INTERVAL - _TOLERANCE, f"a slot comes in {after[0].wait} seconds, during the penalty"
        distances = [round((each.slot - after[0].slot) / limit.interval, 3) for each in after]
        assert distances == [0, 1, 2], f"the slots are {distances} intervals apart"


async def check_clients_keep_one_pace(open_store: OpenStore) -> None:
    """Clients that reserve at once get the slots of one pace, each once. A penalty by one is seen by all."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store()) for _ in range(_CLIENTS)]
        key = _new_key()
        reserved = await asyncio.gather(*(_reserve(store, key, _BURSTING) for store in stores * 5))
        count = len(reserved) - _BURSTING.burst
        expected = [0] * _BURSTING.burst + list(range(1, count + 1))
        _check_waits(sorted(each.wait for each in reserved), expected)
        await stores[0].penalize(key, _BURSTING, 50 * _INTERVAL)
        delays = [await store.delay(key, each) for store, each in zip(stores * 5, reserved, strict=True)]
        assert min(delays) > 50 * _INTERVAL - _TOLERANCE, "a client does not see the penalty of another one"


async def check_no_period_exceeds_burst_and_rate(open_store: OpenStore) -> None:
    """No period has more slots than burst and rate allow, and no slot comes during a penalty, after random steps."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store()) for _ in range(2)]
        for seed in range(8):
            steps = _RandomSteps(stores, random.Random(seed))  # noqa: S311 - not used for secrets
            for _ in range(80):
                await steps.take()
            steps.check_pace()


async def check_retry_quota_is_shared(open_store: OpenStore) -> None:
    """Clients spend and refund one quota. A store that is no `RetryQuotaStore` passes."""
    async with open_store() as one, open_store() as other:
        if not (isinstance(one, RetryQuotaStore) and isinstance(other, RetryQuotaStore)):
            return
        key = _new_key()

        async def spend(store: RetryQuotaStore, cost: int, refund: int = 0) -> int | None:
            return await store.spend_quota(key, cost, refund=refund, capacity=50)

        left = [await spend(one, 14), await spend(other, 14), await spend(one, 14), await spend(other, 14)]
        assert left == [36, 22, 8, None], f"after 14, 14, 14 and 14 of 50 are spent, {left} is left"
        left = [await spend(one, 0, refund=5), await spend(other, 14, refund=1), await spend(one, 0, refund=1_000)]
        assert left == [13, 0, 50], f"after refunds of 5, 1 and 1,000, {left} is left"
        assert await spend(one, 51) is None, "more than the capacity was spent"
        assert await one.spend_quota(_new_key(), 51, refund=0, capacity=50) is None, "a new key has more than all"


RATE_LIMIT_STORE_CHECKS: Final[Sequence[Callable[[OpenStore], Awaitable[None]]]] = (
    check_slots_come_one_interval_apart,
    check_burst_comes_at_once,
    check_keys_are_independent,
    check_slot_after_max_wait_is_not_reserved,
    check_request_ahead_comes_at_once_and_counts,
    check_changed_limit_applies_to_the_next_slot,
    check_unlimited_rate_delays_only_during_a_penalty,
    check_penalty_delays_all_slots,
    check_longest_penalty_counts,
    check_lifted_penalty_lets_slots_come,
    check_last_slot_can_be_given_back,
    check_slots_given_back_from_first_to_last_are_free,
    check_slots_given_back_during_a_penalty_are_no_burst,
    check_clients_keep_one_pace,
    check_no_period_exceeds_burst_and_rate,
    check_retry_quota_is_shared,
)
"""All checks, for a test framework to run one by one."""


def _new_key() -> str:
    return f"https://conformance.example/{uuid.uuid4()}"


async def _reserve(store: RateLimitStore, key: str, limit: RateLimit = _PACED) -> Reservation:
    reserved = await store.reserve(key, limit, math.inf)
    assert isinstance(reserved, Reservation), "an infinite max_wait must get a slot"
    return reserved


def _check_waits(waits: Sequence[float], intervals: Sequence[float]) -> None:
    """Raise unless each wait is a number of intervals. It is shorter by the time that the check has taken so far."""
    late = [intervals * _INTERVAL - wait for wait, intervals in zip(waits, intervals, strict=True)]
    assert all(-1 < each < _TOLERANCE for each in late), (
        f"the waits are {[round(wait) for wait in waits]} seconds, not {[each * _INTERVAL for each in intervals]}"
    )


class _RandomSteps:
    """Random steps on a key of several clients of a store."""

    def __init__(self, stores: Sequence[RateLimitStore], draw: random.Random) -> None:
        self._stores = stores
        self._draw = draw
        self._key = _new_key()
        burst = draw.randint(1, 5)
        self._limit = RateLimit(limit=burst + 100, per=1, burst=burst)
        self._waiting: list[Reservation] = []
        self._slots: list[float] = []
        """The slots that were not given back, by the key's own clock, which stands still during penalties."""
        self._penalized_until = -math.inf
        """By the time of the event loop."""

    async def take(self) -> None:
        """Take one step."""
        store = self._draw.choice(self._stores)
        step = self._draw.choice(("reserve", "reserve", "impatient", "cancel", "cancel", "penalize", "lift", "pause"))
        started_at = asyncio.get_running_loop().time()
        if step == "cancel" and self._waiting:
            await self._cancel(store, self._waiting.pop(self._draw.randrange(len(self._waiting))))
        elif step in {"reserve", "impatient"}:
            await self._reserve(store, 0 if step == "impatient" else math.inf)
        elif step == "penalize":
            seconds = self._draw.uniform(0.01, 0.1)
            await store.penalize(self._key, self._limit, seconds)
            self._penalized_until = max(self._penalized_until, started_at + seconds)
        elif step == "lift":
            await store.penalize(self._key, self._limit, 0)
            self._penalized_until = -math.inf
        elif step == "pause":
            await asyncio.sleep(self._draw.uniform(0, 0.02))

    async def _reserve(self, store: RateLimitStore, max_wait: float) -> None:
        reserved = await store.reserve(self._key, self._limit, max_wait)
        if isinstance(reserved, Reservation):
            self._waiting.append(reserved)
            self._slots.append(reserved.slot)
            self._check_penalty(reserved.wait)

    async def _cancel(self, store: RateLimitStore, reservation: Reservation) -> None:
        delay = await store.delay(self._key, reservation)
        self._check_penalty(delay)
        if delay > 0:  # otherwise it may have been used
            self._slots.remove(reservation.slot)
            await store.cancel(self._key, reservation)

    def _check_penalty(self, wait: float) -> None:
        left = self._penalized_until - asyncio.get_running_loop().time()
        assert wait > left - 1e-3, f"a slot comes in {wait} seconds, but the penalty lasts for another {left}"

    def check_pace(self) -> None:
        """Raise if a period has too many slots."""
        slots = sorted(self._slots)
        for (first, start), (last, end) in itertools.combinations_with_replacement(enumerate(slots), 2):
            most = self._limit.burst + (end - start) / self._limit.interval
            assert last - first + 1 <= most + 1e-3, f"{last - first + 1} slots in {end - start} seconds"
