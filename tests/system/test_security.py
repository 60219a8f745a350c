"""No error and no public object shows a secret or personal data."""

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime

import attrs
import orjson
import pytest

import connector_async
from connector_async import (
    Appointment,
    AppointmentService,
    AppointmentUpdate,
    ClientCredentials,
    ConnectorError,
    ConnectorSession,
    DirectoryUser,
    NewAppointment,
    Secret,
    StaticToken,
    Token,
    TokenProvider,
    WireFormat,
)
from tests.conftest import ManualClock
from tests.support.hostile import HostileServer, ScriptedResponse, drop, http

TOKEN, CLIENT_SECRET, PROXY_PASSWORD = "hunter2-token", "hunter3-secret", "hunter4-proxy"
TITLE, DESCRIPTION, NOTE = "Jane Doe, oncology", "Diagnosis: confidential", "Joe's room"
SECRETS = (TOKEN, CLIENT_SECRET, PROXY_PASSWORD)
PERSONAL = (TITLE, DESCRIPTION, NOTE)
TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)

DRAFT = NewAppointment(title=TITLE, start_time=TEN, end_time=TEN, description=DESCRIPTION, extra={"note": NOTE})
ECHO = {"title": TITLE, "description": DESCRIPTION, "token": TOKEN, "note": NOTE}
TOKEN_RESPONSE = http(200, orjson.dumps({"accessToken": TOKEN}))

# Responses that echo what was sent, for each way in which a call can fail.
RESPONSES: dict[str, ScriptedResponse] = {
    "problem": http(400, orjson.dumps({"title": "no", "detail": f"{TITLE} {TOKEN}", "errors": {"title": [TITLE]}})),
    "problem+json": http(500, orjson.dumps(ECHO), Content_Type="application/problem+json"),
    "html": http(502, f"<html>{TITLE} {TOKEN}".encode(), Content_Type="text/html"),
    "redirect": http(302, Location=f"https://other.example/?t={TOKEN}"),
    "missing": http(404, orjson.dumps(ECHO)),
    "conflict": http(409, orjson.dumps(ECHO)),
    "throttled": http(429, orjson.dumps(ECHO), Retry_After=TITLE.split(",", maxsplit=1)[0]),
    "unauthorized": http(401, orjson.dumps(ECHO), WWW_Authenticate=f"Bearer {TOKEN}"),
    "forbidden": http(403, orjson.dumps(ECHO)),
    "not json": http(200, f"{TITLE} {TOKEN}".encode()),
    "cut json": http(200, orjson.dumps(ECHO)[:-1]),
    "wrong types": http(200, orjson.dumps({"appointmentId": [TITLE], "title": {TITLE: 1}, "startTime": TITLE})),
    "no id": http(200, orjson.dumps({"id": 5} | ECHO)),
    "bad header": f"HTTP/1.1 200 OK\r\n{TITLE}\x00{TOKEN}\r\n\r\n".encode(),
    "drop": drop,
    "oversized": http(200, f"{TITLE} {TOKEN}".encode() * 1_000),
}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(http(200, orjson.dumps(ECHO), length=10_000))
    writer.close()


async def not_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(f"{TITLE} {TOKEN}\r\n\r\n".encode())
    writer.close()


RESPONSES |= {"cut": cut, "not http": not_http}


async def failures(response: ScriptedResponse, auth: TokenProvider) -> list[ConnectorError]:
    responses = [TOKEN_RESPONSE, response] if isinstance(auth, ClientCredentials) else [response]
    errors: list[ConnectorError] = []
    for operation in ("get", "create", "update", "delete", "preview"):
        async with (
            HostileServer(*responses) as server,
            ConnectorSession(
                server.base_url,
                tenant_id=operation,
                auth=auth,
                max_body_size=10_000,
                attempt_timeout=1,
                clock=ManualClock(),
            ) as session,
        ):
            try:
                await call(AppointmentService(session), operation)
            except ConnectorError as error:
                errors.append(error)
    return errors


async def call(service: AppointmentService, operation: str) -> None:
    if operation == "get":
        await service.get("123")
    elif operation == "create":
        await service.create(DRAFT)
    elif operation == "update":
        await service.update("123", title=TITLE, description=DESCRIPTION)
    elif operation == "delete":
        await service.delete("123")
    else:
        [appointment async for appointment in service.preview()]


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
@pytest.mark.parametrize("auth", [StaticToken(TOKEN), ClientCredentials("id", CLIENT_SECRET)], ids=repr)
async def test_no_error_shows_a_secret_or_a_payload_value(
    response: ScriptedResponse, auth: TokenProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    errors = await failures(response, auth)
    assert errors
    for error in errors:
        strings = [string for link in chain(error) for string in (repr(link), str(link))]
        strings += traceback.format_exception(error)
        strings += [repr(getattr(error, "problems", ())), str(getattr(error, "path", ""))]
        for string in strings:
            assert not [hidden for hidden in (*SECRETS, *PERSONAL) if hidden in string], string
    assert not [hidden for hidden in (*SECRETS, *PERSONAL) if hidden in caplog.text]


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
async def test_copies_of_an_error_show_no_more_than_the_error(response: ScriptedResponse) -> None:
    for error in await failures(response, StaticToken(TOKEN)):
        for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert repr(copied) == repr(error)
            assert not [hidden for hidden in (*SECRETS, *PERSONAL) if hidden in repr(copied)]


def public_objects() -> list[object]:
    credentials = ClientCredentials("id", CLIENT_SECRET)
    session = ConnectorSession(
        "https://api.example", tenant_id="acme", auth=credentials, proxy=f"http://me:{PROXY_PASSWORD}@127.0.0.1:1"
    )
    appointment = Appointment("1", TITLE, TEN, TEN, DESCRIPTION, extra={"note": NOTE})
    return [
        DRAFT,
        AppointmentUpdate(appointment_id="1", title=TITLE, description=DESCRIPTION, extra={"note": NOTE}),
        appointment,
        DirectoryUser("user", "directory"),
        connector_async.Page(items=[appointment]),
        AppointmentService(session).preview(),
        AppointmentService(session),
        session,
        session.for_tenant("globex", StaticToken(TOKEN)),
        session._state,
        session._state.transport,
        session._state.transport._options,
        session._tenant,
        credentials,
        StaticToken(TOKEN),
        Secret(TOKEN),
        Token(Secret(TOKEN)),
        WireFormat.GUIDE,
        connector_async.Clock(),
        connector_async.RateLimit(),
        connector_async.MemoryRateLimitStore(),
        connector_async.RetryPolicy(),
        connector_async.RetryQuota(),
        connector_async.CallRecord(operation="get"),
        connector_async.RetryDetails(
            operation="create", attempt=1, wait=1, waited_so_far=0, error=ConnectorError("failed")
        ),
        connector_async.found_by_preview(),
        session._sender,
        session._tenant.limiter,
        session._state.interruptible_sleep,
        AppointmentService(session)._caller,
        AppointmentService(session)._context,
        connector_async.UNSET,
    ]


@pytest.mark.parametrize("value", public_objects(), ids=lambda value: type(value).__name__)
def test_no_public_object_shows_a_secret_or_a_payload_value(value: object) -> None:
    for string in (repr(value), str(value)):
        assert not [hidden for hidden in (*SECRETS, *PERSONAL) if hidden in string], string
    # `asdict` may show personal data, which is there to be used, but no secret.
    if attrs.has(type(value)):
        string = repr(attrs.asdict(value))  # type: ignore[arg-type]
        assert not [secret for secret in SECRETS if secret in string], string


@pytest.mark.parametrize("value", public_objects(), ids=lambda value: type(value).__name__)
def test_no_pickle_holds_a_secret(value: object) -> None:
    try:
        pickled = pickle.dumps(value)
    except (TypeError, AttributeError, pickle.PicklingError):
        return
    assert not [secret for secret in SECRETS if secret.encode() in pickled]
