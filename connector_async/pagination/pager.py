"""`AsyncPager`: the walk over pages. It receives the function that fetches a page and knows nothing of HTTP."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import attrs
import orjson

from connector_async._checks import check_int, check_text
from connector_async.exceptions import ConnectorError, InvalidArgumentError, PaginationError
from connector_async.protocol import reduced

T = TypeVar("T")

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """The items of one response, in the server's order."""

    items: Sequence[T]
    """The items. A page may be empty although others follow."""
    continuation_token: str | None = None
    """An opaque string that requests the next page. `None`: this is the last page."""
    raw: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)
    """The headers of the response. Names are matched without regard to case."""
    fingerprint: int | None = attrs.field(default=None, repr=False)
    """Equal for pages with the same items; the pager uses it to detect a server that ignores the token. `None`:
    unknown."""
    problems: tuple[str, ...] = ()
    """Path and rule of the first twenty faults of skipped items, with the item's id where it has one. Empty unless
    `on_invalid="skip"`."""
    skipped: int = 0
    """How many invalid items were left out."""

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)


class AsyncPager(Generic[T]):
    """The items of all pages, fetched on demand.

    Use `async for item in pager`, or `async for page in pager.pages()`. Nothing is sent before the first item or page
    is requested, each walk sends its own requests, and no connection is held between pages. A `ConnectorError` has the
    `continuation_token` of the page that failed, so that `pages` can resume there; `None` is the first page.

    Args:
        fetch: Returns the page of a token; `None` is the first page.
        prefetch: How many pages to fetch ahead while the caller works on one, 0 or 1. `last_call` does not describe
            calls that fetch ahead.

    Raises:
        ValueError: If `prefetch` is not 0 or 1.
        TypeError: If `prefetch` is not an int, or `fetch` is not callable.
    """

    def __init__(self, fetch: Callable[[str | None], Awaitable[Page[T]]], *, prefetch: int = 0) -> None:
        if not callable(fetch):
            raise TypeError(f"fetch must be callable, not {type(fetch).__name__}")
        if check_int("prefetch", prefetch, minimum=0) > 1:
            raise InvalidArgumentError("prefetch must be 0 or 1", argument="prefetch")
        self._fetch = fetch
        self._prefetch = prefetch

    async def pages(self, *, continuation_token: str | None = None) -> AsyncGenerator[Page[T], None]:
        """Yield the pages, starting with the page of a token.

        Args:
            continuation_token: The token of a page or of an error. `None`: start with the first page.

        Raises:
            PaginationError: If a continuation token repeats (raised after its page is yielded), if two pages in a row
                have the same items, or if the next page has another origin or path.
            ConnectorError: If a fetch fails.
            ValueError: If no page of the paging style has such a token.
            TypeError: If `continuation_token` is not a str.
        """
        if continuation_token is not None:
            check_text("continuation_token", continuation_token)
        token, ahead, fingerprint = continuation_token, None, None
        seen = {token}
        try:
            while True:
                page = await (self._fetch_page(token) if ahead is None else ahead)
                if page.fingerprint is not None and page.fingerprint == fingerprint:
                    raise PaginationError("the server returned the same page twice", continuation_token=token)
                token, fingerprint = page.continuation_token, page.fingerprint
                fetch_ahead = self._prefetch and token is not None and token not in seen
                ahead = asyncio.create_task(self._fetch_page(token)) if fetch_ahead else None
                yield page
                if token is None:
                    return
                if token in seen:
                    message = "the server returned the same continuation token twice"
                    raise PaginationError(message, continuation_token=token)
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
        """Return the first item, or `None` if there are none, without fetching later pages (except by `prefetch`).

        Raises:
            ConnectorError: If a fetch fails.
        """
        for item in await self.collect(limit=1):
            return item
        return None

    async def collect(self, *, limit: int | None = None) -> list[T]:
        """Return a list of the items, at most `limit`, without fetching later pages (except by `prefetch`).

        Raises:
            ConnectorError: If a fetch fails.
            ValueError: If `limit` is negative.
            TypeError: If `limit` is not an int.
        """
        if limit is not None:
            check_int("limit", limit, minimum=0)
        items: list[T] = []
        if limit == 0:
            return items
        async with aclosing(self.__aiter__()) as walk:
            async for item in walk:
                items.append(item)
                if len(items) == limit:
                    break
        return items

    async def _fetch_page(self, token: str | None) -> Page[T]:
        try:
            return await self._fetch(token)
        except ConnectorError as error:
            error.continuation_token = token
            raise


def fingerprint_items(items: Sequence[Any]) -> int | None:
    """Return a hash that is equal for equal items (parsed JSON); `None` if they are nested too deep."""
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
        ahead.exception()  # retrieved, so that asyncio does not log it
