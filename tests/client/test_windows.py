"""Previews in windows: every appointment once, resumable at any window, with several windows at a time."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import (
    Appointment,
    AppointmentService,
    AsyncPager,
    ClientCredentials,
    ConnectorSession,
    DirectoryUser,
    NewAppointment,
    Page,
    RateLimit,
    RetryPolicy,
    ServerError,
    TransportError,
    WireFormat,
)
from connector_async.appointments.windows import WindowedPager
from connector_async.sandbox import BodyFormat, Sandbox, StatusFault
from tests.support.hostile import HostileServer
from tests.support.services import FOUND, open_service

MIDNIGHT = datetime(2024, 1, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Calendar:
    """Returns the appointments that overlap a time range, as a server does. Times are in hours after midnight."""

    def __init__(self, *spans: tuple[int, int]) -> None:
        self.items = [
            Appointment(str(number), "x", MIDNIGHT + start * HOUR, MIDNIGHT + (start + length) * HOUR, None)
            for number, (start, length) in enumerate(spans)
        ]
        self.requests: list[tuple[int, int]] = []
        self.in_flight = self.max_in_flight = 0
        self.failing: set[int] = set()

    async def __call__(self, start: datetime, end: datetime) -> Page[Appointment]:
        start_hour, end_hour = (start - MIDNIGHT) // HOUR, (end - MIDNIGHT) // HOUR
        self.requests.append((start_hour, end_hour))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.in_flight -= 1
        if start_hour in self.failing:
            raise ServerError("down", status=500)
        return Page(items=self.overlapping(start, end))

    def overlapping(self, start: datetime, end: datetime) -> list[Appointment]:
        return [
            item for item in self.items if item.start_time < end and (item.end_time > start or item.start_time == start)
        ]

    def pager(self, hours: int, window: int, concurrency: int = 1, start: int = 0) -> WindowedPager:
        return WindowedPager(
            lambda start, end: AsyncPager(lambda _: self(start, end)),
            start=MIDNIGHT + start * HOUR,
            end=MIDNIGHT + hours * HOUR,
            window=window * HOUR,
            concurrency=concurrency,
        )


@pytest.mark.row("P1")
@given(
    st.lists(st.tuples(st.integers(-10, 60), st.integers(0, 40)), max_size=25),
    st.integers(0, 48),
    st.integers(1, 60),
    st.integers(1, 4),
)
def test_walk_from_any_window_returns_each_appointment_once(
    spans: list[tuple[int, int]], hours: int, window: int, concurrency: int
) -> None:
    async def walk() -> None:
        calendar = Calendar(*spans)
        pager = calendar.pager(hours, window, concurrency)
        expected = sorted(item.appointment_id for item in calendar.overlapping(MIDNIGHT, MIDNIGHT + hours * HOUR))
        taken: list[str] = []
        async for page in pager.pages():
            taken += [item.appointment_id for item in page.items]
            if page.continuation_token is not None:
                rest = [page async for page in pager.pages(continuation_token=page.continuation_token)]
                assert sorted(taken + [item.appointment_id for page in rest for item in page.items]) == expected
        assert sorted(taken) == expected

    asyncio.run(walk())


async def test_windows_are_read_in_order_and_the_last_one_ends_at_the_end() -> None:
    calendar = Calendar((1, 1), (11, 2), (23, 9))
    pages = [page async for page in calendar.pager(25, 10).pages()]
    assert calendar.requests == [(0, 10), (10, 20), (20, 25)]
    assert [[item.appointment_id for item in page.items] for page in pages] == [["0"], ["1"], ["2"]]
    assert [page.continuation_token for page in pages] == ["2024-01-15T10:00:00Z", "2024-01-15T20:00:00Z", None]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_as_many_windows_as_allowed_are_fetched_at_a_time(concurrency: int) -> None:
    calendar = Calendar((1, 1))
    assert await calendar.pager(48, 2, concurrency).collect() == calendar.items
    assert calendar.max_in_flight == concurrency
    assert len(calendar.requests) == 24


async def test_walk_left_early_fetches_few_further_windows_and_leaves_no_task() -> None:
    calendar = Calendar(*((number, 1) for number in range(48)))
    assert await calendar.pager(48, 1, 2).first() == calendar.items[0]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(calendar.requests) <= 4


@pytest.mark.row("P2")
async def test_error_carries_the_token_of_the_window_that_failed() -> None:
    calendar = Calendar((1, 1), (9, 5), (13, 9), (21, 1))
    pager = calendar.pager(30, 10)
    calendar.failing = {10}
    taken: list[str] = []
    with pytest.raises(ServerError) as caught:
        await pager.collect()
    assert caught.value.continuation_token == "2024-01-15T10:00:00Z"
    calendar.failing = set()
    async for page in pager.pages(continuation_token=caught.value.continuation_token):
        taken += [item.appointment_id for item in page.items]
    assert taken == ["2", "3"]
    calendar.failing = {0}
    with pytest.raises(ServerError) as caught:
        await pager.collect()
    assert caught.value.continuation_token is None


@pytest.mark.row("P2")
async def test_error_of_the_window_before_carries_the_token_that_was_given() -> None:
    calendar = Calendar((1, 1), (9, 5), (13, 9), (21, 1))
    pager = calendar.pager(30, 10)
    calendar.failing = {10}
    with pytest.raises(ServerError) as caught:
        await anext(pager.pages(continuation_token="2024-01-15T20:00:00Z"))
    assert caught.value.continuation_token == "2024-01-15T20:00:00Z"


async def test_cancellation_within_a_window_is_a_transport_error() -> None:
    async def fetch(start: datetime) -> Page[Appointment]:
        if start > MIDNIGHT:
            raise asyncio.CancelledError
        return Page(items=[])

    def preview(start: datetime, _: datetime) -> AsyncPager[Appointment]:
        return AsyncPager(lambda _: fetch(start))

    pager = WindowedPager(preview, start=MIDNIGHT, end=MIDNIGHT + 2 * HOUR, window=HOUR, concurrency=2)
    with pytest.raises(TransportError) as caught:
        await pager.collect()
    assert caught.value.continuation_token == "2024-01-15T01:00:00Z"


async def test_no_window_is_fetched_ahead_with_a_concurrency_of_1() -> None:
    requests: list[datetime] = []

    async def fetch(start: datetime) -> Page[Appointment]:
        requests.append(start)
        return Page(items=[])

    def preview(start: datetime, _: datetime) -> AsyncPager[Appointment]:
        return AsyncPager(lambda _: fetch(start))

    pager = WindowedPager(preview, start=MIDNIGHT, end=MIDNIGHT + 9 * HOUR, window=HOUR, concurrency=1)
    async with aclosing(pager.pages()) as pages:
        await anext(pages)
        assert requests == [MIDNIGHT]
        await anext(pages)
    assert requests == [MIDNIGHT, MIDNIGHT + HOUR]


@pytest.mark.parametrize(
    "token", ["2024-01-14T10:00:00Z", "2024-01-16T06:00:00Z", "2024-01-15T10:00:00", "next", "", 5]
)
async def test_token_of_another_pager_is_rejected_before_anything_is_sent(token: Any) -> None:
    calendar = Calendar()
    with pytest.raises(ValueError, match="continuation_token must be one of this pager"):
        await anext(calendar.pager(30, 10).pages(continuation_token=token))
    assert calendar.requests == []


async def test_preview_of_the_reference_format_is_read_in_windows() -> None:
    async with (
        Sandbox(body_format=BodyFormat.REFERENCE) as sandbox,
        ConnectorSession(
            sandbox.base_url,
            tenant_id="acme",
            auth=ClientCredentials("sandbox", "sandbox-secret"),
            wire_format=WireFormat.REFERENCE,
            rate_limit=RateLimit.unlimited(),
        ) as session,
    ):
        appointments = AppointmentService(session, user=DirectoryUser("ann", "contoso"), retry=RetryPolicy.none())
        for start in range(0, 72, 5):
            start_time = MIDNIGHT + start * HOUR
            await appointments.create(NewAppointment(title="x", start_time=start_time, end_time=start_time + 7 * HOUR))
        end = MIDNIGHT + 72 * HOUR
        expected = await appointments.preview(MIDNIGHT, end).collect()
        windows = appointments.preview(MIDNIGHT, end, window=12 * HOUR, concurrency=2)
        assert await windows.collect() == expected
        assert sandbox.log.count(operation="preview") == 1 + 6
        sandbox.faults.script(StatusFault(500), operation="preview")
        with pytest.raises(ServerError):
            await windows.collect()
        retrying = appointments.preview(MIDNIGHT, end, window=12 * HOUR, retry=RetryPolicy(wait_initial=0))
        sandbox.faults.script(StatusFault(500), operation="preview")
        assert await retrying.collect() == expected


async def test_invalid_arguments_are_rejected_before_anything_is_sent() -> None:
    async with HostileServer(FOUND) as server:
        guide = open_service(server)
        session = open_service(server, wire_format=WireFormat.GUIDE).session
        reference = AppointmentService(
            ConnectorSession(
                server.base_url, tenant_id="acme", auth=session._sender.auth, wire_format=WireFormat.REFERENCE
            ),
            user=DirectoryUser("ann", "contoso"),
        )
        day = timedelta(days=1)
        invalid: Any
        with pytest.raises(ValueError, match=r"window must be None: WireFormat\.GUIDE previews have no time range"):
            guide.preview(MIDNIGHT, MIDNIGHT + day, window=day)
        with pytest.raises(ValueError, match="concurrency must be 1: only windows are fetched several at a time"):
            reference.preview(MIDNIGHT, MIDNIGHT + day, concurrency=2)
        for invalid in (True, 1.0, "1"):
            with pytest.raises(TypeError, match=f"concurrency must be an int, not {type(invalid).__name__}"):
                reference.preview(MIDNIGHT, MIDNIGHT + day, concurrency=invalid)
        with pytest.raises(ValueError, match="prefetch must be 0 or 1"):
            reference.preview(MIDNIGHT, MIDNIGHT + day, window=day, prefetch=2)
        with pytest.raises(ValueError, match="start and end must be given"):
            reference.preview(MIDNIGHT, window=day)
        with pytest.raises(ValueError, match="window must be above zero"):
            reference.preview(MIDNIGHT, MIDNIGHT + day, window=timedelta(0))
        invalid = 3
        with pytest.raises(TypeError, match="window must be a timedelta, not int"):
            reference.preview(MIDNIGHT, MIDNIGHT + day, window=invalid)
        with pytest.raises(ValueError, match="concurrency must be 1 or more"):
            reference.preview(MIDNIGHT, MIDNIGHT + day, window=day, concurrency=0)
        with pytest.raises(ValueError, match="start and end must be given"):
            WindowedPager(lambda *_: guide.preview(), start=None, end=MIDNIGHT, window=day, concurrency=1)
        assert server.requests == []
