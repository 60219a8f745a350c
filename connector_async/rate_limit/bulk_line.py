"""`BulkLine`: of the bulk calls that wait in one event loop only one at a time goes on to reserve a slot."""

import asyncio
from collections import OrderedDict

_Waiting = OrderedDict[asyncio.Future[None], None]


class BulkLine:
    """The bulk calls of one tenant, first in, first out.

    Each event loop has a line of its own, so that a loop that stops or is closed never holds up another one. No line is
    kept when nobody is in it.
    """

    def __init__(self) -> None:
        self.waiting: dict[asyncio.AbstractEventLoop, _Waiting] = {}
        """Those behind the one at the head, by event loop; an entry means that somebody is at the head."""

    def ahead(self) -> int:
        """Return how many calls would be ahead of a new one."""
        waiting = self.waiting.get(asyncio.get_running_loop())
        return 0 if waiting is None else len(waiting) + 1

    async def enter(self, max_wait: float | None) -> None:
        """Wait for the head of the line, which `leave` gives up.

        Raises:
            TimeoutError: If that takes more than `max_wait` seconds; `None` is any number.
        """
        loop = asyncio.get_running_loop()
        waiting = self.waiting.get(loop)
        if waiting is None:
            for other in [other for other in list(self.waiting) if other.is_closed()]:
                self.waiting.pop(other, None)
            self.waiting[loop] = OrderedDict()
            return
        head: asyncio.Future[None] = loop.create_future()
        waiting[head] = None
        try:
            async with asyncio.timeout(max_wait):
                await head
        except BaseException:
            if waiting.pop(head, head) is head and not head.cancelled():  # it had come to the head meanwhile
                self.leave(loop)
            raise

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the next call in line come to the head."""
        waiting = self.waiting.get(loop)
        while waiting:
            head, _ = waiting.popitem(last=False)
            if not head.done():
                head.set_result(None)
                return
        self.waiting.pop(loop, None)
