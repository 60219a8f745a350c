"""Extra headers of a service and of a call: which are sent, which win, and which are rejected."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from connector_async import Appointment, AppointmentService, NewAppointment, NotFoundError, found_by_preview
from tests.support.exposure import exposed
from tests.support.hostile import HostileServer, drop, http
from tests.support.services import CREATED, FOUND, OPERATIONS, PREVIEW, call, open_service

KEY = {"X-Key": "hunter3"}
RESPONSES = {"create": CREATED, "preview": PREVIEW}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_headers_of_a_call_are_sent_with_that_call_only(operation: str, draft: NewAppointment) -> None:
    async with HostileServer(RESPONSES.get(operation, FOUND)) as server:
        service = open_service(server)
        await call(service, operation, draft, headers=KEY)
        await call(service, operation, draft)
        assert [request.headers.get("x-key") for request in server.requests] == ["hunter3", None]


async def test_headers_of_requests_and_pages_of_any_endpoint_are_sent() -> None:
    async with HostileServer(PREVIEW) as server:
        service = open_service(server)
        await service.request("POST", "/x", json={}, headers=KEY)
        await service.pages("/x", Appointment, headers=KEY).collect()
        assert [request.headers["x-key"] for request in server.requests] == ["hunter3"] * 2


async def test_headers_are_sent_with_each_attempt_and_with_the_read_before_an_update() -> None:
    async with HostileServer(http(500), FOUND, drop, FOUND) as server:
        await open_service(server).update("123", title="Other", read_first=True, headers=KEY)
        assert [request.method for request in server.requests] == ["GET", "GET", "PUT", "GET", "PUT"]
        assert {request.headers["x-key"] for request in server.requests} == {"hunter3"}


async def test_headers_of_a_create_are_sent_with_its_verification(draft: NewAppointment) -> None:
    async with HostileServer(drop, PREVIEW) as server:
        await open_service(server).create(draft, verify=found_by_preview(grace=0), headers=KEY)
        assert [request.headers["x-key"] for request in server.requests] == ["hunter3"] * 2


async def test_header_of_a_call_replaces_that_of_the_service_whatever_its_case() -> None:
    async with HostileServer(FOUND) as server:
        session = open_service(server).session
        service = AppointmentService(session, headers={"X-Key": "a", "X-Other": "b"}).with_options(
            headers={"X-New": "c"}
        )
        await service.get("123", headers={"x-key": "d"})
        await service.with_options(deadline=5).get("123")
        sent = [
            {name: request.headers.get(name) for name in ("x-key", "x-other", "x-new")} for request in server.requests
        ]
    assert sent == [{"x-key": "d", "x-other": "b", "x-new": "c"}, {"x-key": "a", "x-other": "b", "x-new": "c"}]


async def test_bulk_operations_send_the_headers_of_the_service(draft: NewAppointment) -> None:
    async with HostileServer(FOUND) as server:
        service = open_service(server).with_options(headers=KEY)
        assert [outcome.error async for outcome in service.get_many(["1"])] == [None]
        assert [outcome.error async for outcome in service.create_many([draft])] == [None]
        assert [request.headers["x-key"] for request in server.requests] == ["hunter3"] * 2


WAYS: dict[str, Callable[[AppointmentService, Any], Awaitable[object]]] = {
    "get": lambda service, headers: service.get("123", headers=headers),
    "update": lambda service, headers: service.update("123", title="x", headers=headers),
    "delete": lambda service, headers: service.delete("123", headers=headers),
    "preview": lambda service, headers: service.preview(headers=headers).collect(),
    "request": lambda service, headers: service.request("GET", "/x", headers=headers),
    "with_options": lambda service, headers: service.with_options(headers=headers).get("123"),
    "service": lambda service, headers: AppointmentService(service.session, headers=headers).get("123"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_invalid_header_is_rejected_before_anything_is_sent_and_shows_no_value(way: str) -> None:
    async with HostileServer(FOUND) as server:
        for headers in ({"X-Key": "hunter3", "Authorization": "Bearer x"}, {"X-Key": "hunter3\r\nX: y"}):
            with pytest.raises(ValueError, match="headers") as caught:
                await WAYS[way](open_service(server), headers)
            assert exposed(caught.value, "hunter3") == []
        with pytest.raises(TypeError, match="headers must be a mapping or None, not list"):
            await WAYS[way](open_service(server), [("X-Key", "hunter3")])
        assert server.requests == []


@pytest.mark.parametrize("way", WAYS)
async def test_error_of_a_call_shows_no_header(way: str) -> None:
    async with HostileServer(http(404)) as server:
        with pytest.raises(NotFoundError) as caught:
            await WAYS[way](open_service(server), KEY)
    assert exposed(caught.value, "hunter3") == []
