"""Tokens from a coroutine function: cached, renewed and shared as those of client credentials are."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from connector_async import (
    AuthenticationError,
    CachingTokenProvider,
    ClientCredentials,
    ConnectorSession,
    RateLimit,
    TokenFromCallable,
    TokenUnavailableError,
)
from connector_async.sandbox import Sandbox
from tests.conftest import ManualClock
from tests.support.exposure import exposed
from tests.support.hostile import HostileServer, http
from tests.support.services import open_session
from tests.support.virtual_time import LoopClock


class Vault:
    """Returns, or raises, the next result. The last one comes again and again."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.tenants: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def token(self, tenant: str) -> Any:
        self.tenants.append(tenant)
        await self.open.wait()
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, BaseException):
            raise result
        return result


def session_of(
    fetch: Callable[[str], Awaitable[Any]], clock: ManualClock | None = None, **options: Any
) -> ConnectorSession:
    """Return a session that sends nothing: its tokens are fetched by `fetch_token`."""
    auth = TokenFromCallable(fetch, clock=clock, **options)
    return ConnectorSession("https://api.example", tenant_id="acme", auth=auth)


async def value_of(session: ConnectorSession) -> str:
    return (await session.fetch_token()).value.reveal()


async def background() -> None:
    """Let a renewal in the background end."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_concurrent_requests_with_a_revoked_token_call_the_function_once(
    sandbox: Sandbox, session: ConnectorSession
) -> None:
    called: list[str] = []

    async def token_of_the_sandbox(tenant: str) -> str:
        called.append(tenant)
        credentials = ClientCredentials("sandbox", "sandbox-secret")
        return (await session.for_tenant(tenant, credentials).fetch_token()).value.reveal()

    auth = TokenFromCallable(token_of_the_sandbox)
    async with ConnectorSession(
        sandbox.base_url, tenant_id="acme", auth=auth, rate_limit=RateLimit.unlimited()
    ) as used:
        await used.request("GET", ("appointment", "preview"))
        stale = await session.fetch_token()
        sandbox.revoke_tokens("acme")
        session.for_tenant("acme", ClientCredentials("sandbox", "sandbox-secret"))._sender.auth.invalidate(
            "acme", stale
        )
        await asyncio.gather(*(used.request("GET", ("appointment", "preview")) for _ in range(20)))
        await used.for_tenant("globex").request("GET", ("appointment", "preview"))
    assert called == ["acme", "acme", "globex"]
    assert sandbox.log.count(operation="preview", status=200) == 22


async def test_token_without_a_lifetime_is_used_until_it_is_refused(clock: ManualClock) -> None:
    vault = Vault("first", "second")
    session = session_of(vault.token, clock)
    first = await session.fetch_token()
    clock.now += 10**9
    assert await session.fetch_token() is first
    assert first.expires_at is None
    session._sender.auth.invalidate("acme", first)
    assert await value_of(session) == "second"


async def test_token_with_a_lifetime_is_renewed_in_the_background(clock: ManualClock) -> None:
    vault = Vault(("first", 100), ("second", 100))
    session = session_of(vault.token, clock)
    assert await value_of(session) == "first"
    clock.now += 90
    assert await value_of(session) == "first"
    await background()
    assert await value_of(session) == "second"
    assert vault.tenants == ["acme", "acme"]


async def test_callers_share_one_call_and_a_cancelled_one_does_not_affect_the_others() -> None:
    vault = Vault("t")
    vault.open.clear()
    session = session_of(vault.token)
    callers = [asyncio.create_task(value_of(session)) for _ in range(20)]
    await background()
    callers[0].cancel()
    await background()
    vault.open.set()
    assert await asyncio.gather(*callers[1:]) == ["t"] * 19
    assert vault.tenants == ["acme"]


async def test_failed_renewal_keeps_the_old_token_and_is_retried_after_a_minute(clock: ManualClock) -> None:
    vault = Vault(("first", 3600), OSError("the vault is sealed"))
    session = session_of(vault.token, clock)
    calls = []
    for seconds in (0, 3240, 59.9, 0.1):
        clock.now += seconds
        assert await value_of(session) == "first"
        await background()
        calls.append(len(vault.tenants))
    assert calls == [1, 2, 2, 3]


async def test_refused_token_that_comes_again_is_not_sent_again() -> None:
    vault = Vault(("hunter2", 60))
    async with HostileServer(http(401)) as server:
        async with open_session(server, auth=TokenFromCallable(vault.token)) as session:
            with pytest.raises(AuthenticationError):
                await session.request("GET", ("appointment",))
        assert (len(server.requests), len(vault.tenants)) == (1, 2)


async def test_exception_of_the_function_reaches_the_caller_without_its_frames() -> None:
    async def fetch(tenant: str) -> str:
        answer = "hunter2"
        raise OSError(f"the vault is sealed for {tenant}, {len(answer)}")

    with pytest.raises(OSError, match="the vault is sealed for acme") as caught:
        await session_of(fetch).fetch_token()
    assert exposed(caught.value, "hunter2") == []


async def test_function_that_rejects_the_credentials_is_not_called_again_for_five_seconds(clock: ManualClock) -> None:
    vault = Vault(AuthenticationError("no such role"), "t")
    session = session_of(vault.token, clock)
    for _ in range(3):
        with pytest.raises(AuthenticationError, match="no such role"):
            await session.fetch_token()
    assert len(vault.tenants) == 1
    clock.now += 5
    assert await value_of(session) == "t"


@pytest.mark.virtual_time
async def test_function_that_hangs_is_cancelled_after_the_timeout() -> None:
    ended: list[float] = []

    async def hang(tenant: str) -> str:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(LoopClock().monotonic())
        return "late"

    with pytest.raises(TokenUnavailableError, match=r"hang\) had no token within 7 s") as caught:
        await session_of(hang, timeout=7).fetch_token()
    assert caught.value.sent is False
    assert ended == [pytest.approx(7)]


async def test_timeout_of_the_function_itself_reaches_the_caller() -> None:
    with pytest.raises(TimeoutError, match="of the vault"):
        await session_of(Vault(TimeoutError("of the vault")).token).fetch_token()


async def test_cancellation_inside_the_function_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="was cancelled, although the fetch was not"):
        await session_of(Vault(asyncio.CancelledError()).token).fetch_token()


async def test_closing_the_session_cancels_the_function() -> None:
    vault = Vault("t")
    vault.open.clear()
    session = session_of(vault.token)
    caller = asyncio.create_task(session.fetch_token())
    await background()
    await session.aclose()
    with pytest.raises(RuntimeError, match="the session was closed"):
        await caller


async def test_blocking_function_runs_in_a_thread() -> None:
    def get_password(service: str, tenant: str) -> str:
        return f"{service}-{tenant}"

    session = session_of(lambda tenant: asyncio.to_thread(get_password, "connector", tenant))
    assert await value_of(session) == "connector-acme"


@pytest.mark.parametrize(
    ("result", "error", "rule"),
    [
        (None, TypeError, "must return a str, or a str and seconds, not NoneType"),
        (("hunter2", 60, 1), TypeError, "must return a str, or a str and seconds, not tuple"),
        ("hunter2 3", TokenUnavailableError, "must be a token: printable ASCII without spaces"),
        (("hunter2", 0), TokenUnavailableError, "no lifetime above zero"),
        (("hunter2", float("nan")), TokenUnavailableError, "no lifetime above zero"),
        (("hunter2", "60"), TokenUnavailableError, "no lifetime above zero"),
        (("hunter2", True), TokenUnavailableError, "no lifetime above zero"),
    ],
)
async def test_unusable_result_is_an_error_without_its_value(result: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule) as caught:
        await session_of(Vault(result).token).fetch_token()
    assert exposed(caught.value, "hunter2") == []


async def test_plain_function_is_an_error() -> None:
    def plain(tenant: str) -> Any:
        return "hunter2"

    with pytest.raises(TypeError, match="must return an awaitable, not str") as caught:
        await session_of(plain).fetch_token()
    assert exposed(caught.value, "hunter2") == []


@pytest.mark.parametrize(
    ("build", "error", "rule"),
    [
        (lambda: TokenFromCallable("vault"), TypeError, "fetch must be callable, not str"),  # type: ignore[arg-type]
        (lambda: TokenFromCallable(Vault("t").token, timeout=0), ValueError, "timeout must be above zero"),
    ],
)
def test_invalid_argument_is_rejected_by_name(build: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        build()


def test_provider_is_equal_to_itself_only_and_shows_the_name_of_its_function() -> None:
    vault = Vault("t")
    provider = TokenFromCallable(vault.token)
    assert isinstance(provider, CachingTokenProvider)
    assert provider == provider
    assert provider != TokenFromCallable(vault.token)
    assert repr(provider) == "TokenFromCallable(Vault.token)"
