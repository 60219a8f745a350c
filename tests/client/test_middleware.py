"""Middleware: what it sees and may change, its order, and the cases in which it raises, repeats or does not send."""

import asyncio
from typing import Any

import attrs
import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    BulkReport,
    CallNext,
    ClientCredentials,
    ConflictError,
    ConnectFailedError,
    ConnectorError,
    DeadlineExceededError,
    InvalidArgumentError,
    Middleware,
    NewAppointment,
    NotFoundError,
    OutcomeUnknownError,
    OutgoingRequest,
    RateLimit,
    RateLimitedError,
    Response,
    RetryPolicy,
    Status,
    TransportError,
)
from connector_async.sandbox import Sandbox, StatusFault
from tests.conftest import ManualClock
from tests.support.exposure import exposed
from tests.support.hostile import HostileServer, hang, http
from tests.support.services import CREATED, FOUND, TOKEN_RESPONSE, open_service, open_session

FOUND_RESPONSE = Response(status=200, headers={}, body=FOUND.partition(b"\r\n\r\n")[2])
APPOINTMENT = ("appointment",)


class MiddlewareError(Exception):
    """An error of an application's own."""


async def pass_on(request: OutgoingRequest, call_next: CallNext) -> Response:
    return await call_next(request)


async def failing_before(request: OutgoingRequest, call_next: CallNext) -> Response:
    raise MiddlewareError


async def failing_after(request: OutgoingRequest, call_next: CallNext) -> Response:
    await call_next(request)
    raise MiddlewareError


def raising(error: Exception, *, after: bool) -> Middleware:
    async def middleware(request: OutgoingRequest, call_next: CallNext) -> Response:
        if after:
            await call_next(request)
        raise error

    return middleware


class Recorder:
    """A middleware that keeps what it sees."""

    def __init__(self) -> None:
        self.requests: list[OutgoingRequest] = []
        self.responses: list[Response] = []

    async def __call__(self, request: OutgoingRequest, call_next: CallNext) -> Response:
        self.requests.append(request)
        response = await call_next(request)
        self.responses.append(response)
        return response


# What it sees


async def test_middleware_sees_each_attempt_with_its_response() -> None:
    recorder = Recorder()
    async with HostileServer(http(503), FOUND) as server:
        service = open_service(server, middlewares=[recorder], headers={"X-Team": "a"})
        await service.get("123")
        assert [request.attempt for request in recorder.requests] == [1, 2]
        assert [response.status for response in recorder.responses] == [503, 200]
        first = recorder.requests[0]
        assert attrs.asdict(first, filter=lambda field, _: field.name != "headers") == {
            "method": "GET",
            "url": f"{server.base_url}/acme/appointment?appointmentId=123",
            "template": "/{tenantId}/appointment",
            "tenant_id": "acme",
            "operation": "get",
            "attempt": 1,
            "body": None,
        }
        assert first.headers == {"X-Team": "a"}


async def test_each_operation_has_its_name_and_its_template(
    sandbox: Sandbox, credentials: ClientCredentials, draft: NewAppointment
) -> None:
    recorder = Recorder()
    service = open_service(sandbox.base_url, auth=credentials, middlewares=[recorder])
    created = await service.create(draft)
    await service.get(created.appointment_id)
    await service.update(created.appointment_id, title="Other", read_first=True)
    assert [appointment async for appointment in service.preview()]
    await service.delete(created.appointment_id)
    await service.session.request("GET", ("appointment", "preview"))
    one, preview = "/{tenantId}/appointment", "/{tenantId}/appointment/preview"
    assert [(request.operation, request.method, request.template) for request in recorder.requests] == [
        ("create", "POST", one),
        ("get", "GET", one),
        ("update", "GET", one),
        ("update", "PUT", one),
        ("preview", "GET", preview),
        ("delete", "DELETE", one),
        (None, "GET", None),
    ]


async def test_middleware_sees_neither_tokens_nor_token_requests() -> None:
    recorder = Recorder()
    async with HostileServer(TOKEN_RESPONSE, http(401), TOKEN_RESPONSE, FOUND) as server:
        service = open_service(server, auth=ClientCredentials("id", "hunter3"), middlewares=[recorder])
        await service.get("123")
        assert [request.target.rpartition("/")[2][:5] for request in server.requests] == [
            *("token", "appoi", "token", "appoi"),
        ]
        # The replay after the 401 is part of its attempt.
        assert [response.status for response in recorder.responses] == [200]
        (request,) = recorder.requests
        assert "authorization" not in {name.lower() for name in request.headers}
        assert all(
            "Bearer" not in str(getattr(seen, field.name))
            for seen in (request, recorder.responses[0])
            for field in attrs.fields(type(seen))
        )


def test_repr_of_a_request_shows_neither_ids_nor_headers_nor_the_body() -> None:
    request = OutgoingRequest(
        method="PUT",
        url="https://api.example/acme/appointment?appointmentId=777",
        template="/{tenantId}/appointment",
        tenant_id="acme",
        operation="update",
        attempt=1,
        headers={"X-Key": "hunter5"},
        body=b'{"title":"Jane"}',
    )
    assert not any(hidden in repr(request) for hidden in ("777", "hunter5", "Jane"))


async def test_first_middleware_is_outermost() -> None:
    seen: list[str] = []

    def named(name: str) -> Middleware:
        async def middleware(request: OutgoingRequest, call_next: CallNext) -> Response:
            seen.append(f"{name} before")
            response = await call_next(request)
            seen.append(f"{name} after")
            return response

        return middleware

    async with HostileServer(FOUND) as server:
        service = open_service(server, middlewares=[named("first"), named("second")])
        await AppointmentService(service.session.for_tenant("globex")).get("123")
    assert seen == ["first before", "second before", "second after", "first after"]


# What it may change


async def test_headers_and_body_can_be_changed() -> None:
    async def change(request: OutgoingRequest, call_next: CallNext) -> Response:
        request = request.with_headers({"x-team": "b", "X-Signature": "s"})
        return await call_next(attrs.evolve(request, body=b'{"appointmentId":"2"}'))

    async with (
        HostileServer(http(200, b"1")) as server,
        open_session(server, middlewares=[change], headers={"X-Team": "a", "X-Key": "k"}) as session,
    ):
        await session.request("DELETE", APPOINTMENT, body=b"{}")
        headers = server.requests[0].headers
        assert (headers["x-team"], headers["x-signature"], headers["x-key"]) == ("b", "s", "k")
        assert server.requests[0].body == b'{"appointmentId":"2"}'


async def test_header_of_the_session_can_be_left_out() -> None:
    async def strip(request: OutgoingRequest, call_next: CallNext) -> Response:
        return await call_next(attrs.evolve(request, headers={}))

    async with HostileServer(FOUND) as server:
        await open_service(server, middlewares=[strip], headers={"X-Key": "k"}).get("123")
        assert "x-key" not in server.requests[0].headers


async def test_headers_that_the_sdk_sets_cannot_be_changed() -> None:
    async def forge(request: OutgoingRequest, call_next: CallNext) -> Response:
        return await call_next(request.with_headers({"Authorization": "Bearer other"}))

    async with HostileServer(FOUND) as server:
        with pytest.raises(InvalidArgumentError, match="headers must not have Authorization"):
            await open_service(server, middlewares=[forge]).get("123")
        assert server.requests == []


@pytest.mark.parametrize(
    ("passed_on", "message"),
    [
        (lambda request: attrs.evolve(request, url="https://evil.example/"), "with other headers or another body only"),
        (lambda _: None, "must get an OutgoingRequest, not NoneType"),
    ],
)
async def test_another_request_cannot_be_passed_on(passed_on: Any, message: str) -> None:
    async def redirect(request: OutgoingRequest, call_next: CallNext) -> Response:
        return await call_next(passed_on(request))

    async with HostileServer(FOUND) as server:
        with pytest.raises(TypeError, match=message):
            await open_service(server, middlewares=[redirect]).get("123")
        assert server.requests == []


async def test_response_can_be_replaced() -> None:
    async def mend(request: OutgoingRequest, call_next: CallNext) -> Response:
        response = await call_next(request)
        return FOUND_RESPONSE if response.status == 429 else response

    async with HostileServer(http(429, Retry_After="7")) as server:
        clock = ManualClock()
        service = open_service(server, middlewares=[mend], clock=clock)
        assert (await service.get("123")).appointment_id == "123"
        assert len(server.requests) == 1
        await service.get("123")
        assert clock.sleeps == [pytest.approx(7.7)]  # the server's penalty holds all the same


async def test_status_of_a_replaced_response_is_judged() -> None:
    async def hide(request: OutgoingRequest, call_next: CallNext) -> Response:
        await call_next(request)
        return Response(status=404, headers={}, body=b"")

    async with HostileServer(FOUND) as server:
        with pytest.raises(NotFoundError, match="GET /acme/appointment returned 404"):
            await open_service(server, middlewares=[hide]).get("123")


# Sending never, or twice


async def test_response_without_call_next_takes_no_slot() -> None:
    async def from_cache(request: OutgoingRequest, call_next: CallNext) -> Response:
        return FOUND_RESPONSE

    async with HostileServer(FOUND) as server:
        clock = ManualClock()
        service = open_service(server, middlewares=[from_cache], clock=clock, rate_limit=RateLimit(2, 60))
        for _ in range(5):
            await service.get("123")
        assert (server.requests, clock.sleeps, service.session.traffic.requests) == ([], [], 0)


async def test_each_call_of_call_next_takes_a_slot() -> None:
    async def twice(request: OutgoingRequest, call_next: CallNext) -> Response:
        await call_next(request)
        return await call_next(request)

    async with HostileServer(FOUND) as server:
        clock = ManualClock()
        service = open_service(server, middlewares=[twice], clock=clock, rate_limit=RateLimit(2, 30))
        await service.get("123")
        assert (len(server.requests), clock.sleeps) == (2, [30])
        assert service.session.traffic.requests == 2


# Errors


async def test_error_of_its_own_before_the_request_is_raised_and_not_retried() -> None:
    async with HostileServer(FOUND) as server:
        with pytest.raises(MiddlewareError):
            await open_service(server, middlewares=[failing_before]).get("123")
        assert server.requests == []


async def test_error_of_its_own_after_a_read_is_raised_and_not_retried() -> None:
    async with HostileServer(FOUND) as server:
        with pytest.raises(MiddlewareError):
            await open_service(server, middlewares=[failing_after]).get("123")
        assert len(server.requests) == 1


async def test_connector_error_before_the_request_says_that_nothing_was_sent(draft: NewAppointment) -> None:
    async with HostileServer(CREATED) as server:
        service = open_service(server, middlewares=[raising(TransportError("down"), after=False)])
        with pytest.raises(TransportError, match="down") as caught:
            await service.create(draft)
        # It is retried, since nothing was sent.
        assert (caught.value.sent, caught.value.attempts, server.requests) == (False, 3, [])


@pytest.mark.parametrize(
    "error",
    [MiddlewareError(), ConnectFailedError("down"), ConflictError("no", status=409), TimeoutError()],
    ids=lambda error: type(error).__name__,
)
async def test_error_after_a_create_leaves_its_outcome_unknown(error: Exception, draft: NewAppointment) -> None:
    async with HostileServer(CREATED) as server:
        service = open_service(server, middlewares=[raising(error, after=True)])
        with pytest.raises(OutcomeUnknownError) as caught:
            await service.create(draft)
        cause = caught.value.__cause__
        assert isinstance(cause, TransportError)
        assert error in (cause, cause.__cause__)
        assert (caught.value.sent, caught.value.attempts, len(server.requests)) == (True, 1, 1)
        (outcome,) = (await BulkReport().collect(service.create_many([draft]))).unfinished
        assert outcome.status is Status.UNKNOWN


async def test_create_with_an_unknown_outcome_is_looked_for(draft: NewAppointment) -> None:
    async def verify(service: AppointmentService, new: NewAppointment) -> Appointment:
        return await service.get("123")

    async def fail_create(request: OutgoingRequest, call_next: CallNext) -> Response:
        response = await call_next(request)
        if request.operation == "create":
            raise MiddlewareError
        return response

    async with HostileServer(CREATED, FOUND) as server:
        created = await open_service(server, middlewares=[fail_create]).create(draft, verify=verify)
        assert created.appointment_id == "123"


async def test_error_of_its_own_after_a_refused_create_is_raised(draft: NewAppointment) -> None:
    async with HostileServer(http(422)) as server:
        service = open_service(server, middlewares=[failing_after])
        with pytest.raises(MiddlewareError):
            await service.create(draft)
        (outcome,) = (await BulkReport().collect(service.create_many([draft]))).unfinished
        assert outcome.status is Status.FAILED


async def test_first_of_two_creates_counts_when_the_second_was_not_sent(draft: NewAppointment) -> None:
    async def once_more(request: OutgoingRequest, call_next: CallNext) -> Response:
        await call_next(request)
        server._server.close()
        return await call_next(request)

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CREATED)
        writer.close()

    async with HostileServer(close) as server:
        with pytest.raises(OutcomeUnknownError):
            await open_service(server, middlewares=[once_more]).create(draft)
        assert len(server.requests) == 1


async def test_first_of_two_creates_counts_when_the_second_was_refused(draft: NewAppointment) -> None:
    async def once_more(request: OutgoingRequest, call_next: CallNext) -> Response:
        await call_next(request)
        await call_next(request)
        raise MiddlewareError

    async with HostileServer(CREATED, http(409)) as server:
        with pytest.raises(OutcomeUnknownError):
            await open_service(server, middlewares=[once_more]).create(draft)


async def test_error_after_an_update_says_that_it_was_sent() -> None:
    async with HostileServer(http(200, b"{}")) as server:
        service = open_service(server, middlewares=[raising(ConnectFailedError("down"), after=True)])
        with pytest.raises(ConnectFailedError) as caught:
            await service.update("123", title="Other", retry=RetryPolicy.none())
        assert caught.value.sent is True


async def test_error_of_the_sender_passes_unchanged() -> None:
    async with HostileServer(http(401)) as server:
        await server.__aexit__(None, None, None)
        with pytest.raises(ConnectFailedError) as caught:
            await open_service(server, middlewares=[pass_on]).get("123", retry=RetryPolicy.none())
        assert caught.value.sent is False


async def test_refused_token_without_a_new_one_means_not_sent(draft: NewAppointment) -> None:
    async with HostileServer(TOKEN_RESPONSE, http(401), http(500)) as server:
        service = open_service(server, auth=ClientCredentials("id", "secret"), middlewares=[pass_on])
        with pytest.raises(ConnectorError) as caught:
            await service.create(draft, retry=RetryPolicy.none())
        assert caught.value.sent is False


async def test_plain_function_is_rejected_with_its_name() -> None:
    def plain(request: OutgoingRequest, call_next: CallNext) -> Response:
        return FOUND_RESPONSE

    async with HostileServer(FOUND) as server:
        with pytest.raises(TypeError, match="plain must be an async callable"):
            await open_service(server, middlewares=[plain]).get("123")


async def test_other_return_values_than_a_response_are_rejected_with_the_name() -> None:
    async def forgetful(request: OutgoingRequest, call_next: CallNext) -> Any:
        await call_next(request)

    async with HostileServer(FOUND) as server:
        with pytest.raises(TypeError, match=r"forgetful must return a Response, not NoneType"):
            await open_service(server, middlewares=[forgetful]).get("123")


@pytest.mark.parametrize(
    ("middlewares", "message"),
    [
        (pass_on, "middlewares must be an iterable"),
        ([Recorder], "middlewares must be async callables, not the class Recorder"),
        (["retry"], "middlewares must be async callables, not str"),
    ],
)
async def test_invalid_middlewares_are_rejected(middlewares: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        open_service("https://api.example", middlewares=middlewares)


async def test_frames_of_an_error_show_no_token_and_no_title(draft: NewAppointment) -> None:
    async with HostileServer(CREATED) as server:
        for middleware in (failing_before, failing_after):
            service = open_service(server, middlewares=[middleware], headers={"X-Key": "hunter5"})
            with pytest.raises((MiddlewareError, OutcomeUnknownError)) as caught:
                await service.create(draft)
            assert exposed(caught.value, "hunter2", "hunter5", draft.title) == []


# Cancellation and deadlines


async def test_cancelled_call_cancels_the_middleware() -> None:
    ended: list[str] = []

    async def watch(request: OutgoingRequest, call_next: CallNext) -> Response:
        try:
            return await call_next(request)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with HostileServer(hang) as server:
        call = asyncio.ensure_future(open_service(server, middlewares=[watch]).get("123"))
        while not server.requests:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert ended == ["cancelled"]


async def test_middleware_that_is_cancelled_alone_does_not_cancel_the_call() -> None:
    async def cancelled(request: OutgoingRequest, call_next: CallNext) -> Response:
        raise asyncio.CancelledError

    async with HostileServer(FOUND) as server:
        with pytest.raises(RuntimeError, match="a middleware was cancelled, although the call was not"):
            await open_service(server, middlewares=[cancelled]).get("123")


async def test_timeout_of_a_middleware_around_a_sent_create_leaves_its_outcome_unknown(draft: NewAppointment) -> None:
    async def limited(request: OutgoingRequest, call_next: CallNext) -> Response:
        async with asyncio.timeout(0.03):
            return await call_next(request)

    async with HostileServer(hang) as server:
        with pytest.raises(OutcomeUnknownError):
            await open_service(server, middlewares=[limited]).create(draft)


async def test_timeout_of_a_middleware_around_the_wait_for_a_connection_leaves_nothing_unknown(
    draft: NewAppointment,
) -> None:
    async def limited(request: OutgoingRequest, call_next: CallNext) -> Response:
        async with asyncio.timeout(0.03 if request.operation == "create" else None):
            return await call_next(request)

    async with HostileServer(hang) as server:
        service = open_service(server, middlewares=[limited], pool_size=1)
        first = asyncio.ensure_future(service.get("1"))
        while not server.requests:
            await asyncio.sleep(0.001)
        with pytest.raises(TimeoutError) as caught:
            await service.create(draft)
        assert not isinstance(caught.value, ConnectorError)
        first.cancel()


@pytest.mark.virtual_time
async def test_timeout_of_a_middleware_around_the_wait_for_a_slot_leaves_nothing_unknown(draft: NewAppointment) -> None:
    async def limited(request: OutgoingRequest, call_next: CallNext) -> Response:
        async with asyncio.timeout(5):
            return await call_next(request)

    async with HostileServer(CREATED) as server:
        session = open_session(server, middlewares=[limited], rate_limit=RateLimit(2, 60))
        async with session:
            service = AppointmentService(session)
            await service.create(draft)
            with pytest.raises(TimeoutError) as caught:
                await service.create(draft)
        assert not isinstance(caught.value, ConnectorError)
        assert len(server.requests) == 1


@pytest.mark.virtual_time
async def test_deadline_ends_a_middleware() -> None:
    async def sleepy(request: OutgoingRequest, call_next: CallNext) -> Response:
        await asyncio.sleep(1_000)
        return await call_next(request)

    async with HostileServer(FOUND) as server, open_session(server, middlewares=[sleepy]) as session:
        with pytest.raises(DeadlineExceededError, match="in a middleware") as caught:
            await AppointmentService(session).get("123", deadline=30)
        assert caught.value.sent is False


async def test_timeout_error_of_a_middleware_is_not_the_deadline() -> None:
    async with HostileServer(FOUND) as server:
        with pytest.raises(TimeoutError) as caught:
            await open_service(server, middlewares=[raising(TimeoutError("own"), after=False)]).get("123")
        assert str(caught.value) == "own"


async def test_request_of_a_session_without_deadline_runs_through_middleware(
    sandbox: Sandbox, credentials: ClientCredentials
) -> None:
    sandbox.faults.script(StatusFault(429), operation="preview")
    recorder = Recorder()
    service = open_service(sandbox.base_url, auth=credentials, middlewares=[recorder])
    with pytest.raises(RateLimitedError):
        await service.session.request("GET", ("appointment", "preview"))
    assert [response.status for response in recorder.responses] == [429]
