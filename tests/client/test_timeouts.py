"""Timeouts end the right tasks, although all of them share one timer."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from connector_async.session.timeouts import Timeout, Timeouts
from tests.support.virtual_time import now

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def timeouts() -> Timeouts:
    return Timeouts(asyncio.get_running_loop())


async def ends_at(timeouts: Timeouts, seconds: float) -> float:
    with pytest.raises(TimeoutError), Timeout(timeouts, seconds):
        await asyncio.sleep(1_000)
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    return now()


async def test_only_blocks_that_take_too_long_end(timeouts: Timeouts) -> None:
    async def in_time() -> float:
        with Timeout(timeouts, 6):
            await asyncio.sleep(5)
        await asyncio.sleep(10)
        return now()

    seconds = (5, 7, 7, 9)
    ends = await asyncio.gather(in_time(), *(ends_at(timeouts, delay) for delay in seconds))
    assert list(ends) == [15, *seconds]
    assert timeouts.running == set()


async def test_later_timeout_that_is_shorter_ends_first(timeouts: Timeouts) -> None:
    long = asyncio.create_task(ends_at(timeouts, 10))
    await asyncio.sleep(1)
    assert await ends_at(timeouts, 2) == 3
    assert await ends_at(timeouts, 3) == 6
    assert await long == 10


async def test_timer_that_fires_a_little_early_is_in_time(timeouts: Timeouts) -> None:
    task = asyncio.create_task(ends_at(timeouts, 5))
    await asyncio.sleep(1)
    timeouts.time = lambda: now() - 0.001  # a coarse clock
    assert await task == 5


async def test_one_timer_serves_all_timeouts_of_equal_length(
    timeouts: Timeouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    call_at: Callable[..., asyncio.TimerHandle] = loop.call_at
    set_for = []

    def spy(when: float, callback: Any, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        if callback == timeouts._expire:
            set_for.append(when)
        return call_at(when, callback, *arguments, **options)

    monkeypatch.setattr(loop, "call_at", spy)
    for _ in range(100):
        with Timeout(timeouts, 30):
            await asyncio.sleep(0.1)
    assert set_for == [30]
    await asyncio.sleep(30)
    assert timeouts.next == float("inf")  # no timeout runs, and no timer is set


async def test_cancellation_from_outside_stays_a_cancellation(timeouts: Timeouts) -> None:
    async def work() -> None:
        with Timeout(timeouts, 5):
            await asyncio.sleep(1_000)

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert timeouts.running == set()


async def test_cancellation_from_outside_at_the_same_time_stays_a_cancellation(timeouts: Timeouts) -> None:
    async def work() -> None:
        with Timeout(timeouts, 5):
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_block_that_suppresses_the_timeout_leaves_no_cancellation(timeouts: Timeouts) -> None:
    async def work() -> None:
        with Timeout(timeouts, 5):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1_000)
            await asyncio.sleep(1)

    await work()
    await asyncio.sleep(1)
    assert now() == 7


async def test_timeout_works_within_asyncio_timeout(timeouts: Timeouts) -> None:
    async def work() -> None:
        async with asyncio.timeout(3):
            with Timeout(timeouts, 5):
                await asyncio.sleep(1_000)

    with pytest.raises(TimeoutError):
        await work()
    assert now() == 3
    async with asyncio.timeout(10):
        assert await ends_at(timeouts, 5) == 8


async def test_timeout_outside_a_task_is_rejected(timeouts: Timeouts) -> None:
    done = asyncio.get_running_loop().create_future()

    def outside() -> None:
        try:
            with pytest.raises(RuntimeError, match="must be used in a task"), Timeout(timeouts, 5):
                pass
        except BaseException as error:  # noqa: BLE001 - raised where `done` is awaited
            done.set_exception(error)
        else:
            done.set_result(None)

    asyncio.get_running_loop().call_soon(outside)
    await done


async def test_end_all_expires_every_timeout(timeouts: Timeouts) -> None:
    tasks = [asyncio.create_task(ends_at(timeouts, seconds)) for seconds in (5, 7)]
    await asyncio.sleep(2)
    timer = timeouts._timer
    timeouts.end_all()
    assert await asyncio.gather(*tasks) == [2, 2]
    assert timer is not None
    assert (timer.cancelled(), timeouts.running) == (True, set())


async def test_close_cancels_the_timer(timeouts: Timeouts) -> None:
    with Timeout(timeouts, 500):
        pass
    timer = timeouts._timer
    assert timer is not None
    timeouts.close()
    assert timer.cancelled()
    assert await ends_at(timeouts, 5) == 5
