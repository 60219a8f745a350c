"""Pages that link to the next one, in a `Link` header (RFC 8288) or in the body.

Of a link the query alone is taken, and only when it leads to where its page came from: whoever follows it sends the
token along.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import attrs

from connector_async._checks import check_query
from connector_async.exceptions import PaginationError

from .base import PageRequest, PageResponse, check_key, check_key_or_none, foreign_token, items_of, malformed
from .completeness import check_last

# RFC 8288, section 3. A quoted value may hold any separator.
_LINK: Final = re.compile(
    r"""<(?P<reference>[^<>]*)>(?P<parameters>(?:\s*;(?:[^",;]|"(?:[^"\\]|\\.)*")*)*)""", re.DOTALL
)
_PARAMETER: Final = re.compile(
    r""";\s*(?P<name>[^\s=;,"]+)\s*(?:=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s;,"]*)))?""", re.DOTALL
)
_BETWEEN: Final = re.compile(r"[\s,]*")
_LONGEST: Final = 65_536
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Reserved and unreserved characters of RFC 3986, and what is quoted already.
_MAY_STAND: Final = "%/:?#[]@!$&'()*+,;=~"


@attrs.frozen(kw_only=True)
class LinkHeader:
    """The next page is the `next` link of a `Link` header (RFC 8288); without one it is the last.

    Raises:
        ValueError: `items` is empty, or not printable.
        TypeError: `items` is neither a text nor `None`.
    """

    items: str | None = attrs.field(default=None, validator=check_key_or_none)
    """The key of the items; `None`: the answer is their array."""

    def request(self, token: str | None) -> PageRequest:
        """Return the query of the link."""
        return request_by_link(token)

    def read(self, answer: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and what the next link leads to."""
        items = items_of(answer.body, self.items)
        reference = next_link(answer.headers)
        if reference is None:
            check_last(answer, items, self.items, is_first=token is None)
            return items, None
        return items, token_of(reference, answer.url, "Link")


@attrs.frozen(kw_only=True)
class NextLink:
    """An object with the items and a link to the next page; missing, `null` or empty after the last page.

    Raises:
        ValueError: A key is empty, or not printable; the message names it.
        TypeError: A key is no text; the message names it.
    """

    items: str = attrs.field(default="value", validator=check_key)
    """The key of the items."""
    link: str = attrs.field(default="nextLink", validator=check_key)
    """The key of the link: a URL, or a reference that is relative to the page's own."""

    def request(self, token: str | None) -> PageRequest:
        """Return the query of the link."""
        return request_by_link(token)

    def read(self, answer: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items, and what the next link leads to."""
        items = items_of(answer.body, self.items)
        reference = answer.body.get(self.link)
        if reference is not None and not isinstance(reference, str):
            raise malformed(f"$.{self.link}: neither a string nor null")
        if not reference:
            check_last(answer, items, self.items, is_first=token is None)
            return items, None
        return items, token_of(reference, answer.url, f"$.{self.link}")


def request_by_link(token: str | None) -> PageRequest:
    """Return what asks for the page that a link led to; `None` is the first one.

    Raises:
        ValueError: The token is none of a link.
        PaginationError: It is of a link that leads elsewhere.
    """
    if token is None:
        return PageRequest()
    if token.startswith("?"):
        return PageRequest(query=check_query("continuation_token", token[1:]))
    if "://" in token:
        raise PaginationError("the next page is elsewhere than the one before, where nothing is sent")
    raise foreign_token()


def next_link(headers: Mapping[str, str]) -> str | None:
    """Return the reference of the first link to the next page, or `None`.

    Relation types are compared without regard to case, and a link may have several (RFC 8288, sections 2.1.1 and 3.3).
    A link with an `anchor` is about another resource than the page (section 3.2).

    Raises:
        DecodingError: A `Link` header is longer than 64 kB, or has what is no link: that may have been the next one.
    """
    field = ", ".join(value for name, value in headers.items() if name.lower() == "link")
    if len(field) > _LONGEST:
        raise malformed("Link: longer than 64 kB")
    for reference, parameters in _links(field):
        if not parameters.get("anchor") and "next" in parameters.get("rel", "").strip("'").lower().split():
            return reference
    return None


def token_of(reference: str, url: str, place: str) -> str:
    """Return the token of the page that a reference leads to: its query, or where it leads to if that is elsewhere.

    Args:
        reference: What the answer says, absolute or relative.
        url: Of the answer.
        place: Where the answer says it, for the error.

    Raises:
        DecodingError: It is no reference.
    """
    page = urlsplit(url)
    try:
        linked = urlsplit(urljoin(url, reference))
        is_elsewhere = _origin(linked) != _origin(page) or unquote(linked.path) != unquote(page.path)
    except ValueError:
        raise malformed(f"{place}: not a URI reference") from None
    if not reference.isprintable():
        raise malformed(f"{place}: not a URI reference")
    if is_elsewhere or "@" in linked.netloc:
        return quote(f"{linked.scheme}://{linked.netloc}{linked.path}", safe=_MAY_STAND)
    return "?" + quote(linked.query, safe=_MAY_STAND)


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    """Return the scheme, the host as it is sent, and the port."""
    host = (parts.hostname or "").rstrip(".").encode("idna").decode()
    return parts.scheme, host, _DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port


def _links(field: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the references of a field and their parameters.

    Raises:
        DecodingError: There is something else between them, once they have been taken.
    """
    position = 0
    for link in _LINK.finditer(field):
        _check_between(field[position : link.start()])
        position = link.end()
        parameters: dict[str, str] = {}
        for parameter in _PARAMETER.finditer(link["parameters"]):
            value = parameter["plain"] if parameter["quoted"] is None else re.sub(r"\\(.)", r"\1", parameter["quoted"])
            # Of a parameter that comes twice the first counts (RFC 8288, section 3.3).
            parameters.setdefault(parameter["name"].lower(), value or "")
        yield link["reference"].strip(), parameters
    _check_between(field[position:])


def _check_between(text: str) -> None:
    if not _BETWEEN.fullmatch(text):
        raise malformed("Link: not as RFC 8288 has it")
