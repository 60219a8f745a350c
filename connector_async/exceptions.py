"""The errors that this package raises when the network or the server fails.

    ConnectorError
    ├─ TransportError                 no usable response; `sent` says whether the request may have been sent
    │  ├─ ConnectFailedError          also ConnectionError
    │  └─ RequestTimeoutError         also TimeoutError
    ├─ DeadlineExceededError          the deadline of the call expired; also TimeoutError
    │  └─ ThrottledError              no rate-limit slot comes before the deadline; see `retry_after`
    ├─ ResponseError                  a status outside 2xx
    │  ├─ InvalidRequestError         400 422
    │  ├─ AuthenticationError         401, and 400 401 403 of the token endpoint
    │  │  └─ TokenUnavailableError    a token provider found no token on this machine: there was no request
    │  ├─ ForbiddenError              403
    │  ├─ NotFoundError               404 410
    │  ├─ ConflictError               409 412
    │  ├─ RateLimitedError            429
    │  ├─ UnexpectedRedirectError     3xx
    │  └─ ServerError                 5xx
    ├─ DecodingError                  a 2xx response that does not match the contract
    ├─ OutcomeUnknownError            a create or the like that may have happened: its response was lost
    ├─ PaginationError                a token or a page came twice, or a link leads elsewhere
    └─ SyncError                      the bulk sync stopped; its subclasses are in `connector_async.sync`

Outside this tree are `InvalidArgumentError`, which is a `ValueError`, and `TypeError`. Both are raised for invalid
arguments before any I/O. `asyncio.CancelledError` passes through unchanged.

Each error can be pickled. Its message, its `repr` and its causes hold no token, no secret and no body. The frames that
could hold one are cut from its traceback; see `_tracebacks`. The module knows no HTTP library and no fields of the API.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class InvalidArgumentError(ValueError):
    """Raised before any I/O when an argument breaks a rule. The message names the argument and the rule, not the value.

    An argument of another type raises `TypeError`, since that is an error of the program.
    """

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument
        """The name of the argument, or of the field of a model. `None`: no single one is at fault."""


class ConnectorError(Exception):
    """The base class of all errors of the network and the server. It is never raised itself."""

    continuation_token: str | None = None
    """The page to resume from after an error of a pager, with `AsyncPager.pages(continuation_token=…)`. `None`: the
    first page, or the error is not one of a pager."""
    operation: str | None = None
    """The operation that failed: `get`, `create`, `update`, `delete`, `preview`, or `request` for another endpoint. It
    is the HTTP method after a session's own request, and otherwise `None`."""
    retry_quota_exhausted: bool = False
    """Whether a further attempt was due but not made, because the retry quota of the tenant was exhausted."""

    def __init__(
        self, message: str, *, sent: bool = True, attempts: int | None = None, elapsed: float | None = None
    ) -> None:
        super().__init__(message)
        self.sent = sent
        """`False`: the operation has not happened. Either no request was sent, or the server refused its token and no
        new token could be fetched. `True`: a request was sent, or may have been."""
        self.attempts = attempts
        """The number of attempts, including those that were not sent. A replay after a 401 is part of its attempt.
        `None`: the call was not made by a service."""
        self.elapsed = elapsed
        """Seconds from the start of the call to the error, by the monotonic clock. `None`: the call was not made by a
        service."""


class TransportError(ConnectorError):
    """Raised when there is no usable response: the connection was dropped, or the response was cut off or not HTTP."""


class ConnectFailedError(TransportError, ConnectionError):
    """Raised when no connection could be made: it was refused, the host is unreachable or unknown, or TLS failed.

    `sent` is `False`, unless an earlier attempt was sent.
    """

    def __init__(
        self, message: str, *, sent: bool = False, attempts: int | None = None, elapsed: float | None = None
    ) -> None:
        super().__init__(message, sent=sent, attempts=attempts, elapsed=elapsed)


class RequestTimeoutError(TransportError, TimeoutError):
    """Raised when an attempt takes too long. `sent` is `False` if it was still waiting for a connection."""


class DeadlineExceededError(ConnectorError, TimeoutError):
    """Raised when the deadline of a call expires, or would expire during the next wait.

    `__cause__` is the error of the last attempt. A create that may have happened raises `OutcomeUnknownError` instead.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        sent: bool = True,
        attempts: int | None = None,
        elapsed: float | None = None,
    ) -> None:
        super().__init__(message, sent=sent, attempts=attempts, elapsed=elapsed)
        self.status = status
        """The status of the last response. `None`: there was no response."""


class ThrottledError(DeadlineExceededError):
    """Raised when no rate-limit slot comes before the deadline, because of the tenant's pace or a throttling server.

    It is raised as soon as that is known, which is mostly at once. A web service can pass it on as 503 with
    `Retry-After`; see `http_status_for` and `http_headers_for`.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        status: int | None = None,
        sent: bool = True,
        attempts: int | None = None,
        elapsed: float | None = None,
    ) -> None:
        super().__init__(message, status=status, sent=sent, attempts=attempts, elapsed=elapsed)
        self.retry_after = retry_after
        """Seconds until a slot would have come, counted from the error. If other calls wait as well, it may take
        longer. `None`: unknown."""


class ResponseError(ConnectorError):
    """Raised when the status of a complete response is not 2xx. There are subclasses for the common statuses."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        method: str = "",
        path: str = "",
        request_id: str | None = None,
        problem: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        sent: bool = True,
        attempts: int | None = None,
        elapsed: float | None = None,
    ) -> None:
        super().__init__(message, sent=sent, attempts=attempts, elapsed=elapsed)
        self.status = status
        """The HTTP status code."""
        self.method = method
        """The HTTP method of the request."""
        self.path = path
        """The path of the request, percent-encoded, without the query; or its template, if it was given as one."""
        self.request_id = request_id
        """The server's id of the request, to quote to its support. `None`: the server sent none."""
        self.problem = problem
        """The problem details object that the server sent (RFC 9457). `None`: the body was not such an object."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait (RFC 9110, section 10.2.3). `None`: it sent no usable `Retry-After`."""


class InvalidRequestError(ResponseError):
    """Raised when the server refuses the request as invalid (400, 422)."""

    @property
    def errors(self) -> Mapping[str, Sequence[str]]:
        """The server's messages by field, from the member `errors` of ASP.NET. Empty if there are none."""
        errors = (self.problem or {}).get("errors")
        if not isinstance(errors, dict):
            return {}
        return {str(field): _messages(value) for field, value in errors.items()}


class AuthenticationError(ResponseError):
    """Raised when the server refuses the token (401), or the token endpoint refuses the credentials (400, 401, 403)."""


class TokenUnavailableError(AuthenticationError):
    """Raised when a token provider finds no usable token, for instance since a file is missing or a command failed.

    There was no request: `sent` is `False`, and `status` is 0.
    """


class ForbiddenError(ResponseError):
    """Raised when the credentials are valid but do not permit the request (403)."""


class NotFoundError(ResponseError):
    """Raised when there is no such appointment (404, 410, or an empty body in the response to a `get`)."""


class ConflictError(ResponseError):
    """Raised when the request conflicts with the state of the server (409, 412)."""


class RateLimitedError(ResponseError):
    """Raised when the server refuses a request because there were too many (429)."""


class UnexpectedRedirectError(ResponseError):
    """Raised for every redirect (3xx). None is followed, because that could send credentials to another host."""


class ServerError(ResponseError):
    """Raised when the server, or a proxy in front of it, failed (5xx)."""


class DecodingError(ConnectorError):
    """Raised when a 2xx response does not match the contract. A write that raises it with `sent` has happened."""

    def __init__(
        self,
        message: str,
        *,
        problems: Sequence[str] = (),
        request_id: str | None = None,
        appointment_id: str | None = None,
        sent: bool = True,
        attempts: int | None = None,
        elapsed: float | None = None,
    ) -> None:
        super().__init__(message, sent=sent, attempts=attempts, elapsed=elapsed)
        self.problems = tuple(problems)
        """One line per problem: the path in the body and the rule that is broken, never the value."""
        self.request_id = request_id
        """The server's id of the request. `None`: the server sent none."""
        self.appointment_id = appointment_id
        """The id of the created appointment, if the response to a create has a usable one. Otherwise `None`."""


class OutcomeUnknownError(ConnectorError):
    """Raised when a create, or another request that is not idempotent, was sent and it is unknown whether it happened.

    `__cause__` is the error of the request.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        absent: bool = False,
        sent: bool = True,
        attempts: int | None = None,
        elapsed: float | None = None,
    ) -> None:
        super().__init__(message, sent=sent, attempts=attempts, elapsed=elapsed)
        self.status = status
        """The status that leaves the outcome open, such as 500, 502 or 504. `None`: there was no response."""
        self.absent = absent
        """Whether `verify` looked for the appointment and did not find it."""


class PaginationError(ConnectorError):
    """Raised when a pager cannot continue: a token or a page came twice, or a link leads elsewhere."""

    def __init__(
        self,
        message: str,
        *,
        continuation_token: str | None = None,
        sent: bool = True,
        attempts: int | None = None,
        elapsed: float | None = None,
    ) -> None:
        super().__init__(message, sent=sent, attempts=attempts, elapsed=elapsed)
        self.continuation_token = continuation_token


class SyncError(ConnectorError):
    """Raised when the bulk sync stops or cannot start. Its subclasses give the reason. `sent` has no meaning here."""


def _messages(value: object) -> tuple[str, ...]:
    messages = value if isinstance(value, list) else [value]
    return tuple(message for message in messages if isinstance(message, str))
