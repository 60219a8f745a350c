"""Stops a run on SIGINT and SIGTERM: the first lets the operations in flight end, the second cancels them."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from connector_async.sync.budget import Budget

from .exit_codes import ExitCode
from .messages import print_message

T = TypeVar("T")

_EXIT_CODES: Final = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


async def stoppable(
    run: Coroutine[Any, Any, T], budget: Budget, *, stop_timeout: float
) -> tuple[T | None, ExitCode | None]:
    """Await a run that SIGINT and SIGTERM can stop.

    Args:
        run: Starts no operation once `budget` is stopped.
        budget: The first signal stops it.
        stop_timeout: Seconds from the first signal until the run is cancelled. A second signal cancels it at once.

    Returns:
        The result of the run, or `None` if it was cancelled; and the exit code for the first signal, or `None` without
        a signal.
    """
    task = asyncio.ensure_future(run)
    stop = _Stop(task, budget, stop_timeout)
    with stop.handling_signals():
        try:
            return await task, stop.exit_code
        except asyncio.CancelledError:
            if stop.exit_code is None:
                raise
            return None, stop.exit_code


class _Stop:
    def __init__(self, task: "asyncio.Task[Any]", budget: Budget, stop_timeout: float) -> None:
        self.exit_code: ExitCode | None = None
        self._task = task
        self._budget = budget
        self._stop_timeout = stop_timeout
        self._loop = asyncio.get_running_loop()
        self._cancel_timer: asyncio.TimerHandle | None = None

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in _EXIT_CODES}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # as a shell sets for the background jobs of a script
                self._add_handler(number)
        try:
            yield
        finally:
            for number, handler in before.items():
                with suppress(NotImplementedError):
                    self._loop.remove_signal_handler(number)  # restores the default handler, not the one before
                signal.signal(number, handler)
            if self._cancel_timer is not None:
                self._cancel_timer.cancel()

    def _add_handler(self, number: signal.Signals) -> None:
        try:
            self._loop.add_signal_handler(number, self._handle, number)
        except NotImplementedError:  # on Windows; the event loop wakes for a signal there as well
            signal.signal(number, lambda _, __: self._loop.call_soon_threadsafe(self._handle, number))

    def _handle(self, number: signal.Signals) -> None:
        if self.exit_code is not None:
            self._task.cancel()
            return
        self.exit_code = _EXIT_CODES[number]
        self._budget.stop()
        self._cancel_timer = self._loop.call_later(self._stop_timeout, self._task.cancel)
        print_message("stopping after the operations in flight; a second signal cancels them")
