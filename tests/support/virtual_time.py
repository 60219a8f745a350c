"""An event loop whose time jumps to the next timer when no I/O is pending, and a clock that reads it."""

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from connector_async import Clock

# Real seconds to wait for pending I/O on the loopback, or in a thread, before a jump of up to a second. A longer jump
# waits in proportion, since a far timer is seldom what happens next on a busy machine.
_WAIT_FOR_IO = 0.004
_LONGEST_WAIT_FOR_IO = 0.1
_WAIT_WHILE_BUSY = 0.5


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0
        self.is_busy: Callable[[], bool] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        longest = min(_WAIT_FOR_IO * max(1.0, timeout), _LONGEST_WAIT_FOR_IO)
        if self.is_busy is not None:
            longest = _WAIT_WHILE_BUSY if self.is_busy() else 0.0
        ready = super().select(min(timeout, longest))
        if not ready:
            self.skipped += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` starts at 0 and changes only by jumps."""

    def __init__(self) -> None:
        self._time_source = _Selector()
        super().__init__(self._time_source)

    def time(self) -> float:
        return self._time_source.skipped

    def jump_unless(self, is_busy: Callable[[], bool]) -> None:
        """Wait for I/O while `is_busy` says that some is pending, and jump at once otherwise."""
        self._time_source.is_busy = is_busy


def now() -> float:
    """Return the time of the running event loop."""
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def ticking(seconds: float = 0.1) -> AsyncIterator[None]:
    """Let time jump by so many seconds at most, where much is done in threads."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(seconds)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()


class LoopClock(Clock):
    """A clock that reads the time of the running event loop. Its random number is always `draw`."""

    def __init__(self, draw: float = 1.0) -> None:
        self.draw = draw

    def monotonic(self) -> float:
        return now()

    def time(self) -> float:
        return 1_700_000_000.0 + now()

    def random(self) -> float:
        return self.draw
