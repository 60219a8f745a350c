"""Reuse of idle connections, and requests that never get a connection."""

import asyncio
import inspect
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import aiohttp
import orjson
import pytest
import trustme
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector

from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectFailedError,
    DeadlineExceededError,
    NewAppointment,
    OutcomeUnknownError,
    RetryPolicy,
)
from connector_async.session import pool
from connector_async.session import transport as transport_module
from tests.support.hostile import HostileServer, drop, hang, http
from tests.support.services import CREATED, FIELDS, FOUND, call, open_service
from tests.support.virtual_time import LoopClock, VirtualTimeLoop

STRAY = http(200, orjson.dumps({**FIELDS, "appointmentId": "of another tenant"}))


class StrayResponses:
    """A server in a thread. It responds to the first request of a connection, and sends a stray response on demand."""

    def __init__(self, stray: bytes) -> None:
        self._stray = stray
        self._writers: list[asyncio.StreamWriter] = []
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            writer.write(FOUND)

        async with HostileServer(respond) as server:
            self.server = server
            self._ready.set()
            await self._stop.wait()

    def send_stray(self) -> None:
        """Send the stray response on the latest request's connection, before the event loop of the test can read it."""

        async def send() -> None:
            self._writers[-1].write(self._stray)
            await self._writers[-1].drain()

        asyncio.run_coroutine_threadsafe(send(), self._loop).result(5)


@pytest.mark.row("H3")
@pytest.mark.parametrize("pause", [0, 0.02], ids=["not seen by the loop", "seen by the loop"])
@pytest.mark.parametrize("stray", [STRAY, http(408)], ids=["duplicate", "late 408"])
async def test_unsolicited_response_is_never_given_to_the_next_request(stray: bytes, pause: float) -> None:
    with StrayResponses(stray) as strays:
        acme = open_service(strays.server.base_url)
        globex = AppointmentService(acme.session.for_tenant("globex"))
        await acme.get("123")
        strays.send_stray()
        if pause:
            await asyncio.sleep(pause)
        found = await globex.get("123", retry=RetryPolicy.none())
        assert found.appointment_id == "123"
        assert strays.server.connections == 2


@pytest.fixture
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.mark.row("H3")
async def test_create_after_the_server_closed_the_tls_connection_is_sent_once_on_another(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], draft: NewAppointment
) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(CREATED)

    async with HostileServer(respond, ssl_context=tls[0]) as server:
        appointments = open_service(server, ssl_context=tls[1], retry=RetryPolicy.none())
        await appointments.create(draft)
        writers[0].transport.close()
        await appointments.create(draft)
        assert len(server.requests) == server.connections == 2


def pools(appointments: AppointmentService) -> list[BaseConnector]:
    opened = appointments.session._state.transport._opened.values()
    return [entry.session.connector for entry in opened if entry.session.connector is not None]


@contextmanager
def closing_server() -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).parents[1] / "support" / "closing_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.mark.row("H4")
@pytest.mark.parametrize(("concurrency", "pool_size"), [(1, 100), (10, 100), (50, 1)])
async def test_creates_are_not_lost_to_a_server_that_closes_after_each_response(
    concurrency: int, pool_size: int, draft: NewAppointment
) -> None:
    with closing_server() as base_url:
        appointments = open_service(base_url, retry=RetryPolicy.none(), pool_size=pool_size)

        async def create(times: int) -> int:
            unknown = 0
            for _ in range(times):
                try:
                    await appointments.create(draft)
                except OutcomeUnknownError:
                    unknown += 1
            return unknown

        assert sum(await asyncio.gather(*(create(500 // concurrency) for _ in range(concurrency)))) <= 5


@pytest.mark.row("H4")
async def test_create_after_the_loop_was_busy_is_sent_on_a_new_connection(draft: NewAppointment) -> None:
    with closing_server() as base_url:
        appointments = open_service(base_url, retry=RetryPolicy.none())
        created = []
        for _ in range(5):
            created.append(await appointments.create(draft))
            time.sleep(0.01)  # noqa: ASYNC251 - the event loop must not see that the server has closed
        assert len(created) == 5  # none of them raised


@pytest.mark.virtual_time
async def test_server_that_closes_idle_connections_is_trusted_again_after_a_while(draft: NewAppointment) -> None:
    with StrayResponses(STRAY) as strays:
        appointments = open_service(strays.server.base_url, clock=LoopClock())
        await appointments.create(draft)
        strays.send_stray()
        for _ in range(3):
            await appointments.create(draft)
        assert strays.server.connections == 4
        (connector,) = pools(appointments)
        assert sum(map(len, connector._conns.values())) == 1  # connections that are not reused are closed
        await asyncio.sleep(31)
        for _ in range(2):
            await appointments.create(draft)
        assert strays.server.connections == 4


@pytest.mark.row("H3")
async def test_expired_idle_connection_does_not_hide_one_with_a_stray_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    for module in (aiohttp.connector, pool):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    with StrayResponses(STRAY) as strays:
        appointments = open_service(strays.server.base_url)
        await asyncio.gather(appointments.get("1"), appointments.get("2"))
        now += 3
        await appointments.get("3")  # on one of the two connections; the other one stays idle
        now += 2
        strays.send_stray()
        assert (await appointments.get("4")).appointment_id == "123"
        assert strays.server.connections == 3


@pytest.mark.row("H5")
@pytest.mark.virtual_time
async def test_create_that_never_got_a_connection_is_not_sent(draft: NewAppointment) -> None:
    async with HostileServer(hang) as server:
        appointments = open_service(server, clock=LoopClock(), pool_size=1, attempt_timeout=5, retry=RetryPolicy.none())
        creates = (appointments.create(draft) for _ in range(50))
        errors = await asyncio.gather(*creates, return_exceptions=True)
        assert [type(error) for error in errors].count(OutcomeUnknownError) == len(server.requests) == 1
        assert [getattr(error, "sent", None) for error in errors].count(False) == 49


@pytest.mark.virtual_time
async def test_start_of_many_other_calls_does_not_count_for_the_handshake() -> None:
    async def start_others() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop._time_source.skipped += 10

    async with HostileServer(FOUND) as server:
        service = open_service(server, clock=LoopClock(), connect_timeout=5, retry=RetryPolicy.none())
        appointment, _ = await asyncio.gather(service.get("1"), start_others())
        await service.session.aclose()
    assert appointment.title == FIELDS["title"]


@pytest.mark.row("H5")
@pytest.mark.parametrize("kind", ["own", "borrowed"])
@pytest.mark.parametrize("operation", ["create", "get"])  # aiohttp itself would repeat the GET
async def test_call_through_a_proxy_that_closes_on_connect_is_not_sent_and_retried(
    kind: str, operation: str, draft: NewAppointment
) -> None:
    async with HostileServer(drop) as proxy, aiohttp.ClientSession() as session:
        appointments = open_service(
            "https://api.example", proxy=proxy.base_url, session=session if kind == "borrowed" else None
        )
        with pytest.raises(ConnectFailedError) as caught:
            await call(appointments, operation, draft)
        assert (caught.value.sent, caught.value.attempts) == (False, 3)
        assert [request.method for request in proxy.requests] == ["CONNECT"] * 3


@pytest.mark.row("H5")
@pytest.mark.virtual_time
@pytest.mark.parametrize("deadline", [0.308, 0.31, 4.999, 29.995, 30])
async def test_deadline_in_an_attempt_is_a_deadline_exceeded_error(deadline: float) -> None:
    async with HostileServer(hang) as server:
        appointments = open_service(
            server, clock=LoopClock(), pool_size=1, attempt_timeout=30, retry=RetryPolicy.none()
        )
        in_flight = asyncio.create_task(appointments.get("1", deadline=deadline))
        in_the_pool = asyncio.create_task(appointments.get("2", deadline=deadline))
        await asyncio.wait([in_flight, in_the_pool])
        errors = [in_flight.exception(), in_the_pool.exception()]
        assert [type(error) for error in errors] == [DeadlineExceededError] * 2
        assert [getattr(error, "sent", None) for error in errors] == [True, False]


@pytest.mark.virtual_time
@pytest.mark.parametrize("kind", ["own", "borrowed"])
async def test_attempt_that_times_out_in_a_tls_handshake_is_not_sent(kind: str) -> None:
    async with HostileServer(hang) as server, aiohttp.ClientSession() as session:
        appointments = open_service(
            f"https://127.0.0.1:{server.port}",
            clock=LoopClock(),
            connect_timeout=60,
            session=session if kind == "borrowed" else None,
        )
        with pytest.raises(DeadlineExceededError) as caught:
            await appointments.get("1", deadline=3)
        assert caught.value.sent is False


@pytest.mark.row("H14")
async def test_failure_to_open_the_pool_does_not_break_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async with HostileServer(FOUND) as server:
        appointments = open_service(server)
        with monkeypatch.context() as patch:
            patch.setattr(transport_module, "CheckedConnector", lambda **_: 1 / 0)  # like a resolver that cannot start
            with pytest.raises(ZeroDivisionError):
                await appointments.get("123")
        assert (await appointments.get("123")).appointment_id == "123"


async def test_credentials_of_a_netrc_file_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter3")
    monkeypatch.setenv("NETRC", str(netrc))
    token = http(200, b'{"accessToken":"hunter2","expiresIn":3600}')
    async with HostileServer(token, FOUND) as server, aiohttp.ClientSession(trust_env=True) as session:
        await open_service(server, session=session, auth=ClientCredentials("id", "secret")).get("123")
        assert [request.headers.get("authorization") for request in server.requests] == [None, "Bearer hunter2"]


def parameters(function: Callable[..., object]) -> list[str]:
    return list(inspect.signature(function).parameters)


async def test_aiohttp_has_the_private_names_that_the_pool_relies_on() -> None:
    assert parameters(BaseConnector.connect) == ["self", "req", "traces", "timeout"]
    assert parameters(BaseConnector._get) == ["self", "key", "traces"]
    assert parameters(BaseConnector._wait_for_available_connection) == ["self", "key", "traces"]
    assert parameters(aiohttp.TCPConnector._create_connection) == ["self", "req", "traces", "timeout"]
    calls = inspect.getsource(BaseConnector.connect)
    assert calls.count("self._get(") == 2
    assert calls.count("self._wait_for_available_connection(") == calls.count("self._create_connection(") == 1
    assert "self._conns[key].append((protocol, monotonic()))" in inspect.getsource(BaseConnector._release)
    async with aiohttp.TCPConnector() as connector:
        handler = connector._factory()
        assert isinstance(handler, ResponseHandler)
        assert not handler._buffer
