"""The frames of an error, which error reporters capture, hold no secret and no personal data."""

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    AppointmentUpdate,
    AuthenticationError,
    ClientCredentials,
    ConnectFailedError,
    ConnectorSession,
    DeadlineExceededError,
    NewAppointment,
    NotFoundError,
    OutcomeUnknownError,
    RateLimit,
    RetryDetails,
    RetryPolicy,
    Secret,
    ServerError,
    StaticToken,
    Token,
    TokenSend,
    found_by_preview,
)
from connector_async.pagination import PageRequest, PageResponse
from tests.conftest import ManualClock
from tests.support.exposure import exposed, frames
from tests.support.hostile import HostileServer, ScriptedResponse, drop, hang, http

pytestmark = pytest.mark.row("H13")

TOKEN, CLIENT_SECRET, PROXY_PASSWORD = "hunter2-token", "hunter3-secret", "hunter4-proxy"
TITLE, DESCRIPTION, NOTE = 'Jané "Doe", oncology', "Diagnosis: confidential\n<é>", "Joe's room"
HIDDEN = (TOKEN, CLIENT_SECRET, PROXY_PASSWORD, TITLE, DESCRIPTION, NOTE)
TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
DRAFT = NewAppointment(title=TITLE, start_time=TEN, end_time=TEN, description=DESCRIPTION, extra={"note": NOTE})
FIELDS = {
    "appointmentId": "123",
    "title": TITLE,
    "startTime": "2024-01-15T10:00:00Z",
    "endTime": "2024-01-15T11:00:00Z",
    "description": DESCRIPTION,
    "note": NOTE,
}
ECHO = orjson.dumps(FIELDS | {"startTime": TITLE, "token": TOKEN})
NEW_TOKEN = http(200, orjson.dumps({"accessToken": TOKEN}))


async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(http(200, ECHO, length=10_000))
    writer.close()


Call = Callable[[AppointmentService], Awaitable[object]]


async def run(bulk: Any) -> None:
    async for outcome in bulk:
        if outcome.error is not None:
            raise outcome.error


CALLS: dict[str, Call] = {
    "get": lambda service: service.get("123"),
    "create": lambda service: service.create(DRAFT),
    "create, verified": lambda service: service.create(DRAFT, verify=found_by_preview(grace=0)),
    "update": lambda service: service.update("123", title=TITLE, description=DESCRIPTION, extra={"note": NOTE}),
    "update, read first": lambda service: service.update("123", title=TITLE, extra={"note": NOTE}, read_first=True),
    "delete": lambda service: service.delete("123"),
    "preview": lambda service: service.preview().collect(),
    "create_many": lambda service: run(service.create_many([DRAFT])),
    "update_many": lambda service: run(service.update_many([AppointmentUpdate(appointment_id="1", title=TITLE)])),
    "request": lambda service: service.session.request("POST", ("x",), query={"q": NOTE}, body=orjson.dumps(FIELDS)),
    "any endpoint": lambda service: service.request(
        "POST", "/x", query={"q": NOTE}, json=FIELDS, headers={"X-Key": CLIENT_SECRET}
    ),
    "pages of any endpoint": lambda service: service.pages("/x", Appointment, query={"q": NOTE}).collect(),
    "raw response": lambda service: service.with_raw_response.create(DRAFT),
    "fetch of a token": lambda service: service.session.fetch_token(),
}

FAULTS: dict[str, ScriptedResponse] = {
    "400": http(400, ECHO),
    "401": http(401, ECHO),
    "403": http(403, ECHO),
    "404": http(404, ECHO),
    "409": http(409, ECHO),
    "429": http(429, ECHO, Retry_After="1"),
    "500": http(500, ECHO),
    "503": http(503, ECHO),
    "302": http(302, ECHO, Location=f"https://other.example/{TOKEN}"),
    "not JSON": http(200, ECHO[:-1]),
    "not an appointment": http(200, ECHO),
    "oversized": http(200, ECHO * 100),
    "empty": http(200),
    "not HTTP": TITLE.encode() + b"\r\n\r\n",
    "dropped": drop,
    "cut": cut,
    "timeout": hang,
}


@asynccontextmanager
async def open_service(*responses: ScriptedResponse, **options: Any) -> AsyncIterator[AppointmentService]:
    arguments: dict[str, Any] = {
        "tenant_id": "acme",
        "auth": StaticToken(TOKEN),
        "rate_limit": RateLimit.unlimited(),
        "clock": ManualClock(),
        "attempt_timeout": 0.03,
        "max_body_size": 10_000,
    }
    async with (
        HostileServer(*responses) as server,
        ConnectorSession(server.base_url, **arguments | options) as session,
    ):
        yield AppointmentService(session)


async def failure(call: Awaitable[object]) -> BaseException | None:
    try:
        await call
    except Exception as error:  # noqa: BLE001 - the caller checks it
        return error
    return None


async def assert_nothing_exposed(service: AppointmentService) -> None:
    failed = {}
    for name, call in CALLS.items():
        error = await failure(call(service))
        if error is not None:
            failed[name] = exposed(error, *HIDDEN)
    assert failed
    assert not {name: places for name, places in failed.items() if places}


@pytest.mark.parametrize("response", FAULTS.values(), ids=FAULTS)
async def test_no_frame_exposes_a_secret_after_a_failed_request(response: ScriptedResponse) -> None:
    async with open_service(response) as service:
        await assert_nothing_exposed(service)


@pytest.mark.parametrize("response", FAULTS.values(), ids=FAULTS)
async def test_no_frame_exposes_a_secret_after_a_failed_token_request(response: ScriptedResponse) -> None:
    async with open_service(response, auth=ClientCredentials("id", CLIENT_SECRET)) as service:
        await assert_nothing_exposed(service)


async def test_no_frame_exposes_a_secret_when_the_server_is_unreachable() -> None:
    async with open_service(drop) as service:
        session = ConnectorSession(
            "http://127.0.0.1:1",
            tenant_id="acme",
            auth=StaticToken(TOKEN),
            rate_limit=RateLimit.unlimited(),
            clock=service.session.clock,
        )
        async with session:
            assert isinstance(await failure(AppointmentService(session).get("123")), ConnectFailedError)
            await assert_nothing_exposed(AppointmentService(session))


async def test_no_frame_exposes_a_secret_when_no_slot_comes_before_the_deadline() -> None:
    async with open_service(http(200, b"[]"), rate_limit=RateLimit(2, burst=1), deadline=0.1) as service:
        await service.preview().collect()
        assert isinstance(await failure(service.get("123")), DeadlineExceededError)
        await assert_nothing_exposed(service)


@pytest.mark.parametrize("auth", [StaticToken(TOKEN), ClientCredentials("id", CLIENT_SECRET)], ids=repr)
async def test_no_frame_exposes_a_secret_when_the_deadline_ends_a_call(auth: Any) -> None:
    async with open_service(hang, auth=auth, deadline=0.03, attempt_timeout=0.1) as service:
        assert isinstance(await failure(service.get("123")), DeadlineExceededError)
        await assert_nothing_exposed(service)


@pytest.mark.parametrize("auth", [StaticToken(TOKEN), ClientCredentials("id", CLIENT_SECRET)], ids=repr)
async def test_no_frame_exposes_a_secret_when_the_application_cancels_a_call(auth: Any) -> None:
    async with open_service(hang, auth=auth, attempt_timeout=5) as service:
        for name in ("create", "update", "request"):
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.03):
                    await CALLS[name](service)
            assert isinstance(caught.value.__cause__, asyncio.CancelledError)
            assert exposed(caught.value, *HIDDEN) == []


async def test_no_frame_exposes_a_secret_when_the_session_is_closed() -> None:
    async with open_service(http(200)) as service:
        await service.session.aclose()
        assert isinstance(await failure(service.get("123")), RuntimeError)
        await assert_nothing_exposed(service)


async def test_kept_rejection_exposes_no_secret() -> None:
    async with open_service(http(401), auth=ClientCredentials("id", CLIENT_SECRET)) as service:
        first = await failure(service.get("123"))
        second = await failure(service.get("123"))
        assert isinstance(second, AuthenticationError)
        assert second is not first
        assert exposed(second, *HIDDEN) == []
        auth = service.session._sender.auth
        assert isinstance(auth, ClientCredentials)
        assert [error.__traceback__ for error, _ in auth._rejections.values()] == [None]


async def test_error_keeps_the_frame_of_the_public_method_and_its_causes() -> None:
    async with open_service(http(500), http(404)) as service:
        error = await failure(service.get("123"))
        assert isinstance(error, NotFoundError)
        assert frames(error) == ["AppointmentService.get", "RetryingCaller.make"]
    async with open_service(http(500)) as service:
        error = await failure(service.create(DRAFT))
        assert isinstance(error, OutcomeUnknownError)
        assert isinstance(error.__cause__, ServerError)
        assert frames(error) == ["AppointmentService.create", "RetryingCaller.make"]
        assert frames(error.__cause__) == []


async def test_error_is_freed_without_the_garbage_collector() -> None:
    async with open_service(http(404)) as service:
        gc.disable()
        try:
            error = await failure(service.get("123"))
            assert error is not None
            freed = weakref.ref(error)
            del error
            assert freed() is None
        finally:
            gc.enable()


async def test_exception_that_the_application_is_handling_keeps_its_frames() -> None:
    async with open_service(http(404)) as service:
        for call in (service.get("123"), service.session.request("GET", ("x",))):
            try:
                raise KeyError("the application's")
            except KeyError as error:
                handled = error
                failed = await failure(call)
            assert failed is not None
            assert failed.__context__ is handled
            assert handled.__traceback__ is not None
            assert not hasattr(handled, "__notes__")


async def test_error_passed_to_a_retry_hook_exposes_nothing() -> None:
    retries: list[RetryDetails] = []
    async with open_service(http(503, Retry_After="1")) as service:
        await failure(service.with_options(retry=RetryPolicy(on_retry=retries.append)).update("123", title=TITLE))
    assert len(retries) == 2
    assert [exposed(details.error, *HIDDEN) for details in retries] == [[], []]


async def test_exception_of_a_paging_style_exposes_nothing_and_names_its_place() -> None:
    class Broken:
        def request(self, _: str | None) -> PageRequest:
            return PageRequest()

        def read(self, response: PageResponse, _: str | None) -> Any:
            return response.body["items"]

    async with open_service(http(200, orjson.dumps({"data": [FIELDS]}))) as service:
        broken = AppointmentService(service.session, paging=Broken())
        error = await failure(broken.preview().collect())
        assert isinstance(error, KeyError)
        assert exposed(error, *HIDDEN) == []
        assert [note.partition(" (")[0].rpartition(".")[2] for note in error.__notes__] == ["read"]


async def test_exception_with_read_only_attributes_reaches_the_caller_without_frames() -> None:
    @dataclass(frozen=True)
    class FrozenError(Exception):
        reason: str

    class Vault:
        async def token(self, _tenant: str, _send: TokenSend) -> Token:
            _ = CLIENT_SECRET  # a local of the frame
            raise FrozenError("sealed")

        def invalidate(self, tenant: str, token: Token) -> None: ...

    session = ConnectorSession("https://api.example", tenant_id="acme", auth=Vault())
    error = await failure(AppointmentService(session).get("1"))
    assert isinstance(error, FrozenError)
    assert exposed(error, *HIDDEN) == []


async def test_exception_of_a_token_provider_exposes_nothing() -> None:
    class Vault:
        async def token(self, _: str, send: TokenSend) -> Token:
            await send.post_token_request(orjson.dumps({"secret": CLIENT_SECRET}))
            raise AssertionError

        def invalidate(self, tenant: str, token: Token) -> None: ...

    async with open_service(http(401), auth=Vault()) as service:
        await assert_nothing_exposed(service)


async def test_log_of_a_verify_that_raised_exposes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def verify(_: AppointmentService, __: NewAppointment) -> None:
        raise KeyError("a mistake")

    caplog.set_level(logging.ERROR)
    async with open_service(http(500)) as service:
        await failure(service.create(DRAFT, verify=verify))
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    assert exposed(record.exc_info[1], *HIDDEN) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda service: service.update("", title=TITLE),
        lambda service: service.update("123", title=TITLE, start_time=datetime(2024, 1, 1)),
        lambda service: service.update("123", title=TITLE, description_type="Text"),
        lambda service: service.update("123", title=TITLE, extra={"note": [NOTE, object()]}),
        lambda service: service.update("123", title=TITLE, time_zone="Europe/Zurich"),
        lambda service: service.create(NewAppointment(title=TITLE, start_time=TEN, end_time=TEN, extra={"x": {NOTE}})),
        lambda service: service.create({"title": TITLE}),
        lambda service: service.session.request("POST", ("x",), body={"title": TITLE}),
        lambda service: service.session.request("POST", ("x",), query={"title": f"{TITLE}\ud800"}),
    ],
)
async def test_no_frame_exposes_the_other_arguments_beside_an_invalid_one(call: Call) -> None:
    async with open_service(http(200)) as service:
        error = await failure(call(service))
        assert isinstance(error, ValueError | TypeError)
        assert exposed(error, *HIDDEN) == []


@pytest.mark.parametrize(
    "build",
    [
        lambda: ClientCredentials("id", f"{CLIENT_SECRET}\n"),
        lambda: ClientCredentials("", CLIENT_SECRET),
        lambda: StaticToken(f"{TOKEN}\n"),
        lambda: Token(f"{TOKEN}\n"),
        lambda: Token(TOKEN, expires_at="soon"),  # type: ignore[arg-type]
        lambda: Secret(TOKEN.encode()),  # type: ignore[arg-type]
        lambda: ConnectorSession(
            "", tenant_id="acme", auth=StaticToken("t"), proxy=f"http://me:{PROXY_PASSWORD}@127.0.0.1:1"
        ),
        lambda: ConnectorSession(f"https://me:{PROXY_PASSWORD}@api.example", tenant_id="acme", auth=StaticToken("t")),
    ],
)
def test_no_frame_exposes_a_secret_passed_to_a_constructor(build: Callable[[], object]) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        build()
    assert exposed(caught.value, *HIDDEN) == []


def test_no_frame_exposes_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_BASE_URL", "https://api.example")
    monkeypatch.setenv("CONNECTOR_TENANT_ID", "acme")
    monkeypatch.setenv("CONNECTOR_CLIENT_SECRET", CLIENT_SECRET)
    with pytest.raises(ValueError, match="CONNECTOR_CLIENT_ID") as caught:
        ConnectorSession.from_env()
    assert exposed(caught.value, *HIDDEN) == []
