"""The HTTP status with which a web service in front of the API responds to an error of this package.

    400  InvalidArgumentError       an argument broke a rule before anything was sent
    400  InvalidRequestError        the server refused the values; `errors` has its messages by field
    404  NotFoundError
    409  ConflictError              also for an upstream 412: the web client may have sent no precondition
    500  AuthenticationError        the service's own credentials were refused. 401 or 403 would ask the web client,
    500  ForbiddenError                which is not at fault, for other ones
    500  TokenUnavailableError      the service's own token source has none
    500  SyncError                  the bulk sync is the service's own work
    502  TransportError             there is no usable response, or no connection (`ConnectFailedError`)
    502  ResponseError              any other status of the server, such as 405
    502  UnexpectedRedirectError
    502  ServerError                but 503 if the server responded with 503
    502  DecodingError              the server broke the contract
    502  PaginationError
    503  ThrottledError             with `Retry-After`
    503  RateLimitedError           with `Retry-After`
    504  RequestTimeoutError
    504  DeadlineExceededError
    504  OutcomeUnknownError        the create may have happened, so that the web client must not simply repeat it
    500  any other exception        an error of the program

Statuses 502 to 504 are those of a gateway (RFC 9110, sections 15.6.3 to 15.6.5). A rate limit is 503 rather than 429:
429 says that "the user has sent too many requests" (RFC 6585, section 4), but all clients of the service share the
limit of the tenant, and this one may have sent a single request. Both may carry `Retry-After`.

The module knows no web framework.
"""

import math
from http import HTTPStatus
from typing import Final

from .exceptions import (
    AuthenticationError,
    ConflictError,
    ConnectFailedError,
    DeadlineExceededError,
    DecodingError,
    ForbiddenError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    PaginationError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseError,
    ServerError,
    SyncError,
    ThrottledError,
    TokenUnavailableError,
    TransportError,
    UnexpectedRedirectError,
)

_STATUSES: Final[dict[type, HTTPStatus]] = {
    InvalidArgumentError: HTTPStatus.BAD_REQUEST,
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    AuthenticationError: HTTPStatus.INTERNAL_SERVER_ERROR,
    ForbiddenError: HTTPStatus.INTERNAL_SERVER_ERROR,
    TokenUnavailableError: HTTPStatus.INTERNAL_SERVER_ERROR,
    SyncError: HTTPStatus.INTERNAL_SERVER_ERROR,
    TransportError: HTTPStatus.BAD_GATEWAY,
    ConnectFailedError: HTTPStatus.BAD_GATEWAY,
    ResponseError: HTTPStatus.BAD_GATEWAY,
    UnexpectedRedirectError: HTTPStatus.BAD_GATEWAY,
    ServerError: HTTPStatus.BAD_GATEWAY,
    DecodingError: HTTPStatus.BAD_GATEWAY,
    PaginationError: HTTPStatus.BAD_GATEWAY,
    ThrottledError: HTTPStatus.SERVICE_UNAVAILABLE,
    RateLimitedError: HTTPStatus.SERVICE_UNAVAILABLE,
    RequestTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    DeadlineExceededError: HTTPStatus.GATEWAY_TIMEOUT,
    OutcomeUnknownError: HTTPStatus.GATEWAY_TIMEOUT,
}


def http_status_for(error: BaseException) -> int:
    """Return the HTTP status with which a web service responds to an error; the module's docstring has the table.

    Args:
        error: Any exception. A subclass has the status of its nearest base in the table, and an exception that is not
            of this package has 500, so that the service's error handler itself never fails.
    """
    if isinstance(error, ServerError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return int(HTTPStatus.SERVICE_UNAVAILABLE)
    statuses = (_STATUSES[base] for base in type(error).__mro__ if base in _STATUSES)
    return int(next(statuses, HTTPStatus.INTERNAL_SERVER_ERROR))


def http_headers_for(error: BaseException) -> dict[str, str]:
    """Return the headers of that response: `Retry-After` for a 503 if the wait is known, otherwise none.

    The value is in whole seconds, rounded up (RFC 9110, section 10.2.3).
    """
    if http_status_for(error) != HTTPStatus.SERVICE_UNAVAILABLE:
        return {}
    seconds: float | None = getattr(error, "retry_after", None)
    if seconds is None or not math.isfinite(seconds):
        return {}
    return {"Retry-After": str(max(0, math.ceil(seconds)))}
