"""Resolve a method and a raw path to a tenant and an operation.

This module does not know which tenants exist or what an operation does.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal
from urllib.parse import quote, unquote_to_bytes

from attrs import frozen

SandboxOperation = Literal["create", "delete", "get", "openapi", "preview", "token", "unknown", "update"]
"""The operation of a request; "unknown" if no operation has its path and method."""

OPENAPI_PATH: Final = "/openapi.json"

_OPERATIONS: Final[Mapping[tuple[str, ...], Mapping[str, SandboxOperation]]] = {
    ("authentication", "token"): {"POST": "token"},
    ("appointment",): {"GET": "get", "POST": "create", "PUT": "update", "DELETE": "delete"},
    ("appointment", "preview"): {"GET": "preview"},
}
# The characters that a path may hold unescaped (RFC 3986, section 3.3), and the percent sign of escapes.
_PATH_SAFE: Final = "/%:@!$&'()*+,;=~"


@frozen(kw_only=True)
class Target:
    """The tenant and operation that a request names."""

    tenant: str
    """First path segment, percent-decoded once; empty if it is missing, is not UTF-8, or names the OpenAPI document."""
    operation: SandboxOperation
    allowed_methods: tuple[str, ...]
    """Methods of the path, sorted; empty if the path does not exist."""


def resolve(method: str, raw_path: str) -> Target:
    """Return the target of a request.

    The path is split before it is decoded, so that `%2F` stays within its segment.
    """
    if raw_path == OPENAPI_PATH:
        return Target(tenant="", operation="openapi" if method == "GET" else "unknown", allowed_methods=("GET",))
    tenant, *rest = _segments(raw_path) or [""]
    methods = _OPERATIONS.get(tuple(rest), {}) if tenant else {}
    return Target(tenant=tenant, operation=methods.get(method, "unknown"), allowed_methods=tuple(sorted(methods)))


def below_tenant(raw_path: str) -> str:
    """Return the path below the tenant. The path of the OpenAPI document, which has no tenant, stays as it is."""
    return raw_path if raw_path == OPENAPI_PATH else "/" + raw_path.removeprefix("/").partition("/")[2]


def escape_path(raw_path: str) -> str:
    """Return the path as a URI reference, with every character escaped that the client should have escaped."""
    return quote(raw_path.encode(errors="surrogateescape"), safe=_PATH_SAFE)


def _segments(raw_path: str) -> Sequence[str]:
    try:
        return [unquote_to_bytes(segment).decode() for segment in raw_path.removeprefix("/").split("/")]
    except UnicodeError:
        return ()
