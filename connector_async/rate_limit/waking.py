"""Futures that are resolved from any thread, for calls that wait in any event loop."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress


def wake(sleepers: Iterable[asyncio.Future[None]]) -> None:
    """Resolve each future in its own event loop; one whose loop is closed is left as it is."""
    for sleeper in list(sleepers):
        with suppress(RuntimeError):  # the loop is closed
            sleeper.get_loop().call_soon_threadsafe(resolve, sleeper)


def resolve(sleeper: asyncio.Future[None]) -> None:
    """Resolve a future, unless it is done."""
    if not sleeper.done():
        sleeper.set_result(None)
