import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectorSession,
    InvalidArgumentError,
    NotFoundError,
    RateLimit,
    RetryPolicy,
    ThrottledError,
)
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox, StatusFault
from connector_async.testing import VirtualClock


@pytest.fixture
def virtual_clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def service(sandbox: Sandbox, virtual_clock: VirtualClock) -> AsyncIterator[AppointmentService]:
    credentials = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, clock=virtual_clock)
    async with ConnectorSession(
        sandbox.base_url, tenant_id="acme", auth=credentials, clock=virtual_clock, rate_limit=RateLimit(60, burst=1)
    ) as session:
        yield AppointmentService(session, retry=RetryPolicy(attempts=2))


async def test_a_wait_moves_the_time_and_takes_none(virtual_clock: VirtualClock) -> None:
    started_at, date = time.monotonic(), virtual_clock.time()
    await virtual_clock.sleep(3600)
    assert time.monotonic() - started_at < 1
    assert virtual_clock.elapsed == virtual_clock.monotonic() == virtual_clock.time() - date == 3600
    assert virtual_clock.waits == [3600]


async def test_waits_at_the_same_time_end_in_the_order_of_their_ends(virtual_clock: VirtualClock) -> None:
    ended: list[tuple[float, float]] = []

    async def wait(seconds: float) -> None:
        await virtual_clock.sleep(seconds)
        for _ in range(5):  # what a call does before its request is in flight
            await asyncio.sleep(0)
        ended.append((seconds, virtual_clock.elapsed))

    await asyncio.gather(wait(30), wait(10), wait(20))
    assert ended == [(10, 10), (20, 20), (30, 30)]


async def test_a_cancelled_wait_does_not_hold_up_the_others(virtual_clock: VirtualClock) -> None:
    cancelled = asyncio.create_task(virtual_clock.sleep(10))
    other = asyncio.create_task(virtual_clock.sleep(20))
    await asyncio.sleep(0)
    cancelled.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await cancelled
    await other
    assert virtual_clock.elapsed == 20


async def test_the_clock_does_not_jump_while_it_is_held(virtual_clock: VirtualClock) -> None:
    with virtual_clock.hold():
        waiting = asyncio.create_task(virtual_clock.sleep(10))
        await asyncio.sleep(0.01)
        assert virtual_clock.elapsed == 0
    await waiting
    assert virtual_clock.elapsed == 10


async def test_advancing_the_clock_ends_the_waits_that_are_over(virtual_clock: VirtualClock) -> None:
    waiting = asyncio.create_task(virtual_clock.sleep(10))
    await asyncio.sleep(0)
    virtual_clock.advance(60)
    await waiting
    assert virtual_clock.elapsed == 60


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_clock_cannot_go_back_or_out_of_time(virtual_clock: VirtualClock, seconds: float) -> None:
    with pytest.raises(InvalidArgumentError, match="seconds must be"):
        virtual_clock.advance(seconds)


def test_random_number_is_the_one_that_was_given() -> None:
    assert VirtualClock(random=0.25).random() == 0.25
    with pytest.raises(InvalidArgumentError, match="random must be zero or more"):
        VirtualClock(random=-1)


async def test_retry_after_of_a_server_is_waited_for(
    service: AppointmentService, sandbox: Sandbox, virtual_clock: VirtualClock
) -> None:
    sandbox.faults.script(StatusFault(503, retry_after=30), operation="get")
    with pytest.raises(NotFoundError) as caught:
        await service.get("1")
    assert caught.value.attempts == 2
    assert 30 <= virtual_clock.elapsed < 40


async def test_calls_at_once_take_as_long_as_their_rate_limit_says(
    service: AppointmentService, virtual_clock: VirtualClock
) -> None:
    async def get() -> None:
        with pytest.raises(NotFoundError):
            await service.get("1")

    await asyncio.gather(*(get() for _ in range(30)))
    assert 29 <= virtual_clock.elapsed < 33  # a slot each second, and one for the token


async def test_a_deadline_expires_by_the_clock(service: AppointmentService, sandbox: Sandbox) -> None:
    sandbox.faults.script(StatusFault(503, retry_after=100), operation="get")
    with pytest.raises(ThrottledError):
        await service.get("1", deadline=60)
