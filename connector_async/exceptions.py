"""Every error this package raises for something the network or the server did.

It knows nothing of HTTP libraries or of this API's fields. Mistakes of the caller are `ValueError` or `TypeError`,
raised before any I/O, and `asyncio.CancelledError` passes through untouched; both stay outside this tree.

    ConnectorError
    ├─ TransportError                 no usable answer; `sent` says whether the request may have left
    │  ├─ ConnectFailedError          also ConnectionError
    │  └─ RequestTimeoutError         also TimeoutError
    ├─ DeadlineExceededError          the caller's deadline over everything; also TimeoutError
    │  └─ ThrottledError              no rate-limit slot came before it; `retry_after` says when one comes
    ├─ ResponseError                  an answer outside 2xx
    │  ├─ InvalidRequestError         400 422
    │  ├─ AuthenticationError         401, and 400 401 403 of the token endpoint
    │  ├─ ForbiddenError              403
    │  ├─ NotFoundError               404 410
    │  ├─ ConflictError               409 412
    │  ├─ RateLimitedError            429
    │  ├─ UnexpectedRedirectError     3xx
    │  └─ ServerError                 5xx
    ├─ DecodingError                  a 2xx body is not what the contract says
    ├─ OutcomeUnknownError            a create was sent and its answer lost: it may have happened
    ├─ PaginationError                the pages lead nowhere: a token or a page twice, a link elsewhere
    └─ SyncError                      the bulk sync cannot go on; its kinds are in `connector_async.sync`

Each is picklable. Neither its text nor its `repr` nor its chain of causes holds a token, a secret or a body. The
frames that could hold one are cut from its traceback: see `_tracebacks`.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class ConnectorError(Exception):
    """The root: catch this to catch everything the network or the server can do."""

    continuation_token: str | None = None
    """Where to go on after an error while paging: by `AsyncPager.pages(continuation_token=…)`. `None`: from the first
    page, or it was not raised while paging."""
    operation: str | None = None
    """What was called: `get`, `create`, `update`, `delete` or `preview`, or the method of a request that a session was
    asked for. `None`: it was raised elsewhere."""
    retry_quota_exhausted: bool = False
    """`True`: one more attempt was due, and was not made because the retries of this tenant had used up their quota."""

    def __init__(
        self, message: str, *, sent: bool = True, attempts: int | None = None, elapsed: float | None = None
    ) -> None:
        super().__init__(message)
        self.sent = sent
        """`False`: the operation has not happened. No request of it left this client, or it was refused for its token,
        and no other one could be had. `True`: one left, or may have."""
        self.attempts = attempts
        """How many attempts were made, those that never left included; `None` when no service made the call. A replay
        after a 401 is part of its attempt."""
        self.elapsed = elapsed
        """Seconds from the call to this error, by the monotonic clock; `None` when no service made the call."""


class TransportError(ConnectorError):
    """No usable answer: the connection was dropped, or the answer was cut, late, or not HTTP."""


class ConnectFailedError(TransportError, ConnectionError):
    """No connection was made: refused, unreachable, name not resolved, or TLS failed.

    `sent` is `False`, unless an earlier attempt had left.
    """

    def __init__(
        self, message: str, *, sent: bool = False, attempts: int | None = None, elapsed: float | None = None
    ) -> None:
        super().__init__(message, sent=sent, attempts=attempts, elapsed=elapsed)


class RequestTimeoutError(TransportError, TimeoutError):
    """An attempt took longer than it may. `sent` is `False` when it was still waiting for a connection."""


class DeadlineExceededError(ConnectorError, TimeoutError):
    """The caller's deadline came, or what would have to be waited for next ends after it.

    `__cause__` says what failed before. A create that may have happened is an `OutcomeUnknownError` instead.
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
        """The status of the last answer; `None` when none came."""


class ThrottledError(DeadlineExceededError):
    """No rate-limit slot comes before the deadline: by the tenant's own pace, or because the server throttles.

    It is raised as soon as that is known, which is mostly at once. A web service may return 503 with `retry_after`.
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
        """Seconds until a slot would have come, reckoned when the error was raised: at least so many, when other calls
        wait as well. `None` when that is not known."""


class ResponseError(ConnectorError):
    """A whole answer came, and its status is not 2xx."""

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
        """The HTTP method that was sent."""
        self.path = path
        """The path that was sent, percent-encoded, without its query."""
        self.request_id = request_id
        """How the server names this exchange, to quote to its support; `None` when it sent no such name."""
        self.problem = problem
        """The problem details object as the server sent it (RFC 9457); `None` when the body was none."""
        self.retry_after = retry_after
        """Seconds the server asks to wait (RFC 9110, section 10.2.3); `None` when it asked for nothing usable."""


class InvalidRequestError(ResponseError):
    """400 or 422: the server refuses the request as it is."""

    @property
    def errors(self) -> Mapping[str, Sequence[str]]:
        """The server's messages by field, as ASP.NET's `errors` lists them; empty when it names none."""
        errors = (self.problem or {}).get("errors")
        if not isinstance(errors, dict):
            return {}
        return {str(field): _messages(value) for field, value in errors.items()}


class AuthenticationError(ResponseError):
    """401, or the token endpoint refused the credentials with 400, 401 or 403."""


class ForbiddenError(ResponseError):
    """403: the credentials are good, and may not do this."""


class NotFoundError(ResponseError):
    """404 or 410, or a `get` that was answered with an empty body."""


class ConflictError(ResponseError):
    """409 or 412: the state of the server does not allow it."""


class RateLimitedError(ResponseError):
    """429: too many requests."""


class UnexpectedRedirectError(ResponseError):
    """3xx: redirects are never followed, since they would carry credentials to wherever the answer points."""


class ServerError(ResponseError):
    """5xx: the server failed, or something in front of it did."""


class DecodingError(ConnectorError):
    """A 2xx answer whose body is not what the contract says. A write that ends in it has happened."""

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
        """One line per fault: its path in the body and the rule it breaks, never the value found there."""
        self.request_id = request_id
        """How the server names this exchange; `None` when it sent no such name."""
        self.appointment_id = appointment_id
        """The id of the appointment that was created, where the body of a create has a usable one beside its faults."""


class OutcomeUnknownError(ConnectorError):
    """A create was sent and no answer tells whether it happened. `__cause__` says what came instead."""

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
        """The status of the answer that leaves the outcome open, such as 500, 502 or 504; `None` when none came."""
        self.absent = absent
        """`True`: the caller's `verify` looked for what was to be created, and did not find it."""


class PaginationError(ConnectorError):
    """A walk over pages cannot go on: a token or a page came twice, or a link leads elsewhere."""

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
    """The bulk sync stopped, or did not begin: its state, its source or its guard says why. `sent` means nothing."""


def _messages(value: object) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    return tuple(text for text in texts if isinstance(text, str))
