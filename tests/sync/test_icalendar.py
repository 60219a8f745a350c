"""iCalendar: events as records, time zones, and events that cannot be read."""

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import ICalendarMirror, ICalendarSource, reading
from connector_async.sync.formats.icalendar import components
from connector_async.sync.records import Calendar, SourceRecord
from tests.support.sync_files import MARKER, content, problem, put, read, read_one, record, write

BERLIN = ZoneInfo("Europe/Berlin")
STAMP = datetime(2024, 1, 1, tzinfo=UTC)
ACME = Calendar("acme")
OWN_ZONE = """BEGIN:VTIMEZONE
TZID:Our office
BEGIN:STANDARD
DTSTART:19700101T000000
TZOFFSETFROM:+0330
TZOFFSETTO:+0330
END:STANDARD
END:VTIMEZONE
"""


def event(*lines: str, start: str = "DTSTART:20240115T100000Z", end: str = "DTEND:20240115T110000Z") -> str:
    own = [start, end, *lines]
    fixed = ["UID:k-1", "DTSTAMP:20240101T000000Z", "SUMMARY:Visit", "X-CONNECTOR-TENANT-ID:acme"]
    names = {line.replace(";", ":").partition(":")[0] for line in own}
    kept = [line for line in fixed if line.partition(":")[0] not in names]
    return "\n".join(["BEGIN:VEVENT", *kept, *(line for line in own if line), "END:VEVENT", ""])


def calendar(*components: str) -> bytes:
    return "".join(["BEGIN:VCALENDAR\nVERSION:2.0\n", *components, "END:VCALENDAR\n"]).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.ics"


async def read_event(path: Path, *components: str, assume_zone: tzinfo | None = None) -> SourceRecord:
    put(path, calendar(*components))
    return await read_one(ICalendarSource(path, assume_zone=assume_zone))


async def start_and_duration(
    path: Path, *lines: str, assume_zone: tzinfo | None = None, before: str = "", **ends: str
) -> tuple[datetime, timedelta]:
    appointment = (await read_event(path, before, event(*lines, **ends), assume_zone=assume_zone)).appointment
    return appointment.start_time, appointment.end_time - appointment.start_time


async def test_event_is_read_as_a_record(path: Path) -> None:
    found = await read_event(
        path,
        event(
            "DESCRIPTION:a\\, b\\nc",
            "LAST-MODIFIED:20240102T000000Z",
            "X-CONNECTOR-AD-ID:u",
            "X-CONNECTOR-DOMAIN-ID:d",
            "X-CONNECTOR-DESCRIPTION-TYPE:Html",
            "BEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:x\nTRIGGER:-PT5M\nEND:VALARM",
        ),
    )
    user = Calendar("acme", domain_id="d", ad_id="u")
    changed = datetime(2024, 1, 2, tzinfo=UTC)
    assert found == record(calendar=user, description="a, b\nc", description_type="Html", modified=changed)


async def test_folded_line_never_starts_a_component(path: Path) -> None:
    found = await read_event(path, event("DESCRIPTION:a\n BEGIN:VEVENT\n END:VEVENT"))
    assert found.appointment.description == "aBEGIN:VEVENTEND:VEVENT"


async def test_other_components_and_cancelled_events_are_skipped(path: Path) -> None:
    todo = "BEGIN:VTODO\nUID:t\nSUMMARY:x\nEND:VTODO\n"
    found = await read_event(path, todo, event("UID:other", "STATUS:CANCELLED", "RRULE:FREQ=DAILY"), event())
    assert found == record(modified=STAMP)


async def test_event_without_a_tenant_gets_the_default_tenant(path: Path) -> None:
    put(path, b"\xef\xbb\xbf" + calendar(event().replace("X-CONNECTOR-TENANT-ID", "X-OTHER")).replace(b"\n", b"\r\n"))
    assert (await read_one(ICalendarSource(path, tenant_id="globex"))).calendar == Calendar("globex")


async def test_end_follows_from_dtend_duration_or_the_kind_of_dtstart(path: Path) -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    ten = datetime(2024, 1, 15, 10, tzinfo=UTC)
    assert await start_and_duration(path) == (ten, hour)
    assert await start_and_duration(path, "DURATION:PT90M", end="") == (ten, 1.5 * hour)
    assert await start_and_duration(path, end="") == (ten, 0 * hour)
    midnight = datetime(2024, 3, 30, 23, tzinfo=UTC)  # the start of a day of 23 hours
    date: dict[str, Any] = {"start": "DTSTART;VALUE=DATE:20240331", "assume_zone": BERLIN}
    until = "DTEND;VALUE=DATE:20240402"
    assert await start_and_duration(path, end="", **date) == (midnight, 23 * hour)
    assert await start_and_duration(path, "DURATION:P2D", end="", **date) == (midnight, 2 * day - hour)
    assert await start_and_duration(path, end=until, **date) == (midnight, 2 * day - hour)


async def test_time_zone_is_known_to_iana_or_windows_or_described_in_the_file(path: Path) -> None:
    async def hour_and_zone(zone: str, *before: str) -> tuple[int, object]:
        start = f"DTSTART;TZID={zone}:20240115T100000"
        appointment = (await read_event(path, *before, event(start=start))).appointment
        return appointment.start_time.hour, getattr(appointment.time_zone, "name", appointment.time_zone)

    assert await hour_and_zone("Europe/Berlin") == (9, "Europe/Berlin")
    assert await hour_and_zone("W. Europe Standard Time") == (9, "W. Europe Standard Time")
    assert await hour_and_zone("Our office", OWN_ZONE) == (6, "UNSET")
    # Unknown in another file, although the library has parsed a description of it.
    put(path, calendar(event(start="DTSTART;TZID=Our office:20240115T100000")))
    assert (await problem(ICalendarSource(path))).reason == "start_time has an unknown time zone"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("END:DAYLIGHT\n", ""),
        ("BEGIN:DAYLIGHT\n", ""),
        ("RRULE:FREQ=YEARLY", "RRULE FREQ=YEARLY"),
        ("TZOFFSETTO:+0200", "TZOFFSETTO:+0200\nTZOFFSETTO:+0300"),
        ("END:VTIMEZONE\n", ""),
        ("RRULE:FREQ=YEARLY", f"RDATE:{','.join(f'{year}0101T000000' for year in range(1000, 7000))}"),
    ],
)
async def test_zone_that_is_described_in_part_is_unknown(path: Path, old: str, new: str) -> None:
    zone = OWN_ZONE.replace(
        "END:VTIMEZONE\n",
        "BEGIN:DAYLIGHT\nDTSTART:19700601T000000\nTZOFFSETFROM:+0330\nTZOFFSETTO:+0200\n"
        "RRULE:FREQ=YEARLY\nEND:DAYLIGHT\nEND:VTIMEZONE\n",
    )
    lines = event(start="DTSTART;TZID=Our office:20240715T100000", end="")
    assert (await read_event(path, zone, lines)).appointment.start_time.hour == 8
    put(path, calendar(zone.replace(old, new), lines))
    assert (await problem(ICalendarSource(path))).reason == "start_time has an unknown time zone"


async def test_zone_with_too_many_offsets_is_unknown(path: Path) -> None:
    standard = OWN_ZONE.splitlines()[2:-1]
    many = [
        "\n".join(standard)
        .replace("1970", f"{1700 + minute}")
        .replace("TO:+0330", f"TO:+{minute // 60:02}{minute % 60:02}")
        for minute in range(300)
    ]
    zone = "\n".join(["BEGIN:VTIMEZONE", "TZID:Our office", *many, "END:VTIMEZONE", ""])
    put(path, calendar(zone, "X-WR-TIMEZONE:Our office\n", event(start="DTSTART:20240715T100000", end="")))
    assert (await problem(ICalendarSource(path))).reason == "start_time has no time zone"


async def test_name_that_is_no_place_means_what_the_calendar_describes(path: Path) -> None:
    # IANA knows EST as an offset of five hours.
    start, _ = await start_and_duration(
        path, start="DTSTART;TZID=EST:20240715T100000", end="", before=OWN_ZONE.replace("Our office", "EST")
    )
    assert start == datetime(2024, 7, 15, 6, 30, tzinfo=UTC)


async def test_floating_times_are_in_the_assumed_zone(path: Path) -> None:
    floating = {"start": "DTSTART:20240115T100000", "end": "DTEND:20240115T110000"}
    start, _ = await start_and_duration(path, assume_zone=BERLIN, **floating)
    assert start == datetime(2024, 1, 15, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("recurrence_id", "key"),
    [
        ("RECURRENCE-ID:20240115T100000Z", "k-1/20240115T100000Z"),
        ("RECURRENCE-ID;TZID=Europe/Berlin:20240115T100000", "k-1/20240115T090000Z"),
        ("RECURRENCE-ID;VALUE=DATE:20240115", "k-1/20240115"),
        ("RECURRENCE-ID:20240115T100000", "k-1/20240115T100000"),
    ],
)
async def test_instance_of_a_series_has_its_own_key(path: Path, recurrence_id: str, key: str) -> None:
    assert (await read_event(path, event(recurrence_id))).key == key


M = MARKER
BAD: dict[str, tuple[str, str, str | None, Calendar | None]] = {
    "recurring": (event(f"SUMMARY:{M}", "RRULE:FREQ=DAILY"), "a recurring event is read only within", "k-1", ACME),
    "this and future instances": (
        event("RECURRENCE-ID;RANGE=THISANDFUTURE:20240115T100000Z"),
        "a recurring event is read only within",
        "k-1/20240115T100000Z",
        ACME,
    ),
    "floating start": (event(start="DTSTART:20240115T100000"), "start_time has no time zone", "k-1", ACME),
    "date as a start": (event(start="DTSTART;VALUE=DATE:20240115", end=""), "start_time has no time zone", "k-1", ACME),
    "unknown time zone": (
        event(start=f"DTSTART;TZID={M}:20240115T100000"),
        "start_time has an unknown time zone",
        "k-1",
        ACME,
    ),
    "no start": (event(f"SUMMARY:{M}", start=""), "start_time is missing", "k-1", ACME),
    "invalid start": (event(start=f"DTSTART:{M}"), "start_time: DTSTART must be a date", "k-1", ACME),
    "duration as a start": (event(start="DTSTART:PT1H"), "start_time: DTSTART must be a date", "k-1", ACME),
    "date-time as a duration": (event("DURATION:20240115T100000Z", end=""), "end_time: DURATION", "k-1", ACME),
    "two ends": (event("DURATION:PT1H"), "end_time is set twice, by DTEND and by DURATION", "k-1", ACME),
    "two titles": (event(f"SUMMARY:{M}\nSUMMARY:{M} and more"), "title: SUMMARY occurs twice", "k-1", ACME),
    "line without a value": (event(f"RRULE {M}"), "RRULE: a line of RRULE cannot be parsed", "k-1", ACME),
    "invalid RECURRENCE-ID": (event(f"RECURRENCE-ID:{M}"), "key: RECURRENCE-ID must be a date", "k-1", ACME),
    "no key": (event(f"SUMMARY:{M}").replace("UID", "COMMENT"), "key is missing", None, ACME),
    "title not UTF-8": (
        event("SUMMARY:\udcff"),
        "title must be encodable as UTF-8: it has a lone surrogate",
        "k-1",
        ACME,
    ),
    "no END line": (event(f"SUMMARY:{M}").replace("END:VEVENT\n", ""), "the event has no END line", "k-1", ACME),
    "start too early": (event(start="DTSTART;TZID=Asia/Tokyo:00010101T000000"), "start_time: outside", "k-1", ACME),
    "end too late": (event("DURATION:P9999999D", end=""), "end_time: outside", "k-1", ACME),
    "invalid encoding": (
        event("SUMMARY;X-CONNECTOR-ENCODING=PERCENT:%FF"),
        "title: the percent-encoded value must be UTF-8",
        "k-1",
        ACME,
    ),
    "invalid microseconds": (
        event(start=f"DTSTART;X-CONNECTOR-MICROSECOND={M}:20240115T100000Z"),
        "start_time has an invalid X-CONNECTOR-MICROSECOND",
        "k-1",
        ACME,
    ),
}


@pytest.mark.parametrize(("bad", "reason", "key", "expected_calendar"), BAD.values(), ids=BAD)
async def test_invalid_event_is_a_problem_and_reading_continues(
    path: Path, bad: str, reason: str, key: str | None, expected_calendar: Calendar | None
) -> None:
    good = event()
    file = "".join(["BEGIN:VCALENDAR\n", good, bad, good, "END:VCALENDAR\n"])
    put(path, file.encode("utf-8", "surrogateescape"))
    source = ICalendarSource(path)
    found = await problem(source)
    assert (found.source, found.line) == (str(path), 2 + good.count("\n"))
    assert found.reason.startswith(reason)
    assert (found.key, found.calendar) == (key, expected_calendar)
    assert [item for item in await read(source) if isinstance(item, SourceRecord)] == [record(modified=STAMP)] * 2


async def test_event_without_an_end_line_before_the_end_of_the_calendar_is_a_problem(path: Path) -> None:
    put(path, calendar("BEGIN:VEVENT\nUID:k-1\n"))
    found = await problem(ICalendarSource(path, tenant_id="globex"))
    # A line that is missing may have named another tenant.
    assert (found.key, found.calendar) == ("k-1", None)


async def test_blank_lines_before_a_fold_belong_to_its_line(path: Path) -> None:
    found = await read_event(path, event("DESCRIPTION:a\n\n\n b"))
    assert found.appointment.description == "ab"


@pytest.mark.parametrize(("module", "name"), [(components, "_MAX_BYTES"), (reading, "_MAX_LINE")])
async def test_line_or_component_that_does_not_fit_into_memory_is_an_error(
    path: Path, module: ModuleType, name: str
) -> None:
    put(path, calendar(event(f"DESCRIPTION:{'x' * 2000}")))
    await read(ICalendarSource(path))
    with mock.patch.object(module, name, 1000), pytest.raises(SourceError, match="longer than 1000 bytes"):
        await read(ICalendarSource(path))


def test_file_that_changes_while_it_is_read_is_an_error(path: Path) -> None:
    put(path, calendar(event()))
    items = ICalendarSource(path)._read()
    while next(items) is None:
        pass
    with path.open("ab") as file:
        file.write(calendar(event("UID:k-2")))
    with pytest.raises(SourceError, match="changed while it was read"):
        list(items)


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\n",
        MARKER.encode(),
        b"BEGIN:VEVENT\n",
        calendar(event())[:-20],
        calendar()[:-15],
        calendar(event()).removesuffix(b"END:VCALENDAR\n") + calendar(event("UID:k-2")),
    ],
    ids=[
        "empty",
        "blank",
        "other content",
        "event alone",
        "cut off in an event",
        "cut off after the events",
        "cut off before another one",
    ],
)
async def test_file_that_is_not_a_whole_calendar_is_an_error_of_the_source(path: Path, file: bytes) -> None:
    put(path, file)
    with pytest.raises(SourceError, match=r"not an iCalendar file|cut off") as caught:
        await read(ICalendarSource(path))
    assert str(path) in str(caught.value)
    assert MARKER not in str(caught.value)


async def test_mirror_is_deterministic_and_standard(path: Path) -> None:
    await write(ICalendarMirror(path), [record(time_zone="Europe/Berlin", description=None)])
    assert content(path).decode().split("\r\n") == [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//connector-async//mirror//EN",
        "BEGIN:VEVENT",
        "SUMMARY:Visit",
        "DTSTART:20240115T100000Z",
        "DTEND:20240115T110000Z",
        "DTSTAMP;X-CONNECTOR-NULL=TRUE:20240115T100000Z",
        "UID:k-1",
        "DESCRIPTION;X-CONNECTOR-NULL=TRUE:",
        "X-CONNECTOR-TENANT-ID:acme",
        "X-CONNECTOR-TIME-ZONE:Europe/Berlin",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    ]


async def test_event_without_duration_is_written_without_dtend(path: Path) -> None:
    await write(ICalendarMirror(path), [record(end_time=record().appointment.start_time)])
    assert b"DTEND" not in content(path)


LINES: Any = st.sampled_from(event("RRULE:FREQ=DAILY", "DURATION:PT1H", f"BEGIN:VALARM\n{M}").splitlines())


@settings(deadline=None, max_examples=60)
@given(lines=st.lists(LINES | st.text(max_size=30), max_size=12))
def test_event_after_any_other_event_is_read(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "any.ics"
    put(path, calendar("BEGIN:VEVENT\n", *(f"{line}\n" for line in lines), "END:VEVENT\n", event("UID:last")))
    items = [item for item in ICalendarSource(path)._read() if item is not None]
    assert isinstance(items[-1], SourceRecord)
    assert items[-1].key == "last"
