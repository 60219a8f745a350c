"""State per tenant is bounded, however many tenant ids come from outside."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Coroutine, Iterator
from typing import Any

import orjson
import pytest

from connector_async import (
    AppointmentService,
    AuthenticationError,
    ClientCredentials,
    ConnectorSession,
    StaticToken,
    Token,
)
from connector_async._recent import RecentlyUsed
from connector_async.auth import renewing
from connector_async.protocol import Response
from connector_async.session import session_state
from tests.conftest import ManualClock
from tests.support.hostile import HostileServer
from tests.support.services import FOUND, resident_megabytes

pytestmark = pytest.mark.row("H13")


def open_session(**options: Any) -> ConnectorSession:
    return ConnectorSession("https://api.example", tenant_id="acme", auth=StaticToken("t"), **options)


class Endpoint:
    """A `TokenSend` that returns a token for each tenant, or rejects the credentials."""

    base_url = "https://api.example"

    def __init__(self) -> None:
        self.rejects = False
        self.bodies: list[bytes] = []

    async def post_token_request(self, body: bytes) -> Response:
        self.bodies.append(body)
        if self.rejects:
            raise AuthenticationError("rejected", status=401)
        return Response(status=200, headers={}, body=b'{"accessToken":"t%d","expiresIn":3600}' % len(self.bodies))

    def create_task(self, fetch: Coroutine[Any, Any, Token]) -> asyncio.Task[Token]:
        return asyncio.create_task(fetch)


def test_entries_used_last_are_kept() -> None:
    table: RecentlyUsed[int, str] = RecentlyUsed(10)
    table.put(-1, "used in each round")
    for number in range(100):
        table.put(number, str(number))
        assert table.get(-1) == "used in each round"
        assert len(table) <= 20
        used_last = range(max(0, number - 8), number + 1)
        assert [table.get(recent) for recent in used_last] == [str(recent) for recent in used_last]
    assert table.get(50) is None
    assert table.get_or_make(50, lambda key: f"made for {key}") == "made for 50"
    assert table.get_or_make(50, str) == "made for 50"


def test_expired_entries_are_dropped_first() -> None:
    table: RecentlyUsed[int, str] = RecentlyUsed(10, is_expired=lambda value: value == "expired")
    table.put(-1, "alive")
    for number in range(100):
        table.put(number, "expired")
    assert table.get(-1) == "alive"
    assert len(table) <= 20


class Value:
    """Something with weak references."""


def test_value_in_use_is_kept_beside_those_used_last() -> None:
    table: RecentlyUsed[int, Value] = RecentlyUsed(10, keeps_used=True)
    held = [table.get_or_make(number, lambda _: Value()) for number in range(10)]
    references = [weakref.ref(table.get_or_make(number, lambda _: Value())) for number in range(10, 100)]
    assert [table.get(number) for number in range(10)] == held
    assert sum(reference() is not None for reference in references) <= 20
    for number in range(100, 200):
        table.get_or_make(number, lambda _: Value())
    del held
    for number in range(200, 300):
        table.get_or_make(number, lambda _: Value())
    assert len(table) <= 20


def test_tenant_is_one_object_while_a_session_of_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_state, "_RECENT", 10)
    session = open_session()
    held = session.for_tenant("held")
    for number in range(100):
        session.for_tenant(str(number))
    again = session.for_tenant("held")
    assert again.retry_quota is held.retry_quota
    assert again._tenant is held._tenant


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Turn the garbage collector off, so that only objects without reference cycles are freed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
def test_recently_used_tenant_keeps_its_state_without_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_state, "_RECENT", 10)
    session = open_session()
    session.for_tenant("globex").retry_quota.spend(14)
    for number in range(100):
        session.for_tenant(str(number))
        assert session.for_tenant("globex").retry_quota.available == 486
    for number in range(100):
        session.for_tenant(str(number))
    assert session.for_tenant("globex").retry_quota.available == 500


def test_tenants_without_a_session_are_dropped() -> None:
    session = open_session()
    for number in range(40_000):
        session.for_tenant(str(number))
    assert 10_000 <= len(session._state._tenants) <= 20_001


def test_unused_credentials_are_dropped() -> None:
    session = open_session()
    for number in range(40_000):
        session.for_tenant("globex", ClientCredentials(str(number), "secret"))
    assert 10_000 <= len(session._state._credentials) <= 20_000


def test_threads_get_the_same_tenant_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_state, "_RECENT", 10)
    session = open_session()
    by_thread: list[list[ConnectorSession]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def open_all(sessions: list[ConnectorSession]) -> None:
        start.wait()
        sessions += [session.for_tenant(str(number)) for number in range(500)]

    threads = [threading.Thread(target=open_all, args=(sessions,)) for sessions in by_thread]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sessions in zip(*by_thread, strict=True):
        assert len({id(session._tenant) for session in sessions}) == 1


async def test_each_of_thirty_thousand_tenants_fetches_one_token(clock: ManualClock) -> None:
    endpoint, credentials = Endpoint(), ClientCredentials("id", "secret", clock=clock)
    tenants = [str(number) for number in range(30_000)]
    for _ in range(2):
        for tenant in tenants:
            await credentials.token(tenant, endpoint)
    assert len(endpoint.bodies) == 30_000


async def test_tokens_of_unused_tenants_are_dropped(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewing, "_TOKENS", 100)
    endpoint, credentials = Endpoint(), ClientCredentials("id", "secret", clock=clock)
    for number in range(1_000):
        await credentials.token(str(number), endpoint)
    assert 100 <= len(credentials._cache) <= 200


async def test_rejections_expire_after_five_seconds_and_are_bounded(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewing, "_REJECTIONS", 100)
    endpoint, credentials = Endpoint(), ClientCredentials("id", "secret", clock=clock)
    endpoint.rejects = True
    for number in range(300):
        clock.now += 0.01
        with pytest.raises(AuthenticationError):
            await credentials.token(str(number), endpoint)
    assert len(credentials._rejections) == 100
    clock.now += 5
    with pytest.raises(AuthenticationError):
        await credentials.token("another", endpoint)
    assert len(credentials._rejections) == 1


async def test_closing_ends_the_token_fetch_of_a_dropped_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_state, "_RECENT", 10)
    fetching = asyncio.Event()

    async def wait(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fetching.set()
        await asyncio.sleep(5)

    async with HostileServer(wait) as server:
        session = ConnectorSession(server.base_url, tenant_id="acme", auth=ClientCredentials("id", "secret"))
        call = asyncio.create_task(session.for_tenant("globex").request("GET", ("x",)))
        await fetching.wait()
        for number in range(100):
            session.for_tenant(str(number))
        await session.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await call


@pytest.mark.slow
async def test_memory_is_bounded_for_a_hundred_thousand_tenant_ids_half_of_them_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = orjson.dumps({"accessToken": "x" * 700, "expiresIn": 3600})

    async def send(method: str, url: Any, *_: object) -> Response:
        if method == "GET":
            return Response(status=200, headers={}, body=FOUND.partition(b"\r\n\r\n")[2])
        rejected = "bad" in url.raw_path
        return Response(status=401 if rejected else 200, headers={}, body=b"{}" if rejected else token)

    session = ConnectorSession("https://api.example", tenant_id="acme", auth=ClientCredentials("id", "secret"))
    monkeypatch.setattr(session._state.transport, "send", send)
    gc.collect()
    before = resident_megabytes()
    rejections = 0
    for number in range(100_000):
        service = AppointmentService(session.for_tenant(f"{'bad' if number % 2 else 'good'}-{number}"))
        try:
            await service.get("123")
        except AuthenticationError:
            rejections += 1
    assert rejections == 50_000
    gc.collect()
    assert resident_megabytes() - before < 150
