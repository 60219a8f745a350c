"""Extra headers of a session and of a request."""

import logging
from typing import Any

import pytest

from connector_async import (
    ClientCredentials,
    ConnectorError,
    ConnectorSession,
    InvalidArgumentError,
    StaticToken,
    correlation_id,
)
from tests.support.exposure import exposed
from tests.support.hostile import HostileServer, drop, http
from tests.support.services import FOUND, TOKEN_RESPONSE, open_service, open_session

KEY, OTHER_KEY = "hunter5-gateway-key", "hunter6-gateway-key"
APPOINTMENT = ("appointment",)


async def test_session_headers_are_on_each_request_and_token_request() -> None:
    async with HostileServer(TOKEN_RESPONSE, http(200, b"1")) as server:
        async with open_session(server, auth=ClientCredentials("id", "s"), headers={"X-Gateway-Key": KEY}) as session:
            await session.request("GET", APPOINTMENT)
            await session.for_tenant("globex", StaticToken("t")).request("GET", APPOINTMENT)
        assert [request.headers["x-gateway-key"] for request in server.requests] == [KEY, KEY, KEY]


async def test_header_of_a_request_goes_before_that_of_the_session() -> None:
    async with HostileServer(http(200, b"1")) as server:
        async with open_session(server, headers={"X-Gateway-Key": KEY, "X-Team": "a"}) as session:
            await session.request("GET", APPOINTMENT, headers={"x-gateway-key": OTHER_KEY})
            await session.request("GET", APPOINTMENT)
        first, second = (request.headers for request in server.requests)
        assert (first["x-gateway-key"], first["x-team"]) == (OTHER_KEY, "a")
        assert (second["x-gateway-key"], second["x-team"]) == (KEY, "a")


async def test_correlation_id_is_sent_beside_other_headers() -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server) as session:
        token = correlation_id.set("c-1")
        await session.request("GET", APPOINTMENT, headers={"X-Team": "a"})
        correlation_id.reset(token)
        headers = server.requests[0].headers
        assert (headers["x-correlation-id"], headers["x-team"]) == ("c-1", "a")


RESERVED = (
    *("Authorization", "tenantId", "Accept", "User-Agent", "Content-Type", "X-Correlation-Id", "Host"),
    *("Content-Length", "Transfer-Encoding", "Content-Encoding", "Accept-Encoding", "Trailer", "TE", "Connection"),
    *("Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Upgrade", "Expect"),
)


async def test_headers_that_the_sdk_sets_are_rejected_before_anything_is_sent() -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server) as session:
        for name in RESERVED:
            with pytest.raises(InvalidArgumentError, match=f"^headers must not have {name}, ") as caught:
                open_session(server, headers={name.upper(): KEY})
            assert caught.value.argument == "headers"
            with pytest.raises(InvalidArgumentError, match=f"^headers must not have {name}, "):
                await session.request("GET", APPOINTMENT, headers={name.lower(): KEY})
        assert server.requests == []


@pytest.mark.parametrize(
    ("headers", "error", "message"),
    [
        ({"X Key": KEY}, InvalidArgumentError, "headers must have names that are tokens of HTTP"),
        ({"": KEY}, InvalidArgumentError, "headers must have names that are tokens of HTTP"),
        ({"X-Key": f"{KEY}\r\nX-Other: 1"}, InvalidArgumentError, r"headers\['X-Key'\] must be printable ASCII"),
        ({"X-Key": f" {KEY}"}, InvalidArgumentError, r"headers\['X-Key'\] must not start or end with a space"),
        ({"X-Key": ""}, InvalidArgumentError, r"headers\['X-Key'\] must not be empty"),
        ({"x-key": KEY, "X-Key": KEY}, InvalidArgumentError, "headers must have X-Key only once"),
        ({"X-Key": KEY.encode()}, TypeError, r"headers\['X-Key'\] must be a str, not bytes"),
        ({KEY.encode(): KEY}, TypeError, "headers must have names of type str, not bytes"),
        ([("X-Key", KEY)], TypeError, "headers must be a mapping or None, not list"),
    ],
)
async def test_invalid_headers_are_rejected(headers: Any, error: type[Exception], message: str) -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server) as session:
        with pytest.raises(error, match=f"^{message}") as caught:
            open_session(server, headers=headers)
        assert exposed(caught.value, KEY) == []
        with pytest.raises(error, match=f"^{message}") as caught:
            await session.request("GET", APPOINTMENT, headers=headers)
        assert exposed(caught.value, KEY) == []
        assert server.requests == []


@pytest.mark.parametrize("response", [drop, http(500)])
async def test_values_of_headers_are_never_shown(response: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with HostileServer(response) as server:
        service = open_service(server, headers={"X-Key": KEY})
        with pytest.raises(ConnectorError) as caught:
            await service.get("123")
        assert exposed(caught.value, KEY) == []
        with pytest.raises(ConnectorError) as caught:
            await service.session.request("GET", APPOINTMENT, headers={"X-Key": OTHER_KEY})
        assert exposed(caught.value, KEY, OTHER_KEY) == []
        assert KEY not in repr([service, service.session, service.session._state, service.session._tenant])
    assert KEY not in caplog.text


def test_later_changes_of_the_mapping_change_no_request() -> None:
    headers = {"X-Team": "a"}
    session = ConnectorSession("https://api.example", tenant_id="acme", auth=StaticToken("t"), headers=headers)
    headers["Authorization"] = "other"
    assert session._state.headers == {"X-Team": "a"}


async def test_headers_of_a_retry_are_those_of_the_first_attempt() -> None:
    async with HostileServer(http(503), FOUND) as server:
        await open_service(server, headers={"X-Key": KEY}).get("123")
        assert [request.headers["x-key"] for request in server.requests] == [KEY, KEY]
