"""Tokens that processes share through PostgreSQL."""

import asyncio
import base64
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet

from connector_async import AuthenticationError, ClientCredentials, ConnectorSession, RateLimit
from connector_async.auth import SharedClientCredentials
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DelayFault, Sandbox, StatusFault
from tests.conftest import ManualClock
from tests.support.exposure import exposed
from tests.support.postgres import FLAVORS, PostgresServer

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()  # the same in all processes


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer.started(FLAVORS["pgserver"]) as server:
        yield server


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    yield postgres.create("tokens")
    postgres.drop("tokens")


OPENED: list[SharedClientCredentials] = []


@pytest.fixture(autouse=True)
async def close_opened() -> AsyncIterator[None]:
    yield
    while OPENED:
        await OPENED.pop().aclose()


def shared(url: str, key: str = KEY, secret: str = DEFAULT_CLIENT_SECRET, **options: Any) -> SharedClientCredentials:
    """Return credentials that are closed at the end of the test."""
    OPENED.append(SharedClientCredentials(DEFAULT_CLIENT_ID, secret, url=url, key=key, **options))
    return OPENED[-1]


def session_of(sandbox: Sandbox, auth: ClientCredentials, tenant: str = "acme") -> ConnectorSession:
    return ConnectorSession(sandbox.base_url, tenant_id=tenant, auth=auth, rate_limit=RateLimit.unlimited())


async def fetch(sandbox: Sandbox, auth: ClientCredentials, tenant: str = "acme") -> str:
    """Return the token that a process of these credentials would send."""
    async with session_of(sandbox, auth, tenant) as session:
        return (await session.fetch_token()).value.reveal()


def tokens_of(sandbox: Sandbox) -> int:
    return sandbox.log.count(operation="token")


def rows(postgres: PostgresServer, columns: str = "token") -> list[tuple[Any, ...]]:
    return postgres.execute(f"SELECT {columns} FROM connector_tokens ORDER BY 1", "tokens")


async def test_sessions_with_credentials_of_their_own_share_one_token(
    sandbox: Sandbox, url: str, postgres: PostgresServer
) -> None:
    tokens = await asyncio.gather(*(fetch(sandbox, shared(url)) for _ in range(10)))
    assert len(set(tokens)) == 1
    assert tokens_of(sandbox) == 1
    assert rows(postgres, "base_url, tenant_id, client_id, lifetime, claimed_until") == [
        (sandbox.base_url, "acme", DEFAULT_CLIENT_ID, 3600, 0)
    ]


PROGRAM = """
import asyncio, sys
from connector_async import ConnectorSession
from connector_async.auth import SharedClientCredentials

async def fetch(base_url, url, key):
    async with SharedClientCredentials("sandbox", "sandbox-secret", url=url, key=key) as auth:
        async with ConnectorSession(base_url, tenant_id="acme", auth=auth) as session:
            await session.fetch_token()

async def main():
    await asyncio.gather(*(fetch(*sys.argv[1:]) for _ in range(10)))

asyncio.run(main())
"""


async def test_forty_sessions_in_four_processes_fetch_one_token(sandbox: Sandbox, url: str) -> None:
    command = [sys.executable, "-c", PROGRAM, sandbox.base_url, url, KEY]
    processes = [await asyncio.create_subprocess_exec(*command) for _ in range(4)]
    assert [await process.wait() for process in processes] == [0] * 4
    assert tokens_of(sandbox) == 1


async def test_each_tenant_has_a_token_of_its_own(sandbox: Sandbox, url: str, postgres: PostgresServer) -> None:
    tokens = [await fetch(sandbox, shared(url), tenant) for tenant in ("acme", "globex", "acme")]
    assert tokens[0] == tokens[2] != tokens[1]
    assert rows(postgres, "tenant_id") == [("acme",), ("globex",)]


async def test_refused_token_is_replaced_once_for_all(sandbox: Sandbox, url: str) -> None:
    async with session_of(sandbox, shared(url)) as one, session_of(sandbox, shared(url)) as other:
        for session in (one, other):
            await session.request("GET", ("appointment", "preview"))
        sandbox.revoke_tokens("acme")
        for session in (one, other):
            await session.request("GET", ("appointment", "preview"))
    assert tokens_of(sandbox) == 2
    assert sandbox.log.count(operation="preview", status=401) == 2


async def test_call_succeeds_although_its_token_and_the_renewed_one_are_refused(
    sandbox: Sandbox, url: str, clock: ManualClock
) -> None:
    async with session_of(sandbox, shared(url)) as behind, session_of(sandbox, shared(url, clock=clock)) as ahead:
        for session in (behind, ahead):
            await session.request("GET", ("appointment", "preview"))
        clock.now += 3599
        await ahead.fetch_token()
        sandbox.revoke_tokens("acme")
        for session in (behind, ahead):
            await session.request("GET", ("appointment", "preview"))
    assert tokens_of(sandbox) == 3


async def test_token_that_is_to_be_renewed_is_replaced_once_for_all(
    sandbox: Sandbox, url: str, clock: ManualClock
) -> None:
    async with (
        session_of(sandbox, shared(url, clock=clock)) as one,
        session_of(sandbox, shared(url, clock=clock)) as other,
    ):
        old = {(await session.fetch_token()).value.reveal() for session in (one, other)}
        clock.now += 3599
        new = {(await session.fetch_token()).value.reveal() for session in (one, other)}
    assert (len(old), len(new), len(old | new)) == (1, 1, 2)
    assert tokens_of(sandbox) == 2


@pytest.mark.parametrize("left", [-1, 0.5, 60])
async def test_token_expires_by_the_clock_of_the_database(
    sandbox: Sandbox, url: str, postgres: PostgresServer, left: float
) -> None:
    first = await fetch(sandbox, shared(url))
    postgres.execute(
        f"UPDATE connector_tokens SET expires_at = extract(epoch FROM clock_timestamp()) + {left}", "tokens"
    )
    assert await fetch(sandbox, shared(url)) != first


async def test_stored_token_is_used_for_the_rest_of_its_lifetime(
    sandbox: Sandbox, url: str, postgres: PostgresServer, clock: ManualClock
) -> None:
    first = await fetch(sandbox, shared(url))
    postgres.execute("UPDATE connector_tokens SET expires_at = extract(epoch FROM clock_timestamp()) + 100", "tokens")
    async with session_of(sandbox, shared(url, clock=clock)) as session:
        token = await session.fetch_token()
        assert token.value.reveal() == first
        assert token.expires_at == pytest.approx(clock.now + 100, abs=5)


async def test_expired_tokens_are_deleted_when_one_is_stored(
    sandbox: Sandbox, url: str, postgres: PostgresServer
) -> None:
    await fetch(sandbox, shared(url), "old")
    postgres.execute("UPDATE connector_tokens SET expires_at = 1", "tokens")
    await fetch(sandbox, shared(url), "new")
    assert rows(postgres, "tenant_id") == [("new",)]


async def test_database_has_neither_token_nor_secret_nor_key(
    sandbox: Sandbox, url: str, postgres: PostgresServer
) -> None:
    token = await fetch(sandbox, shared(url))
    stored = repr(rows(postgres, "*"))
    assert [secret for secret in (token, DEFAULT_CLIENT_SECRET, KEY) if secret in stored] == []


async def test_token_stored_with_another_key_is_replaced_with_a_warning(
    sandbox: Sandbox, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = await fetch(sandbox, shared(url))
    assert caplog.text == ""
    other_key = Fernet.generate_key().decode()
    second = await fetch(sandbox, shared(url, other_key))
    assert "tenant acme: the shared token was stored with another key" in caplog.text
    assert second == await fetch(sandbox, shared(url, other_key)) != first


async def test_wrong_secret_never_gets_the_token_of_the_right_one(
    sandbox: Sandbox, url: str, postgres: PostgresServer
) -> None:
    first = await fetch(sandbox, shared(url))
    with pytest.raises(AuthenticationError):
        await fetch(sandbox, shared(url, secret="wrong"))
    assert await fetch(sandbox, shared(url)) == first
    assert rows(postgres, "claimed_until") == [(0,)]


@pytest.mark.parametrize("forged", ["token of another tenant", "something else"])
async def test_row_that_does_not_belong_to_its_tenant_is_not_used(
    sandbox: Sandbox, url: str, postgres: PostgresServer, forged: str
) -> None:
    tokens = {await fetch(sandbox, shared(url), tenant) for tenant in ("acme", "globex")}
    stored: object = Fernet(KEY).encrypt(b"1").decode()
    if forged == "token of another tenant":
        [(stored,)] = postgres.execute("SELECT token FROM connector_tokens WHERE tenant_id = 'globex'", "tokens")
    postgres.execute(f"UPDATE connector_tokens SET token = '{stored}'", "tokens")
    assert await fetch(sandbox, shared(url)) not in tokens


async def test_failed_fetch_lets_the_next_process_fetch_at_once(
    sandbox: Sandbox, url: str, postgres: PostgresServer
) -> None:
    sandbox.faults.script(StatusFault(401), operation="token")
    with pytest.raises(AuthenticationError):
        await fetch(sandbox, shared(url))
    assert rows(postgres, "token, claimed_until") == [(None, 0)]


async def test_closed_session_lets_the_next_process_fetch_at_once(
    sandbox: Sandbox, url: str, postgres: PostgresServer
) -> None:
    sandbox.faults.script(DelayFault(10), operation="token")
    async with session_of(sandbox, shared(url)) as session:
        fetching = asyncio.create_task(session.fetch_token())
        while not session.traffic.requests:
            await asyncio.sleep(0.01)
    with pytest.raises(RuntimeError, match="the session was closed"):
        await fetching
    assert rows(postgres, "token, claimed_until") == [(None, 0)]


def claim_for(postgres: PostgresServer, seconds: float) -> None:
    """Claim the row as a process does that is fetching."""
    until = f"extract(epoch FROM clock_timestamp()) + {seconds}"
    postgres.execute(f"UPDATE connector_tokens SET expires_at = 0, claimed_until = {until}", "tokens")


async def test_claim_of_a_process_that_died_expires(sandbox: Sandbox, url: str, postgres: PostgresServer) -> None:
    await fetch(sandbox, shared(url))
    claim_for(postgres, 0.2)
    await fetch(sandbox, shared(url))
    assert tokens_of(sandbox) == 2


async def test_process_waits_for_others_only_so_long(
    sandbox: Sandbox, url: str, postgres: PostgresServer, clock: ManualClock
) -> None:
    await fetch(sandbox, shared(url))
    claim_for(postgres, 1_000)
    async with session_of(sandbox, shared(url, clock=clock)) as session:
        await session.fetch_token()
    assert sum(clock.sleeps) == pytest.approx(10, abs=0.2)
    assert tokens_of(sandbox) == 2


async def test_processes_fetch_their_own_tokens_while_the_database_is_down(
    sandbox: Sandbox, url: str, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    auths = [shared(url, timeout=0.1) for _ in range(2)]
    postgres.stop()
    try:
        assert len({await fetch(sandbox, auth) for auth in auths}) == 2
    finally:
        postgres.start()
    problem = "tenant acme: the token is not shared: the store of the tokens did not respond in 0.1 seconds"
    assert problem in caplog.text


async def test_token_is_used_although_it_cannot_be_stored(
    sandbox: Sandbox, url: str, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    await fetch(sandbox, shared(url), "old")
    postgres.execute("ALTER TABLE connector_tokens ADD CHECK (lifetime < 100) NOT VALID", "tokens")
    await fetch(sandbox, shared(url))
    assert rows(postgres, "tenant_id, token IS NULL") == [("acme", True), ("old", False)]
    assert caplog.messages == ["tenant acme: the token is not shared: the store of the tokens failed (CheckViolation)"]


async def test_restart_of_the_database_is_survived(sandbox: Sandbox, url: str, postgres: PostgresServer) -> None:
    async with session_of(sandbox, shared(url, timeout=10)) as session:
        await session.fetch_token()
        postgres.stop()
        postgres.start()
        token = await session.for_tenant("globex").fetch_token()
    assert await fetch(sandbox, shared(url), "globex") == token.value.reveal()


async def test_database_that_does_not_respond_delays_a_fetch_for_its_timeout(
    sandbox: Sandbox, url: str, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with session_of(sandbox, shared(url, timeout=0.1)) as session:
        await session.fetch_token()
        [(backend,)] = postgres.execute("SELECT pid FROM pg_stat_activity WHERE datname = 'tokens'")
        assert isinstance(backend, int)
        os.kill(backend, signal.SIGSTOP)
        try:
            async with asyncio.timeout(2):
                await session.for_tenant("globex").fetch_token()
        finally:
            os.kill(backend, signal.SIGCONT)
    assert "did not respond in 0.1 seconds" in caplog.text


async def test_closed_credentials_fetch_without_the_database(
    sandbox: Sandbox, url: str, postgres: PostgresServer
) -> None:
    async with shared(url) as auth:
        await fetch(sandbox, auth)
    await fetch(sandbox, auth, "globex")
    assert rows(postgres, "tenant_id") == [("acme",)]


async def test_credentials_that_are_closed_during_a_fetch_return_its_token(
    sandbox: Sandbox, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.faults.script(DelayFault(0.05), operation="token")
    auth = shared(url)
    async with session_of(sandbox, auth) as session:
        fetching = asyncio.create_task(session.fetch_token())
        while not session.traffic.requests:
            await asyncio.sleep(0.01)
        await auth.aclose()
        assert (await fetching).value.reveal()
    assert caplog.messages == ["tenant acme: the token is not shared: the store of the tokens is closed"]


def test_credentials_work_in_one_event_loop_after_another_and_in_threads(url: str) -> None:
    auth = shared(url)

    async def main() -> None:
        async with Sandbox() as sandbox:
            await fetch(sandbox, auth)

    for _ in range(2):
        asyncio.run(main())
    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_credentials_are_equal_if_secret_url_and_key_are() -> None:
    auth = shared("postgresql://u@h/d")
    assert auth == shared("postgres://u@h/d")
    assert auth == SharedClientCredentials(
        DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, url="postgresql://u@h/d", key=KEY.encode()
    )
    others = [
        shared("postgresql://u@h/d", secret="other"),
        shared("postgresql://u@h/other"),
        shared("postgresql://u@h/d", Fernet.generate_key().decode()),
        ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
    ]
    assert [other for other in others if other == auth] == []


@pytest.mark.parametrize(
    ("arguments", "error", "argument"),
    [
        ({"client_id": ""}, ValueError, "client_id"),
        ({"url": 5}, TypeError, "url"),
        ({"url": "redis://hunter2"}, ValueError, "url"),
        ({"key": 5}, TypeError, "key"),
        ({"key": "hunter2"}, ValueError, "key"),
        ({"key": "hünter2"}, ValueError, "key"),
        ({"timeout": 0}, ValueError, "timeout"),
    ],
)
def test_invalid_argument_is_rejected(arguments: dict[str, Any], error: type[Exception], argument: str) -> None:
    valid = {"client_id": "id", "client_secret": "hunter3", "url": "postgresql://u:hunter4@h/d", "key": KEY}
    with pytest.raises(error, match=f"^{argument} must") as caught:
        SharedClientCredentials(**valid | arguments)
    assert exposed(caught.value, "hunter2", "hunter3", "hunter4", "hünter2", KEY) == []


def test_repr_has_no_secrets() -> None:
    shown = repr(SharedClientCredentials("id", "hunter2", url="postgresql://u:hunter2@h/d", key=KEY))
    assert shown == "SharedClientCredentials('id', '…', url='…', key='…')"
