"""When a run ends before its work does: so many requests, so many seconds, or because it was asked to."""

import asyncio
import enum

from connector_async._checks import check_int, check_seconds
from connector_async._clock import Clock, Deadline


class StopReason(enum.Enum):
    """Why nothing more is begun."""

    REQUESTS = "requests"
    """As many requests were sent as may be."""
    DURATION = "duration"
    """It has lasted as long as it may."""
    SIGNAL = "signal"
    """It was asked to stop."""


class Budget:
    """Tells whether one more operation may begin. Those that are under way are never cut off by it.

    Args:
        clock: By which the seconds are reckoned.
        max_requests: No operation is begun when so many requests were sent or are about to be; `None`: any number. An
            operation that is tried again sends more than the one that it was counted for.
        max_duration: Seconds after which no operation is begun; `None`: any number.

    Raises:
        ValueError: A limit is not above zero.
        TypeError: A limit is of another type, or `clock` is no `Clock`.
    """

    def __init__(self, clock: Clock, *, max_requests: int | None = None, max_duration: float | None = None) -> None:
        if max_requests is not None:
            check_int("max_requests", max_requests)
        if not isinstance(clock, Clock):
            raise TypeError(f"clock must be a Clock, not {type(clock).__name__}")
        self._clock = clock
        self._max_requests = max_requests
        self._deadline: Deadline | None = None
        if max_duration is not None:
            self._deadline = Deadline(check_seconds("max_duration", max_duration, above_zero=True), clock)
        self._under_way = 0
        self._sent = 0
        self._stopped = asyncio.Event()
        self.reason: StopReason | None = None
        """Why nothing more is begun; `None`: it may be."""

    def spend(self, requests: int) -> None:
        """Note that so many requests were sent."""
        self._sent += requests

    def stop(self, reason: StopReason = StopReason.SIGNAL) -> None:
        """Let nothing more begin."""
        self.reason = self.reason or reason
        self._stopped.set()

    def begin(self) -> bool:
        """Tell whether one more operation may begin, and count it as under way if so; `end` ends it."""
        if self._max_requests is not None and self._sent + self._under_way >= self._max_requests:
            self.stop(StopReason.REQUESTS)
        if self._deadline is not None and self._deadline.remaining() <= 0:
            self.stop(StopReason.DURATION)
        if self.reason is not None:
            return False
        self._under_way += 1
        return True

    def end(self) -> None:
        """One operation that had begun has ended."""
        self._under_way -= 1

    async def sleep(self, seconds: float) -> bool:
        """Wait; tell whether it was waited to the end, rather than stopped."""
        if self._deadline is not None:
            seconds = min(seconds, max(0.0, self._deadline.remaining()))
        nap = asyncio.ensure_future(self._clock.sleep(seconds))
        stop = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([nap, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
            stop.cancel()
            await asyncio.wait([nap, stop])
        if self._deadline is not None and self._deadline.remaining() <= 0:
            self.stop(StopReason.DURATION)
        return self.reason is None
