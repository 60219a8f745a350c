"""Walking what comes in pages. The fetch is handed in: nothing here knows of HTTP.

The guide's preview is a bare array, so there is one page.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import attrs

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """The items of one answer, in the server's order."""

    items: Sequence[T]
    """What the page holds; it may be empty."""


class AsyncPager(Generic[T]):
    """Items on demand: `async for item in pager`, or `async for page in pager.pages()`.

    Nothing is sent before the first item is asked for, and each walk sends anew. No connection is held between items.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Page[T]]]) -> None:
        self._fetch = fetch

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Yield the pages.

        Raises:
            ConnectorError: What the fetch raises.
        """
        yield await self._fetch()

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item
