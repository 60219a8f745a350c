"""The request and the result of each operation, without a server."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import orjson
import pytest
from aioresponses import CallbackResult, aioresponses
from yarl import URL

from connector_async import Appointment, AppointmentService, ConnectorSession, NewAppointment, StaticToken
from tests.support.services import FIELDS

BASE = "https://publicapi.officeplace.global"
ONE = f"{BASE}/acme/appointment"


class _Writer:
    output_size = 0


class _Response(aiohttp.ClientResponse):
    """Has the `stream_writer` that aiohttp 3.14 requires and aioresponses 0.7.9 does not pass."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"stream_writer": _Writer()} | kwargs)


@pytest.fixture
def mocked() -> Iterator[aioresponses]:
    with aioresponses() as mock:
        yield mock


@pytest.fixture
async def service() -> AsyncIterator[AppointmentService]:
    async with ConnectorSession(BASE, tenant_id="acme", auth=StaticToken("hunter2")) as session:
        yield AppointmentService(session)


@pytest.fixture
def appointment(draft: NewAppointment) -> Appointment:
    return Appointment("123", draft.title, draft.start_time, draft.end_time, "Quarterly review meeting")


def respond(mock: aioresponses, method: str, url: str, body: object = None, status: int = 200) -> list[dict[str, Any]]:
    """Set the response to a request, and return the list that its arguments are appended to."""
    sent: list[dict[str, Any]] = []

    def record(_: URL, **arguments: Any) -> CallbackResult:
        sent.append(arguments)
        content = b"" if body is None else orjson.dumps(body)
        return CallbackResult(status=status, body=content, response_class=_Response)

    mock.add(url, method, callback=record)
    return sent


async def test_get_sends_id_token_and_tenant(
    service: AppointmentService, mocked: aioresponses, appointment: Appointment
) -> None:
    sent = respond(mocked, "GET", f"{ONE}?appointmentId=123", FIELDS)
    assert await service.get("123") == appointment
    assert sent[0]["data"] is None
    assert sent[0]["headers"]["Authorization"] == "Bearer hunter2"
    assert sent[0]["headers"]["tenantId"] == "acme"


async def test_preview_returns_the_appointments(
    service: AppointmentService, mocked: aioresponses, appointment: Appointment
) -> None:
    respond(mocked, "GET", f"{ONE}/preview", [FIELDS])
    assert [item async for item in service.preview()] == [appointment]


async def test_create_sends_the_fields_of_the_draft(
    service: AppointmentService, mocked: aioresponses, draft: NewAppointment, appointment: Appointment
) -> None:
    sent = respond(mocked, "POST", ONE, {"appointmentId": "123"})
    assert await service.create(draft) == appointment
    assert orjson.loads(sent[0]["data"]) == {key: FIELDS[key] for key in FIELDS if key != "appointmentId"}


async def test_update_sends_the_set_fields(
    service: AppointmentService, mocked: aioresponses, appointment: Appointment
) -> None:
    sent = respond(mocked, "PUT", ONE, FIELDS)
    changed = await service.update("123", title="Meeting with Client", end_time=appointment.end_time)
    assert changed == appointment
    assert orjson.loads(sent[0]["data"]) == {key: FIELDS[key] for key in ("appointmentId", "title", "endTime")}


async def test_delete_sends_the_id_as_json(service: AppointmentService, mocked: aioresponses) -> None:
    sent = respond(mocked, "DELETE", ONE, status=204)
    await service.delete("123")
    assert orjson.loads(sent[0]["data"]) == {"appointmentId": "123"}
    assert sent[0]["headers"]["Content-Type"] == "application/json"
