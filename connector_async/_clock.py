"""`Clock`, by which the package measures time and waits and which tests replace, and `Deadline`, measured by a clock.

The module knows nothing of requests.
"""

import asyncio
import random
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from ._checks import check_plain_methods, check_seconds, check_type

_LARGEST: Final = sys.float_info.max

SINGLE_CALL_DEADLINE: Final = 60.0
"""Seconds for a single call when neither the call, its service nor its session sets a deadline."""


class Clock:
    """The clock, the sleep and the random source of a client. Subclass it to control time and jitter."""

    # Each call reads it six times. Without a frame of its own it costs a third.
    monotonic = staticmethod(time.monotonic)
    """Return the seconds of a clock that never jumps. Durations and expiries are measured by it."""

    def time(self) -> float:
        """Return the seconds since 1970 in UTC. Only dates that a server wrote are compared with it."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds.

        Raises:
            asyncio.CancelledError: If the task is cancelled meanwhile.
        """
        await asyncio.sleep(seconds)

    def random(self) -> float:
        """Return a random number from 0 (included) to 1 (excluded), for the jitter of waits."""
        return random.random()  # noqa: S311 - not used for secrets


class Deadline:
    """The time by which a call must have ended.

    Args:
        seconds: Seconds from now.
        clock: The clock to measure by.

    Raises:
        ValueError: If `seconds` is negative or NaN.
        TypeError: If `seconds` is neither an int nor a float, or `clock` is not a `Clock`.
    """

    __slots__ = ("_at", "_clock")

    def __init__(self, seconds: float, clock: Clock) -> None:
        kind = type(seconds)
        if (kind is not float and kind is not int) or not 0 <= seconds <= _LARGEST:  # cheap: every call comes here
            check_seconds("seconds", seconds, finite=False)
        if not isinstance(clock, Clock):
            raise TypeError(f"clock must be a Clock, not {type(clock).__name__}")
        self._clock = clock
        self._at = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left. Zero or less means that the deadline has expired."""
        return self._at - self._clock.monotonic()


def checked_clock(clock: Clock | None) -> Clock:
    """Return `clock`, or the machine's clock if it is `None`.

    Raises:
        TypeError: If `clock` is not a `Clock`, is a class, or has a method other than `sleep` that is a coroutine
            function.
    """
    if clock is None:
        return Clock()
    check_type("clock", clock, Clock, optional=True)
    check_plain_methods("clock", clock, "monotonic", "time", "random")
    return clock


def is_cancelled() -> bool:
    """Return whether the running task was cancelled. If not, a `CancelledError` came from what the task awaited."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def wake(sleepers: Iterable[asyncio.Future[None]]) -> None:
    """Resolve futures from any thread, each in its own event loop. Futures of a closed loop are skipped."""
    for sleeper in list(sleepers):
        with suppress(RuntimeError):  # the loop is closed
            sleeper.get_loop().call_soon_threadsafe(resolve, sleeper)


def resolve(sleeper: asyncio.Future[None]) -> None:
    """Resolve a future of the running event loop, unless it is done."""
    if not sleeper.done():
        sleeper.set_result(None)
