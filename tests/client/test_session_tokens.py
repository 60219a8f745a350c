"""Tokens of a request: fetched, shared, refused and renewed."""

import asyncio
import itertools
from typing import Any

import pytest

from connector_async import (
    AppointmentService,
    AuthenticationError,
    ClientCredentials,
    ConnectorError,
    ConnectorSession,
    DecodingError,
    NewAppointment,
    RateLimit,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    Token,
    TokenSend,
    TransportError,
)
from connector_async._version import VERSION
from connector_async.auth import Secret
from connector_async.sandbox import Sandbox
from tests.conftest import ManualClock
from tests.support.hostile import HostileServer, ScriptedResponse, drop, hang, http
from tests.support.services import TOKEN_RESPONSE, open_session
from tests.support.virtual_time import LoopClock


async def test_request_carries_token_tenant_and_user_agent() -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server, user_agent_suffix="shop/2") as session:
        await session.request("GET", ("appointment",), query={"appointmentId": "1"})
        request = server.requests[0]
        assert request.target == "/acme/appointment?appointmentId=1"
        assert request.headers["authorization"] == "Bearer hunter2"
        assert request.headers["tenantid"] == "acme"
        assert request.headers["accept"] == "application/json, application/problem+json"
        assert request.headers["user-agent"] == f"connector-async/{VERSION} shop/2"
        assert "content-type" not in request.headers


@pytest.mark.row("A2")
async def test_concurrent_requests_with_a_revoked_token_fetch_one_token(
    session: ConnectorSession, sandbox: Sandbox
) -> None:
    await session.request("GET", ("appointment", "preview"))
    sandbox.revoke_tokens("acme")
    await asyncio.gather(*(session.request("GET", ("appointment", "preview")) for _ in range(20)))
    assert sandbox.log.count(operation="token") == 2
    assert sandbox.log.count(operation="preview", status=200) == 21
    assert sandbox.log.count(operation="preview") == 41
    assert session.traffic.requests == sandbox.log.count()
    assert session.for_tenant("globex").traffic.requests == 0
    session.traffic.requests = 0
    assert session.traffic.requests == sandbox.log.count()  # `traffic` is a copy


@pytest.mark.row("A3")
async def test_token_that_is_always_refused_is_renewed_once() -> None:
    first, second = (http(200, b'{"token":"%s"}' % name) for name in (b"first", b"second"))
    async with HostileServer(first, http(401), second, http(401)) as server:
        async with open_session(server, auth=ClientCredentials("id", "secret")) as session:
            with pytest.raises(AuthenticationError) as caught:
                await session.request("GET", ("appointment",))
        assert caught.value.path == "/acme/appointment"
        tokens = [request.headers.get("authorization") for request in server.requests]
        assert tokens == [None, "Bearer first", None, "Bearer second"]


async def test_request_with_a_refused_static_token_is_not_replayed() -> None:
    async with HostileServer(http(401)) as server, open_session(server) as session:
        with pytest.raises(AuthenticationError):
            await session.request("GET", ("appointment",))
        assert len(server.requests) == 1


@pytest.mark.row("A7")
@pytest.mark.parametrize("status", [400, 401, 403])
async def test_rejected_credentials_are_an_authentication_error(status: int) -> None:
    async with HostileServer(http(status)) as server:
        async with open_session(server, auth=ClientCredentials("id", "secret")) as session:
            with pytest.raises(AuthenticationError) as caught:
                await session.request("GET", ("appointment",))
        assert caught.value.path == "/acme/authentication/token"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("response", "error"),
    [(http(500), ServerError), (drop, TransportError), (http(200, b"{}"), DecodingError), (hang, RequestTimeoutError)],
)
async def test_failed_token_request_means_that_the_operation_was_not_sent(
    response: ScriptedResponse, error: type[ConnectorError]
) -> None:
    async with HostileServer(response) as server:
        auth = ClientCredentials("id", "secret")
        async with open_session(server, auth=auth, attempt_timeout=0.3) as session:
            with pytest.raises(error) as caught:
                await session.request("POST", ("appointment",), body=b"{}")
        assert caught.value.sent is False
        assert [request.target for request in server.requests] == ["/acme/authentication/token"]


async def test_token_request_carries_tenant_and_credentials_and_no_token() -> None:
    async with HostileServer(TOKEN_RESPONSE, http(200, b"1")) as server:
        async with open_session(server, auth=ClientCredentials("id", "hunter2")) as session:
            await session.request("GET", ("appointment",))
        request = server.requests[0]
        assert (request.method, request.target) == ("POST", "/acme/authentication/token")
        assert request.body == b'{"clientId":"id","clientSecret":"hunter2"}'
        assert request.headers["content-type"] == "application/json"
        assert request.headers["tenantid"] == "acme"
        assert "authorization" not in request.headers


@pytest.mark.row("A9")
async def test_tenants_on_one_pool_never_share_a_token(session: ConnectorSession, sandbox: Sandbox) -> None:
    sessions = [session.for_tenant(tenant) for tenant in ("globex", "initech", "acme")]
    await asyncio.gather(*(session.request("GET", ("appointment", "preview")) for session in sessions * 20))
    # The sandbox refuses a token with another tenant's id.
    assert sandbox.log.count(operation="preview", status=200) == 60
    assert sandbox.log.count(operation="token") == 3


async def test_sessions_of_a_tenant_with_equal_credentials_share_its_token(
    session: ConnectorSession, sandbox: Sandbox
) -> None:
    for _ in range(3):
        child = session.for_tenant("globex", ClientCredentials("sandbox", "sandbox-secret"))
        await child.request("GET", ("appointment", "preview"))
        await child.aclose()
    assert sandbox.log.count(operation="token", tenant="globex") == 1
    with pytest.raises(AuthenticationError):
        await session.for_tenant("globex", ClientCredentials("sandbox", "wrong")).request(
            "GET", ("appointment", "preview")
        )
    await session.request("GET", ("appointment", "preview"))


async def test_custom_provider_is_asked_before_each_request() -> None:
    class Counting:
        def __init__(self) -> None:
            self.asked: list[tuple[str, str]] = []

        async def token(self, tenant: str, send: TokenSend) -> Token:
            self.asked.append((tenant, send.base_url))
            return Token(Secret(f"t{len(self.asked)}"))

        def invalidate(self, tenant: str, token: Token) -> None:
            self.asked.append((tenant, "invalidate " + token.value.reveal()))

    provider = Counting()
    async with HostileServer(http(200, b"1"), http(401), http(200, b"1")) as server:
        async with open_session(server, auth=provider) as session:
            for _ in range(2):
                await session.request("GET", ("appointment",))
        url = server.base_url
        assert provider.asked == [("acme", url), ("acme", url), ("acme", "invalidate t2"), ("acme", url)]
        assert [request.headers["authorization"] for request in server.requests] == [
            "Bearer t1",
            "Bearer t2",
            "Bearer t4",
        ]


async def test_closing_ends_a_token_request_and_its_callers() -> None:
    async with HostileServer(hang) as server:
        session = open_session(server, auth=ClientCredentials("id", "secret"))
        calls = [asyncio.create_task(session.request("GET", ("appointment",))) for _ in range(2)]
        while not server.requests:
            await asyncio.sleep(0.001)
        await session.aclose()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(error) for error in errors] == ["the session was closed while it fetched a token"] * 2
        assert asyncio.all_tasks() - {asyncio.current_task()} - server._tasks == set()


async def test_token_is_renewed_before_it_expires(
    session: ConnectorSession, sandbox: Sandbox, clock: ManualClock
) -> None:
    for _ in range(2):
        await session.request("GET", ("appointment", "preview"))
        clock.now += 3_550
    assert sandbox.log.count(operation="token") == 2
    assert sandbox.log.count(status=401) == 0


async def test_sessions_with_shared_credentials_fetch_their_own_tokens(
    credentials: ClientCredentials,
) -> None:
    async with HostileServer(hang, hang, TOKEN_RESPONSE, http(200, b"1")) as server:
        closing = open_session(server, auth=credentials)
        staying = open_session(server, auth=credentials, attempt_timeout=0.25)
        calls = [asyncio.create_task(session.request("GET", ("appointment",))) for session in (closing, staying)]
        while len(server.requests) < 2:
            await asyncio.sleep(0.001)
        await closing.aclose()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in errors] == [RuntimeError, RequestTimeoutError]
        assert (await staying.request("GET", ("appointment",))).body == b"1"
        await staying.aclose()


@pytest.mark.parametrize("result", [None, "token", 5])
async def test_provider_that_does_not_return_a_token_is_rejected_before_anything_is_sent(result: object) -> None:
    class Wrong:
        async def token(self, *_: object) -> Any:
            return result

        def invalidate(self, tenant: str, token: Token) -> None: ...

    async with HostileServer(http(200, b"1")) as server, open_session(server, auth=Wrong()) as session:
        with pytest.raises(TypeError, match=r"Wrong must return a Token, not"):
            await session.request("GET", ("appointment",))
        assert server.requests == []


async def test_create_with_a_refused_token_that_cannot_be_renewed_has_not_happened(draft: NewAppointment) -> None:
    for renewal in (http(503), drop):
        auth = ClientCredentials("id", "secret")
        async with (
            HostileServer(TOKEN_RESPONSE, http(401), renewal) as server,
            open_session(server, auth=auth) as session,
        ):
            with pytest.raises((ServerError, TransportError)) as caught:
                await AppointmentService(session, retry=RetryPolicy.none()).create(draft)
        assert (caught.value.sent, caught.value.attempts) == (False, 1)


@pytest.mark.virtual_time
async def test_replay_after_401_carries_a_token_that_is_valid_at_its_slot() -> None:
    issued: dict[str, float] = {}
    ages: list[float] = []
    clock = LoopClock()

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = server.requests[-1]
        if request.target.endswith("/token"):
            token = f"t{len(issued)}"
            issued[token] = clock.monotonic()
            writer.write(http(200, b'{"accessToken":"%s","expiresIn":2}' % token.encode()))
            return
        ages.append(clock.monotonic() - issued[request.headers["authorization"].removeprefix("Bearer ")])
        writer.write(http(401) if len(ages) == 1 else http(200, b"1"))

    credentials = ClientCredentials("id", "secret", clock=clock)
    limit = RateLimit(limit=3, per=6, burst=1)  # 3 seconds apart, while a token lives for 2
    async with (
        HostileServer(respond) as server,
        ConnectorSession(server.base_url, tenant_id="acme", auth=credentials, rate_limit=limit, clock=clock) as session,
    ):
        await session.request("GET", ("appointment",))
    assert ages[-1] < 2


@pytest.mark.virtual_time
async def test_calls_that_wait_for_a_token_after_their_slots_are_not_sent_together() -> None:
    clock = LoopClock()
    moments: list[float] = []

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.requests[-1].target.endswith("/token"):
            if moments:
                await asyncio.sleep(3)
            writer.write(http(200, b'{"accessToken":"hunter2","expiresIn":9}'))
            return
        moments.append(clock.monotonic())
        writer.write(http(200, b"1"))

    credentials = ClientCredentials("id", "secret", clock=clock)
    limit = RateLimit(limit=61, per=60, burst=1)  # a second apart
    async with (
        HostileServer(respond) as server,
        ConnectorSession(server.base_url, tenant_id="acme", auth=credentials, rate_limit=limit, clock=clock) as session,
    ):
        await session.request("GET", ("appointment",))
        await session.penalize(10)  # the token expires meanwhile
        await asyncio.gather(*(session.request("GET", ("appointment",)) for _ in range(4)))
    intervals = [later - earlier for earlier, later in itertools.pairwise(moments[1:])]
    assert min(intervals) > 0.9
