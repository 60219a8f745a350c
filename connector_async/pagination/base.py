"""`PagingStyle`, the protocol of a paging style, and what all styles share.

A style says how to ask the server for a page and where a response names the next one. Nothing here sends or decodes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from connector_async.exceptions import DecodingError, InvalidArgumentError
from connector_async.protocol import reduced

_NO_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class PageRequest:
    """The part of a request that selects one page: parameters, or a whole query."""

    parameters: Mapping[str, str] = _NO_PARAMETERS
    """Unquoted query parameters, in addition to those that every page of the preview is requested with."""
    query: str | None = None
    """A whole query, quoted, without its question mark, as a link of the server has it. It replaces all parameters.
    `None`: the query consists of the parameters."""

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)


@attrs.frozen(kw_only=True)
class PageResponse:
    """The 2xx response to a `PageRequest`."""

    body: Any = attrs.field(repr=False)
    """The parsed JSON body."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The headers. Names are matched without regard to case. `items()` has each line of a repeated header."""
    url: str = attrs.field(repr=False)
    """The URL of the request, absolute and with its query. Links in the response are relative to it (RFC 3986, section
    5)."""
    status: int = 200
    """The HTTP status code, 2xx."""

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)


@runtime_checkable
class PagingStyle(Protocol):
    """One way in which a server splits a list into pages.

    A continuation token is a printable string that only its own style understands.
    """

    def request(self, token: str | None) -> PageRequest:
        """Return how to request the page of a token; `None` is the first page.

        Raises:
            ValueError: If no page of this style has such a token.
            PaginationError: If the token points to another origin or path, where no request is sent.
        """
        ...

    def read(self, response: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items of a page as parsed JSON, and the token of the next page; `None` after the last page.

        Args:
            response: The response to `request(token)`.
            token: The token of this page.

        Raises:
            DecodingError: If the response does not match this style, or says that pages follow which this style cannot
                request.
        """
        ...


def read_items(body: Any, key: str | None) -> list[Any]:
    """Return the array of items under `key`, or the body itself if `key` is `None`.

    Raises:
        DecodingError: If there is no array.
    """
    items = body if key is None else body.get(key) if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise style_mismatch("$: not an array" if key is None else f"$.{key}: not an array")
    return items


def read_integer(body: Any, key: str) -> int:
    """Return the integer under `key`.

    Raises:
        DecodingError: If there is no integer.
    """
    value = body.get(key) if isinstance(body, dict) else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise style_mismatch(f"$.{key}: not an integer")
    return value


def style_mismatch(problem: str) -> DecodingError:
    """Return the error for a response that does not match its paging style. `problem` names the place and the rule."""
    return DecodingError("the page does not match the paging style", problems=[problem])


def unknown_token() -> InvalidArgumentError:
    """Return the error for a continuation token that no page of the style has."""
    return InvalidArgumentError(
        "continuation_token must be from a page of the same paging style", argument="continuation_token"
    )
