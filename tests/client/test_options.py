"""TLS with a private authority, a real forward proxy, environment variables, the correlation id."""

import asyncio
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from connector_async import (
    ClientCredentials,
    ConnectFailedError,
    ConnectorSession,
    RequestTimeoutError,
    ResponseError,
    StaticToken,
    WireFormat,
    correlation_id,
)
from tests.support.hostile import HostileServer, http

APPOINTMENT = ("appointment",)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


@pytest.fixture
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def open_session(server: HostileServer, **options: Any) -> ConnectorSession:
    arguments: dict[str, Any] = {"tenant_id": "acme", "auth": StaticToken("hunter2")}
    return ConnectorSession(server.base_url, **arguments | options)


@pytest.mark.parametrize("borrowed", [False, True])
async def test_private_authority_of_the_ssl_context_is_trusted(
    authority: trustme.CA, client_context: ssl.SSLContext, *, borrowed: bool
) -> None:
    async with (
        HostileServer(http(200, b"1"), ssl_context=server_context(authority)) as server,
        aiohttp.ClientSession() as own,
        open_session(server, ssl_context=client_context, session=own if borrowed else None) as session,
    ):
        assert (await session.request("GET", APPOINTMENT)).body == b"1"


async def test_untrusted_server_gets_no_token(authority: trustme.CA) -> None:
    async with (
        HostileServer(http(200, b"1"), ssl_context=server_context(authority)) as server,
        open_session(server) as session,
    ):
        with pytest.raises(ConnectFailedError, match="the certificate was rejected") as caught:
            await session.request("GET", APPOINTMENT)
        assert caught.value.sent is False
        assert server.requests == []


async def test_certificate_for_another_host_is_rejected(authority: trustme.CA, client_context: ssl.SSLContext) -> None:
    other = server_context(authority, "other.example")
    async with (
        HostileServer(http(200, b"1"), ssl_context=other) as server,
        open_session(server, ssl_context=client_context) as session,
    ):
        with pytest.raises(ConnectFailedError, match="IP address mismatch"):
            await session.request("GET", APPOINTMENT)


async def test_server_without_tls_is_a_failed_connection() -> None:
    async with HostileServer(http(200, b"1")) as server:
        server.base_url = server.base_url.replace("http", "https")
        async with open_session(server, connect_timeout=0.05) as session:
            with pytest.raises((ConnectFailedError, RequestTimeoutError)) as caught:
                await session.request("GET", APPOINTMENT)
            assert caught.value.sent is False


@contextmanager
def forward_proxy(folder: Path, *arguments: str) -> Iterator[int]:
    """Run a real proxy in its own process, and yield its port."""
    port_file = folder / "port"
    command = [sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0", "--port-file", str(port_file)]
    with subprocess.Popen(
        [*command, "--num-acceptors", "1", "--num-workers", "1", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not (port_file.exists() and port_file.read_text().strip()):
                assert process.poll() is None
                time.sleep(0.02)
            yield int(port_file.read_text())
        finally:
            process.terminate()


@asynccontextmanager
async def server_and_proxy(
    folder: Path, *arguments: str, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[HostileServer, int]]:
    async with HostileServer(http(200, b"1"), ssl_context=ssl_context) as server:
        proxy = forward_proxy(folder, *arguments)
        port = await asyncio.to_thread(proxy.__enter__)
        try:
            yield server, port
        finally:
            await asyncio.to_thread(proxy.__exit__, None, None, None)


@pytest.mark.parametrize("tls", [False, True])
async def test_requests_go_through_the_proxy(
    tmp_path: Path, authority: trustme.CA, client_context: ssl.SSLContext, *, tls: bool
) -> None:
    context = server_context(authority) if tls else None
    async with server_and_proxy(tmp_path, "--basic-auth", "me:hunter3", ssl_context=context) as (server, port):
        options = {"ssl_context": client_context} if tls else {}
        async with open_session(server, proxy=f"http://me:hunter3@127.0.0.1:{port}", **options) as session:
            assert (await session.request("GET", APPOINTMENT)).body == b"1"
            assert "hunter3" not in repr(session)
            assert "hunter3" not in repr(session._state.transport._options)
        async with open_session(server, proxy=f"http://me:wrong3@127.0.0.1:{port}", **options) as session:
            with pytest.raises((ConnectFailedError, ResponseError), match="407") as caught:
                await session.request("GET", APPOINTMENT)
            assert "wrong3" not in repr(caught.value)
        assert len(server.requests) == 1
        assert "proxy-authorization" not in server.requests[0].headers


async def test_unreachable_proxy_is_a_failed_connection(unused_tcp_port: int) -> None:
    async with HostileServer(http(200, b"1")) as server:
        async with open_session(server, proxy=f"http://me:hunter3@127.0.0.1:{unused_tcp_port}") as session:
            with pytest.raises(ConnectFailedError) as caught:
                await session.request("GET", APPOINTMENT)
        assert caught.value.sent is False
        assert "hunter3" not in str(caught.value)
        assert server.requests == []


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with HostileServer(http(200, b"1")) as server, open_session(server) as session:
        await session.request("GET", APPOINTMENT)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"proxy": "127.0.0.1:3128"}, ValueError, "proxy must be an absolute"),
        ({"proxy": "socks5://hunter3@127.0.0.1"}, ValueError, "proxy must be an absolute"),
        ({"proxy": "http://127.0.0.1:hunter3"}, ValueError, "proxy is not a valid URL"),
        ({"proxy": "http://127.0.0.1/\r\n"}, ValueError, "proxy must be"),
        ({"proxy": "http://me:hunter3€@127.0.0.1"}, ValueError, "proxy must be ASCII"),
        ({"proxy": "http://me:hunter3%E2%82%AC@127.0.0.1"}, ValueError, "proxy must have a password of ASCII"),
        ({"proxy": "http://m%C3%A9:hunter3@127.0.0.1"}, ValueError, "its user must have no colon"),
        ({"proxy": "http://me%3A:hunter3@127.0.0.1"}, ValueError, "its user must have no colon"),
        ({"proxy": 5}, TypeError, "proxy must be a str or None, not int"),
        ({"ssl_context": False}, TypeError, "ssl_context"),
        ({"ssl_context": True}, TypeError, "ssl_context"),
    ],
)
def test_invalid_proxy_or_ssl_context_is_rejected_by_name(
    options: dict[str, Any], error: type[Exception], rule: str
) -> None:
    with pytest.raises(error, match=rule) as caught:
        ConnectorSession("https://api.example", tenant_id="acme", auth=StaticToken("t"), **options)
    assert "hunter3" not in str(caught.value)


CREDENTIALS = {"CONNECTOR_CLIENT_ID": "id", "CONNECTOR_CLIENT_SECRET": "secret"}
PLACE = {"CONNECTOR_BASE_URL": "https://api.example/v1", "CONNECTOR_TENANT_ID": "acme"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*PLACE, *CREDENTIALS, "CONNECTOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_from_env_reads_the_variables(environment: pytest.MonkeyPatch) -> None:
    for name, value in (PLACE | CREDENTIALS).items():
        environment.setenv(name, value)
    session = ConnectorSession.from_env()
    assert (session.base_url, session.tenant_id) == ("https://api.example/v1", "acme")
    assert session._sender.auth == ClientCredentials("id", "secret")
    other = ConnectorSession.from_env(tenant_id="globex", wire_format=WireFormat.REFERENCE)
    assert (other.tenant_id, other.wire_format) == ("globex", WireFormat.REFERENCE)


def test_arguments_take_precedence_over_the_environment(environment: pytest.MonkeyPatch) -> None:
    auth = StaticToken("t")
    session = ConnectorSession.from_env(base_url="https://other.example", tenant_id="a", auth=auth)
    assert (session.base_url, session.tenant_id, session._sender.auth) == ("https://other.example", "a", auth)


async def test_token_of_the_environment_is_sent(environment: pytest.MonkeyPatch) -> None:
    async with HostileServer(http(200, b"1")) as server:
        environment.setenv("CONNECTOR_BASE_URL", server.base_url)
        environment.setenv("CONNECTOR_TENANT_ID", "acme")
        environment.setenv("CONNECTOR_TOKEN", "hunter2")
        async with ConnectorSession.from_env() as session:
            await session.request("GET", APPOINTMENT)
        assert server.requests[0].headers["authorization"] == "Bearer hunter2"


@pytest.mark.parametrize("missing", [*PLACE, *CREDENTIALS])
@pytest.mark.parametrize("empty", [False, True])
def test_missing_variable_is_named(environment: pytest.MonkeyPatch, missing: str, *, empty: bool) -> None:
    for name, value in (PLACE | CREDENTIALS).items():
        if name != missing:
            environment.setenv(name, value)
        elif empty:
            environment.setenv(name, "")
    with pytest.raises(ValueError, match=f"{missing} must be set"):
        ConnectorSession.from_env()


@pytest.mark.parametrize("other", CREDENTIALS)
def test_two_kinds_of_credentials_in_the_environment_are_rejected(environment: pytest.MonkeyPatch, other: str) -> None:
    for name, value in (PLACE | {"CONNECTOR_TOKEN": "hunter2", other: "x"}).items():
        environment.setenv(name, value)
    with pytest.raises(ValueError, match="CONNECTOR_TOKEN must not be set together") as caught:
        ConnectorSession.from_env()
    assert "hunter2" not in str(caught.value)


async def test_correlation_id_is_sent_only_in_its_context() -> None:
    async with HostileServer(http(200, b"1")) as server, open_session(server) as session:

        async def call(value: str) -> None:
            correlation_id.set(value)
            await session.request("GET", APPOINTMENT)

        await asyncio.gather(call("a-1"), call("b-2"))
        await session.request("GET", APPOINTMENT)
        sent = [request.headers.get("x-correlation-id") for request in server.requests]
        assert sorted(sent[:2], key=str) == ["a-1", "b-2"]
        assert sent[2] is None


@pytest.mark.parametrize("value", ["a\r\nX: y", "", "café", " x "])
async def test_correlation_id_that_a_header_cannot_carry_is_rejected(value: str) -> None:
    auth = ClientCredentials("id", "secret")
    async with HostileServer(http(200, b"1")) as server, open_session(server, auth=auth) as session:
        token = correlation_id.set(value)
        with pytest.raises(ValueError, match="correlation_id must"):
            await session.request("GET", APPOINTMENT)
        correlation_id.reset(token)
        assert server.requests == []
