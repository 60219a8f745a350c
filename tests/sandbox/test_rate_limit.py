import math
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async.sandbox import LimitWindow, Sandbox, SandboxLimit
from connector_async.sandbox.rate_limit import RequestLimiter
from tests.support.sandbox_user import CREDENTIALS, joined

WINDOWS = pytest.mark.parametrize("window", list(LimitWindow))


class Clock:
    def __init__(self) -> None:
        self.time = 1_000.0

    def __call__(self) -> float:
        return self.time


def limiter(window: LimitWindow, clock: Clock, *, requests: int = 4, per: float = 60.0) -> RequestLimiter:
    return RequestLimiter(SandboxLimit(requests=requests, per=per, window=window), monotonic=clock)


def admissions(window: LimitWindow, times: list[float]) -> list[float]:
    """Return what each request at these seconds after the first is told."""
    clock = Clock()
    limited = limiter(window, clock)
    told = []
    for seconds in times:
        clock.time = 1_000.0 + seconds
        told.append(limited.admit("acme"))
    return told


def test_a_fixed_window_starts_with_the_first_request_and_refills_at_once() -> None:
    assert admissions(LimitWindow.FIXED, [0, 50, 50, 50, 59]) == [0, 0, 0, 0, 1]
    assert admissions(LimitWindow.FIXED, [0, 59, 59, 59, 60, 60, 60, 60, 100]) == [0, 0, 0, 0, 0, 0, 0, 0, 20]
    assert admissions(LimitWindow.FIXED, [0, 130, 130, 130, 130, 130]) == [0, 0, 0, 0, 0, 50]


def test_a_sliding_window_counts_the_time_that_ends_now() -> None:
    assert admissions(LimitWindow.SLIDING, [0, 50, 50, 50, 59, 60, 61, 110]) == [0, 0, 0, 0, 1, 0, 49, 0]


def test_a_token_bucket_starts_full_and_refills_steadily() -> None:
    assert admissions(LimitWindow.TOKEN_BUCKET, [0, 0, 0, 0, 0, 6, 15, 15]) == [0, 0, 0, 0, 15, 9, 0, 15]
    assert admissions(LimitWindow.TOKEN_BUCKET, [0, 600, 600, 600, 600, 600]) == [0, 0, 0, 0, 0, 15]


@given(
    st.sampled_from(LimitWindow),
    st.integers(1, 7),
    st.floats(0.1, 100),
    st.lists(st.floats(0, 60), min_size=1, max_size=60),
)
def test_whoever_waits_as_told_is_admitted(window: LimitWindow, requests: int, per: float, gaps: list[float]) -> None:
    clock = Clock()
    limited = limiter(window, clock, requests=requests, per=per)
    for gap in gaps:
        wait = limited.admit("acme")
        assert 0 <= wait <= per * (1 + 1e-9)
        if wait:
            clock.time += wait
            assert limited.admit("acme") == 0
        clock.time += gap


@WINDOWS
def test_rounding_neither_keeps_out_who_waited_as_told_nor_lets_another_in(window: LimitWindow) -> None:
    for number in range(200):
        clock = Clock()
        clock.time += number / 7
        limited = limiter(window, clock, requests=1, per=0.1)
        assert limited.admit("acme") == 0
        clock.time += limited.admit("acme")
        assert limited.admit("acme") == 0
        assert limited.admit("acme") > 0.09


@WINDOWS
def test_no_more_are_admitted_at_one_time_than_the_limit(window: LimitWindow) -> None:
    limited = limiter(window, Clock())
    assert [limited.admit("acme") == 0 for _ in range(6)] == [True] * 4 + [False] * 2
    assert limited.admit("other") == 0


@pytest.mark.parametrize("wrong", [{"requests": 0}, {"per": 0}, {"per": math.inf}, {"per": math.nan}, {"status": 500}])
def test_a_limit_that_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SandboxLimit(**wrong)


async def statuses(session: aiohttp.ClientSession, tenant: str, count: int) -> list[tuple[int, str | None]]:
    """Ask for tokens and tell the status and the `Retry-After` of each answer."""
    told = []
    for _ in range(count):
        async with session.post(f"/{tenant}/authentication/token", json=CREDENTIALS) as response:
            told.append((response.status, response.headers.get("Retry-After")))
    return told


@WINDOWS
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", [True, False])
async def test_too_many_requests_of_a_tenant_are_refused_and_logged(
    window: LimitWindow, *, status: int, retry_after: bool
) -> None:
    limit = SandboxLimit(requests=2, per=9.5, window=window, status=status, retry_after=retry_after)
    seconds = {LimitWindow.FIXED: "10", LimitWindow.SLIDING: "10", LimitWindow.TOKEN_BUCKET: "5"}[window]
    clock = Clock()
    async with (
        Sandbox(limit=limit, monotonic=clock) as sandbox,
        aiohttp.ClientSession(sandbox.base_url) as session,
    ):
        refused = (status, seconds if retry_after else None)
        assert await statuses(session, "acme", 3) == [(200, None), (200, None), refused]
        assert await statuses(session, "other", 1) == [(200, None)]
        last = sandbox.log.entries[2]
        assert (last.operation, last.status, last.applied, last.fault) == ("token", status, False, None)
        clock.time += int(seconds)
        assert await statuses(session, "acme", 1) == [(200, None)]
        async with session.get("/acme/nothing") as response:
            assert response.status in (404, status)  # counted like any other
        for _ in range(limit.requests + 1):
            async with session.get("/openapi.json") as response:
                assert response.status == 200


async def test_a_refusal_for_the_rate_is_a_problem() -> None:
    sandbox = Sandbox(limit=SandboxLimit(requests=1), monotonic=Clock())
    async with joined(sandbox) as acme:
        status, problem = await acme.call("GET", "/preview")
    assert (status, problem["status"], problem["title"]) == (429, 429, "Too Many Requests")
    assert problem["type"] == "https://tools.ietf.org/html/rfc6585#section-4"
    assert problem["traceId"] == sandbox.log.entries[-1].request_id


async def test_requests_that_are_refused_for_other_reasons_count_too() -> None:
    sandbox = Sandbox(limit=SandboxLimit(requests=3), monotonic=Clock())
    async with sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        told = []
        for method, path in (("GET", "/acme/appointment"), ("GET", "/acme/nothing"), ("PATCH", "/acme/appointment")):
            async with session.request(method, path) as response:
                told.append(response.status)
        assert told == [401, 404, 405]
        assert await statuses(session, "acme", 1) == [(429, "60")]
