"""The HTTP statuses and headers with which a web service responds to the errors of the package."""

import asyncio
import math

import pytest

from connector_async import exceptions, http_headers_for, http_status, http_status_for
from connector_async.exceptions import (
    AuthenticationError,
    ConflictError,
    ConnectFailedError,
    ConnectorError,
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
from connector_async.sync import StateBusyError

EXPECTED = {
    InvalidArgumentError: 400,
    InvalidRequestError: 400,
    NotFoundError: 404,
    ConflictError: 409,
    AuthenticationError: 500,
    TokenUnavailableError: 500,
    ForbiddenError: 500,
    SyncError: 500,
    StateBusyError: 500,
    TransportError: 502,
    ConnectFailedError: 502,
    ResponseError: 502,
    UnexpectedRedirectError: 502,
    ServerError: 502,
    DecodingError: 502,
    PaginationError: 502,
    ThrottledError: 503,
    RateLimitedError: 503,
    RequestTimeoutError: 504,
    DeadlineExceededError: 504,
    OutcomeUnknownError: 504,
}


@pytest.mark.parametrize(("error_type", "status"), EXPECTED.items())
def test_status_of_an_error_is_that_of_the_table(error_type: type[Exception], status: int) -> None:
    assert http_status_for(error_type("it failed")) == status


def test_every_public_error_has_a_status_of_its_own_and_a_line_in_the_docstring() -> None:
    errors = {value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, Exception)}
    mapped = errors - {ConnectorError}  # never raised itself
    assert set(http_status._STATUSES) == mapped
    assert {error.__name__ for error in mapped if error.__name__ not in (http_status.__doc__ or "")} == set()


@pytest.mark.parametrize("error", [ValueError("a bug"), TimeoutError(), asyncio.CancelledError()])
def test_status_of_an_exception_of_another_package_is_500(error: BaseException) -> None:
    assert http_status_for(error) == 500


def test_upstream_503_stays_503() -> None:
    error = ServerError("GET /a returned 503", status=503, retry_after=7)
    assert (http_status_for(error), http_headers_for(error)) == (503, {"Retry-After": "7"})


@pytest.mark.parametrize(("seconds", "value"), [(0.0, "0"), (0.2, "1"), (2.0, "2"), (2.01, "3"), (-1.0, "0")])
def test_retry_after_is_rounded_up_to_whole_seconds(seconds: float, value: str) -> None:
    assert http_headers_for(ThrottledError("no slot", retry_after=seconds)) == {"Retry-After": value}
    assert http_headers_for(RateLimitedError("429", retry_after=seconds)) == {"Retry-After": value}


@pytest.mark.parametrize(
    "error",
    [
        ThrottledError("no slot"),
        ThrottledError("no slot", retry_after=math.inf),
        NotFoundError("no such appointment", retry_after=3),
        ValueError("a bug"),
    ],
)
def test_there_is_no_retry_after_if_the_wait_is_unknown_or_no_retry_helps(error: Exception) -> None:
    assert http_headers_for(error) == {}
