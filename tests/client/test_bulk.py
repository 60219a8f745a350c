"""One outcome for each input, whatever becomes of its call: bounded, in flat memory, and accounted for at every end."""

import asyncio
import gc
import itertools
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
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
    """Counts the calls that are under way."""

    def __init__(self, *failures: tuple[int, Exception]) -> None:
        self.failures = dict(failures)
        self.under_way = self.most = self.begun = 0

    async def __call__(self, number: int) -> int:
        self.begun += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0.001)
        finally:
            self.under_way -= 1
        if number in self.failures:
            raise self.failures[number]
        return 2 * number


SEVEN: list[tuple[int, Exception]] = [
    (3, ServerError("down", status=500, attempts=3, elapsed=1.5)),
    (14, NotFoundError("gone", status=404)),
    (15, TransportError("dropped")),
    (92, ForbiddenError("no", status=403)),
    (65, OutcomeUnknownError("who knows")),
    (35, ValueError("a mistake")),
    (89, KeyError("another")),
]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("inputs", [range, numbers], ids=["iterable", "async iterable"])
async def test_b1_a_hundred_inputs_of_which_seven_fail_are_a_hundred_outcomes(inputs: Any, *, ordered: bool) -> None:
    gauge = Gauge(*SEVEN)
    outcomes = [outcome async for outcome in bulk(gauge, inputs(100), concurrency=8, ordered=ordered)]
    assert gauge.most == 8
    assert sorted(outcome.index for outcome in outcomes) == list(range(100))
    if ordered:
        assert [outcome.index for outcome in outcomes] == list(range(100))
    statuses = Counter(outcome.status for outcome in outcomes)
    assert statuses == {Status.DONE: 93, Status.FAILED: 6, Status.UNKNOWN: 1}
    failed = dict(SEVEN)
    for outcome in outcomes:
        assert outcome.input == outcome.index
        assert outcome.error is failed.get(outcome.index)
        assert outcome.result == (None if outcome.index in failed else 2 * outcome.index)
    by_index = {outcome.index: outcome for outcome in outcomes}
    assert (by_index[3].attempts, by_index[3].elapsed) == (3, 1.5)
    assert (by_index[65].status, by_index[35].attempts) == (Status.UNKNOWN, None)


@pytest.mark.parametrize("ordered", [False, True])
async def test_b2_after_rejected_credentials_the_rest_is_not_started(*, ordered: bool) -> None:
    gauge = Gauge((40, AuthenticationError("refused", status=401)))
    run = bulk(gauge, numbers(100), concurrency=4, ordered=ordered, ends_on=AuthenticationError)
    outcomes = [outcome async for outcome in run]
    assert len(outcomes) == 100
    statuses = Counter(outcome.status for outcome in outcomes)
    assert statuses[Status.FAILED] == 1
    assert statuses[Status.DONE] + 1 == gauge.begun <= 48
    assert statuses[Status.NOT_STARTED] == 100 - gauge.begun


async def test_what_ends_a_bulk_is_the_callers_to_say() -> None:
    for ends_on, begun in ((NotFoundError, 3), ((KeyError, NotFoundError), 3), ((), 10)):
        gauge = Gauge((2, NotFoundError("gone")), (5, AuthenticationError("refused")))
        outcomes = [outcome async for outcome in bulk(gauge, range(10), concurrency=1, ends_on=ends_on)]
        assert len(outcomes) == 10
        assert gauge.begun == begun


async def test_after_too_many_errors_the_rest_is_not_started() -> None:
    gauge = Gauge(*((number, ServerError("down")) for number in range(0, 100, 2)))
    outcomes = [outcome async for outcome in bulk(gauge, range(100), concurrency=1, max_errors=5)]
    assert Counter(outcome.status for outcome in outcomes) == {
        Status.FAILED: 5,
        Status.DONE: 4,
        Status.NOT_STARTED: 91,
    }


@pytest.mark.parametrize("ordered", [False, True])
async def test_b2_what_a_cancellation_leaves_can_be_had(*, ordered: bool) -> None:
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
async def test_a_loop_that_is_left_leaves_no_task_and_the_rest_can_be_had(how: str) -> None:
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
    begun = gauge.begun
    taken += [outcome async for outcome in run]
    assert gauge.begun == begun < 50
    assert sorted(outcome.index for outcome in taken) == list(range(50))


async def test_a_loop_that_is_left_by_break_alone_is_ended_by_the_event_loop() -> None:
    gauge = Gauge()
    async for _ in bulk(gauge, range(1_000), concurrency=4):
        break
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0.001)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert gauge.begun < 20


async def test_a_loop_that_begins_ends_the_one_before_and_takes_what_is_left() -> None:
    gauge = Gauge()
    run = bulk(gauge, range(20), concurrency=2)
    taken = []
    async for outcome in run:
        taken.append(outcome.index)
        break
    taken += [outcome.index async for outcome in run]  # at once: the loop that was left has not ended by itself yet
    assert sorted(taken) == list(range(20))
    assert gauge.begun < 20


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("calls", ["quick", "slow to end"])
async def test_a_loop_that_begins_gets_what_a_loop_that_goes_on_has_left(calls: str, *, ordered: bool) -> None:
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
def test_loops_that_go_on_at_once_share_the_outcomes_between_them(
    count: int,
    concurrency: int,
    ordered: bool,  # noqa: FBT001 - drawn by position
    awaits: bool,  # noqa: FBT001 - drawn by position
    rejected: int | None,
    turns: list[int],
) -> None:
    async def play(number: int) -> int:
        await asyncio.sleep(0)
        if number == rejected:
            raise AuthenticationError("refused")
        return number

    async def walk() -> list[Outcome[int, int]]:
        inputs: Any = numbers(count) if awaits else range(count)
        run = bulk(play, inputs, concurrency=concurrency, ordered=ordered, ends_on=AuthenticationError)
        taken: list[Outcome[int, int]] = []

        async def take() -> None:
            async for outcome in run:
                taken.append(outcome)
                await asyncio.sleep(0)

        loops = []
        for wait in turns:
            loops.append(asyncio.create_task(take()))
            for _ in range(wait):
                await asyncio.sleep(0)
        # An async generator that is cut off while it is awaited ends, and that is told of.
        ends = await asyncio.gather(*loops, return_exceptions=True)
        told = [end for end in ends if end is not None]
        assert all(awaits and isinstance(end, RuntimeError) for end in told)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert told or len(taken) == count
        return taken

    taken = asyncio.run(walk())
    indexes = [outcome.index for outcome in taken]
    assert sorted(indexes) == list(range(len(taken)))
    if ordered:
        assert indexes == sorted(indexes)


async def test_a_loop_that_is_ended_leaves_the_input_that_it_awaited_to_the_next() -> None:
    go_on = asyncio.Event()
    awaited = asyncio.Event()

    async def waiting() -> AsyncIterator[int]:
        yield 0
        awaited.set()
        await go_on.wait()
        yield 1
        yield 2

    gauge = Gauge((0, AuthenticationError("refused")))
    run = bulk(gauge, waiting(), concurrency=1, ends_on=AuthenticationError)
    before, after = BulkReport[int, int](), BulkReport[int, int]()
    first = asyncio.create_task(before.collect(run))
    async with asyncio.timeout(5):
        await awaited.wait()
        second = asyncio.create_task(after.collect(run))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, second)
    assert [outcome.index for outcome in before.unfinished] == [0]
    assert [outcome.index for outcome in after.unfinished] == [1, 2]


async def test_no_more_workers_are_begun_than_there_are_inputs() -> None:
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


async def test_a_call_does_not_see_what_another_worker_has_set_in_its_context() -> None:
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
    # The worker of the first call made the second one, too.
    assert seen == [None, 0, None, None, None, None]


if sys.version_info >= (3, 12):  # before it there are no eager tasks

    async def test_with_eager_tasks_workers_are_not_begun_within_one_another() -> None:
        loop = asyncio.get_running_loop()
        factory = loop.get_task_factory()
        loop.set_task_factory(asyncio.eager_task_factory)
        try:
            outcomes = [outcome async for outcome in bulk(double, range(5_000), concurrency=5_000)]
        finally:
            loop.set_task_factory(factory)
        assert Counter(outcome.status for outcome in outcomes) == {Status.DONE: 5_000}


@pytest.mark.parametrize("options", [{"ends_on": AuthenticationError}, {"max_errors": 1}])
async def test_no_call_is_begun_after_the_end_by_those_who_awaited_an_input(options: Any) -> None:
    gauge = Gauge(*((number, AuthenticationError("refused")) for number in range(100)))

    async def slow() -> AsyncIterator[int]:
        for number in range(100):
            await asyncio.sleep(0.002)
            yield number

    outcomes = [outcome async for outcome in bulk(gauge, slow(), concurrency=8, **options)]
    assert gauge.begun == 1
    assert Counter(outcome.status for outcome in outcomes) == {Status.FAILED: 1, Status.NOT_STARTED: 99}


async def test_inputs_that_end_by_the_cancellation_are_told_of() -> None:
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
    with pytest.raises(RuntimeError, match="nobody knows what was left"):
        await report.collect(run)
    assert report.counts == {Status.DONE: 5}


async def test_an_iterator_class_goes_on_after_a_cancellation_and_its_end_is_the_end() -> None:
    class Feed:
        """Has five inputs, and awaits whether there are more."""

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


async def test_inputs_that_are_cancelled_from_within_are_told_of() -> None:
    async def broken() -> AsyncIterator[int]:
        for number in range(10):
            yield number
        raise asyncio.CancelledError

    report: BulkReport[int, int] = BulkReport()
    with pytest.raises(RuntimeError, match="the inputs were cancelled from within"):
        await report.collect(bulk(double, broken(), concurrency=2))
    assert report.counts == {Status.DONE: 10}


async def test_what_is_not_started_leaves_the_event_loop_its_turns() -> None:
    gauge = Gauge((0, AuthenticationError("refused")))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    count = 0
    async for outcome in bulk(gauge, range(10_000), concurrency=1, ends_on=AuthenticationError):
        count += 1
        if outcome.index == 10:
            turns = 0
    turning.cancel()
    assert count == 10_000
    assert turns > 30


async def test_a_call_that_does_not_heed_its_cancellation_is_the_last_of_its_worker() -> None:
    begun = []

    async def stubborn(number: int) -> int:
        begun.append(number)
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return number

    outcomes = bulk(stubborn, range(100), concurrency=2).outcomes()
    await anext(outcomes)
    await outcomes.aclose()
    assert len(begun) <= 4


async def test_a_cancellation_among_what_is_not_started_loses_none_of_it() -> None:
    gauge = Gauge((0, AuthenticationError("refused")))
    run = bulk(gauge, range(5_000), concurrency=1, ends_on=AuthenticationError)
    report: BulkReport[int, int] = BulkReport()
    for turns in range(1, 12):
        task = asyncio.create_task(report.collect(run))
        for _ in range(turns):
            await asyncio.sleep(0.001 if turns == 1 else 0)
        task.cancel()
        await asyncio.wait([task])
    await report.collect(run)
    assert sum(report.counts.values()) == 5_000
    assert [outcome.index for outcome in report.unfinished] == sorted({outcome.index for outcome in report.unfinished})


async def test_what_is_no_exception_ends_the_whole_and_is_raised() -> None:
    class Stop(BaseException):
        pass

    async def stop(number: int) -> int:
        if number == 3:
            raise Stop
        return number

    taken: list[int] = []

    async def take() -> None:
        async for outcome in bulk(stop, range(6), concurrency=1):
            taken.append(outcome.index)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(Stop):
        await take()
    assert taken == list(range(6))


async def test_cancellations_within_calls_count_as_errors() -> None:
    async def cancelled(_: int) -> int:
        raise asyncio.CancelledError

    outcomes = [outcome async for outcome in bulk(cancelled, range(10), concurrency=1, max_errors=2)]
    assert Counter(outcome.status for outcome in outcomes) == {Status.UNKNOWN: 2, Status.NOT_STARTED: 8}


async def test_the_record_of_a_call_is_not_that_of_the_one_before(appointments: AppointmentService) -> None:
    async def only_the_first(number: int) -> None:
        if number == 0:
            await appointments.preview().collect()

    outcomes = [outcome async for outcome in bulk(only_the_first, range(2), concurrency=1)]
    assert [outcome.attempts for outcome in outcomes] == [1, None]


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_slow_taker_slows_the_calls(*, ordered: bool) -> None:
    gauge = Gauge()
    ahead = 0
    taken = 0
    async for _ in bulk(gauge, range(100), concurrency=4, ordered=ordered):
        taken += 1
        await asyncio.sleep(0.003)
        ahead = max(ahead, gauge.begun - taken)
    assert taken == 100
    assert ahead <= 8


async def test_calls_behind_a_slow_one_wait_when_the_order_is_to_be_kept() -> None:
    slow = asyncio.Event()
    begun = []

    async def first_is_slow(number: int) -> int:
        begun.append(number)
        if number == 0:
            await slow.wait()
        return number

    walk = aiter(bulk(first_is_slow, itertools.count(), concurrency=3, ordered=True))
    first = asyncio.ensure_future(anext(walk))
    for _ in range(50):
        await asyncio.sleep(0)
    assert begun == list(range(6))
    slow.set()
    assert (await first).index == 0
    await walk.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_the_inputs_raise_is_raised_after_every_outcome(*, ordered: bool) -> None:
    def broken() -> Iterator[int]:
        yield from range(10)
        raise OSError("the file is gone")

    async def broken_too() -> AsyncIterator[int]:
        for number in broken():
            yield number

    for inputs in (broken(), broken_too()):
        report: BulkReport[int, int] = BulkReport()
        with pytest.raises(OSError, match="the file is gone"):
            await report.collect(bulk(double, inputs, concurrency=4, ordered=ordered))
        assert report.counts == {Status.DONE: 10}


async def test_a_cancellation_within_a_call_is_its_own_and_ends_no_worker() -> None:
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
def test_no_input_is_lost_or_doubled(
    script: list[str],
    concurrency: int,
    ordered: bool,  # noqa: FBT001 - drawn by position
    max_errors: int | None,
    leave_after: int,
) -> None:
    errors = {
        "failed": ServerError("down"),
        "unknown": OutcomeUnknownError("who knows"),
        "rejected": AuthenticationError("refused"),
    }
    begun = []

    async def play(number: int) -> int:
        begun.append(number)
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
    assert len(begun) == len(set(begun))
    started = {outcome.index for outcome in taken if outcome.status is not Status.NOT_STARTED}
    assert started == set(begun)
    if ordered:
        assert [outcome.index for outcome in taken] == list(range(len(script)))


@pytest.mark.slow
async def test_b3_memory_is_flat_over_a_million_inputs() -> None:
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
    print(f"\nresident after 10,000 and 1,000,000 inputs: {megabytes} MB")
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
        ({"ends_on": "x"}, TypeError, "ends_on must be a class of exceptions, or a tuple of them"),
        ({"ends_on": (KeyError, 3)}, TypeError, "ends_on must be a class of exceptions, or a tuple of them"),
        ({"max_errors": 0}, ValueError, "max_errors must be 1 or more"),
        ({"max_errors": "1"}, TypeError, "max_errors must be an int, not str"),
        ({"ordered": "no"}, TypeError, "ordered must be a bool, not str"),
        ({"ordered": 1}, TypeError, "ordered must be a bool, not int"),
    ],
)
def test_a_bad_argument_is_refused_by_name(options: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        bulk(**{"function": double, "inputs": [1], "concurrency": 1} | options)


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def begin(self, total: int | None) -> None:
        self.told.append(("begin", total))

    def advance(self, outcome: Outcome[Any, Any]) -> None:
        self.told.append(outcome.index)

    def end(self) -> None:
        self.told.append("end")


async def test_a_report_adds_up_and_tells_its_listener() -> None:
    told = Told()
    run = bulk(Gauge(*SEVEN), range(100), concurrency=8, ordered=True)
    report: BulkReport[int, int] = await BulkReport[int, int]().collect(run, progress=told, total=100)
    assert report.counts == {Status.DONE: 93, Status.FAILED: 6, Status.UNKNOWN: 1}
    assert told.told == [("begin", 100), *range(100), "end"]
    assert report.inputs() == [3, 14, 15, 35, 89, 92]
    assert report.inputs(Status.UNKNOWN) == [65]
    again = await BulkReport[int, int]().collect(bulk(double, report.inputs(), concurrency=2))
    assert again.counts == {Status.DONE: 6}


async def test_a_listener_that_raises_ends_the_loop_and_is_told_of_the_end() -> None:
    class Broken(Told):
        def advance(self, outcome: Outcome[Any, Any]) -> None:
            raise ZeroDivisionError(outcome)

    told = Broken()
    with pytest.raises(ZeroDivisionError):
        await BulkReport[int, int]().collect(bulk(double, range(9), concurrency=2), progress=told)
    assert told.told == [("begin", None), "end"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_listener_that_cannot_begin_is_not_told_of_an_end_and_nothing_is_taken() -> None:
    class Broken(Told):
        def begin(self, total: int | None) -> None:
            raise ZeroDivisionError(total)

    told = Broken()
    gauge = Gauge()
    run = bulk(gauge, range(9), concurrency=2)
    report = BulkReport[int, int]()
    with pytest.raises(ZeroDivisionError):
        await report.collect(run, progress=told)
    assert (told.told, gauge.begun) == ([], 0)
    await report.collect(run)
    assert report.counts == {Status.DONE: 9}


async def test_a_listener_is_told_of_the_end_when_the_loop_cannot_be_closed() -> None:
    async def outcomes() -> AsyncIterator[Outcome[int, int]]:
        try:
            yield Outcome(index=0, input=0, status=Status.DONE)
            yield Outcome(index=1, input=1, status=Status.DONE)
        finally:
            raise KeyError

    class Leaving(Told):
        def advance(self, outcome: Outcome[Any, Any]) -> None:
            raise ZeroDivisionError(outcome)

    told = Leaving()
    with pytest.raises(KeyError):
        await BulkReport[int, int]().collect(outcomes(), progress=told)
    assert told.told == [("begin", None), "end"]


async def test_what_is_not_done_is_written_as_json_lines_and_read_again(tmp_path: Path) -> None:
    report = await BulkReport[int, int]().collect(bulk(Gauge(*SEVEN), range(100), concurrency=8, ordered=True))
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
def test_a_line_that_is_no_outcome_is_refused_by_its_number(broken: str, tmp_path: Path) -> None:
    path = tmp_path / "failures.jsonl"
    path.write_text(f'{{"status":"done","input":1}}\n{broken}\n')
    with pytest.raises(ValueError, match=r"line 2 of .* is not an outcome"):
        list(read_inputs(path))


WRONG: Any = 5


@pytest.mark.parametrize(
    ("use", "rule"),
    [
        (lambda _: BulkReport[int, int]().inputs(cast("Any", "failed")), "statuses must be of type Status, not str"),
        (lambda path: read_inputs(path, cast("Any", "failed")), "statuses must be of type Status, not str"),
        (lambda path: read_inputs(path, Status.FAILED, WRONG), "statuses must be of type Status, not int"),
        (lambda path: read_inputs(path, decode=WRONG), "decode must be callable or None, not int"),
        (lambda _: read_inputs(WRONG), "path must be a Path or a str, not int"),
        (lambda _: BulkReport[int, int]().write_jsonl(WRONG), "path must be a Path or a str, not int"),
        (lambda path: BulkReport[int, int]().write_jsonl(path, WRONG), "encode must be callable, not int"),
    ],
)
def test_a_report_and_its_file_refuse_bad_arguments_by_name(
    use: Callable[[Path], object], rule: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=rule):
        use(tmp_path / "failures.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("outcomes", [5, None, []])
async def test_a_report_collects_what_can_be_looped_over(outcomes: Any) -> None:
    told = Told()
    with pytest.raises(TypeError, match="outcomes must be an async iterable, such as a Bulk, not"):
        await BulkReport[int, int]().collect(outcomes, progress=told)
    assert told.told == []


class NeverEnds:
    """Lacks what is called last."""

    def begin(self, _: int | None) -> None:
        raise AssertionError

    def advance(self, _: object) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"progress": 5}, TypeError, "progress must be a ProgressListener or None, not int"),
        ({"progress": Told}, TypeError, "progress must be a ProgressListener or None, not type"),
        ({"progress": NeverEnds()}, TypeError, "progress must be a ProgressListener or None, not NeverEnds"),
        ({"total": -1}, ValueError, "total must be zero or more"),
        ({"total": "3"}, TypeError, "total must be an int or None, not str"),
        ({"total": True}, TypeError, "total must be an int or None, not bool"),
    ],
)
async def test_a_report_that_cannot_tell_its_listener_takes_nothing(
    options: Any, error: type[Exception], rule: str
) -> None:
    gauge = Gauge()
    with pytest.raises(error, match=rule):
        await BulkReport[int, int]().collect(bulk(gauge, range(3), concurrency=1), **options)
    assert gauge.begun == 0


async def test_drafts_are_written_with_the_fields_that_are_set(tmp_path: Path, draft: NewAppointment) -> None:
    async with HostileServer(http(400)) as server:
        report: BulkReport[NewAppointment, Appointment] = BulkReport()
        await report.collect(open_service(server).create_many([draft]))
    report.write_jsonl(tmp_path / "drafts.jsonl")
    assert list(read_inputs(tmp_path / "drafts.jsonl")) == [
        {
            "title": draft.title,
            "start_time": "2024-01-15T10:00:00+00:00",
            "end_time": "2024-01-15T11:00:00+00:00",
            "description": draft.description,
            "extra": {},
        }
    ]


async def test_many_appointments_are_created_read_changed_and_deleted(
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
    updates = [AppointmentUpdate(appointment_id=known, title="Other") for known in created]
    changed = [outcome.result async for outcome in appointments.update_many(updates)]
    assert {appointment.title for appointment in changed if appointment is not None} == {"Other"}
    deleted = [outcome.status async for outcome in appointments.delete_many([*created, "unknown"])]
    assert Counter(deleted) == {Status.DONE: 49, Status.FAILED: 1}
    assert sandbox.log.count(operation="delete", status=200) == 49


async def test_b2_rejected_credentials_end_a_bulk_of_appointments(draft: NewAppointment) -> None:
    async with HostileServer(http(401)) as server:
        run = open_service(server).create_many([draft] * 100, concurrency=4)
        statuses = Counter([outcome.status async for outcome in run])
        assert statuses == {Status.FAILED: len(server.requests), Status.NOT_STARTED: 100 - len(server.requests)}
        assert len(server.requests) <= 4


async def test_a_bad_input_is_the_outcome_of_that_input(session: ConnectorSession, draft: NewAppointment) -> None:
    wrong: Any = [draft, "no draft", draft]
    outcomes = [outcome async for outcome in AppointmentService(session).create_many(wrong, ordered=True)]
    assert [outcome.status for outcome in outcomes] == [Status.DONE, Status.FAILED, Status.DONE]
    assert isinstance(outcomes[1].error, TypeError)
    no_update: Any = ["no update"]
    (refused,) = [outcome async for outcome in AppointmentService(session).update_many(no_update)]
    assert isinstance(refused.error, TypeError)


def test_an_outcome_shows_neither_its_input_nor_its_result() -> None:
    shown = repr(Outcome(index=1, input="Jane Doe", status=Status.DONE, result="oncology"))
    assert "Jane" not in shown
    assert "oncology" not in shown
