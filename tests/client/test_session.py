"""Requests of a session, its closing, and its children."""

from datetime import UTC
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectFailedError,
    ConnectorSession,
    DecodingError,
    ServerError,
    UnexpectedRedirectError,
)
from connector_async.sandbox import Sandbox
from tests.support.hostile import HostileServer, hang, http
from tests.support.services import open_session


async def test_body_is_sent_as_json() -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server) as session:
        await session.request("DELETE", ("appointment",), body=b'{"appointmentId":"1"}')
        assert server.requests[0].method == "DELETE"
        assert server.requests[0].headers["content-type"] == "application/json"
        assert server.requests[0].body == b'{"appointmentId":"1"}'


@pytest.mark.parametrize(
    ("tenant_id", "segment"),
    [
        ("../../admin", "..%2F..%2Fadmin"),
        ("a/../b", "a%2F..%2Fb"),
        ("t?x=", "t%3Fx%3D"),
        ("%2e%2e", "%252e%252e"),
        ("a b", "a%20b"),
        ("a#b;c", "a%23b%3Bc"),
        ("...", "..."),
    ],
)
async def test_hostile_tenant_id_is_sent_as_one_segment(tenant_id: str, segment: str) -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server, tenant_id=tenant_id) as session:
        await session.request("GET", ("appointment",))
        assert server.requests[0].target == f"/{segment}/appointment"
        assert server.requests[0].headers["tenantid"] == tenant_id


@pytest.mark.parametrize("value", ["../x", "a&b=c", "a+b", "a b", "%2e", "é/?#", "x" * 5_000])
async def test_query_value_is_sent_exactly(value: str) -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server) as session:
        await session.request("GET", ("appointment",), query={"appointmentId": value})
        assert parse_qs(urlsplit(server.requests[0].target).query) == {"appointmentId": [value]}


def test_repr_of_a_session_shows_no_secret() -> None:
    session = ConnectorSession(
        "https://api.example", tenant_id="acme", auth=ClientCredentials("id", "hunter2"), assume_zone=UTC
    )
    assert repr(session) == ("ConnectorSession('https://api.example', tenant_id='acme', wire_format=WireFormat.GUIDE)")
    assert "hunter2" not in repr(AppointmentService(session))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_is_an_error_and_is_not_followed(status: int) -> None:
    async with (
        HostileServer(http(200, b"1")) as elsewhere,
        HostileServer(http(status, Location=elsewhere.base_url)) as server,
    ):
        async with open_session(server) as session:
            with pytest.raises(UnexpectedRedirectError) as caught:
                await session.request("POST", ("appointment",), body=b"{}")
            assert caught.value.status == status
        async with open_session(server, auth=ClientCredentials("id", "secret")) as session:
            with pytest.raises(UnexpectedRedirectError, match="/acme/authentication/token returned"):
                await session.request("GET", ("appointment",))
        assert elsewhere.requests == []


async def test_oversized_body_of_a_success_is_a_decoding_error_and_that_of_an_error_is_ignored() -> None:
    responses = http(200, b"x" * 101, X_Request_Id="r"), http(500, b"x" * 101)
    async with HostileServer(*responses) as server, open_session(server, max_body_size=100) as session:
        with pytest.raises(DecodingError, match="max_body_size") as caught:
            await session.request("GET", ("appointment",))
        assert caught.value.request_id == "r"
        with pytest.raises(ServerError):
            await session.request("GET", ("appointment",))


async def test_closing_a_session_from_for_tenant_closes_nothing(session: ConnectorSession) -> None:
    async with session.for_tenant("globex") as child:
        await child.request("GET", ("appointment", "preview"))
    assert (await child.request("GET", ("appointment", "preview"))).status == 200
    assert (await session.request("GET", ("appointment", "preview"))).status == 200


@pytest.mark.row("C2")
async def test_request_after_closing_raises_a_clear_error(session: ConnectorSession) -> None:
    await session.request("GET", ("appointment", "preview"))
    await session.aclose()
    await session.aclose()
    for closed in (session, session.for_tenant("globex")):
        with pytest.raises(RuntimeError, match="closed"):
            await closed.request("GET", ("appointment", "preview"))


@pytest.mark.row("C2")
async def test_borrowed_aiohttp_session_is_used_and_not_closed(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession(raise_for_status=True) as borrowed:
        auth = ClientCredentials("sandbox", "sandbox-secret")
        async with ConnectorSession(sandbox.base_url, tenant_id="acme", auth=auth, session=borrowed) as session:
            await session.request("GET", ("appointment", "preview"))
            sandbox.revoke_tokens("acme")
            await session.request("GET", ("appointment", "preview"))
        assert not borrowed.closed


async def test_unreachable_server_is_a_connect_failed_error() -> None:
    async with HostileServer(hang) as server:
        session = open_session(server)
    async with session:
        with pytest.raises(ConnectFailedError) as caught:
            await session.request("GET", ("appointment",))
    assert caught.value.sent is False
