"""Waits that end when the session is closed. It knows nothing of what is waited for."""

import asyncio
import contextlib

from connector_async.deadline import Clock, check_seconds


class Naps:
    """Sleeps on a clock; closing wakes every sleeper, in whatever event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._under_way: set[asyncio.Task[None]] = set()
        self.closed = False
        """No more is slept."""

    async def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            ValueError: `seconds` is negative, or no number.
            TypeError: `seconds` is neither an int nor a float.
            RuntimeError: The session is closed, or was meanwhile.
        """
        check_seconds("seconds", seconds, finite=False)  # a NaN among the timers of a loop breaks their order
        if self.closed:
            raise RuntimeError("the session is closed")
        nap = asyncio.create_task(self._clock.sleep(seconds), name="connector_async wait")
        self._under_way.add(nap)
        try:
            await asyncio.wait([nap])
        finally:
            self._under_way.discard(nap)
            nap.cancel()
        if nap.cancelled():
            raise RuntimeError("the session was closed while a call waited")
        nap.result()

    def close(self) -> None:
        """Wake all who sleep."""
        self.closed = True
        for nap in list(self._under_way):
            with contextlib.suppress(RuntimeError):  # its loop is closed by now
                nap.get_loop().call_soon_threadsafe(nap.cancel)
