"""Repetition of transactions that a restart of PostgreSQL, or another transaction, has ended."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from connector_async.sync.exceptions import StateUnavailableError

from .errors import CommitLostError

_P = ParamSpec("_P")
_T = TypeVar("_T")

_LONGEST: Final = 60.0  # seconds from the first failure on; a restart of PostgreSQL takes a few


def repeatable(function: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Decorate a function that is called again, for up to a minute, while the database is not available.

    It must read or write one transaction and do nothing else, and doing so twice must be the same as once: the first
    transaction may have been committed although its result was lost.
    """
    return _repeating(function, lambda error: isinstance(error, StateUnavailableError))


def repeatable_once(function: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Decorate a function as `repeatable` does, if doing it twice is not the same: nothing may have been committed."""
    return _repeating(
        function, lambda error: isinstance(error, StateUnavailableError) and not isinstance(error, CommitLostError)
    )


def _repeating(
    function: Callable[_P, Coroutine[Any, Any, _T]], is_repeated: Callable[[BaseException], bool]
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    @functools.wraps(function)
    async def repeated(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await function(*args, **kwargs)
        except StateUnavailableError as error:
            if not is_repeated(error):
                raise
        again = AsyncRetrying(
            retry=retry_if_exception(is_repeated),
            wait=wait_random_exponential(multiplier=0.05, max=2.0),
            stop=stop_after_delay(_LONGEST),
            reraise=True,
        )
        return await again(function, *args, **kwargs)

    return repeated
