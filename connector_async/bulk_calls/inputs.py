"""Inputs from an iterable or an async iterable, for several workers at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Final, Generic, TypeVar

from connector_async._checks import check_iterable
from connector_async._clock import is_cancelled

InputT = TypeVar("InputT")


class _End:
    """The type of `_END`."""


_END: Final = _End()
_CUT_OFF: Final = "the async generator of the inputs was cancelled while it awaited the next one: the rest is unknown"


class Inputs(Generic[InputT]):
    """Returns each input once, with its index.

    Raises:
        TypeError: If `inputs` is neither an iterable nor an async iterable, or is a str or bytes.
    """

    def __init__(self, inputs: Iterable[InputT] | AsyncIterable[InputT]) -> None:
        check_iterable("inputs", inputs)
        self._iterator: Iterator[InputT] | AsyncIterator[InputT]
        self._iterator = aiter(inputs) if isinstance(inputs, AsyncIterable) else iter(inputs)
        self._lock = asyncio.Lock()
        self._count = 0
        self._ended = False
        self._cut_off = False
        self.error: Exception | None = None
        """What the iterable raised, which ended it."""

    async def take(self) -> tuple[int, InputT] | None:
        """Return the index of the next input, from 0, and the input. `None` after the last one."""
        if self._ended:
            return None
        try:
            value = await self._next()
        except StopAsyncIteration:
            self._end(_CUT_OFF if self._cut_off else None)
            return None
        except asyncio.CancelledError:
            if is_cancelled():
                # An async generator that is cancelled ends, and looks exhausted then. No other iterator does.
                self._cut_off = isinstance(self._iterator, AsyncGenerator)
                raise
            self._end("the iterable of the inputs raised a CancelledError")
            return None
        except Exception as error:  # noqa: BLE001 - raised after the last outcome
            self.error = error
            self._end(None)
            return None
        self._cut_off = False
        index = self._count
        self._count += 1
        return index, value

    async def _next(self) -> InputT:
        iterator = self._iterator
        if not isinstance(iterator, AsyncIterator):
            value = next(iterator, _END)
            if isinstance(value, _End):
                raise StopAsyncIteration  # a coroutine cannot raise StopIteration
            return value
        async with self._lock:  # an async generator rejects a second `anext` while one is running
            if self._ended:
                raise StopAsyncIteration
            return await anext(iterator)

    def _end(self, problem: str | None) -> None:
        self._ended = True
        if problem is not None and self.error is None:
            self.error = RuntimeError(problem)
