"""Group commit: writes of several tasks in one transaction, since a commit costs more than the writes in it.

This module knows no database.
"""

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final, Generic, TypeVar

import attrs

T = TypeVar("T")

_GROUP_SIZE: Final = 100


@attrs.frozen(eq=False)
class _Write(Generic[T]):
    body: Callable[[T], Awaitable[None]]
    committed: asyncio.Future[None]


class GroupCommit(Generic[T]):
    """Commits writes in groups, for the tasks of one event loop.

    Args:
        begin: Starts a transaction: a context manager that commits at the end, and rolls back on an error.
    """

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._begin = begin
        self._waiting: deque[_Write[T]] = deque()
        self._committer: asyncio.Task[None] | None = None

    async def write(self, body: Callable[[T], Awaitable[None]]) -> None:
        """Call `body` in a transaction, and return when the transaction is committed.

        If the transaction of a group fails, each of its writes is called again in a transaction of its own. A write is
        not cancelled when the task that waits for it is.

        Raises:
            Exception: The error of `body`, of the start or of the commit. Nothing of this write was written.
        """
        write = _Write(body, asyncio.get_running_loop().create_future())
        self._waiting.append(write)
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_all(), name="connector_async group commit")
        await write.committed

    async def finish(self) -> None:
        """Wait until all writes are committed or have failed."""
        if self._committer is not None:
            await asyncio.wait([self._committer])

    async def _commit_all(self) -> None:
        group: list[_Write[T]] = []
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(_GROUP_SIZE, len(self._waiting)))]
                await self._commit(group)
        finally:
            self._committer = None
            for write in (*group, *self._waiting):  # only if this task was cancelled: nobody else will set them
                write.committed.cancel()

    async def _commit(self, group: list[_Write[T]]) -> None:
        wanted = [write for write in group if not write.committed.cancelled()]
        has_transaction = False
        try:
            if wanted:
                async with self._begin() as transaction:
                    has_transaction = True
                    for write in wanted:
                        await write.body(transaction)
        except Exception as error:  # noqa: BLE001 - passed on to each task that waits
            if has_transaction and len(wanted) > 1:
                for write in wanted:
                    await self._commit([write])
            else:
                _set_results(wanted, error)
        else:
            _set_results(wanted, None)


def _set_results(group: Iterable[_Write[T]], error: Exception | None) -> None:
    for number, write in enumerate(group):
        if write.committed.cancelled():
            continue
        if error is None:
            write.committed.set_result(None)
        else:
            # Copied, since each task that raises an error adds to its traceback.
            write.committed.set_exception(copy.copy(error) if number else error)
