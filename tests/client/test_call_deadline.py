"""The caller's deadline over everything: on an event loop whose time jumps, against a server that hangs or drips."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectorError,
    DeadlineExceededError,
    NewAppointment,
    OutcomeUnknownError,
    RateLimit,
    RequestTimeoutError,
    RetryPolicy,
    Token,
    TokenSend,
)
from tests.support.hostile import HostileServer, hang, http
from tests.support.services import FOUND, IDEMPOTENT, OPERATIONS, call, open_service
from tests.support.virtual_time import LoopClock

pytestmark = pytest.mark.virtual_time


async def elapsed(awaitable: Any) -> tuple[BaseException | None, float]:
    """Return the error that it ends in, and the seconds that it takes."""
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    try:
        await awaitable
    except ConnectorError as error:
        return error, loop.time() - begun_at
    return None, loop.time() - begun_at


def service(server: HostileServer, **options: Any) -> AppointmentService:
    return open_service(server, **{"clock": LoopClock(), **options})


@pytest.mark.parametrize("operation", IDEMPOTENT)
async def test_r12_the_deadline_ends_the_last_attempt_which_gets_the_rest(
    operation: str, draft: NewAppointment
) -> None:
    async with HostileServer(hang) as server:
        error, seconds = await elapsed(
            call(service(server, attempt_timeout=4, clock=LoopClock(0.5)), operation, draft, deadline=10)
        )
        assert len(server.requests) == 3
    assert isinstance(error, DeadlineExceededError)
    assert seconds == pytest.approx(10, abs=0.1)
    assert (error.sent, error.attempts) == (True, 3)
    assert error.elapsed == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("operation", IDEMPOTENT)
async def test_r12_the_deadline_ends_a_single_attempt(operation: str, draft: NewAppointment) -> None:
    async with HostileServer(hang) as server:
        error, seconds = await elapsed(call(service(server), operation, draft, deadline=6.3))
        assert len(server.requests) == 1
    assert isinstance(error, DeadlineExceededError)
    assert isinstance(error, TimeoutError)
    assert seconds == pytest.approx(6.3, abs=0.1)
    assert error.sent is True


async def test_r12_a_wait_that_would_go_beyond_the_deadline_is_not_begun() -> None:
    async with HostileServer(http(503, Retry_After="20")) as server:
        error, seconds = await elapsed(service(server).get("123", deadline=20))
        assert len(server.requests) == 1
    assert isinstance(error, DeadlineExceededError)
    assert (error.status, error.sent, error.attempts) == (503, True, 1)
    assert getattr(error.__cause__, "retry_after", None) == 20
    assert seconds < 0.1


@pytest.mark.parametrize("last", [hang, None], ids=["attempt", "turn"])
async def test_the_deadlines_error_tells_what_failed_before(last: Any) -> None:
    async with HostileServer(http(429, Retry_After="1"), last or FOUND) as server:
        limit = RateLimit(limit=2, per=60, burst=1) if last is None else RateLimit.unlimited()
        error, _ = await elapsed(service(server, rate_limit=limit).get("123", deadline=5))
    assert isinstance(error, DeadlineExceededError)
    assert (error.status, error.attempts, error.sent) == (429, 2, last is not None)
    assert getattr(error.__cause__, "status", None) == 429


async def test_an_attempt_that_ends_before_the_deadline_is_no_end_of_the_call() -> None:
    async with HostileServer(hang, FOUND) as server:
        error, seconds = await elapsed(service(server, attempt_timeout=4).get("123", deadline=10))
    assert error is None
    assert seconds == pytest.approx(4.5, abs=0.1)


async def test_attempts_that_are_used_up_end_in_their_own_error_and_not_in_the_deadlines() -> None:
    async with HostileServer(hang) as server:
        error, _ = await elapsed(
            service(server, attempt_timeout=4).get("123", deadline=10, retry=RetryPolicy(attempts=2))
        )
    assert isinstance(error, RequestTimeoutError)
    assert error.attempts == 2


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_r13_a_turn_under_the_rate_limit_after_the_deadline_is_refused_at_once(
    operation: str, draft: NewAppointment
) -> None:
    async with HostileServer(FOUND) as server:
        limited = service(server, rate_limit=RateLimit(limit=2, per=60, burst=1))
        await limited.get("123")
        error, seconds = await elapsed(call(limited, operation, draft, deadline=59))
        assert len(server.requests) == 1
        assert isinstance(error, DeadlineExceededError)
        assert (error.sent, error.attempts) == (False, 1)
        assert seconds == 0
        assert (await elapsed(limited.get("123", deadline=61)))[1] == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize("deadline", [3, 6.3])  # above 5 s aiohttp rounds up to whole ones, unless told otherwise
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_r13_a_deadline_that_comes_in_the_pool_is_in_time(
    operation: str, deadline: float, draft: NewAppointment
) -> None:
    async with HostileServer(hang) as server:
        busy = service(server, pool_size=1)
        holding = asyncio.create_task(busy.get("1"))
        while not server.requests:
            await asyncio.sleep(0.001)
        error, seconds = await elapsed(call(busy, operation, draft, deadline=deadline, retry=RetryPolicy.none()))
        assert len(server.requests) == 1
        assert isinstance(error, DeadlineExceededError)
        assert (error.sent, error.attempts) == (False, 1)
        assert seconds == pytest.approx(deadline, abs=0.1)
        holding.cancel()
        await asyncio.wait([holding])


class Slow:
    """A provider of the user's own, whose tokens take for ever."""

    async def token(self, tenant: str, send: TokenSend) -> Token:
        await asyncio.sleep(3_600)
        raise AssertionError(tenant, send)

    def invalidate(self, tenant: str, token: Token) -> None: ...


@pytest.mark.parametrize("provider", [lambda: ClientCredentials("id", "secret", clock=LoopClock()), Slow])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_r13_a_deadline_that_comes_while_a_token_is_fetched_is_in_time(
    operation: str, provider: Callable[[], Any], draft: NewAppointment
) -> None:
    async with HostileServer(hang) as server:
        error, seconds = await elapsed(call(service(server, auth=provider()), operation, draft, deadline=3))
        assert not [request for request in server.requests if not request.target.endswith("token")]
    assert isinstance(error, DeadlineExceededError)
    assert (error.sent, error.attempts) == (False, 1)
    assert seconds == pytest.approx(3, abs=0.1)


async def test_a_timeout_of_the_tokens_own_request_is_not_taken_for_the_deadline() -> None:
    async with HostileServer(hang) as server:
        auth = ClientCredentials("id", "secret", clock=LoopClock())
        error, seconds = await elapsed(
            service(server, auth=auth, attempt_timeout=2).get("123", deadline=60, retry=RetryPolicy.none())
        )
    assert isinstance(error, RequestTimeoutError)
    assert error.sent is False
    assert seconds == pytest.approx(2, abs=0.1)


async def test_a_fetch_goes_on_for_others_when_a_callers_deadline_comes() -> None:
    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)
        writer.write(http(200, b'{"accessToken":"t","expiresIn":3600}'))

    async with HostileServer(late, FOUND) as server:
        appointments = service(server, auth=ClientCredentials("id", "secret", clock=LoopClock()))
        (hasty, hasty_seconds), (patient, patient_seconds) = await asyncio.gather(
            elapsed(appointments.get("1", deadline=3)), elapsed(appointments.get("2"))
        )
        assert server.requests[0].target == "/acme/authentication/token"
        assert len(server.requests) == 2
    assert isinstance(hasty, DeadlineExceededError)
    assert patient is None
    assert [hasty_seconds, patient_seconds] == [pytest.approx(3, abs=0.1), pytest.approx(5, abs=0.1)]


async def test_r17_a_byte_now_and_then_does_not_prolong_an_attempt_nor_a_call() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, length=1_000_000))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with HostileServer(drip) as server:
        error, seconds = await elapsed(service(server, attempt_timeout=1).get("123", retry=RetryPolicy.none()))
        assert isinstance(error, RequestTimeoutError)
        assert seconds == pytest.approx(1, abs=0.2)
        error, seconds = await elapsed(service(server).get("123", deadline=1.5))
        assert isinstance(error, DeadlineExceededError)
        assert seconds == pytest.approx(1.5, abs=0.2)


async def test_r18_a_deadline_that_comes_while_a_create_is_in_flight_leaves_its_outcome_open(
    draft: NewAppointment,
) -> None:
    async with HostileServer(hang) as server:
        error, seconds = await elapsed(service(server).create(draft, deadline=6.3))
        assert len(server.requests) == 1
    assert isinstance(error, OutcomeUnknownError)
    assert isinstance(error.__cause__, DeadlineExceededError)
    assert (error.sent, error.status, error.attempts) == (True, None, 1)
    assert seconds == pytest.approx(6.3, abs=0.1)


async def test_a_create_that_was_refused_before_the_deadline_has_not_happened(draft: NewAppointment) -> None:
    async with HostileServer(http(429, Retry_After="20")) as server:
        error, _ = await elapsed(service(server).create(draft, deadline=5))
        assert len(server.requests) == 1
    assert isinstance(error, DeadlineExceededError)
    assert error.status == 429


async def test_the_nearest_deadline_is_the_calls_then_that_of_the_options_then_the_services_then_the_sessions() -> None:
    async with HostileServer(hang) as server:
        of_session = service(server, deadline=8, attempt_timeout=100)
        of_service = AppointmentService(of_session.session, deadline=7, retry=RetryPolicy.none())
        of_options = of_service.with_options(deadline=6)
        none = of_options.with_options(deadline=math.inf)
        took = [
            (await elapsed(chosen.get("123", **options)))[1]
            for chosen, options in (
                (of_session, {}),
                (of_service, {}),
                (of_service.with_options(), {}),
                (of_options, {}),
                (of_options, {"deadline": 5}),
                (none, {}),
                (of_session, {"deadline": math.inf, "retry": RetryPolicy.none()}),
            )
        ]
    assert took == [pytest.approx(seconds, abs=0.1) for seconds in (8, 7, 7, 6, 5, 100, 100)]


@pytest.mark.parametrize("value", [0, -1, float("nan"), "5", True])
async def test_a_deadline_is_a_number_above_zero(value: Any, draft: NewAppointment) -> None:
    async with HostileServer(FOUND) as server:
        appointments = service(server)
        for operation in OPERATIONS:
            with pytest.raises((ValueError, TypeError), match="deadline must be"):
                await call(appointments, operation, draft, deadline=value)
        with pytest.raises((ValueError, TypeError), match="deadline must be"):
            appointments.with_options(deadline=value)
        with pytest.raises((ValueError, TypeError), match="deadline must be"):
            service(server, deadline=value)
        assert server.requests == []


@pytest.fixture
async def hanging() -> AsyncIterator[HostileServer]:
    async with HostileServer(hang) as server:
        yield server


async def test_r14_a_call_cancelled_while_it_waits_to_try_again_ends_at_once() -> None:
    async with HostileServer(http(503, Retry_After="100"), FOUND) as server:
        appointments = service(server, clock=LoopClock(0.0), deadline=math.inf)
        task = asyncio.create_task(appointments.get("123"))
        await asyncio.sleep(50)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(server.requests) == 1
        assert (await elapsed(appointments.get("123")))[1] == pytest.approx(50, abs=0.1)  # the penalty's rest


async def test_r14_a_call_cancelled_in_the_limiter_gives_its_turn_back() -> None:
    async with HostileServer(FOUND) as server:
        appointments = service(server, rate_limit=RateLimit(limit=2, per=60, burst=1))
        await appointments.get("1")
        task = asyncio.create_task(appointments.get("2"))
        await asyncio.sleep(30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await elapsed(appointments.get("3")))[1] == pytest.approx(30, abs=0.1)
        assert len(server.requests) == 2


async def test_r14_a_call_cancelled_while_it_fetches_a_token_ends_at_once(hanging: HostileServer) -> None:
    appointments = service(hanging, auth=ClientCredentials("id", "secret", clock=LoopClock()))
    task = asyncio.create_task(appointments.get("1"))
    while not hanging.requests:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await appointments.session.aclose()


async def test_r14_a_call_cancelled_with_a_deadline_is_cancelled_and_not_late(hanging: HostileServer) -> None:
    for auth in (None, ClientCredentials("id", "secret", clock=LoopClock())):
        appointments = service(hanging, **({} if auth is None else {"auth": auth}))
        task = asyncio.create_task(appointments.get("1", deadline=10))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await appointments.session.aclose()
