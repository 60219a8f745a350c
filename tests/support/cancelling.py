"""Cancellation of a coroutine at each of its steps, so that a test tries all the moments at which it may come."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class _CancelledAtStep(Generator[Any, Any, Any]):
    """Runs a coroutine, and cancels the task that awaits it as soon as it waits for the `step`-th time."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], step: int) -> None:
        self._coroutine = coroutine
        self._steps_left = step

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def send(self, value: Any) -> Any:
        return self._counted(self._coroutine.send(value))

    def throw(self, *error: Any) -> Any:
        return self._counted(self._coroutine.throw(*error))

    def _counted(self, waits_for: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        if self._steps_left == 0:
            task.cancel()
        self._steps_left -= 1
        return waits_for


async def is_cancelled_at(step: int, coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Cancel a coroutine when it waits for the `step`-th time, from 0 on. Return whether it waited so often."""

    async def run() -> None:
        await _CancelledAtStep(coroutine, step)

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return task.cancelled()
