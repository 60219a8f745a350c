"""Calls under a rate limit, against the sandbox that counts, on an event loop whose time jumps."""

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
from tests.support.virtual_time import LoopClock

pytestmark = pytest.mark.virtual_time

# The sandbox's storage has a thread: when it is slow, time jumps although an answer is on its way.
AGES = 100_000


def now() -> float:
    return asyncio.get_running_loop().time()


class Arrivals:
    """Answers each request with the next of its answers, and notes when it came."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.moments: list[float] = []

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.moments.append(now())
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


def paced_session(sandbox: Sandbox, limit: RateLimit, clock: LoopClock | None = None) -> ConnectorSession:
    return ConnectorSession(
        sandbox.base_url,
        tenant_id="acme",
        auth=ClientCredentials("sandbox", "sandbox-secret", clock=LoopClock()),
        attempt_timeout=AGES,
        rate_limit=limit,
        clock=clock or LoopClock(),
    )


def limited_sandbox(**limit: Any) -> Sandbox:
    return Sandbox(limit=SandboxLimit(**limit), monotonic=now)


@pytest.mark.parametrize("window", list(LimitWindow), ids=str)
async def test_l1_the_pace_is_that_of_the_api_and_nothing_is_refused(
    window: LimitWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    jitter = random.Random(7)
    async with limited_sandbox(requests=60, per=60.0, window=window) as sandbox:
        session = paced_session(sandbox, RateLimit(limit=60, per=60, burst=1))
        send = session._state.transport.send

        async def late(*args: Any) -> Any:
            await asyncio.sleep(jitter.random())
            return await send(*args)

        monkeypatch.setattr(session._state.transport, "send", late)
        appointments = AppointmentService(session, retry=RetryPolicy.none())
        numbers = iter(range(299))

        async def work() -> None:
            for _ in numbers:
                async for _ in appointments.preview():
                    raise AssertionError

        await asyncio.gather(*(work() for _ in range(20)))
        assert sandbox.log.count(status=200) == sandbox.log.count() == 300  # the token's request is one of them
        assert now() == pytest.approx(300 / 59 * 60, rel=0.02)
        assert session.traffic.requests == 300
        assert now() < session.traffic.waited < 20 * now()  # added up over twenty tasks
        await session.aclose()


async def test_l2_after_a_429_nobody_sends_for_as_long_as_it_says_and_another_tenant_goes_on() -> None:
    answer = Arrivals(PREVIEW, PREVIEW, http(429, Retry_After="5"), PREVIEW)
    async with HostileServer(answer) as server, HostileServer(Arrivals(PREVIEW)) as other:
        limit = RateLimit(limit=70, per=60, burst=10)
        appointments = open_service(server, clock=LoopClock(), rate_limit=limit)

        async def preview(service: AppointmentService) -> None:
            async for _ in service.preview():
                pass

        tasks = [asyncio.create_task(preview(appointments)) for _ in range(20)]
        await asyncio.sleep(1)
        elsewhere = AppointmentService(appointments.session.for_tenant("globex"))
        begun_at = now()
        await preview(elsewhere)
        assert now() - begun_at < 0.1
        await asyncio.gather(*tasks)
        assert other.requests == []
    moments = [
        moment for moment, request in zip(answer.moments, server.requests, strict=True) if "acme" in request.target
    ]
    in_flight = [moment for moment in moments if moment < 0.5]
    assert len(in_flight) == 10
    assert len(moments) == 21
    assert min(set(moments) - set(in_flight)) >= 5
    later = sorted(moments)[10:]
    assert [round(after - before, 3) for before, after in itertools.pairwise(later)] == [1.0] * 10


@pytest.mark.parametrize("answer", [http(503, Retry_After="5"), http(429, Retry_After="5")])
async def test_a_refusal_of_a_tokens_request_holds_the_tenant_back(answer: bytes) -> None:
    arrivals = Arrivals(answer, http(200, b'{"accessToken":"t","expiresIn":3600}'), FOUND)
    async with HostileServer(arrivals) as server:
        auth = ClientCredentials("id", "secret", clock=LoopClock())
        appointments = open_service(server, auth=auth, clock=LoopClock(0.0), retry=RetryPolicy.none())
        with pytest.raises((RateLimitedError, ServerError)):
            await appointments.get("1")
        await appointments.get("2")
    assert arrivals.moments == [0, pytest.approx(5, abs=0.1), pytest.approx(5, abs=0.1)]


async def test_a_429_that_does_not_say_for_how_long_holds_the_tenant_back_for_the_computed_wait() -> None:
    arrivals = Arrivals(http(429), FOUND)
    async with HostileServer(arrivals) as server:
        appointments = open_service(server, clock=LoopClock(1.0), retry=RetryPolicy(wait_initial_throttled=3))
        first = asyncio.create_task(appointments.get("1"))
        await asyncio.sleep(1)
        await appointments.get("2")
        await first
        assert arrivals.moments == [0, pytest.approx(3, abs=0.1), pytest.approx(3, abs=0.1)]


async def test_a_429_that_is_not_tried_again_holds_the_others_back_all_the_same() -> None:
    arrivals = Arrivals(http(429), FOUND)
    async with HostileServer(arrivals) as server:
        appointments = open_service(server, clock=LoopClock(1.0), retry=RetryPolicy.none())
        with pytest.raises(RateLimitedError):
            await appointments.get("1")
        await appointments.get("2")
        assert arrivals.moments == [0, pytest.approx(2, abs=0.1)]


async def test_a_429_that_says_for_how_long_holds_the_others_back_no_longer_than_that() -> None:
    arrivals = Arrivals(http(429, Retry_After="5"), FOUND)
    async with HostileServer(arrivals) as server:
        policy = RetryPolicy(wait=tenacity.wait_fixed(50))
        appointments = open_service(server, clock=LoopClock(0.0), retry=policy)
        first = asyncio.create_task(appointments.get("1"))
        await asyncio.sleep(1)
        await appointments.get("2")
        await first
        assert arrivals.moments == [0, pytest.approx(5, abs=0.1), pytest.approx(50, abs=0.1)]


async def test_a_503_that_does_not_say_for_how_long_holds_back_its_own_call_alone() -> None:
    arrivals = Arrivals(http(503), FOUND)
    async with HostileServer(arrivals) as server:
        appointments = open_service(server, clock=LoopClock(1.0))
        first = asyncio.create_task(appointments.get("1"))
        await asyncio.sleep(1)
        await appointments.get("2")
        assert now() == pytest.approx(1, abs=0.1)
        await first
        assert now() == pytest.approx(2, abs=0.1)


async def test_a_wait_above_the_cap_of_the_policy_still_holds_the_tenant_back() -> None:
    arrivals = Arrivals(http(503, Retry_After="600"), FOUND)
    async with HostileServer(arrivals) as server:
        appointments = open_service(server, clock=LoopClock(0.0), deadline=math.inf)
        with pytest.raises(ServerError):
            await appointments.get("1")
        await appointments.get("2")
        assert arrivals.moments == [0, pytest.approx(600, abs=0.1)]


class Rotating:
    """A provider of the user's own that has a new token at hand each time."""

    def __init__(self) -> None:
        self.given = 0

    def cached_token(self, tenant: str, send: TokenSend) -> Token:  # noqa: ARG002 - the protocol's parameters
        self.given += 1
        return Token(f"t{self.given}")

    async def token(self, tenant: str, send: TokenSend) -> Token:
        raise AssertionError(tenant, send)

    def invalidate(self, tenant: str, token: Token) -> None: ...


async def test_after_its_turn_a_call_takes_the_token_that_is_then_at_hand() -> None:
    async with HostileServer(FOUND) as server:
        limit = RateLimit(limit=2, per=60, burst=1)
        appointments = open_service(server, auth=Rotating(), clock=LoopClock(), rate_limit=limit, deadline=math.inf)
        for _ in range(2):
            await appointments.get("1")
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer t1", "Bearer t3"]


async def test_a_token_that_is_refused_while_others_wait_is_renewed_before_their_turns_come() -> None:
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


async def test_everything_that_is_sent_takes_a_turn() -> None:
    async with Sandbox() as sandbox:
        session = paced_session(sandbox, RateLimit(limit=61, per=60, burst=1), clock=LoopClock(0.0))
        sandbox.faults.script(StatusFault(500), RevokedToken(), operation="preview")
        async for _ in AppointmentService(session).preview():
            raise AssertionError
        # A token, an attempt, its retry with a refused token, another token, the replay; the second token goes ahead.
        assert sandbox.log.count() == 5
        assert now() == pytest.approx(4, abs=0.1)
        await session.aclose()


async def elapsed(call: Callable[[], Coroutine[Any, Any, object]]) -> float:
    begun_at = now()
    await call()
    return now() - begun_at


async def test_sessions_keep_a_pace_each_or_one_together_when_they_share_a_store() -> None:
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


async def test_the_documented_limit_is_kept_unless_another_one_is_told() -> None:
    async with limited_sandbox(requests=60, per=60.0, window=LimitWindow.SLIDING) as sandbox:
        auth = ClientCredentials("sandbox", "sandbox-secret", clock=LoopClock())
        async with ConnectorSession(
            sandbox.base_url, tenant_id="acme", auth=auth, clock=LoopClock(), attempt_timeout=AGES
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
async def test_a_bad_limit_or_store_is_refused_by_name(options: Any, rule: str) -> None:
    with pytest.raises(TypeError, match=rule):
        ConnectorSession("https://api.example", tenant_id="acme", auth=StaticToken("t"), **options)
