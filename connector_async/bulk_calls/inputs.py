"""Inputs one by one, from an iterable or an async iterable, for several takers at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Final, Generic, TypeVar

from connector_async._checks import check_iterable
from connector_async._clock import is_cancelled

InputT = TypeVar("InputT")


class _End:
    """Stands for the input that there is not."""


_NONE: Final = _End()
_CUT_OFF: Final = "the inputs ended when the loop was left while the next one was awaited: nobody knows what was left"


class Inputs(Generic[InputT]):
    """Hands out each input once, with its number.

    Raises:
        TypeError: If `inputs` is neither kind of iterable, or is a str or bytes.
    """

    def __init__(self, inputs: Iterable[InputT] | AsyncIterable[InputT]) -> None:
        check_iterable("inputs", inputs)
        self._iterator: Iterator[InputT] | AsyncIterator[InputT]
        self._iterator = aiter(inputs) if isinstance(inputs, AsyncIterable) else iter(inputs)
        self._turn = asyncio.Lock()
        self._taken = 0
        self._at_end = False
        self._cut_off = False
        self.error: Exception | None = None
        """What the iterable raised, which ended it."""

    async def take(self) -> tuple[int, InputT] | None:
        """Return the number of the next one, from 0, and the input itself; `None` when there is none any more."""
        if self._at_end:
            return None
        try:
            value = await self._next()
        except StopAsyncIteration:
            self._end(_CUT_OFF if self._cut_off else None)
            return None
        except asyncio.CancelledError:
            if is_cancelled():
                # It ends an async generator, which then looks as if it had come to its end; no other iterator.
                self._cut_off = isinstance(self._iterator, AsyncGenerator)
                raise
            self._end("the inputs were cancelled from within")
            return None
        except Exception as error:  # noqa: BLE001 - raised when every outcome has been taken
            self.error = error
            self._end(None)
            return None
        self._cut_off = False
        number = self._taken
        self._taken += 1
        return number, value

    async def _next(self) -> InputT:
        iterator = self._iterator
        if not isinstance(iterator, AsyncIterator):
            value = next(iterator, _NONE)
            if isinstance(value, _End):
                raise StopAsyncIteration  # a coroutine cannot raise the other one
            return value
        async with self._turn:  # an async generator cannot be asked by two
            if self._at_end:
                raise StopAsyncIteration
            return await anext(iterator)

    def _end(self, problem: str | None) -> None:
        self._at_end = True
        if problem is not None and self.error is None:
            self.error = RuntimeError(problem)
