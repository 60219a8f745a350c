import pytest

from connector_async.sandbox import LoggedRequest, RequestLog, SandboxOperation
from connector_async.testing import AssertRequests


def log_of(*requests: str) -> RequestLog:
    """Return a log of requests that are written as `tenant METHOD path status`."""
    log = RequestLog()
    for request in requests:
        tenant, method, path, status = request.split()
        operation: SandboxOperation = "token" if path == "/authentication/token" else "get"
        log.record(
            LoggedRequest(
                method=method, path=path, operation=operation, tenant=tenant, status=int(status), request_id="r"
            )
        )
    return log


GET, LIMITED = "acme GET /appointment 200", "acme GET /appointment 429"


def test_requests_are_compared_with_and_without_their_status() -> None:
    assert_requests = AssertRequests(log_of(LIMITED, GET))
    assert_requests("GET /appointment", "GET /appointment")
    assert_requests("GET /appointment 429", "GET /appointment 200")


def test_difference_is_shown_line_by_line() -> None:
    assert_requests = AssertRequests(log_of(GET, "acme POST /appointment 201", "acme PUT /appointment 0"))
    with pytest.raises(AssertionError) as caught:
        assert_requests("GET /appointment", "PUT /appointment")
    assert str(caught.value).splitlines() == [
        "the sandbox received other requests (- expected, + received):",
        "  GET /appointment",
        "+ POST /appointment 201",
        "  PUT /appointment",
    ]


def test_a_dropped_response_has_no_status() -> None:
    AssertRequests(log_of("acme PUT /appointment 0"))("PUT /appointment dropped")


def test_requests_must_come_in_order_unless_they_are_counted() -> None:
    assert_requests = AssertRequests(log_of(GET, "acme POST /appointment 201", GET))
    with pytest.raises(AssertionError):
        assert_requests("GET /appointment", "GET /appointment", "POST /appointment")
    assert_requests(counts={"POST /appointment": 1, "GET /appointment": 2})
    with pytest.raises(AssertionError, match=r"\n- GET /appointment\n"):
        assert_requests(counts={"POST /appointment": 1, "GET /appointment": 3})


def test_token_requests_are_compared_only_if_asked_for() -> None:
    assert_requests = AssertRequests(log_of("acme POST /authentication/token 200", GET))
    assert_requests("GET /appointment")
    assert_requests("POST /authentication/token", "GET /appointment", tokens=True)


def test_requests_of_one_tenant_are_compared_alone() -> None:
    assert_requests = AssertRequests(log_of(GET, "globex PUT /appointment 200"))
    assert_requests("PUT /appointment", tenant="globex")


def test_no_request_is_asserted_by_no_argument() -> None:
    AssertRequests(log_of())()
    with pytest.raises(AssertionError):
        AssertRequests(log_of(GET))()


def test_an_order_and_counts_are_not_given_together() -> None:
    with pytest.raises(ValueError, match="must not both be given"):
        AssertRequests(log_of())("GET /appointment", counts={"GET /appointment": 1})
