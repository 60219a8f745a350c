"""The clock, and the deadline that runs on it."""

import asyncio
import math
import time
from typing import Any

import pytest

from connector_async import Clock
from connector_async._checks import check_seconds
from connector_async._clock import Deadline
from tests.conftest import ManualClock


async def test_the_clock_is_that_of_the_machine() -> None:
    clock = Clock()
    assert abs(clock.monotonic() - time.monotonic()) < 1
    assert abs(clock.time() - time.time()) < 1
    before = time.monotonic()
    await clock.sleep(0.01)
    assert time.monotonic() - before >= 0.009
    draws = [clock.random() for _ in range(1_000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert 0.4 < sum(draws) / 1_000 < 0.6


async def test_a_sleep_is_cancelled_with_its_task() -> None:
    task = asyncio.create_task(Clock().sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_what_remains_of_a_deadline_goes_below_zero(clock: ManualClock) -> None:
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
def test_a_deadline_of_what_is_no_duration_is_refused(seconds: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        Deadline(seconds, Clock())


@pytest.mark.parametrize("clock", [None, Clock, time])
def test_a_deadline_needs_a_clock(clock: Any) -> None:
    with pytest.raises(TypeError, match=f"clock must be a Clock, not {type(clock).__name__}"):
        Deadline(5, clock)
    assert Deadline(math.inf, Clock()).remaining() == math.inf


@pytest.mark.parametrize("value", [0, 0.0, 1, 2.5])
def test_a_duration_is_returned_as_it_is(value: float) -> None:
    assert check_seconds("wait", value) == value


@pytest.mark.parametrize(
    ("value", "options", "error", "rule"),
    [
        (-1, {}, ValueError, "wait must be zero or more"),
        (math.nan, {}, ValueError, "wait must be zero or more"),
        (math.inf, {}, ValueError, "wait must be finite"),
        (0, {"above_zero": True}, ValueError, "wait must be above zero"),
        (-1, {"above_zero": True}, ValueError, "wait must be above zero"),
        (-math.inf, {"finite": False}, ValueError, "wait must be zero or more"),
        ("1", {}, TypeError, "wait must be a number of seconds, not str"),
        (None, {}, TypeError, "wait must be a number of seconds, not NoneType"),
        (True, {}, TypeError, "wait must be a number of seconds, not bool"),
    ],
)
def test_what_is_no_duration_is_refused_by_name(
    value: Any, options: dict[str, bool], error: type[Exception], rule: str
) -> None:
    with pytest.raises(error, match=rule):
        check_seconds("wait", value, **options)
    assert check_seconds("wait", math.inf, finite=False) == math.inf
