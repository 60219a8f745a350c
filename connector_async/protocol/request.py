"""What may be sent, and where to: the base URL, the ids, the headers. It knows no HTTP library."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

VERSION: Final = "0.1.0"

TOKEN_PATH: Final = ("authentication", "token")
"""Below the tenant: the endpoint that gives tokens (contract, "Authentication")."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


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
        TypeError: It is no text, or `allow_http` no bool.
    """
    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")
    if not isinstance(allow_http, bool):  # the text "no" would permit it
        raise TypeError(f"allow_http must be a bool, not {type(allow_http).__name__}")
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


def check_method(method: str) -> str:
    """Return `method` when it is one of HTTP.

    Raises:
        ValueError: It is no token (RFC 9110, section 5.6.2).
        TypeError: It is no text.
    """
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {type(method).__name__}")
    if not _TOKEN.fullmatch(method):
        raise ValueError("method must be a token of HTTP, such as GET")
    return method


def check_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return `path` when each of its segments, which are not quoted yet, stays one.

    Raises:
        ValueError: A segment is empty, `.` or `..`, or has a character that is not printable.
        TypeError: It is no tuple, such as a text, or has what is no text.
    """
    if not isinstance(path, tuple):
        raise TypeError(f"path must be a tuple of segments, not {type(path).__name__}")
    for segment in path:
        _check_segment("each segment of path", segment)
    return path


def check_parameters(query: Mapping[str, str]) -> Mapping[str, str]:
    """Return `query` when its names and values can be quoted.

    Raises:
        ValueError: One has a lone surrogate, which quoting would leave out.
        TypeError: It is no mapping, or has what is no text.
    """
    if type(query) is not dict and not isinstance(query, Mapping):  # the first at a tenth of the cost
        raise TypeError(f"query must be a mapping, a str or None, not {type(query).__name__}")
    for name_and_value in query.items():
        for text in name_and_value:
            if not isinstance(text, str):
                raise TypeError(f"query must have names and values of type str, not {type(text).__name__}")
            if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
                raise ValueError("query must be encodable as UTF-8: it has a lone surrogate")
    return query


def check_query(name: str, query: str) -> str:
    """Return `query` when it is one, quoted, without its question mark (RFC 3986, section 3.4).

    Raises:
        ValueError: It has anything but printable ASCII without spaces and without `#`.
        TypeError: It is no text.
    """
    if query:
        check_text(name, query)
    if not query.isascii() or " " in query or "#" in query:
        raise ValueError(f"{name} must be a query, quoted")
    return query


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
