"""The clock, and deadlines on it."""

import asyncio
import math
import time
from typing import Any

import pytest

from connector_async import Clock
from connector_async._clock import Deadline
from tests.conftest import ManualClock


async def test_clock_is_that_of_the_machine() -> None:
    clock = Clock()
    assert abs(clock.monotonic() - time.monotonic()) < 1
    assert abs(clock.time() - time.time()) < 1
    before = time.monotonic()
    await clock.sleep(0.01)
    assert time.monotonic() - before >= 0.009
    draws = [clock.random() for _ in range(1_000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert 0.4 < sum(draws) / 1_000 < 0.6


async def test_sleep_is_cancelled_with_its_task() -> None:
    task = asyncio.create_task(Clock().sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_rest_of_an_expired_deadline_is_negative(clock: ManualClock) -> None:
    deadline = Deadline(10, clock)
    remaining = []
    for _ in range(3):
        remaining.append(deadline.remaining())
        clock.now += 6
    assert remaining == [10, 4, -2]


@pytest.mark.parametrize(
    ("seconds", "error", "rule"),
    [
        (-1, ValueError, "seconds must be zero or more"),
        (-0.5, ValueError, "seconds must be zero or more"),
        (math.nan, ValueError, "seconds must be zero or more"),
        (10**400, ValueError, "seconds must be finite"),
        (True, TypeError, "seconds must be a number of seconds, not bool"),
        ("5", TypeError, "seconds must be a number of seconds, not str"),
        (None, TypeError, "seconds must be a number of seconds, not NoneType"),
    ],
)
def test_invalid_duration_of_a_deadline_is_rejected(seconds: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        Deadline(seconds, Clock())


@pytest.mark.parametrize("clock", [None, Clock, time])
def test_invalid_clock_of_a_deadline_is_rejected(clock: Any) -> None:
    with pytest.raises(TypeError, match=f"clock must be a Clock, not {type(clock).__name__}"):
        Deadline(5, clock)
    assert Deadline(math.inf, Clock()).remaining() == math.inf
