"""The limiter and the memory store, without requests: slots, penalties and cancellations on a manual clock."""

import asyncio
import itertools
import logging
import math
import random
import tracemalloc
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import Clock, MemoryRateLimitStore, RateLimit, RateLimitStore, Reservation, ThrottledError
from connector_async._clock import Deadline
from connector_async.rate_limit import MAX_PENALTY, Limiter
from connector_async.session.session_state import InterruptibleSleep
from tests.conftest import ManualClock
from tests.support.virtual_time import LoopClock

PACED = RateLimit(limit=61, per=60, burst=1)  # a second apart
BURSTING = RateLimit(limit=70, per=60, burst=10)  # a second apart after a burst of ten


def limiter_on(clock: ManualClock | LoopClock, limit: RateLimit = PACED, key: str = "acme") -> Limiter:
    return Limiter(key, limit, MemoryRateLimitStore(clock), InterruptibleSleep(clock).sleep)


async def reserve(store: MemoryRateLimitStore, limit: RateLimit = PACED, max_wait: float = math.inf) -> Reservation:
    reserved = await store.reserve("acme", limit, max_wait)
    assert isinstance(reserved, Reservation)
    return reserved


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"limit": 1}, ValueError, "limit must be 2 or more"),
        ({"limit": 0, "burst": 1}, ValueError, "limit must be 2 or more"),
        ({"limit": 10, "burst": 10}, ValueError, "burst must be less than limit"),
        ({"limit": 10.5}, TypeError, "limit must be an int or math.inf, not float"),
        ({"limit": True}, TypeError, "limit must be an int or math.inf, not bool"),
        ({"limit": math.nan}, TypeError, "limit must be an int or math.inf, not float"),
        ({"limit": 10**400}, ValueError, "limit must fit in a float; use math.inf for no limit"),
        ({"per": 0}, ValueError, "per must be above zero"),
        ({"per": math.inf}, ValueError, "per must be finite"),
        ({"per": "60"}, TypeError, "per must be a number of seconds, not str"),
        ({"burst": 0}, ValueError, "burst must be 1 or more"),
        ({"burst": 60}, ValueError, "burst must be less than limit"),
        ({"burst": 1.0}, TypeError, "burst must be an int, not float"),
        ({"burst": True}, TypeError, "burst must be an int, not bool"),
    ],
)
def test_invalid_rate_limit_is_rejected_by_name(options: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        RateLimit(**options)


@pytest.mark.parametrize(
    ("clock", "got"), [(Clock, "the class Clock"), (0, "int"), ("clock", "str"), (asyncio, "module")]
)
def test_invalid_clock_of_a_store_is_rejected(clock: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"clock must be a Clock or None, not {got}"):
        MemoryRateLimitStore(clock)


def test_default_limit_is_the_documented_one_and_includes_the_burst() -> None:
    limit = RateLimit()
    assert (limit.limit, limit.per, limit.burst) == (60, 60, 10)
    assert limit.interval == 60 / 50
    assert RateLimit(limit=60, per=60, burst=1).interval == 60 / 59
    assert RateLimit(limit=70, per=60, burst=10) == BURSTING


@pytest.mark.parametrize(("limit", "burst"), [(2, 1), (3, 2), (5, 4), (10, 9), (11, 10), (60, 10), (math.inf, 10)])
def test_default_burst_is_less_than_the_limit(limit: float, burst: int) -> None:
    assert RateLimit(limit=limit).burst == burst


async def test_slots_come_one_interval_apart(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    waits = [(await reserve(store)).wait for _ in range(4)]
    assert waits == [0, 1, 2, 3]
    clock.now += 10
    assert (await reserve(store)).wait == 0


async def test_burst_comes_at_once_and_is_saved_up_again_during_a_pause(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)

    async def waits(count: int) -> list[float]:
        return [(await reserve(store, BURSTING)).wait for _ in range(count)]

    assert await waits(12) == [0] * 10 + [1, 2]
    clock.now += 5  # two of them for the two waiting slots
    assert await waits(4) == [0] * 3 + [1]
    clock.now += 1_000
    assert await waits(11) == [0] * 10 + [1]


@given(
    st.lists(st.tuples(st.sampled_from(["slot", "pause", "penalty"]), st.integers(0, 30)), max_size=40),
    st.sampled_from([PACED, BURSTING]),
)
async def test_take_and_reserve_agree_on_whether_a_slot_has_come(
    steps: list[tuple[str, int]], limit: RateLimit
) -> None:
    clock = ManualClock()
    taking, reserving = MemoryRateLimitStore(clock), MemoryRateLimitStore(clock)
    for kind, tenths in steps:
        if kind == "pause":
            clock.now += tenths / 10
        elif kind == "penalty":
            for store in (taking, reserving):
                await store.penalize("acme", limit, tenths / 10)
        else:
            is_reserved = isinstance(await reserving.reserve("acme", limit, 0), Reservation)
            taken = taking.take("acme", limit)
            # At the very end of a penalty rounding may let one of them come a little earlier.
            assert taken is is_reserved or abs(taking._slots["acme"].penalized_until - clock.now) < 1e-6
            if taken is not is_reserved:
                return


async def test_keys_are_independent(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    for key in ("acme", "globex"):
        assert isinstance(await store.reserve(key, PACED, 0), Reservation)
    assert await store.reserve("acme", PACED, 0.9) == 1
    await store.penalize("acme", PACED, 5)
    clock.now += 1
    assert isinstance(await store.reserve("globex", PACED, 0), Reservation)


async def test_slot_after_max_wait_is_not_reserved_and_its_wait_is_returned(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    await reserve(store)
    for _ in range(5):
        assert await store.reserve("acme", PACED, 0.99) == 1
    assert (await reserve(store, max_wait=1)).wait == 1


async def test_unlimited_rate_delays_only_during_a_penalty(clock: ManualClock) -> None:
    limiter = limiter_on(clock, RateLimit.unlimited())
    for _ in range(1_000):
        await limiter.acquire(None)
    assert clock.sleeps == []
    await limiter.penalize(7)
    await limiter.acquire(None)
    assert clock.sleeps == [7]


@pytest.mark.row("L3")
async def test_last_slot_is_given_back_and_an_earlier_one_costs_an_interval(
    clock: ManualClock,
) -> None:
    store = MemoryRateLimitStore(clock)
    first, second, third, fourth = [await reserve(store) for _ in range(4)]
    await store.cancel("acme", fourth)
    await store.cancel("acme", third)
    assert (await reserve(store)).wait == 2
    await store.cancel("acme", second)  # the slot at 2 was reserved again
    assert (await reserve(store)).wait == 3
    assert await store.delay("acme", first) == 0


@pytest.mark.row("L3")
async def test_slots_given_back_from_first_to_last_can_all_be_reserved_again(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    taken = [await reserve(store) for _ in range(101)]
    for reservation in taken[1:]:
        await store.cancel("acme", reservation)
    assert (await reserve(store)).wait == 1
    assert store._slots["acme"].unused == {}


async def test_past_unused_slots_are_dropped(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    for _ in range(3_000):
        first, _ = [await reserve(store) for _ in range(2)]
        await store.cancel("acme", first)
        clock.now += 2
    assert len(store._slots["acme"].unused or ()) <= 1_001


@pytest.mark.row("H11")
async def test_slots_given_back_during_a_penalty_come_after_it_without_a_burst(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    taken = [await reserve(store, BURSTING) for _ in range(30)][10:]
    for reservation in taken[:-1]:
        await store.cancel("acme", reservation)
    clock.now += 19.5
    await store.penalize("acme", BURSTING, 20)
    await store.cancel("acme", taken[-1])
    assert [(await reserve(store, BURSTING)).wait for _ in range(20)] == [20 + number for number in range(20)]


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_memory_for_slots_given_back_out_of_order_is_bounded(clock: ManualClock, *, is_reversed: bool) -> None:
    store = MemoryRateLimitStore(clock)
    taken = [await reserve(store) for _ in range(20_000)]
    odd, even = taken[1::2], taken[0::2]
    for reservation in [*odd[:-1], *(reversed(even) if is_reversed else even)]:
        await store.cancel("acme", reservation)
        assert store._slots["acme"].unused_limit <= 2 * 20_000
    await store.cancel("acme", odd[-1])
    assert (await reserve(store)).wait == 0


async def test_only_idle_keys_are_dropped(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    await store.penalize("penalized", PACED, 3_600)
    for _ in range(3_000):
        await store.reserve("busy", PACED, math.inf)
    tracemalloc.start()
    try:
        for number in range(100_000):
            assert store.take(f"tenant-{number}", PACED)
            clock.now += 0.01
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    assert len(store._slots) <= 1_001
    assert await store.reserve("penalized", PACED, 0) == pytest.approx(3_600 - 1_000)
    assert await store.reserve("busy", PACED, 0) == pytest.approx(3_000 - 1_000)


async def test_slot_of_a_dropped_key_needs_no_wait(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    await reserve(store)
    late = await reserve(store)
    clock.now += 100
    for number in range(2_000):
        store.take(f"tenant-{number}", PACED)
    assert "acme" not in store._slots
    assert await store.delay("acme", late) <= 0
    await store.cancel("acme", late)
    assert "acme" not in store._slots


async def test_request_ahead_waits_only_for_a_penalty_and_delays_later_slots(clock: ManualClock) -> None:
    limiter = limiter_on(clock)
    for _ in range(2):
        await limiter.acquire(None)
    store = limiter._store
    assert isinstance(store, MemoryRateLimitStore)
    waiting = await reserve(store)
    await limiter.acquire(None, ahead=True)
    assert clock.sleeps == [1]
    after = await reserve(store)
    assert (waiting.wait, after.wait) == (1, 3)
    await limiter.penalize(10)
    await limiter.acquire(None, ahead=True)
    assert clock.sleeps == [1, 10]


@pytest.mark.parametrize(
    ("seconds", "error"), [(-5, ValueError), (math.nan, ValueError), ("5", TypeError), (True, TypeError)]
)
async def test_invalid_penalty_is_rejected_and_an_infinite_one_is_capped(
    clock: ManualClock, seconds: Any, error: type[Exception]
) -> None:
    limiter = limiter_on(clock)
    with pytest.raises(error, match="seconds must be"):
        await limiter.penalize(seconds)
    await limiter.penalize(math.inf)
    await limiter.acquire(None)
    assert clock.sleeps == [MAX_PENALTY]


class SlowStore(MemoryRateLimitStore):
    """Reserves as slowly as a store behind a network, and fails to give slots back."""

    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | float:
        await asyncio.sleep(2)
        return await super().reserve(key, limit, max_wait, ahead=ahead)

    async def cancel(self, key: str, reservation: Reservation) -> None:
        raise ConnectionError(key, reservation)


class ExternalStore:
    """Delegates to a store without being a `MemoryRateLimitStore`."""

    def __init__(self, store: SlowStore) -> None:
        self.reserve, self.delay, self.cancel, self.penalize = store.reserve, store.delay, store.cancel, store.penalize


@pytest.mark.virtual_time
async def test_deadline_and_cancellation_hold_with_a_slow_and_failing_store(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = LoopClock()
    limiter = Limiter("acme", PACED, ExternalStore(SlowStore(clock)), InterruptibleSleep(clock).sleep)
    with pytest.raises(ThrottledError) as caught:
        await limiter.acquire(Deadline(1.5, clock))
    assert caught.value.retry_after is None
    assert clock.monotonic() == 1.5
    await limiter.acquire(Deadline(2.5, clock))
    await limiter.penalize(60)
    task = asyncio.create_task(limiter.acquire(None))
    await asyncio.sleep(10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert [line.getMessage() for line in caplog.records if line.levelno == logging.ERROR] == ["cancel raised"]


@pytest.mark.row("L3")
@pytest.mark.virtual_time
async def test_waiting_calls_keep_their_order_when_some_are_cancelled() -> None:
    clock = LoopClock()
    limiter = limiter_on(clock)
    sent: list[tuple[str, float]] = []

    async def send(name: str) -> None:
        await limiter.acquire(None)
        sent.append((name, clock.monotonic()))

    tasks = {name: asyncio.create_task(send(name)) for name in "abcdef"}
    await asyncio.sleep(0.5)
    tasks["f"].cancel()
    tasks["c"].cancel()
    await asyncio.sleep(0)
    tasks["g"] = asyncio.create_task(send("g"))
    await asyncio.wait(tasks.values())
    assert sent == [("a", 0), ("b", 1), ("d", 3), ("e", 4), ("g", 5)]


@pytest.mark.virtual_time
async def test_penalty_delays_waiting_calls_and_keeps_their_order_and_distances() -> None:
    clock = LoopClock()
    limiter = limiter_on(clock, BURSTING)
    sent: list[tuple[int, float]] = []

    async def send(number: int) -> None:
        await limiter.acquire(None)
        sent.append((number, clock.monotonic()))

    tasks = [asyncio.create_task(send(number)) for number in range(13)]
    await asyncio.sleep(0.5)
    await limiter.penalize(5)
    tasks += [asyncio.create_task(send(number)) for number in range(13, 15)]
    await asyncio.wait(tasks)
    assert sent == [*((number, 0) for number in range(10)), (10, 6), (11, 7), (12, 8), (13, 9), (14, 10)]


@pytest.mark.virtual_time
async def test_lifted_penalty_wakes_waiting_calls_at_their_slots(caplog: pytest.LogCaptureFixture) -> None:
    clock = LoopClock()
    store = MemoryRateLimitStore(clock)
    limiters = [Limiter("acme", PACED, store, InterruptibleSleep(clock).sleep) for _ in range(2)]
    sent: list[tuple[int, float]] = []

    async def send(number: int) -> None:
        await limiters[number % 2].acquire(None)
        sent.append((number, clock.monotonic()))

    await limiters[0].penalize(3_600)
    tasks = [asyncio.create_task(send(number)) for number in range(4)]
    await asyncio.sleep(10)
    await limiters[0].penalize(0)
    await asyncio.wait(tasks)
    assert sent == [(0, 10), (1, 11), (2, 12), (3, 13)]
    await limiters[0].penalize(0)
    assert [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING] == [
        "acme is throttled: nothing is sent for 3600.000 s",
        "acme is no longer throttled: the penalty was lifted",
    ]


@pytest.mark.virtual_time
async def test_lifted_penalty_in_an_external_store_is_noticed_within_30_seconds() -> None:
    clock = LoopClock()
    store = SlowStore(clock)
    limiter = Limiter("acme", PACED, ExternalStore(store), InterruptibleSleep(clock).sleep)
    await limiter.penalize(3_600)
    waiting = asyncio.create_task(limiter.acquire(None))
    await asyncio.sleep(100)
    await store.penalize("acme", PACED, 0)
    await waiting
    assert 100 < clock.monotonic() <= 130


async def test_no_burst_follows_a_penalty(clock: ManualClock) -> None:
    limiter = limiter_on(clock, BURSTING)
    await limiter.acquire(None)
    await limiter.penalize(5)
    for _ in range(3):
        await limiter.acquire(None)
    assert clock.sleeps == [5, 1, 1]
    clock.now += 1_000
    for _ in range(10):
        await limiter.acquire(None)
    assert clock.sleeps == [5, 1, 1]


async def test_concurrent_penalties_last_as_long_as_the_longest(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = limiter_on(clock)
    for seconds in (5, 3, 5, 8, 1):
        await limiter.penalize(seconds)
    await limiter.acquire(None)
    assert clock.sleeps == [8]
    assert [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING] == [
        "acme is throttled: nothing is sent for 5.000 s",
        "acme is throttled: nothing is sent for 8.000 s",
    ]
    clock.now += 100
    await limiter.penalize(2)
    await limiter.acquire(None)
    assert clock.sleeps == [8, 2]


async def test_penalty_is_capped_at_one_day(clock: ManualClock) -> None:
    limiter = limiter_on(clock)
    await limiter.penalize(1e18)
    await limiter.acquire(None)
    assert clock.sleeps == [MAX_PENALTY] == [24 * 3600]


async def test_slot_after_the_deadline_is_rejected_without_waiting(clock: ManualClock) -> None:
    limiter = limiter_on(clock)
    await limiter.acquire(Deadline(1, clock))
    with pytest.raises(ThrottledError) as caught:
        await limiter.acquire(Deadline(0.9, clock))
    assert (caught.value.sent, caught.value.retry_after) == (False, 1)
    await limiter.acquire(Deadline(1, clock))
    assert clock.sleeps == [1]
    await limiter.penalize(20)
    with pytest.raises(ThrottledError):
        await limiter.acquire(Deadline(19, clock))


@pytest.mark.virtual_time
async def test_penalty_beyond_the_deadline_ends_the_wait_and_gives_the_slot_back() -> None:
    clock = LoopClock()
    limiter = limiter_on(clock)
    await limiter.acquire(None)
    waiting = asyncio.create_task(limiter.acquire(Deadline(3, clock)))
    await asyncio.sleep(0.5)
    await limiter.penalize(10)
    with pytest.raises(ThrottledError) as caught:
        await waiting
    assert caught.value.retry_after == 10
    assert clock.monotonic() == 1
    await limiter.acquire(None)
    assert clock.monotonic() == pytest.approx(10.5, abs=1)


class Simulation:
    """Random steps on a store. `sent` holds when each slot that was not given back came."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self.clock = ManualClock()
        self.store = MemoryRateLimitStore(self.clock)
        self.waiting: list[Reservation] = []
        self.sent: list[float] = []
        self.penalties: list[tuple[float, float]] = []

    async def step(self, pause: float, action: str, which: int) -> None:
        self.clock.now += pause
        for reservation in list(self.waiting):
            if await self.store.delay("acme", reservation) <= 0:
                self.waiting.remove(reservation)
                self._send(reservation)
        now = self.clock.now
        if action == "penalize":
            await self.store.penalize("acme", self.limit, pause + 0.1)
            self.penalties.append((now, now + pause + 0.1))
        elif action == "lift":
            await self.store.penalize("acme", self.limit, 0)
            self.penalties = [(starts_at, min(until, now)) for starts_at, until in self.penalties]
        elif action == "cancel" and self.waiting:
            await self.store.cancel("acme", self.waiting.pop(which % len(self.waiting)))
        elif action in {"reserve", "impatient"}:
            reserved = await self.store.reserve("acme", self.limit, 0 if action == "impatient" else math.inf)
            self.waiting += [reserved] if isinstance(reserved, Reservation) else []

    def end(self) -> list[float]:
        for reservation in self.waiting:
            self._send(reservation)
        return sorted(self.sent)

    def _send(self, reservation: Reservation) -> None:
        # Its slot may have come in the middle of a pause.
        self.sent.append(reservation.slot + self.store._slots["acme"].stopped)


_STEPS = ["reserve", "reserve", "reserve", "impatient", "cancel", "cancel", "penalize", "lift"]


@pytest.mark.row("L4")
@pytest.mark.row("H11")
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(5, 40))
def test_no_slot_comes_during_a_penalty_and_no_period_exceeds_burst_and_rate(seed: int, burst: int, pace: int) -> None:
    # Lists drawn by hypothesis are mostly too short for several cancellations around a penalty.
    draw = random.Random(seed)
    limit = RateLimit(limit=burst + pace, per=10, burst=burst)
    simulation = Simulation(limit)

    async def take_all() -> None:
        for _ in range(120):
            await simulation.step(draw.choice((0, draw.uniform(0, 2))), draw.choice(_STEPS), draw.randrange(10))

    asyncio.run(take_all())
    sent = simulation.end()
    for first, last in itertools.combinations_with_replacement(range(len(sent)), 2):
        assert last - first + 1 <= burst + (sent[last] - sent[first]) / limit.interval + 1e-6
    for starts_at, until in simulation.penalties:
        assert not [moment for moment in sent if starts_at + 1e-6 < moment < until - 1e-6]


def test_memory_store_implements_the_protocol_and_rate_limit_is_frozen() -> None:
    assert isinstance(MemoryRateLimitStore(), RateLimitStore)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RateLimit().limit = 5  # type: ignore[misc]
