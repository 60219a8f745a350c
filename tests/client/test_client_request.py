"""Sessions of our own send the same requests as aiohttp does, with fewer steps."""

from typing import Any

import aiohttp
import pytest
from aiohttp import ClientRequest, ClientResponse

from connector_async import AppointmentService, ConnectorSession, StaticToken
from connector_async.session import client_request
from tests.support.hostile import HostileServer, ReceivedRequest, http

RESPONSE = http(
    200,
    b'{"appointmentId":"1","title":"t","startTime":"2024-01-15T10:00:00Z","endTime":"2024-01-15T11:00:00Z"}',
)


@pytest.fixture
def body_tasks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods of the requests whose body aiohttp wrote in a coroutine of its own."""
    methods: list[str] = []
    write_bytes = ClientRequest.write_bytes

    async def counted(self: ClientRequest, *arguments: Any) -> None:
        methods.append(self.method)
        await write_bytes(self, *arguments)

    monkeypatch.setattr(ClientRequest, "write_bytes", counted)
    return methods


async def requests_of(
    server: HostileServer, borrowed: aiohttp.ClientSession | None = None, title: str = "Visit"
) -> list[ReceivedRequest]:
    auth = StaticToken("hunter2")
    async with ConnectorSession(server.base_url, tenant_id="acme", auth=auth, session=borrowed) as session:
        service = AppointmentService(session)
        await service.update("7c01f588-1", title=title)
        await service.get("7c01f588-1")
    return server.requests[-2:]


async def test_requests_are_those_of_aiohttp_without_a_coroutine_for_the_body(body_tasks: list[str]) -> None:
    async with HostileServer(RESPONSE) as server, aiohttp.ClientSession() as borrowed:
        of_aiohttp = await requests_of(server, borrowed)
        assert body_tasks == ["PUT"]
        assert await requests_of(server) == of_aiohttp
        assert body_tasks == ["PUT"]
        assert [request.headers["host"] for request in of_aiohttp] == [f"127.0.0.1:{server.port}"] * 2


async def test_headers_are_in_the_order_of_aiohttp() -> None:
    async with HostileServer(RESPONSE) as server, aiohttp.ClientSession() as borrowed:
        of_aiohttp, own = await requests_of(server, borrowed), await requests_of(server)
        assert [list(request.headers) for request in own] == [list(request.headers) for request in of_aiohttp]
        assert next(iter(own[0].headers)) == "host"  # a proxy may look for it first (RFC 9110, section 7.2)


async def test_large_body_is_written_by_aiohttp(body_tasks: list[str]) -> None:
    async with HostileServer(RESPONSE) as server:
        (update, _) = await requests_of(server, title="x" * 20_000)
        assert len(update.body) > 20_000
        assert body_tasks == ["PUT"]


async def test_unknown_version_of_aiohttp_sends_everything_itself(
    body_tasks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client_request._knows_aiohttp()
    with monkeypatch.context() as patch:
        patch.setattr(ClientResponse, "__init__", object.__init__)
        assert not client_request._knows_aiohttp()
    monkeypatch.setattr(client_request, "_KNOWS_AIOHTTP", False)
    async with HostileServer(RESPONSE) as server:
        await requests_of(server)
        assert body_tasks == ["PUT"]
