"""The checks for stores of rate limits: every store of the package passes, and one that breaks a rule does not."""

import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import pytest
from typing_extensions import override

from connector_async import Clock, MemoryRateLimitStore, RateLimit, RateLimitStore, Reservation
from connector_async.rate_limit import PostgresRateLimitStore, RedisRateLimitStore
from connector_async.testing.rate_limit_conformance import RATE_LIMIT_STORE_CHECKS, check_rate_limit_store
from tests.support.postgres import FLAVORS, PostgresServer
from tests.support.redis_server import RedisServer

OpenStore = Callable[[], AbstractAsyncContextManager[RateLimitStore]]


def open_memory() -> Iterator[OpenStore]:
    store = MemoryRateLimitStore(Clock())

    @asynccontextmanager
    async def open_store() -> AsyncIterator[RateLimitStore]:
        yield store

    yield open_store


def open_postgres() -> Iterator[OpenStore]:
    with PostgresServer.started(FLAVORS["pgserver"]) as server:
        yield lambda: PostgresRateLimitStore(server.url("postgres"))


def open_redis() -> Iterator[OpenStore]:
    with RedisServer.started() as server:
        yield lambda: RedisRateLimitStore(server.url)


@pytest.fixture(scope="module", params=[open_memory, open_postgres, open_redis])
def open_store(request: pytest.FixtureRequest) -> Iterator[OpenStore]:
    yield from request.param()


@pytest.mark.row("L4")
@pytest.mark.parametrize("check", RATE_LIMIT_STORE_CHECKS)
async def test_store_passes_the_check(check: Any, open_store: OpenStore) -> None:
    await check(open_store)


Changed = tuple[str, RateLimit, float, bool]


class BrokenStore(MemoryRateLimitStore):
    """Breaks one rule: `change` changes the arguments of `reserve`."""

    def __init__(self, change: Callable[[Changed], Changed] = lambda arguments: arguments) -> None:
        super().__init__()
        self._change = change

    @override
    async def reserve(self, key: str, limit: RateLimit, max_wait: float, *, ahead: bool = False) -> Reservation | float:
        key, limit, max_wait, ahead = self._change((key, limit, max_wait, ahead))
        return await super().reserve(key, limit, max_wait, ahead=ahead)


class ForgetfulStore(BrokenStore):
    """Does not delay the slots that were reserved before a penalty."""

    @override
    async def delay(self, key: str, reservation: Reservation) -> float:
        return reservation.slot - self._clock.monotonic()


class WastefulStore(BrokenStore):
    """Takes back no slots."""

    @override
    async def cancel(self, key: str, reservation: Reservation) -> None:
        pass


class LastOnlyStore(BrokenStore):
    """Takes back only the last slot."""

    @override
    async def cancel(self, key: str, reservation: Reservation) -> None:
        if key in self._slots and self._slots[key].next_slot == reservation.after:
            await super().cancel(key, reservation)


class CarelessStore(BrokenStore):
    """Takes back any slot as if it were the last one."""

    @override
    async def cancel(self, key: str, reservation: Reservation) -> None:
        if key in self._slots:
            self._slots[key].next_slot = reservation.before


class EagerStore(BrokenStore):
    """Keeps the burst that was saved up before a penalty."""

    @override
    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        before = self._slots[key].next_slot if key in self._slots else 0.0
        changed = await super().penalize(key, limit, seconds)
        self._slots[key].next_slot = before
        self._slots[key].floor = 0.0
        return changed


class PersistentStore(BrokenStore):
    """Lifts no penalty."""

    @override
    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        return seconds > 0 and await super().penalize(key, limit, seconds)


class RestartingStore(BrokenStore):
    """Lets each penalty replace the current one."""

    @override
    async def penalize(self, key: str, limit: RateLimit, seconds: float) -> bool:
        await super().penalize(key, limit, 0)
        return await super().penalize(key, limit, seconds)


class GenerousStore(BrokenStore):
    """Has a retry quota without a capacity."""

    async def spend_quota(self, _: str, cost: int, *, refund: int, capacity: int) -> int | None:
        return capacity - cost + refund


def changing(index: int, value: Callable[[Any], Any]) -> BrokenStore:
    """Return a store that changes one argument of `reserve`."""

    def change(arguments: Any) -> Any:
        return (*arguments[:index], value(arguments[index]), *arguments[index + 1 :])

    return BrokenStore(change)


def first_limit() -> Callable[[RateLimit], RateLimit]:
    limits: list[RateLimit] = []

    def keep(limit: RateLimit) -> RateLimit:
        limits.append(limit)
        return limits[0]

    return keep


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (changing(1, lambda limit: attrs.evolve(limit, per=0.9 * limit.per)), "slots_come_one_interval_apart"),
        (changing(1, lambda limit: attrs.evolve(limit, limit=61, burst=1)), "burst_comes_at_once"),
        (changing(0, str.lower), "keys_are_independent"),
        (changing(2, lambda _: math.inf), "slot_after_max_wait_is_not_reserved"),
        (changing(3, lambda _: False), "request_ahead_comes_at_once_and_counts"),
        (changing(1, first_limit()), "changed_limit_applies_to_the_next_slot"),
        (changing(1, lambda limit: attrs.evolve(limit, limit=60)), "unlimited_rate_delays_only_during_a_penalty"),
        (ForgetfulStore(), "penalty_delays_all_slots"),
        (EagerStore(), "penalty_delays_all_slots"),
        (RestartingStore(), "longest_penalty_counts"),
        (PersistentStore(), "lifted_penalty_lets_slots_come"),
        (WastefulStore(), "last_slot_can_be_given_back"),
        (LastOnlyStore(), "slots_given_back_from_first_to_last_are_free"),
        (EagerStore(), "slots_given_back_during_a_penalty_are_no_burst"),
        (ForgetfulStore(), "clients_keep_one_pace"),
        (CarelessStore(), "no_period_exceeds_burst_and_rate"),
        (ForgetfulStore(), "no_period_exceeds_burst_and_rate"),
        (GenerousStore(), "retry_quota_is_shared"),
    ],
)
async def test_store_that_breaks_a_rule_does_not_pass_the_check(broken: BrokenStore, check: str) -> None:
    @asynccontextmanager
    async def open_store() -> AsyncIterator[RateLimitStore]:
        yield broken

    checks = {each.__name__: each for each in RATE_LIMIT_STORE_CHECKS}
    with pytest.raises(AssertionError):
        await checks[f"check_{check}"](open_store)
    with pytest.raises(AssertionError):
        await check_rate_limit_store(open_store)
