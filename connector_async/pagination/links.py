"""Pages that link to the next one, in a `Link` header (RFC 8288) or in the body.

A link is followed at the origin that it came from, and nowhere else: whoever follows it sends the token along.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import attrs

from connector_async.exceptions import PaginationError
from connector_async.protocol import check_target

from .style import IS_KEY, IS_KEY_OR_NONE, PageAnswer, PageRequest, items_of, malformed

# RFC 8288, section 3. A quoted value may hold any separator; what follows a broken link up to a comma is skipped.
_LINK: Final = re.compile(
    r"""<(?P<reference>[^>]*)>(?P<parameters>(?:\s*;(?:[^",;]|"(?:[^"\\]|\\.)*")*)*)""", re.DOTALL
)
_PARAMETER: Final = re.compile(
    r""";\s*(?P<name>[^\s=;,"]+)\s*(?:=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s;,"]*)))?""", re.DOTALL
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Reserved and unreserved characters of RFC 3986, and what is quoted already.
_MAY_STAND: Final = "%/:?#[]@!$&'()*+,;=~"


@attrs.frozen(kw_only=True)
class LinkHeader:
    """The next page is the `next` link of a `Link` header (RFC 8288); without one it is the last."""

    items: str | None = attrs.field(default=None, validator=IS_KEY_OR_NONE)
    """The key of the items; `None`: the answer is their array."""

    def request(self, token: str | None) -> PageRequest:
        """Return the target of the link."""
        return request_by_link(token)

    def read(self, answer: PageAnswer, token: str | None) -> tuple[list[Any], str | None]:  # noqa: ARG002 - the protocol's
        """Return the items, and the target of the next link."""
        items = items_of(answer.body, self.items)
        reference = next_link(answer.headers)
        return items, None if reference is None else target_of(reference, answer.url, "Link")


@attrs.frozen(kw_only=True)
class NextLink:
    """An object with the items and a link to the next page; missing, `null` or empty after the last page."""

    items: str = attrs.field(default="value", validator=IS_KEY)
    """The key of the items."""
    link: str = attrs.field(default="nextLink", validator=IS_KEY)
    """The key of the link: a URL, or a reference that is relative to the page's own."""

    def request(self, token: str | None) -> PageRequest:
        """Return the target of the link."""
        return request_by_link(token)

    def read(self, answer: PageAnswer, token: str | None) -> tuple[list[Any], str | None]:  # noqa: ARG002 - the protocol's
        """Return the items, and the target of the next link."""
        items = items_of(answer.body, self.items)
        reference = answer.body.get(self.link)
        if reference is not None and not isinstance(reference, str):
            raise malformed(f"$.{self.link}: neither a string nor null")
        return items, target_of(reference, answer.url, f"$.{self.link}") if reference else None


def request_by_link(token: str | None) -> PageRequest:
    """Return what asks for the page that a link named; `None` is the first one.

    Raises:
        ValueError: The token is no path with a query.
    """
    return PageRequest(target=None if token is None else check_target("continuation_token", token))


def next_link(headers: Mapping[str, str]) -> str | None:
    """Return the reference of the first link to the next page, or `None`.

    Relation types are compared without regard to case, and a link may have several (RFC 8288, sections 2.1.1 and 3.3).
    A link with an `anchor` is about another resource than the page (section 3.2).
    """
    field = ", ".join(value for name, value in headers.items() if name.lower() == "link")
    for reference, parameters in _links(field):
        if "anchor" not in parameters and "next" in parameters.get("rel", "").lower().split():
            return reference
    return None


def target_of(reference: str, url: str, place: str) -> str:
    """Return the path and query that a reference names, quoted.

    Args:
        reference: What the answer says, absolute or relative.
        url: Of the answer.
        place: Where the answer says it, for the error.

    Raises:
        PaginationError: It is at another origin than `url`.
        DecodingError: It is no reference.
    """
    page = urlsplit(url)
    try:
        linked = urlsplit(urljoin(url, reference))
        same_origin = _origin(linked) == _origin(page)
    except ValueError:
        raise malformed(f"{place}: not a URI reference") from None
    if not reference.isprintable():
        raise malformed(f"{place}: not a URI reference")
    if not same_origin or "@" in linked.netloc:
        raise PaginationError(f"{place}: the next page is at another origin, where nothing is sent")
    target = quote(linked.path or "/", safe=_MAY_STAND)
    return f"{target}?{quote(linked.query, safe=_MAY_STAND)}" if linked.query else target


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _links(field: str) -> Iterator[tuple[str, dict[str, str]]]:
    for link in _LINK.finditer(field):
        parameters: dict[str, str] = {}
        for parameter in _PARAMETER.finditer(link["parameters"]):
            value = parameter["plain"] if parameter["quoted"] is None else re.sub(r"\\(.)", r"\1", parameter["quoted"])
            # Of a parameter that comes twice the first counts (RFC 8288, section 3.3).
            parameters.setdefault(parameter["name"].lower(), value or "")
        yield link["reference"].strip(), parameters
