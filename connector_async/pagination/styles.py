"""Styles that request a page by query parameters (a cursor, a page number, an offset), and the style without pages.

The API documents no paging (contract, open point 3), so a style is a guess until someone names the server's style. A
wrong guess is an error, never a list that is too short.
"""

from typing import Any

import attrs

from connector_async._checks import check_int, check_text, validator

from .base import PageRequest, PageResponse, read_integer, read_items, style_mismatch, unknown_token
from .completeness import check_last
from .links import next_link


@attrs.frozen(kw_only=True)
class OnePage:
    """A server without pages: each response has all items.

    Raises:
        ValueError: If `items` is empty or not printable.
        TypeError: If `items` is neither a str nor `None`.
    """

    items: str | None = attrs.field(default=None, validator=validator(check_text, optional=True))
    """The key of the items. `None`: the body is their array."""

    def request(self, token: str | None) -> PageRequest:
        """Return an empty request; there is only the first page."""
        if token is not None:
            raise unknown_token()
        return PageRequest()

    def read(self, response: PageResponse, token: str | None) -> tuple[list[Any], None]:  # noqa: ARG002 - protocol
        """Return all items, and `None`."""
        items = read_items(response.body, self.items)
        if next_link(response.headers) is not None:
            raise style_mismatch("Link: there is a next page")
        check_last(response, items, self.items, is_first=True)
        return items, None


@attrs.frozen(kw_only=True)
class CursorPaging:
    """Each page is an object with the items and a cursor: an opaque string that requests the next page.

    Raises:
        ValueError: If a key or a name is empty or not printable.
        TypeError: If a key or a name is not a str.
    """

    items: str = attrs.field(default="items", validator=validator(check_text))
    """The key of the items."""
    cursor: str = attrs.field(default="nextCursor", validator=validator(check_text))
    """The key of the next page's cursor. Missing, `null` or empty on the last page."""
    parameter: str = attrs.field(default="cursor", validator=validator(check_text))
    """The query parameter that takes a cursor."""

    def request(self, token: str | None) -> PageRequest:
        """Return the cursor as a parameter; without one for the first page."""
        return PageRequest() if token is None else PageRequest(parameters={self.parameter: token})

    def read(self, response: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items and the next cursor."""
        items = read_items(response.body, self.items)
        cursor = response.body.get(self.cursor)
        if cursor is not None and not isinstance(cursor, str):
            raise style_mismatch(f"$.{self.cursor}: neither a string nor null")
        if not cursor:
            check_last(response, items, self.items, is_first=token is None)
        return items, cursor or None


@attrs.frozen(kw_only=True)
class PageNumbers:
    """Numbered pages. `total_pages` says which page is the last; without it, that is the first page without items.

    Raises:
        ValueError: If `first` is negative, or a key or a name is empty or not printable.
        TypeError: If a field has another type.
    """

    parameter: str = attrs.field(default="page", validator=validator(check_text))
    """The query parameter that takes a page number."""
    first: int = attrs.field(default=1, validator=validator(check_int, minimum=0))
    """The number of the first page."""
    items: str | None = attrs.field(default="items", validator=validator(check_text, optional=True))
    """The key of the items. `None`: the body is their array."""
    page: str | None = attrs.field(default=None, validator=validator(check_text, optional=True))
    """The key of the page's own number, which must equal the requested number. `None`: there is none."""
    total_pages: str | None = attrs.field(default=None, validator=validator(check_text, optional=True))
    """The key of the number of pages. `None`: there is none, and the walk needs one more request to find the end."""

    def request(self, token: str | None) -> PageRequest:
        """Return the page number as a parameter."""
        return PageRequest(parameters={self.parameter: str(self._number(token))})

    def read(self, response: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items and the next page number."""
        number = self._number(token)
        items = read_items(response.body, self.items)
        if self.page is not None and read_integer(response.body, self.page) != number:
            raise style_mismatch(f"$.{self.page}: not the requested page")
        if self.total_pages is None and not items:
            check_last(response, items, self.items, is_first=token is None)
        walked = number - self.first + 1
        is_last = not items if self.total_pages is None else walked >= read_integer(response.body, self.total_pages)
        return items, None if is_last else str(number + 1)

    def _number(self, token: str | None) -> int:
        return self.first if token is None else _parse_number(token)


@attrs.frozen(kw_only=True)
class OffsetLimit:
    """Up to `limit` items from an offset. A short page is not taken for the last: a server may send fewer items.

    Raises:
        ValueError: If `limit` is less than 1, or a key or a name is empty or not printable.
        TypeError: If a field has another type.
    """

    limit: int = attrs.field(default=100, validator=validator(check_int))
    """How many items to request for a page."""
    offset_parameter: str = attrs.field(default="offset", validator=validator(check_text))
    """The query parameter that takes the number of items before the page."""
    limit_parameter: str = attrs.field(default="limit", validator=validator(check_text))
    """The query parameter that takes the limit."""
    items: str | None = attrs.field(default="items", validator=validator(check_text, optional=True))
    """The key of the items. `None`: the body is their array."""
    total: str | None = attrs.field(default=None, validator=validator(check_text, optional=True))
    """The key of the number of all items. `None`: there is none, and the walk needs one more request to find the
    end."""

    def request(self, token: str | None) -> PageRequest:
        """Return the offset and the limit as parameters."""
        return PageRequest(
            parameters={self.offset_parameter: str(self._offset(token)), self.limit_parameter: str(self.limit)}
        )

    def read(self, response: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items and the offset of the next page."""
        items = read_items(response.body, self.items)
        if self.total is None and not items:
            check_last(response, items, self.items, is_first=token is None)
        next_offset = self._offset(token) + len(items)
        is_last = not items if self.total is None else next_offset >= read_integer(response.body, self.total)
        if not is_last and not items:
            raise style_mismatch(f"$.{self.total}: more items than the pages have")
        return items, None if is_last else str(next_offset)

    def _offset(self, token: str | None) -> int:
        return 0 if token is None else _parse_number(token)


def _parse_number(token: str) -> int:
    if not (token.isascii() and token.isdigit() and len(token) < 20):
        raise unknown_token()
    return int(token)
