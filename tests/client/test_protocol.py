"""The errors of responses, `Retry-After`, request ids, base URLs, ids and paths, without a server."""

import email.utils
import pickle
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import exceptions
from connector_async._checks import check_appointment_id, check_base_url, check_tenant_id
from connector_async._version import VERSION
from connector_async.protocol import Response, error_for, quote_path, request_id, retry_after, user_agent

NOW = 1_700_000_000.0


def response(status: int, body: bytes = b"", **headers: str) -> Response:
    return Response(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=body
    )


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, exceptions.UnexpectedRedirectError),
        (302, exceptions.UnexpectedRedirectError),
        (304, exceptions.UnexpectedRedirectError),
        (307, exceptions.UnexpectedRedirectError),
        (308, exceptions.UnexpectedRedirectError),
        (400, exceptions.InvalidRequestError),
        (401, exceptions.AuthenticationError),
        (402, exceptions.ResponseError),
        (403, exceptions.ForbiddenError),
        (404, exceptions.NotFoundError),
        (405, exceptions.ResponseError),
        (408, exceptions.ResponseError),
        (409, exceptions.ConflictError),
        (410, exceptions.NotFoundError),
        (412, exceptions.ConflictError),
        (415, exceptions.ResponseError),
        (418, exceptions.ResponseError),
        (422, exceptions.InvalidRequestError),
        (429, exceptions.RateLimitedError),
        (499, exceptions.ResponseError),
        (500, exceptions.ServerError),
        (501, exceptions.ServerError),
        (502, exceptions.ServerError),
        (503, exceptions.ServerError),
        (504, exceptions.ServerError),
        (599, exceptions.ServerError),
        (600, exceptions.ResponseError),
    ],
)
def test_each_status_has_its_error(status: int, error: type[exceptions.ResponseError]) -> None:
    result = error_for("GET", "/acme/appointment", response(status), NOW)
    assert type(result) is error
    assert (result.status, result.method, result.path) == (status, "GET", "/acme/appointment")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, exceptions.AuthenticationError),
        (401, exceptions.AuthenticationError),
        (403, exceptions.AuthenticationError),
        (404, exceptions.NotFoundError),
        (422, exceptions.InvalidRequestError),
        (429, exceptions.RateLimitedError),
        (500, exceptions.ServerError),
    ],
)
def test_400_and_403_of_the_token_endpoint_are_authentication_errors(
    status: int, error: type[exceptions.ResponseError]
) -> None:
    assert type(error_for("POST", "/a", response(status), NOW, from_token_endpoint=True)) is error


def test_error_has_the_facts_of_the_response_and_shows_no_body() -> None:
    bad_request = response(
        400,
        b'{"title":"Invalid","detail":"Jane Doe is too long","errors":{"title":["too short"]}}',
        Content_Type="application/problem+json; charset=utf-8",
        X_Request_Id="r-1",
        Retry_After="20",
    )
    error = error_for("POST", "/acme/appointment", bad_request, NOW)
    assert isinstance(error, exceptions.InvalidRequestError)
    assert str(error) == "POST /acme/appointment returned 400 Bad Request"
    assert error.request_id == "r-1"
    assert error.retry_after == 20
    assert error.problem is not None
    assert error.problem["title"] == "Invalid"
    assert error.errors == {"title": ("too short",)}
    assert "Jane" not in repr(error)
    assert "Jane" not in repr(bad_request)


def test_unknown_status_is_shown_by_its_number() -> None:
    assert str(error_for("GET", "/a", response(599), NOW)) == "GET /a returned 599"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"", "application/problem+json"),
        (b"<html>", "text/html"),
        (b'{"title":"x"}', "text/html"),
        (b"{", "application/problem+json"),
        (b"[1]", "application/json"),
        (b"[" * 200_000, "application/json"),
        (b'{"title":"x"}', ""),
    ],
)
def test_body_that_is_not_a_problem_document_is_ignored(body: bytes, media_type: str) -> None:
    assert error_for("GET", "/a", response(500, body, Content_Type=media_type), NOW).problem is None


@pytest.mark.row("R9")
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("20", 20),
        ("120", 120),
        (" 20 ", 20),
        ("3600", 3600),
        (email.utils.formatdate(NOW + 20, usegmt=True), 20),
        ("Tue, 14 Nov 2023 22:13:40 GMT", 20),
        ("Tuesday, 14-Nov-23 22:13:40 GMT", 20),  # RFC 850's form
        ("Tue Nov 14 22:13:40 2023", 20),  # asctime's form
        (email.utils.formatdate(NOW - 20, usegmt=True), None),
        (email.utils.formatdate(NOW, usegmt=True), None),
        ("Fri, 31 Dec 100000 23:59:59 GMT", None),
        ("Fri, 99 Dec 1999 23:59:59 GMT", None),
        ("Fri, 31 Dec 2030 23:59:59 +9999999999", None),
        ("9" * 5000, None),
        *(
            (junk, None)
            for junk in ("0", "-10", "inf", "nan", "", "soon", "1,120", "+5", "1_0", "٣", "1e3", "0x10", "5.5")
        ),
    ],
)
def test_retry_after_is_read_in_both_forms_and_junk_is_none(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}, NOW) == seconds


@pytest.mark.row("H6")
@pytest.mark.parametrize("offset", [3600, 0, -3600], ids=["fast", "right", "slow"])
@pytest.mark.parametrize("seconds", [20, -20, 0])
def test_retry_after_date_is_measured_against_the_date_of_its_response(offset: int, seconds: int) -> None:
    headers = {
        "Date": email.utils.formatdate(NOW, usegmt=True),
        "Retry-After": email.utils.formatdate(NOW + seconds, usegmt=True),
    }
    assert retry_after(headers, NOW + offset) == (seconds if seconds > 0 else None)
    assert retry_after(headers | {"Retry-After": "20"}, NOW + offset) == 20


@pytest.mark.parametrize("date", ["", "soon", "Fri, 99 Dec 1999 23:59:59 GMT"])
def test_retry_after_date_is_measured_against_the_clock_without_a_valid_date(date: str) -> None:
    headers = {"Date": date, "Retry-After": email.utils.formatdate(NOW + 20, usegmt=True)}
    assert retry_after(headers, NOW) == 20


def test_absent_retry_after_is_none() -> None:
    assert retry_after({}, NOW) is None


@pytest.mark.row("R9")
@given(st.text())
def test_no_retry_after_raises_an_exception(value: str) -> None:
    seconds = retry_after({"Retry-After": value}, NOW)
    assert seconds is None or seconds > 0


def test_request_id_is_the_first_of_three_headers() -> None:
    assert request_id({"X-Request-Id": "a", "X-Correlation-Id": "b"}) == "a"
    assert request_id({"X-Correlation-Id": "b"}) == "b"
    assert request_id({"X-Request-Id": "", "traceparent": "00-c"}) == "00-c"
    assert request_id({}) is None


@pytest.mark.parametrize(
    ("body", "media_type", "expected"),
    [
        (b'{"traceId":"t-1"}', "application/problem+json", "t-1"),
        (b'{"traceId":"t-1"}', "application/vnd.api+json", "t-1"),
        (b'{"traceId":"t-1"}', "Application/JSON", "t-1"),
        (b'{"traceId":5}', "application/problem+json", None),
        (b"{}", "application/json", None),
        (b"[]", "application/json", None),
        (b"", "application/vnd.api+json", None),
    ],
)
def test_trace_id_of_the_problem_is_the_request_id_without_a_header(
    body: bytes, media_type: str, expected: str | None
) -> None:
    assert error_for("GET", "/a", response(500, body, Content_Type=media_type), NOW).request_id == expected
    with_header = response(500, body, Content_Type=media_type, X_Request_Id="r")
    assert error_for("GET", "/a", with_header, NOW).request_id == "r"


@pytest.mark.parametrize(
    "base_url",
    [
        "https://publicapi.officeplace.global",
        "https://api.example:8443/public/v1",
        "http://127.0.0.1:8080",
        "http://127.9.9.9",
        "http://[::1]:8080",
        "http://localhost:8080",
    ],
)
def test_trailing_slash_of_the_base_url_is_dropped(base_url: str) -> None:
    assert check_base_url(base_url) == base_url
    assert check_base_url(base_url + "/") == base_url


@pytest.mark.parametrize(
    ("base_url", "rule"),
    [
        ("", "absolute"),
        ("publicapi.officeplace.global", "absolute"),
        ("/api", "absolute"),
        ("ftp://api.example", "absolute"),
        ("https://", "absolute"),
        ("https:///api", "absolute"),
        ("https://user:secret@api.example", "user information"),
        ("https://secret@api.example", "user information"),
        ("https://@api.example", "user information"),
        ("https://api.example?key=secret", "neither a query"),
        ("https://api.example#secret", "neither a query"),
        ("https://api.example/?", "neither a query"),
        ("https://api.example:99999", "valid URL"),
        ("https://[::1", "valid URL"),
        ("https://api.example/\r\nx", "control characters"),
        ("https://api.example/a b", "control characters"),
        ("http://api.example", "https"),
        ("http://127.0.0.1.api.example", "https"),
        ("http://localhost.api.example", "https"),
        ("http://10.0.0.1", "https"),
        ("http://0.0.0.0", "https"),
    ],
)
def test_invalid_base_url_is_rejected_and_not_shown(base_url: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        check_base_url(base_url)
    assert "base_url" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_http_can_be_allowed() -> None:
    assert check_base_url("http://api.internal/", allow_http=True) == "http://api.internal"


@pytest.mark.parametrize("check", [check_tenant_id, check_appointment_id])
@pytest.mark.parametrize("value", ["", ".", "..", "a\r\nb", "a\0b", "\t", "a\x7fb", "a\u2028b", "\ud800"])
def test_id_that_a_path_cannot_carry_is_rejected(check: object, value: str) -> None:
    assert callable(check)
    with pytest.raises(ValueError, match="_id must"):
        check(value)


@pytest.mark.parametrize("check", [check_tenant_id, check_appointment_id])
def test_id_that_is_not_a_str_is_rejected(check: object) -> None:
    assert callable(check)
    with pytest.raises(TypeError, match="_id must be a str, not int"):
        check(5)


@pytest.mark.parametrize("tenant_id", ["café", " acme", "acme ", "a\u00a0b"])
def test_tenant_id_that_a_header_cannot_carry_is_rejected(tenant_id: str) -> None:
    with pytest.raises(ValueError, match="tenant_id must"):
        check_tenant_id(tenant_id)


@pytest.mark.parametrize(
    "tenant_id", ["acme", "../../admin", "a/../b", "t?x=", "%2e%2e", "a b", "x" * 10_000, "...", "#;,"]
)
def test_tenant_id_can_be_any_other_printable_ascii(tenant_id: str) -> None:
    assert check_tenant_id(tenant_id) == tenant_id


def test_appointment_id_can_be_any_printable_string() -> None:
    assert check_appointment_id("café/../ü ?&=") == "café/../ü ?&="


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_each_path_segment_is_sent_exactly(segments: list[str]) -> None:
    path = urlsplit("https://api.example" + quote_path(*segments)).path
    assert [unquote(segment) for segment in path.split("/")[1:]] == segments
    assert path.isascii()


def test_user_agent_names_the_package_its_version_and_the_product() -> None:
    assert user_agent() == f"connector-async/{VERSION}"
    assert user_agent("shop/2.1") == f"connector-async/{VERSION} shop/2.1"
    for suffix in ("a\r\nX: y", "café"):
        with pytest.raises(ValueError, match="user_agent_suffix must be printable ASCII"):
            user_agent(suffix)


@pytest.mark.row("H9")
def test_problem_that_is_too_deep_is_ignored_so_that_its_error_can_be_pickled() -> None:
    deep = b'{"errors":' + b"[" * 900 + b"]" * 900 + b"}"
    error = error_for("GET", "/a", response(400, deep, Content_Type="application/json"), NOW)
    assert error.problem is None
    assert pickle.loads(pickle.dumps(error)).status == 400
    shallow = response(400, b'{"errors":{"a":["b",[1]],"c":5}}', Content_Type="application/json")
    error = error_for("GET", "/a", shallow, NOW)
    assert isinstance(error, exceptions.InvalidRequestError)
    assert error.errors == {"a": ("b",), "c": ()}
