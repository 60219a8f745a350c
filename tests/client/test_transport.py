"""One attempt against servers that misbehave, with our own aiohttp session and with a borrowed one."""

import asyncio
import gzip
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import attrs
import pytest
from yarl import URL

from connector_async import ConnectFailedError, DeadlineExceededError, RequestTimeoutError, TransportError
from connector_async._clock import Deadline
from connector_async.session.transport import Transport, TransportOptions, _transport_error
from tests.conftest import ManualClock
from tests.support.hostile import HostileServer, ScriptedResponse, drop, hang, http

OPTIONS = TransportOptions(
    connect_timeout=5, attempt_timeout=5, keepalive_timeout=4, pool_size=10, max_body_size=10 * 1024
)


@pytest.fixture(params=["own", "borrowed"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    if request.param == "own":
        own = Transport(OPTIONS)
        yield own
        await own.aclose()
    else:
        # The error that `raise_for_status` raises shows the bearer token in its repr.
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            yield Transport(OPTIONS, session)


async def get(transport: Transport, server: HostileServer, method: str = "GET", body: bytes | None = None) -> bytes:
    return (await transport.send(method, URL(server.base_url), {"Authorization": "Bearer hunter2"}, body)).body


async def test_whole_response_is_returned_whatever_its_status(transport: Transport) -> None:
    async with HostileServer(http(404, b'{"title":"x"}', X_Request_Id="r")) as server:
        response = await transport.send("GET", URL(server.base_url), {}, None)
        assert (response.status, response.body, response.headers["x-request-id"]) == (404, b'{"title":"x"}', "r")


@pytest.mark.row("R2")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_attempt_on_a_dropped_connection_is_one_request(transport: Transport, method: str) -> None:
    async with HostileServer(http(200, b"1"), drop) as server:
        assert await get(transport, server, method, b"{}") == b"1"  # aiohttp repeats only on a reused connection
        with pytest.raises(TransportError) as caught:
            await get(transport, server, method, b"{}")
        assert caught.value.sent is True
        assert len(server.requests) == 2


async def test_version_of_aiohttp_without_the_known_switch_does_not_repeat_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("connector_async.session.transport._HAS_SWITCH", False)
    transport = Transport(OPTIONS)
    async with HostileServer(http(200, b"1"), drop) as server:
        assert await get(transport, server) == b"1"
        with pytest.raises(TransportError):
            await get(transport, server)
        assert len(server.requests) == 2
    await transport.aclose()


@pytest.mark.row("R4")
async def test_request_on_a_refused_connection_is_not_sent(transport: Transport) -> None:
    async with HostileServer(drop) as server:
        url = URL(server.base_url)
    with pytest.raises(ConnectFailedError, match=r"^no connection to 127\.0\.0\.1:\d+: Connection refused$") as caught:
        await transport.send("POST", url, {}, b"{}")
    assert caught.value.sent is False


@pytest.mark.row("R16")
@pytest.mark.parametrize(
    ("response", "message"),
    [
        (http(200, b"half", length=100), "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", r"valid HTTP|cut short|dropped"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "valid HTTP"),
        (b"220 smtp.example ESMTP\r\n\r\n", "valid HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", "valid HTTP"),
        (http(200, b"no gzip", Content_Encoding="gzip"), "cut short"),
        (b"HTTP/1.1 200 O", "dropped"),
    ],
    ids=["length", "chunk", "chunk size", "negative", "two lengths", "smtp", "header", "gzip", "head"],
)
async def test_incomplete_response_is_a_transport_error_that_shows_no_bytes(
    transport: Transport, response: bytes, message: str
) -> None:
    async def respond_and_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(response)
        writer.close()

    async with HostileServer(respond_and_close) as server:
        with pytest.raises(TransportError, match=message) as caught:
            await get(transport, server)
    assert caught.value.sent is True
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "hunter2" not in repr(caught.value)


@pytest.mark.parametrize("size", [10_241, 100_000_000])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_body_over_the_cap_is_dropped(transport: Transport, size: int, encoding: str) -> None:
    body = gzip.compress(b"x" * size) if encoding == "gzip" else b"x" * min(size, 1_000_000)
    async with HostileServer(http(200, body, Content_Encoding=encoding)) as server:
        response = await transport.send("GET", URL(server.base_url), {}, None)
        assert (response.status, response.body, response.oversized) == (200, b"", True)


async def test_endless_body_is_cut_off_by_closing_the_connection(transport: Transport) -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with HostileServer(endless) as server:
        response = await transport.send("GET", URL(server.base_url), {}, None)
        assert response.oversized
        async with asyncio.timeout(2):
            await server.closed_by_client.wait()


@pytest.mark.parametrize("size", [0, 1, 10_240])
async def test_body_up_to_the_cap_is_whole_and_its_connection_is_reused(transport: Transport, size: int) -> None:
    async with HostileServer(http(200, b"x" * size)) as server:
        for _ in range(2):
            assert await get(transport, server) == b"x" * size
        assert server.connections == 1


async def test_body_in_pieces_is_joined(transport: Transport) -> None:
    async def in_pieces(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, b"", length=3))
        for piece in (b"a", b"b", b"c"):
            await writer.drain()
            await asyncio.sleep(0.005)
            writer.write(piece)

    async with HostileServer(in_pieces) as server:
        assert await get(transport, server) == b"abc"


async def test_attempt_that_times_out_may_have_been_sent() -> None:
    transport = Transport(
        TransportOptions(connect_timeout=5, attempt_timeout=0.05, keepalive_timeout=4, pool_size=1, max_body_size=10)
    )
    async with HostileServer(hang) as server:
        with pytest.raises(RequestTimeoutError) as caught:
            await get(transport, server)
    assert caught.value.sent is True
    await transport.aclose()


async def test_request_after_the_deadline_is_not_sent(transport: Transport, clock: ManualClock) -> None:
    deadline = Deadline(1, clock)
    clock.now += 1
    async with HostileServer(http(200, b"1")) as server:
        with pytest.raises(DeadlineExceededError) as caught:
            await transport.send("GET", URL(server.base_url), {}, None, deadline)
        assert caught.value.sent is False
        assert server.requests == []


@pytest.mark.row("R17")
async def test_slow_bytes_do_not_prolong_an_attempt() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, length=1_000))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.005)

    transport = Transport(
        TransportOptions(connect_timeout=5, attempt_timeout=0.05, keepalive_timeout=4, pool_size=1, max_body_size=9999)
    )
    async with HostileServer(drip) as server:
        with pytest.raises(RequestTimeoutError) as caught:
            await get(transport, server)
    assert caught.value.sent is True
    await transport.aclose()


@pytest.mark.row("H5")
async def test_attempt_that_times_out_in_the_pool_is_not_sent() -> None:
    transport = Transport(attrs.evolve(OPTIONS, pool_size=1))
    async with HostileServer(hang) as server:
        holding = asyncio.create_task(get(transport, server))
        while not server.requests:
            await asyncio.sleep(0.001)
        transport._options = attrs.evolve(OPTIONS, attempt_timeout=0.02)
        with pytest.raises(RequestTimeoutError) as caught:
            await get(transport, server)
        assert caught.value.sent is False
        assert len(server.requests) == 1
        await transport.aclose()
        await asyncio.gather(holding, return_exceptions=True)


@pytest.mark.row("R14")
@pytest.mark.parametrize("response", [hang, http(200, b"half", length=100)])
async def test_request_cancelled_while_sending_or_reading_holds_no_connection(
    transport: Transport, response: ScriptedResponse
) -> None:
    async with HostileServer(response, http(200, b"1")) as server:
        call = asyncio.create_task(get(transport, server))
        while not server.requests:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(2):
            await server.closed_by_client.wait()
        assert await get(transport, server) == b"1"


async def test_cookies_are_not_kept() -> None:
    transport = Transport(OPTIONS)
    async with HostileServer(http(200, b"1", Set_Cookie="id=5; Path=/")) as server:
        url = URL(server.base_url).with_host("localhost")  # aiohttp's own jar ignores cookies of an IP address
        for _ in range(2):
            await transport.send("GET", url, {}, None)
        assert [request.headers.get("cookie") for request in server.requests] == [None, None]
    await transport.aclose()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_returned_and_not_followed(transport: Transport, status: int) -> None:
    async with (
        HostileServer(http(200, b"1")) as elsewhere,
        HostileServer(http(status, Location=elsewhere.base_url)) as server,
    ):
        response = await transport.send("POST", URL(server.base_url), {}, b"{}")
        assert response.status == status
        assert elsewhere.requests == []


@pytest.mark.row("C2")
async def test_own_aiohttp_session_is_closed_and_later_requests_are_rejected() -> None:
    transport = Transport(OPTIONS)
    async with HostileServer(http(200, b"1")) as server:
        await get(transport, server)
        await transport.aclose()
        await transport.aclose()
        async with asyncio.timeout(2):
            await server.closed_by_client.wait()
        with pytest.raises(RuntimeError, match="the session is closed"):
            await get(transport, server)


@pytest.mark.row("C2")
async def test_borrowed_aiohttp_session_is_never_closed() -> None:
    async with aiohttp.ClientSession() as session, HostileServer(http(200, b"1")) as server:
        transport = Transport(OPTIONS, session)
        await get(transport, server)
        await transport.aclose()
        assert not session.closed
        with pytest.raises(RuntimeError, match="the session is closed"):
            await get(transport, server)


def test_borrowed_aiohttp_session_works_in_one_event_loop_only() -> None:
    sessions: list[aiohttp.ClientSession] = []

    async def use(transport: Transport | None = None) -> Transport:
        async with HostileServer(http(200, b"1")) as server:
            if transport is None:
                sessions.append(aiohttp.ClientSession())
                transport = Transport(OPTIONS, sessions[0])
            await get(transport, server)
            await sessions[0].close()
            return transport

    transport = asyncio.run(use())
    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        asyncio.run(use(transport))


async def test_closed_borrowed_aiohttp_session_is_a_clear_error() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    async with HostileServer(http(200, b"1")) as server:
        with pytest.raises(RuntimeError, match="closed"):
            await get(Transport(OPTIONS, session), server)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *[
            (name, value, ValueError)
            for name in ("connect_timeout", "attempt_timeout", "keepalive_timeout")
            for value in (0, -1, float("inf"), float("nan"), 10**400)
        ],
        *[(name, value, ValueError) for name in ("pool_size", "max_body_size") for value in (0, -1)],
        *[(name, value, TypeError) for name in ("attempt_timeout", "pool_size") for value in ("5", None, True)],
        *[("max_body_size", value, TypeError) for value in (1.5, float("inf"), float("nan"))],
    ],
)
def test_option_that_is_not_a_finite_number_above_zero_is_rejected(
    name: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"{name} must be "):
        attrs.evolve(OPTIONS, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("borrowed", [False, True])
async def test_requests_that_wait_for_a_connection_fail_without_a_cancellation_when_the_session_closes(
    *, borrowed: bool
) -> None:
    options = attrs.evolve(OPTIONS, pool_size=1)
    own = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) if borrowed else None
    transport = Transport(options, own)
    async with HostileServer(hang) as server:
        calls = [asyncio.create_task(get(transport, server)) for _ in range(3)]
        while not server.requests:
            await asyncio.sleep(0.001)
        cancelled = asyncio.create_task(get(transport, server))
        await asyncio.sleep(0)
        cancelled.cancel()
        await (own.close() if own else transport.aclose())
        errors = await asyncio.gather(*calls, cancelled, return_exceptions=True)
    assert [type(error) for error in errors] == [TransportError] * 3 + [asyncio.CancelledError]
    assert sorted(error.sent for error in errors if isinstance(error, TransportError)) == [False, False, True]


@asynccontextmanager
async def server_that_reads_nothing() -> AsyncIterator[URL]:
    """Accept connections and read nothing, so that the sender's buffers stay full."""
    connections: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can read, too
        connections.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1024)
    try:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    finally:
        for writer in connections:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


@pytest.mark.virtual_time
async def test_closing_takes_a_second_although_the_server_reads_nothing() -> None:
    transport = Transport(OPTIONS)
    loop = asyncio.get_running_loop()
    async with server_that_reads_nothing() as url:
        call = asyncio.create_task(transport.send("POST", url, {}, b"x" * 20_000_000))
        await asyncio.sleep(2)
        await transport.aclose()
        assert loop.time() == 3  # the attempt would end at 5
        with pytest.raises(TransportError, match="the session was closed before a whole response") as caught:
            await call
        assert loop.time() == 3
        assert (type(caught.value), caught.value.sent, call.cancelling()) == (TransportError, True, 0)
        await asyncio.sleep(0.1)
        assert [task.get_name() for task in asyncio.all_tasks() if "closing" in task.get_name()] == []


@pytest.mark.virtual_time
async def test_cancelled_closing_ends_requests_in_flight() -> None:
    transport = Transport(OPTIONS)
    async with server_that_reads_nothing() as url:
        call = asyncio.create_task(transport.send("POST", url, {}, b"x" * 20_000_000))
        await asyncio.sleep(2)
        closing = asyncio.create_task(transport.aclose())
        await asyncio.sleep(0.5)
        closing.cancel()
        await asyncio.wait([closing, call])
        assert asyncio.get_running_loop().time() == 2.5
        assert (closing.cancelled(), type(call.exception())) == (True, TransportError)


async def test_large_body_is_sent_without_a_warning(transport: Transport) -> None:
    async with HostileServer(http(200, b"1")) as server:
        assert await get(transport, server, "POST", b"x" * 2_000_000) == b"1"
        assert len(server.requests[0].body) == 2_000_000


async def test_borrowed_aiohttp_session_without_decompression_decompresses() -> None:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        HostileServer(http(200, gzip.compress(b"1"), Content_Encoding="gzip")) as server,
    ):
        assert await get(Transport(OPTIONS, session), server) == b"1"


async def test_borrowed_aiohttp_session_with_credentials_is_rejected() -> None:
    async with aiohttp.ClientSession(headers={"authorization": "Basic hunter2"}) as session:
        with pytest.raises(ValueError, match="session must have no credentials of its own") as caught:
            Transport(OPTIONS, session)
        assert "hunter2" not in str(caught.value)


def verification_error(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = message
    return error


@pytest.mark.parametrize(
    ("kind", "cause", "reason"),
    [
        (aiohttp.ClientConnectorError, OSError(111, "Connect call failed ('::1', 1)"), os.strerror(111)),
        (aiohttp.ClientConnectorError, OSError("Multiple exceptions: [Errno 111]"), "it could not be made"),
        (aiohttp.ClientConnectorDNSError, OSError(None, "Domain name not found"), "the host is not known: Domain name"),
        (aiohttp.ClientConnectorDNSError, OSError(), "the host is not known: its name cannot be resolved"),
        (aiohttp.ClientConnectorSSLError, ssl.SSLError(1, "[SSL: WRONG]"), "TLS failed: no reason is known"),
        (
            aiohttp.ClientConnectorCertificateError,
            verification_error("self-signed certificate"),
            "the certificate was rejected: self-signed certificate",
        ),
        (
            aiohttp.ClientConnectorCertificateError,
            ssl.CertificateError("names"),
            "the certificate was rejected: it does not fit the host",
        ),
    ],
)
def test_connection_error_is_in_the_words_of_the_system(kind: Any, cause: OSError, reason: str) -> None:
    key = SimpleNamespace(host="api.example", port=443, ssl=True, is_ssl=True)
    error = _transport_error(kind(key, cause))
    assert isinstance(error, ConnectFailedError)
    assert str(error).startswith(f"no connection to api.example:443: {reason}")
