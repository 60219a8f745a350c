"""The two classes of a tenant's calls, and the queue that keeps bulk calls behind interactive ones.

The class of a call is taken from its context.
"""

import asyncio
import enum
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Priority(enum.Enum):
    """The class of a call under the rate limit of its tenant."""

    INTERACTIVE = "interactive"
    """Somebody waits for the response. The call reserves the next slot at once. Its default deadline is 60 seconds."""
    BULK = "bulk"
    """One of many calls. Of those that wait in one event loop, only the first holds a slot. By default it has no
    deadline."""


priority: ContextVar[Priority] = ContextVar("connector_async.priority", default=Priority.INTERACTIVE)
"""The class of the calls of this context. `bulk()`, the `*_many` operations and the sync make their calls with
`Priority.BULK`."""


@contextmanager
def bulk_priority() -> Iterator[None]:
    """Give the calls in the body `Priority.BULK`."""
    token = priority.set(Priority.BULK)
    try:
        yield
    finally:
        priority.reset(token)


class BulkQueue:
    """The bulk calls of one tenant that wait for a slot, first in, first out. Only the head may reserve one.

    Each event loop has a queue of its own, so that a loop that stops or is closed never blocks another one. An empty
    queue is not kept.
    """

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: dict[asyncio.AbstractEventLoop, OrderedDict[asyncio.Future[None], None]] = {}
        """The calls behind the head, by event loop. An event loop is a key while a call is at the head."""

    def length(self) -> int:
        """Return the number of calls in the queue of the running event loop, the head included."""
        waiting = self.waiting.get(asyncio.get_running_loop())
        return 0 if waiting is None else len(waiting) + 1

    async def enter(self, max_wait: float | None) -> None:
        """Wait until this call is the head. It stays the head until `leave` is called.

        Raises:
            TimeoutError: If it is not the head after `max_wait` seconds. `None` is no limit.
        """
        loop = asyncio.get_running_loop()
        waiting = self.waiting.get(loop)
        if waiting is None:
            for closed in [other for other in list(self.waiting) if other.is_closed()]:
                self.waiting.pop(closed, None)
            self.waiting[loop] = OrderedDict()
            return
        call: asyncio.Future[None] = loop.create_future()
        waiting[call] = None
        try:
            async with asyncio.timeout(max_wait):
                await call
        except BaseException:
            if waiting.pop(call, call) is call and not call.cancelled():  # it became the head meanwhile
                self.leave(loop)
            raise

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make the next call the head."""
        waiting = self.waiting.get(loop)
        while waiting:
            call, _ = waiting.popitem(last=False)
            if not call.done():
                call.set_result(None)
                return
        self.waiting.pop(loop, None)
