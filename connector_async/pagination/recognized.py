"""The style that is told from the answer, while nobody has named one. It knows the common forms, and refuses others.

What ends a walk is looked at closely: whatever may say that there is more, and is not known here, is an error. For a
list that is too short looks just like one that is whole.
"""

import re
from collections.abc import Iterator
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
_PAGE_KEYS: Final = ("page", "currentPage", "pageNumber")
# By their names without case and punctuation. What says how many there are, which has to be no more than there came:
_TOTALS: Final = frozenset({"count", "odatacount", "total", "totalcount", "totalitems", "totalrecords", "totalresults"})
_PAGE_TOTALS: Final = frozenset({"lastpage", "pagecount", "pages", "totalpages"})
# What says how many come on a page, which has to be more than there came:
_SIZES: Final = frozenset({"limit", "pagesize", "perpage", "size"})
# And what says nothing of pages, whatever it is.
_SILENT: Final = frozenset(
    {"code", "correlationid", "message", "odatacontext", "odataetag", "requestid", "status", "success", "timestamp"}
    | {"traceid", "version"}
)
_HEADER_TOTALS: Final = frozenset({"count", "pages", "total", "totalcount"})
_HEADER_WORDS: Final = _HEADER_TOTALS | {"continuation", "cursor", "hasmore", "more", "next", "pagination"}


@attrs.frozen
class RecognizedPaging:
    """An array, or an envelope of a common form: items with a cursor, with page numbers, or with a link to the next.

    A `Link` header is heeded beside an array. An answer that says that there is more, or may say so, and not how to ask
    for it in a way that is known here, is an error: name the style then.
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

    def read(self, answer: PageAnswer, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and what asks for the next page."""
        items, following = self._read(answer, token)
        if following is None:
            _check_end(answer, items, token)
        return items, following

    def _read(self, answer: PageAnswer, token: str | None) -> tuple[list[Any], str | None]:
        body = answer.body
        by_link = token is None or token.startswith("?")
        if by_link and (isinstance(body, list) or next_link(answer.headers) is not None):
            return LinkHeader(items=None if isinstance(body, list) else _items_key(body)).read(answer, token)
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


def _read_numbered(answer: PageAnswer, style: PageNumbers, token: str | None) -> tuple[list[Any], str | None]:
    name, _, number = (token or "page=1").partition("=")
    if name != "page":
        raise malformed("$: pages with numbers after those of another style")
    items, following = style.read(answer, number)
    return items, None if following is None else f"page={following}"


def _check_end(answer: PageAnswer, items: list[Any], token: str | None) -> None:
    """Raise when anything may say that this is not the last page.

    Args:
        answer: That of the page.
        items: Of the page.
        token: Of the page; `None`: it is the first one, so that a total must be no more than its items.
    """
    is_whole = token is None
    if isinstance(answer.body, list):
        for name, value in answer.headers.items():
            if is_whole and _header_says_more(name.lower(), value, len(items)):
                raise _more(name)
        return
    members = list(_members(answer.body, items))
    counts = {_plain(path): value for path, value in members if _plain(path) in _TOTALS}
    is_counted = any(isinstance(value, int) for value in counts.values())
    for path, value in members:
        name = _plain(path)
        if name in _SILENT or value in (None, False, "", 0) or value == [] or value == {}:
            continue
        if name in _TOTALS and isinstance(value, int) and (not is_whole or value <= len(items)):
            continue
        if name in _PAGE_TOTALS and isinstance(value, int) and (value == 1 or token == f"page={value}"):
            continue
        if name in _SIZES and isinstance(value, int) and (not is_whole or is_counted or value > len(items)):
            continue
        if name in map(_plain, _PAGE_KEYS) and isinstance(value, int) and (not is_whole or is_counted or value == 1):
            continue
        raise _more(f"$.{path}")


def _members(value: Any, items: list[Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the members of an envelope and of all that is in it, but for the items, with their paths."""
    if isinstance(value, dict) and (value or path):
        for name, below in value.items():
            if below is not items:
                yield from _members(below, items, f"{path}.{name}" if path else name)
        return
    if isinstance(value, list) and value:
        for position, below in enumerate(value):
            yield from _members(below, items, f"{path}[{position}]")
        return
    yield path, value


def _plain(path: str) -> str:
    """Return a name as it is compared: without its path, case and punctuation."""
    name = path if path.startswith("@") else path.rpartition(".")[2]
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _header_says_more(name: str, value: str, count: int) -> bool:
    if name == "content-range":  # RFC 9110, section 14.4
        total = value.rpartition("/")[2]
        return not total.isdecimal() or int(total) > count
    words = set(re.split(r"[-_.]", name))
    if not words & _HEADER_WORDS or "ratelimit" in name.replace("-", ""):
        return False
    if value.isdecimal() and words & _HEADER_TOTALS:
        return int(value) > (1 if "pages" in words else count)
    return value.lower() not in {"", "0", "false", "null", "none"}


def _more(place: str) -> Exception:
    return malformed(f"{place}: there may be more pages than are known how to ask for; name the paging style")
