"""A clock whose waits take no time. It moves the time of the client alone, not that of the event loop."""

import asyncio
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from connector_async._checks import check_seconds
from connector_async._clock import Clock

# Real seconds before a jump, in which the calls that the last jump has woken go on.
_BEFORE_JUMP: Final = 0.002
_START: Final = datetime(2024, 1, 1, tzinfo=UTC).timestamp()


class VirtualClock(Clock):
    """A clock that stands still until something waits by it, and then jumps to the end of the shortest wait.

    Pass it as `ConnectorSession(clock=…)`. Then backoff, `Retry-After`, rate-limit slots and penalties take 2 ms each,
    however long they are, and deadlines expire as they would. What is not measured by the session's clock stays real:
    the time that a response takes, `attempt_timeout`, `connect_timeout`, and `asyncio.sleep` in the application.

    Args:
        random: The number that `random()` returns, which makes jitter repeatable. A backoff takes this part of its
            longest wait, and a `Retry-After` takes a tenth of it longer than it says.

    Raises:
        ValueError: If `random` is negative or not finite.
        TypeError: If `random` is not a number.
    """

    def __init__(self, *, random: float = 0.5) -> None:
        self._random = check_seconds("random", random)
        self.waits: list[float] = []
        """The seconds of each wait so far, in the order in which the waits started."""
        self._now = 0.0
        self._ends: list[float] = []
        """When the waits end that are in progress: a heap."""
        self._holds = 0

    @property
    def elapsed(self) -> float:
        """The seconds since the clock was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the time on, for instance past the expiry of a token.

        Raises:
            ValueError: If `seconds` is negative or not finite.
            TypeError: If `seconds` is neither an int nor a float.
        """
        self._now += check_seconds("seconds", seconds)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the clock from jumping until the block ends, for instance while a response is awaited."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def monotonic(self) -> float:
        """Return the seconds since the clock was made."""
        return self._now

    def time(self) -> float:
        """Return the seconds since 1970. The clock starts at the beginning of 2024, in UTC."""
        return _START + self._now

    def random(self) -> float:
        """Return the number that was given."""
        return self._random

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has moved on by a number of seconds. It moves when no shorter wait is in progress."""
        self.waits.append(seconds)
        end = self._now + seconds
        heapq.heappush(self._ends, end)
        try:
            while self._now < end:
                before = self._now
                await asyncio.sleep(_BEFORE_JUMP)
                if self._now == before and end <= self._ends[0] and not self._holds:
                    self._now = max(self._now, end)
        finally:
            self._ends.remove(end)
            heapq.heapify(self._ends)
