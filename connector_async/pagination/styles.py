"""Styles that ask for a page by parameters of the query: a cursor, a number, an offset; and the one without pages.

The API documents none (contract, open point 3), so that the style is a guess until somebody names it. A guess that is
wrong is an error, never a list that is too short.
"""

from typing import Any

import attrs

from .base import (
    PageRequest,
    PageResponse,
    check_key,
    check_key_or_none,
    count_of,
    foreign_token,
    items_of,
    malformed,
)
from .completeness import check_last
from .links import next_link


def _is_int_from(least: int) -> Any:
    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{field.name} must be an int, not {type(value).__name__}")
        if value < least:
            raise ValueError(f"{field.name} must be {least} or more")

    return check


@attrs.frozen(kw_only=True)
class OnePage:
    """All there is in one response: an array, as the guide's preview is, or an object that has it.

    Raises:
        ValueError: `items` is empty, or not printable.
        TypeError: `items` is neither a str nor `None`.
    """

    items: str | None = attrs.field(default=None, validator=check_key_or_none)
    """The key of the items; `None`: the answer is their array."""

    def request(self, token: str | None) -> PageRequest:
        """Return none: there is no other page."""
        if token is not None:
            raise foreign_token()
        return PageRequest()

    def read(self, answer: PageResponse, token: str | None) -> tuple[list[Any], str | None]:  # noqa: ARG002 - the protocol's
        """Return the items, and that there are no more."""
        items = items_of(answer.body, self.items)
        if next_link(answer.headers) is not None:
            raise malformed("Link: there is a next page")
        check_last(answer, items, self.items, is_first=True)
        return items, None


@attrs.frozen(kw_only=True)
class CursorPaging:
    """An object with the items and an opaque text, the cursor, which asks for the next page.

    Raises:
        ValueError: A field is out of its range; the message names it.
        TypeError: A field is of another type; the message names it.
    """

    items: str = attrs.field(default="items", validator=check_key)
    """The key of the items."""
    cursor: str = attrs.field(default="nextCursor", validator=check_key)
    """The key of the next page's cursor; missing, `null` or empty after the last page."""
    parameter: str = attrs.field(default="cursor", validator=check_key)
    """The query's parameter that takes a cursor."""

    def request(self, token: str | None) -> PageRequest:
        """Return the cursor; none for the first page."""
        return PageRequest() if token is None else PageRequest(parameters={self.parameter: token})

    def read(self, answer: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and the next cursor."""
        items = items_of(answer.body, self.items)
        cursor = answer.body.get(self.cursor)
        if cursor is not None and not isinstance(cursor, str):
            raise malformed(f"$.{self.cursor}: neither a string nor null")
        if not cursor:
            check_last(answer, items, self.items, is_first=token is None)
        return items, cursor or None


@attrs.frozen(kw_only=True)
class PageNumbers:
    """Pages with numbers. The last one is the first without items, or the one that the answer says is the last.

    Raises:
        ValueError: A field is out of its range; the message names it.
        TypeError: A field is of another type; the message names it.
    """

    parameter: str = attrs.field(default="page", validator=check_key)
    """The query's parameter that takes a number."""
    first: int = attrs.field(default=1, validator=_is_int_from(0))
    """The number of the first page."""
    items: str | None = attrs.field(default="items", validator=check_key_or_none)
    """The key of the items; `None`: the answer is their array."""
    page: str | None = attrs.field(default=None, validator=check_key_or_none)
    """The key of the page's own number, which must be the one that was asked for; `None`: it tells none."""
    total_pages: str | None = attrs.field(default=None, validator=check_key_or_none)
    """The key of the number of pages; `None`: it tells none, and one request more finds out."""

    def request(self, token: str | None) -> PageRequest:
        """Return the page's number."""
        return PageRequest(parameters={self.parameter: str(self._number(token))})

    def read(self, answer: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and the next number."""
        number = self._number(token)
        items = items_of(answer.body, self.items)
        if self.page is not None and count_of(answer.body, self.page) != number:
            raise malformed(f"$.{self.page}: not the page that was asked for")
        if self.total_pages is None and not items:
            check_last(answer, items, self.items, is_first=token is None)
        walked = number - self.first + 1
        ends = not items if self.total_pages is None else walked >= count_of(answer.body, self.total_pages)
        return items, None if ends else str(number + 1)

    def _number(self, token: str | None) -> int:
        return self.first if token is None else _number_of(token)


@attrs.frozen(kw_only=True)
class OffsetLimit:
    """So many items from an offset on. A page that is short is not taken for the last: a server may give fewer.

    Raises:
        ValueError: A field is out of its range; the message names it.
        TypeError: A field is of another type; the message names it.
    """

    limit: int = attrs.field(default=100, validator=_is_int_from(1))
    """Items for a page."""
    offset_parameter: str = attrs.field(default="offset", validator=check_key)
    """The query's parameter that takes the number of items before the page."""
    limit_parameter: str = attrs.field(default="limit", validator=check_key)
    """The query's parameter that takes the limit."""
    items: str | None = attrs.field(default="items", validator=check_key_or_none)
    """The key of the items; `None`: the answer is their array."""
    total: str | None = attrs.field(default=None, validator=check_key_or_none)
    """The key of the number of all items; `None`: it tells none, and one request more finds out."""

    def request(self, token: str | None) -> PageRequest:
        """Return the offset and the limit."""
        return PageRequest(
            parameters={self.offset_parameter: str(self._offset(token)), self.limit_parameter: str(self.limit)}
        )

    def read(self, answer: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and the offset behind them."""
        items = items_of(answer.body, self.items)
        if self.total is None and not items:
            check_last(answer, items, self.items, is_first=token is None)
        behind = self._offset(token) + len(items)
        ends = not items if self.total is None else behind >= count_of(answer.body, self.total)
        if ends or items:
            return items, None if ends else str(behind)
        raise malformed(f"$.{self.total}: more than there is")

    def _offset(self, token: str | None) -> int:
        return 0 if token is None else _number_of(token)


def _number_of(token: str) -> int:
    if not (token.isascii() and token.isdigit() and len(token) < 20):
        raise foreign_token()
    return int(token)
