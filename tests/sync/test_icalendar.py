"""iCalendar: events as records, zones, and events that cannot be taken."""

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import ICalendarMirror, ICalendarSource
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


async def one(path: Path, *components: str, assume_zone: tzinfo | None = None) -> SourceRecord:
    put(path, calendar(*components))
    return await read_one(ICalendarSource(path, assume_zone=assume_zone))


async def times(path: Path, *lines: str, assume_zone: tzinfo | None = None, **ends: str) -> tuple[datetime, timedelta]:
    taken = (await one(path, event(*lines, **ends), assume_zone=assume_zone)).appointment
    return taken.start_time, taken.end_time - taken.start_time


async def test_an_event_is_a_record(path: Path) -> None:
    taken = await one(
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
    assert taken == record(calendar=user, description="a, b\nc", description_type="Html", modified=changed)


async def test_a_folded_line_never_begins_a_component(path: Path) -> None:
    taken = await one(path, event("DESCRIPTION:a\n BEGIN:VEVENT\n END:VEVENT"))
    assert taken.appointment.description == "aBEGIN:VEVENTEND:VEVENT"


async def test_other_components_and_cancelled_events_are_left_out(path: Path) -> None:
    todo = "BEGIN:VTODO\nUID:t\nSUMMARY:x\nEND:VTODO\n"
    assert await one(path, todo, event("STATUS:CANCELLED", "RRULE:FREQ=DAILY"), event()) == record(modified=STAMP)


async def test_an_event_without_a_tenant_belongs_to_the_one_that_is_named(path: Path) -> None:
    put(path, b"\xef\xbb\xbf" + calendar(event().replace("X-CONNECTOR-TENANT-ID", "X-OTHER")).replace(b"\n", b"\r\n"))
    assert (await read_one(ICalendarSource(path, tenant_id="globex"))).calendar == Calendar("globex")


async def test_the_end_follows_from_what_is_there(path: Path) -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    ten = datetime(2024, 1, 15, 10, tzinfo=UTC)
    assert await times(path) == (ten, hour)
    assert await times(path, "DURATION:PT90M", end="") == (ten, 1.5 * hour)
    assert await times(path, end="") == (ten, 0 * hour)
    midnight = datetime(2024, 3, 30, 23, tzinfo=UTC)  # a day of 23 hours follows
    date = "DTSTART;VALUE=DATE:20240331"
    assert await times(path, start=date, end="", assume_zone=BERLIN) == (midnight, 23 * hour)
    assert await times(path, "DURATION:P2D", start=date, end="", assume_zone=BERLIN) == (midnight, 2 * day - hour)
    until = "DTEND;VALUE=DATE:20240402"
    assert await times(path, start=date, end=until, assume_zone=BERLIN) == (midnight, 2 * day - hour)


async def test_a_zone_is_one_of_iana_or_windows_or_of_the_file(path: Path) -> None:
    async def taken(zone: str, *before: str) -> tuple[int, object]:
        start = f"DTSTART;TZID={zone}:20240115T100000"
        appointment = (await one(path, *before, event(start=start))).appointment
        return appointment.start_time.hour, getattr(appointment.time_zone, "name", appointment.time_zone)

    assert await taken("Europe/Berlin") == (9, "Europe/Berlin")
    assert await taken("W. Europe Standard Time") == (9, "W. Europe Standard Time")
    assert await taken("Our office", OWN_ZONE) == (6, "UNSET")
    # Not even after another file has described it.
    put(path, calendar(event(start="DTSTART;TZID=Our office:20240115T100000")))
    assert (await problem(ICalendarSource(path))).reason == "start_time has a zone that is not known"


async def test_floating_times_are_of_the_assumed_zone(path: Path) -> None:
    floating = {"start": "DTSTART:20240115T100000", "end": "DTEND:20240115T110000"}
    start, _ = await times(path, assume_zone=BERLIN, **floating)
    assert start == datetime(2024, 1, 15, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("instance", "key"),
    [
        ("RECURRENCE-ID:20240115T100000Z", "k-1/20240115T100000Z"),
        ("RECURRENCE-ID;TZID=Europe/Berlin:20240115T100000", "k-1/20240115T090000Z"),
        ("RECURRENCE-ID;VALUE=DATE:20240115", "k-1/20240115"),
        ("RECURRENCE-ID:20240115T100000", "k-1/20240115T100000"),
    ],
)
async def test_an_instance_has_a_key_of_its_own(path: Path, instance: str, key: str) -> None:
    assert (await one(path, event(instance))).key == key


M = MARKER
BAD: dict[str, tuple[str, str, str | None, Calendar | None]] = {
    "recurs": (event(f"SUMMARY:{M}", "RRULE:FREQ=DAILY"), "recurring events are not supported", "k-1", ACME),
    "recurs by a list": (event("RDATE:20240116T100000Z"), "recurring events are not supported", "k-1", ACME),
    "recurs from then on": (
        event("RECURRENCE-ID;RANGE=THISANDFUTURE:20240115T100000Z"),
        "recurring events are not supported",
        "k-1/20240115T100000Z",
        ACME,
    ),
    "floats": (event(f"SUMMARY:{M}", start="DTSTART:20240115T100000"), "start_time has no zone", "k-1", ACME),
    "a day": (
        event(f"SUMMARY:{M}", start="DTSTART;VALUE=DATE:20240115", end=""),
        "start_time has no zone",
        "k-1",
        ACME,
    ),
    "a zone": (
        event(start=f"DTSTART;TZID={M}:20240115T100000"),
        "start_time has a zone that is not known",
        "k-1",
        ACME,
    ),
    "no start": (event(f"SUMMARY:{M}", start=""), "start_time is missing", "k-1", ACME),
    "no time": (event(start=f"DTSTART:{M}"), "start_time: DTSTART cannot be parsed", "k-1", ACME),
    "a duration": (event(start="DTSTART:PT1H"), "start_time is no date-time", "k-1", ACME),
    "no duration": (event("DURATION:20240115T100000Z", end=""), "end_time: DURATION", "k-1", ACME),
    "ends twice": (event("DURATION:PT1H"), "end_time is said twice, by DTEND and by DURATION", "k-1", ACME),
    "no title": (event().replace("SUMMARY", "COMMENT"), "title is missing", "k-1", ACME),
    "two titles": (event(f"SUMMARY:{M}\nSUMMARY:{M}"), "title: SUMMARY is there twice", "k-1", ACME),
    "no line": (event(f"{M} {M}: x; y".replace(":", "")), "a property cannot be parsed", None, None),
    "no instance": (event(f"RECURRENCE-ID:{M}"), "key: RECURRENCE-ID cannot be parsed", None, None),
    "no key": (event(f"SUMMARY:{M}").replace("UID", "COMMENT"), "key is missing", None, ACME),
    "a byte": (event("SUMMARY:\udcff"), "title must be encodable as UTF-8: it has a lone surrogate", "k-1", ACME),
    "no end": (event(f"SUMMARY:{M}").replace("END:VEVENT\n", ""), "the event cannot be parsed", None, None),
    "an alarm without one": (event("BEGIN:VALARM"), "the event cannot be parsed", None, None),
    "too early": (event(start="DTSTART;TZID=Asia/Tokyo:00010101T000000"), "start_time: outside", "k-1", ACME),
    "too late": (event("DURATION:P9999999D", end=""), "end_time: outside", "k-1", ACME),
    "wrong way round": (event(end="DTEND:20240115T090000Z"), "end_time must not be before start_time", "k-1", ACME),
    "wrong encoding": (event("SUMMARY;X-CONNECTOR-ENCODING=PERCENT:%FF"), "title: not UTF-8", "k-1", ACME),
    "wrong fraction": (
        event(start=f"DTSTART;X-CONNECTOR-MICROSECOND={M}:20240115T100000Z"),
        "start_time has microseconds that are none",
        "k-1",
        ACME,
    ),
}


@pytest.mark.parametrize(("bad", "reason", "key", "whose"), BAD.values(), ids=BAD)
async def test_a_bad_event_is_a_problem_and_the_rest_goes_on(
    path: Path, bad: str, reason: str, key: str | None, whose: Calendar | None
) -> None:
    good = event()
    text = "".join(["BEGIN:VCALENDAR\n", good, bad, good, "END:VCALENDAR\n"])
    put(path, text.encode("utf-8", "surrogateescape"))
    source = ICalendarSource(path)
    found = await problem(source)
    assert (found.source, found.line) == (str(path), 2 + good.count("\n"))
    assert found.reason.startswith(reason)
    assert (found.key, found.calendar) == (key, whose)
    assert [item for item in await read(source) if isinstance(item, SourceRecord)] == [record(modified=STAMP)] * 2


async def test_an_event_that_the_end_of_the_calendar_cuts_off_is_not_lost(path: Path) -> None:
    put(path, calendar(event().removesuffix("END:VEVENT\n")))
    assert (await problem(ICalendarSource(path, tenant_id="acme"))).calendar is None


@pytest.mark.parametrize(
    "text", [b"", b"\n", MARKER.encode(), b"BEGIN:VEVENT\n", calendar(event())[:-20], calendar()[:-15]]
)
async def test_what_is_no_calendar_or_was_cut_off_is_an_error_of_the_source(path: Path, text: bytes) -> None:
    put(path, text)
    with pytest.raises(SourceError, match="not an iCalendar file") as caught:
        await read(ICalendarSource(path))
    assert str(path) in str(caught.value)
    assert MARKER not in str(caught.value)


async def test_a_mirror_says_the_same_every_time_and_what_others_understand(path: Path) -> None:
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


async def test_an_event_without_a_length_is_written_without_an_end(path: Path) -> None:
    await write(ICalendarMirror(path), [record(end_time=record().appointment.start_time)])
    assert b"DTEND" not in content(path)


LINES: Any = st.sampled_from(event("RRULE:FREQ=DAILY", "DURATION:PT1H", f"BEGIN:VALARM\n{M}").splitlines())


@settings(deadline=None, max_examples=60)
@given(lines=st.lists(LINES | st.text(max_size=30), max_size=12))
def test_whatever_stands_in_an_event_the_next_one_is_read(
    lines: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "any.ics"
    put(path, calendar("BEGIN:VEVENT\n", *(f"{line}\n" for line in lines), "END:VEVENT\n", event("UID:last")))
    walked = list(ICalendarSource(path)._read())
    assert isinstance(walked[-1], SourceRecord)
    assert walked[-1].key == "last"
