"""What stores on a server share: a client in each event loop, retries while the server restarts, and one error."""

import asyncio
import copy
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

POOL_SIZE: Final = 2
"""Connections of a store in each event loop. A grant takes less than a millisecond."""

TIMEOUT: Final = 10.0
"""Seconds for one operation of a store, long enough for a restart of its server."""

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class PerLoop(Generic[T]):
    """An object for each event loop.

    Args:
        open: Returns a new object. It does no I/O.
        close: Closes an object in its own event loop.
    """

    def __init__(self, open: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:  # noqa: A002
        self._open = open
        self._close = close
        self._opened: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]] = {}
        self.closed = False

    async def get(self) -> T:
        """Return the object of the running event loop.

        Raises:
            RuntimeError: If the store is closed.
        """
        if self.closed:
            raise RuntimeError("the store is closed")
        loop = asyncio.get_running_loop()
        found = self._opened.get(loop)
        if found is None:
            for closed_loop in [other for other in list(self._opened) if other.is_closed()]:
                self._opened.pop(closed_loop, None)  # it was closed without `shutdown_asyncgens`
            opened = self._open()
            guard = self._close_on_shutdown(loop, opened)
            found = self._opened[loop] = opened, guard
            await anext(guard)  # registers it with the loop
        return found[0]

    async def _close_on_shutdown(self, loop: asyncio.AbstractEventLoop, opened: T) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._opened.pop(loop, None)
            await self._close(opened)

    async def aclose(self) -> None:
        """Close the object of the running event loop. Other loops close theirs when they shut down."""
        self.closed = True
        found = self._opened.get(asyncio.get_running_loop())
        if found is not None:
            await found[1].aclose()


async def call_store(
    operation: Callable[[], Awaitable[T]],
    *,
    seconds: float,
    errors: type[Exception],
    is_transient: Callable[[Exception], bool],
    name: str,
    raises: Callable[[str], Exception],
) -> T:
    """Return the result of an operation, which is repeated after transient errors.

    An operation may be repeated after it was done and its result was lost, so that this must be harmless.

    Args:
        operation: Makes one attempt.
        seconds: How long to try.
        errors: The class of the errors of the server's client.
        is_transient: Returns whether another attempt may succeed.
        name: What the message calls the store.
        raises: Returns the error for a message.

    Raises:
        Exception: The one of `raises`, if it fails otherwise or takes longer. `__cause__` is that of the last attempt.
    """
    failed: Exception | None = None
    pause = _FIRST_PAUSE
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await operation()
                except errors as error:
                    failed = error
                if not is_transient(failed):
                    break
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - not used for secrets
                pause = min(2 * pause, _LONGEST_PAUSE)
        message = f"{name} failed"
    except TimeoutError:
        message = f"{name} did not respond in {seconds:g} seconds"
    reason = "" if failed is None else f" ({type(failed).__name__})"
    # A copy has neither the frames of the client nor, with psycopg, the connection with its password.
    failed = copy.copy(failed)
    raise raises(message + reason) from failed
