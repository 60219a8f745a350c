"""The times that options take."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from connector_async.cli.times import parse_time
from tests.support.command_line import CommandLine

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2024, 1, 15, 23, 30, tzinfo=UTC)  # the 16th in Berlin


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-15T10:00:00Z", "2024-01-15T10:00:00+00:00"),
        ("2024-01-15T10:00+02:00", "2024-01-15T08:00:00+00:00"),
        ("2024-01-15 10:00", "2024-01-15T09:00:00+00:00"),
        ("2024-06-15", "2024-06-14T22:00:00+00:00"),
        ("now", "2024-01-15T23:30:00+00:00"),
        ("Today", "2024-01-15T23:00:00+00:00"),
        ("yesterday", "2024-01-14T23:00:00+00:00"),
        ("tomorrow", "2024-01-16T23:00:00+00:00"),
        ("+7d", "2024-01-22T23:30:00+00:00"),
        ("-12h30m", "2024-01-15T11:00:00+00:00"),
    ],
)
def test_time_is_read_in_the_time_zone(value: str, expected: str) -> None:
    assert parse_time("start", value, BERLIN, now=NOW).isoformat() == expected


@pytest.mark.parametrize(
    "value", ["01/02/2024", "20240115", "2024-W03-1", "2024-02-30", "7d", "+7x", "+99999999d", "next week", ""]
)
def test_time_that_could_be_misread_is_rejected_with_what_is_accepted(value: str) -> None:
    with pytest.raises(ValueError, match="is not a time; accepted are 2024-01-15T10:00Z; with --assume-zone") as caught:
        parse_time("start", value, BERLIN, now=NOW)
    assert str(caught.value).startswith(f"--start: {value!r}")


@pytest.mark.parametrize("value", ["2024-03-31 02:30", "2024-03-31T02:30:00", "2024-03-31t02:30:59.5"])
def test_time_that_the_clocks_skip_is_rejected_with_the_two_that_may_be_meant(value: str) -> None:
    with pytest.raises(ValueError, match="does not exist in Europe/Berlin") as caught:
        parse_time("start-time", value, BERLIN)
    assert str(caught.value) == (
        f"--start-time: {value!r} does not exist in Europe/Berlin: the clocks skip it; 2024-03-31T01:30+01:00 or "
        "2024-03-31T03:30+02:00 may be meant"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-03-31T02:30+01:00", "2024-03-31T01:30:00+00:00"),
        ("2024-03-31 03:00", "2024-03-31T01:00:00+00:00"),
        ("2024-10-27 02:30", "2024-10-27T00:30:00+00:00"),  # the first of the two
        ("2024-10-27T02:30+01:00", "2024-10-27T01:30:00+00:00"),
    ],
)
def test_time_beside_a_change_of_the_clocks_is_read(value: str, expected: str) -> None:
    assert parse_time("start", value, BERLIN).isoformat() == expected


@pytest.mark.parametrize("value", ["2018-11-04", "today"])
def test_day_whose_midnight_the_clocks_skip_starts_at_their_next_time(value: str) -> None:
    zone = ZoneInfo("America/Sao_Paulo")
    noon = datetime(2018, 11, 4, 12, tzinfo=zone)
    assert parse_time("start", value, zone, now=noon).astimezone(zone).isoformat() == "2018-11-04T01:00:00-02:00"


def test_time_without_an_offset_needs_a_zone() -> None:
    with pytest.raises(ValueError, match=r"--end: '2024-01-15 10:00' has no UTC offset, and --time-zone is not given"):
        parse_time("end", "2024-01-15 10:00", zone_option="time-zone")


def test_create_reads_times_in_the_given_time_zone(command: CommandLine) -> None:
    times = ("--start-time", "2024-01-15 10:00", "--end-time", "2024-01-15 11:00", "--time-zone", "Europe/Berlin")
    (created,) = command("create", "--title", "Visit", *times, "--json").records
    assert (created["start_time"], created["end_time"]) == ("2024-01-15T09:00:00Z", "2024-01-15T10:00:00Z")
    wrong = command("create", "--title", "Visit", *times[:-1], "Europe/Nowhere")
    assert "--time-zone: 'Europe/Nowhere' must be the IANA or Windows name of a time zone" in wrong.err


def test_times_of_an_appointment_and_of_a_range_have_the_same_options(command: CommandLine) -> None:
    command("create", "--title", "Visit", "--start", "2024-01-15T10:00Z", "--end=2024-01-15T11:00Z")
    for start, end in (("--start", "--end"), ("--start-time", "--end-time")):
        (row,) = command("preview", start, "2024-01-15T00:00Z", f"{end}=2024-01-16T00:00Z").rows
        assert row["title"] == "Visit"
        moved = command("update", row["appointment_id"], start, "2024-01-15T10:15Z", end, "2024-01-15T10:45Z")
        assert moved.code == 0


@pytest.mark.parametrize(("start", "end"), [("--start", "--end"), ("--start-time", "--end-time")])
def test_error_names_the_option_that_was_typed(command: CommandLine, start: str, end: str) -> None:
    create = ("create", "--title", "Visit")
    assert command("preview", f"{start}=soon").err.startswith(f"connector-async: {start}: 'soon' is not a time")
    assert command(*create, start, "soon").err.startswith("connector-async: --end-time is missing")
    assert command(*create, start, "+1h", end, "soon").err.startswith(f"connector-async: {end}: 'soon' is not")
    assert command(*create, start, "+1h", end, "now").err == (f"connector-async: {end} must not be before {start}\n")


def test_preview_takes_days(command: CommandLine) -> None:
    times = ("--start-time", "+1h", "--end-time", "+2h")
    command("create", "--title", "Soon", *times)
    command("create", "--title", "Past", "--start-time", "-3d", "--end-time", "-2d")
    assert [row["title"] for row in command("preview", "--start", "now").rows] == ["Soon"]
    assert [row["title"] for row in command("preview", "--end", "-1d").rows] == ["Past"]
