"""The walk over pages, whatever it is that fetches them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import attrs
import orjson

from connector_async._checks import check_text
from connector_async.exceptions import ConnectorError, PaginationError
from connector_async.protocol import reduced

T = TypeVar("T")

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """The items of one answer, in the server's order."""

    items: Sequence[T]
    """What the page holds; it may be empty, and others may follow all the same."""
    continuation_token: str | None = None
    """What the next page is asked for by: an opaque text. `None`: this is the last one."""
    raw: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)
    """The headers of the answer; their names are matched without regard to case."""
    fingerprint: int | None = attrs.field(default=None, repr=False)
    """Equal for pages of the same items; `None`: it cannot be told. By it a server is found out that gives the same
    page whatever it is asked for."""
    problems: tuple[str, ...] = ()
    """Path and rule of what is wrong with the skipped items, with their ids as far as they have one: the first twenty.
    Empty unless items are skipped on request."""
    skipped: int = 0
    """How many items were left out because they are invalid."""

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)


class AsyncPager(Generic[T]):
    """Items on demand: `async for item in pager`, or `async for page in pager.pages()`.

    Nothing is sent before the first item is asked for, and each walk sends anew. No connection is held between pages.
    An error of the `ConnectorError` tree carries the `continuation_token` of the page that it kept from coming, from
    which `pages` goes on exactly; `None` is the first page.

    Args:
        fetch: Returns the page that a token is for; `None` is for the first one.
        prefetch: How many pages are fetched while the caller works on one: 0 or 1. `last_call` does not tell of those
            that are fetched ahead.

    Raises:
        ValueError: `prefetch` is another number.
        TypeError: `prefetch` is no int, or `fetch` cannot be called.
    """

    def __init__(self, fetch: Callable[[str | None], Awaitable[Page[T]]], *, prefetch: int = 0) -> None:
        if not callable(fetch):
            raise TypeError(f"fetch must be callable, not {type(fetch).__name__}")
        if isinstance(prefetch, bool) or not isinstance(prefetch, int):
            raise TypeError(f"prefetch must be an int, not {type(prefetch).__name__}")
        if prefetch not in {0, 1}:
            raise ValueError("prefetch must be 0 or 1")
        self._fetch = fetch
        self._prefetch = prefetch

    async def pages(self, *, continuation_token: str | None = None) -> AsyncGenerator[Page[T], None]:
        """Yield the pages, from the one that the token is for.

        Args:
            continuation_token: That of a page, or of an error; `None`: from the first page.

        Raises:
            PaginationError: The server gave a token for the second time, so that the walk would never end, and the
                page that it came with has been yielded; or it gave the same page twice in a row, whatever it was
                asked for; or the next page is where nothing is sent.
            ConnectorError: What the fetch raises.
            ValueError: The token is none that the server gave.
            TypeError: It is no text.
        """
        if continuation_token is not None:
            check_text("continuation_token", continuation_token)
        token, ahead, fingerprint = continuation_token, None, None
        seen = {token}
        try:
            while True:
                page = await (self._fetch_one(token) if ahead is None else ahead)
                if page.fingerprint is not None and page.fingerprint == fingerprint:
                    raise PaginationError("the server gave the same page twice", continuation_token=token)
                token, fingerprint = page.continuation_token, page.fingerprint
                fetches_ahead = self._prefetch and token is not None and token not in seen
                ahead = asyncio.create_task(self._fetch_one(token)) if fetches_ahead else None
                yield page
                if token is None:
                    return
                if token in seen:
                    raise PaginationError("the server gave the same continuation token twice", continuation_token=token)
                seen.add(token)
        finally:
            if ahead is not None:
                await _discard(ahead)

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for item in page.items:
                    yield item

    async def first(self) -> T | None:
        """Return the first item, or `None` when there is none; no page after it is asked for but those ahead.

        Raises:
            ConnectorError: What the fetch raises.
        """
        for item in await self.collect(limit=1):
            return item
        return None

    async def collect(self, *, limit: int | None = None) -> list[T]:
        """Return the items in a list, `limit` at most; no page after those is asked for but those ahead.

        Raises:
            ConnectorError: What the fetch raises.
            ValueError: `limit` is negative.
            TypeError: `limit` is no int.
        """
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
            raise TypeError(f"limit must be an int or None, not {type(limit).__name__}")
        if limit is not None and limit < 0:
            raise ValueError("limit must be zero or more")
        items: list[T] = []
        if limit == 0:
            return items
        async with aclosing(self.__aiter__()) as walk:
            async for item in walk:
                items.append(item)
                if len(items) == limit:
                    break
        return items

    async def _fetch_one(self, token: str | None) -> Page[T]:
        try:
            return await self._fetch(token)
        except ConnectorError as error:
            error.continuation_token = token
            raise


def fingerprint_of(items: Sequence[Any]) -> int | None:
    """Return a hash that is equal for equal items, as JSON has them; `None` when they are too deep to tell."""
    try:
        return hash(orjson.dumps(items))
    except TypeError:  # deeper than 254 levels, or an integer beyond 64 bits
        pass
    try:
        return hash(json.dumps(items))
    except (RecursionError, TypeError, ValueError):
        return None


async def _discard(ahead: "asyncio.Task[Page[T]]") -> None:
    ahead.cancel()
    await asyncio.wait([ahead])
    if not ahead.cancelled():
        ahead.exception()  # asked for, so that asyncio does not report it as never retrieved
