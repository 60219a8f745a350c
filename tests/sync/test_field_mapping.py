"""Mapping of columns and members to fields, formats of times, presets, and what is ignored."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import (
    CsvMirror,
    CsvSource,
    FieldMapping,
    JsonLinesSource,
    check_same_reading,
    file_mirror,
    file_source,
)
from connector_async.sync.records import SourceProblem, SourceRecord
from tests.support.sync_files import MARKER, problem, put, read, read_one, record

BERLIN = ZoneInfo("Europe/Berlin")
COLUMNS = {"title": "Subject", "start_time": ("Day", "From"), "end_time": ("Day", "To"), "key": "No."}
MAPPING = FieldMapping(columns=COLUMNS, date_format="%d.%m.%Y %H:%M")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


def csv_source(path: Path, *rows: str, mapping: FieldMapping | None = MAPPING, **options: Any) -> CsvSource:
    put(path, "".join(f"{row}\r\n" for row in rows).encode())
    return CsvSource(path, tenant_id="acme", mapping=mapping, assume_zone=BERLIN, **options)


def instant(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def times(item: SourceRecord | SourceProblem) -> tuple[datetime, datetime]:
    assert isinstance(item, SourceRecord), item
    return item.appointment.start_time, item.appointment.end_time


async def test_columns_are_joined_with_a_blank_and_times_are_local(path: Path) -> None:
    source = csv_source(path, "No.,Subject,Day,From,To,description", "k-1,Visit,15.01.2024,11:00,12:00,x")
    assert await read_one(source) == record(description="x")


async def test_members_of_json_are_mapped_like_columns(path: Path) -> None:
    put(path, orjson.dumps({"No.": "k-1", "Subject": "Visit", "Day": "15.01.2024", "From": "11:00", "To": "12:00"}))
    source = JsonLinesSource(path, tenant_id="acme", mapping=MAPPING, assume_zone=BERLIN)
    assert await read_one(source) == record()


async def test_mapped_member_that_is_not_a_string_is_a_problem(path: Path) -> None:
    put(path, orjson.dumps({"No.": "k-1", "Subject": ["x"], "Day": 5, "From": "11:00", "To": "12:00"}))
    source = JsonLinesSource(path, tenant_id="acme", mapping=MAPPING, assume_zone=BERLIN)
    found = await problem(source)
    assert (found.key, found.reason) == ("k-1", "title must be a str, not list")


async def test_member_beside_the_mapped_ones_is_a_problem(path: Path) -> None:
    members = {"No.": "k-1", "Subject": "Visit", "Day": "15.01.2024", "From": "11:00", "To": "12:00"}
    put(path, orjson.dumps(members | {"title": MARKER}))
    found = await problem(JsonLinesSource(path, tenant_id="acme", mapping=MAPPING, assume_zone=BERLIN))
    assert (found.key, found.reason) == ("k-1", "title is not known; ignore_unknown (--ignore-unknown) leaves it out")


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("31.03.2024,02:30,03:30", (instant(2024, 3, 31, 1, 30), instant(2024, 3, 31, 1, 30))),
        ("27.10.2024,02:30,03:30", (instant(2024, 10, 27, 0, 30), instant(2024, 10, 27, 2, 30))),
    ],
    ids=["skipped", "occurs twice"],
)
async def test_local_time_at_a_change_of_the_clocks_is_as_in_rfc_5545(
    path: Path, local: str, expected: tuple[datetime, datetime]
) -> None:
    (item,) = await read(csv_source(path, "No.,Subject,Day,From,To", f"k-1,Visit,{local}"))
    assert times(item) == expected


async def test_first_format_that_fits_is_used_and_an_offset_wins_over_the_zone(path: Path) -> None:
    mapping = FieldMapping(date_format=["%Y-%m-%d %H:%M %z", "%d.%m.%Y %H:%M"])
    source = csv_source(
        path,
        "key,title,start_time,end_time,modified",
        "k-1,Visit,2024-01-15 12:00 +0200, 15.01.2024 12:00 ,16.01.2024 01:00",
        mapping=mapping,
    )
    assert await read_one(source) == record(modified=instant(2024, 1, 16))


async def test_time_that_fits_no_format_is_a_problem_with_its_key(path: Path) -> None:
    found = await problem(csv_source(path, "No.,Subject,Day,From,To", f"k-1,Visit,{MARKER},11:00,12:00"))
    assert (found.key, found.reason) == ("k-1", "start_time fits no date_format (--date-format)")


async def test_time_outside_the_calendar_is_a_problem_that_names_its_field(path: Path) -> None:
    found = await problem(csv_source(path, "No.,Subject,Day,From,To", "k-1,Visit,01.01.0001,00:00,12:00"))
    assert (found.key, found.reason) == ("k-1", "start_time: outside the years 1 to 9999 in UTC")


async def test_mapped_column_that_the_header_lacks_is_an_error_of_the_source(path: Path) -> None:
    mapping = FieldMapping(columns={"description": "Notes"})
    source = csv_source(path, "key,title,start_time,end_time", mapping=mapping)
    with pytest.raises(SourceError, match="lacks the column Notes"):
        await read(source)


async def test_unknown_columns_and_members_are_counted_or_rejected(path: Path) -> None:
    rows = [
        "No.,Subject,Day,From,To,title,Room",
        "k-1,Visit,15.01.2024,11:00,12:00,x,",
        "k-2,x,15.01.2024,11:00,12:00,x,y",
    ]
    source = csv_source(path, *rows, ignore_unknown=True)
    assert [item.key for item in await read(source)] == ["k-1", "k-2"]
    assert source.counts.ignored == Counter(title=2, Room=1)
    await read(source)
    assert source.counts.ignored == Counter(title=2, Room=1)  # those of the latest reading
    with pytest.raises(SourceError, match=r"unknown column: title; ignore_unknown \(--ignore-unknown\) leaves it out"):
        await read(csv_source(path, *rows))
    row = {"key": "k-1", "title": "Visit", "start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00Z"}
    put(path, orjson.dumps(row | {"room": 5, "list": []}))
    members = JsonLinesSource(path, tenant_id="acme", ignore_unknown=True)
    assert await read_one(members) == record()
    assert members.counts.ignored == Counter(room=1, list=1)
    found = await problem(JsonLinesSource(path, tenant_id="acme"))
    assert (found.key, found.reason) == ("k-1", "list is not known; ignore_unknown (--ignore-unknown) leaves it out")


async def test_names_of_ignored_members_are_bounded(path: Path) -> None:
    put(path, b"".join(orjson.dumps({f"m{number}": 1}) + b"\n" for number in range(1500)))
    source = JsonLinesSource(path, tenant_id="acme", ignore_unknown=True)
    await read(source)
    assert len(source.counts.ignored) == 1001
    assert source.counts.ignored["(other names)"] == 500


OUTLOOK = '"Subject","Start Date","Start Time","End Date","End Time","All day event","Location","Description"'


async def test_outlook_file_is_read_with_its_preset(path: Path) -> None:
    source = csv_source(
        path,
        OUTLOOK,
        '"Visit","1/10/2024","9:00:00 AM","1/10/2024","12:30:00 PM","False","Room","x"',
        '"Trip","7/1/2024","12:00:00 AM","7/3/2024","12:00:00 AM","True","",""',
        mapping=FieldMapping.preset("outlook"),
    )
    visit, trip = await read(source)
    assert times(visit) == (instant(2024, 1, 10, 8), instant(2024, 1, 10, 11, 30))
    assert times(trip) == (instant(2024, 6, 30, 22), instant(2024, 7, 2, 22))
    assert source.counts.ignored == Counter({"All day event": 2, "Location": 1})


async def test_google_calendar_file_is_read_with_its_preset(path: Path) -> None:
    source = csv_source(
        path,
        "Subject,Start Date,Start Time,End Date,End Time,All Day Event,Description,Private",
        "Visit,05/30/2024,10:00 AM,05/30/2024,1:00 PM,False,x,True",
        "Trip,05/30/2024,,05/31/2024,,True,,",
        "Trip,06/30/2024,8:00 AM,06/30/2024,9:00 AM,TRUE,,",
        "Day,05/30/2024,,,,true,,",
        mapping=FieldMapping.preset("google"),
    )
    assert [times(item) for item in await read(source)] == [
        (instant(2024, 5, 30, 8), instant(2024, 5, 30, 11)),
        (instant(2024, 5, 29, 22), instant(2024, 5, 31, 22)),
        (instant(2024, 6, 29, 22), instant(2024, 6, 30, 22)),
        (instant(2024, 5, 29, 22), instant(2024, 5, 30, 22)),
    ]
    small = csv_source(path, "Subject,Start Date,All Day Event", "Day,05/30/2024,perhaps", mapping=source.mapping)
    found = await problem(small)
    assert (found.key, found.reason) == (None, "all_day must be one of true, yes, 1, false, no, 0")


async def test_parts_of_a_preset_can_be_changed(path: Path) -> None:
    mapping = FieldMapping.preset(
        "outlook",
        columns={"title": "Betreff", "start_time": ("Beginnt am", "Beginnt um"), "end_time": ("Endet am", "Endet um")},
        date_format="%d.%m.%Y %H:%M:%S",
    )
    source = csv_source(
        path,
        "Betreff;Beginnt am;Beginnt um;Endet am;Endet um;Ort",
        "Visit;10.1.2024;09:00:00;10.1.2024;10:00:00;Büro",
        mapping=mapping,
    )
    assert [times(item) for item in await read(source)] == [(instant(2024, 1, 10, 8), instant(2024, 1, 10, 9))]


async def test_key_of_a_preset_follows_start_and_title_and_does_not_show_the_title(path: Path) -> None:
    async def keys(*rows: str) -> list[str | None]:
        source = csv_source(path, OUTLOOK + ",key", *rows, mapping=FieldMapping.preset("outlook"))
        return [item.key for item in await read(source)]

    row = f"{MARKER},1/10/2024,9:00:00 AM,1/10/2024,10:00:00 AM,False,,,"
    first, renamed, moved, same, without_end, own, without_start = await keys(
        row,
        row.replace(MARKER, "x"),
        row.replace("9:00", "9:15"),
        row.replace("10:00:00", "11:00:00").replace("1/10/2024,9", "01/10/2024,9"),
        row.replace("10:00:00 AM", "?"),
        row + "k-1",
        row.replace("9:00:00 AM", "?"),
    )
    assert first is not None
    assert first.startswith("2024-01-10T08:00:00Z-")
    assert MARKER not in first
    assert len({first, renamed, moved}) == 3
    assert same == without_end == first
    assert (own, without_start) == ("k-1", None)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"columns": {"titel": "Subject"}}, "columns must have fields of key, tenant_id"),
        ({"columns": {"title": ()}}, "columns must name the columns of title"),
        ({"columns": {"title": "a", "start_time": ("Day", "")}}, "columns must name the columns of start_time"),
        ({"columns": {"title": (5,)}}, "columns: the column of title must be a str, not int"),
        ({"columns": {"all_day": "Whole"}}, "date_format must be given where all_day is mapped"),
        ({"date_format": "%Q"}, "date_format must be a format of datetime.strptime"),
        ({"date_format": "%d.%m. %H:%M"}, "date_format must have the day, the month and the year"),
        ({"date_format": "%d.%m.%Y %I:%M"}, "date_format must have %p together with %I"),
        ({"date_format": "%d.%m.%Y %H:%M %Z"}, "date_format must have no Z and no %Z"),
        ({"date_format": "%Y-%m-%dT%H:%M:%SZ"}, "date_format must have no Z and no %Z"),
        ({"date_format": "%d.%m.%Y %H:%M %p"}, "date_format must have %p together with %I"),
        ({"date_format": ["%d.%m.%Y", "%H"]}, "date_format must have the day"),
    ],
)
def test_invalid_mapping_is_rejected_with_its_rule(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rule):
        FieldMapping(**arguments)


def test_all_day_column_of_outlook_is_rejected() -> None:
    with pytest.raises(ValueError, match="columns must not have all_day for outlook"):
        FieldMapping.preset("outlook", columns={"all_day": "All day event"})


@pytest.mark.parametrize("date_format", ["%d. %B %Y %H:%M", "%H:%M %d. %B %Y", "%d. %B %YT%H:%M:%S%z"])
async def test_day_of_a_whole_day_may_lack_what_a_format_has_of_the_time(path: Path, date_format: str) -> None:
    mapping = FieldMapping(columns={"all_day": "whole"}, date_format=date_format)
    row = {"key": "k-1", "title": "Trip", "whole": True, "start_time": "15. January 2024"}
    put(path, orjson.dumps(row) + b"\n" + orjson.dumps(row | {"start_time": "15."}) + b"\n")
    source = JsonLinesSource(path, tenant_id="acme", mapping=mapping, assume_zone=UTC)
    good, bad = await read(source)
    assert isinstance(good, SourceRecord)
    assert (good.appointment.start_time, good.appointment.end_time) == (
        datetime(2024, 1, 15, tzinfo=UTC),
        datetime(2024, 1, 16, tzinfo=UTC),
    )
    assert isinstance(bad, SourceProblem)


async def test_joined_member_of_another_type_is_a_problem(path: Path) -> None:
    row = {"key": "k-1", "title": "Visit", "start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00Z"}
    put(path, orjson.dumps(row | {"t1": 0, "t2": "globex"}) + b"\n")
    mapping = FieldMapping(columns={"tenant_id": ("t1", "t2")})
    assert "tenant_id must be a str" in (await problem(JsonLinesSource(path, tenant_id="acme", mapping=mapping))).reason


def test_unknown_preset_is_rejected() -> None:
    with pytest.raises(ValueError, match="preset must be one of outlook, google"):
        FieldMapping.preset("lotus")  # type: ignore[arg-type]


def test_local_times_need_a_zone_before_the_file_is_read() -> None:
    for source in (CsvSource, JsonLinesSource):
        with pytest.raises(ValueError, match="assume_zone must be given: the times of the source are local ones"):
            source("missing.csv", mapping=MAPPING)
        source("missing.csv", mapping=FieldMapping(date_format="%Y-%m-%d %H:%M %z"))
        with pytest.raises(ValueError, match="assume_zone must be given"):
            source("missing.csv", mapping=FieldMapping(columns={"all_day": "Whole"}, date_format="%Y-%m-%d %H:%M %z"))
    with pytest.raises(TypeError, match="assume_zone must be a tzinfo"):
        CsvSource("missing.csv", mapping=MAPPING, assume_zone="UTC")  # type: ignore[arg-type]


def test_icalendar_takes_no_mapping() -> None:
    with pytest.raises(ValueError, match="mapping must not be given for iCalendar"):
        file_source("a.ics", mapping=FieldMapping())


def test_source_with_a_mapping_is_rejected_for_a_two_way_run(path: Path) -> None:
    with pytest.raises(ValueError, match="mapping must not be given in two-way mode"):
        check_same_reading(file_source(path, mapping=FieldMapping()), file_mirror(path))
    with pytest.raises(ValueError, match="mirror must have the same ignore_unknown as source"):
        check_same_reading(file_source(path, ignore_unknown=True), CsvMirror(path))
    check_same_reading(file_source(path, ignore_unknown=True), file_mirror(path, ignore_unknown=True))
