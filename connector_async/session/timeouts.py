"""Ends what takes too long, with one timer of the event loop for all that is under way.

`asyncio.timeout`, and aiohttp's own, set a timer for each attempt and cancel it: 7 % of a call, for what hardly ever
happens. It knows nothing of requests.
"""

import asyncio
import math
from types import TracebackType


class Timeouts:
    """What is under way in one event loop, and when the next of it has to end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.time = loop.time
        """The event loop's time, in seconds."""
        self.running: set[Timeout] = set()
        self.next = math.inf
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def wake_at(self, moment: float) -> None:
        """End, at a moment, what has to end by then."""
        self.close()
        self.next = moment
        self._timer = self._loop.call_at(moment, self._expire)

    def end_all(self) -> None:
        """End all that is under way, and leave no timer behind."""
        self.close()
        for timeout in self.running:
            timeout.expire()
        self.running.clear()

    def close(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.next = math.inf

    def _expire(self) -> None:
        now = max(self.next, self.time())  # a timer may go off a little early
        self.next = math.inf
        expired = {timeout for timeout in self.running if timeout.ends_at <= now}
        self.running -= expired
        for timeout in expired:
            timeout.expire()
        if self.running:
            self.wake_at(min(timeout.ends_at for timeout in self.running))


class Timeout:
    """A context in which what a task does ends after so many seconds, with `TimeoutError`.

    The task is cancelled, and that is taken back at the end of the context, as `asyncio.timeout` does it.
    """

    __slots__ = ("_cancelling", "_task", "_timeouts", "ends_at", "has_expired")

    def __init__(self, timeouts: Timeouts, seconds: float) -> None:
        self._timeouts = timeouts
        self.has_expired = False
        """Whether the task was cancelled by it."""
        self.ends_at = timeouts.time() + seconds
        """By the event loop's time."""

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a timeout needs a task that it can end")
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
        # The timer stays: most often it is soon needed for another one.
        self._timeouts.running.discard(self)
        # Somebody else may have cancelled the task as well, which then goes on to be cancelled.
        if self.has_expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
