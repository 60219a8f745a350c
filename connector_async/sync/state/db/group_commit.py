"""Commits what several tasks write at the same time as one, since a commit costs more than what is written in it.

It knows no database.
"""

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final, Generic, TypeVar

import attrs

T = TypeVar("T")

_AT_A_TIME: Final = 100


@attrs.frozen(eq=False)
class _Write(Generic[T]):
    body: Callable[[T], Awaitable[None]]
    committed: asyncio.Future[None]


class GroupCommit(Generic[T]):
    """Writes for one event loop.

    Args:
        begin: Begins a transaction, which is committed at the end of the context and rolled back on an error.
    """

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._begin = begin
        self._waiting: deque[_Write[T]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def write(self, body: Callable[[T], Awaitable[None]]) -> None:
        """Let `body` write in a transaction, and return when that is committed.

        It may be called anew when the transaction fails that it was in together with others, and it is not cancelled
        with the task that awaits it.

        Raises:
            Exception: What `body`, the beginning or the commit has raised; then nothing of it was written.
        """
        write = _Write(body, asyncio.get_running_loop().create_future())
        self._waiting.append(write)
        if self._writer is None:
            self._writer = asyncio.create_task(self._work(), name="connector_async group commit")
        await write.committed

    async def finish(self) -> None:
        """Wait until everything is committed that was to be written."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    async def _work(self) -> None:
        group: list[_Write[T]] = []
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(_AT_A_TIME, len(self._waiting)))]
                await self._commit(group)
        finally:
            self._writer = None
            for write in (*group, *self._waiting):  # nobody will, when this was cancelled
                write.committed.cancel()

    async def _commit(self, group: list[_Write[T]]) -> None:
        wanted = [write for write in group if not write.committed.cancelled()]
        has_begun = False
        try:
            if wanted:
                async with self._begin() as transaction:
                    has_begun = True
                    for write in wanted:
                        await write.body(transaction)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to whom it concerns
            if has_begun and len(wanted) > 1:
                for write in wanted:
                    await self._commit([write])
            else:
                _settle(wanted, error)
        else:
            _settle(wanted, None)


def _settle(group: Iterable[_Write[T]], error: Exception | None) -> None:
    for number, write in enumerate(group):
        if write.committed.cancelled():
            continue
        if error is None:
            write.committed.set_result(None)
        else:
            # Each task that raises it adds to its traceback.
            write.committed.set_exception(copy.copy(error) if number else error)
