"""The limits of a run: it ends after so many requests, after so many seconds, or when it is asked to stop."""

import asyncio
import enum
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from connector_async._checks import check_int, check_seconds, check_type
from connector_async._clock import Clock, Deadline

_LOOK_INTERVAL: Final = 0.05  # seconds


class StopReason(enum.Enum):
    """Why a run starts no more operations."""

    REQUESTS = "requests"
    """The limit of requests was reached."""
    DURATION = "duration"
    """The limit of time was reached."""
    SIGNAL = "signal"
    """The run was asked to stop."""


class BudgetSpentError(Exception):
    """No more requests may be sent, and nothing more may be read."""


class Budget:
    """Decides whether one more operation may start. Operations in flight are never cut off.

    Args:
        clock: The clock that measures the duration.
        max_requests: No operation starts once so many requests were sent or are about to be; `None` for no limit. An
            operation that is retried sends more than the one request that was reserved for it.
        max_duration: The seconds after which no operation starts; `None` for no limit.

    Raises:
        ValueError: If a limit is not above zero.
        TypeError: If a limit is not a number, or `clock` is not a `Clock`.
    """

    def __init__(self, clock: Clock, *, max_requests: int | None = None, max_duration: float | None = None) -> None:
        if max_requests is not None:
            check_int("max_requests", max_requests)
        check_type("clock", clock, Clock)
        self._clock = clock
        self._max_requests = max_requests
        self._deadline: Deadline | None = None
        if max_duration is not None:
            self._deadline = Deadline(check_seconds("max_duration", max_duration, above_zero=True), clock)
        self._in_flight = 0
        self._sent = 0
        self._stopped = asyncio.Event()
        self.reason: StopReason | None = None
        """Why no more operations start; `None` as long as they may."""

    @contextmanager
    def operation(self) -> Iterator[bool]:
        """Yield whether one more operation may start. If so, it is in flight until the block ends."""
        if not self._may_start():
            yield False
            return
        self._in_flight += 1
        try:
            yield True
        finally:
            self._in_flight -= 1

    def check(self) -> None:
        """Raise if the work must end, without regard to the limit of requests.

        Raises:
            BudgetSpentError: If the duration is over, or the run was asked to stop.
        """
        self._check_duration()
        if self.reason is not None:
            raise BudgetSpentError

    @asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """End the block when `check` would raise, even while it waits.

        Raises:
            BudgetSpentError: If the block was ended.
        """
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                looking = asyncio.ensure_future(self._look(timeout))
                try:
                    yield
                finally:
                    looking.cancel()
        except TimeoutError:
            if timeout.expired():
                raise BudgetSpentError from None
            raise

    async def _look(self, block: asyncio.Timeout) -> None:
        while True:
            await asyncio.sleep(_LOOK_INTERVAL)
            try:
                self.check()
            except BudgetSpentError:
                block.reschedule(asyncio.get_running_loop().time())
                return

    def spend(self, requests: int) -> None:
        """Count requests that were sent."""
        self._sent += requests

    def stop(self, reason: StopReason = StopReason.SIGNAL) -> None:
        """Let no more operations start."""
        self.reason = self.reason or reason
        self._stopped.set()

    async def stopped(self) -> None:
        """Wait until no more operations may start, because a limit was noticed or `stop` was called."""
        await self._stopped.wait()

    async def sleep(self, seconds: float) -> bool:
        """Wait, and return whether operations may still start. A stop or the end of the duration ends the wait."""
        if self._deadline is not None:
            seconds = min(seconds, max(0.0, self._deadline.remaining()))
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        stop = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([sleep, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            stop.cancel()
            await asyncio.wait([sleep, stop])
        self._check_duration()
        return self.reason is None

    def _may_start(self) -> bool:
        if self._max_requests is not None and self._sent + self._in_flight >= self._max_requests:
            self.stop(StopReason.REQUESTS)
        self._check_duration()
        return self.reason is None

    def _check_duration(self) -> None:
        if self._deadline is not None and self._deadline.remaining() <= 0:
            self.stop(StopReason.DURATION)
