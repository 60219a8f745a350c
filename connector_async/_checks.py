"""Argument checks, made before any I/O. A message names the argument and the rule, never the value.

Each check takes the name of the argument and its value. `validator` turns a check into an attrs validator.
"""

import inspect
import ipaddress
import json
import math
import os
import re
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from types import FunctionType, MethodType
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import attrs
import orjson

from ._timestamps import InstantError, in_utc
from .exceptions import InvalidArgumentError

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_RESERVED_HEADERS: Final = {
    name.lower(): name
    for name in (
        *("Authorization", "tenantId", "Accept", "User-Agent", "Content-Type", "X-Correlation-Id"),
        # What the HTTP library decides: the framing, the connection and the codings that it can decode.
        *("Host", "Content-Length", "Transfer-Encoding", "Content-Encoding", "Accept-Encoding", "Trailer", "TE"),
        *("Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Upgrade", "Expect"),
    )
}
_LARGEST: Final = sys.float_info.max


def validator(check: Callable[..., object], *args: Any, optional: bool = False, **options: Any) -> Any:
    """Return an attrs validator that runs `check` on a field.

    Args:
        check: Called as `check(name, value, *args, **options)`.
        args: Passed to `check`.
        optional: Whether `None` is accepted without a call of `check`.
        options: Passed to `check`.
    """

    def check_field(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not (optional and value is None):
            check(field.name, value, *args, **options)

    def check_plain_field(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        check(field.name, value)  # without passing options on, a third of the time

    return check_field if args or options or optional else check_plain_field


def check_type(name: str, value: object, expected: type, *, optional: bool = False) -> None:
    """Reject a value that is not an instance of `expected`.

    Raises:
        TypeError: If `value` is an instance of another type, or a class.
    """
    if (value is None and optional) or (isinstance(value, expected) and not isinstance(value, type)):
        return
    article = "an" if expected.__name__[0] in "AEIOaeio" else "a"
    none = " or None" if optional else ""
    got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    raise TypeError(f"{name} must be {article} {expected.__name__}{none}, not {got}")


def check_sequence(name: str, value: object, expected: type) -> None:
    """Reject a value that is not a sequence of instances of `expected`.

    Raises:
        TypeError: If `value` is not a sequence, is a str, or has an item of another type.
    """
    rule = f"{name} must be a sequence of {expected.__name__}"
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{rule}, not {type(value).__name__}")
    for item in value:
        if not isinstance(item, expected):
            raise TypeError(f"{rule}, not of {type(item).__name__}")


def check_command(name: str, value: Sequence[str]) -> Sequence[str]:
    """Return `value`, which must be a program and its arguments.

    Raises:
        ValueError: If `value` or its first item is empty, or an item has a null character.
        TypeError: If `value` is not a sequence of str.
    """
    check_sequence(name, value, str)
    if not value or not value[0]:
        raise InvalidArgumentError(f"{name} must start with a program", argument=name)
    if any("\0" in part for part in value):
        raise InvalidArgumentError(f"{name} must not have a null character", argument=name)
    return value


def check_file_path(name: str, value: str | os.PathLike[str]) -> str:
    """Return `value`, which must be the path of a file, as a string.

    Raises:
        ValueError: If `value` is empty, or has a null character.
        TypeError: If `value` is neither a str nor a path of str.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a str or a path, not {type(value).__name__}")
    if not path or "\0" in path:
        raise InvalidArgumentError(f"{name} must not be empty or have a null character", argument=name)
    return path


def check_iterable(name: str, value: object) -> None:
    """Reject a value that is neither an iterable nor an async iterable.

    Raises:
        TypeError: If `value` is neither, or is a str or bytes: an iteration over its characters is never meant.
    """
    if isinstance(value, str | bytes | bytearray | memoryview) or not isinstance(value, Iterable | AsyncIterable):
        raise TypeError(f"{name} must be an iterable or an async iterable, not {type(value).__name__}")


def check_callable(name: str, value: object) -> None:
    """Reject a value that cannot be called.

    Raises:
        TypeError: If `value` is not callable.
    """
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")


def check_plain_callable(name: str, value: object) -> None:
    """Reject a coroutine function where a plain function is needed, because nothing would await its result.

    Raises:
        TypeError: If `value` is a coroutine function or an async generator function, or an object with such a
            `__call__`.
    """
    # The `__call__` of a function or method is plain. To find that out would double the time that a new service takes.
    has_own_call = not isinstance(value, FunctionType | MethodType)
    if _is_async(value) or (has_own_call and _is_async(getattr(value, "__call__", None))):  # noqa: B004
        raise TypeError(f"{name} must be a plain function, not a coroutine function")


def check_plain_methods(name: str, value: object, *methods: str) -> None:
    """Reject an object with a coroutine method where plain methods are needed. Missing methods are accepted.

    Raises:
        TypeError: If a method is a coroutine function or an async generator function; the message names it.
    """
    for method in methods:
        check_plain_callable(f"{name}.{method}", getattr(value, method, None))


def check_int(name: str, value: int, *, minimum: int = 1) -> int:
    """Return `value`, which must be an int of at least `minimum`.

    Raises:
        ValueError: If `value` is less than `minimum`.
        TypeError: If `value` is not an int, or is a bool.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < minimum:
        raise InvalidArgumentError(f"{name} must be {'zero' if minimum == 0 else minimum} or more", argument=name)
    return value


def check_number(name: str, value: float) -> float:
    """Return `value`, which must be a number.

    Raises:
        ValueError: If `value` is NaN.
        TypeError: If `value` is neither an int nor a float, or is a bool.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if value != value:
        raise InvalidArgumentError(f"{name} must not be NaN", argument=name)
    return value


def check_seconds(name: str, value: float, *, above_zero: bool = False, finite: bool = True) -> float:
    """Return `value`, which must be a duration in seconds.

    Raises:
        ValueError: If `value` is NaN or negative, zero while `above_zero` is set, or infinite while `finite` is set.
        TypeError: If `value` is neither an int nor a float, or is a bool.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if value != value or value < 0 or (above_zero and value == 0):
        raise InvalidArgumentError(f"{name} must be {'above zero' if above_zero else 'zero or more'}", argument=name)
    if value > _LARGEST and (finite or value != math.inf):  # an int can exceed it, too
        raise InvalidArgumentError(f"{name} must be finite", argument=name)
    return value


def check_timedelta(name: str, value: timedelta) -> timedelta:
    """Return `value`, which must be a timedelta above zero.

    Raises:
        ValueError: If `value` is zero or negative.
        TypeError: If `value` is not a timedelta.
    """
    check_type(name, value, timedelta)
    if value <= timedelta(0):
        raise InvalidArgumentError(f"{name} must be above zero", argument=name)
    return value


def check_time_zone(name: str, value: tzinfo) -> None:
    """Reject a value that cannot be used as the time zone of naive date-times.

    Raises:
        ValueError: If `value` has no UTC offset, is not hashable, or is from pytz.
        TypeError: If `value` is not a `tzinfo`.
    """
    if not isinstance(value, tzinfo):
        raise TypeError(f"{name} must be a tzinfo or None, not {type(value).__name__}")
    if hasattr(value, "localize") or type(value).__hash__ is None:
        raise InvalidArgumentError(f"{name} must be hashable and not from pytz; use zoneinfo", argument=name)
    try:
        offset = value.utcoffset(datetime(2024, 1, 1))  # noqa: DTZ001 - tzinfo's methods take naive date-times
    except NotImplementedError:
        offset = None
    if offset is None:
        raise InvalidArgumentError(f"{name} must have a UTC offset", argument=name)


def check_time_range(start: datetime | None, end: datetime | None) -> tuple[datetime | None, datetime | None]:
    """Return both ends of a time range in UTC. `None` is an open end.

    Raises:
        ValueError: If an end is naive or outside the years 1 to 9999 in UTC, or `end` is before `start`.
        TypeError: If an end is not a datetime.
    """
    start, end = _checked_end("start", start), _checked_end("end", end)
    if start is not None and end is not None and end < start:
        raise InvalidArgumentError("end must not be before start", argument="end")
    return start, end


def check_text(name: str, value: str) -> str:
    """Return `value`, which must be a printable, non-empty string.

    Raises:
        ValueError: If `value` is empty, or has a character that is not printable.
        TypeError: If `value` is not a str.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise InvalidArgumentError(f"{name} must not be empty", argument=name)
    if not value.isprintable():
        raise InvalidArgumentError(f"{name} must be printable", argument=name)
    return value


def check_utf8(name: str, value: str) -> str:
    """Return `value`, which must be a string that can be encoded as UTF-8.

    Raises:
        ValueError: If `value` has a lone surrogate.
        TypeError: If `value` is not a str.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if is_utf8(value):
        return value
    raise InvalidArgumentError(f"{name} must be encodable as UTF-8: it has a lone surrogate", argument=name)


def is_utf8(value: str) -> bool:
    """Return whether a string can be encoded as UTF-8: it has no lone surrogate."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_header_text(name: str, value: str) -> str:
    """Return `value`, which must be a string that an HTTP header can carry (RFC 9110, section 5.5).

    Raises:
        ValueError: If `value` is empty or not printable ASCII, or starts or ends with a space.
        TypeError: If `value` is not a str.
    """
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        raise InvalidArgumentError(f"{name} must be printable ASCII: a header carries it", argument=name)
    if check_text(name, value) != value.strip():
        raise InvalidArgumentError(f"{name} must not start or end with a space: a header would lose it", argument=name)
    return value


def check_headers(name: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of `headers`, which must be extra fields for the head of a request.

    Raises:
        ValueError: If a field name is not a token (RFC 9110, section 5.6.2), is given twice in different cases, or is
            one that the SDK sets itself; or a value is empty or not printable ASCII, or starts or ends with a space.
        TypeError: If `headers` is not a mapping, or a name or a value is not a str.
    """
    if not isinstance(headers, Mapping):
        raise TypeError(f"{name} must be a mapping or None, not {type(headers).__name__}")
    seen: set[str] = set()
    for field, value in headers.items():
        if not isinstance(field, str):
            raise TypeError(f"{name} must have names of type str, not {type(field).__name__}")
        if not _TOKEN.fullmatch(field):
            raise InvalidArgumentError(f"{name} must have names that are tokens of HTTP, such as X-Key", argument=name)
        if reserved := _RESERVED_HEADERS.get(field.lower()):
            raise InvalidArgumentError(f"{name} must not have {reserved}, which the SDK sets itself", argument=name)
        if field.lower() in seen:
            raise InvalidArgumentError(f"{name} must have {field} only once: case does not matter", argument=name)
        seen.add(field.lower())
        check_header_text(f"{name}[{field!r}]", value)
    return dict(headers)


def is_unreserved(value: str) -> bool:
    """Return whether `value` has letters, digits and hyphens only, and at least one, as most ids do.

    A path, a query and a header carry such a value as it is. This check takes much less time than theirs.
    """
    return value.isascii() and value.replace("-", "").isalnum()


def check_tenant_id(tenant_id: str) -> str:
    """Return `tenant_id`, which must be a string that both a path segment and a header can carry.

    Raises:
        ValueError: If `tenant_id` is empty, `.` or `..`, starts or ends with a space, or is not printable ASCII
            (RFC 9110, section 5.5).
        TypeError: If `tenant_id` is not a str.
    """
    if not (type(tenant_id) is str and is_unreserved(tenant_id)):
        _check_segment("tenant_id", tenant_id)
        check_header_text("tenant_id", tenant_id)
    return tenant_id


def check_appointment_id(appointment_id: str) -> str:
    """Return `appointment_id`, which must be a string that a path or a query can carry.

    Raises:
        ValueError: If `appointment_id` is empty, `.` or `..`, or has a character that is not printable.
        TypeError: If `appointment_id` is not a str.
    """
    return _check_segment("appointment_id", appointment_id)


def check_base_url(base_url: str, *, allow_http: bool = False) -> str:
    """Return `base_url` without a trailing slash.

    Raises:
        ValueError: If `base_url` is not absolute, has user information, a query or a fragment, or is plain `http` to a
            host other than the loopback while `allow_http` is off. The message never repeats the URL.
        TypeError: If `base_url` is not a str, or `allow_http` is not a bool.
    """
    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")
    if not isinstance(allow_http, bool):  # the string "no" would permit it
        raise TypeError(f"allow_http must be a bool, not {type(allow_http).__name__}")
    parts = _split_http_url("base_url", base_url)
    if "@" in parts.netloc:
        raise InvalidArgumentError("base_url must not hold user information", argument="base_url")
    if "?" in base_url or "#" in base_url:
        raise InvalidArgumentError("base_url must have neither a query nor a fragment", argument="base_url")
    if not base_url.isprintable() or " " in base_url:
        raise InvalidArgumentError("base_url must not hold spaces or control characters", argument="base_url")
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname or ""):
        raise InvalidArgumentError(
            "base_url must be https: http shows the token to the whole network (allow_http permits it)",
            argument="base_url",
        )
    return base_url.rstrip("/")


def check_proxy(proxy: str) -> str:
    """Return `proxy`, which must be the URL of a forward proxy.

    Raises:
        ValueError: If `proxy` is not an absolute http or https URL, or its user information cannot be carried by a
            header (RFC 7617). The message never repeats the URL.
        TypeError: If `proxy` is not a str.
    """
    if not isinstance(proxy, str):
        raise TypeError(f"proxy must be a str or None, not {type(proxy).__name__}")
    parts = _split_http_url("proxy", proxy)
    if not proxy.isprintable():
        raise InvalidArgumentError("proxy must be an absolute http or https URL", argument="proxy")
    if not proxy.isascii() or not unquote(parts.username or "").isascii() or ":" in unquote(parts.username or ""):
        raise InvalidArgumentError(
            "proxy must be ASCII, and its user must have no colon: a header carries it (RFC 7617)", argument="proxy"
        )
    if not unquote(parts.password or "").isascii():
        raise InvalidArgumentError(
            "proxy must have a password of ASCII: a header carries it (RFC 7617)", argument="proxy"
        )
    return proxy


def check_method(method: str) -> str:
    """Return `method`, which must be an HTTP method.

    Raises:
        ValueError: If `method` is not a token (RFC 9110, section 5.6.2).
        TypeError: If `method` is not a str.
    """
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {type(method).__name__}")
    if not _TOKEN.fullmatch(method):
        raise InvalidArgumentError("method must be a token of HTTP, such as GET", argument="method")
    return method


def check_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return `path`, which must be a tuple of unquoted path segments.

    Raises:
        ValueError: If a segment is empty, `.` or `..`, or has a character that is not printable.
        TypeError: If `path` is not a tuple, or a segment is not a str.
    """
    if not isinstance(path, tuple):
        raise TypeError(f"path must be a tuple of segments, not {type(path).__name__}")
    for segment in path:
        _check_segment("each segment of path", segment)
    return path


def check_parameters(query: Mapping[str, str]) -> Mapping[str, str]:
    """Return `query`, which must be a mapping of strings that can be quoted.

    Raises:
        ValueError: If a name or a value has a lone surrogate, which quoting would drop.
        TypeError: If `query` is not a mapping, or a name or a value is not a str.
    """
    if type(query) is not dict and not isinstance(query, Mapping):  # `type` takes a tenth of the time
        raise TypeError(f"query must be a mapping, a str or None, not {type(query).__name__}")
    for name_and_value in query.items():
        for part in name_and_value:
            if not isinstance(part, str):
                raise TypeError(f"query must have names and values of type str, not {type(part).__name__}")
            check_utf8("query", part)
    return query


def check_query(name: str, query: str) -> str:
    """Return `query`, which must be a quoted query without its question mark (RFC 3986, section 3.4).

    Raises:
        ValueError: If `query` is not printable ASCII, or has a space or a `#`.
        TypeError: If `query` is not a str.
    """
    if query:
        check_text(name, query)
    if not query.isascii() or " " in query or "#" in query:
        raise InvalidArgumentError(f"{name} must be a quoted query", argument=name)
    return query


def check_json(name: str, value: object) -> bytes:
    """Return the JSON of `value`, which must consist of values that have one form in JSON.

    Raises:
        ValueError: If `value` has anything else, such as a date-time, a model or NaN.
    """
    try:
        # json rejects NaN, date-times and dataclasses, which orjson would write, NaN as null.
        json.dumps(value, allow_nan=False)
        # orjson rejects integers beyond 64 bits, lone surrogates, and keys that are not strings.
        return orjson.dumps(value)
    except (RecursionError, TypeError, ValueError):
        pass
    # Raised outside of the handler: the frames of the caught error may hold values.
    raise InvalidArgumentError(
        f"{name} must hold only JSON values: objects with keys of type str, arrays, strings, finite numbers, integers "
        "of at most 64 bits, booleans and null",
        argument=name,
    )


def check_endpoint(path: str, parameters: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return the unquoted segments of `path`, a path below the tenant, with `parameters` for the names in braces.

    Raises:
        ValueError: If `path` does not start with one slash; has an empty segment, `.`, `..`, a query, a fragment, a
            percent sign, a character that is not printable, or braces that are not around a whole segment. If a name in
            braces is not in `parameters`, or the reverse, or a value could not be a segment.
        TypeError: If `path` is not a str, or `parameters` is not a mapping of strings.
    """
    if not check_text("path", path).startswith("/"):
        raise InvalidArgumentError("path must start with a slash: it is below the tenant", argument="path")
    if any(character in path for character in "?#%"):
        raise InvalidArgumentError(
            "path must have no query, no fragment and no percent sign: query and path_parameters are quoted for you",
            argument="path",
        )
    if parameters is not None and not isinstance(parameters, Mapping):
        raise TypeError(f"path_parameters must be a mapping or None, not {type(parameters).__name__}")
    values = dict(parameters or {})
    segments = tuple(_fill_in(segment, values) for segment in path[1:].split("/"))
    if values:
        raise InvalidArgumentError(
            "path_parameters must have only names that path has in braces", argument="path_parameters"
        )
    return segments


def _fill_in(segment: str, values: dict[str, str]) -> str:
    """Return a segment of a path, or the value that its name in braces has, which is removed from `values`."""
    if not segment or segment in {".", ".."}:
        raise InvalidArgumentError("path must have no empty segment, no '.' and no '..'", argument="path")
    name = segment[1:-1]
    if "{" not in segment and "}" not in segment:
        return segment
    if segment != f"{{{name}}}" or not name.isidentifier():
        raise InvalidArgumentError(
            "path must have braces only around the name of a whole segment, such as {appointmentId}", argument="path"
        )
    if name not in values:
        raise InvalidArgumentError(f"path_parameters must have {name}, once", argument="path_parameters")
    return _check_segment(f"path_parameters[{name!r}]", values.pop(name))


def _is_async(value: object) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)


def _checked_end(name: str, value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidArgumentError(f"{name} must be aware: it has no time zone", argument=name)
    try:
        return in_utc(value)
    except InstantError as error:
        problem = str(error)
    raise InvalidArgumentError(f"{name}: {problem}", argument=name)


def _split_http_url(name: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidArgumentError(f"{name} is not a valid URL", argument=name) from None
    if parts.scheme not in {"http", "https"} or not host:
        raise InvalidArgumentError(f"{name} must be an absolute http or https URL", argument=name)
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_segment(name: str, value: str) -> str:
    check_text(name, value)
    if value in {".", ".."}:
        raise InvalidArgumentError(f"{name} must not be '.' or '..': a path would lose it", argument=name)
    return value
