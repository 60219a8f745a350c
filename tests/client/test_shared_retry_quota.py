"""The retry quota in a store that processes share: what is spent and refunded there, and when it fails."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from connector_async import (
    Clock,
    MemoryRateLimitStore,
    RateLimitedError,
    RateLimitStore,
    RateLimitStoreError,
    RetryPolicy,
    ServerError,
)
from connector_async.retry import RetryQuotaStore, SharedRetryQuota
from tests.conftest import ManualClock
from tests.support.hostile import HostileServer, http
from tests.support.services import FOUND, open_service
from tests.support.virtual_time import LoopClock

CAPACITY = 500


class QuotaStore:
    """Keeps slots and retry quotas as a store on a server does."""

    def __init__(self, clock: Clock, fail: Callable[[], Awaitable[None]] | None = None) -> None:
        slots = MemoryRateLimitStore(clock)
        self.reserve, self.delay, self.cancel = slots.reserve, slots.delay, slots.cancel
        self._penalize = slots.penalize
        self._fail = fail
        self.left = CAPACITY
        self.calls: list[tuple[int, int]] = []
        """The cost and the refund of each call."""

    async def penalize(self, *arguments: Any) -> bool:
        if self._fail is not None:
            await self._fail()
        return await self._penalize(*arguments)

    async def spend_quota(self, _: str, cost: int, *, refund: int, capacity: int) -> int | None:
        self.calls.append((cost, refund))
        if self._fail is not None:
            await self._fail()
        left = min(capacity, self.left + refund) - cost
        if left < 0:
            return None
        self.left = left
        return left


@pytest.fixture
def store(clock: ManualClock) -> QuotaStore:
    return QuotaStore(clock)


def test_store_of_the_tests_implements_the_protocols(store: QuotaStore) -> None:
    assert isinstance(store, RateLimitStore)
    assert isinstance(store, RetryQuotaStore)
    assert not isinstance(MemoryRateLimitStore(), RetryQuotaStore)


@pytest.mark.row("R11")
async def test_sessions_of_a_store_spend_one_retry_quota(store: QuotaStore) -> None:
    async with HostileServer(http(500)) as server:
        services = [open_service(server, rate_limit_store=store) for _ in range(2)]
        for call in range(17):
            with pytest.raises(ServerError) as caught:
                await services[call % 2].get("123")
            assert caught.value.attempts == 3
        attempts = []
        for service in (*services, *services):
            with pytest.raises(ServerError) as caught:
                await service.get("123")
            attempts.append((caught.value.attempts, caught.value.retry_quota_exhausted))
    assert attempts == [(2, True), (1, True), (1, True), (1, True)]
    assert store.left == CAPACITY - 35 * 14


async def test_success_without_retries_does_not_ask_the_store(store: QuotaStore) -> None:
    async with HostileServer(FOUND) as server:
        service = open_service(server, rate_limit_store=store)
        for _ in range(20):
            await service.get("123")
    assert store.calls == []


async def test_refunds_are_sent_when_they_amount_to_a_retry(store: QuotaStore) -> None:
    store.left = 100
    async with HostileServer(http(500), http(500), FOUND) as server:
        service = open_service(server, rate_limit_store=store)
        await service.get("123")  # the retry that succeeded is refunded
        assert (store.calls, service.session.retry_quota.available) == ([(14, 0), (14, 0)], 100 - 28 + 14)
        for _ in range(15):
            await service.get("123")
    assert store.calls[2:] == [(0, 14), (0, 14)]
    assert store.left == 100
    assert service.session.retry_quota.available == 101


async def test_refunds_that_were_not_sent_come_with_the_next_retry(store: QuotaStore) -> None:
    store.left = 100
    async with HostileServer(http(500), http(400), FOUND, FOUND, http(500), FOUND) as server:
        service = open_service(server, rate_limit_store=store, retry=RetryPolicy(attempts=2))
        with pytest.raises(Exception, match="400"):
            await service.get("123")
        for _ in range(3):
            await service.get("123")
    assert store.calls == [(14, 0), (14, 2)]


async def test_refused_retry_keeps_the_refunds(store: QuotaStore) -> None:
    quota = SharedRetryQuota("acme", store)
    store.left = 8
    assert not await quota.spend(14)
    for _ in range(3):
        quota.refund(1)
    assert not await quota.spend(14)
    quota.refund(3)
    assert await quota.spend(14)
    assert store.calls == [(14, 0), (14, 3), (14, 6)]
    assert quota.available == store.left == 0


async def test_quota_that_cannot_be_spent_ends_the_call_with_the_error_of_its_attempt(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RateLimitStoreError("the store failed")

    async with HostileServer(http(502)) as server:
        service = open_service(server, rate_limit_store=QuotaStore(clock, fail))
        with pytest.raises(ServerError) as caught:
            await service.update("123", title="Other")
        assert len(server.requests) == 1
    assert (caught.value.sent, caught.value.retry_quota_exhausted) == (True, True)
    assert [line.getMessage() for line in caplog.records if line.levelno == logging.ERROR] == ["spend_quota raised"]


@pytest.mark.parametrize("response", [http(429), http(429, Retry_After="1")])
async def test_penalty_that_cannot_be_stored_ends_the_call_with_the_error_of_its_attempt(
    clock: ManualClock, response: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RateLimitStoreError("the store failed")

    async with HostileServer(response) as server:
        service = open_service(server, rate_limit_store=QuotaStore(clock, fail))
        with pytest.raises(RateLimitedError):
            await service.get("123")
    messages = {line.getMessage() for line in caplog.records if line.levelno == logging.ERROR}
    assert "penalize raised" in messages


@pytest.mark.virtual_time
async def test_deadline_holds_while_the_quota_does_not_respond() -> None:
    clock = LoopClock()
    store = QuotaStore(clock, lambda: asyncio.sleep(100))
    async with HostileServer(http(500)) as server:
        service = open_service(server, clock=clock, rate_limit_store=store)
        started_at = clock.monotonic()
        with pytest.raises(ServerError):
            await service.get("123", deadline=10)
        assert clock.monotonic() - started_at == pytest.approx(10, abs=0.1)


@pytest.mark.virtual_time
async def test_deadline_holds_while_a_refund_is_sent() -> None:
    clock = LoopClock()
    store = QuotaStore(clock, lambda: asyncio.sleep(100))
    async with HostileServer(FOUND) as server:
        service = open_service(server, clock=clock, rate_limit_store=store)
        quota = service.session.retry_quota
        assert isinstance(quota, SharedRetryQuota)
        quota._left = 0
        quota.refund(14)
        started_at = clock.monotonic()
        with pytest.raises(TimeoutError):
            await service.get("123", deadline=10)
        assert clock.monotonic() - started_at == pytest.approx(10, abs=0.1)
        assert server.requests == []
