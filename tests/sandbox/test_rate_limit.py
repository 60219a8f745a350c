import math
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async.sandbox import LimitWindow, Sandbox, SandboxLimit
from connector_async.sandbox.rate_limit import RequestLimiter
from tests.support.sandbox_user import CREDENTIALS, ManualClock, signed_in

WINDOWS = pytest.mark.parametrize("window", list(LimitWindow))


def make_limiter(window: LimitWindow, clock: ManualClock, *, requests: int = 4, per: float = 60.0) -> RequestLimiter:
    return RequestLimiter(SandboxLimit(requests=requests, per=per, window=window), monotonic=clock)


def admissions(window: LimitWindow, times: list[float]) -> list[float]:
    """Return the wait of a request at each of these seconds after the first."""
    clock = ManualClock()
    limiter = make_limiter(window, clock)
    waits = []
    for seconds in times:
        clock.time = 1_000.0 + seconds
        waits.append(limiter.admit("acme"))
    return waits


def test_fixed_window_starts_with_the_first_request_and_refills_at_once() -> None:
    assert admissions(LimitWindow.FIXED, [0, 50, 50, 50, 59]) == [0, 0, 0, 0, 1]
    assert admissions(LimitWindow.FIXED, [0, 59, 59, 59, 60, 60, 60, 60, 100]) == [0, 0, 0, 0, 0, 0, 0, 0, 20]
    assert admissions(LimitWindow.FIXED, [0, 130, 130, 130, 130, 130]) == [0, 0, 0, 0, 0, 50]


def test_sliding_window_counts_the_period_that_ends_now() -> None:
    assert admissions(LimitWindow.SLIDING, [0, 50, 50, 50, 59, 60, 61, 110]) == [0, 0, 0, 0, 1, 0, 49, 0]


def test_token_bucket_starts_full_and_refills_at_a_constant_rate() -> None:
    assert admissions(LimitWindow.TOKEN_BUCKET, [0, 0, 0, 0, 0, 6, 15, 15]) == [0, 0, 0, 0, 15, 9, 0, 15]
    assert admissions(LimitWindow.TOKEN_BUCKET, [0, 600, 600, 600, 600, 600]) == [0, 0, 0, 0, 0, 15]


@given(
    st.sampled_from(LimitWindow),
    st.integers(1, 7),
    st.floats(0.1, 100),
    st.lists(st.floats(0, 60), min_size=1, max_size=60),
)
def test_request_is_admitted_after_the_returned_wait(
    window: LimitWindow, requests: int, per: float, gaps: list[float]
) -> None:
    clock = ManualClock()
    limiter = make_limiter(window, clock, requests=requests, per=per)
    for gap in gaps:
        wait = limiter.admit("acme")
        assert 0 <= wait <= per * (1 + 1e-9)
        if wait:
            clock.time += wait
            assert limiter.admit("acme") == 0
        clock.time += gap


@WINDOWS
def test_rounding_neither_extends_the_wait_nor_admits_a_second_request(window: LimitWindow) -> None:
    for number in range(200):
        clock = ManualClock()
        clock.time += number / 7
        limiter = make_limiter(window, clock, requests=1, per=0.1)
        assert limiter.admit("acme") == 0
        clock.time += limiter.admit("acme")
        assert limiter.admit("acme") == 0
        assert limiter.admit("acme") > 0.09


@WINDOWS
def test_limit_caps_the_requests_admitted_at_one_time(window: LimitWindow) -> None:
    limiter = make_limiter(window, ManualClock())
    assert [limiter.admit("acme") == 0 for _ in range(6)] == [True] * 4 + [False] * 2
    assert limiter.admit("other") == 0


@pytest.mark.parametrize(
    "invalid", [{"requests": 0}, {"per": 0}, {"per": math.inf}, {"per": math.nan}, {"status": 500}]
)
def test_invalid_limit_is_rejected(invalid: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(invalid))):
        SandboxLimit(**invalid)


async def statuses(session: aiohttp.ClientSession, tenant: str, count: int) -> list[tuple[int, str | None]]:
    """Request tokens and return the status and `Retry-After` of each response."""
    responses = []
    for _ in range(count):
        async with session.post(f"/{tenant}/authentication/token", json=CREDENTIALS) as response:
            responses.append((response.status, response.headers.get("Retry-After")))
    return responses


@pytest.mark.parametrize(
    ("window", "status", "retry_after"),
    [
        (LimitWindow.FIXED, 429, True),
        (LimitWindow.FIXED, 503, False),
        (LimitWindow.SLIDING, 429, False),
        (LimitWindow.SLIDING, 503, True),
        (LimitWindow.TOKEN_BUCKET, 429, True),
        (LimitWindow.TOKEN_BUCKET, 503, False),
    ],
)
async def test_requests_beyond_the_limit_of_a_tenant_are_rejected_and_logged(
    window: LimitWindow, *, status: int, retry_after: bool
) -> None:
    limit = SandboxLimit(requests=2, per=9.5, window=window, status=status, retry_after=retry_after)
    seconds = {LimitWindow.FIXED: "10", LimitWindow.SLIDING: "10", LimitWindow.TOKEN_BUCKET: "5"}[window]
    clock = ManualClock()
    async with (
        Sandbox(limit=limit, monotonic=clock) as sandbox,
        aiohttp.ClientSession(sandbox.base_url) as session,
    ):
        rejected = (status, seconds if retry_after else None)
        assert await statuses(session, "acme", 3) == [(200, None), (200, None), rejected]
        assert await statuses(session, "other", 1) == [(200, None)]
        last = sandbox.log.entries[2]
        assert (last.operation, last.status, last.applied, last.fault) == ("token", status, False, None)
        clock.time += int(seconds)
        assert await statuses(session, "acme", 1) == [(200, None)]
        async with session.get("/acme/nothing") as response:
            assert response.status in (404, status)  # counts like any other request
        for _ in range(limit.requests + 1):
            async with session.get("/openapi.json") as response:
                assert response.status == 200


async def test_rejection_is_a_problem() -> None:
    sandbox = Sandbox(limit=SandboxLimit(requests=1), monotonic=ManualClock())
    async with signed_in(sandbox) as acme:
        status, problem = await acme.call("GET", "/preview")
    assert (status, problem["status"], problem["title"]) == (429, 429, "Too Many Requests")
    assert problem["type"] == "https://tools.ietf.org/html/rfc6585#section-4"
    assert problem["traceId"] == sandbox.log.entries[-1].request_id


async def test_requests_that_fail_for_other_reasons_count_too() -> None:
    sandbox = Sandbox(limit=SandboxLimit(requests=3), monotonic=ManualClock())
    async with sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        statuses_before = []
        for method, path in (("GET", "/acme/appointment"), ("GET", "/acme/nothing"), ("PATCH", "/acme/appointment")):
            async with session.request(method, path) as response:
                statuses_before.append(response.status)
        assert statuses_before == [401, 404, 405]
        assert await statuses(session, "acme", 1) == [(429, "60")]
