"""An event loop whose time jumps to the next timer whenever no I/O is under way, and the clock that reads it."""

import asyncio
import selectors

from connector_async import Clock

# Real seconds in which whatever is on its way over the loopback, or in a thread, must have arrived. It takes longer on
# a busy machine. Since a far timer is seldom what happens next, a far jump is put off for longer.
_QUIET = 0.004
_QUIET_AT_MOST = 0.05


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(min(timeout, _QUIET * max(1.0, timeout), _QUIET_AT_MOST))
        if not ready:
            self.skipped += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 0, and stands still but for the jumps."""

    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped


class LoopClock(Clock):
    """The running loop's time; what it draws is `draw`."""

    def __init__(self, draw: float = 1.0) -> None:
        self.draw = draw

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return 1_700_000_000.0 + asyncio.get_running_loop().time()

    def random(self) -> float:
        return self.draw
