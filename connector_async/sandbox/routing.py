"""Maps a method and a raw request target to the tenant and operation it names. Pure.

It knows neither which tenants exist nor what an operation does.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from attrs import frozen

from .request_log import Operation

DOCUMENT_PATH: Final = "/openapi.json"

_OPERATIONS: Final[Mapping[tuple[str, ...], Mapping[str, Operation]]] = {
    ("authentication", "token"): {"POST": "token"},
    ("appointment",): {"GET": "get", "POST": "create", "PUT": "update", "DELETE": "delete"},
    ("appointment", "preview"): {"GET": "preview"},
}
# What may stand unescaped in a path (RFC 3986, section 3.3), and the escapes themselves.
_PATH_SAFE: Final = "/%:@!$&'()*+,;=~"


@frozen(kw_only=True)
class Target:
    """What a request asks for."""

    tenant: str
    """First path segment, percent-decoded once; empty when there is none, it is not UTF-8, or names a document."""
    operation: Operation
    allowed: tuple[str, ...]
    """The methods of the path, sorted; empty when there is no such path."""


def resolve(method: str, raw_path: str) -> Target:
    """Find the operation; the path is split before it is decoded, so that %2F stays within its segment."""
    if raw_path == DOCUMENT_PATH:
        return Target(tenant="", operation="openapi" if method == "GET" else "unknown", allowed=("GET",))
    tenant, *rest = _segments(raw_path) or [""]
    methods = _OPERATIONS.get(tuple(rest), {}) if tenant else {}
    return Target(tenant=tenant, operation=methods.get(method, "unknown"), allowed=tuple(sorted(methods)))


def query_values(raw_query: str) -> dict[str, str]:
    """Decode the query; of a name given twice the first value counts, as in ASP.NET.

    Raises:
        UnicodeError: It does not decode to UTF-8.
    """
    raw_query.encode()  # aiohttp keeps bytes that are not UTF-8 as surrogates, which SQLite would choke on
    values: dict[str, str] = {}
    for name, value in parse_qsl(raw_query, keep_blank_values=True, errors="strict"):
        values.setdefault(name, value)
    return values


def instance_uri(raw_path: str) -> str:
    """Return the path as a URI reference, escaping what a careless client sent unescaped."""
    return quote(raw_path.encode(errors="surrogateescape"), safe=_PATH_SAFE)


def _segments(raw_path: str) -> Sequence[str]:
    try:
        return [unquote_to_bytes(segment).decode() for segment in raw_path.removeprefix("/").split("/")]
    except UnicodeError:
        return ()
