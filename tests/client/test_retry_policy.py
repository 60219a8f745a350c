"""The fields of a policy, its strategies, and the quota, without any call."""

import math
import statistics
import threading
from typing import Any, cast

import attrs
import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from connector_async import (
    Clock,
    ConnectFailedError,
    DeadlineExceededError,
    DecodingError,
    OutcomeUnknownError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseError,
    RetryPolicy,
    RetryQuota,
    ServerError,
    TransportError,
)
from connector_async._clock import Deadline
from connector_async.retry import (
    is_throttled,
    is_transient,
    may_have_happened,
    retry_if_not_happened,
    retry_if_transient,
    stop_above_retry_after,
    stop_before_deadline,
    wait_backoff,
    wait_retry_after,
)
from tests.conftest import ManualClock


async def coroutine_function(_: object) -> bool:
    return True


def state_after(error: BaseException | None, attempt: int = 1) -> tenacity.RetryCallState:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    if error is not None:
        state.set_exception((type(error), error, None))
    return state


@pytest.mark.row("R8")
async def test_bound_of_the_wait_doubles_up_to_its_cap(clock: ManualClock) -> None:
    wait = wait_backoff(initial=0.5, maximum=8, clock=clock)
    error = TransportError("dropped")
    assert [wait(state_after(error, attempt)) for attempt in range(1, 7)] == [0.5, 1, 2, 4, 8, 8]


@pytest.mark.row("R8")
def test_wait_is_drawn_evenly_below_its_bound() -> None:
    wait = wait_backoff(initial=0.5, maximum=8, clock=Clock())
    drawn = [wait(state_after(TransportError("dropped"), 4)) for _ in range(5_000)]
    assert all(0 <= seconds <= 4 for seconds in drawn)
    assert abs(statistics.fmean(drawn) - 2) < 0.05 * 2
    assert min(drawn) < 0.2 < 3.8 < max(drawn)


@pytest.mark.parametrize("error", [RateLimitedError("no", status=429), ServerError("no", status=503)])
def test_waits_after_throttling_start_longer_and_have_the_same_cap(clock: ManualClock, error: Exception) -> None:
    wait = wait_backoff(clock=clock)
    assert [wait(state_after(error, attempt)) for attempt in range(1, 5)] == [2, 4, 8, 8]
    assert wait_backoff(initial_throttled=9, clock=clock)(state_after(error)) == 8


@pytest.mark.parametrize("attempt", [65, 10_000, 10**9])
@pytest.mark.parametrize("exp_base", [2.0, 1e300])
def test_wait_after_very_many_attempts_is_its_cap(clock: ManualClock, attempt: int, exp_base: float) -> None:
    assert wait_backoff(exp_base=exp_base, clock=clock)(state_after(TransportError("x"), attempt)) == 8


def test_retry_after_replaces_the_backoff(clock: ManualClock) -> None:
    wait = wait_retry_after(wait_backoff(clock=clock), clock)
    assert wait(state_after(RateLimitedError("no", status=429, retry_after=30))) == 33
    clock.draw = 0
    assert wait(state_after(RateLimitedError("no", status=429, retry_after=30))) == 30
    clock.draw = 1
    assert wait(state_after(RateLimitedError("no", status=429))) == 2
    assert wait(state_after(TransportError("dropped"))) == 0.5


def test_strategies_work_before_there_is_an_outcome(clock: ManualClock) -> None:
    state = state_after(None)
    assert wait_retry_after(wait_backoff(clock=clock))(state) == 0.5
    assert stop_above_retry_after(1)(state) is False
    assert retry_if_transient()(state) is False
    assert retry_if_not_happened()(state) is False


@pytest.mark.row("R9")
def test_only_a_retry_after_above_the_cap_stops() -> None:
    stop = stop_above_retry_after(120)
    assert [
        stop(state_after(ServerError("no", status=503, retry_after=seconds))) for seconds in (119, 120, 120.5, 1e9)
    ] == [False, False, True, True]


def test_wait_that_would_reach_the_deadline_stops(clock: ManualClock) -> None:
    stop = stop_before_deadline(Deadline(10, clock))
    state = state_after(TransportError("dropped"))
    clock.now += 4
    results = []
    for wait in (0.0, 5.9, 6.0, 7.0):
        state.upcoming_sleep = wait
        results.append(stop(state))
    assert results == [False, False, True, True]


TRANSIENT = [
    TransportError("x"),
    ConnectFailedError("x"),
    RequestTimeoutError("x"),
    *(ResponseError("x", status=status) for status in (408, 429, 500, 502, 503, 504)),
    OutcomeUnknownError("x", absent=True),
]
PERMANENT = [
    *(ResponseError("x", status=status) for status in (200, 301, 400, 401, 403, 404, 409, 422, 501, 505, 520)),
    DecodingError("x"),
    DeadlineExceededError("x"),
    OutcomeUnknownError("x"),
    ValueError("x"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize(
    ("error", "transient"),
    [*((error, True) for error in TRANSIENT), *((error, False) for error in PERMANENT)],
    ids=repr,
)
def test_is_transient_recognizes_transient_errors(error: BaseException, *, transient: bool) -> None:
    assert is_transient(error) is transient
    assert retry_if_transient()(state_after(error)) is transient


@pytest.mark.parametrize(
    ("error", "may_have"),
    [
        (TransportError("x"), True),
        (TransportError("x", sent=False), False),
        (ConnectFailedError("x"), False),
        (DeadlineExceededError("x"), True),
        (DeadlineExceededError("x", sent=False), False),
        (DecodingError("x"), True),
        (OutcomeUnknownError("x"), True),
        (OutcomeUnknownError("x", absent=True), False),
        (KeyboardInterrupt(), True),
        *((ResponseError("x", status=status), True) for status in (300, 303, 500, 502, 503, 504, 520, 599)),
        *((ResponseError("x", status=status), False) for status in (307, 308, 400, 401, 408, 429, 499, 501)),
        (ResponseError("x", status=503, retry_after=1), False),
        (ResponseError("x", status=500, retry_after=1), True),
        (ResponseError("x", status=500, sent=False), False),
    ],
    ids=repr,
)
def test_may_have_happened_depends_on_the_error(error: BaseException, *, may_have: bool) -> None:
    assert may_have_happened(error) is may_have
    assert retry_if_not_happened()(state_after(error)) is not may_have


@pytest.mark.row("R5")
def test_503_with_retry_after_may_have_happened_unless_it_means_refused() -> None:
    error = ResponseError("x", status=503, retry_after=1)
    assert may_have_happened(error, unavailable_means_refused=False)
    assert not retry_if_not_happened(unavailable_means_refused=False)(state_after(error))


@pytest.mark.parametrize(("status", "throttled"), [(429, True), (503, True), (500, False), (408, False)])
def test_only_429_and_503_are_throttling(status: int, *, throttled: bool) -> None:
    assert is_throttled(ResponseError("x", status=status)) is throttled
    assert not is_throttled(TransportError("x"))


def test_default_policy_has_three_attempts_and_none_has_one() -> None:
    assert RetryPolicy().attempts == 3
    assert RetryPolicy.none() == RetryPolicy(attempts=1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RetryPolicy().attempts = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"attempts": 0}, ValueError, "attempts must be 1 or more"),
        ({"attempts": 2.5}, TypeError, "attempts must be an int, not float"),
        ({"attempts": True}, TypeError, "attempts must be an int, not bool"),
        ({"wait_initial": -1}, ValueError, "wait_initial must be zero or more"),
        ({"wait_initial": float("nan")}, ValueError, "wait_initial must be zero or more"),
        ({"wait_max": float("inf")}, ValueError, "wait_max must be finite"),
        ({"wait_initial_throttled": "2"}, TypeError, "wait_initial_throttled must be a number of seconds, not str"),
        ({"retry_after_max": None}, TypeError, "retry_after_max must be a number of seconds, not NoneType"),
        ({"wait_exp_base": 0.5}, ValueError, "wait_exp_base must be 1 or more, and finite"),
        ({"wait_exp_base": "2"}, TypeError, "wait_exp_base must be a number, not str"),
        ({"wait_exp_base": True}, TypeError, "wait_exp_base must be a number, not bool"),
        ({"unavailable_means_refused": 1}, TypeError, "unavailable_means_refused must be a bool, not int"),
        ({"stop": 3}, TypeError, "stop must be callable, not int"),
        ({"wait": 3}, TypeError, "wait must be callable, not int"),
        ({"retry": 3}, TypeError, "retry must be callable, not int"),
        ({"on_retry": 3}, TypeError, "on_retry must be callable, not int"),
        ({"on_retry": coroutine_function}, TypeError, "on_retry must be a plain function, not a coroutine function"),
        ({"stop": coroutine_function}, TypeError, "stop must be a plain function, not a coroutine function"),
        ({"wait": coroutine_function}, TypeError, "wait must be a plain function, not a coroutine function"),
        ({"wait_max": 10**400}, ValueError, "wait_max must be finite"),
        ({"stop": tenacity.stop_after_attempt}, TypeError, "stop must be an instance of a strategy, not its class"),
        ({"wait": tenacity.wait_fixed}, TypeError, "wait must be an instance of a strategy, not its class"),
        ({"retry": retry_if_transient}, TypeError, "retry must be an instance of a strategy, not its class"),
    ],
)
def test_invalid_field_of_a_policy_is_rejected_by_name(options: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        RetryPolicy(**options)


ANY: Any = "hunter2"


@pytest.mark.parametrize(
    ("build", "error", "rule"),
    [
        (lambda: stop_before_deadline(ANY), TypeError, "deadline must be a Deadline, not str"),
        (lambda: stop_above_retry_after(ANY), TypeError, "seconds must be a number of seconds, not str"),
        (lambda: stop_above_retry_after(math.nan), ValueError, "seconds must be zero or more"),
        (lambda: wait_backoff(initial=-1), ValueError, "initial must be zero or more"),
        (lambda: wait_backoff(initial=True), TypeError, "initial must be a number of seconds, not bool"),
        (lambda: wait_backoff(initial_throttled=math.nan), ValueError, "initial_throttled must be zero or more"),
        (lambda: wait_backoff(maximum=math.inf), ValueError, "maximum must be finite"),
        (lambda: wait_backoff(exp_base=0), ValueError, "exp_base must be 1 or more, and finite"),
        (lambda: wait_backoff(exp_base=ANY), TypeError, "exp_base must be a number, not str"),
        (lambda: wait_backoff(clock=ANY), TypeError, "clock must be a Clock or None, not str"),
        (lambda: wait_retry_after(wait_backoff(), ANY), TypeError, "clock must be a Clock or None, not str"),
        (lambda: wait_retry_after(ANY), TypeError, "otherwise must be callable, not str"),
        (lambda: wait_retry_after(cast("Any", wait_backoff)), TypeError, "otherwise must be an instance of a strategy"),
        (lambda: retry_if_not_happened(unavailable_means_refused=ANY), TypeError, "refused must be a bool, not str"),
    ],
)
def test_invalid_argument_of_a_strategy_is_rejected_by_name(build: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        build()


@pytest.mark.row("R11")
@given(st.lists(st.tuples(st.sampled_from(["spend", "refund"]), st.integers(1, 200))))
def test_quota_stays_between_zero_and_its_capacity(steps: list[tuple[str, int]]) -> None:
    quota = RetryQuota(capacity=100)
    for step, amount in steps:
        before = quota.available
        if step == "refund":
            quota.refund(amount)
            assert quota.available == min(100, before + amount)
        else:
            spent = quota.spend(amount)
            assert spent is (amount <= before)
            assert quota.available == before - (amount if spent else 0)
        assert 0 <= quota.available <= 100


@pytest.mark.parametrize(
    ("use", "value", "error", "rule"),
    [
        ("capacity", -1, ValueError, "must be zero or more"),
        ("capacity", math.nan, TypeError, "must be an int, not float"),
        ("spend", -1, ValueError, "must be zero or more"),
        ("spend", True, TypeError, "must be an int, not bool"),
        ("spend", None, TypeError, "must be an int, not NoneType"),
        ("refund", -1, ValueError, "must be zero or more"),
        ("refund", "1", TypeError, "must be an int, not str"),
    ],
)
def test_invalid_amount_of_a_quota_is_rejected(use: str, value: Any, error: type[Exception], rule: str) -> None:
    quota = RetryQuota(100)
    assert quota.spend(10)
    name = {"spend": "cost", "refund": "amount"}.get(use, use)
    with pytest.raises(error, match=f"{name} {rule}"):
        RetryQuota(value) if use == "capacity" else getattr(quota, use)(value)
    assert quota.available == 90
    assert not RetryQuota(0).spend(1)


def test_quota_is_thread_safe() -> None:
    quota = RetryQuota(capacity=40_000)

    def spend_and_refund() -> None:
        for _ in range(10_000):
            assert quota.spend(1)
        for _ in range(5_000):
            quota.refund(1)

    threads = [threading.Thread(target=spend_and_refund) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert quota.available == 20_000
