"""The five operations, with the sandbox and with servers that misbehave."""

import asyncio
import gzip
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    ClientCredentials,
    ConflictError,
    ConnectFailedError,
    ConnectorError,
    ConnectorSession,
    DecodingError,
    InvalidRequestError,
    NewAppointment,
    NotFoundError,
    OutcomeUnknownError,
    RateLimit,
    RateLimitedError,
    ResponseError,
    RetryPolicy,
    ServerError,
    TransportError,
    UnexpectedRedirectError,
)
from connector_async.sandbox import Sandbox
from tests.conftest import ManualClock
from tests.support.hostile import HostileServer, ScriptedResponse, drop, hang, http
from tests.support.services import open_service

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)


def service(server: HostileServer, **options: Any) -> AppointmentService:
    """Return a service that makes one attempt."""
    return open_service(server, retry=RetryPolicy.none(), **options)


async def test_appointment_from_create_to_delete(appointments: AppointmentService, draft: NewAppointment) -> None:
    created = await appointments.create(draft)
    assert created == Appointment(
        created.appointment_id, draft.title, draft.start_time, draft.end_time, "Quarterly review meeting"
    )
    assert await appointments.get(created.appointment_id) == created
    changed = await appointments.update(created.appointment_id, title="Updated Meeting Title")
    assert changed == attrs.evolve(created, title="Updated Meeting Title")
    assert [appointment async for appointment in appointments.preview()] == [changed]
    await appointments.delete(created.appointment_id)
    with pytest.raises(NotFoundError):
        await appointments.get(created.appointment_id)


async def test_update_changes_only_the_given_field(appointments: AppointmentService, draft: NewAppointment) -> None:
    created = await appointments.create(draft)
    changes: list[dict[str, Any]] = [
        {"description": None},
        {"end_time": TEN + timedelta(hours=3)},
        {"start_time": TEN + timedelta(hours=2)},
        {"title": "Other"},
    ]
    for change in changes:
        created = attrs.evolve(created, **change)
        assert await appointments.update(created.appointment_id, **change) == created


async def test_ids_of_any_printable_characters_are_sent_exactly(
    draft: NewAppointment, credentials: ClientCredentials
) -> None:
    ids = ["../x", "a&b=c", "a+b", "%2e%2e", "é/?#", "a b", "0"]
    async with (
        Sandbox(new_appointment_id=iter(ids).__next__) as sandbox,
        ConnectorSession(
            sandbox.base_url, tenant_id="../t?", auth=credentials, rate_limit=RateLimit.unlimited()
        ) as session,
    ):
        appointments = AppointmentService(session)
        for appointment_id in ids:
            assert (await appointments.create(draft)).appointment_id == appointment_id
            assert (await appointments.get(appointment_id)).appointment_id == appointment_id
            assert await appointments.update(appointment_id, title="Other")
            await appointments.delete(appointment_id)


@pytest.mark.parametrize("operation", ["get", "update", "delete"])
async def test_unknown_id_is_a_not_found_error(appointments: AppointmentService, operation: str) -> None:
    arguments = {"title": "Other"} if operation == "update" else {}
    with pytest.raises(NotFoundError) as caught:
        await getattr(appointments, operation)("unknown", **arguments)
    error = caught.value
    assert (error.status, error.path) == (404, "/acme/appointment")
    assert error.request_id
    assert error.problem is not None
    assert error.problem["traceId"] == error.request_id


async def test_invalid_request_error_names_the_fields() -> None:
    body = b'{"title":"Invalid","errors":{"endTime":["too late"]}}'
    async with HostileServer(http(400, body, Content_Type="application/problem+json")) as server:
        with pytest.raises(InvalidRequestError) as caught:
            await service(server).update("1", title="x")
    assert caught.value.errors == {"endTime": ("too late",)}


async def test_get_with_an_empty_response_is_a_not_found_error() -> None:
    async with HostileServer(http(200, b"", X_Request_Id="r")) as server:
        with pytest.raises(NotFoundError, match="empty body") as caught:
            await service(server).get("1")
    error = caught.value
    assert (error.status, error.method, error.path, error.request_id) == (200, "GET", "/acme/appointment", "r")


async def test_get_with_a_truncated_compressed_response_is_not_taken_for_empty() -> None:
    async with HostileServer(http(200, gzip.compress(b"{}")[:10], Content_Encoding="gzip")) as server:
        with pytest.raises(DecodingError):
            await service(server).get("1")


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"<html>"])
async def test_create_with_a_response_without_id_is_a_decoding_error(body: bytes, draft: NewAppointment) -> None:
    async with HostileServer(http(201, body, X_Request_Id="r")) as server:
        with pytest.raises(DecodingError) as caught:
            await service(server).create(draft)
    assert caught.value.sent is True
    assert caught.value.request_id == "r"
    assert caught.value.attempts == 1


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_update_with_an_empty_response_returns_none(status: int) -> None:
    async with HostileServer(http(status)) as server:
        assert await service(server).update("1", title="x") is None


@pytest.mark.parametrize("body", [b"", b"null", b"true", b'{"any":"shape"}', b"Deleted", b"<html>"])
async def test_delete_succeeds_whatever_the_confirmation_says(body: bytes) -> None:
    async with HostileServer(http(200, body)) as server:
        await service(server).delete("1")
    assert server.requests[0].body == b'{"appointmentId":"1"}'


@pytest.mark.parametrize("body", [b"", b"{}", b'{"items":{}}', b'[{"appointmentId":"1"}]', b"[", b"null"])
async def test_preview_that_is_not_a_list_of_appointments_is_a_decoding_error(body: bytes) -> None:
    async with HostileServer(http(200, body, X_Request_Id="r")) as server:
        with pytest.raises(DecodingError) as caught:
            [appointment async for appointment in service(server).preview()]
    assert caught.value.request_id == "r"
    assert (caught.value.attempts, caught.value.elapsed is not None) == (1, True)


LOST = {
    "drop": drop,
    "hang": hang,
    "not http": b"no HTTP\r\n\r\n",
    "cut": http(201, b'{"app', length=100),
    **{str(status): http(status) for status in (300, 301, 302, 303, 304, 500, 502, 503, 504, 507, 520, 524, 598, 999)},
}


@pytest.mark.row("R3")
@pytest.mark.parametrize("response", LOST.values(), ids=LOST)
async def test_create_with_a_lost_response_is_sent_once_and_its_outcome_is_unknown(
    response: ScriptedResponse, draft: NewAppointment
) -> None:
    async with HostileServer(response) as server:
        with pytest.raises(OutcomeUnknownError) as caught:
            await service(server, attempt_timeout=0.25).create(draft)
    assert len(server.requests) == 1
    error = caught.value
    assert error.sent is True
    assert error.attempts == 1
    assert isinstance(error.__cause__, ResponseError | TransportError)
    assert error.status == getattr(error.__cause__, "status", None)
    assert draft.title not in repr(error)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (http(400), InvalidRequestError),
        (http(409), ConflictError),
        (http(429), RateLimitedError),
        (http(408), ResponseError),
        (http(307, Location="/"), UnexpectedRedirectError),
        (http(308, Location="/"), UnexpectedRedirectError),
        (http(501), ServerError),
        (http(503, Retry_After="5"), ServerError),
    ],
)
async def test_refused_create_raises_the_error_of_its_status(
    response: bytes, expected: type[ConnectorError], draft: NewAppointment
) -> None:
    async with HostileServer(response) as server:
        with pytest.raises(expected):
            await service(server).create(draft)


async def test_create_that_was_not_sent_raises_the_error_of_the_connection(draft: NewAppointment) -> None:
    async with HostileServer(hang) as server:
        appointments = service(server)
    with pytest.raises(ConnectFailedError) as caught:
        await appointments.create(draft)
    assert (caught.value.sent, caught.value.attempts) == (False, 1)


async def test_create_without_a_token_raises_the_error_of_the_token_request(
    draft: NewAppointment, clock: ManualClock
) -> None:
    for token_response in (http(500), drop):
        async with HostileServer(token_response) as server:
            with pytest.raises((ServerError, TransportError)) as caught:
                await service(server, auth=ClientCredentials("id", "secret")).create(draft)
        assert caught.value.sent is False


async def test_error_has_the_duration_of_the_call(clock: ManualClock) -> None:
    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock.now += 2.5
        writer.write(http(500))

    async with HostileServer(slow) as server:
        with pytest.raises(ServerError) as caught:
            await service(server, clock=clock).get("1")
    assert (caught.value.attempts, caught.value.elapsed) == (1, 2.5)


@pytest.mark.parametrize(
    ("operation", "appointment_id"),
    [*(("get", value) for value in ("", ".", "..", "a\r\nb", "\0")), ("update", ".."), ("delete", "..")],
)
async def test_invalid_id_is_rejected_before_anything_is_sent(operation: str, appointment_id: str) -> None:
    arguments = {"title": "Other"} if operation == "update" else {}
    async with HostileServer(http(200)) as server:
        with pytest.raises(ValueError, match="appointment_id must"):
            await getattr(service(server), operation)(appointment_id, **arguments)
        assert server.requests == []


async def test_other_invalid_arguments_are_rejected_before_anything_is_sent() -> None:
    async with HostileServer(http(200)) as server:
        appointments = service(server)
        with pytest.raises(TypeError, match="new must be a NewAppointment, not dict"):
            await appointments.create({"title": "x"})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least one field"):
            await appointments.update("1")
        with pytest.raises(ValueError, match="start must be aware"):
            appointments.preview(datetime(2024, 1, 15))
        with pytest.raises(TypeError, match="end must be a datetime, not str"):
            appointments.preview(end="2024-01-15")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="end must not be before start"):
            appointments.preview(TEN, TEN - timedelta(seconds=1))
        with pytest.raises(TypeError, match="session must be a ConnectorSession"):
            AppointmentService(server)  # type: ignore[arg-type]
        assert server.requests == []


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        (None, None, [8, 10, 12]),
        (TEN, None, [10, 12]),
        (None, TEN, [8]),
        (TEN, TEN + timedelta(hours=2), [10]),
        (TEN + timedelta(minutes=59), None, [10, 12]),  # overlaps the end of the appointment at 10
        (TEN - timedelta(minutes=61), TEN, [8]),
        (TEN + timedelta(hours=1), TEN + timedelta(hours=2), []),  # touches both neighbours, overlaps none
        (TEN, TEN, []),
    ],
)
async def test_preview_keeps_appointments_that_overlap_the_time_range(
    appointments: AppointmentService, start: datetime | None, end: datetime | None, hours: list[int]
) -> None:
    for hour in (12, 8, 10):
        start_time = TEN.replace(hour=hour)
        await appointments.create(
            NewAppointment(title=f"At {hour}", start_time=start_time, end_time=start_time + timedelta(hours=1))
        )
    found = [appointment.start_time.hour async for appointment in appointments.preview(start, end)]
    assert sorted(found) == hours


async def test_appointment_without_duration_is_in_the_range_that_starts_with_it(
    appointments: AppointmentService,
) -> None:
    created = await appointments.create(NewAppointment(title="Call", start_time=TEN, end_time=TEN))
    hour = timedelta(hours=1)
    assert [item async for item in appointments.preview(TEN, TEN + hour)] == [created]
    assert [item async for item in appointments.preview(TEN - hour, TEN)] == []


async def test_date_times_without_offset_are_read_in_the_time_zone_of_the_session() -> None:
    local = b'{"appointmentId":1,"title":"x","startTime":"2024-01-15T10:00:00","endTime":"2024-01-15T11:00:00.0000000"}'
    async with HostileServer(http(200, local), http(200, b"[" + local + b"]"), http(200, local)) as server:
        appointments = service(server, assume_zone=UTC)
        expected = Appointment("1", "x", TEN, TEN + timedelta(hours=1), None)
        assert await appointments.get("1") == expected
        assert [item async for item in appointments.preview()] == [expected]
        assert await appointments.update("1", title="x") == expected
        await appointments.session.aclose()


async def test_repr_of_a_service_shows_its_session(appointments: AppointmentService) -> None:
    assert repr(appointments).startswith("AppointmentService(ConnectorSession('http://127.0.0.1:")
