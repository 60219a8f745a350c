"""A response, and its meaning: its value, its error, its `Retry-After`, its request id. It knows no HTTP library."""

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, tzinfo
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from multidict import istr

from connector_async._json import JsonError, may_be_rounded, parse
from connector_async._tracebacks import without_frames
from connector_async.exceptions import (
    AuthenticationError,
    ConflictError,
    DecodingError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    ResponseError,
    ServerError,
    UnexpectedRedirectError,
)

from .pickled import reduced

if TYPE_CHECKING:
    from attrs import frozen as frozen_for_type_checkers

    from connector_async.wire import WireFormat
else:
    frozen_for_type_checkers = attrs.define  # a frozen class takes three times as long to build, in each call

T = TypeVar("T")

_REQUEST_ID: Final = istr("X-Request-Id")
_CORRELATION_ID: Final = istr("X-Correlation-Id")
_TRACEPARENT: Final = istr("traceparent")
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


@frozen_for_type_checkers(kw_only=True)
class Response:
    """A whole response. Treat it as immutable. It can be pickled, and holds nothing of its request."""

    status: int
    """The HTTP status code."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """Names are matched without regard to case."""
    body: bytes = attrs.field(repr=False)
    """The body after decompression; empty if it was oversized."""
    oversized: bool = False
    """Whether the body was longer than the cap, and so was not read to its end."""
    wire_format: "WireFormat | None" = attrs.field(default=None, repr=False)
    """The format of the models in the body, for `structure`. `None`: `WireFormat.GUIDE`."""
    assume_zone: tzinfo | None = attrs.field(default=None, repr=False)
    """The time zone of date-times without a UTC offset. `None`: they are rejected."""

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, to quote to its support. `None`: the server sent none."""
        return request_id(self.headers)

    def json(self) -> Any:
        """Return the value of the JSON body. Integers of any length stay integers.

        Raises:
            DecodingError: If the body is empty or not JSON, is nested deeper than 64 levels, or is longer than 256 KiB
                with far more values than appointments have.
        """
        problem, value = self._parse()
        if problem is None:
            return value
        raise DecodingError("the body is not readable JSON", problems=[f"$: {problem}"], request_id=self.request_id)

    def structure(self, type_: type[T]) -> T:
        """Return the body as a value of a type, by the strict rules that the SDK reads appointments by.

        Args:
            type_: A model of the SDK; an attrs class or a dataclass, which may contain models; a JSON type; or
                `list[X]`, `tuple[X, ...]` or `dict[str, X]` of them. Models are in the wire format of the session, and
                other classes have the aliases of their fields as keys. Date-times are RFC 3339 strings with an offset.

        Raises:
            DecodingError: If `json` would raise it, or the value is not a valid `type_`. The problems name paths and
                rules, never values.
            TypeError: If `type_` cannot be read from JSON.
        """
        from connector_async.wire import WireFormat  # noqa: PLC0415 - imports cattrs, which not every program needs

        try:
            return (self.wire_format or WireFormat.GUIDE).structure(self.body, type_, self.assume_zone)
        except Exception as error:  # noqa: BLE001 - raised below
            failed = error
        if isinstance(failed, DecodingError):
            failed.request_id = self.request_id
        try:
            raise without_frames(failed)
        finally:
            del failed  # a cycle

    def _parse(self) -> tuple[str | None, Any]:
        """Return what is wrong with the body, or else `None` and its value."""
        if not self.body:
            return "no body", None
        try:
            value = parse(self.body)
            return None, parse(self.body, exact=True) if may_be_rounded([value]) else value
        except JsonError as error:
            return str(error), None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read `Retry-After` (RFC 9110, section 10.2.3) in either of its forms.

    A date is measured against the `Date` of the same response (section 6.6.1), so that this machine's clock need not be
    right.

    Args:
        headers: The response's headers.
        now: The current Unix time in seconds, used if the response has no valid `Date`.

    Returns:
        The seconds to wait, above zero. `None` if the header is absent, malformed, or not in the future.
    """
    value = headers.get("Retry-After", "").strip()
    if _DELAY_SECONDS.fullmatch(value):
        # No wait has 20 digits, and int() rejects 4,300 of them.
        seconds = float(value) if len(value) < 20 else None
    else:
        then, sent_at = _timestamp(value), _timestamp(headers.get("Date", ""))
        seconds = None if then is None else then - (now if sent_at is None else sent_at)
    return seconds if seconds is not None and seconds > 0 else None


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the request id from the headers, or `None` if there is none.

    The first of `X-Request-Id`, `X-Correlation-Id` and `traceparent` (W3C Trace Context) is used.
    """
    return headers.get(_REQUEST_ID) or headers.get(_CORRELATION_ID) or headers.get(_TRACEPARENT)


def error_for(
    method: str, path: str, response: Response, now: float, *, from_token_endpoint: bool = False
) -> ResponseError:
    """Return the error for a response outside 2xx. Its message holds nothing of the body.

    Args:
        method: The method that was sent.
        path: The quoted path that was sent, without its query.
        response: The response.
        now: The current Unix time in seconds, for a `Retry-After` that is a date.
        from_token_endpoint: Whether the response is from the token endpoint, where 400 and 403 mean that the
            credentials are refused, as 401 does (contract, "Authentication").
    """
    status = response.status
    problem = _problem(response)
    are_credentials_refused = from_token_endpoint and status in {400, 403}
    error_type = AuthenticationError if are_credentials_refused else _error_type(status)
    return error_type(
        f"{method} {path} returned {status}{_phrase(status)}",
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
        parsed = parse(response.body)
        if not isinstance(parsed, dict):
            return None
        # A deeper one could not be pickled with its error, and is not a problem document of RFC 9457.
        return parse(response.body, exact=True) if may_be_rounded(parsed.values()) else parsed
    except JsonError:
        return None


def _trace_id(problem: Mapping[str, Any] | None) -> str | None:
    trace_id = (problem or {}).get("traceId")  # ASP.NET's extension of RFC 9457
    return trace_id if isinstance(trace_id, str) else None


def _timestamp(http_date: str) -> float | None:
    """Return an HTTP-date as Unix time in seconds, or `None` if it is not a valid one."""
    try:
        date = email.utils.parsedate_to_datetime(http_date)
        # An HTTP-date is always GMT; its asctime form (RFC 9110, section 5.6.7) does not say so.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
