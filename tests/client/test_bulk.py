"""`bulk` and `BulkReport`: one outcome for each input, bounded concurrency and memory, and early ends."""

import asyncio
import gc
import itertools
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import (
    Appointment,
    AppointmentService,
    AppointmentUpdate,
    AuthenticationError,
    BulkReport,
    ConnectorSession,
    ForbiddenError,
    NewAppointment,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    ServerError,
    Status,
    TransportError,
    bulk,
    read_inputs,
)
from connector_async.sandbox import DropAfter, Sandbox, StatusFault
from tests.support.hostile import HostileServer, http
from tests.support.services import open_service, resident_megabytes


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


class Gauge:
    """Counts the calls that were started and are in flight."""

    def __init__(self, *failures: tuple[int, Exception]) -> None:
        self.failures = dict(failures)
        self.in_flight = self.max_in_flight = self.started = 0

    async def __call__(self, number: int) -> int:
        self.started += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0.001)
        finally:
            self.in_flight -= 1
        if number in self.failures:
            raise self.failures[number]
        return 2 * number


SEVEN_FAILURES: list[tuple[int, Exception]] = [
    (3, ServerError("down", status=500, attempts=3, elapsed=1.5)),
    (14, NotFoundError("not found", status=404)),
    (15, TransportError("dropped")),
    (92, ForbiddenError("no", status=403)),
    (65, OutcomeUnknownError("lost")),
    (35, ValueError("a bug")),
    (89, KeyError("another")),
]


@pytest.mark.row("B1")
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("inputs", [range, numbers], ids=["iterable", "async iterable"])
async def test_every_input_has_one_outcome_and_concurrency_is_bounded(inputs: Any, *, ordered: bool) -> None:
    gauge = Gauge(*SEVEN_FAILURES)
    outcomes = [outcome async for outcome in bulk(gauge, inputs(100), concurrency=8, ordered=ordered)]
    assert gauge.max_in_flight == 8
    assert sorted(outcome.index for outcome in outcomes) == list(range(100))
    if ordered:
        assert [outcome.index for outcome in outcomes] == list(range(100))
    statuses = Counter(outcome.status for outcome in outcomes)
    assert statuses == {Status.DONE: 93, Status.FAILED: 6, Status.UNKNOWN: 1}
    failed = dict(SEVEN_FAILURES)
    for outcome in outcomes:
        assert outcome.input == outcome.index
        assert outcome.error is failed.get(outcome.index)
        assert outcome.result == (None if outcome.index in failed else 2 * outcome.index)
    by_index = {outcome.index: outcome for outcome in outcomes}
    assert (by_index[3].attempts, by_index[3].elapsed) == (3, 1.5)
    assert (by_index[65].status, by_index[35].attempts) == (Status.UNKNOWN, None)


async def test_calls_that_end_together_end_before_the_next_ones_start() -> None:
    responses: dict[int, asyncio.Future[None]] = {}
    events: list[str] = []

    async def call(number: int) -> None:
        events.append(f"start {number}")
        responses[number] = asyncio.get_running_loop().create_future()
        await responses[number]
        events.append(f"end {number}")

    outcomes = aiter(bulk(call, range(4), concurrency=2))
    first = asyncio.ensure_future(anext(outcomes))
    while len(responses) < 2:
        await asyncio.sleep(0)
    for number in (0, 1):
        responses[number].set_result(None)
    await first
    while len(responses) < 4:
        await asyncio.sleep(0)
    assert events == ["start 0", "start 1", "end 0", "end 1", "start 2", "start 3"]
    await cast("AsyncGenerator[object]", outcomes).aclose()


@pytest.mark.row("B2")
@pytest.mark.parametrize("ordered", [False, True])
async def test_after_rejected_credentials_the_rest_is_not_started(*, ordered: bool) -> None:
    gauge = Gauge((40, AuthenticationError("rejected", status=401)))
    run = bulk(gauge, numbers(100), concurrency=4, ordered=ordered, ends_on=AuthenticationError)
    outcomes = [outcome async for outcome in run]
    assert len(outcomes) == 100
    statuses = Counter(outcome.status for outcome in outcomes)
    assert statuses[Status.FAILED] == 1
    assert statuses[Status.DONE] + 1 == gauge.started <= 48
    assert statuses[Status.NOT_STARTED] == 100 - gauge.started


async def test_ends_on_decides_which_errors_end_a_bulk() -> None:
    for ends_on, started in ((NotFoundError, 3), ((KeyError, NotFoundError), 3), ((), 10)):
        gauge = Gauge((2, NotFoundError("not found")), (5, AuthenticationError("rejected")))
        outcomes = [outcome async for outcome in bulk(gauge, range(10), concurrency=1, ends_on=ends_on)]
        assert len(outcomes) == 10
        assert gauge.started == started


async def test_after_max_errors_the_rest_is_not_started() -> None:
    gauge = Gauge(*((number, ServerError("down")) for number in range(0, 100, 2)))
    outcomes = [outcome async for outcome in bulk(gauge, range(100), concurrency=1, max_errors=5)]
    assert Counter(outcome.status for outcome in outcomes) == {
        Status.FAILED: 5,
        Status.DONE: 4,
        Status.NOT_STARTED: 91,
    }


@pytest.mark.row("B2")
@pytest.mark.parametrize("ordered", [False, True])
async def test_outcomes_left_by_a_cancellation_can_be_collected(*, ordered: bool) -> None:
    reached = asyncio.Event()

    async def stuck_from_10(number: int) -> int:
        if number >= 10:
            reached.set()
            await asyncio.Event().wait()
        return number

    run = bulk(stuck_from_10, range(100), concurrency=4, ordered=ordered)
    report: BulkReport[int, int] = BulkReport()
    task = asyncio.create_task(report.collect(run))
    await reached.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert report.counts == {Status.DONE: 10}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await report.collect(run)
    assert report.counts == {Status.DONE: 10, Status.UNKNOWN: 4, Status.NOT_STARTED: 86}
    assert sorted(report.inputs(Status.UNKNOWN)) == [10, 11, 12, 13]
    assert report.inputs() == list(range(14, 100))
    assert [outcome async for outcome in run] == []


@pytest.mark.parametrize("how", ["break", "error", "aclose"])
async def test_loop_left_early_leaves_no_task_and_the_rest_can_be_taken(how: str) -> None:
    gauge = Gauge()
    run = bulk(gauge, range(50), concurrency=4)
    taken: list[Outcome[int, int]] = []
    try:
        walk = aiter(run)
        async for outcome in walk:
            taken.append(outcome)
            if len(taken) == 5:
                if how == "error":
                    raise ZeroDivisionError
                break
    except ZeroDivisionError:
        pass
    await walk.aclose()  # type: ignore[attr-defined]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    started = gauge.started
    taken += [outcome async for outcome in run]
    assert gauge.started == started < 50
    assert sorted(outcome.index for outcome in taken) == list(range(50))


async def test_loop_left_by_break_alone_is_ended_by_the_event_loop() -> None:
    gauge = Gauge()
    async for _ in bulk(gauge, range(1_000), concurrency=4):
        break
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0.001)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert gauge.started < 20


async def test_second_loop_ends_the_first_and_takes_the_rest() -> None:
    gauge = Gauge()
    run = bulk(gauge, range(20), concurrency=2)
    taken = []
    async for outcome in run:
        taken.append(outcome.index)
        break
    taken += [outcome.index async for outcome in run]  # at once: the loop left by `break` has not ended yet
    assert sorted(taken) == list(range(20))
    assert gauge.started < 20


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("calls", ["quick", "slow to end"])
async def test_second_loop_takes_the_rest_of_a_loop_that_is_still_running(calls: str, *, ordered: bool) -> None:
    stuck = asyncio.Event()
    ended = []

    async def stuck_from_10(number: int) -> int:
        if number < 10:
            return number
        stuck.set()
        try:
            await asyncio.Event().wait()
        finally:
            if calls == "slow to end":
                await asyncio.sleep(0.001)  # a second cancellation would cut this short
            ended.append(number)
        return number

    run = bulk(stuck_from_10, range(40), concurrency=4, ordered=ordered)
    before, after = BulkReport[int, int](), BulkReport[int, int]()
    first = asyncio.create_task(before.collect(run))
    await stuck.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    second = asyncio.create_task(after.collect(run))
    await first
    assert sorted(ended) == [10, 11, 12, 13]
    await second
    assert before.counts == {Status.DONE: 10}
    assert after.counts == {Status.UNKNOWN: 4, Status.NOT_STARTED: 26}
    assert sorted(outcome.index for outcome in after.unfinished) == list(range(10, 40))
    assert [outcome async for outcome in run] == []


@given(
    st.integers(0, 30),
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(0, 30),
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
)
def test_concurrent_loops_share_the_outcomes(
    count: int,
    concurrency: int,
    ordered: bool,  # noqa: FBT001 - drawn by position
    is_async: bool,  # noqa: FBT001 - drawn by position
    rejected: int | None,
    waits: list[int],
) -> None:
    async def play(number: int) -> int:
        await asyncio.sleep(0)
        if number == rejected:
            raise AuthenticationError("rejected")
        return number

    async def walk() -> list[Outcome[int, int]]:
        inputs: Any = numbers(count) if is_async else range(count)
        run = bulk(play, inputs, concurrency=concurrency, ordered=ordered, ends_on=AuthenticationError)
        taken: list[Outcome[int, int]] = []

        async def take() -> None:
            async for outcome in run:
                taken.append(outcome)
                await asyncio.sleep(0)

        loops = []
        for wait in waits:
            loops.append(asyncio.create_task(take()))
            for _ in range(wait):
                await asyncio.sleep(0)
        # An async generator that is cancelled while it awaits an input ends, and the loop raises an error.
        results = await asyncio.gather(*loops, return_exceptions=True)
        errors = [result for result in results if result is not None]
        assert all(is_async and isinstance(error, RuntimeError) for error in errors)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert errors or len(taken) == count
        return taken

    taken = asyncio.run(walk())
    indexes = [outcome.index for outcome in taken]
    assert sorted(indexes) == list(range(len(taken)))
    if ordered:
        assert indexes == sorted(indexes)


async def test_input_awaited_by_an_ended_loop_goes_to_the_next_loop() -> None:
    available = asyncio.Event()
    awaited = asyncio.Event()

    async def waiting() -> AsyncIterator[int]:
        yield 0
        awaited.set()
        await available.wait()
        yield 1
        yield 2

    gauge = Gauge((0, AuthenticationError("rejected")))
    run = bulk(gauge, waiting(), concurrency=1, ends_on=AuthenticationError)
    before, after = BulkReport[int, int](), BulkReport[int, int]()
    first = asyncio.create_task(before.collect(run))
    async with asyncio.timeout(5):
        await awaited.wait()
        second = asyncio.create_task(after.collect(run))
        await asyncio.sleep(0)
        available.set()
        await asyncio.gather(first, second)
    assert [outcome.index for outcome in before.unfinished] == [0]
    assert [outcome.index for outcome in after.unfinished] == [1, 2]


async def test_no_more_workers_are_started_than_there_are_inputs() -> None:
    before = len(asyncio.all_tasks())
    most = 0

    async def count(number: int) -> int:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()) - before)
        await asyncio.sleep(0)
        return number

    outcomes = [outcome async for outcome in bulk(count, range(3), concurrency=1_000)]
    assert [outcome.status for outcome in outcomes] == [Status.DONE] * 3
    assert most <= 4


async def test_context_variables_are_not_shared_between_workers() -> None:
    seen: list[int | None] = []
    variable: ContextVar[int | None] = ContextVar("variable", default=None)

    async def note(number: int) -> None:
        seen.append(variable.get())
        if number == 0:
            variable.set(number)
        else:
            await asyncio.Event().wait()

    walk = aiter(bulk(note, itertools.count(), concurrency=5))
    await anext(walk)
    for _ in range(20):
        await asyncio.sleep(0)
    await walk.aclose()  # type: ignore[attr-defined]
    # The worker of the first call made the second call as well.
    assert seen == [None, 0, None, None, None, None]


if sys.version_info >= (3, 12):  # eager tasks are new in 3.12

    async def test_workers_are_not_nested_with_an_eager_task_factory() -> None:
        loop = asyncio.get_running_loop()
        factory = loop.get_task_factory()
        loop.set_task_factory(asyncio.eager_task_factory)
        try:
            outcomes = [outcome async for outcome in bulk(double, range(5_000), concurrency=5_000)]
        finally:
            loop.set_task_factory(factory)
        assert Counter(outcome.status for outcome in outcomes) == {Status.DONE: 5_000}


@pytest.mark.parametrize("options", [{"ends_on": AuthenticationError}, {"max_errors": 1}])
async def test_workers_that_await_an_input_start_no_call_after_the_end(options: Any) -> None:
    gauge = Gauge(*((number, AuthenticationError("rejected")) for number in range(100)))

    async def slow() -> AsyncIterator[int]:
        for number in range(100):
            await asyncio.sleep(0.002)
            yield number

    outcomes = [outcome async for outcome in bulk(gauge, slow(), concurrency=8, **options)]
    assert gauge.started == 1
    assert Counter(outcome.status for outcome in outcomes) == {Status.FAILED: 1, Status.NOT_STARTED: 99}


async def test_async_generator_ended_by_a_cancellation_raises_an_error() -> None:
    async def endless() -> AsyncIterator[int]:
        for number in range(5):
            yield number
        await asyncio.Event().wait()

    report: BulkReport[int, int] = BulkReport()
    run = bulk(double, endless(), concurrency=2)
    task = asyncio.create_task(report.collect(run))
    while report.counts[Status.DONE] < 5:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(RuntimeError, match="the async generator of the inputs was cancelled"):
        await report.collect(run)
    assert report.counts == {Status.DONE: 5}


async def test_iterator_class_continues_after_a_cancellation_until_its_end() -> None:
    class Feed:
        """Has five inputs, and then awaits once before it ends."""

        def __init__(self) -> None:
            self.number = -1
            self.awaited = 0

        def __aiter__(self) -> "Feed":
            return self

        async def __anext__(self) -> int:
            if self.number == 4 and not self.awaited:
                self.awaited += 1
                await asyncio.Event().wait()
            if self.number == 4:
                raise StopAsyncIteration
            self.number += 1
            return self.number

    report: BulkReport[int, int] = BulkReport()
    feed = Feed()
    run = bulk(double, feed, concurrency=2)
    task = asyncio.create_task(report.collect(run))
    while report.counts[Status.DONE] < 5 or not feed.awaited:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await report.collect(run)
    assert report.counts == {Status.DONE: 5}


async def test_cancelled_error_of_the_inputs_raises_an_error() -> None:
    async def broken() -> AsyncIterator[int]:
        for number in range(10):
            yield number
        raise asyncio.CancelledError

    report: BulkReport[int, int] = BulkReport()
    with pytest.raises(RuntimeError, match="the iterable of the inputs raised a CancelledError"):
        await report.collect(bulk(double, broken(), concurrency=2))
    assert report.counts == {Status.DONE: 10}


async def test_skipped_inputs_do_not_block_the_event_loop() -> None:
    gauge = Gauge((0, AuthenticationError("rejected")))
    iterations = 0

    async def iterate() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    iterating = asyncio.create_task(iterate())
    count = 0
    async for outcome in bulk(gauge, range(10_000), concurrency=1, ends_on=AuthenticationError):
        count += 1
        if outcome.index == 10:
            iterations = 0
    iterating.cancel()
    assert count == 10_000
    assert iterations > 30


async def test_call_that_suppresses_its_cancellation_is_the_last_of_its_worker() -> None:
    started = []

    async def stubborn(number: int) -> int:
        started.append(number)
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return number

    outcomes = bulk(stubborn, range(100), concurrency=2).outcomes()
    await anext(outcomes)
    await outcomes.aclose()
    assert len(started) <= 4


async def test_cancellation_while_skipping_inputs_loses_none() -> None:
    gauge = Gauge((0, AuthenticationError("rejected")))
    run = bulk(gauge, range(5_000), concurrency=1, ends_on=AuthenticationError)
    report: BulkReport[int, int] = BulkReport()
    for iterations in range(1, 12):
        task = asyncio.create_task(report.collect(run))
        for _ in range(iterations):
            await asyncio.sleep(0.001 if iterations == 1 else 0)
        task.cancel()
        await asyncio.wait([task])
    await report.collect(run)
    assert sum(report.counts.values()) == 5_000
    assert [outcome.index for outcome in report.unfinished] == sorted({outcome.index for outcome in report.unfinished})


async def test_base_exception_of_a_call_is_raised_after_the_outcomes() -> None:
    class Stop(BaseException):
        pass

    async def stop(number: int) -> int:
        if number == 3:
            raise Stop
        return number

    taken: list[int] = []

    async def take() -> None:
        async for outcome in bulk(stop, range(6), concurrency=1):
            taken.append(outcome.index)  # noqa: PERF401 - items before the error count

    with pytest.raises(Stop):
        await take()
    assert taken == list(range(6))


async def test_cancellations_within_calls_count_as_errors() -> None:
    async def cancelled(_: int) -> int:
        raise asyncio.CancelledError

    outcomes = [outcome async for outcome in bulk(cancelled, range(10), concurrency=1, max_errors=2)]
    assert Counter(outcome.status for outcome in outcomes) == {Status.UNKNOWN: 2, Status.NOT_STARTED: 8}


async def test_attempts_are_not_taken_from_the_call_before(appointments: AppointmentService) -> None:
    async def only_the_first(number: int) -> None:
        if number == 0:
            await appointments.preview().collect()

    outcomes = [outcome async for outcome in bulk(only_the_first, range(2), concurrency=1)]
    assert [outcome.attempts for outcome in outcomes] == [1, None]


@pytest.mark.parametrize("ordered", [False, True])
async def test_slow_consumer_slows_the_calls(*, ordered: bool) -> None:
    gauge = Gauge()
    ahead = 0
    taken = 0
    async for _ in bulk(gauge, range(100), concurrency=4, ordered=ordered):
        taken += 1
        await asyncio.sleep(0.003)
        ahead = max(ahead, gauge.started - taken)
    assert taken == 100
    assert ahead <= 8


async def test_with_ordered_outcomes_a_slow_call_delays_later_calls() -> None:
    slow = asyncio.Event()
    started = []

    async def first_is_slow(number: int) -> int:
        started.append(number)
        if number == 0:
            await slow.wait()
        return number

    walk = aiter(bulk(first_is_slow, itertools.count(), concurrency=3, ordered=True))
    first = asyncio.ensure_future(anext(walk))
    for _ in range(50):
        await asyncio.sleep(0)
    assert started == list(range(6))
    slow.set()
    assert (await first).index == 0
    await walk.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("ordered", [False, True])
async def test_error_of_the_inputs_is_raised_after_the_last_outcome(*, ordered: bool) -> None:
    def broken() -> Iterator[int]:
        yield from range(10)
        raise OSError("the file was deleted")

    async def broken_async() -> AsyncIterator[int]:
        for number in broken():
            yield number

    for inputs in (broken(), broken_async()):
        report: BulkReport[int, int] = BulkReport()
        with pytest.raises(OSError, match="the file was deleted"):
            await report.collect(bulk(double, inputs, concurrency=4, ordered=ordered))
        assert report.counts == {Status.DONE: 10}


async def test_cancellation_within_a_call_ends_no_worker() -> None:
    async def cancelled_within(number: int) -> int:
        if number % 2:
            raise asyncio.CancelledError
        return number

    outcomes = [outcome async for outcome in bulk(cancelled_within, range(20), concurrency=2)]
    assert Counter(outcome.status for outcome in outcomes) == {Status.DONE: 10, Status.UNKNOWN: 10}


@given(
    st.lists(st.sampled_from(["done", "failed", "unknown", "rejected"]), max_size=40),
    st.integers(1, 6),
    st.booleans(),
    st.none() | st.integers(1, 5),
    st.integers(0, 45),
)
def test_no_input_is_lost_or_duplicated(
    script: list[str],
    concurrency: int,
    ordered: bool,  # noqa: FBT001 - drawn by position
    max_errors: int | None,
    leave_after: int,
) -> None:
    errors = {
        "failed": ServerError("down"),
        "unknown": OutcomeUnknownError("lost"),
        "rejected": AuthenticationError("rejected"),
    }
    called = []

    async def play(number: int) -> int:
        called.append(number)
        await asyncio.sleep(0)
        if script[number] in errors:
            raise errors[script[number]]
        return number

    async def walk() -> list[Outcome[int, int]]:
        run = bulk(
            play,
            range(len(script)),
            concurrency=concurrency,
            ordered=ordered,
            max_errors=max_errors,
            ends_on=AuthenticationError,
        )
        taken = []
        outcomes = aiter(run)
        async for outcome in outcomes:
            taken.append(outcome)
            if len(taken) == leave_after and outcome.status is not Status.NOT_STARTED:
                break
        await outcomes.aclose()  # type: ignore[attr-defined]
        return taken + [outcome async for outcome in run]

    taken = asyncio.run(walk())
    assert sorted(outcome.index for outcome in taken) == list(range(len(script)))
    assert len(called) == len(set(called))
    started = {outcome.index for outcome in taken if outcome.status is not Status.NOT_STARTED}
    assert started == set(called)
    if ordered:
        assert [outcome.index for outcome in taken] == list(range(len(script)))


@pytest.mark.row("B3")
@pytest.mark.slow
async def test_memory_is_flat_over_a_million_inputs() -> None:
    async def nothing(_: int) -> None: ...

    async def many() -> AsyncIterator[int]:
        for number in range(1_000_000):
            yield number

    count = 0
    megabytes = []
    async for _ in bulk(nothing, many(), concurrency=16):
        count += 1
        if count in {10_000, 1_000_000}:
            megabytes.append(resident_megabytes())
    print(f"\nresident memory after 10,000 and 1,000,000 inputs: {megabytes} MB")
    assert count == 1_000_000
    assert megabytes[1] - megabytes[0] < 5


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"function": 3}, TypeError, "function must be callable, not int"),
        ({"inputs": 3}, TypeError, "inputs must be an iterable or an async iterable, not int"),
        ({"inputs": "abc"}, TypeError, "inputs must be an iterable or an async iterable, not str"),
        ({"inputs": bytearray(b"abc")}, TypeError, "inputs must be an iterable or an async iterable, not bytearray"),
        ({"inputs": memoryview(b"abc")}, TypeError, "inputs must be an iterable or an async iterable, not memoryview"),
        ({"concurrency": 0}, ValueError, "concurrency must be 1 or more"),
        ({"concurrency": 1.5}, TypeError, "concurrency must be an int, not float"),
        ({"concurrency": True}, TypeError, "concurrency must be an int, not bool"),
        ({"ends_on": "x"}, TypeError, "ends_on must be an exception class, or a tuple of exception classes"),
        ({"ends_on": (KeyError, 3)}, TypeError, "ends_on must be an exception class, or a tuple of exception classes"),
        ({"max_errors": 0}, ValueError, "max_errors must be 1 or more"),
        ({"max_errors": "1"}, TypeError, "max_errors must be an int, not str"),
        ({"ordered": "no"}, TypeError, "ordered must be a bool, not str"),
        ({"ordered": 1}, TypeError, "ordered must be a bool, not int"),
    ],
)
def test_invalid_argument_is_rejected_by_name(options: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        bulk(**{"function": double, "inputs": [1], "concurrency": 1} | options)


class RecordingListener:
    """A listener that records its calls."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def begin(self, total: int | None) -> None:
        self.calls.append(("begin", total))

    def advance(self, outcome: Outcome[Any, Any]) -> None:
        self.calls.append(outcome.index)

    def end(self) -> None:
        self.calls.append("end")


async def test_report_counts_the_outcomes_and_informs_its_listener() -> None:
    listener = RecordingListener()
    run = bulk(Gauge(*SEVEN_FAILURES), range(100), concurrency=8, ordered=True)
    report: BulkReport[int, int] = await BulkReport[int, int]().collect(run, progress=listener, total=100)
    assert report.counts == {Status.DONE: 93, Status.FAILED: 6, Status.UNKNOWN: 1}
    assert listener.calls == [("begin", 100), *range(100), "end"]
    assert report.inputs() == [3, 14, 15, 35, 89, 92]
    assert report.inputs(Status.UNKNOWN) == [65]
    again = await BulkReport[int, int]().collect(bulk(double, report.inputs(), concurrency=2))
    assert again.counts == {Status.DONE: 6}


async def test_error_of_a_listener_ends_the_loop_and_end_is_called() -> None:
    class Broken(RecordingListener):
        def advance(self, outcome: Outcome[Any, Any]) -> None:
            raise ZeroDivisionError(outcome)

    listener = Broken()
    with pytest.raises(ZeroDivisionError):
        await BulkReport[int, int]().collect(bulk(double, range(9), concurrency=2), progress=listener)
    assert listener.calls == [("begin", None), "end"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_listener_that_raises_in_begin_takes_no_input_and_gets_no_end() -> None:
    class Broken(RecordingListener):
        def begin(self, total: int | None) -> None:
            raise ZeroDivisionError(total)

    listener = Broken()
    gauge = Gauge()
    run = bulk(gauge, range(9), concurrency=2)
    report = BulkReport[int, int]()
    with pytest.raises(ZeroDivisionError):
        await report.collect(run, progress=listener)
    assert (listener.calls, gauge.started) == ([], 0)
    await report.collect(run)
    assert report.counts == {Status.DONE: 9}


async def test_end_of_a_listener_is_called_even_if_closing_the_outcomes_raises() -> None:
    async def outcomes() -> AsyncIterator[Outcome[int, int]]:
        try:
            yield Outcome(index=0, input=0, status=Status.DONE)
            yield Outcome(index=1, input=1, status=Status.DONE)
        finally:
            raise KeyError

    class Broken(RecordingListener):
        def advance(self, outcome: Outcome[Any, Any]) -> None:
            raise ZeroDivisionError(outcome)

    listener = Broken()
    with pytest.raises(KeyError):
        await BulkReport[int, int]().collect(outcomes(), progress=listener)
    assert listener.calls == [("begin", None), "end"]


async def test_unfinished_outcomes_are_written_as_json_lines_and_read_again(tmp_path: Path) -> None:
    report = await BulkReport[int, int]().collect(bulk(Gauge(*SEVEN_FAILURES), range(100), concurrency=8, ordered=True))
    path = tmp_path / "failures.jsonl"
    report.write_jsonl(path)
    lines = path.read_text().splitlines()
    assert len(lines) == 7
    assert lines[0] == (
        '{"index":3,"status":"failed","error":"ServerError","http_status":500,"request_id":null,'
        '"appointment_id":null,"attempts":3,"elapsed":1.5,"input":3}'
    )
    assert list(read_inputs(path)) == report.inputs()
    assert list(read_inputs(path, Status.UNKNOWN, Status.FAILED)) == [3, 14, 15, 35, 65, 89, 92]
    report.write_jsonl(path, encode=lambda number: {"number": number})
    assert next(read_inputs(path)) == {"number": 3}


@pytest.mark.parametrize(
    "broken", ["{", "[]", '{"status":"failed"}', "3", '{"status":"weird","input":1}', '{"status":[],"input":1}']
)
def test_invalid_line_of_an_outcome_file_is_rejected_by_its_number(broken: str, tmp_path: Path) -> None:
    path = tmp_path / "failures.jsonl"
    path.write_text(f'{{"status":"done","input":1}}\n{broken}\n')
    with pytest.raises(ValueError, match=r"line 2 of .* is not an outcome"):
        list(read_inputs(path))


INVALID: Any = 5


@pytest.mark.parametrize(
    ("use", "rule"),
    [
        (
            lambda _: BulkReport[int, int]().inputs(cast("Any", "failed")),
            "statuses must be a sequence of Status, not of str",
        ),
        (lambda path: read_inputs(path, cast("Any", "failed")), "statuses must be a sequence of Status, not of str"),
        (lambda path: read_inputs(path, Status.FAILED, INVALID), "statuses must be a sequence of Status, not of int"),
        (lambda path: read_inputs(path, decode=INVALID), "decode must be callable, not int"),
        (lambda _: read_inputs(INVALID), "not '?int"),
        (lambda _: BulkReport[int, int]().write_jsonl(INVALID), "not '?int"),
        (lambda path: BulkReport[int, int]().write_jsonl(path, INVALID), "encode must be callable, not int"),
    ],
)
def test_invalid_arguments_of_a_report_and_its_file_are_rejected(
    use: Callable[[Path], object], rule: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=rule):
        use(tmp_path / "failures.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("outcomes", [5, None, []])
async def test_report_rejects_outcomes_that_are_not_async_iterable(outcomes: Any) -> None:
    listener = RecordingListener()
    with pytest.raises(TypeError, match="object is not an async iterable"):
        await BulkReport[int, int]().collect(outcomes, progress=listener)
    assert listener.calls == []


class ListenerWithoutEnd:
    """Lacks the method that is called last."""

    def begin(self, _: int | None) -> None:
        raise AssertionError

    def advance(self, _: object) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"progress": 5}, TypeError, "progress must be a ProgressListener or None, not int"),
        ({"progress": RecordingListener}, TypeError, "progress must be a ProgressListener or None, not the class Rec"),
        ({"progress": ListenerWithoutEnd()}, TypeError, "progress must be a ProgressListener or None, not Listener"),
        ({"total": -1}, ValueError, "total must be zero or more"),
        ({"total": "3"}, TypeError, "total must be an int, not str"),
        ({"total": True}, TypeError, "total must be an int, not bool"),
    ],
)
async def test_invalid_listener_or_total_is_rejected_and_nothing_is_taken(
    options: Any, error: type[Exception], rule: str
) -> None:
    gauge = Gauge()
    with pytest.raises(error, match=rule):
        await BulkReport[int, int]().collect(bulk(gauge, range(3), concurrency=1), **options)
    assert gauge.started == 0


async def test_drafts_are_written_with_their_set_fields(tmp_path: Path, draft: NewAppointment) -> None:
    async with HostileServer(http(400)) as server:
        report: BulkReport[NewAppointment, Appointment] = BulkReport()
        await report.collect(open_service(server).create_many([draft]))
    report.write_jsonl(tmp_path / "drafts.jsonl")
    assert list(read_inputs(tmp_path / "drafts.jsonl")) == [
        {
            "title": draft.title,
            "start_time": "2024-01-15T10:00:00Z",
            "end_time": "2024-01-15T11:00:00Z",
            "description": draft.description,
            "extra": {},
        }
    ]


async def test_many_appointments_are_created_read_updated_and_deleted(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
) -> None:
    sandbox.faults.script(DropAfter(), operation="create")
    sandbox.faults.script(StatusFault(503), StatusFault(500), operation="get")
    report = BulkReport[NewAppointment, Appointment]()
    created = []
    async for outcome in appointments.create_many([draft] * 50, concurrency=8):
        report.counts[outcome.status] += 1
        created += [] if outcome.result is None else [outcome.result.appointment_id]
    assert report.counts == {Status.DONE: 49, Status.UNKNOWN: 1}
    found = [outcome async for outcome in appointments.get_many(created, ordered=True)]
    assert [outcome.input for outcome in found] == created
    assert {outcome.attempts for outcome in found} == {1, 2}
    assert all(outcome.elapsed is not None for outcome in found)
    updates = [AppointmentUpdate(appointment_id=appointment_id, title="Other") for appointment_id in created]
    changed = [outcome.result async for outcome in appointments.update_many(updates)]
    assert {appointment.title for appointment in changed if appointment is not None} == {"Other"}
    deleted = [outcome.status async for outcome in appointments.delete_many([*created, "unknown"])]
    assert Counter(deleted) == {Status.DONE: 49, Status.FAILED: 1}
    assert sandbox.log.count(operation="delete", status=200) == 49


@pytest.mark.row("B2")
async def test_rejected_credentials_end_a_bulk_of_appointments(draft: NewAppointment) -> None:
    async with HostileServer(http(401)) as server:
        run = open_service(server).create_many([draft] * 100, concurrency=4)
        statuses = Counter([outcome.status async for outcome in run])
        assert statuses == {Status.FAILED: len(server.requests), Status.NOT_STARTED: 100 - len(server.requests)}
        assert len(server.requests) <= 4


async def test_invalid_input_fails_only_its_own_outcome(session: ConnectorSession, draft: NewAppointment) -> None:
    drafts: Any = [draft, "not a draft", draft]
    outcomes = [outcome async for outcome in AppointmentService(session).create_many(drafts, ordered=True)]
    assert [outcome.status for outcome in outcomes] == [Status.DONE, Status.FAILED, Status.DONE]
    assert isinstance(outcomes[1].error, TypeError)
    updates: Any = ["not an update"]
    (outcome,) = [outcome async for outcome in AppointmentService(session).update_many(updates)]
    assert isinstance(outcome.error, TypeError)


def test_outcome_shows_neither_its_input_nor_its_result() -> None:
    shown = repr(Outcome(index=1, input="Jane Doe", status=Status.DONE, result="oncology"))
    assert "Jane" not in shown
    assert "oncology" not in shown
