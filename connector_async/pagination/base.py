"""What a paging style is: what asks the server for a page, and where its answer says which is next.

Nothing here sends or decodes, and it knows no style.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from connector_async._checks import check_text
from connector_async.exceptions import DecodingError
from connector_async.protocol import reduced

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def check_key(_: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    """Raise when a field's value is no key of JSON, nor the name of a parameter.

    Raises:
        ValueError: It is empty, or not printable.
        TypeError: It is no text.
    """
    check_text(field.name, value)


def check_key_or_none(instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    """Do the same, and let `None` pass.

    Raises:
        ValueError: It is empty, or not printable.
        TypeError: It is neither a text nor `None`.
    """
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{field.name} must be a str or None, not {type(value).__name__}")
    if value is not None:
        check_key(instance, field, value)


@attrs.frozen(kw_only=True)
class PageRequest:
    """What asks for a page: parameters beside those that say what is asked for, or a query instead of all of them."""

    parameters: Mapping[str, str] = _NONE
    """Of the query, unquoted; beside those that say what is asked for."""
    query: str | None = None
    """Quoted, without its question mark, as a link of the server named it. `None`: the query that every page has."""

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)


@attrs.frozen(kw_only=True)
class PageResponse:
    """The 2xx answer to a `PageRequest`."""

    body: Any = attrs.field(repr=False)
    """What its JSON says."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """Names are matched without regard to case; `items()` has each line of a header that comes in several."""
    url: str = attrs.field(repr=False)
    """What was asked for, absolute and with its query; the links of the answer are relative to it (RFC 3986, section
    5)."""
    status: int = 200
    """The HTTP status code, 2xx."""

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)


@runtime_checkable
class PagingStyle(Protocol):
    """One way of paging."""

    def request(self, token: str | None) -> PageRequest:
        """Return what asks for the page of a token; `None` is the first one.

        Raises:
            ValueError: The token is none of this style.
            PaginationError: It stands for a page that nothing is sent for.
        """
        ...

    def read(self, answer: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items of an answer, as JSON has them, and the next page's token, `None` after the last one.

        Args:
            answer: The answer to `request(token)`.
            token: Of the page that it is; a printable text.

        Raises:
            DecodingError: It is no answer of this style.
        """
        ...


def items_of(body: Any, key: str | None) -> list[Any]:
    """Return the items of a body; `None`: it is their array.

    Raises:
        DecodingError: There is no array.
    """
    items = body if key is None else body.get(key) if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise malformed("$: not an array" if key is None else f"$.{key}: not an array")
    return items


def count_of(body: Any, key: str) -> int:
    """Return the integer that a body has under a key.

    Raises:
        DecodingError: There is none.
    """
    value = body.get(key) if isinstance(body, dict) else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise malformed(f"$.{key}: not an integer")
    return value


def malformed(problem: str) -> DecodingError:
    """Return the error of an answer that is not of its style, with the place and the rule."""
    return DecodingError("the page is not of the paging style", problems=[problem])


def foreign_token() -> ValueError:
    """Return the error of a token that no page of the style came with."""
    return ValueError("continuation_token must be one that this server gave")
