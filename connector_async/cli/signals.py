"""Ends a run by signals: in order at the first, at once at the second, or when the first has not been enough."""

import asyncio
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from connector_async.sync.budget import Budget

from .exit_codes import ExitCode
from .messages import tell

T = TypeVar("T")

_CODES: Final = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


async def stoppable(
    work: Coroutine[Any, Any, T], budget: Budget, *, patience: float
) -> tuple[T | None, ExitCode | None]:
    """Do `work`, and let SIGINT and SIGTERM end it.

    Args:
        work: Begins nothing more once `budget` says so.
        budget: Stopped by the first signal.
        patience: Seconds that the work may take from then on, before it is cut off; a second signal cuts it off, too.

    Returns:
        What the work returned, `None` if it was cut off; and the status of the first signal, `None` if there was none.
    """
    task = asyncio.ensure_future(work)
    stop = _Stop(task, budget, patience)
    with stop.listening():
        try:
            return await task, stop.code
        except asyncio.CancelledError:
            if stop.code is None:
                raise
            return None, stop.code


class _Stop:
    def __init__(self, task: "asyncio.Task[Any]", budget: Budget, patience: float) -> None:
        self.code: ExitCode | None = None
        self._task = task
        self._budget = budget
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._last_moment: asyncio.TimerHandle | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in _CODES}
        for number in _CODES:
            self._loop.add_signal_handler(number, self._hear, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                self._loop.remove_signal_handler(number)  # which would leave the default one
                signal.signal(number, handler)
            if self._last_moment is not None:
                self._last_moment.cancel()

    def _hear(self, number: signal.Signals) -> None:
        if self.code is not None:
            self._task.cancel()
            return
        self.code = _CODES[number]
        self._budget.stop()
        self._last_moment = self._loop.call_later(self._patience, self._task.cancel)
        tell(sys.stderr, "stopping: what is under way is finished first; a second signal cuts it off")
