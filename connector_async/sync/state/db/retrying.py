"""Repetition of transactions that a restart of PostgreSQL, or another transaction, has ended."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast

from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from connector_async.sync.exceptions import StateUnavailableError

from .errors import CommitLostError

_F = TypeVar("_F", bound=Callable[..., Coroutine[Any, Any, Any]])

_LONGEST: Final = 60.0  # seconds from the first failure on; a restart of PostgreSQL takes a few


def repeatable(function: _F) -> _F:
    """Decorate a function that is called again, for up to a minute, while the database is not available.

    It must read or write one transaction and do nothing else, and doing so twice must be the same as once: the first
    transaction may have been committed although its result was lost.
    """
    return _repeating(function, lambda error: isinstance(error, StateUnavailableError))


def repeatable_once(function: _F) -> _F:
    """Decorate a function as `repeatable` does, if doing it twice is not the same: nothing may have been committed."""
    return _repeating(
        function, lambda error: isinstance(error, StateUnavailableError) and not isinstance(error, CommitLostError)
    )


def _repeating(function: _F, is_repeated: Callable[[BaseException], bool]) -> _F:
    @functools.wraps(function)
    async def repeated(*args: Any, **kwargs: Any) -> Any:
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

    return cast("_F", repeated)
