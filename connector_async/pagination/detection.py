"""Detects the form of paging from the response, for `AutoDetectPaging`.

What it takes for the last page is checked by `completeness`: a response that may be part of a longer list is an error.
"""

from typing import Any, Final

from .base import PageRequest, PageResponse, read_items, style_mismatch, unknown_token
from .completeness import check_complete
from .links import LinkHeader, NextLink, next_link, request_by_link
from .styles import CursorPaging, PageNumbers

_ITEM_KEYS: Final = ("items", "data", "value", "results", "appointments")
_CURSOR_PARAMETERS: Final = {
    "continuationToken": "continuationToken",
    "nextCursor": "cursor",
    "nextPageToken": "pageToken",
    "nextToken": "nextToken",
}
"""The key of a cursor to the query parameter that takes it."""
_LINK_KEYS: Final = ("@odata.nextLink", "nextLink", "next")
_PAGE_KEYS: Final = ("page", "currentPage", "pageNumber")


def request_page(token: str | None) -> PageRequest:
    """Return the cursor or page number of the token, or the query of its link."""
    name, separator, value = (token or "").partition("=")
    if token is None or token.startswith("?") or "://" in name:
        return request_by_link(token)
    if name == "page":
        return PageNumbers().request(value)
    if not separator or name not in _CURSOR_PARAMETERS.values():
        raise unknown_token()
    return PageRequest(parameters={name: value})


def read_page(response: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
    """Return the items and the token of the next page."""
    items, next_token = _read(response, token)
    if next_token is None:
        key = None if isinstance(response.body, list) else _find_items_key(response.body)
        check_complete(response, items, key, page=_page_number(token))
    return items, next_token


def _read(response: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
    body = response.body
    may_be_link = token is None or token.startswith("?")
    if may_be_link and next_link(response.headers) is not None:
        return LinkHeader(items=None if isinstance(body, list) else _find_items_key(body)).read(response, token)
    if may_be_link and isinstance(body, list):
        return body, None
    key = _find_items_key(body)
    for cursor, parameter in _CURSOR_PARAMETERS.items():
        if body.get(cursor):
            items, value = CursorPaging(items=key, cursor=cursor, parameter=parameter).read(response, None)
            return items, None if value is None else f"{parameter}={value}"
    for link in _LINK_KEYS:
        if _is_reference(body.get(link)):
            return NextLink(items=key, link=link).read(response, token)
    page_keys = [name for name in _PAGE_KEYS if name in body]
    if "totalPages" in body and page_keys:
        style = PageNumbers(items=key, page=page_keys[0], total_pages="totalPages")
        return _read_numbered(response, style, token)
    return read_items(body, key), None


def _find_items_key(body: Any) -> str:
    keys = [key for key in _ITEM_KEYS if isinstance(body, dict) and isinstance(body.get(key), list)]
    if len(keys) != 1:
        raise style_mismatch("$: neither an array nor an object with one known key of items; name the paging style")
    return keys[0]


def _is_reference(value: object) -> bool:
    """Return whether a value is a link, and not a cursor, a number or an object."""
    return isinstance(value, str) and ("/" in value or value.startswith("?"))


def _read_numbered(response: PageResponse, style: PageNumbers, token: str | None) -> tuple[list[Any], str | None]:
    name, _, number = (token or "page=1").partition("=")
    if name != "page":
        raise style_mismatch("$: numbered pages after pages of another style")
    items, next_number = style.read(response, number)
    return items, None if next_number is None else f"page={next_number}"


def _page_number(token: str | None) -> int | None:
    """Return the number of the page of a token; `None` if the style has no numbers."""
    if token is None:
        return 1
    return int(token.removeprefix("page=")) if token.startswith("page=") else None
