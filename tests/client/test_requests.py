"""Requests to any endpoint: by the rules of the operations, and rejected before anything is sent if they break one."""

import asyncio
import math
import pickle
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    CallNext,
    ConnectFailedError,
    DeadlineExceededError,
    DecodingError,
    DirectoryUser,
    InvalidArgumentError,
    NewAppointment,
    NotFoundError,
    OutcomeUnknownError,
    OutgoingRequest,
    RateLimitedError,
    Response,
    ResponseError,
    RetryPolicy,
    TransportError,
    WireFormat,
    last_call,
)
from connector_async.sandbox import Sandbox
from tests.support.exposure import exposed
from tests.support.hostile import Expiring, HostileServer, drop, hang, http
from tests.support.services import FIELDS, FOUND, open_service

NOTES = "/appointment/{appointmentId}/notes"
TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
UNAVAILABLE = http(503)
DONE = http(200, b'{"done":true}', X_Request_Id="r-1")


@pytest.fixture
async def silent() -> AsyncIterator[HostileServer]:
    """Yield a server that must not get any request."""
    async with HostileServer(FOUND) as unused:
        yield unused
        assert unused.requests == []


async def test_request_has_token_tenant_query_and_body() -> None:
    async with HostileServer(DONE) as server:
        response = await open_service(server).request("POST", "/appointment/search", query={"a": "b c"}, json={"t": 1})
        (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/acme/appointment/search?a=b+c")
    assert request.body == b'{"t":1}'
    assert request.headers["authorization"] == "Bearer hunter2"
    assert request.headers["content-type"] == "application/json"
    assert (response.status, response.request_id, response.json()) == (200, "r-1", {"done": True})
    assert b"hunter2" not in pickle.dumps(response)


async def test_response_is_read_in_the_format_of_the_session() -> None:
    user = DirectoryUser("a", "d")
    body = {"appointmentId": "1", "subject": "Visit", "startTime": "2024-01-15T10:00:00", "endTime": TEN}
    async with HostileServer(http(200, orjson.dumps(body))) as server:
        service = open_service(server, user=user, wire_format=WireFormat.REFERENCE, assume_zone=UTC)
        response = await service.request("GET", "/appointment")
        assert server.requests[0].target == "/acme/appointment"  # without the user
    assert response.structure(Appointment).title == "Visit"


async def test_sandbox_serves_requests_of_any_method(sandbox: Sandbox, appointments: AppointmentService) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != "appointmentId"}
    created = await appointments.request("post", "/appointment", json=fields)
    appointment_id = created.json()["appointmentId"]
    found = await appointments.request("GET", "/appointment", query={"appointmentId": appointment_id})
    assert found.structure(Appointment).title == FIELDS["title"]
    assert (await appointments.request("DELETE", "/appointment", json={"appointmentId": appointment_id})).status == 200
    assert sandbox.log.count(operation="delete") == 1


@pytest.mark.parametrize(("method", "response"), [("HEAD", http(200, length=5)), ("DELETE", http(204))])
async def test_response_without_a_body_is_returned(method: str, response: bytes) -> None:
    async with HostileServer(response) as server:
        service = open_service(server)
        for _ in range(2):
            assert (await service.request(method, "/appointment")).body == b""
        assert server.connections == 1


async def test_parameters_of_the_path_are_quoted_as_one_segment_each() -> None:
    async with HostileServer(DONE) as server:
        await open_service(server).request("GET", NOTES, path_parameters={"appointmentId": "a/b?c#d%2F é"})
        assert server.requests[0].target == "/acme/appointment/a%2Fb%3Fc%23d%252F%20%C3%A9/notes"


async def test_error_shows_the_template_and_not_the_values_of_the_path() -> None:
    async with HostileServer(http(404)) as server:
        with pytest.raises(NotFoundError) as caught:
            await open_service(server).request("GET", NOTES, path_parameters={"appointmentId": "id-77"})
    assert caught.value.path == "/{tenantId}/appointment/{appointmentId}/notes"
    assert str(caught.value) == "GET /{tenantId}/appointment/{appointmentId}/notes returned 404 Not Found"
    assert exposed(caught.value, "id-77") == []
    assert caught.value.operation == "request"


async def test_middleware_sees_the_template_and_no_path_that_is_none() -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def note(request: OutgoingRequest, call_next: CallNext) -> Response:
        seen.append((request.operation, request.template))
        return await call_next(request)

    async with HostileServer(DONE) as server:
        service = open_service(server, middlewares=[note])
        await service.request("GET", NOTES, path_parameters={"appointmentId": "7"})
        await service.request("GET", "/appointment", path_parameters={})
        await service.request("GET", "/appointment/7")
    assert seen == [
        ("request", "/{tenantId}/appointment/{appointmentId}/notes"),
        ("request", "/{tenantId}/appointment"),
        ("request", None),
    ]


async def test_error_shows_a_path_that_is_no_template() -> None:
    async with HostileServer(http(404)) as server:
        with pytest.raises(NotFoundError) as caught:
            await open_service(server).request("GET", "/appointment/preview")
    assert caught.value.path == "/acme/appointment/preview"


@pytest.mark.parametrize("method", ["GET", "put", "DELETE", "HEAD", "OPTIONS"])
async def test_idempotent_method_is_retried(method: str) -> None:
    async with HostileServer(drop, UNAVAILABLE, http(204)) as server:
        await open_service(server).request(method, "/x")
        assert len(server.requests) == 3
        assert (last_call.get().operation, last_call.get().attempts) == ("request", 3)


@pytest.mark.parametrize("method", ["POST", "patch", "PURGE"])
@pytest.mark.parametrize("response", [drop, http(500), http(303)])
async def test_request_that_is_not_idempotent_and_may_have_happened_is_not_repeated(method: str, response: Any) -> None:
    async with HostileServer(response, DONE) as server:
        with pytest.raises(OutcomeUnknownError, match="the request was sent, and its outcome is unknown") as caught:
            await open_service(server).request(method, "/x")
        assert len(server.requests) == 1
    assert (caught.value.sent, caught.value.attempts, caught.value.operation) == (True, 1, "request")
    assert isinstance(caught.value.__cause__, TransportError | ResponseError)
    assert caught.value.status == getattr(caught.value.__cause__, "status", None) == last_call.get().status


async def test_request_that_is_not_idempotent_is_repeated_after_a_refusal() -> None:
    async with HostileServer(http(429, Retry_After="1"), http(503, Retry_After="1"), DONE) as server:
        assert (await open_service(server).request("POST", "/x")).status == 200
        assert len(server.requests) == 3


async def test_refusal_by_503_follows_the_policy() -> None:
    policy = RetryPolicy(unavailable_means_refused=False)
    async with HostileServer(http(503, Retry_After="1"), DONE) as server:
        with pytest.raises(OutcomeUnknownError):
            await open_service(server).request("POST", "/x", retry=policy)
        assert len(server.requests) == 1


async def test_post_that_was_never_sent_is_not_an_unknown_outcome() -> None:
    async with HostileServer(DONE) as server:
        service = open_service(server)
    with pytest.raises(ConnectFailedError) as caught:
        await service.request("POST", "/x")
    assert (caught.value.sent, caught.value.attempts) == (False, 3)


async def test_deadline_after_a_post_was_sent_is_an_unknown_outcome() -> None:
    async with HostileServer(hang) as server:
        with pytest.raises(OutcomeUnknownError) as caught:
            await open_service(server).request("POST", "/x", deadline=0.02)
    assert isinstance(caught.value.__cause__, DeadlineExceededError)


async def test_cancellation_passes_through() -> None:
    response = Expiring()
    async with HostileServer(response) as server:
        with pytest.raises(TimeoutError):
            async with response.limit():
                await open_service(server).request("POST", "/x")
    assert asyncio.current_task() is not None


async def test_post_that_is_idempotent_is_retried() -> None:
    async with HostileServer(drop, DONE) as server:
        assert (await open_service(server).request("POST", "/x", idempotent=True)).status == 200
        assert len(server.requests) == 2


async def test_put_that_is_not_idempotent_is_not_repeated() -> None:
    async with HostileServer(drop, DONE) as server:
        with pytest.raises(OutcomeUnknownError):
            await open_service(server).request("PUT", "/x", idempotent=False)
        assert len(server.requests) == 1


async def test_policy_of_the_call_is_used() -> None:
    async with HostileServer(http(429)) as server:
        with pytest.raises(RateLimitedError) as caught:
            await open_service(server).request("GET", "/x", retry=RetryPolicy(attempts=1))
    assert caught.value.attempts == 1


async def test_post_with_an_oversized_response_has_happened() -> None:
    async with HostileServer(http(200, b"[" + b" " * 2_000 + b"]")) as server:
        with pytest.raises(DecodingError) as caught:
            await open_service(server, max_body_size=1_000).request("POST", "/x")
        assert len(server.requests) == 1
    assert caught.value.sent is True


PATHS = [
    ("appointment", "path must start with a slash"),
    ("https://other.example/appointment", "path must start with a slash"),
    ("//other.example/appointment", "path must have no empty segment"),
    ("/", "path must have no empty segment"),
    ("/appointment/", "path must have no empty segment"),
    ("/../globex/appointment", "path must have no empty segment, no '.' and no '..'"),
    ("/appointment/./x", "path must have no empty segment, no '.' and no '..'"),
    ("/%2e%2e/globex", "path must have no query, no fragment and no percent sign"),
    ("/appointment?id=1", "path must have no query, no fragment and no percent sign"),
    ("/appointment#x", "path must have no query, no fragment and no percent sign"),
    ("/appointment\r\nX: y", "path must be printable"),
    ("/appointment('{id}')", "path must have braces only around the name of a whole segment"),
    ("/{}", "path must have braces only around the name of a whole segment"),
    ("/{a}}", "path must have braces only around the name of a whole segment"),
    ("/{id}", "path_parameters must have id, once"),
]


@pytest.mark.parametrize(("path", "rule"), PATHS)
async def test_path_that_leaves_the_tenant_or_is_no_path_is_rejected(
    silent: HostileServer, path: str, rule: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=rule) as caught:
        await open_service(silent).request("GET", path)
    assert caught.value.argument in {"path", "path_parameters"}
    with pytest.raises(InvalidArgumentError, match=rule):
        open_service(silent).pages(path, Appointment)


ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"path": 5}, TypeError, "path must be a str, not int"),
    ({"method": "GET /"}, ValueError, "method must be a token of HTTP"),
    ({"path": "/{a}", "path_parameters": {"a": "b", "c": "d"}}, ValueError, "only names that path has in braces"),
    ({"path": "/{a}/{a}", "path_parameters": {"a": "b"}}, ValueError, "path_parameters must have a, once"),
    ({"path": "/{a}", "path_parameters": {"a": ".."}}, ValueError, r"path_parameters\['a'\] must not be '.' or '..'"),
    ({"path": "/{a}", "path_parameters": {"a": ""}}, ValueError, r"path_parameters\['a'\] must not be empty"),
    ({"path": "/{a}", "path_parameters": {"a": 5}}, TypeError, r"path_parameters\['a'\] must be a str, not int"),
    ({"path_parameters": [("a", "b")]}, TypeError, "path_parameters must be a mapping or None, not list"),
    ({"query": {"a": 5}}, TypeError, "query must have names and values of type str, not int"),
    ({"query": "a=b c"}, ValueError, "query must be a quoted query"),
    ({"idempotent": "no"}, TypeError, "idempotent must be a bool or None, not str"),
    ({"retry": 3}, TypeError, "retry must be a RetryPolicy or None, not int"),
    ({"deadline": 0}, ValueError, "deadline must be above zero"),
    ({"headers": {"Authorization": "x"}}, ValueError, "headers must not have Authorization"),
]


@pytest.mark.parametrize(("arguments", "error", "rule"), ARGUMENTS)
async def test_invalid_argument_is_rejected(
    silent: HostileServer, arguments: dict[str, Any], error: type[Exception], rule: str
) -> None:
    arguments = {"method": "GET", "path": "/x", **arguments}
    with pytest.raises(error, match=rule):
        await open_service(silent).request(**arguments)
    with pytest.raises(LookupError):
        last_call.get()


JSON_VALUES: list[Any] = [
    {"title": "Jané Doe", "at": TEN},
    {"title": "Jané Doe", 1: 2},
    {"title": "Jané Doe", "n": math.nan},
    {"title": "Jané Doe", "n": 2**64},
    {"title": "Jané Doe\ud800"},
    NewAppointment(title="Jané Doe", start_time=TEN, end_time=TEN),
    {"title": "Jané Doe", "b": b"x"},
]


@pytest.mark.parametrize("value", JSON_VALUES)
async def test_body_that_is_not_json_is_rejected_without_its_values(silent: HostileServer, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="json must hold only JSON values") as caught:
        await open_service(silent).request("POST", "/x", json=value)
    assert caught.value.argument == "json"
    assert exposed(caught.value, "Jané Doe") == []


async def test_circular_body_is_rejected(silent: HostileServer) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidArgumentError, match="json must hold only JSON values"):
        await open_service(silent).request("POST", "/x", json=value)
