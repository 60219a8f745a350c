import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from connector_async import (
    AppointmentService,
    AuthenticationError,
    ClientCredentials,
    ConnectFailedError,
    ConnectorSession,
    DecodingError,
    NewAppointment,
    RequestTimeoutError,
    ServerError,
    StaticToken,
    Token,
    TokenSend,
    TransportError,
    UnexpectedRedirectError,
    WireFormat,
)
from connector_async.auth import Secret
from connector_async.protocol import VERSION
from connector_async.sandbox import Sandbox
from tests.conftest import ManualClock
from tests.hostile import HostileServer, drop, hang, http

TOKEN_ANSWER = http(200, b'{"accessToken":"t","expiresIn":3600}')


def open_session(server: HostileServer, **options: Any) -> ConnectorSession:
    arguments: dict[str, Any] = {"tenant_id": "acme", "auth": StaticToken("hunter2")}
    return ConnectorSession(server.base_url, **arguments | options)


async def test_a_request_carries_the_token_the_tenant_twice_and_who_sends_it() -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server, user_agent_suffix="shop/2") as session:
        await session.request("GET", ("appointment",), query={"appointmentId": "1"})
        request = server.requests[0]
        assert request.target == "/acme/appointment?appointmentId=1"
        assert request.headers["authorization"] == "Bearer hunter2"
        assert request.headers["tenantid"] == "acme"
        assert request.headers["accept"] == "application/json, application/problem+json"
        assert request.headers["user-agent"] == f"connector-async/{VERSION} shop/2"
        assert "content-type" not in request.headers


async def test_a_body_is_sent_as_json() -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server) as session:
        await session.request("DELETE", ("appointment",), body=b'{"appointmentId":"1"}')
        assert server.requests[0].method == "DELETE"
        assert server.requests[0].headers["content-type"] == "application/json"
        assert server.requests[0].body == b'{"appointmentId":"1"}'


@pytest.mark.parametrize("prefix", ["/public/v1", "/public/v1/", "/a%2Fb", "/"])
async def test_the_base_url_may_have_a_path(prefix: str) -> None:
    async with HostileServer(http(200, b"1")) as server:
        async with ConnectorSession(server.base_url + prefix, tenant_id="acme", auth=StaticToken("t")) as session:
            await session.request("GET", ("appointment",))
        assert server.requests[0].target == prefix.rstrip("/") + "/acme/appointment"


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
async def test_a_hostile_tenant_id_is_carried_as_one_segment(tenant_id: str, segment: str) -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server, tenant_id=tenant_id) as session:
        await session.request("GET", ("appointment",))
        assert server.requests[0].target == f"/{segment}/appointment"
        assert server.requests[0].headers["tenantid"] == tenant_id


@pytest.mark.parametrize("value", ["../x", "a&b=c", "a+b", "a b", "%2e", "é/?#", "x" * 5_000])
async def test_a_query_value_is_carried_exactly(value: str) -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server) as session:
        await session.request("GET", ("appointment",), query={"appointmentId": value})
        assert parse_qs(urlsplit(server.requests[0].target).query) == {"appointmentId": [value]}


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"base_url": "http://api.example"}, ValueError, "base_url must be https"),
        ({"base_url": "https://user:pw@api.example"}, ValueError, "base_url must not hold user information"),
        ({"tenant_id": ""}, ValueError, "tenant_id must not be empty"),
        ({"tenant_id": ".."}, ValueError, "tenant_id must not be"),
        ({"tenant_id": "a\r\nb"}, ValueError, "tenant_id must be printable"),
        ({"tenant_id": 5}, TypeError, "tenant_id must be a str"),
        ({"base_url": 5}, TypeError, "base_url must be a str, not int"),
        ({"user_agent_suffix": None}, TypeError, "user_agent_suffix must be a str, not NoneType"),
        ({"clock": object()}, TypeError, "clock must be a Clock or NoneType, not object"),
        ({"auth": ClientCredentials}, TypeError, "auth must be a TokenProvider, not type"),
        ({"auth": "token"}, TypeError, "auth must be a TokenProvider, not str"),
        ({"auth": None}, TypeError, "auth must be a TokenProvider, not NoneType"),
        ({"wire_format": "guide"}, TypeError, "wire_format must be a WireFormat, not str"),
        ({"assume_zone": "UTC"}, TypeError, "assume_zone must be a tzinfo or None, not str"),
        ({"session": object()}, TypeError, "session must be a ClientSession or NoneType, not object"),
        ({"attempt_timeout": 0}, ValueError, "attempt_timeout"),
        ({"pool_size": 1.5}, TypeError, "pool_size"),
        ({"user_agent_suffix": "a\r\nb"}, ValueError, "user_agent_suffix"),
    ],
)
def test_a_bad_argument_is_refused_by_name(options: dict[str, Any], error: type[Exception], rule: str) -> None:
    arguments: dict[str, Any] = {"base_url": "https://api.example", "tenant_id": "acme", "auth": StaticToken("t")}
    with pytest.raises(error, match=rule):
        ConnectorSession(**arguments | options)


def test_http_beyond_the_loopback_may_be_permitted() -> None:
    session = ConnectorSession("http://api.internal/", tenant_id="a", auth=StaticToken("t"), allow_http=True)
    assert session.base_url == "http://api.internal"
    assert (session.tenant_id, session.wire_format, session.assume_zone) == ("a", WireFormat.GUIDE, None)


def test_a_session_shows_no_secret() -> None:
    session = ConnectorSession(
        "https://api.example", tenant_id="acme", auth=ClientCredentials("id", "hunter2"), assume_zone=UTC
    )
    assert repr(session) == ("ConnectorSession('https://api.example', tenant_id='acme', wire_format=WireFormat.GUIDE)")
    assert "hunter2" not in repr(AppointmentService(session))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_an_error_and_nothing_goes_elsewhere(status: int) -> None:
    async with (
        HostileServer(http(200, b"1")) as elsewhere,
        HostileServer(http(status, Location=elsewhere.base_url)) as server,
    ):
        async with open_session(server) as session:
            with pytest.raises(UnexpectedRedirectError) as caught:
                await session.request("POST", ("appointment",), body=b"{}")
            assert caught.value.status == status
        async with open_session(server, auth=ClientCredentials("id", "secret")) as session:
            with pytest.raises(UnexpectedRedirectError, match="/acme/authentication/token answered"):
                await session.request("GET", ("appointment",))
        assert elsewhere.requests == []


async def test_a2_twenty_callers_with_a_revoked_token_fetch_one(session: ConnectorSession, sandbox: Sandbox) -> None:
    await session.request("GET", ("appointment", "preview"))
    sandbox.revoke_tokens("acme")
    await asyncio.gather(*(session.request("GET", ("appointment", "preview")) for _ in range(20)))
    assert sandbox.log.count(operation="token") == 2
    assert sandbox.log.count(operation="preview", status=200) == 21
    assert sandbox.log.count(operation="preview") == 41


async def test_a3_a_token_that_is_always_refused_is_renewed_once() -> None:
    first, second = (http(200, b'{"token":"%s"}' % name) for name in (b"first", b"second"))
    async with HostileServer(first, http(401), second, http(401)) as server:
        async with open_session(server, auth=ClientCredentials("id", "secret")) as session:
            with pytest.raises(AuthenticationError) as caught:
                await session.request("GET", ("appointment",))
        assert caught.value.path == "/acme/appointment"
        tokens = [request.headers.get("authorization") for request in server.requests]
        assert tokens == [None, "Bearer first", None, "Bearer second"]


async def test_a_static_token_is_not_replayed() -> None:
    async with HostileServer(http(401)) as server, open_session(server) as session:
        with pytest.raises(AuthenticationError):
            await session.request("GET", ("appointment",))
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a7_refused_credentials_are_an_authentication_error(status: int) -> None:
    async with HostileServer(http(status)) as server:
        async with open_session(server, auth=ClientCredentials("id", "secret")) as session:
            with pytest.raises(AuthenticationError) as caught:
                await session.request("GET", ("appointment",))
        assert caught.value.path == "/acme/authentication/token"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [(http(500), ServerError), (drop, TransportError), (http(200, b"{}"), DecodingError), (hang, RequestTimeoutError)],
)
async def test_whatever_becomes_of_the_tokens_request_the_operation_was_not_sent(
    answer: bytes, error: type[TransportError]
) -> None:
    async with HostileServer(answer) as server:
        auth = ClientCredentials("id", "secret")
        async with open_session(server, auth=auth, attempt_timeout=0.05) as session:
            with pytest.raises(error) as caught:
                await session.request("POST", ("appointment",), body=b"{}")
        assert caught.value.sent is False
        assert [request.target for request in server.requests] == ["/acme/authentication/token"]


async def test_the_tokens_request_carries_the_tenant_and_the_credentials_and_no_token() -> None:
    async with HostileServer(TOKEN_ANSWER, http(200, b"1")) as server:
        async with open_session(server, auth=ClientCredentials("id", "hunter2")) as session:
            await session.request("GET", ("appointment",))
        request = server.requests[0]
        assert (request.method, request.target) == ("POST", "/acme/authentication/token")
        assert request.body == b'{"clientId":"id","clientSecret":"hunter2"}'
        assert request.headers["content-type"] == "application/json"
        assert request.headers["tenantid"] == "acme"
        assert "authorization" not in request.headers


async def test_a9_tenants_that_take_turns_over_one_pool_keep_their_tokens_apart(
    session: ConnectorSession, sandbox: Sandbox
) -> None:
    sessions = [session.for_tenant(tenant) for tenant in ("globex", "initech", "acme")]
    await asyncio.gather(*(turn.request("GET", ("appointment", "preview")) for turn in sessions * 20))
    # The sandbox refuses a token with another tenant's id.
    assert sandbox.log.count(operation="preview", status=200) == 60
    assert sandbox.log.count(operation="token") == 3


async def test_sessions_for_one_tenant_share_its_token_when_their_credentials_are_equal(
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


async def test_a_child_refuses_bad_arguments_too(session: ConnectorSession) -> None:
    with pytest.raises(ValueError, match="tenant_id must not be"):
        session.for_tenant("..")
    with pytest.raises(TypeError, match="auth must be a TokenProvider"):
        session.for_tenant("globex", "token")  # type: ignore[arg-type]


async def test_a_provider_of_the_users_own_is_asked_before_each_request() -> None:
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


async def test_an_answer_over_the_cap_is_a_decoding_error_and_an_errors_body_does_not_matter() -> None:
    answers = http(200, b"x" * 101, X_Request_Id="r"), http(500, b"x" * 101)
    async with HostileServer(*answers) as server, open_session(server, max_body_size=100) as session:
        with pytest.raises(DecodingError, match="max_body_size") as caught:
            await session.request("GET", ("appointment",))
        assert caught.value.request_id == "r"
        with pytest.raises(ServerError):
            await session.request("GET", ("appointment",))


async def test_closing_ends_a_tokens_request_and_its_callers() -> None:
    async with HostileServer(hang) as server:
        session = open_session(server, auth=ClientCredentials("id", "secret"))
        calls = [asyncio.create_task(session.request("GET", ("appointment",))) for _ in range(2)]
        while not server.requests:
            await asyncio.sleep(0.001)
        await session.aclose()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(error) for error in errors] == ["the session was closed while it fetched a token"] * 2
        assert asyncio.all_tasks() - {asyncio.current_task()} - server._tasks == set()


async def test_closing_a_child_closes_nothing(session: ConnectorSession) -> None:
    async with session.for_tenant("globex") as child:
        await child.request("GET", ("appointment", "preview"))
    await child.request("GET", ("appointment", "preview"))
    await session.request("GET", ("appointment", "preview"))


async def test_c2_use_after_closing_is_a_clear_error(session: ConnectorSession) -> None:
    await session.request("GET", ("appointment", "preview"))
    await session.aclose()
    await session.aclose()
    for closed in (session, session.for_tenant("globex")):
        with pytest.raises(RuntimeError, match="closed"):
            await closed.request("GET", ("appointment", "preview"))


async def test_a_session_goes_through_a_borrowed_one_and_does_not_close_it(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession(raise_for_status=True) as borrowed:
        auth = ClientCredentials("sandbox", "sandbox-secret")
        async with ConnectorSession(sandbox.base_url, tenant_id="acme", auth=auth, session=borrowed) as session:
            await session.request("GET", ("appointment", "preview"))
            sandbox.revoke_tokens("acme")
            await session.request("GET", ("appointment", "preview"))
        assert not borrowed.closed


async def test_an_expired_token_is_renewed_ahead(
    session: ConnectorSession, sandbox: Sandbox, clock: ManualClock
) -> None:
    for _ in range(2):
        await session.request("GET", ("appointment", "preview"))
        clock.now += 3_500
    assert sandbox.log.count(operation="token") == 2
    assert sandbox.log.count(status=401) == 0


async def test_a_server_that_is_not_there_is_a_connect_failed_error() -> None:
    async with HostileServer(hang) as server:
        session = open_session(server)
    async with session:
        with pytest.raises(ConnectFailedError) as caught:
            await session.request("GET", ("appointment",))
    assert caught.value.sent is False


LOOPS = """
import asyncio
from connector_async import AppointmentService, ClientCredentials, ConnectorSession
from connector_async.sandbox import Sandbox

session = None

async def use():
    global session
    async with Sandbox(port=PORT) as sandbox:
        if session is None:
            auth = ClientCredentials("sandbox", "sandbox-secret")
            session = ConnectorSession(sandbox.base_url, tenant_id="acme", auth=auth)
        async for appointment in AppointmentService(session).preview():
            pass
        print("walked")

for _ in range(3):
    asyncio.run(use())
"""


def test_c1_one_session_in_three_event_loops_never_closed_leaves_nothing_behind(unused_tcp_port: int) -> None:
    code = LOOPS.replace("PORT", str(unused_tcp_port))
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["walked"] * 3


async def test_credentials_that_two_sessions_share_are_fetched_by_each_for_itself(
    credentials: ClientCredentials,
) -> None:
    async with HostileServer(hang, hang, TOKEN_ANSWER, http(200, b"1")) as server:
        closing = open_session(server, auth=credentials)
        staying = open_session(server, auth=credentials, attempt_timeout=0.05)
        calls = [asyncio.create_task(each.request("GET", ("appointment",))) for each in (closing, staying)]
        while len(server.requests) < 2:
            await asyncio.sleep(0.001)
        await closing.aclose()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in errors] == [RuntimeError, RequestTimeoutError]
        assert (await staying.request("GET", ("appointment",))).body == b"1"
        await staying.aclose()


@pytest.mark.parametrize("answer", [None, "token", 5])
async def test_a_provider_that_gives_no_token_is_told_so_and_nothing_is_sent(answer: object) -> None:
    class Wrong:
        async def token(self, *_: object) -> Any:
            return answer

        def invalidate(self, tenant: str, token: Token) -> None: ...

    async with HostileServer(http(200, b"1")) as server, open_session(server, auth=Wrong()) as session:
        with pytest.raises(TypeError, match=r"Wrong\.token must return a Token, not"):
            await session.request("GET", ("appointment",))
        assert server.requests == []


async def test_a_token_that_is_refused_and_cannot_be_renewed_means_that_nothing_happened(draft: NewAppointment) -> None:
    for renewal in (http(503), drop):
        auth = ClientCredentials("id", "secret")
        async with (
            HostileServer(TOKEN_ANSWER, http(401), renewal) as server,
            open_session(server, auth=auth) as session,
        ):
            with pytest.raises((ServerError, TransportError)) as caught:
                await AppointmentService(session).create(draft)
        assert (caught.value.sent, caught.value.attempts) == (False, 1)


class _NoOffset(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta | None:
        return None

    def dst(self, _: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _: datetime | None) -> str | None:
        return None


class _Abstract(_NoOffset):
    def utcoffset(self, _: datetime | None) -> timedelta | None:
        raise NotImplementedError


class _Unhashable(_NoOffset):
    """As those of dateutil."""

    __hash__ = None  # type: ignore[assignment]


class _NeedsLocalizing(_NoOffset):
    """As those of pytz: the offset it tells is not that of the date."""

    def localize(self, value: datetime) -> datetime:
        return value


@pytest.mark.parametrize(
    ("zone", "rule"),
    [
        (_NoOffset(), "assume_zone must have an offset"),
        (_Abstract(), "assume_zone must have an offset"),
        (_Unhashable(), "assume_zone must be hashable and none of pytz"),
        (_NeedsLocalizing(), "assume_zone must be hashable and none of pytz"),
    ],
)
def test_a_zone_that_would_fail_later_or_be_wrong_is_refused(zone: tzinfo, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        ConnectorSession("https://api.example", tenant_id="acme", auth=StaticToken("t"), assume_zone=zone)


@pytest.mark.parametrize(
    ("base_url", "sent"),
    [
        ("https://api.example/é", "https://api.example/%C3%A9"),
        ('https://api.example/a"b', "https://api.example/a%22b"),
        ("https://api.example/a/../b", "https://api.example/b"),
        ("https://api.example/a%2Fb", "https://api.example/a%2Fb"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://ⅷ.example", "https://viii.example"),
    ],
)
def test_a_base_url_is_kept_as_it_is_sent(base_url: str, sent: str) -> None:
    assert ConnectorSession(base_url, tenant_id="acme", auth=StaticToken("t")).base_url == sent


@pytest.mark.parametrize("base_url", ["https://good.example\\.evil.example", "https://a..b/"])
def test_a_base_url_whose_host_is_none_is_refused_at_once(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url is not a valid URL"):
        ConnectorSession(base_url, tenant_id="acme", auth=StaticToken("t"))
