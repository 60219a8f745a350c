"""The deadline of a call, with servers that hang or send slowly, on the virtual-time event loop."""

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
from tests.support.services import FOUND, IDEMPOTENT, OPERATIONS, TOKEN_RESPONSE, call, open_service
from tests.support.virtual_time import LoopClock

pytestmark = pytest.mark.virtual_time


async def elapsed(awaitable: Any) -> tuple[BaseException | None, float]:
    """Return the error that an awaitable raises, and the seconds that it takes."""
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    try:
        await awaitable
    except ConnectorError as error:
        return error, loop.time() - started_at
    return None, loop.time() - started_at


def service(server: HostileServer, **options: Any) -> AppointmentService:
    return open_service(server, **{"clock": LoopClock(), **options})


@pytest.mark.row("R12")
@pytest.mark.parametrize("operation", IDEMPOTENT)
async def test_deadline_ends_the_last_attempt_which_gets_the_rest(operation: str, draft: NewAppointment) -> None:
    async with HostileServer(hang) as server:
        error, seconds = await elapsed(
            call(service(server, attempt_timeout=4, clock=LoopClock(0.5)), operation, draft, deadline=10)
        )
        assert len(server.requests) == 3
    assert isinstance(error, DeadlineExceededError)
    assert seconds == pytest.approx(10, abs=0.1)
    assert (error.sent, error.attempts) == (True, 3)
    assert error.elapsed == pytest.approx(10, abs=0.1)


@pytest.mark.row("R12")
@pytest.mark.parametrize("operation", IDEMPOTENT)
async def test_deadline_ends_a_single_attempt(operation: str, draft: NewAppointment) -> None:
    async with HostileServer(hang) as server:
        error, seconds = await elapsed(call(service(server), operation, draft, deadline=6.3))
        assert len(server.requests) == 1
    assert isinstance(error, DeadlineExceededError)
    assert isinstance(error, TimeoutError)
    assert seconds == pytest.approx(6.3, abs=0.1)
    assert error.sent is True


@pytest.mark.row("R12")
async def test_wait_that_would_end_after_the_deadline_is_not_started() -> None:
    async with HostileServer(http(503, Retry_After="20")) as server:
        error, seconds = await elapsed(service(server).get("123", deadline=20))
        assert len(server.requests) == 1
    assert isinstance(error, DeadlineExceededError)
    assert (error.status, error.sent, error.attempts) == (503, True, 1)
    assert getattr(error.__cause__, "retry_after", None) == 20
    assert seconds < 0.1


@pytest.mark.parametrize("last", [hang, None], ids=["attempt", "slot"])
async def test_deadline_error_has_the_failure_before_it(last: Any) -> None:
    async with HostileServer(http(429, Retry_After="1"), last or FOUND) as server:
        limit = RateLimit(limit=2, per=60, burst=1) if last is None else RateLimit.unlimited()
        error, _ = await elapsed(service(server, rate_limit=limit).get("123", deadline=5))
    assert isinstance(error, DeadlineExceededError)
    assert (error.status, error.attempts, error.sent) == (429, 2, last is not None)
    assert getattr(error.__cause__, "status", None) == 429


async def test_attempt_that_times_out_before_the_deadline_is_retried() -> None:
    async with HostileServer(hang, FOUND) as server:
        error, seconds = await elapsed(service(server, attempt_timeout=4).get("123", deadline=10))
    assert error is None
    assert seconds == pytest.approx(4.5, abs=0.1)


async def test_last_attempt_that_times_out_before_the_deadline_raises_its_own_error() -> None:
    async with HostileServer(hang) as server:
        error, _ = await elapsed(
            service(server, attempt_timeout=4).get("123", deadline=10, retry=RetryPolicy(attempts=2))
        )
    assert isinstance(error, RequestTimeoutError)
    assert error.attempts == 2


@pytest.mark.row("R13")
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_call_with_a_slot_after_its_deadline_ends_at_once(operation: str, draft: NewAppointment) -> None:
    async with HostileServer(FOUND) as server:
        limited = service(server, rate_limit=RateLimit(limit=2, per=60, burst=1))
        await limited.get("123")
        error, seconds = await elapsed(call(limited, operation, draft, deadline=59))
        assert len(server.requests) == 1
        assert isinstance(error, DeadlineExceededError)
        assert (error.sent, error.attempts) == (False, 1)
        assert seconds == 0
        assert (await elapsed(limited.get("123", deadline=61)))[1] == pytest.approx(60, abs=0.1)


@pytest.mark.row("R13")
@pytest.mark.parametrize(
    ("operation", "deadline"),
    # By default aiohttp rounds timeouts above 5 s up to whole seconds.
    [("get", 3), ("get", 6.3), ("create", 3), ("create", 6.3), ("update", 6.3), ("delete", 6.3), ("preview", 6.3)],
)
async def test_deadline_ends_a_wait_for_a_connection_on_time(
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


class SlowProvider:
    """A custom provider that takes an hour for a token."""

    async def token(self, tenant: str, send: TokenSend) -> Token:
        await asyncio.sleep(3_600)
        raise AssertionError(tenant, send)

    def invalidate(self, tenant: str, token: Token) -> None: ...


def credentials() -> ClientCredentials:
    return ClientCredentials("id", "secret", clock=LoopClock())


@pytest.mark.row("R13")
@pytest.mark.parametrize(
    ("operation", "provider"), [*((operation, credentials) for operation in OPERATIONS), ("get", SlowProvider)]
)
async def test_deadline_ends_a_token_fetch_on_time(
    operation: str, provider: Callable[[], Any], draft: NewAppointment
) -> None:
    async with HostileServer(hang) as server:
        error, seconds = await elapsed(call(service(server, auth=provider()), operation, draft, deadline=3))
        assert not [request for request in server.requests if not request.target.endswith("token")]
    assert isinstance(error, DeadlineExceededError)
    assert (error.sent, error.attempts) == (False, 1)
    assert seconds == pytest.approx(3, abs=0.1)


async def test_timeout_of_the_token_request_is_not_taken_for_the_deadline() -> None:
    async with HostileServer(hang) as server:
        error, seconds = await elapsed(
            service(server, auth=credentials(), attempt_timeout=2).get("123", deadline=60, retry=RetryPolicy.none())
        )
    assert isinstance(error, RequestTimeoutError)
    assert error.sent is False
    assert seconds == pytest.approx(2, abs=0.1)


async def test_token_fetch_continues_for_others_after_the_deadline_of_one_caller() -> None:
    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)
        writer.write(TOKEN_RESPONSE)

    async with HostileServer(late, FOUND) as server:
        appointments = service(server, auth=credentials())
        (hasty, hasty_seconds), (patient, patient_seconds) = await asyncio.gather(
            elapsed(appointments.get("1", deadline=3)), elapsed(appointments.get("2"))
        )
        assert server.requests[0].target == "/acme/authentication/token"
        assert len(server.requests) == 2
    assert isinstance(hasty, DeadlineExceededError)
    assert patient is None
    assert [hasty_seconds, patient_seconds] == [pytest.approx(3, abs=0.1), pytest.approx(5, abs=0.1)]


@pytest.mark.row("R17")
async def test_slow_bytes_prolong_neither_an_attempt_nor_a_call() -> None:
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


@pytest.mark.row("R18")
async def test_deadline_of_a_create_in_flight_leaves_its_outcome_unknown(
    draft: NewAppointment,
) -> None:
    async with HostileServer(hang) as server:
        error, seconds = await elapsed(service(server).create(draft, deadline=6.3))
        assert len(server.requests) == 1
    assert isinstance(error, OutcomeUnknownError)
    assert isinstance(error.__cause__, DeadlineExceededError)
    assert (error.sent, error.status, error.attempts) == (True, None, 1)
    assert seconds == pytest.approx(6.3, abs=0.1)


async def test_create_that_was_refused_before_the_deadline_has_not_happened(draft: NewAppointment) -> None:
    async with HostileServer(http(429, Retry_After="20")) as server:
        error, _ = await elapsed(service(server).create(draft, deadline=5))
        assert len(server.requests) == 1
    assert isinstance(error, DeadlineExceededError)
    assert error.status == 429


async def test_deadline_of_call_options_service_and_session_take_precedence_in_this_order() -> None:
    async with HostileServer(hang) as server:
        by_session = service(server, deadline=8, attempt_timeout=100)
        by_service = AppointmentService(by_session.session, deadline=7, retry=RetryPolicy.none())
        by_options = by_service.with_options(deadline=6)
        unlimited = by_options.with_options(deadline=math.inf)
        durations = [
            (await elapsed(chosen.get("123", **options)))[1]
            for chosen, options in (
                (by_session, {}),
                (by_service, {}),
                (by_service.with_options(), {}),
                (by_options, {}),
                (by_options, {"deadline": 5}),
                (unlimited, {}),
                (by_session, {"deadline": math.inf, "retry": RetryPolicy.none()}),
            )
        ]
    assert durations == [pytest.approx(seconds, abs=0.1) for seconds in (8, 7, 7, 6, 5, 100, 100)]


@pytest.mark.parametrize("value", [0, -1, float("nan"), "5", True])
async def test_invalid_deadline_is_rejected(value: Any, draft: NewAppointment) -> None:
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


@pytest.mark.row("R14")
async def test_call_cancelled_while_it_waits_for_a_retry_ends_at_once() -> None:
    async with HostileServer(http(503, Retry_After="100"), FOUND) as server:
        appointments = service(server, clock=LoopClock(0.0), deadline=math.inf)
        task = asyncio.create_task(appointments.get("123"))
        await asyncio.sleep(50)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(server.requests) == 1
        assert (await elapsed(appointments.get("123")))[1] == pytest.approx(50, abs=0.1)  # the rest of the penalty


@pytest.mark.row("R14")
@pytest.mark.row("L3")
async def test_call_cancelled_while_it_waits_for_a_slot_gives_the_slot_back() -> None:
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


@pytest.mark.row("R14")
async def test_call_cancelled_while_it_fetches_a_token_ends_at_once(hanging: HostileServer) -> None:
    appointments = service(hanging, auth=credentials())
    task = asyncio.create_task(appointments.get("1"))
    while not hanging.requests:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await appointments.session.aclose()


@pytest.mark.row("R14")
async def test_call_cancelled_before_its_deadline_raises_the_cancellation(hanging: HostileServer) -> None:
    for options in ({}, {"auth": credentials()}):
        appointments = service(hanging, **options)
        task = asyncio.create_task(appointments.get("1", deadline=10))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await appointments.session.aclose()
