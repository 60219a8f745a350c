"""Calls under a rate limit against a server that counts them, in virtual time."""

import asyncio
import itertools
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import tenacity

from connector_async import (
    AppointmentService,
    ClientCredentials,
    Clock,
    ConnectorSession,
    MemoryRateLimitStore,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    StaticToken,
    Token,
    TokenSend,
)
from connector_async.sandbox import LimitWindow, RevokedToken, Sandbox, SandboxLimit, StatusFault
from tests.support.hostile import HostileServer, http
from tests.support.services import FOUND, PREVIEW, open_service
from tests.support.virtual_time import LoopClock, now

pytestmark = pytest.mark.virtual_time

# The storage of the sandbox has a thread. While it works, virtual time jumps although a response is pending.
NO_TIMEOUT = 100_000


class Arrivals:
    """Sends one response after another, the last one repeatedly, and records when the requests came."""

    def __init__(self, *responses: bytes) -> None:
        self.responses = list(responses)
        self.times: list[float] = []

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.times.append(now())
        writer.write(self.responses.pop(0) if len(self.responses) > 1 else self.responses[0])


def paced_session(sandbox: Sandbox, limit: RateLimit, clock: LoopClock | None = None) -> ConnectorSession:
    return ConnectorSession(
        sandbox.base_url,
        tenant_id="acme",
        auth=ClientCredentials("sandbox", "sandbox-secret", clock=LoopClock()),
        attempt_timeout=NO_TIMEOUT,
        rate_limit=limit,
        clock=clock or LoopClock(),
    )


def limited_sandbox(**limit: Any) -> Sandbox:
    return Sandbox(limit=SandboxLimit(**limit), monotonic=now)


@pytest.mark.row("L1")
@pytest.mark.parametrize("window", list(LimitWindow), ids=str)
async def test_steady_pace_reaches_the_limit_of_the_api_without_a_429(
    window: LimitWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    jitter = random.Random(7)
    async with limited_sandbox(requests=60, per=60.0, window=window) as sandbox:
        session = paced_session(sandbox, RateLimit(limit=60, per=60, burst=1))
        send = session._state.transport.send

        async def send_late(*args: Any) -> Any:
            await asyncio.sleep(jitter.random())
            return await send(*args)

        monkeypatch.setattr(session._state.transport, "send", send_late)
        appointments = AppointmentService(session, retry=RetryPolicy.none())
        numbers = iter(range(299))

        async def work() -> None:
            for _ in numbers:
                async for _ in appointments.preview():
                    raise AssertionError

        await asyncio.gather(*(work() for _ in range(20)))
        assert sandbox.log.count(status=200) == sandbox.log.count() == 300  # including the token request
        assert now() == pytest.approx(300 / 59 * 60, rel=0.02)
        assert session.traffic.requests == 300
        assert 0.9 * now() < session.traffic.waited <= now()  # twenty tasks wait at the same time
        await session.aclose()


@pytest.mark.row("L2")
async def test_429_stops_the_tenant_for_its_retry_after_and_no_other_tenant() -> None:
    arrivals = Arrivals(PREVIEW, PREVIEW, http(429, Retry_After="5"), PREVIEW)
    async with HostileServer(arrivals) as server:
        limit = RateLimit(limit=70, per=60, burst=10)
        appointments = open_service(server, clock=LoopClock(), rate_limit=limit)

        async def preview(service: AppointmentService) -> None:
            async for _ in service.preview():
                pass

        tasks = [asyncio.create_task(preview(appointments)) for _ in range(20)]
        await asyncio.sleep(1)
        globex = AppointmentService(appointments.session.for_tenant("globex"))
        started_at = now()
        await preview(globex)
        assert now() - started_at < 0.1
        await asyncio.gather(*tasks)
    times = [time for time, request in zip(arrivals.times, server.requests, strict=True) if "acme" in request.target]
    in_flight = [time for time in times if time < 0.5]
    assert len(in_flight) == 10
    assert len(times) == 21
    assert min(set(times) - set(in_flight)) >= 5
    later = sorted(times)[10:]
    assert [round(after - before, 3) for before, after in itertools.pairwise(later)] == [1.0] * 10


@pytest.mark.parametrize("response", [http(503, Retry_After="5"), http(429, Retry_After="5")])
async def test_throttled_token_request_delays_the_tenant(response: bytes) -> None:
    arrivals = Arrivals(response, http(200, b'{"accessToken":"t","expiresIn":3600}'), FOUND)
    async with HostileServer(arrivals) as server:
        auth = ClientCredentials("id", "secret", clock=LoopClock())
        appointments = open_service(server, auth=auth, clock=LoopClock(0.0), retry=RetryPolicy.none())
        with pytest.raises((RateLimitedError, ServerError)):
            await appointments.get("1")
        await appointments.get("2")
    assert arrivals.times == [0, pytest.approx(5, abs=0.1), pytest.approx(5, abs=0.1)]


async def test_429_without_retry_after_delays_the_tenant_by_the_backoff() -> None:
    arrivals = Arrivals(http(429), FOUND)
    async with HostileServer(arrivals) as server:
        appointments = open_service(server, clock=LoopClock(1.0), retry=RetryPolicy(wait_initial_throttled=3))
        first = asyncio.create_task(appointments.get("1"))
        await asyncio.sleep(1)
        await appointments.get("2")
        await first
        assert arrivals.times == [0, pytest.approx(3, abs=0.1), pytest.approx(3, abs=0.1)]


async def test_429_that_is_not_retried_still_delays_other_calls() -> None:
    arrivals = Arrivals(http(429), FOUND)
    async with HostileServer(arrivals) as server:
        appointments = open_service(server, clock=LoopClock(1.0), retry=RetryPolicy.none())
        with pytest.raises(RateLimitedError):
            await appointments.get("1")
        await appointments.get("2")
        assert arrivals.times == [0, pytest.approx(2, abs=0.1)]


async def test_429_delays_other_calls_by_its_retry_after_only() -> None:
    arrivals = Arrivals(http(429, Retry_After="5"), FOUND)
    async with HostileServer(arrivals) as server:
        policy = RetryPolicy(wait=tenacity.wait_fixed(50))
        appointments = open_service(server, clock=LoopClock(0.0), retry=policy)
        first = asyncio.create_task(appointments.get("1"))
        await asyncio.sleep(1)
        await appointments.get("2")
        await first
        assert arrivals.times == [0, pytest.approx(5, abs=0.1), pytest.approx(50, abs=0.1)]


async def test_503_without_retry_after_delays_only_its_own_call() -> None:
    arrivals = Arrivals(http(503), FOUND)
    async with HostileServer(arrivals) as server:
        appointments = open_service(server, clock=LoopClock(1.0))
        first = asyncio.create_task(appointments.get("1"))
        await asyncio.sleep(1)
        await appointments.get("2")
        assert now() == pytest.approx(1, abs=0.1)
        await first
        assert now() == pytest.approx(2, abs=0.1)


async def test_retry_after_above_the_cap_of_the_policy_still_delays_the_tenant() -> None:
    arrivals = Arrivals(http(503, Retry_After="600"), FOUND)
    async with HostileServer(arrivals) as server:
        appointments = open_service(server, clock=LoopClock(0.0), deadline=math.inf)
        with pytest.raises(ServerError):
            await appointments.get("1")
        await appointments.get("2")
        assert arrivals.times == [0, pytest.approx(600, abs=0.1)]


class RotatingTokens:
    """A custom provider that returns a new token each time."""

    def __init__(self) -> None:
        self.count = 0

    def cached_token(self, tenant: str, send: TokenSend) -> Token:  # noqa: ARG002 - the protocol's parameters
        self.count += 1
        return Token(f"t{self.count}")

    async def token(self, tenant: str, send: TokenSend) -> Token:
        raise AssertionError(tenant, send)

    def invalidate(self, tenant: str, token: Token) -> None: ...


async def test_call_that_waited_for_a_slot_uses_the_newest_token() -> None:
    async with HostileServer(FOUND) as server:
        limit = RateLimit(limit=2, per=60, burst=1)
        appointments = open_service(
            server, auth=RotatingTokens(), clock=LoopClock(), rate_limit=limit, deadline=math.inf
        )
        for _ in range(2):
            await appointments.get("1")
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer t1", "Bearer t3"]


async def test_token_revoked_while_calls_wait_is_renewed_before_their_slots_come() -> None:
    async with Sandbox() as sandbox:
        session = paced_session(sandbox, RateLimit(limit=61, per=60, burst=1))
        appointments = AppointmentService(session, deadline=60)

        async def preview() -> None:
            async for _ in appointments.preview():
                raise AssertionError

        await preview()
        waiting = [asyncio.create_task(preview()) for _ in range(20)]
        await asyncio.sleep(0.5)
        sandbox.revoke_tokens("acme")
        await asyncio.gather(*waiting)
        assert sandbox.log.count(operation="preview", status=401) == 1
        assert sandbox.log.count(operation="token") == 2
        await session.aclose()


async def test_every_request_takes_a_slot() -> None:
    async with Sandbox() as sandbox:
        session = paced_session(sandbox, RateLimit(limit=61, per=60, burst=1), clock=LoopClock(0.0))
        sandbox.faults.script(StatusFault(500), RevokedToken(), operation="preview")
        async for _ in AppointmentService(session).preview():
            raise AssertionError
        # Token, attempt, retry with a revoked token, token (ahead of the slots), replay.
        assert sandbox.log.count() == 5
        assert now() == pytest.approx(4, abs=0.1)
        await session.aclose()


async def elapsed(call: Callable[[], Coroutine[Any, Any, object]]) -> float:
    started_at = now()
    await call()
    return now() - started_at


async def test_sessions_share_a_rate_limit_only_through_a_store() -> None:
    clock = LoopClock()
    limit = RateLimit(limit=61, per=60, burst=1)

    def sessions(server: HostileServer, store: MemoryRateLimitStore | None) -> list[AppointmentService]:
        return [open_service(server, clock=clock, rate_limit=limit, rate_limit_store=store) for _ in range(3)]

    async with HostileServer(FOUND) as server:
        for store, seconds in ((None, 0), (MemoryRateLimitStore(clock), 2)):
            services = sessions(server, store)

            async def all_get(services: list[AppointmentService] = services) -> None:
                await asyncio.gather(*(service.get("1") for service in services))

            assert await elapsed(all_get) == pytest.approx(seconds, abs=0.1)
        one = open_service(server, clock=clock, rate_limit=limit)
        children = [AppointmentService(one.session.for_tenant("acme", StaticToken(name))) for name in "ab"]

        async def get_in_turn() -> None:
            for service in (one, *children):
                await service.get("1")

        assert await elapsed(get_in_turn) == pytest.approx(2, abs=0.1)


async def test_documented_limit_is_the_default() -> None:
    async with limited_sandbox(requests=60, per=60.0, window=LimitWindow.SLIDING) as sandbox:
        auth = ClientCredentials("sandbox", "sandbox-secret", clock=LoopClock())
        async with ConnectorSession(
            sandbox.base_url, tenant_id="acme", auth=auth, clock=LoopClock(), attempt_timeout=NO_TIMEOUT
        ) as session:
            appointments = AppointmentService(session)
            for _ in range(99):
                async for _ in appointments.preview():
                    raise AssertionError
        assert sandbox.log.count(status=429) == 0
        assert now() == pytest.approx((100 - 10) * 60 / 50, abs=0.1)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"rate_limit": 60}, "rate_limit must be a RateLimit, not int"),
        ({"rate_limit": None}, "rate_limit must be a RateLimit, not NoneType"),
        ({"rate_limit_store": Clock()}, "rate_limit_store must be a RateLimitStore, not Clock"),
    ],
)
async def test_invalid_rate_limit_or_store_of_a_session_is_rejected_by_name(options: Any, rule: str) -> None:
    with pytest.raises(TypeError, match=rule):
        ConnectorSession("https://api.example", tenant_id="acme", auth=StaticToken("t"), **options)
