"""Time as this package reads it, in one object that tests replace, and the caller's deadline on it.

It knows nothing of requests.
"""

import asyncio
import random
import sys
import time
from typing import Final

from ._checks import check_plain_methods, check_seconds

_LARGEST: Final = sys.float_info.max

SINGLE_CALL_DEADLINE: Final = 60.0
"""Seconds for a single call when neither the call, its service nor its session names a deadline."""


class Clock:
    """What a client reads and waits by. Subclass it to run on a time, and on draws, of your own."""

    # It is read six times in each call: without a frame of its own, that is a third of the cost.
    monotonic = staticmethod(time.monotonic)
    """Return the seconds on a clock that never jumps; for everything that lasts or expires."""

    def time(self) -> float:
        """Seconds since 1970 in UTC; only for dates that a server wrote."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait. Raises `asyncio.CancelledError` when the task is cancelled meanwhile."""
        await asyncio.sleep(seconds)

    def random(self) -> float:
        """Draw from 0 (included) to 1 (excluded), evenly; for the jitter of waits."""
        return random.random()  # noqa: S311 - nothing secret is drawn


class Deadline:
    """The moment at which a call must have ended.

    Args:
        seconds: From now.
        clock: By whose `monotonic` it is reckoned.

    Raises:
        ValueError: `seconds` is negative, or no number.
        TypeError: `seconds` is neither an int nor a float, or `clock` no `Clock`.
    """

    __slots__ = ("_at", "_clock")

    def __init__(self, seconds: float, clock: Clock) -> None:
        kind = type(seconds)
        if (kind is not float and kind is not int) or not 0 <= seconds <= _LARGEST:  # nearly all are, in each call
            check_seconds("seconds", seconds, finite=False)
        if not isinstance(clock, Clock):
            raise TypeError(f"clock must be a Clock, not {type(clock).__name__}")
        self._clock = clock
        self._at = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left; zero or less when it has come."""
        return self._at - self._clock.monotonic()


def checked_clock(clock: Clock | None) -> Clock:
    """Return `clock`, or the machine's when it is `None`.

    Raises:
        TypeError: It is of another type, or the class, or a method but `sleep` is a coroutine function.
    """
    if clock is None:
        return Clock()
    if not isinstance(clock, Clock):
        raise TypeError(f"clock must be a Clock or None, not {type(clock).__name__}")
    check_plain_methods("clock", clock, "monotonic", "time", "random")
    return clock


def is_cancelled() -> bool:
    """Return whether the running task has been cancelled. If not, a `CancelledError` was raised from within."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
