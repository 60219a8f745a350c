"""The style that is detected from the response while nobody has named one. It knows the common forms alone.

What ends a walk is looked at closely, as `completeness` says: whatever may mean that there is more is an error.
"""

from typing import Any, Final

import attrs

from .base import PageRequest, PageResponse, foreign_token, items_of, malformed
from .completeness import check_whole
from .links import LinkHeader, NextLink, next_link, request_by_link
from .styles import CursorPaging, PageNumbers

_ITEM_KEYS: Final = ("items", "data", "value", "results", "appointments")
_CURSOR_PARAMETERS: Final = {
    "continuationToken": "continuationToken",
    "nextCursor": "cursor",
    "nextPageToken": "pageToken",
    "nextToken": "nextToken",
}
_LINK_KEYS: Final = ("@odata.nextLink", "nextLink", "next")
_PAGE_KEYS: Final = ("page", "currentPage", "pageNumber")


@attrs.frozen
class AutoDetectPaging:
    """An array, or an envelope of a common form: items with a cursor, with page numbers, or with a link to the next.

    A `Link` header is honoured beside an array. A response that may mean that there is more, without a way to ask for
    it that is known here, is an error: name the style then. That is so for `limit`, `offset`, `page` or `count` without
    a total, a status such as 206, a member that is not known, and a list beside the items.
    """

    def request(self, token: str | None) -> PageRequest:
        """Return the cursor or the number, by the name that the answer before suggested, or the query of its link."""
        name, separator, value = (token or "").partition("=")
        if token is None or token.startswith("?") or "://" in name:
            return request_by_link(token)
        if name == "page":
            return PageNumbers().request(value)
        if not separator or name not in _CURSOR_PARAMETERS.values():
            raise foreign_token()
        return PageRequest(parameters={name: value})

    def read(self, answer: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and what asks for the next page."""
        items, following = self._read(answer, token)
        if following is None:
            key = None if isinstance(answer.body, list) else _items_key(answer.body)
            check_whole(answer, items, key, page=_number(token))
        return items, following

    def _read(self, answer: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        body = answer.body
        by_link = token is None or token.startswith("?")
        if by_link and next_link(answer.headers) is not None:
            return LinkHeader(items=None if isinstance(body, list) else _items_key(body)).read(answer, token)
        if by_link and isinstance(body, list):
            return body, None
        key = _items_key(body)
        for cursor, parameter in _CURSOR_PARAMETERS.items():
            if body.get(cursor):
                items, following = CursorPaging(items=key, cursor=cursor, parameter=parameter).read(answer, None)
                return items, None if following is None else f"{parameter}={following}"
        for link in _LINK_KEYS:
            if _is_reference(body.get(link)):
                return NextLink(items=key, link=link).read(answer, token)
        numbers = [name for name in _PAGE_KEYS if name in body]
        if "totalPages" in body and numbers:
            return _read_numbered(answer, PageNumbers(items=key, page=numbers[0], total_pages="totalPages"), token)
        return items_of(body, key), None


def _items_key(body: Any) -> str:
    keys = [key for key in _ITEM_KEYS if isinstance(body, dict) and isinstance(body.get(key), list)]
    if len(keys) != 1:
        raise malformed("$: neither an array nor an envelope that is known; name its paging style")
    return keys[0]


def _is_reference(value: object) -> bool:
    """Tell a link from a cursor, a number or an object."""
    return isinstance(value, str) and ("/" in value or value.startswith("?"))


def _read_numbered(answer: PageResponse, style: PageNumbers, token: str | None) -> tuple[list[Any], str | None]:
    name, _, number = (token or "page=1").partition("=")
    if name != "page":
        raise malformed("$: pages with numbers after those of another style")
    items, following = style.read(answer, number)
    return items, None if following is None else f"page={following}"


def _number(token: str | None) -> int | None:
    """Return the number of the page that a token is for; `None`: it has none."""
    if token is None:
        return 1
    return int(token.removeprefix("page=")) if token.startswith("page=") else None
