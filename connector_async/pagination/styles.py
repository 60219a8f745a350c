"""How a server pages: what asks it for a page, and where its answer says which is next. Nothing here sends or decodes.

The API documents none (contract, open point 3), so that the style is a guess until somebody names it. A guess that is
wrong is an error, never a list that is too short.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from connector_async.exceptions import DecodingError


@runtime_checkable
class PagingStyle(Protocol):
    """One way of paging."""

    def parameters(self, token: str | None) -> Mapping[str, str]:
        """Return the query's parameters that ask for the page of a token; `None` is the first one.

        Raises:
            ValueError: The token is none of this style.
        """
        ...

    def read(self, body: Any, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items of an answer, as JSON has them, and the next page's token, `None` after the last one.

        Args:
            body: The answer to `parameters(token)`, parsed.
            token: Of the page that it is.

        Raises:
            DecodingError: It is no answer of this style.
        """
        ...


@attrs.frozen
class OnePage:
    """An array with all there is, as the guide's preview is."""

    def parameters(self, token: str | None) -> Mapping[str, str]:
        """Return none: there is no other page."""
        if token is not None:
            raise _foreign_token()
        return {}

    def read(self, body: Any, token: str | None) -> tuple[list[Any], str | None]:  # noqa: ARG002 - the protocol's
        """Return the items, and that there are no more."""
        if not isinstance(body, list):
            raise _malformed("$: not an array")
        return body, None


@attrs.frozen(kw_only=True)
class CursorPaging:
    """An object with the items and an opaque text, the cursor, which asks for the next page."""

    items: str = "items"
    """The key of the items."""
    cursor: str = "nextCursor"
    """The key of the next page's cursor; missing, `null` or empty after the last page."""
    parameter: str = "cursor"
    """The query's parameter that takes a cursor."""

    def parameters(self, token: str | None) -> Mapping[str, str]:
        """Return the cursor; none for the first page."""
        return {} if token is None else {self.parameter: token}

    def read(self, body: Any, token: str | None) -> tuple[list[Any], str | None]:  # noqa: ARG002 - the protocol's
        """Return the items, and the next cursor."""
        items = _items(body, self.items)
        cursor = body.get(self.cursor)
        if cursor is not None and not isinstance(cursor, str):
            raise _malformed(f"$.{self.cursor}: neither a string nor null")
        return items, cursor or None


@attrs.frozen(kw_only=True)
class PageNumbers:
    """Pages with numbers. The last one is the first without items, or the one that the answer says is the last."""

    parameter: str = "page"
    """The query's parameter that takes a number."""
    first: int = 1
    """The number of the first page."""
    items: str | None = "items"
    """The key of the items; `None`: the answer is their array."""
    page: str | None = None
    """The key of the page's own number, which must be the one that was asked for; `None`: it tells none."""
    total_pages: str | None = None
    """The key of the number of pages; `None`: it tells none, and one request more finds out."""

    def parameters(self, token: str | None) -> Mapping[str, str]:
        """Return the page's number."""
        return {self.parameter: str(self._number(token))}

    def read(self, body: Any, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and the next number."""
        number = self._number(token)
        items = _items(body, self.items)
        if self.page is not None and _count(body, self.page) != number:
            raise _malformed(f"$.{self.page}: not the page that was asked for")
        walked = number - self.first + 1
        ends = not items if self.total_pages is None else walked >= _count(body, self.total_pages)
        return items, None if ends else str(number + 1)

    def _number(self, token: str | None) -> int:
        return self.first if token is None else _number_of(token)


@attrs.frozen(kw_only=True)
class OffsetLimit:
    """So many items from an offset on. A page that is short is not taken for the last: a server may give fewer."""

    limit: int = 100
    """Items for a page."""
    offset_parameter: str = "offset"
    """The query's parameter that takes the number of items before the page."""
    limit_parameter: str = "limit"
    """The query's parameter that takes the limit."""
    items: str | None = "items"
    """The key of the items; `None`: the answer is their array."""
    total: str | None = None
    """The key of the number of all items; `None`: it tells none, and one request more finds out."""

    def parameters(self, token: str | None) -> Mapping[str, str]:
        """Return the offset and the limit."""
        return {self.offset_parameter: str(self._offset(token)), self.limit_parameter: str(self.limit)}

    def read(self, body: Any, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and the offset behind them."""
        items = _items(body, self.items)
        behind = self._offset(token) + len(items)
        ends = not items if self.total is None else behind >= _count(body, self.total)
        if ends or items:
            return items, None if ends else str(behind)
        raise _malformed(f"$.{self.total}: more than there is")

    def _offset(self, token: str | None) -> int:
        return 0 if token is None else _number_of(token)


_ITEM_KEYS: Final = ("items", "data", "value", "results", "appointments")
_CURSOR_PARAMETERS: Final = {
    "continuationToken": "continuationToken",
    "nextCursor": "cursor",
    "nextPageToken": "pageToken",
    "nextToken": "nextToken",
}
_UNREADABLE: Final = ("@odata.nextLink", "nextLink", "next", "hasMore", "hasNext", "offset")


@attrs.frozen
class RecognizedPaging:
    """An array, or an envelope of a common form: items with a cursor, or with page numbers.

    An envelope that says that there is more, and not how to ask for it in a way that is known here, is an error.
    """

    def parameters(self, token: str | None) -> Mapping[str, str]:
        """Return the cursor or the page's number, by the name that the answer before suggested."""
        if token is None:
            return {}
        name, separator, value = token.partition("=")
        if not separator or name not in {"page", *_CURSOR_PARAMETERS.values()}:
            raise _foreign_token()
        return {name: value}

    def read(self, body: Any, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and what asks for the next page."""
        if isinstance(body, list) and token is None:
            return body, None
        keys = [key for key in _ITEM_KEYS if isinstance(body, dict) and isinstance(body.get(key), list)]
        if not isinstance(body, dict) or len(keys) != 1:
            raise _malformed("$: neither an array nor an envelope that is known; name its paging style")
        for key, parameter in _CURSOR_PARAMETERS.items():
            if key in body:
                items, cursor = CursorPaging(items=keys[0], cursor=key, parameter=parameter).read(body, None)
                return items, None if cursor is None else f"{parameter}={cursor}"
        if "totalPages" in body:
            style = PageNumbers(items=keys[0], page="page" if "page" in body else None, total_pages="totalPages")
            name, _, number = (token or "page=1").partition("=")
            if name != "page":
                raise _malformed("$: pages with numbers after a cursor")
            items, following = style.read(body, number)
            return items, None if following is None else f"page={following}"
        return self._read_last(body, keys[0], is_whole=token is None)

    def _read_last(self, body: Mapping[str, Any], key: str, *, is_whole: bool) -> tuple[list[Any], str | None]:
        """Return the items of an envelope that says nothing of a further page."""
        for hint in _UNREADABLE:
            if body.get(hint) not in (None, False, "", 0):
                raise _malformed(
                    f"$.{hint}: there may be more pages than are known how to ask for; name the paging style"
                )
        items: list[Any] = body[key]
        for total in ("total", "totalCount", "@odata.count", "count"):
            if is_whole and isinstance(body.get(total), int) and body[total] > len(items):
                raise _malformed(f"$.{total}: there is more than the items; name the paging style")
        return items, None


def _items(body: Any, key: str | None) -> list[Any]:
    items = body if key is None else body.get(key) if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise _malformed("$: not an array" if key is None else f"$.{key}: not an array")
    return items


def _count(body: Any, key: str) -> int:
    value = body.get(key) if isinstance(body, dict) else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _malformed(f"$.{key}: not an integer")
    return value


def _number_of(token: str) -> int:
    if not (token.isascii() and token.isdigit() and len(token) < 20):
        raise _foreign_token()
    return int(token)


def _malformed(problem: str) -> DecodingError:
    return DecodingError("the page is not of the paging style", problems=[problem])


def _foreign_token() -> ValueError:
    return ValueError("continuation_token must be one that this server gave")
