"""A long time walked in windows: every appointment once, from any window on, and several windows at a time."""

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
    """Shows what overlaps a time, as a server does."""

    def __init__(self, *spans: tuple[int, int]) -> None:
        self.items = [
            Appointment(str(number), "x", MIDNIGHT + begin * HOUR, MIDNIGHT + (begin + length) * HOUR, None)
            for number, (begin, length) in enumerate(spans)
        ]
        self.asked: list[tuple[int, int]] = []
        self.under_way = self.most = 0
        self.failing: set[int] = set()

    async def __call__(self, start: datetime, end: datetime) -> Page[Appointment]:
        begin, finish = (start - MIDNIGHT) // HOUR, (end - MIDNIGHT) // HOUR
        self.asked.append((begin, finish))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.under_way -= 1
        if begin in self.failing:
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


@given(
    st.lists(st.tuples(st.integers(-10, 60), st.integers(0, 40)), max_size=25),
    st.integers(0, 48),
    st.integers(1, 60),
    st.integers(1, 4),
)
def test_p1_each_appointment_comes_once_from_any_window_on(
    spans: list[tuple[int, int]], hours: int, window: int, concurrency: int
) -> None:
    async def walk() -> None:
        calendar = Calendar(*spans)
        pager = calendar.pager(hours, window, concurrency)
        whole = {item.appointment_id for item in calendar.overlapping(MIDNIGHT, MIDNIGHT + hours * HOUR)}
        taken: list[str] = []
        async for page in pager.pages():
            taken += [item.appointment_id for item in page.items]
            if page.continuation_token is not None:
                rest = [page async for page in pager.pages(continuation_token=page.continuation_token)]
                together = taken + [item.appointment_id for page in rest for item in page.items]
                assert sorted(together) == sorted(whole)
        assert sorted(taken) == sorted(whole)

    asyncio.run(walk())


async def test_windows_are_walked_in_order_and_the_last_one_is_as_long_as_is_left() -> None:
    calendar = Calendar((1, 1), (11, 2), (23, 9))
    pages = [page async for page in calendar.pager(25, 10).pages()]
    assert calendar.asked == [(0, 10), (10, 20), (20, 25)]
    assert [[item.appointment_id for item in page.items] for page in pages] == [["0"], ["1"], ["2"]]
    assert [page.continuation_token for page in pages] == ["2024-01-15T10:00:00Z", "2024-01-15T20:00:00Z", None]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_so_many_windows_are_fetched_at_a_time(concurrency: int) -> None:
    calendar = Calendar((1, 1))
    assert await calendar.pager(48, 2, concurrency).collect() == calendar.items
    assert calendar.most == concurrency
    assert len(calendar.asked) == 24


async def test_a_walk_that_ends_early_asks_for_few_windows_more_and_leaves_no_task() -> None:
    calendar = Calendar(*((number, 1) for number in range(48)))
    assert await calendar.pager(48, 1, 2).first() == calendar.items[0]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(calendar.asked) <= 4


async def test_p2_an_error_tells_the_window_to_go_on_from() -> None:
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


async def test_p2_an_error_of_the_look_back_goes_on_from_where_it_was_asked() -> None:
    calendar = Calendar((1, 1), (9, 5), (13, 9), (21, 1))
    pager = calendar.pager(30, 10)
    calendar.failing = {10}
    with pytest.raises(ServerError) as caught:
        await anext(pager.pages(continuation_token="2024-01-15T20:00:00Z"))
    assert caught.value.continuation_token == "2024-01-15T20:00:00Z"


async def test_a_window_that_is_cut_off_from_within_is_an_error() -> None:
    async def fetch(start: datetime) -> Page[Appointment]:
        if start > MIDNIGHT:
            raise asyncio.CancelledError
        return Page(items=[])

    def pages_of(start: datetime, _: datetime) -> AsyncPager[Appointment]:
        return AsyncPager(lambda _: fetch(start))

    pager = WindowedPager(pages_of, start=MIDNIGHT, end=MIDNIGHT + 2 * HOUR, window=HOUR, concurrency=2)
    with pytest.raises(TransportError) as caught:
        await pager.collect()
    assert caught.value.continuation_token == "2024-01-15T01:00:00Z"


async def test_no_window_is_fetched_ahead_of_the_caller_unless_several_are_at_a_time() -> None:
    asked: list[datetime] = []

    async def fetch(start: datetime) -> Page[Appointment]:
        asked.append(start)
        return Page(items=[])

    def pages_of(start: datetime, _: datetime) -> AsyncPager[Appointment]:
        return AsyncPager(lambda _: fetch(start))

    pager = WindowedPager(pages_of, start=MIDNIGHT, end=MIDNIGHT + 9 * HOUR, window=HOUR, concurrency=1)
    async with aclosing(pager.pages()) as pages:
        await anext(pages)
        assert asked == [MIDNIGHT]
        await anext(pages)
    assert asked == [MIDNIGHT, MIDNIGHT + HOUR]


@pytest.mark.parametrize(
    "token", ["2024-01-14T10:00:00Z", "2024-01-16T06:00:00Z", "2024-01-15T10:00:00", "next", "", 5]
)
async def test_a_token_of_another_pager_is_refused_before_anything_is_sent(token: Any) -> None:
    calendar = Calendar()
    with pytest.raises(ValueError, match="continuation_token must be one that this pager gave"):
        await anext(calendar.pager(30, 10).pages(continuation_token=token))
    assert calendar.asked == []


async def test_a_preview_of_the_reference_is_walked_in_windows() -> None:
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
        for begin in range(0, 72, 5):
            start_time = MIDNIGHT + begin * HOUR
            await appointments.create(NewAppointment(title="x", start_time=start_time, end_time=start_time + 7 * HOUR))
        end = MIDNIGHT + 72 * HOUR
        whole = await appointments.preview(MIDNIGHT, end).collect()
        windows = appointments.preview(MIDNIGHT, end, window=12 * HOUR, concurrency=2)
        assert await windows.collect() == whole
        assert sandbox.log.count(operation="preview") == 1 + 6
        sandbox.faults.script(StatusFault(500), operation="preview")
        with pytest.raises(ServerError):
            await windows.collect()
        patient = appointments.preview(MIDNIGHT, end, window=12 * HOUR, retry=RetryPolicy(wait_initial=0))
        sandbox.faults.script(StatusFault(500), operation="preview")
        assert await patient.collect() == whole


async def test_bad_arguments_are_refused_before_anything_is_sent() -> None:
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
        wrong: Any
        with pytest.raises(ValueError, match=r"window must be None: WireFormat\.GUIDE previews have no time range"):
            guide.preview(MIDNIGHT, MIDNIGHT + day, window=day)
        with pytest.raises(ValueError, match="concurrency must be 1: only windows are fetched several at a time"):
            reference.preview(MIDNIGHT, MIDNIGHT + day, concurrency=2)
        for no_count in (True, 1.0, "1"):
            wrong = no_count
            with pytest.raises(TypeError, match=f"concurrency must be an int, not {type(wrong).__name__}"):
                reference.preview(MIDNIGHT, MIDNIGHT + day, concurrency=wrong)
        with pytest.raises(ValueError, match="prefetch must be 0 or 1"):
            reference.preview(MIDNIGHT, MIDNIGHT + day, window=day, prefetch=2)
        with pytest.raises(ValueError, match="start and end must be given"):
            reference.preview(MIDNIGHT, window=day)
        with pytest.raises(ValueError, match="window must be above zero"):
            reference.preview(MIDNIGHT, MIDNIGHT + day, window=timedelta(0))
        wrong = 3
        with pytest.raises(TypeError, match="window must be a timedelta, not int"):
            reference.preview(MIDNIGHT, MIDNIGHT + day, window=wrong)
        with pytest.raises(ValueError, match="concurrency must be 1 or more"):
            reference.preview(MIDNIGHT, MIDNIGHT + day, window=day, concurrency=0)
        with pytest.raises(ValueError, match="start and end must be given"):
            WindowedPager(lambda *_: guide.preview(), start=None, end=MIDNIGHT, window=day, concurrency=1)
        assert server.requests == []
