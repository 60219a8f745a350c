"""Waits that end when the session is closed. It knows nothing of what is waited for."""

import asyncio

from connector_async._checks import check_seconds
from connector_async._clock import Clock, resolve, wake


class InterruptibleSleep:
    """Sleeps on a clock; closing wakes every sleeper, in any event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # A clock of the caller's own has a coroutine that sleeps. A task for each sleeper costs more than all the rest.
        self._has_own_sleep = getattr(clock.sleep, "__func__", None) is not Clock.sleep
        self._sleepers: set[asyncio.Future[None]] = set()
        self.closed = False
        """No more is slept."""

    async def sleep(self, seconds: float, others: set[asyncio.Future[None]] | None = None) -> None:
        """Wait.

        Args:
            seconds: How long.
            others: Holds the sleeper meanwhile, for `wake`, which ends the wait.

        Raises:
            ValueError: If `seconds` is negative or not a number.
            TypeError: If `seconds` is neither an int nor a float.
            RuntimeError: If the session is closed, or is closed meanwhile.
        """
        check_seconds("seconds", seconds, finite=False)  # a NaN among the timers of a loop breaks their order
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        groups = (self._sleepers,) if others is None else (self._sleepers, others)
        for group in groups:
            group.add(sleeper)
        try:
            if self.closed:  # looked at once `close` can see the sleeper
                raise RuntimeError("the session is closed")
            nap = self._start(seconds, sleeper, loop)
            try:
                await sleeper
            finally:
                nap.cancel()
        finally:
            for group in groups:
                group.discard(sleeper)
        if self.closed:
            raise RuntimeError("the session was closed while a call waited")

    def _start(
        self, seconds: float, sleeper: asyncio.Future[None], loop: asyncio.AbstractEventLoop
    ) -> asyncio.TimerHandle | asyncio.Task[None]:
        if not self._has_own_sleep:
            return loop.call_later(seconds, resolve, sleeper)
        nap = loop.create_task(self._clock.sleep(seconds), name="connector_async wait")
        nap.add_done_callback(lambda nap: _end_with(sleeper, nap))
        return nap

    def close(self) -> None:
        """Wake all who sleep."""
        self.closed = True
        wake(self._sleepers)


def _end_with(sleeper: asyncio.Future[None], nap: "asyncio.Task[None]") -> None:
    """End a wait as the clock's own sleep has ended."""
    if sleeper.done():
        if not nap.cancelled():
            nap.exception()  # otherwise asyncio reports that nobody retrieved it
    elif nap.cancelled():
        sleeper.set_exception(RuntimeError("the clock cancelled its own sleep"))
    elif (error := nap.exception()) is not None:
        sleeper.set_exception(error)
    else:
        sleeper.set_result(None)
