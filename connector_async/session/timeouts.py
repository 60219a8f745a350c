"""Timeouts that share one timer of the event loop.

`asyncio.timeout` and aiohttp's own timeout set and cancel a timer for each attempt, which costs 7 % of a call, for what
hardly ever happens. It knows nothing of requests.
"""

import asyncio
import math
from types import TracebackType


class Timeouts:
    """The timeouts that run in one event loop, and the timer for the first of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.time = loop.time
        """The event loop's time, in seconds."""
        self.running: set[Timeout] = set()
        self.next = math.inf
        """When the timer fires, by the event loop's time."""
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def wake_at(self, moment: float) -> None:
        """Set the timer to a time of the event loop."""
        self.close()
        self.next = moment
        self._timer = self._loop.call_at(moment, self._expire)

    def end_all(self) -> None:
        """Expire all timeouts that run, and cancel the timer."""
        self.close()
        for timeout in self.running:
            timeout.expire()
        self.running.clear()

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.next = math.inf

    def _expire(self) -> None:
        now = max(self.next, self.time())  # a timer may fire a little early
        self.next = math.inf
        expired = {timeout for timeout in self.running if timeout.ends_at <= now}
        self.running -= expired
        for timeout in expired:
            timeout.expire()
        if self.running:
            self.wake_at(min(timeout.ends_at for timeout in self.running))


class Timeout:
    """A context manager that ends its body with `TimeoutError` after a number of seconds.

    Like `asyncio.timeout` it cancels the task, and takes the cancellation back at the end of the context.
    """

    __slots__ = ("_cancelling", "_task", "_timeouts", "ends_at", "has_expired")

    def __init__(self, timeouts: Timeouts, seconds: float) -> None:
        self._timeouts = timeouts
        self.has_expired = False
        """Whether this timeout has cancelled the task."""
        self.ends_at = timeouts.time() + seconds
        """By the event loop's time."""

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a timeout must be used in a task")
        self._task = task
        self._cancelling = task.cancelling()
        timeouts = self._timeouts
        timeouts.running.add(self)
        if self.ends_at < timeouts.next:
            timeouts.wake_at(self.ends_at)

    def expire(self) -> None:
        """Cancel the task."""
        self.has_expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The timer stays: most often another timeout needs it soon.
        self._timeouts.running.discard(self)
        # If something else has cancelled the task as well, it stays cancelled.
        if self.has_expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
