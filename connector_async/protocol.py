"""The rules of the HTTP exchange, without any I/O: what may be sent where, and what an answer means.

It knows neither an HTTP library nor the fields of an appointment.
"""

import email.utils
import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

import attrs
import orjson

from .exceptions import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    ResponseError,
    ServerError,
    UnexpectedRedirectError,
)

VERSION: Final = "0.1.0"

TOKEN_PATH: Final = ("authentication", "token")
"""Below the tenant: the endpoint that gives tokens (contract, "Authentication")."""

_MAX_PROBLEM_DEPTH: Final = 32  # what is deeper is no problem of RFC 9457, and could not be pickled
_DELAY_SECONDS: Final = re.compile(r"[0-9]+", re.ASCII)
_ERROR_BY_STATUS: Final[Mapping[int, type[ResponseError]]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    412: ConflictError,
    422: InvalidRequestError,
    429: RateLimitedError,
}


@attrs.frozen(kw_only=True)
class Response:
    """A whole answer."""

    status: int
    """The HTTP status code."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """Names are matched without regard to case."""
    body: bytes = attrs.field(repr=False)
    """Decompressed; empty when it was oversized."""
    oversized: bool = False
    """The body was longer than the cap, and was not read to its end."""


def user_agent(suffix: str = "") -> str:
    """Return the `User-Agent` of this package (RFC 9110, section 10.1.5), with the caller's product behind it.

    Raises:
        ValueError: `suffix` is not printable ASCII.
    """
    if suffix != "":
        check_header_text("user_agent_suffix", suffix)
    return f"connector-async/{VERSION} {suffix}".rstrip()


def check_base_url(base_url: str, *, allow_http: bool = False) -> str:
    """Return `base_url` without a slash at its end.

    Raises:
        ValueError: It is not absolute, has user information, a query or a fragment, or is plain `http` to a host that
            is not the loopback although `allow_http` is off. The message never repeats it.
        TypeError: It is no text.
    """
    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")
    parts = _split_http_url("base_url", base_url)
    if "@" in parts.netloc:
        raise ValueError("base_url must not hold user information")
    if "?" in base_url or "#" in base_url:
        raise ValueError("base_url must have neither a query nor a fragment")
    if not base_url.isprintable() or " " in base_url:
        raise ValueError("base_url must not hold spaces or control characters")
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname or ""):
        raise ValueError("base_url must be https: over http anybody on the way reads the token (allow_http permits it)")
    return base_url.rstrip("/")


def check_proxy(proxy: str) -> str:
    """Return `proxy` when it is the URL of a forward proxy.

    Raises:
        ValueError: It is not an absolute http or https URL. The message never repeats it.
        TypeError: It is no text.
    """
    if not isinstance(proxy, str):
        raise TypeError(f"proxy must be a str or None, not {type(proxy).__name__}")
    parts = _split_http_url("proxy", proxy)
    if not proxy.isprintable():
        raise ValueError("proxy must be an absolute http or https URL")
    if not proxy.isascii() or not unquote(parts.username or "").isascii() or ":" in unquote(parts.username or ""):
        raise ValueError("proxy must be ASCII, and its user must have no colon: a header carries it (RFC 7617)")
    if not unquote(parts.password or "").isascii():
        raise ValueError("proxy must have a password of ASCII: a header carries it (RFC 7617)")
    return proxy


def check_tenant_id(tenant_id: str) -> str:
    """Return `tenant_id` when it can be carried both as a path segment and as a header.

    Raises:
        ValueError: It is empty, `.` or `..`, has spaces at its ends, or anything but printable ASCII (RFC 9110,
            section 5.5).
        TypeError: It is no text.
    """
    _check_segment("tenant_id", tenant_id)
    check_header_text("tenant_id", tenant_id)
    return tenant_id


def check_appointment_id(appointment_id: str) -> str:
    """Return `appointment_id` when it can name an appointment.

    Raises:
        ValueError: It is empty, `.` or `..`, or has a character that is not printable.
        TypeError: It is no text.
    """
    return _check_segment("appointment_id", appointment_id)


def check_text(name: str, value: str) -> str:
    """Return `value` when it is a text of printable characters that is not empty.

    Raises:
        ValueError: It is empty, or has a character that is not printable.
        TypeError: It is no text.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    if not value.isprintable():
        raise ValueError(f"{name} must be printable")
    return value


def check_header_text(name: str, value: str) -> str:
    """Return `value` when a header can carry it (RFC 9110, section 5.5).

    Raises:
        ValueError: It is empty, not printable ASCII, or has spaces at its ends.
        TypeError: It is no text.
    """
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        raise ValueError(f"{name} must be printable ASCII: a header carries it")
    if check_text(name, value) != value.strip():
        raise ValueError(f"{name} must not begin or end with a space: a header would lose it")
    return value


def quote_path(*segments: str) -> str:
    """Return `segments` as a path, each quoted by itself (RFC 3986, section 3.3), so that none can end early."""
    return "".join("/" + quote(segment, safe="") for segment in segments)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read `Retry-After` (RFC 9110, section 10.2.3) in either of its forms.

    Args:
        headers: The answer's headers.
        now: Seconds since 1970 in UTC.

    Returns:
        Seconds to wait, above zero. `None` when it is absent, malformed, or not in the future.
    """
    value = headers.get("Retry-After", "").strip()
    if _DELAY_SECONDS.fullmatch(value):
        # More digits than any wait has; int() itself refuses 4,300.
        seconds = float(value) if len(value) < 20 else None
    else:
        seconds = _seconds_until(value, now)
    return seconds if seconds is not None and seconds > 0 else None


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return how the server names this exchange, or `None`: the first header that is there.

    `traceparent` is that of W3C Trace Context.
    """
    return headers.get("X-Request-Id") or headers.get("X-Correlation-Id") or headers.get("traceparent")


def error_for(
    method: str, path: str, response: Response, now: float, *, from_token_endpoint: bool = False
) -> ResponseError:
    """Return the error that an answer outside 2xx means. Its text holds nothing of the body.

    Args:
        method: The method that was sent.
        path: The path that was sent, quoted, without its query.
        response: The answer.
        now: Seconds since 1970 in UTC, for a `Retry-After` that is a date.
        from_token_endpoint: There 400 and 403 refuse the credentials, as 401 does (contract, "Authentication").
    """
    status = response.status
    problem = _problem(response)
    refused = from_token_endpoint and status in {400, 403}
    error_type = AuthenticationError if refused else _error_type(status)
    return error_type(
        f"{method} {path} answered {status}{_phrase(status)}",
        status=status,
        method=method,
        path=path,
        request_id=request_id(response.headers) or _trace_id(problem),
        problem=problem,
        retry_after=retry_after(response.headers, now),
    )


def _error_type(status: int) -> type[ResponseError]:
    if 300 <= status < 400:
        return UnexpectedRedirectError
    if 500 <= status < 600:
        return ServerError
    return _ERROR_BY_STATUS.get(status, ResponseError)


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _problem(response: Response) -> Mapping[str, Any] | None:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not (media_type == "application/json" or media_type.endswith("+json")):
        return None
    try:
        parsed = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) and not _deeper_than(parsed, _MAX_PROBLEM_DEPTH) else None


def _deeper_than(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_deeper_than(item, levels - 1) for item in inner if isinstance(item, dict | list))


def _trace_id(problem: Mapping[str, Any] | None) -> str | None:
    trace_id = (problem or {}).get("traceId")  # as ASP.NET extends RFC 9457
    return trace_id if isinstance(trace_id, str) else None


def _seconds_until(http_date: str, now: float) -> float | None:
    try:
        date = email.utils.parsedate_to_datetime(http_date)
        # An HTTP-date is always GMT; its asctime form (RFC 9110, section 5.6.7) does not say so.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def _split_http_url(name: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{name} is not a valid URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(f"{name} must be an absolute http or https URL")
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_segment(name: str, value: str) -> str:
    check_text(name, value)
    if value in {".", ".."}:
        raise ValueError(f"{name} must not be '.' or '..': a path would lose it")
    return value
