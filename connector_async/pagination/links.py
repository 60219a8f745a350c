"""Styles with a link to the next page, in a `Link` header (RFC 8288) or in the body.

Only the query of a link is used, and only if the link leads to the same origin and path as its page: the request
carries the bearer token, which must not reach another host.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import attrs

from connector_async._checks import check_query, check_text, validator
from connector_async.exceptions import PaginationError

from .base import PageRequest, PageResponse, read_items, style_mismatch, unknown_token
from .completeness import check_last

# RFC 8288, section 3. A quoted value may contain any separator.
_LINK: Final = re.compile(
    r"""<(?P<reference>[^<>]*)>(?P<parameters>(?:\s*;(?:[^",;]|"(?:[^"\\]|\\.)*")*)*)""", re.DOTALL
)
_PARAMETER: Final = re.compile(
    r""";\s*(?P<name>[^\s=;,"]+)\s*(?:=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s;,"]*)))?""", re.DOTALL
)
_SEPARATOR: Final = re.compile(r"[\s,]*")
_MAX_HEADER: Final = 65_536
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Reserved and unreserved characters of RFC 3986, and the percent sign of quoted characters.
_NOT_QUOTED: Final = "%/:?#[]@!$&'()*+,;=~"


@attrs.frozen(kw_only=True)
class LinkHeader:
    """The `next` link of a `Link` header (RFC 8288) leads to the next page. The last page has none.

    Raises:
        ValueError: If `items` is empty or not printable.
        TypeError: If `items` is neither a str nor `None`.
    """

    items: str | None = attrs.field(default=None, validator=validator(check_text, optional=True))
    """The key of the items. `None`: the body is their array."""

    def request(self, token: str | None) -> PageRequest:
        """Return the query of the link."""
        return request_by_link(token)

    def read(self, response: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items and the token of the `next` link."""
        items = read_items(response.body, self.items)
        reference = next_link(response.headers)
        if reference is None:
            check_last(response, items, self.items, is_first=token is None)
            return items, None
        return items, token_for_link(reference, response.url, "Link")


@attrs.frozen(kw_only=True)
class NextLink:
    """Each page is an object with the items and a link to the next page.

    Raises:
        ValueError: If a key is empty or not printable.
        TypeError: If a key is not a str.
    """

    items: str = attrs.field(default="value", validator=validator(check_text))
    """The key of the items."""
    link: str = attrs.field(default="nextLink", validator=validator(check_text))
    """The key of the link, a URL or a relative reference. Missing, `null` or empty on the last page."""

    def request(self, token: str | None) -> PageRequest:
        """Return the query of the link."""
        return request_by_link(token)

    def read(self, response: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items and the token of the link."""
        items = read_items(response.body, self.items)
        reference = response.body.get(self.link)
        if reference is not None and not isinstance(reference, str):
            raise style_mismatch(f"$.{self.link}: neither a string nor null")
        if not reference:
            check_last(response, items, self.items, is_first=token is None)
            return items, None
        return items, token_for_link(reference, response.url, f"$.{self.link}")


def request_by_link(token: str | None) -> PageRequest:
    """Return how to request the page of a link's token; `None` is the first page.

    Raises:
        ValueError: If `token` is not the token of a link.
        PaginationError: If the link leads to another origin or path.
    """
    if token is None:
        return PageRequest()
    if token.startswith("?"):
        return PageRequest(query=check_query("continuation_token", token[1:]))
    if "://" in token:
        raise PaginationError("the next page has another origin or path; no request is sent there")
    raise unknown_token()


def next_link(headers: Mapping[str, str]) -> str | None:
    """Return the reference of the first `next` link; `None` without one.

    Relation types are compared without regard to case, and a link may have several (RFC 8288, sections 2.1.1 and 3.3).
    A link with an `anchor` is about another resource than the page and is ignored (section 3.2).

    Raises:
        DecodingError: If a `Link` header is longer than 64 kB, or a part of it is malformed: that part may be the next
            link.
    """
    field = ", ".join(value for name, value in headers.items() if name.lower() == "link")
    if len(field) > _MAX_HEADER:
        raise style_mismatch("Link: longer than 64 kB")
    for reference, parameters in _parse_links(field):
        if not parameters.get("anchor") and "next" in parameters.get("rel", "").strip("'").lower().split():
            return reference
    return None


def token_for_link(reference: str, url: str, place: str) -> str:
    """Return the continuation token of a link: its query, or its URL without the query if it leads elsewhere.

    A token with another origin or path is kept, so that `request_by_link` rejects it when that page is requested.

    Args:
        reference: The link, absolute or relative.
        url: The URL of the page that has the link.
        place: Where the response has the link, for the error.

    Raises:
        DecodingError: If `reference` is not a URI reference.
    """
    page = urlsplit(url)
    try:
        target = urlsplit(urljoin(url, reference))
        is_elsewhere = _origin(target) != _origin(page) or unquote(target.path) != unquote(page.path)
    except ValueError:
        raise style_mismatch(f"{place}: not a URI reference") from None
    if not reference.isprintable():
        raise style_mismatch(f"{place}: not a URI reference")
    if is_elsewhere or "@" in target.netloc:
        return quote(f"{target.scheme}://{target.netloc}{target.path}", safe=_NOT_QUOTED)
    return "?" + quote(target.query, safe=_NOT_QUOTED)


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    """Return the scheme, the host as it is sent, and the port."""
    host = (parts.hostname or "").rstrip(".").encode("idna").decode()
    return parts.scheme, host, _DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port


def _parse_links(field: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the reference and the parameters of each link in a header.

    Raises:
        DecodingError: If anything but separators is between the links; raised after the links before it.
    """
    position = 0
    for link in _LINK.finditer(field):
        _check_separator(field[position : link.start()])
        position = link.end()
        parameters: dict[str, str] = {}
        for parameter in _PARAMETER.finditer(link["parameters"]):
            value = parameter["plain"] if parameter["quoted"] is None else re.sub(r"\\(.)", r"\1", parameter["quoted"])
            # The first of repeated parameters counts (RFC 8288, section 3.3).
            parameters.setdefault(parameter["name"].lower(), value or "")
        yield link["reference"].strip(), parameters
    _check_separator(field[position:])


def _check_separator(between: str) -> None:
    if not _SEPARATOR.fullmatch(between):
        raise style_mismatch("Link: not in the form of RFC 8288")
