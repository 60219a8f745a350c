"""The limiter and its store, without requests: slots, penalties, cancellations, on a clock that the tests move."""

import asyncio
import itertools
import logging
import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import Clock, DeadlineExceededError, MemoryRateLimitStore, RateLimit, RateLimitStore, Reservation
from connector_async.deadline import Deadline
from connector_async.ratelimit import MAX_PENALTY, Limiter
from tests.conftest import ManualClock
from tests.virtual_time import LoopClock

PACED = RateLimit(limit=61, per=60, burst=1)  # a second apart
BURSTING = RateLimit(limit=70, per=60, burst=10)  # a second apart, once ten are gone


def limiter_on(clock: ManualClock | LoopClock, limit: RateLimit = PACED, key: str = "acme") -> Limiter:
    return Limiter(key, limit, MemoryRateLimitStore(clock), clock.sleep)


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"limit": 0}, ValueError, "burst must be 1 or more, and less than limit"),
        ({"limit": 10}, ValueError, "burst must be 1 or more, and less than limit"),
        ({"limit": 10.5}, TypeError, "limit must be an int, not float"),
        ({"limit": True}, TypeError, "limit must be an int, not bool"),
        ({"limit": math.nan}, TypeError, "limit must be an int, not float"),
        ({"limit": 10**400}, ValueError, "limit must be less, or math.inf"),
        ({"per": 0}, ValueError, "per must be above zero"),
        ({"per": math.inf}, ValueError, "per must be finite"),
        ({"per": "60"}, TypeError, "per must be a number of seconds, not str"),
        ({"burst": 0}, ValueError, "burst must be 1 or more, and less than limit"),
        ({"burst": 60}, ValueError, "burst must be 1 or more, and less than limit"),
        ({"burst": 1.0}, TypeError, "burst must be an int, not float"),
        ({"burst": True}, TypeError, "burst must be an int, not bool"),
    ],
)
def test_a_bad_limit_is_refused_by_name(options: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        RateLimit(**options)


@pytest.mark.parametrize("clock", [Clock, 0, "clock", asyncio])
def test_a_store_needs_a_clock(clock: Any) -> None:
    with pytest.raises(TypeError, match=f"clock must be a Clock or None, not {type(clock).__name__}"):
        MemoryRateLimitStore(clock)


def test_the_limit_is_the_documented_one_and_burst_and_pace_together_stay_within_it() -> None:
    limit = RateLimit()
    assert (limit.limit, limit.per, limit.burst) == (60, 60, 10)
    assert limit.interval == 60 / 50
    assert RateLimit(limit=60, per=60, burst=1).interval == 60 / 59
    assert RateLimit(limit=70, per=60, burst=10) == BURSTING


async def test_slots_come_one_interval_apart_in_the_order_in_which_they_were_asked_for(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    waits = []
    for _ in range(4):
        reservation = await store.reserve("acme", PACED, math.inf)
        assert reservation is not None
        waits.append(reservation.wait)
    assert waits == [0, 1, 2, 3]
    clock.now += 10
    reservation = await store.reserve("acme", PACED, math.inf)
    assert reservation is not None
    assert reservation.wait == 0


async def test_a_burst_goes_at_once_and_is_saved_up_again_in_a_pause(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)

    async def waits(count: int) -> list[float]:
        taken = [await store.reserve("acme", BURSTING, math.inf) for _ in range(count)]
        return [reservation.wait for reservation in taken if reservation is not None]

    assert await waits(12) == [0] * 10 + [1, 2]
    clock.now += 5  # 2 of them for the two that wait
    assert await waits(4) == [0] * 3 + [1]
    clock.now += 1_000
    assert await waits(11) == [0] * 10 + [1]


@given(
    st.lists(st.tuples(st.sampled_from(["turn", "pause", "penalty"]), st.integers(0, 30)), max_size=40),
    st.sampled_from([PACED, BURSTING]),
)
async def test_a_turn_that_is_taken_at_once_is_the_one_that_would_be_reserved(
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
            reservation = await reserving.reserve("acme", limit, 0)
            taken = taking.take("acme", limit)
            # In the last moment of a penalty the one is a little sooner than the other.
            assert taken is (reservation is not None) or abs(taking._paces["acme"].penalized_until - clock.now) < 1e-6
            if taken is not (reservation is not None):
                return


async def test_keys_are_counted_apart(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    for key in ("acme", "globex"):
        reservation = await store.reserve(key, PACED, 0)
        assert reservation is not None
    assert await store.reserve("acme", PACED, 0.9) is None
    await store.penalize("acme", PACED, 5)
    clock.now += 1
    assert await store.reserve("globex", PACED, 0) is not None


async def test_a_slot_that_is_too_late_is_not_taken(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    await store.reserve("acme", PACED, math.inf)
    for _ in range(5):
        assert await store.reserve("acme", PACED, 0.99) is None
    reservation = await store.reserve("acme", PACED, 1)
    assert reservation is not None
    assert reservation.wait == 1


async def test_no_limit_keeps_no_pace_and_heeds_a_penalty(clock: ManualClock) -> None:
    limiter = limiter_on(clock, RateLimit.unlimited())
    for _ in range(1_000):
        await limiter.acquire(None)
    assert clock.sleeps == []
    await limiter.penalize(7)
    await limiter.acquire(None)
    assert clock.sleeps == [7]


async def test_l3_the_last_one_that_waits_gives_its_slot_back_and_an_earlier_one_costs_an_interval(
    clock: ManualClock,
) -> None:
    store = MemoryRateLimitStore(clock)
    taken = [await store.reserve("acme", PACED, math.inf) for _ in range(4)]
    first, second, third, fourth = (reservation for reservation in taken if reservation is not None)
    await store.cancel("acme", fourth)
    await store.cancel("acme", third)
    again = await store.reserve("acme", PACED, math.inf)
    assert again is not None
    assert again.wait == 2
    await store.cancel("acme", second)  # 2 has been taken anew
    after = await store.reserve("acme", PACED, math.inf)
    assert after is not None
    assert after.wait == 3
    assert await store.delay("acme", first) == 0


async def test_l3_slots_that_are_given_back_from_the_first_to_the_last_are_all_taken_anew(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    taken = [await store.reserve("acme", PACED, math.inf) for _ in range(101)]
    for reservation in taken[1:]:
        assert reservation is not None
        await store.cancel("acme", reservation)
    again = await store.reserve("acme", PACED, math.inf)
    assert again is not None
    assert again.wait == 1
    assert store._paces["acme"].unused == {}


async def test_slots_that_were_given_back_are_forgotten_when_they_are_over(clock: ManualClock) -> None:
    store = MemoryRateLimitStore(clock)
    for _ in range(3_000):
        first, second = [await store.reserve("acme", PACED, math.inf) for _ in range(2)]
        assert first is not None
        assert second is not None
        await store.cancel("acme", first)
        clock.now += 2
    assert len(store._paces["acme"].unused) <= 1_001


async def test_a_request_ahead_waits_for_a_penalty_alone_and_those_after_it_pay(clock: ManualClock) -> None:
    limiter = limiter_on(clock)
    for _ in range(2):
        await limiter.acquire(None)
    store = limiter._store
    waiting = await store.reserve("acme", PACED, math.inf)
    assert waiting is not None
    assert await limiter.acquire(None, ahead=True) == 0
    after = await store.reserve("acme", PACED, math.inf)
    assert after is not None
    assert (waiting.wait, after.wait) == (1, 3)
    await limiter.penalize(10)
    assert await limiter.acquire(None, ahead=True) > 0
    assert clock.sleeps == [1, 10]


@pytest.mark.parametrize(
    ("seconds", "error"), [(-5, ValueError), (math.nan, ValueError), ("5", TypeError), (True, TypeError)]
)
async def test_a_penalty_is_a_duration(clock: ManualClock, seconds: Any, error: type[Exception]) -> None:
    limiter = limiter_on(clock)
    with pytest.raises(error, match="seconds must be"):
        await limiter.penalize(seconds)
    await limiter.penalize(math.inf)
    await limiter.acquire(None)
    assert clock.sleeps == [MAX_PENALTY]


class FarAway(MemoryRateLimitStore):
    """A store beyond a network, which is slow, and fails when something is to be given back."""

    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | None:
        await asyncio.sleep(2)
        return await super().reserve(key, limit, max_wait, ahead=ahead)

    async def cancel(self, key: str, reservation: Reservation) -> None:
        raise ConnectionError(key, reservation)


class Wrapped:
    """The same, as a class of its own."""

    def __init__(self, store: FarAway) -> None:
        self.reserve, self.delay, self.cancel, self.penalize = store.reserve, store.delay, store.cancel, store.penalize


@pytest.mark.virtual_time
async def test_a_store_that_is_slow_or_fails_keeps_the_deadline_and_the_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = LoopClock()
    limiter = Limiter("acme", PACED, Wrapped(FarAway(clock)), clock.sleep)
    with pytest.raises(DeadlineExceededError):
        await limiter.acquire(Deadline(1.5, clock))
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


@pytest.mark.virtual_time
async def test_l3_those_who_wait_keep_their_order_when_one_is_cancelled() -> None:
    clock = LoopClock()
    limiter = limiter_on(clock)
    went: list[tuple[str, float]] = []

    async def go(name: str) -> None:
        await limiter.acquire(None)
        went.append((name, clock.monotonic()))

    tasks = {name: asyncio.create_task(go(name)) for name in "abcdef"}
    await asyncio.sleep(0.5)
    tasks["f"].cancel()
    tasks["c"].cancel()
    await asyncio.sleep(0)
    tasks["g"] = asyncio.create_task(go("g"))
    await asyncio.wait(tasks.values())
    assert went == [("a", 0), ("b", 1), ("d", 3), ("e", 4), ("g", 5)]


@pytest.mark.virtual_time
async def test_a_penalty_moves_those_who_wait_and_keeps_their_order_and_their_distances() -> None:
    clock = LoopClock()
    limiter = limiter_on(clock, BURSTING)
    went: list[tuple[int, float]] = []

    async def go(number: int) -> None:
        await limiter.acquire(None)
        went.append((number, clock.monotonic()))

    tasks = [asyncio.create_task(go(number)) for number in range(13)]
    await asyncio.sleep(0.5)
    await limiter.penalize(5)
    tasks += [asyncio.create_task(go(number)) for number in range(13, 15)]
    await asyncio.wait(tasks)
    assert went == [*((number, 0) for number in range(10)), (10, 6), (11, 7), (12, 8), (13, 9), (14, 10)]


async def test_after_a_penalty_the_pace_begins_without_a_burst(clock: ManualClock) -> None:
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


async def test_penalties_at_once_are_the_longest_of_them_and_not_their_sum(
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


async def test_an_absurd_penalty_lasts_for_a_day(clock: ManualClock) -> None:
    limiter = limiter_on(clock)
    await limiter.penalize(1e18)
    await limiter.acquire(None)
    assert clock.sleeps == [MAX_PENALTY] == [24 * 3600]


async def test_a_turn_after_the_deadline_is_refused_before_it_is_waited_for(clock: ManualClock) -> None:
    limiter = limiter_on(clock)
    await limiter.acquire(Deadline(1, clock))
    with pytest.raises(DeadlineExceededError) as caught:
        await limiter.acquire(Deadline(0.9, clock))
    assert caught.value.sent is False
    await limiter.acquire(Deadline(1, clock))
    assert clock.sleeps == [1]
    await limiter.penalize(20)
    with pytest.raises(DeadlineExceededError):
        await limiter.acquire(Deadline(19, clock))


@pytest.mark.virtual_time
async def test_a_penalty_that_moves_a_turn_beyond_the_deadline_ends_the_wait_and_gives_the_turn_back() -> None:
    clock = LoopClock()
    limiter = limiter_on(clock)
    await limiter.acquire(None)
    waiting = asyncio.create_task(limiter.acquire(Deadline(3, clock)))
    await asyncio.sleep(0.5)
    await limiter.penalize(10)
    with pytest.raises(DeadlineExceededError):
        await waiting
    assert clock.monotonic() == 1
    await limiter.acquire(None)
    assert clock.monotonic() == pytest.approx(10.5, abs=1)


class Walk:
    """Steps over a store, and when each of those who kept their slots went."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self.clock = ManualClock()
        self.store = MemoryRateLimitStore(self.clock)
        self.waiting: list[Reservation] = []
        self.went: list[float] = []
        self.penalties: list[tuple[float, float]] = []

    async def step(self, pause: float, what: str) -> None:
        self.clock.now += pause
        for reservation in list(self.waiting):
            if await self.store.delay("acme", reservation) <= 0:
                self.waiting.remove(reservation)
                self._go(reservation)
        if what == "penalize":
            await self.store.penalize("acme", self.limit, pause)
            self.penalties.append((self.clock.now, self.clock.now + pause))
        elif what == "cancel" and self.waiting:
            await self.store.cancel("acme", self.waiting.pop())
        elif what in {"reserve", "impatient"}:
            reserved = await self.store.reserve("acme", self.limit, 0 if what == "impatient" else math.inf)
            self.waiting += [] if reserved is None else [reserved]

    def end(self) -> list[float]:
        for reservation in self.waiting:
            self._go(reservation)
        return sorted(self.went)

    def _go(self, reservation: Reservation) -> None:
        # When its slot came, which may be in the midst of a pause.
        self.went.append(reservation.slot + self.store._paces["acme"].stood)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 5), st.sampled_from(["reserve", "reserve", "reserve", "impatient", "cancel", "penalize"])
        ),
        max_size=120,
    ),
    st.integers(1, 12),
    st.integers(1, 40),
)
def test_l4_no_time_sees_more_than_the_burst_and_its_share_of_the_rate(
    steps: list[tuple[float, str]], burst: int, pace: int
) -> None:
    limit = RateLimit(limit=burst + pace, per=10, burst=burst)
    walk = Walk(limit)

    async def take_all() -> None:
        for pause, what in steps:
            await walk.step(pause, what)

    asyncio.run(take_all())
    went = walk.end()
    for first, last in itertools.combinations_with_replacement(range(len(went)), 2):
        assert last - first + 1 <= burst + (went[last] - went[first]) / limit.interval + 1e-6
    for begun_at, until in walk.penalties:
        assert not [moment for moment in went if begun_at + 1e-6 < moment < until - 1e-6]


def test_the_memory_store_is_a_store() -> None:
    assert isinstance(MemoryRateLimitStore(), RateLimitStore)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RateLimit().limit = 5  # type: ignore[misc]
