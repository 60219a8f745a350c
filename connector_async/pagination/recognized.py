"""The style that is told from the answer, while nobody has named one. It knows the common forms, and refuses others."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from .links import LinkHeader, NextLink, next_link, request_by_link
from .style import PageAnswer, PageRequest, foreign_token, items_of, malformed
from .styles import CursorPaging, PageNumbers

_ITEM_KEYS: Final = ("items", "data", "value", "results", "appointments")
_CURSOR_PARAMETERS: Final = {
    "continuationToken": "continuationToken",
    "nextCursor": "cursor",
    "nextPageToken": "pageToken",
    "nextToken": "nextToken",
}
_LINK_KEYS: Final = ("@odata.nextLink", "nextLink", "next")
_MORE: Final = (*_LINK_KEYS, *_CURSOR_PARAMETERS, "hasMore", "hasNext", "hasNextPage", "offset")
_TOTALS: Final = ("total", "totalCount", "@odata.count", "count")


@attrs.frozen
class RecognizedPaging:
    """An array, or an envelope of a common form: items with a cursor, with page numbers, or with a link to the next.

    A `Link` header is heeded beside an array. An answer that says that there is more, and not how to ask for it in a
    way that is known here, is an error.
    """

    def request(self, token: str | None) -> PageRequest:
        """Return the cursor or the number, by the name that the answer before suggested, or the target of its link."""
        if token is None or token.startswith("/"):
            return request_by_link(token)
        name, separator, value = token.partition("=")
        if not separator or name not in {"page", *_CURSOR_PARAMETERS.values()}:
            raise foreign_token()
        return PageRequest(parameters={name: value})

    def read(self, answer: PageAnswer, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and what asks for the next page."""
        body = answer.body
        by_link = token is None or token.startswith("/")
        if by_link and (isinstance(body, list) or next_link(answer.headers) is not None):
            return LinkHeader(items=None if isinstance(body, list) else _items_key(body)).read(answer, token)
        key = _items_key(body)
        for cursor, parameter in _CURSOR_PARAMETERS.items():
            if cursor in body:
                items, following = CursorPaging(items=key, cursor=cursor, parameter=parameter).read(answer, None)
                return items, None if following is None else f"{parameter}={following}"
        if "totalPages" in body:
            return _read_numbered(answer, key, token)
        for link in _LINK_KEYS:
            if _is_reference(body.get(link)):
                return NextLink(items=key, link=link).read(answer, token)
        return _read_last(body, key, is_whole=token is None)


def _items_key(body: Any) -> str:
    keys = [key for key in _ITEM_KEYS if isinstance(body, dict) and isinstance(body.get(key), list)]
    if len(keys) != 1:
        raise malformed("$: neither an array nor an envelope that is known; name its paging style")
    return keys[0]


def _is_reference(value: object) -> bool:
    """Tell a link from a cursor, a number or an object."""
    return isinstance(value, str) and ("/" in value or value.startswith("?"))


def _read_numbered(answer: PageAnswer, key: str, token: str | None) -> tuple[list[Any], str | None]:
    style = PageNumbers(items=key, page="page" if "page" in answer.body else None, total_pages="totalPages")
    name, _, number = (token or "page=1").partition("=")
    if name != "page":
        raise malformed("$: pages with numbers after those of another style")
    items, following = style.read(answer, number)
    return items, None if following is None else f"page={following}"


def _read_last(body: Mapping[str, Any], key: str, *, is_whole: bool) -> tuple[list[Any], str | None]:
    """Return the items of an envelope that says nothing of a further page, nor does an object in it."""
    items = items_of(body, key)
    for path, value in _members(body):
        name = path.rpartition("/")[2]
        if name in _MORE and value not in (None, False, "", 0):
            raise malformed(f"$.{path}: there may be more pages than are known how to ask for; name the paging style")
        if is_whole and name in _TOTALS and isinstance(value, int) and value > len(items):
            raise malformed(f"$.{path}: there is more than the items; name the paging style")
    return items, None


def _members(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the members of an envelope, and those of the objects in it, as `links` or `paging`, with their paths."""
    for name, value in body.items():
        yield name, value
        for inner, below in value.items() if isinstance(value, dict) else ():
            yield f"{name}/{inner}", below
