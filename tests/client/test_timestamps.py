"""Date-times on the wire: what is accepted, rejected and written, by the regular expression and the fast path."""

import contextlib
import itertools
import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import Appointment, DecodingError, WireFormat, _timestamps
from connector_async._timestamps import (
    SEPARATORS,
    SEPARATORS_IN_UTC,
    InstantError,
    _parse,
    format_instant,
    have_separators_in_utc,
    parse_instant,
    parse_usual,
)
from connector_async.sandbox.timestamps import parse_instant as parse_in_sandbox

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("string", "instant"),
    [
        ("2024-01-15T10:00:00Z", TEN),
        ("2024-01-15t10:00:00z", TEN),
        ("2024-01-15T10:00:00+00:00", TEN),
        ("2024-01-15T10:00:00-00:00", TEN),  # RFC 3339, section 4.3: UTC, with an unknown local offset
        ("2024-01-15T12:30:00+02:30", TEN),
        ("2024-01-14T20:00:00-14:00", TEN),
        ("2024-01-15T10:00:00.5Z", TEN.replace(microsecond=500_000)),
        ("2024-01-15T10:00:00.1234567Z", TEN.replace(microsecond=123_456)),  # as .NET writes it: cut, not rounded
        ("2024-01-15T10:00:00.9999999Z", TEN.replace(microsecond=999_999)),
        ("2024-01-15T10:00:00." + "1" * 50 + "Z", TEN.replace(microsecond=111_111)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_date_time_of_the_profile_is_parsed_in_utc(string: str, instant: datetime) -> None:
    parsed = parse_instant(string)
    assert parsed == instant
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize(
    ("string", "instant"),
    [
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("1990-12-31T15:59:60-08:00", datetime(1991, 1, 1, tzinfo=UTC)),  # RFC 3339, section 5.8
        ("2015-06-30T23:59:60.25Z", datetime(2015, 7, 1, 0, 0, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_leap_second_at_the_end_of_a_utc_month_is_the_next_second(string: str, instant: datetime) -> None:
    assert parse_instant(string) == instant


@pytest.mark.parametrize(
    "string",
    [
        "",
        "2024-01-15",  # a bare date
        "2024-01-15T10:00:00",  # naive
        "2024-01-15T10:00:00.1234567",
        "2024-W03-1T10:00:00Z",  # a week date
        "2024-W03T10:00:00Z",
        "2024-015T10:00:00Z",  # an ordinal date
        "20240115T100000Z",  # the basic format
        "20240115T100000.123Z",  # the basic format, as long as the common form
        "2024-01-15T100000.0Z",
        "2024-01-15 10:00:00Z",
        "2024-01-15_10:00:00Z",
        "2024-01-15T10:00Z",
        "2024-01-15T10Z",
        "2024-01-15T10:00:00,5Z",
        "2024-01-15T10:00:00.Z",
        "2024-01-15T24:00:00Z",
        "2024-01-15T10:60:00Z",
        "2024-01-15T10:00:61Z",
        "2024-01-15T10:00:60Z",  # a leap second in the middle of a day
        "2016-12-30T23:59:60Z",  # a leap second at the end of a day in the middle of a month
        "2016-12-31T23:59:60+01:00",  # not a leap second in UTC
        "9999-12-31T23:59:60Z",
        "2024-02-30T10:00:00Z",
        "2023-02-29T10:00:00Z",
        "2024-13-01T10:00:00Z",
        "2024-00-01T10:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-01-15T10:00:00+24:00",
        "2024-01-15T10:00:00+01:60",
        "2024-01-15T10:00:00+0100",
        "2024-01-15T10:00:00+01",
        "2024-01-15T10:00:00+01:00:00",
        "2024-01-15T10:00:00ZZ",
        "2024-01-15T10:00:00Z ",
        " 2024-01-15T10:00:00Z",
        "2024-01-15T10:00:00Z\n",
        "+2024-01-15T10:00:00Z",
        "12024-01-15T10:00:00Z",
        "２０２４-01-15T10:00:00Z",
        "2024-01-1٥T10:00:00Z",
        "2024-01-15T10:00:00Europe/Berlin",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ],
)
def test_string_outside_the_profile_is_rejected(string: str) -> None:
    with pytest.raises(InstantError) as caught:
        parse_instant(string)
    assert not string or string not in str(caught.value)


def test_hour_24_is_rejected_also_where_python_accepts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InstantError):
        parse_instant("2024-01-15T24:00:00Z")
    assert _timestamps._reject_hour_24("2024-01-15T10:00:00Z") == TEN

    class NewerDatetime(datetime):
        @classmethod
        def fromisoformat(cls, _: str) -> "NewerDatetime":
            return cls(2024, 1, 16, tzinfo=UTC)

    monkeypatch.setattr(_timestamps, "datetime", NewerDatetime)
    assert _timestamps._accepts_hour_24()
    with pytest.raises(ValueError, match="hour"):
        _timestamps._reject_hour_24("2024-01-15T24:00:00Z")


def test_string_without_utc_offset_is_read_in_the_assumed_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert parse_instant("2024-01-15T11:00:00", assume_zone=berlin) == TEN
    assert parse_instant("2024-07-15T12:00:00.5", assume_zone=berlin).hour == 10
    assert parse_instant("2024-01-15T10:00:00Z", assume_zone=berlin) == TEN
    with pytest.raises(InstantError):
        parse_instant("0001-01-01T00:00:00", assume_zone=berlin)  # .NET's default DateTime


@pytest.mark.parametrize(
    ("instant", "string"),
    [
        (TEN, "2024-01-15T10:00:00Z"),
        (TEN.replace(microsecond=1), "2024-01-15T10:00:00.000001Z"),
        (TEN.astimezone(ZoneInfo("America/New_York")), "2024-01-15T10:00:00Z"),
        (TEN.astimezone(timezone(timedelta(hours=2))), "2024-01-15T10:00:00Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_instant_is_written_in_utc(instant: datetime, string: str) -> None:
    assert format_instant(instant) == string


def test_naive_or_out_of_range_datetime_is_not_written() -> None:
    with pytest.raises(ValueError, match="naive"):
        format_instant(TEN.replace(tzinfo=None))
    with pytest.raises(ValueError, match="years 1 to 9999"):
        format_instant(datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))))


zones = st.timezones() | st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones))
def test_every_instant_survives_a_round_trip(instant: datetime) -> None:
    parsed = parse_instant(format_instant(instant))
    assert parsed == instant.astimezone(UTC)
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize("tail", ["\0", "\0!", "0", "Z", " ", "\n", "+1", "\0\0\0"])
def test_nothing_may_follow_the_common_form(tail: str) -> None:
    string = "2024-01-15T10:00:00Z" + tail
    assert string[SEPARATORS] != SEPARATORS_IN_UTC
    with pytest.raises(InstantError):
        parse_instant(string)


def are_usual(strings: list[str]) -> bool:
    with contextlib.suppress(ValueError):
        return have_separators_in_utc(strings) and all(map(parse_usual, strings))
    return False


def test_separators_of_many_date_times_are_those_of_each() -> None:
    string = "2024-01-15T10:00:00Z"
    assert have_separators_in_utc([])
    assert have_separators_in_utc([string] * 3)
    for place in (4, 7, 10, 13, 16, 19):
        changed = f"{string[:place]}0{string[place + 1 :]}"
        assert not have_separators_in_utc([string, changed, string])
    assert not have_separators_in_utc([f"{string[:3]}\0{string[4:]}"])
    with pytest.raises(TypeError):
        have_separators_in_utc([string, 1])  # type: ignore[list-item]


def test_usual_date_times_end_where_their_lines_end() -> None:
    two = "2024-01-15T10:00:00Z\n2024-01-15T10:00:00Z"
    for place in range(41):
        for gap in range(3):
            assert are_usual([two[:place], two[place + gap :]]) == ((place, gap) == (20, 1))


ACCEPTED = [
    "2024-01-15T10:00:00Z",
    "2024-01-15", "20240115", "2024-W03", "2024-W03-1", "2024W031",
    "2024-01-15T10", "2024-01-15T10:00", "2024-01-15T10:00:00", "20240115T100000Z", "20240115T100000.0Z",
    "2024-W03-1T10:00:00Z", "2024-01-15 10:00:00Z", "2024-01-15T10Z", "2024-01-15T10:00:00.5Z",
    "2024-01-15T10:00:00.123456Z", "2024-01-15T10:00:00+01:00", "2024-01-15T10:00+01:00", "1924-01-15T10:00:00Z",
]  # fmt: skip
"""What `fromisoformat` accepts, in many lengths."""


def test_other_date_times_cannot_make_up_for_each_other() -> None:
    for strings in itertools.product(ACCEPTED, repeat=3):
        assert all(map(datetime.fromisoformat, strings))
        assert have_separators_in_utc(list(strings)) == (set(strings) == {ACCEPTED[0]})


@given(st.from_regex(r"[0-9W+:.,Tt-]{4}-[0-9W]{2}-[0-9W+.,-]{2}T[0-9+.,-]{2}:[0-9+.]{2}:[0-9+.,-]{2}Z", fullmatch=True))
def test_fromisoformat_accepts_only_the_profile_with_the_common_separators(string: str) -> None:
    assert string[SEPARATORS] == SEPARATORS_IN_UTC
    try:
        datetime.fromisoformat(string)
    except ValueError:
        return
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", string, re.ASCII)


@given(st.text())
def test_any_string_is_an_aware_instant_or_an_instant_error(string: str) -> None:
    with contextlib.suppress(InstantError):
        assert parse_instant(string).tzinfo is UTC


MUTATED = st.lists(
    st.tuples(st.integers(0, 23), st.sampled_from(["replace", "insert", "delete"]), st.characters(codec="utf-8")),
    max_size=4,
)
"""Changes of a string: a position, the kind of change, and a character."""


@pytest.mark.parametrize("string", ["2024-01-15T10:00:Z\0Z", "2024-01-15T10:Z\0:00Z"])
def test_nul_does_not_end_a_date_time(string: str) -> None:
    with pytest.raises(InstantError):
        parse_instant(string)
    appointment = {"appointmentId": "1", "title": "x", "startTime": string, "endTime": "2024-01-15T10:00:00Z"}
    for changes in ({}, {"startTime": "2024-01-15T10:00:00Z", "endTime": string}):
        with pytest.raises(DecodingError):
            WireFormat.GUIDE.structure_items([appointment | changes], Appointment)


@given(
    st.sampled_from(["2024-01-15T10:00:00Z", "2016-12-31T23:59:60Z", "2024-01-15T10:00:Z\0Z", "2024-W03-1T10:00:00Z"]),
    MUTATED | st.lists(st.tuples(st.integers(0, 23), st.just("replace"), st.sampled_from("\0Z:-T+.0 ")), max_size=3),
)
def test_fast_path_accepts_only_what_the_profile_accepts(string: str, changes: list[tuple[int, str, str]]) -> None:
    characters = list(string)
    for position, change, character in changes:
        end = position if change == "insert" else position + 1
        characters[position:end] = [] if change == "delete" else [character]
    mutated = "".join(characters)
    try:
        parsed = parse_instant(mutated)
    except InstantError:
        parsed = None
    try:
        parsed_by_regex = _parse(mutated.upper(), None)
    except InstantError:
        parsed_by_regex = None
    assert parsed == parsed_by_regex
    try:
        parsed_by_sandbox = parse_in_sandbox(mutated)
    except ValueError:
        return
    assert parsed_by_sandbox == parsed
