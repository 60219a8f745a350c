"""Which calls are retried, with a real server that counts its requests."""

import asyncio
import contextvars
import logging
import math
import socket
from typing import Any

import aiohttp
import pytest
import tenacity
from aiohttp.abc import AbstractResolver, ResolveResult

from connector_async import (
    AuthenticationError,
    ClientCredentials,
    Clock,
    ConnectFailedError,
    ConnectorError,
    NewAppointment,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseError,
    RetryDetails,
    RetryPolicy,
    ServerError,
    StaticToken,
    Token,
    TokenSend,
    TransportError,
    last_call,
)
from connector_async.retry import retry_if_transient, stop_above_retry_after
from tests.conftest import ManualClock
from tests.support.hostile import Expiring, HostileServer, ScriptedResponse, drop, hang, http
from tests.support.services import CREATED, FOUND, IDEMPOTENT, OPERATIONS, PREVIEW, TOKEN_RESPONSE, call, open_service


def success(operation: str) -> bytes:
    return {"preview": PREVIEW, "create": CREATED}.get(operation, FOUND)


@pytest.mark.row("R1")
async def test_get_succeeds_with_the_third_attempt_after_two_503(clock: ManualClock) -> None:
    async with HostileServer(http(503), http(503), FOUND) as server:
        await open_service(server, clock=clock).get("123")
        assert len(server.requests) == 3
    record = last_call.get()
    assert (record.operation, record.attempts, record.elapsed, record.request_id) == ("get", 3, 6.0, "r-1")
    assert clock.sleeps == [2.0, 4.0]


@pytest.mark.row("R2")
@pytest.mark.parametrize("operation", IDEMPOTENT)
async def test_attempt_is_one_request_when_the_connection_is_always_dropped(
    operation: str, draft: NewAppointment, clock: ManualClock
) -> None:
    async with HostileServer(success(operation), drop) as server:
        service = open_service(server, clock=clock)
        await call(service, operation, draft)  # aiohttp repeats only on a reused connection
        with pytest.raises(TransportError) as caught:
            await call(service, operation, draft)
        assert len(server.requests) == 1 + 3
    assert (caught.value.attempts, caught.value.sent, caught.value.elapsed) == (3, True, 1.5)
    assert clock.sleeps == [0.5, 1.0]


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        *(("get", status) for status in (408, 429, 500, 502, 503, 504)),
        ("update", 500),
        ("delete", 502),
        ("preview", 504),
    ],
)
async def test_transient_status_is_retried(operation: str, status: int, draft: NewAppointment) -> None:
    async with HostileServer(http(status), success(operation)) as server:
        await call(open_service(server), operation, draft)
        assert len(server.requests) == 2


@pytest.mark.row("R7")
@pytest.mark.parametrize(
    ("operation", "status"),
    [
        *(("get", status) for status in (400, 403, 404, 409, 410, 412, 422, 501, 505, 301, 307)),
        *(("create", status) for status in (400, 403, 404, 409, 410, 412, 422, 501, 505, 301, 307)),
        *(("update", 409), ("update", 501), ("delete", 404), ("delete", 307), ("preview", 403), ("preview", 505)),
    ],
)
async def test_permanent_status_is_not_retried(
    operation: str, status: int, draft: NewAppointment, clock: ManualClock
) -> None:
    async with HostileServer(http(status)) as server:
        with pytest.raises(ConnectorError) as caught:
            await call(open_service(server, clock=clock), operation, draft)
        assert len(server.requests) == 1
    assert caught.value.attempts == 1
    assert clock.sleeps == []


@pytest.mark.row("R5")
@pytest.mark.parametrize("status", [500, 502, 503, 504, 507, 520])
async def test_create_is_not_retried_if_its_status_leaves_the_outcome_unknown(
    status: int, draft: NewAppointment
) -> None:
    async with HostileServer(http(status), CREATED) as server:
        with pytest.raises(OutcomeUnknownError) as caught:
            await open_service(server).create(draft)
        assert len(server.requests) == 1
    assert (caught.value.status, caught.value.sent, caught.value.absent) == (status, True, False)


@pytest.mark.row("R5")
@pytest.mark.parametrize("response", [http(429), http(429, Retry_After="5"), http(503, Retry_After="5")])
async def test_create_that_was_refused_by_throttling_is_retried(response: bytes, draft: NewAppointment) -> None:
    async with HostileServer(response, response, CREATED) as server:
        assert (await open_service(server).create(draft)).appointment_id == "123"
        assert len(server.requests) == 3


@pytest.mark.row("R5")
async def test_policy_decides_whether_503_with_retry_after_refuses_a_create(draft: NewAppointment) -> None:
    policy = RetryPolicy(unavailable_means_refused=False)
    async with HostileServer(http(503, Retry_After="5"), CREATED) as server:
        with pytest.raises(OutcomeUnknownError):
            await open_service(server, retry=policy).create(draft)
        with pytest.raises(OutcomeUnknownError):
            async with HostileServer(http(503, Retry_After="5")) as other:
                await open_service(other).create(draft, retry=policy)
        assert len(server.requests) == 1


class ConnectCounter:
    """Counts the connections that a borrowed aiohttp session starts to open."""

    def __init__(self, **connector: Any) -> None:
        self.count = 0
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(self._count)
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(**connector), trace_configs=[trace], cookie_jar=aiohttp.DummyCookieJar()
        )

    async def _count(self, *_: object) -> None:
        self.count += 1


class FailingResolver(AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        raise OSError(f"{host}:{port} is unknown ({family})")

    async def close(self) -> None: ...


@pytest.mark.row("R4")
async def test_create_is_retried_if_the_connection_is_refused(draft: NewAppointment) -> None:
    async with HostileServer(hang) as server:
        base_url = server.base_url
    counter = ConnectCounter()
    async with counter.session:
        with pytest.raises(ConnectFailedError) as caught:
            await open_service(base_url, session=counter.session).create(draft)
    assert counter.count == 3
    assert (caught.value.attempts, caught.value.sent) == (3, False)


@pytest.mark.row("R4")
async def test_create_is_retried_if_the_host_has_no_address(draft: NewAppointment) -> None:
    counter = ConnectCounter(resolver=FailingResolver())
    async with counter.session:
        service = open_service("http://api.example", session=counter.session, allow_http=True)
        with pytest.raises(ConnectFailedError):
            await service.create(draft)
    assert counter.count == 3


@pytest.mark.row("R4")
async def test_create_is_retried_if_connecting_times_out(draft: NewAppointment) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        queued = [socket.socket() for _ in range(3)]
        try:
            for waiting in queued:  # fills the listener's backlog, so that further connects get no response
                waiting.settimeout(0)
                waiting.connect_ex(address)
            counter = ConnectCounter()
            async with counter.session:
                service = open_service(f"http://127.0.0.1:{address[1]}", session=counter.session, connect_timeout=0.02)
                with pytest.raises(RequestTimeoutError) as caught:
                    await service.create(draft)
        finally:
            for waiting in queued:
                waiting.close()
    assert counter.count == 3
    assert (caught.value.attempts, caught.value.sent) == (3, False)


@pytest.mark.row("R6")
@pytest.mark.parametrize("lost", [drop, http(500), http(504)], ids=["drop", "500", "504"])
async def test_delete_succeeds_if_404_follows_a_lost_response(lost: ScriptedResponse) -> None:
    async with HostileServer(lost, http(404)) as server:
        await open_service(server).delete("123")
        assert len(server.requests) == 2


@pytest.mark.row("R6")
@pytest.mark.parametrize("refused", [http(429), http(408), http(503, Retry_After="1")])
async def test_delete_fails_if_404_follows_a_refusal(refused: bytes) -> None:
    async with HostileServer(refused, http(404)) as server:
        with pytest.raises(NotFoundError) as caught:
            await open_service(server).delete("123")
    assert caught.value.attempts == 2


@pytest.mark.row("R6")
async def test_delete_succeeds_if_404_follows_a_lost_response_and_a_refusal() -> None:
    async with HostileServer(drop, http(429), http(404, X_Request_Id="r-3")) as server:
        await open_service(server).delete("123")
    record = last_call.get()
    assert (record.attempts, record.request_id) == (3, "r-3")


@pytest.mark.row("R6")
async def test_lost_response_of_one_delete_does_not_affect_the_next() -> None:
    async with HostileServer(drop, http(404)) as server:
        service = open_service(server)
        await service.delete("123")
        with pytest.raises(NotFoundError):
            await service.delete("123")


BACKOFF = 2.0
JITTER = 1.1  # as the clock draws it
RETRY_AFTER = {
    "20": 20 * JITTER,
    "120": 120 * JITTER,
    "121": None,
    "Tue, 14 Nov 2023 22:13:40 GMT": 20 * JITTER,  # 20 s after the clock's time
    "Tue, 14 Nov 2023 22:13:20 GMT": BACKOFF,
    "Tue, 14 Nov 2023 22:00:00 GMT": BACKOFF,
    "Fri, 31 Dec 9999 23:59:59 GMT": None,
    "Fri, 31 Dec 100000 23:59:59 GMT": BACKOFF,
    "Tue, 99 Nov 2023 22:13:40 GMT": BACKOFF,
    **dict.fromkeys(["0", "-10", "inf", "nan", "", "soon", "1,120", "+5", "1_0", "٣", "1e3"], BACKOFF),
}


@pytest.mark.row("R9")
@pytest.mark.parametrize(("value", "wait"), RETRY_AFTER.items(), ids=repr)
async def test_valid_retry_after_is_honored(value: str, wait: float | None, clock: ManualClock) -> None:
    async with HostileServer(http(429, Retry_After=value), FOUND) as server:
        service = open_service(server, clock=clock, deadline=math.inf)
        if wait is None:
            with pytest.raises(RateLimitedError):
                await service.get("123")
        else:
            await service.get("123")
        assert len(server.requests) == (1 if wait is None else 2)
    assert clock.sleeps == ([] if wait is None else [pytest.approx(wait)])


@pytest.mark.row("R10")
async def test_retry_after_above_the_cap_ends_the_call_without_a_wait(clock: ManualClock) -> None:
    async with HostileServer(http(503, Retry_After="3600")) as server:
        with pytest.raises(ServerError) as caught:
            await open_service(server, clock=clock).get("123")
        assert len(server.requests) == 1
    assert clock.sleeps == []
    assert (caught.value.retry_after, caught.value.attempts) == (3600, 1)


async def test_policy_sets_the_cap_of_retry_after(clock: ManualClock) -> None:
    async with HostileServer(http(429, Retry_After="7"), FOUND) as server:
        with pytest.raises(RateLimitedError):
            await open_service(server, retry=RetryPolicy(retry_after_max=6)).get("123")
    async with HostileServer(http(429, Retry_After="3600"), FOUND) as server:
        service = open_service(server, clock=clock, retry=RetryPolicy(retry_after_max=3600), deadline=math.inf)
        await service.get("123")
    assert clock.sleeps == [pytest.approx(3600 * JITTER)]  # the cap is compared without the jitter


@pytest.mark.row("R11")
async def test_retries_end_when_the_quota_of_the_tenant_is_used_up(clock: ManualClock) -> None:
    async with HostileServer(http(500)) as server:
        service = open_service(server, clock=clock)
        errors: list[ServerError] = []
        for _ in range(20):
            with pytest.raises(ServerError) as caught:
                await service.get("123")
            errors.append(caught.value)
        assert [error.attempts for error in errors] == [3] * 17 + [2] + [1] * 2
        assert [error.retry_quota_exhausted for error in errors] == [False] * 17 + [True] * 3
        # Services over the same tenant share the quota; another tenant has its own.
        session = service.session
        for tenant, attempts in (("acme", 1), ("globex", 3)):
            with pytest.raises(ServerError) as caught:
                await type(service)(session.for_tenant(tenant)).get("123")
            assert caught.value.attempts == attempts


@pytest.mark.row("R11")
async def test_throttled_retries_cost_less(clock: ManualClock) -> None:
    async with HostileServer(http(503)) as server:
        service = open_service(server, clock=clock)
        for _ in range(50):
            with pytest.raises(ServerError) as caught:
                await service.get("123")
            assert caught.value.attempts == 3
        with pytest.raises(ServerError) as caught:
            await service.get("123")
        assert (caught.value.attempts, caught.value.retry_quota_exhausted) == (1, True)


@pytest.mark.row("R11")
async def test_success_refunds_its_last_retry_or_else_1() -> None:
    responses = [http(500), http(500), FOUND, http(500), http(500), http(500), FOUND]
    async with HostileServer(*responses) as server:
        service = open_service(server)
        quota = service.session.retry_quota
        amounts = []
        for _ in range(2):
            await service.get("123", retry=RetryPolicy(attempts=4))
            amounts.append(quota.available)
        await service.get("123")
        amounts.append(quota.available)
    assert amounts == [500 - 14, 500 - 14 - 28, 500 - 14 - 28 + 1]


@pytest.mark.parametrize(
    ("wait", "error", "rule"),
    [
        (-1, ValueError, "the result of wait must be zero or more"),
        (float("nan"), ValueError, "the result of wait must be zero or more"),
        (None, TypeError, "the result of wait must be a number of seconds, not NoneType"),
        ("1", TypeError, "the result of wait must be a number of seconds, not str"),
        (True, TypeError, "the result of wait must be a number of seconds, not bool"),
    ],
)
async def test_invalid_result_of_a_custom_wait_is_rejected(
    clock: ManualClock, wait: Any, error: type[Exception], rule: str
) -> None:
    async with HostileServer(http(500)) as server:
        service = open_service(server, clock=clock, retry=RetryPolicy(wait=lambda _: wait))
        with pytest.raises(error, match=rule):
            await service.get("123")
        assert len(server.requests) == 1
        assert service.session.retry_quota.available == 500
    assert clock.sleeps == []


@pytest.mark.row("R19")
async def test_custom_stop_strategy_counts_requests(clock: ManualClock) -> None:
    policy = RetryPolicy(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.25))
    async with HostileServer(http(500)) as server:
        with pytest.raises(ServerError) as caught:
            await open_service(server, clock=clock, retry=policy).get("123")
        assert len(server.requests) == 3
    assert caught.value.attempts == 3
    assert clock.sleeps == [0.25, 0.25]


async def test_stop_after_delay_counts_from_the_first_attempt(clock: ManualClock) -> None:
    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock.now += 10
        writer.write(http(500))

    policy = RetryPolicy(stop=tenacity.stop_after_delay(10))
    async with HostileServer(slow) as server:
        with pytest.raises(ServerError):
            await open_service(server, clock=clock, retry=policy).get("123")
        assert len(server.requests) == 1


async def test_custom_retry_predicate_decides_also_as_a_coroutine_function() -> None:
    async def if_conflict(state: tenacity.RetryCallState) -> bool:
        assert state.outcome is not None
        await asyncio.sleep(0)
        return getattr(state.outcome.exception(), "status", None) == 409

    for predicate in (if_conflict, tenacity.retry_if_exception_message(match=".* 409 .*")):
        async with HostileServer(http(409), FOUND) as server:
            await open_service(server, retry=RetryPolicy(retry=predicate)).get("123")
            assert len(server.requests) == 2
        async with HostileServer(http(500), FOUND) as server:
            with pytest.raises(ServerError):
                await open_service(server, retry=RetryPolicy(retry=predicate)).get("123")


async def test_custom_predicate_is_not_asked_about_a_create_that_may_have_happened(draft: NewAppointment) -> None:
    asked: list[tenacity.RetryCallState] = []

    def always(state: tenacity.RetryCallState) -> bool:
        asked.append(state)
        return True

    policy = RetryPolicy(retry=always)
    for lost in (drop, http(500)):
        async with HostileServer(lost, CREATED) as server:
            with pytest.raises(OutcomeUnknownError):
                await open_service(server, retry=policy).create(draft)
            assert len(server.requests) == 1
    assert asked == []
    async with HostileServer(http(409), CREATED) as server:
        await open_service(server, retry=policy).create(draft)
    assert len(asked) == 1


@pytest.mark.row("R14")
async def test_custom_predicate_is_not_asked_about_a_cancellation() -> None:
    policy = RetryPolicy(retry=lambda _: True)
    async with HostileServer(http(500), hang) as server:
        task = asyncio.create_task(open_service(server, retry=policy).get("123"))
        while len(server.requests) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(server.requests) == 2


async def test_unlimited_attempts_continue_until_one_succeeds() -> None:
    async with HostileServer(*[http(503)] * 20, FOUND) as server:
        await open_service(server, retry=RetryPolicy(attempts=None)).get("123", deadline=math.inf)
        assert len(server.requests) == 21


async def test_policy_none_makes_one_attempt(draft: NewAppointment, clock: ManualClock) -> None:
    for operation in OPERATIONS:
        async with HostileServer(http(429)) as server:
            with pytest.raises(RateLimitedError) as caught:
                await call(open_service(server, clock=clock, retry=RetryPolicy.none()), operation, draft)
            assert len(server.requests) == 1
        assert caught.value.retry_quota_exhausted is False
    assert clock.sleeps == []


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_policy_of_call_options_and_service_take_precedence_in_this_order(
    operation: str, draft: NewAppointment
) -> None:
    async with HostileServer(http(429)) as server:
        service = open_service(server, retry=RetryPolicy(attempts=4))
        patient = service.with_options(retry=RetryPolicy(attempts=5))
        for chosen, options, attempts in (
            (service, {}, 4),
            (patient, {}, 5),
            (patient.with_options(deadline=1e6), {}, 5),
            (patient, {"retry": RetryPolicy(attempts=2)}, 2),
        ):
            with pytest.raises(RateLimitedError) as caught:
                await call(chosen, operation, draft, **options)
            assert caught.value.attempts == attempts


async def test_on_retry_is_called_before_each_wait(clock: ManualClock) -> None:
    retries: list[tuple[RetryDetails, int]] = []
    policy = RetryPolicy(on_retry=lambda details: retries.append((details, len(clock.sleeps))))
    async with HostileServer(drop, http(503, Retry_After="5"), FOUND) as server:
        await open_service(server, clock=clock, retry=policy).get("123")
    (first, slept_before_first), (second, slept_before_second) = retries
    assert isinstance(first.error, TransportError)
    assert isinstance(second.error, ServerError)
    assert (first.operation, first.attempt, first.wait, first.waited_so_far) == ("get", 1, 0.5, 0.0)
    assert (second.operation, second.attempt, second.wait, second.waited_so_far) == ("get", 2, 5.5, 0.5)
    assert (slept_before_first, slept_before_second) == (0, 1)


async def test_on_retry_that_raises_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: RetryDetails) -> None:
        raise ZeroDivisionError

    async with HostileServer(http(500), FOUND) as server:
        await open_service(server, retry=RetryPolicy(on_retry=broken)).get("123")
    (line,) = [line for line in caplog.records if line.levelno == logging.ERROR]
    assert (line.name, line.getMessage()) == ("connector_async", "on_retry raised")
    assert line.exc_info is not None
    assert line.exc_info[0] is ZeroDivisionError


async def test_error_says_sent_if_an_earlier_attempt_may_have_been() -> None:
    async def drop_and_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server._server.close()
        writer.close()

    async with HostileServer(drop_and_close) as server:
        with pytest.raises(ConnectFailedError) as caught:
            await open_service(server).delete("123")
    assert (caught.value.attempts, caught.value.sent) == (3, True)


@pytest.mark.row("R11")
async def test_cancelled_retry_costs_nothing() -> None:
    async with HostileServer(http(500)) as server:
        service = open_service(server, clock=Clock(), retry=RetryPolicy(wait_initial=60))
        tasks = [asyncio.create_task(service.get("123")) for _ in range(3)]
        while service.session.retry_quota.available > 500 - 3 * 14:
            await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert service.session.retry_quota.available == 500


async def test_closing_ends_waits_for_retries_and_slots() -> None:
    async with HostileServer(http(500)) as server:
        service = open_service(server, clock=Clock(), retry=RetryPolicy(wait_initial=600), deadline=math.inf)
        tasks = [asyncio.create_task(service.get("123")) for _ in range(3)]
        while service.session.retry_quota.available > 500 - 3 * 14:
            await asyncio.sleep(0.001)
        await service.session.penalize(3_600)
        tasks.append(asyncio.create_task(service.get("123")))
        await asyncio.sleep(0.01)
        await service.session.aclose()
        async with asyncio.timeout(5):
            errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in errors] == ["the session was closed while a call waited"] * 4
        assert len(server.requests) == 3


async def test_call_that_waits_for_a_connection_is_not_retried_when_the_session_closes() -> None:
    async with HostileServer(hang) as server:
        service = open_service(server, clock=Clock(), pool_size=1)
        tasks = [asyncio.create_task(service.get("123")) for _ in range(3)]
        while not server.requests:
            await asyncio.sleep(0.001)
        await service.session.aclose()
        async with asyncio.timeout(5):
            errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in errors] == [TransportError] * 3


async def test_failed_read_before_an_update_means_that_nothing_was_changed() -> None:
    for response in (http(200, b"{"), http(500), drop):
        async with HostileServer(response) as server:
            with pytest.raises(ConnectorError) as caught:
                await open_service(server).update("123", title="Other", read_first=True)
        assert caught.value.sent is False


async def test_record_of_a_failed_call_has_its_request_id() -> None:
    async with HostileServer(http(500, X_Request_Id="r-1"), http(404, X_Request_Id="r-2")) as server:
        with pytest.raises(NotFoundError):
            await open_service(server).get("123")
    record = last_call.get()
    assert (record.attempts, record.request_id) == (2, "r-2")


async def test_record_of_a_call_belongs_to_its_task() -> None:
    async def recorded_attempts(*responses: bytes) -> int:
        async with HostileServer(*responses) as server:
            await open_service(server).get("123")
        return last_call.get().attempts

    attempts = await asyncio.gather(
        recorded_attempts(FOUND),
        recorded_attempts(http(500), FOUND),
        recorded_attempts(http(500), http(500), FOUND),
    )
    assert list(attempts) == [1, 2, 3]


@pytest.mark.parametrize("retries", [0, 1])
async def test_record_after_a_cancellation_is_that_of_the_cancelled_call(retries: int) -> None:
    expiring = Expiring()
    async with HostileServer(FOUND, *[http(500)] * retries, expiring) as server:
        service = open_service(server)
        await service.get("123")
        with pytest.raises(TimeoutError):
            async with expiring.limit():
                await service.delete("123")
    record = last_call.get()
    assert (record.operation, record.attempts) == ("delete", 1 + retries)
    assert record.elapsed is not None


async def test_record_after_a_failing_hook_is_that_of_the_call_that_it_ended() -> None:
    class Broken(StaticToken):
        def cached_token(self, tenant: str, send: TokenSend) -> Token:
            if server.requests:
                raise KeyError(tenant)
            return super().cached_token(tenant, send)

    async with HostileServer(FOUND) as server:
        service = open_service(server, auth=Broken("hunter2"))
        await service.get("123")
        with pytest.raises(KeyError):
            await service.delete("123")
    assert last_call.get().operation == "delete"


def test_there_is_no_record_before_the_first_call() -> None:
    with pytest.raises(LookupError):
        contextvars.Context().run(last_call.get)


async def test_on_retry_that_raises_a_cancellation_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def cancelled(_: RetryDetails) -> None:
        raise asyncio.CancelledError

    async with HostileServer(http(500), FOUND) as server:
        await open_service(server, retry=RetryPolicy(on_retry=cancelled)).get("123")
    assert [line.getMessage() for line in caplog.records if line.levelno == logging.ERROR] == ["on_retry raised"]


@pytest.mark.parametrize("deadline", [None, 10])
async def test_provider_with_a_cancelled_task_does_not_cancel_the_call(deadline: float | None) -> None:
    class Shared:
        """Awaits a task that was cancelled with the call that started it."""

        async def token(self, _: str, __: TokenSend) -> Token:
            task = asyncio.create_task(asyncio.sleep(1))
            task.cancel()
            await task
            return Token("hunter2")

        def invalidate(self, tenant: str, token: Token) -> None: ...

    async with HostileServer(FOUND) as server:
        with pytest.raises(RuntimeError, match=r"Shared\.token was cancelled, although the call was not"):
            await open_service(server, auth=Shared()).get("123", deadline=deadline)
        assert server.requests == []


async def test_transient_failure_of_the_token_request_is_retried(draft: NewAppointment) -> None:
    auth = ClientCredentials("id", "secret")
    async with HostileServer(http(503), drop, TOKEN_RESPONSE, CREATED) as server:
        await open_service(server, auth=auth).create(draft)
        assert [request.target.rpartition("/")[2] for request in server.requests] == [*["token"] * 3, "appointment"]


@pytest.mark.row("A7")
@pytest.mark.parametrize("status", [400, 401, 403])
async def test_rejected_credentials_are_not_retried(status: int, draft: NewAppointment) -> None:
    async with HostileServer(http(status)) as server:
        service = open_service(server, auth=ClientCredentials("id", "secret"))
        for operation in OPERATIONS:
            with pytest.raises(AuthenticationError) as caught:
                await call(service, operation, draft)
            assert (caught.value.attempts, caught.value.sent) == (1, False)
        assert len(server.requests) == 1


@pytest.mark.row("A3")
async def test_call_that_always_gets_401_is_two_requests_and_one_extra_token_request() -> None:
    async with HostileServer(TOKEN_RESPONSE, http(401), TOKEN_RESPONSE, http(401)) as server:
        with pytest.raises(AuthenticationError) as caught:
            await open_service(server, auth=ClientCredentials("id", "secret")).get("123")
        targets = [request.target.rpartition("/")[2].partition("?")[0] for request in server.requests]
    assert targets == ["token", "appointment", "token", "appointment"]
    assert caught.value.attempts == 1


@pytest.mark.row("R16")
@pytest.mark.parametrize(
    ("response", "expected", "requests"),
    [
        (http(200, b"half", length=100), TransportError, 3),
        (http(502, b"<html>", Content_Type="text/html"), ServerError, 3),
        (http(200, b""), NotFoundError, 1),
        (http(200, b'{"app'), ConnectorError, 1),
        (http(200, b"[" * 200_000), ConnectorError, 1),
    ],
    ids=["cut", "html", "empty", "broken", "deep"],
)
async def test_hostile_response_is_a_typed_error_and_retried_only_after_transport_errors(
    response: bytes, expected: type[ConnectorError], requests: int, draft: NewAppointment
) -> None:
    async def respond_and_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(response)
        writer.close()

    async with HostileServer(respond_and_close) as server:
        with pytest.raises(expected):
            await open_service(server).get("123")
        assert len(server.requests) == requests
    async with HostileServer(respond_and_close) as server:
        with pytest.raises(ConnectorError):
            await open_service(server).create(draft)
        assert len(server.requests) == 1


@pytest.mark.row("R15")
async def test_retries_with_a_pool_of_one_and_large_error_bodies_do_not_deadlock() -> None:
    async with HostileServer(*[http(500, b"x" * 200_000)] * 2, FOUND) as server, asyncio.timeout(5):
        await open_service(server, pool_size=1).get("123")
        assert server.connections == 1


async def test_strategies_work_in_tenacity_alone() -> None:
    retrying = tenacity.AsyncRetrying(
        retry=retry_if_transient(),
        stop=stop_above_retry_after(60) | tenacity.stop_after_attempt(5),
        wait=tenacity.wait_none(),
        reraise=True,
    )
    async with HostileServer(http(503), http(503, Retry_After="61")) as server:
        service = open_service(server, retry=RetryPolicy.none())
        with pytest.raises(ResponseError) as caught:
            await retrying(service.get, "123")
        assert len(server.requests) == 2
    assert caught.value.retry_after == 61


async def test_invalid_options_are_rejected_before_anything_is_sent(draft: NewAppointment) -> None:
    async with HostileServer(FOUND) as server:
        service = open_service(server)
        wrong: Any = 3
        for operation in OPERATIONS:
            with pytest.raises(TypeError, match="retry must be a RetryPolicy or None, not int"):
                await call(service, operation, draft, retry=wrong)
        with pytest.raises(TypeError, match="retry must be a RetryPolicy or None, not int"):
            service.with_options(retry=wrong)
        with pytest.raises(TypeError, match="verify must be callable, such as"):
            await service.create(draft, verify=wrong)
        assert server.requests == []
