"""Read the parts of a request that an operation needs: bearer token, tenant header, host, query and JSON body.

Every error becomes a `Problem`. The meaning of the values is not known here.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import AddressValueError, IPv6Address
from typing import Final, cast
from urllib.parse import parse_qsl

import orjson
from aiohttp import hdrs, web

from .problems import WHOLE_BODY, Problem, invalid, invalid_token, unauthorized
from .tokens import InvalidTokenError, TokenIssuer

BODY_LIMIT: Final = 1024**2
"""Maximum size of a body in bytes, after decompression."""

_JSON: Final = "application/json"
_TENANT_HEADER: Final = "tenantId"
# RFC 3986, section 3.2.2. The ipaddress module checks the IPv6 address. Later IP versions are not in use.
_HOST: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::(?P<port>[0-9]{0,5}))?"
)
_LARGEST_PORT: Final = 65_535


def require_access(request: web.BaseRequest, *, tenant: str, tokens: TokenIssuer) -> None:
    """Check that the request may access the tenant.

    Raises:
        Problem: 401 without a valid bearer token (RFC 6750), 403 with a token of another tenant, 400 if the tenant
            header does not repeat the tenant of the path (guide).
    """
    if _token_tenant(request, tokens) != tenant:
        raise Problem("The token belongs to another tenant.", status=403)
    # A header value has no leading or trailing whitespace (RFC 9110, section 5.5), but a tenant id may have.
    if request.headers.getall(_TENANT_HEADER, []) != [tenant.strip(" \t")]:
        raise invalid({_TENANT_HEADER: ["The tenantId header must equal the tenant id of the path."]})


def _token_tenant(request: web.BaseRequest, tokens: TokenIssuer) -> str:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer":
        raise unauthorized("A bearer token is required.")
    try:
        return tokens.verify(token.strip())
    except InvalidTokenError as error:
        raise invalid_token() from error


def read_query(request: web.BaseRequest) -> dict[str, str]:
    """Return the decoded query parameters; raise a 400 `Problem` if they are not UTF-8."""
    try:
        return parse_query(request.rel_url.raw_query_string)
    except UnicodeError as error:
        raise Problem("The query string is not UTF-8.", status=400) from error


def parse_query(raw_query: str) -> dict[str, str]:
    """Decode a query once. If a name occurs twice, its first value is used, as in ASP.NET.

    Raises:
        UnicodeError: If the query does not decode to UTF-8.
    """
    raw_query.encode()  # aiohttp keeps bytes that are not UTF-8 as surrogates, which SQLite cannot store
    values: dict[str, str] = {}
    for name, value in parse_qsl(raw_query, keep_blank_values=True, errors="strict"):
        values.setdefault(name, value)
    return values


def read_origin(request: web.BaseRequest) -> str:
    """Return the scheme and authority of the request, such as `http://127.0.0.1:8080`.

    Raises:
        Problem: 400 if the Host header does not name a host (RFC 9110, sections 4.2.1 and 7.2).
    """
    host = request.headers.get(hdrs.HOST, "")
    if not _is_host(host):
        raise invalid({"Host": ["The Host header must be a host, with or without a port."]})
    return f"{request.scheme}://{host}"


def _is_host(host: str) -> bool:
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > _LARGEST_PORT:
        return False
    try:
        return match["ipv6"] is None or bool(IPv6Address(match["ipv6"]))
    except AddressValueError:
        return False


async def read_json_object(request: web.BaseRequest) -> Mapping[str, object]:
    """Return the body, which must be one JSON object.

    Raises:
        Problem: 415 for another content type, 413 for more than `BODY_LIMIT` bytes, 417 for an unsupported `Expect`,
            400 for a body that is cut short, not JSON or not an object.
    """
    if request.content_type != _JSON:
        raise Problem(f"The content type must be {_JSON}.", status=415)
    try:
        body: object = orjson.loads(await _read_body(request))
    except orjson.JSONDecodeError as error:
        raise invalid({WHOLE_BODY: ["The body is not valid JSON."]}) from error
    if not isinstance(body, dict):
        raise invalid({WHOLE_BODY: ["The body must be a JSON object."]})
    return cast("Mapping[str, object]", body)  # the names of a JSON object are strings


async def _read_body(request: web.BaseRequest) -> bytes:
    if (request.content_length or 0) > BODY_LIMIT:
        raise _too_large()
    await _send_continue(request)
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large() from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise invalid({WHOLE_BODY: ["The body could not be read completely."]}) from error


async def _send_continue(request: web.BaseRequest) -> None:
    """Send 100 Continue if the client expects it."""
    expectation = request.headers.get(hdrs.EXPECT)
    if expectation is None:
        return
    if expectation.lower() != "100-continue":
        raise Problem("The only supported expectation is 100-continue.", status=HTTPStatus.EXPECTATION_FAILED)
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # else aiohttp takes the interim response for the start of the final one


def _too_large() -> Problem:
    return Problem(f"The body must not exceed {BODY_LIMIT} bytes.", status=413)
