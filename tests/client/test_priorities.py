"""Interactive calls before bulk calls of the same tenant, default deadlines, and sessions that share a limit."""

import asyncio
import gc
import itertools
import math
import pickle
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    Bulk,
    Clock,
    ConnectorError,
    DeadlineExceededError,
    NewAppointment,
    OutcomeUnknownError,
    Priority,
    RateLimit,
    RetryPolicy,
    StaticToken,
    Status,
    ThrottledError,
    bulk,
    priority,
)
from connector_async.rate_limit import Limiter, MemoryRateLimitStore
from connector_async.session import ConnectorSession
from connector_async.session.session_state import InterruptibleSleep
from tests.support.hostile import HostileServer, drop, hang, http
from tests.support.services import CREATED, FOUND, call, open_service
from tests.support.virtual_time import LoopClock, now

SLOW = RateLimit(limit=61, per=60, burst=1)  # a second apart


async def take_all(outcomes: Bulk[Any, Any]) -> list[Status]:
    return [outcome.status async for outcome in outcomes]


def times_of(server: HostileServer, times: list[float], name: str) -> list[float]:
    return [time for time, request in zip(times, server.requests, strict=True) if f"={name}" in request.target]


def recording(times: list[float]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(now())
        writer.write(FOUND)

    return respond


@pytest.mark.virtual_time
@pytest.mark.row("H16")
@pytest.mark.parametrize(
    ("limit", "served"),
    [(RateLimit(), 7), (RateLimit(limit=150, per=60), 20)],
    ids=["default limit", "limit for all 20"],
)
async def test_web_calls_get_slots_before_a_concurrent_bulk(limit: RateLimit, served: int) -> None:
    times: list[float] = []
    async with HostileServer(recording(times)) as server:
        appointments = open_service(server, clock=LoopClock(), rate_limit=limit)
        job = asyncio.create_task(take_all(appointments.get_many(["bulk"] * 200, concurrency=16)))
        await asyncio.sleep(5.1)
        started_at = now()
        results = await asyncio.gather(
            *(appointments.get("web", deadline=10) for _ in range(20)), return_exceptions=True
        )
        errors = [result for result in results if isinstance(result, BaseException)]
        assert len(results) - len(errors) == served
        for error in errors:
            assert isinstance(error, ThrottledError)
            assert (error.sent, error.attempts) == (False, 1)
            assert error.retry_after is not None
            assert 10 < error.retry_after < 20 * limit.interval + limit.interval
        in_time = [sent_at for sent_at in times if started_at <= sent_at < started_at + 10]
        # The bulk had already reserved one slot when they started.
        assert len(in_time[: served + 1]) - len(times_of(server, times, "web")) == 1
        job.cancel()
        await asyncio.wait([job])


@pytest.mark.virtual_time
async def test_constant_interactive_calls_do_not_starve_a_bulk() -> None:
    times: list[float] = []
    async with HostileServer(recording(times)) as server:
        appointments = open_service(server, clock=LoopClock(), rate_limit=SLOW, deadline=math.inf)

        async def stream() -> None:
            while True:
                await appointments.get("web")

        web = [asyncio.create_task(stream()) for _ in range(3)]
        await asyncio.sleep(0.5)
        assert await take_all(appointments.get_many(["bulk"] * 20, concurrency=16)) == [Status.DONE] * 20
        for task in web:
            task.cancel()
        await asyncio.wait(web)
        assert now() == pytest.approx(20 * 4, abs=6)  # one slot of four


@pytest.mark.virtual_time
@pytest.mark.parametrize("limit", [SLOW, RateLimit(limit=3_001, per=60, burst=1)], ids=["1/s", "50/s"])
async def test_bulk_alone_uses_the_whole_rate_in_the_order_of_its_inputs(limit: RateLimit) -> None:
    times: list[float] = []
    async with HostileServer(recording(times)) as server:
        appointments = open_service(server, clock=LoopClock(), rate_limit=limit)
        ids = [str(number) for number in range(100)]
        assert await take_all(appointments.get_many(ids, concurrency=16)) == [Status.DONE] * 100
        assert now() == pytest.approx(99 * limit.interval, rel=0.01)
        assert [int(request.target.rpartition("=")[2]) for request in server.requests] == list(range(100))
        # At least one of sixteen calls waited nearly all of the time, which is counted once.
        assert 0.9 * now() < appointments.session.traffic.waited <= now()


async def test_calls_of_a_bulk_have_bulk_priority_and_the_caller_keeps_its_own() -> None:
    async def look(_: int) -> Priority:
        return await asyncio.create_task(asyncio.sleep(0, priority.get()))

    seen = [outcome.result async for outcome in bulk(look, range(3), concurrency=2)]
    assert seen == [Priority.BULK] * 3
    assert priority.get() is Priority.INTERACTIVE


@pytest.mark.virtual_time
async def test_verify_in_a_bulk_has_bulk_priority(draft: NewAppointment) -> None:
    seen = []

    async def verify(_: AppointmentService, __: NewAppointment) -> Appointment | None:
        seen.append(priority.get())
        return None

    async with HostileServer(drop, CREATED) as server:
        appointments = open_service(server, clock=LoopClock())
        assert await take_all(appointments.create_many([draft], concurrency=1, verify=verify)) == [Status.DONE]
    assert seen == [Priority.BULK]


@pytest.mark.virtual_time
async def test_bulk_calls_cancelled_in_the_queue_or_at_its_head_block_no_other() -> None:
    async with HostileServer(FOUND) as server:
        appointments = open_service(server, clock=LoopClock(), rate_limit=SLOW)
        priority.set(Priority.BULK)
        await appointments.get("first")
        tasks = [asyncio.create_task(appointments.get(str(number))) for number in range(6)]
        await asyncio.sleep(0.5)
        for number in (0, 3, 4):
            tasks[number].cancel()
        await asyncio.wait(tasks)
        assert [request.target.rpartition("=")[2] for request in server.requests] == ["first", "1", "2", "5"]
        assert now() == pytest.approx(3, abs=0.1)  # the slot of the head was given back
        assert not appointments.session._tenant.limiter._bulk_queue.waiting


@pytest.mark.virtual_time
async def test_bulk_call_cancelled_as_it_becomes_the_head_passes_the_head_on() -> None:
    clock = LoopClock()
    queue = open_service("http://127.0.0.1:1", clock=clock).session._tenant.limiter._bulk_queue
    await queue.enter(None)
    second, third = (asyncio.create_task(queue.enter(None)) for _ in range(2))
    await asyncio.sleep(0)
    queue.leave(asyncio.get_running_loop())
    second.cancel()
    await asyncio.wait([second, third])
    assert second.cancelled()
    assert third.exception() is None
    queue.leave(asyncio.get_running_loop())
    assert not queue.waiting


@pytest.mark.virtual_time
async def test_bulk_call_with_a_deadline_is_throttled_in_the_queue() -> None:
    async with HostileServer(FOUND) as server:
        appointments = open_service(server, clock=LoopClock(), rate_limit=SLOW)
        priority.set(Priority.BULK)
        await appointments.get("0")
        calls = [asyncio.create_task(appointments.get("1", deadline=seconds)) for seconds in (10, 10, 10, 2.5, 1.5)]
        await asyncio.sleep(0.1)
        assert [call.done() for call in calls] == [
            False,
            False,
            False,
            False,
            True,
        ]  # four slots come before the slot of the last call
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(result, ThrottledError) for result in results] == [False, False, False, True, True]
        assert now() == pytest.approx(3, abs=0.1)
        assert len(server.requests) == 4


@pytest.mark.virtual_time
async def test_bulk_call_whose_deadline_expires_in_the_queue_is_throttled() -> None:
    async with HostileServer(FOUND) as server:
        appointments = open_service(server, clock=LoopClock(), rate_limit=SLOW)
        priority.set(Priority.BULK)
        await appointments.session.penalize(100)
        first = asyncio.create_task(appointments.get("1"))
        await asyncio.sleep(0)
        with pytest.raises(ThrottledError):
            await appointments.get("1", deadline=10)
        assert now() == pytest.approx(10, abs=0.1)
        await first


@pytest.mark.virtual_time
async def test_interactive_call_overtakes_the_bulk_queue_and_a_bulk_call_does_not() -> None:
    limiter = open_service("http://127.0.0.1:1", clock=LoopClock(), rate_limit=RateLimit()).session._tenant.limiter
    await limiter._bulk_queue.enter(None)
    priority.set(Priority.BULK)
    assert limiter.take() is False
    priority.set(Priority.INTERACTIVE)
    assert limiter.take() is True


@pytest.mark.virtual_time
async def test_at_a_fast_pace_bulk_calls_reserve_the_slots_of_the_next_tenth_of_a_second() -> None:
    limit = RateLimit(limit=5_001, per=50, burst=1)  # 10 ms apart
    clock = LoopClock()
    limiter = Limiter("acme", limit, MemoryRateLimitStore(clock), InterruptibleSleep(clock).sleep)
    assert limiter.take()
    priority.set(Priority.BULK)
    tasks = [asyncio.create_task(limiter.acquire(None)) for _ in range(100)]
    for _ in range(100):
        await asyncio.sleep(0)
    assert await limiter._store.reserve("acme", limit, 0) == pytest.approx(0.12, abs=0.011)
    await asyncio.wait(tasks)
    assert now() == pytest.approx(1, abs=0.01)


def test_bulks_in_several_event_loops_over_one_session_all_end_and_no_loop_is_kept() -> None:
    async def main() -> None:
        async with HostileServer(FOUND) as server:
            limit = RateLimit(limit=3_001, per=60, burst=1)
            session = ConnectorSession(server.base_url, tenant_id="acme", auth=StaticToken("t"), rate_limit=limit)
            appointments = AppointmentService(session)

            def run_in_its_own_loop() -> None:
                statuses.extend(asyncio.run(take_all(appointments.get_many(["1"] * 10, concurrency=4))))

            threads = [threading.Thread(target=run_in_its_own_loop) for _ in range(3)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                await asyncio.sleep(0.01)
            assert statuses == [Status.DONE] * 30
            assert session._tenant.limiter._bulk_queue.waiting == {}
            await session.aclose()

    statuses: list[Status] = []
    asyncio.run(main())


def test_loop_closed_with_queued_bulk_calls_blocks_no_other_and_is_not_kept() -> None:
    session = ConnectorSession("http://127.0.0.1:1", tenant_id="acme", auth=StaticToken("t"), rate_limit=SLOW)
    limiter = session._tenant.limiter

    async def enter() -> None:
        await limiter._bulk_queue.enter(None)

    closed = asyncio.new_event_loop()
    closed.run_until_complete(enter())
    closed.close()
    asyncio.run(enter())
    assert closed not in limiter._bulk_queue.waiting


@pytest.mark.row("H16")
@pytest.mark.virtual_time
async def test_bulk_calls_cancelled_together_leave_one_head_of_the_queue() -> None:
    clock = LoopClock()
    limiter = Limiter("key", SLOW, MemoryRateLimitStore(clock), InterruptibleSleep(clock).sleep)
    assert limiter.take()
    priority.set(Priority.BULK)
    calls = [asyncio.create_task(limiter.acquire(None)) for _ in range(30)]
    await asyncio.sleep(0)
    for cancelled in calls[:10]:  # the head and the calls behind it, in one iteration of the loop
        cancelled.cancel()
    await asyncio.wait(calls[:10])
    priority.set(Priority.INTERACTIVE)
    started_at = now()
    await limiter.acquire(None)
    assert now() - started_at < 3.1  # behind one bulk slot, and the slot of the cancelled head
    for rest in calls[10:]:
        rest.cancel()
    await asyncio.wait(calls[10:])


@pytest.mark.slow  # measures seconds
@pytest.mark.row("H12")
@pytest.mark.parametrize("order", ["first", "last", "any"])
@pytest.mark.parametrize("kind", list(Priority), ids=str)
async def test_cancelling_ten_thousand_waiting_calls_does_not_block_the_loop(order: str, kind: Priority) -> None:
    async with HostileServer(FOUND) as server:
        limit = RateLimit(limit=2, per=3_600, burst=1)
        appointments = open_service(server, clock=Clock(), rate_limit=limit, deadline=math.inf)
        await appointments.get("0")
        priority.set(kind)
        tasks = [asyncio.create_task(appointments.get("1")) for _ in range(10_000)]
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        if order == "any":
            random.Random(1).shuffle(tasks)
        elif order == "last":
            tasks.reverse()
        # A garbage collection visits every object of the process, and would be measured as well.
        gc.disable()
        try:
            started_at = time.thread_time()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            blocked = time.thread_time() - started_at
        finally:
            gc.enable()
        assert all(task.cancelled() for task in tasks)
        assert blocked < 0.3
        assert not appointments.session._tenant.limiter._bulk_queue.waiting


@pytest.mark.virtual_time
async def test_default_deadline_is_a_minute_for_single_calls_and_none_for_bulk_calls(draft: NewAppointment) -> None:
    async with HostileServer(hang) as server:
        appointments = open_service(server, clock=LoopClock(), attempt_timeout=50, retry=RetryPolicy(attempts=None))
        for service in (appointments, AppointmentService(appointments.session), appointments.with_options()):
            started_at = now()
            with pytest.raises(DeadlineExceededError):
                await service.get("1")
            assert now() - started_at == pytest.approx(60, abs=0.1)
        with pytest.raises(OutcomeUnknownError):
            await appointments.create(draft)
        with pytest.raises(DeadlineExceededError):
            await appointments.preview().collect()
        started_at = now()
        twice = RetryPolicy(attempts=2, wait_initial=0)
        assert await take_all(appointments.get_many(["1"], concurrency=1, retry=twice)) == [Status.FAILED]
        assert now() - started_at == pytest.approx(100, abs=0.1)
        assert await take_all(appointments.get_many(["1"], concurrency=1, deadline=10)) == [Status.FAILED]
        assert now() - started_at == pytest.approx(110, abs=0.2)


@pytest.mark.virtual_time
async def test_call_without_a_slot_before_its_deadline_is_throttled_with_retry_after(
    draft: NewAppointment,
) -> None:
    async with HostileServer(FOUND) as server:
        appointments = open_service(server, clock=LoopClock(0.0), rate_limit=RateLimit(limit=2, per=100, burst=1))
        await appointments.get("1")
        for operation in ("get", "create"):
            with pytest.raises(ThrottledError) as caught:
                await call(appointments, operation, draft)
            error = caught.value
            assert (error.sent, error.attempts, error.status) == (False, 1, None)
            assert error.retry_after == pytest.approx(100, abs=0.1)
            assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
        assert now() < 0.1


@pytest.mark.virtual_time
async def test_retry_without_a_slot_before_the_deadline_is_throttled_and_keeps_the_status() -> None:
    async with HostileServer(http(500)) as server:
        appointments = open_service(server, clock=LoopClock(), rate_limit=RateLimit(limit=2, per=100, burst=1))
        with pytest.raises(ThrottledError) as caught:
            await appointments.get("1", deadline=30)
    error = caught.value
    assert (error.sent, error.attempts, error.status) == (True, 2, 500)
    assert error.retry_after == pytest.approx(99.5, abs=0.1)
    assert isinstance(error.__cause__, ConnectorError)


@pytest.mark.virtual_time
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_beyond_the_deadline_raises_throttled_error(status: int) -> None:
    async with HostileServer(http(status, Retry_After="20")) as server:
        appointments = open_service(server, clock=LoopClock(1.0))
        for deadline in (10, 21):
            with pytest.raises(ThrottledError) as caught:
                await appointments.get("1", deadline=deadline)
            assert caught.value.retry_after == pytest.approx(22, abs=0.1)
        assert len(server.requests) == 1


@pytest.mark.virtual_time
async def test_lost_create_stays_unknown_when_its_verify_gets_no_slot(
    draft: NewAppointment,
) -> None:
    async def verify(service: AppointmentService, _: NewAppointment) -> Appointment | None:
        return await service.get("1")

    async with HostileServer(drop) as server:
        appointments = open_service(server, clock=LoopClock(), rate_limit=RateLimit(limit=2, per=100, burst=1))
        with pytest.raises(OutcomeUnknownError) as caught:
            await appointments.create(draft, verify=verify)
    assert caught.value.sent is True


@pytest.mark.virtual_time
async def test_sessions_throttled_together_do_not_return_together() -> None:
    times: list[float] = []

    async def throttle_four(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(now())
        writer.write(http(429, Retry_After="20") if len(times) <= 4 else FOUND)

    async with HostileServer(throttle_four) as server:
        clocks = [LoopClock(draw) for draw in (0.0, 0.3, 0.6, 0.9)]
        services = [open_service(server, clock=clock, rate_limit=SLOW) for clock in clocks]
        await asyncio.gather(*(service.get("1") for service in services for _ in range(3)))
    returned = sorted(times[4:])
    assert returned[0] >= 20
    assert min(after - before for before, after in itertools.pairwise(returned)) > 0.1


async def test_error_carries_the_retry_after_of_the_server() -> None:
    async with HostileServer(http(429, Retry_After="20")) as server:
        with pytest.raises(ConnectorError) as caught:
            await open_service(server, retry=RetryPolicy.none()).get("1")
    assert getattr(caught.value, "retry_after", None) == 20


@pytest.mark.virtual_time
async def test_penalty_of_a_session_can_be_lifted() -> None:
    async with HostileServer(FOUND) as server:
        store = MemoryRateLimitStore(LoopClock())
        options: dict[str, Any] = {"clock": LoopClock(), "rate_limit": SLOW, "rate_limit_store": store}
        one, other = (open_service(server, deadline=math.inf, **options) for _ in range(2))
        await one.session.penalize(24 * 3_600)
        waiting = [asyncio.create_task(service.get("1")) for service in (one, other)]
        await asyncio.sleep(3)
        await one.session.penalize(0)
        await asyncio.wait(waiting)
        assert now() == pytest.approx(4, abs=0.1)


@pytest.mark.row("H6")
@pytest.mark.virtual_time
@pytest.mark.parametrize("off", [3600, -3600], ids=["fast", "slow"])
async def test_retry_after_date_is_measured_against_the_date_of_the_response(off: int) -> None:
    server_time = datetime.fromtimestamp(1_700_000_000 - off, UTC)
    retry_at = datetime.fromtimestamp(1_700_000_020 - off, UTC)
    http_date = "%a, %d %b %Y %H:%M:%S GMT"
    throttled = http(503, Retry_After=retry_at.strftime(http_date), Date=server_time.strftime(http_date))
    async with HostileServer(throttled, FOUND) as server:
        await open_service(server, clock=LoopClock(0.0)).get("1")
    assert now() == pytest.approx(20, abs=0.1)
