"""Recurring events in a calendar: the occurrences within a time range, beside what `tests/cases` has of them."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

import pytest

from connector_async.sync.formats import ICalendarSource
from connector_async.sync.formats.icalendar import expander
from connector_async.sync.formats.reading import iterate_in_thread
from connector_async.sync.records import SourceProblem, SourceRecord
from connector_async.sync.scope import Scope
from tests.support.sync_files import put, read


def year(number: int, years: int = 1) -> Scope:
    return Scope(start=datetime(number, 1, 1, tzinfo=UTC), end=datetime(number + years, 1, 1, tzinfo=UTC))


def source(path: Path, *events: list[str], expand: Scope, **options: Any) -> ICalendarSource:
    lines = ["BEGIN:VCALENDAR"]
    for number, each in enumerate(events):
        # The events of a test are of one series, unless they have titles of their own.
        own = [f"UID:{number}"] if each[0].startswith("SUMMARY") else ["UID:a", "SUMMARY:Visit"]
        lines += ["BEGIN:VEVENT", *own, *each, "END:VEVENT"]
    put(path, "\r\n".join([*lines, "END:VCALENDAR", ""]).encode())
    return ICalendarSource(path, tenant_id="acme", expand=expand, **options)


async def spans(found: ICalendarSource) -> dict[str, str]:
    """Return the starts and ends of records, in UTC, by the last parts of their keys, in the order of the keys."""
    items = await read(found)
    assert all(isinstance(item, SourceRecord) for item in items), items
    return {
        item.key.removeprefix(
            "a/"
        ): f"{item.appointment.start_time:%m-%dT%H:%M}/{item.appointment.end_time:%m-%dT%H:%M}"
        for item in sorted(items, key=lambda item: item.key or "")
        if isinstance(item, SourceRecord)
    }


async def reason(found: ICalendarSource) -> str:
    (item,) = await read(found)
    assert isinstance(item, SourceProblem)
    assert item.is_series
    return item.reason


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.ics"


async def test_occurrences_have_the_exact_length_of_dtend_and_the_nominal_length_of_duration(path: Path) -> None:
    # In Berlin the clocks go forward at 2 in the night of 31 March.
    start = ["DTSTART;TZID=Europe/Berlin:20240329T230000", "RRULE:FREQ=DAILY;COUNT=2"]
    exact = source(path, [*start, "DTEND;TZID=Europe/Berlin:20240330T040000"], expand=year(2024))
    assert await spans(exact) == {
        "20240329T220000Z": "03-29T22:00/03-30T03:00",
        "20240330T220000Z": "03-30T22:00/03-31T03:00",
    }
    nominal = source(path, [*start, "DURATION:P1D"], expand=year(2024))
    assert await spans(nominal) == {
        "20240329T220000Z": "03-29T22:00/03-30T22:00",
        "20240330T220000Z": "03-30T22:00/03-31T21:00",
    }


async def test_week_of_the_year_means_the_weekday_of_the_start(path: Path) -> None:
    found = source(path, ["DTSTART:20240513T090000Z", "RRULE:FREQ=YEARLY;BYWEEKNO=20"], expand=year(2024, 2))
    assert list(await spans(found)) == ["20240513T090000Z", "20250512T090000Z"]


async def test_hours_that_a_change_of_the_clocks_makes_one_are_one_occurrence(path: Path) -> None:
    found = source(path, ["DTSTART;TZID=Europe/Berlin:20240331T010000", "RRULE:FREQ=HOURLY;COUNT=3"], expand=year(2024))
    assert [item.key for item in await read(found)] == ["a/20240331T000000Z", "a/20240331T010000Z"]


async def test_day_at_which_a_rule_ends_counts_as_a_whole(path: Path) -> None:
    found = source(path, ["DTSTART:20240701T100000Z", "RRULE:FREQ=DAILY;UNTIL=20240702"], expand=year(2024))
    assert list(await spans(found)) == ["20240701T100000Z", "20240702T100000Z"]


async def test_occurrence_in_the_gap_is_excluded_and_replaced_by_its_instant(path: Path) -> None:
    series = ["DTSTART;TZID=Europe/Berlin:20240330T023000", "RRULE:FREQ=DAILY;COUNT=3"]
    found = source(path, [*series, "EXDATE:20240331T013000Z"], expand=year(2024))
    assert list(await spans(found)) == ["20240330T013000Z", "20240401T003000Z"]
    override = ["RECURRENCE-ID:20240331T013000Z", "DTSTART:20240331T120000Z"]
    items = await read(source(path, series, override, expand=year(2024)))
    assert [item.key for item in items] == ["a/20240330T013000Z", "a/20240331T013000Z", "a/20240401T003000Z"]


@pytest.mark.parametrize(
    "moment", ["RECURRENCE-ID;TZID=America/New_York:99991231T235959", "EXDATE;TZID=Asia/Tokyo:00010101T000000"]
)
async def test_moment_outside_of_the_calendar_does_not_end_the_reading(path: Path, moment: str) -> None:
    series = ["DTSTART;TZID=America/New_York:20240330T023000", "RRULE:FREQ=DAILY;COUNT=3"]
    override = ["RECURRENCE-ID:20240331T063000Z", "DTSTART:20240331T120000Z"]
    bad = [*series, moment] if moment.startswith("EXDATE") else [moment, "DTSTART:20240331T120000Z"]
    other = ["SUMMARY:Other", "DTSTART:20240101T100000Z"]
    items = await read(source(path, bad, series, override, other, expand=year(2024)))
    assert any(isinstance(item, SourceRecord) and item.appointment.title == "Other" for item in items)
    assert any(isinstance(item, SourceProblem) for item in items)


async def test_override_has_the_key_of_the_occurrence_that_it_replaces(path: Path) -> None:
    days = ["DTSTART;VALUE=DATE:20240701", "RRULE:FREQ=DAILY;COUNT=2"]
    with_a_time = ["DTSTART;VALUE=DATE:20240705", "RECURRENCE-ID;TZID=Europe/Berlin:20240702T000000"]
    found = source(path, days, with_a_time, expand=year(2024), assume_zone=UTC)
    assert list(await spans(found)) == ["20240701", "20240702"]
    times = ["DTSTART:20240701T100000Z", "RRULE:FREQ=DAILY;COUNT=2"]
    of_a_day = ["DTSTART:20240705T100000Z", "RECURRENCE-ID;VALUE=DATE:20240702"]
    found = source(path, times, of_a_day, expand=year(2024), assume_zone=UTC)
    assert list(await spans(found)) == ["20240701T100000Z", "20240702T100000Z"]


async def test_midnight_in_utc_or_in_a_zone_of_its_own_names_a_day(path: Path) -> None:
    days = ["DTSTART;VALUE=DATE:20240701", "RRULE:FREQ=DAILY;COUNT=3"]
    pacific = ZoneInfo("America/Los_Angeles")
    for excluded in ("EXDATE;TZID=Europe/Berlin:20240702T000000", "EXDATE:20240702T000000Z", "EXDATE:20240702T070000Z"):
        found = source(path, [*days, excluded], expand=year(2024), assume_zone=pacific)
        assert list(await spans(found)) == ["20240701", "20240703"], excluded


async def test_floating_end_and_exception_are_in_the_zone_of_the_start(path: Path) -> None:
    lines = ["DTSTART;TZID=America/New_York:20240701T090000", "DTEND:20240701T100000", "RRULE:FREQ=DAILY;COUNT=2"]
    found = source(path, [*lines, "EXDATE:20240702T090000"], expand=year(2024), assume_zone=ZoneInfo("Europe/Berlin"))
    assert await spans(found) == {"20240701T130000Z": "07-01T13:00/07-01T14:00"}


async def test_later_occurrences_are_moved_by_the_clock_on_the_wall(path: Path) -> None:
    series = ["DTSTART;TZID=Europe/Berlin:20240325T100000", "RRULE:FREQ=WEEKLY;COUNT=3", "DURATION:PT1H"]
    later = [
        "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20240401T100000",
        "DTSTART;TZID=Europe/Berlin:20240402T120000",
        "DURATION:PT2H",
    ]
    assert await spans(source(path, series, later, expand=year(2024))) == {
        "20240325T090000Z": "03-25T09:00/03-25T10:00",
        "20240401T080000Z": "04-02T10:00/04-02T12:00",
        "20240408T080000Z": "04-09T10:00/04-09T12:00",
    }


async def test_series_ends_where_all_later_occurrences_are_cancelled(path: Path) -> None:
    series = ["DTSTART:20240701T100000Z", "RRULE:FREQ=WEEKLY;COUNT=4"]
    cancelled = ["RECURRENCE-ID;RANGE=THISANDFUTURE:20240715T100000Z", "DTSTART:20240715T100000Z", "STATUS:CANCELLED"]
    assert list(await spans(source(path, series, cancelled, expand=year(2024)))) == [
        "20240701T100000Z",
        "20240708T100000Z",
    ]


async def test_exception_also_removes_the_override_of_its_occurrence(path: Path) -> None:
    series = ["DTSTART:20240701T100000Z", "RRULE:FREQ=DAILY;COUNT=3"]
    override = ["RECURRENCE-ID:20240702T100000Z", "DTSTART:20240702T120000Z"]
    for exception in ("EXDATE:20240702T100000Z", "EXDATE;VALUE=DATE:20240702"):
        found = source(path, [*series, exception], override, expand=year(2024), assume_zone=UTC)
        assert list(await spans(found)) == ["20240701T100000Z", "20240703T100000Z"], exception
        assert found.counts.cancelled == 1


async def test_long_occurrence_that_began_before_the_range_is_in_it(path: Path) -> None:
    lines = ["DTSTART;VALUE=DATE:20231220", "DTEND;VALUE=DATE:20240105", "RRULE:FREQ=YEARLY"]
    found = source(
        path,
        lines,
        expand=Scope(start=datetime(2024, 1, 4, tzinfo=UTC), end=datetime(2024, 2, 1, tzinfo=UTC)),
        assume_zone=UTC,
    )
    assert await spans(found) == {"20231220": "12-20T00:00/01-05T00:00"}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=MINUTELY;COUNT=3", "the recurrence rule must have a FREQ of YEARLY, MONTHLY"),
        ("FREQ=HOURLY", "the recurrence rule occurs more than 100000 times"),
        ("FREQ=DAILY;BYHOUR=1,2,3,4,5,6,7,8,9,10;BYMINUTE=1,2,3", "the recurrence rule occurs more than"),
        ("FREQ=DAILY;INTERVAL=0", "the recurrence rule must have an INTERVAL of 1 or more"),
        ("FREQ=DAILY;INTERVAL=x", "the recurrence rule must have a number as its INTERVAL"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "the recurrence rule can never occur"),
        ("FREQ=DAILY;BYDAY=XX", "the recurrence rule cannot be parsed"),
        ("FREQ=DAILY;FREQ=DAILY", "the recurrence rule cannot be parsed"),
        ("FREQ=DAILY;UNTIL=soon", "the recurrence rule must have a date or a date-time as its UNTIL"),
    ],
)
async def test_rule_that_cannot_be_expanded_within_bounds_is_a_problem(path: Path, rule: str, expected: str) -> None:
    found = source(path, ["DTSTART:20000101T100000Z", f"RRULE:{rule}"], expand=year(2024))
    assert (await reason(found)).startswith(expected)


async def test_series_of_a_file_are_problems_once_they_have_occurred_too_often(path: Path) -> None:
    # Each has about 99,000 occurrences until the end of the range.
    lines = ["DTSTART:20000101T100000Z", "RRULE:FREQ=DAILY;BYHOUR=10,11,12,13,14,15,16,17,18,19"]
    events = [[f"SUMMARY:{number}", *lines] for number in range(3)]
    found = source(path, *events, expand=year(2026))
    with mock.patch.object(expander, "MAX_OF_FILE", 200_000):
        items = await read(found)
    reasons = [item.reason for item in items if isinstance(item, SourceProblem)]
    assert reasons == ["the recurring events of the file occur too often together"]


def test_reading_has_a_step_after_each_event(path: Path) -> None:
    events = [[f"SUMMARY:{number}", "DTSTART:20000101T100000Z", "RRULE:FREQ=DAILY;COUNT=2"] for number in range(5)]
    # None of them has an occurrence in the range. Between two steps, a run can end.
    assert list(source(path, *events, expand=year(2024))._read()).count(None) > 3 * len(events)


async def test_reading_ends_with_its_task_at_the_next_step() -> None:
    steps = 0

    def items() -> Iterator[None]:
        nonlocal steps
        while True:
            steps += 1
            yield None

    async def consume() -> None:
        async for _ in iterate_in_thread(items()):  # type: ignore[arg-type]
            pass

    task = asyncio.create_task(consume())
    while not steps:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
