"""Changes that are merged into a calendar: only the lines that say something else differ afterwards."""

import difflib
import tempfile
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import ICalendarMirror, ICalendarSource, RecordChange
from connector_async.sync.records import ABSENT, SourceRecord, content_hash
from connector_async.sync.scope import Scope
from tests.support.sync_files import content, put, read

BERLIN = ZoneInfo("Europe/Berlin")
JULY = Scope(start=datetime(2024, 7, 1, tzinfo=UTC), end=datetime(2024, 8, 1, tzinfo=UTC))
TEN = datetime(2024, 7, 15, 10, tzinfo=UTC)
HEAD = ["BEGIN:VCALENDAR", "VERSION:2.0", "X-WR-CALNAME:Mine"]
REST = [
    "BEGIN:VTODO",
    "UID:todo",
    "SUMMARY:Order paper",
    "END:VTODO",
    "BEGIN:VEVENT",
    "UID:other",
    "SUMMARY:Visit",
    "DTSTART:20240716T100000Z",
    "STATUS:CANCELLED",
    "END:VEVENT",
    "END:VCALENDAR",
]


def event(*lines: str, uid: str = "a") -> list[str]:
    return [
        "BEGIN:VEVENT",
        f"UID:{uid}",
        "DTSTAMP:20240101T000000Z",
        "SUMMARY;LANGUAGE=en:Visit",
        "LOCATION:Room 1",
        *lines,
        "SEQUENCE:3",
        "BEGIN:VALARM",
        "TRIGGER:-PT5M",
        "DESCRIPTION:Reminder",
        "SUMMARY:Visit",
        "END:VALARM",
        "END:VEVENT",
    ]


class Calendar:
    """A calendar in a file, into which changes are merged."""

    def __init__(self, path: Path, *events: list[str], line_end: str = "\r\n", **options: Any) -> None:
        self.path = path
        self.options = options | {"tenant_id": "acme"}
        self.line_end = line_end
        lines = [*HEAD, *(line for each in events for line in each), *REST]
        put(path, "".join(line + line_end for line in lines).encode())

    async def records(self) -> dict[str, SourceRecord]:
        items = await read(ICalendarSource(self.path, **self.options))
        assert all(isinstance(item, SourceRecord) for item in items), items
        return {item.key: item for item in items if isinstance(item, SourceRecord)}

    async def merge(self, changes: Mapping[str, dict[str, Any] | None]) -> list[str]:
        """Give records other fields, or remove them, and return the lines that are gone (`-`) and new (`+`)."""
        before, records = content(self.path), await self.records()
        merged = {}
        for key, fields in changes.items():
            old = records[key]
            new = None if fields is None else attrs.evolve(old, appointment=attrs.evolve(old.appointment, **fields))
            merged[old.calendar, key] = RecordChange(
                replaced_hash=content_hash(old.appointment),
                content_hash=ABSENT if new is None else content_hash(new.appointment),
                record=None if new is None else attrs.evolve(new, modified=None),
            )
        assert set(await ICalendarMirror(self.path, **self.options).merge(merged)) == set(merged)
        after = await self.records()
        for (_, key), change in merged.items():
            found = after.get(key)
            assert (ABSENT if found is None else content_hash(found.appointment)) == change.content_hash
        assert {key: each for key, each in after.items() if key not in changes} == {
            key: each for key, each in records.items() if key not in changes
        }
        old_lines, new_lines = (text.decode().split(self.line_end) for text in (before, content(self.path)))
        differing = [line for line in difflib.ndiff(old_lines, new_lines) if line[0] in "+-"]
        return sorted(differing, key=lambda line: line[0] == "+")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.ics"


async def test_title_is_changed_alone(path: Path) -> None:
    calendar = Calendar(path, event("DTSTART:20240715T100000Z", "DURATION:PT1H"), line_end="\n")
    assert await calendar.merge({"a": {"title": "Changed; on the server"}}) == [
        "- SUMMARY;LANGUAGE=en:Visit",
        "+ SUMMARY;LANGUAGE=en:Changed\\; on the server",
    ]


async def test_parameter_that_is_not_true_of_the_new_text_is_left_out(path: Path) -> None:
    lines = ["DTSTART:20240715T100000Z", 'DESCRIPTION;ALTREP="https://example.com/a:b";LANGUAGE=fr:old']
    assert await Calendar(path, event(*lines)).merge({"a": {"description": "new"}}) == [
        f"- {lines[1]}",
        "+ DESCRIPTION;LANGUAGE=fr:new",
    ]


async def test_long_line_is_folded_and_a_folded_one_is_replaced_as_a_whole(path: Path) -> None:
    calendar = Calendar(path, event("DTSTART:20240715T100000Z", "DESCRIPTION:fir", " st", "\tsecond"))
    assert await calendar.merge({"a": {"description": "é" * 60}}) == [
        "- DESCRIPTION:fir",
        "-  st",
        "- \tsecond",
        f"+ DESCRIPTION:{'é' * 31}",
        f"+  {'é' * 29}",
    ]


async def test_description_is_added_and_removed(path: Path) -> None:
    calendar = Calendar(path, event("DTSTART:20240715T100000Z"))
    assert await calendar.merge({"a": {"description": "with\nlines"}}) == ["+ DESCRIPTION:with\\nlines"]
    assert await calendar.merge({"a": {"description": None}}) == ["- DESCRIPTION:with\\nlines"]


async def test_times_keep_their_form(path: Path) -> None:
    later = {"start_time": TEN + timedelta(hours=1), "end_time": TEN + timedelta(hours=2)}
    zoned = event('DTSTART;TZID="Europe/Berlin":20240715T120000', "DURATION:PT1H")
    assert await Calendar(path, zoned).merge({"a": later}) == [
        '- DTSTART;TZID="Europe/Berlin":20240715T120000',
        '+ DTSTART;TZID="Europe/Berlin":20240715T130000',
    ]
    floating = event("DTSTART:20240715T120000", "DTEND:20240715T130000")
    assert await Calendar(path, floating, assume_zone=BERLIN).merge({"a": {"end_time": TEN + timedelta(hours=2)}}) == [
        "- DTEND:20240715T130000",
        "+ DTEND:20240715T140000",
    ]
    days = event("DTSTART;VALUE=DATE:20240715")
    day = timedelta(days=1)
    midnight = datetime(2024, 7, 15, tzinfo=BERLIN)
    moved = {"start_time": midnight + day, "end_time": midnight + 2 * day}
    assert await Calendar(path, days, assume_zone=BERLIN).merge({"a": moved}) == [
        "- DTSTART;VALUE=DATE:20240715",
        "+ DTSTART;VALUE=DATE:20240716",
    ]


async def test_time_that_the_form_cannot_say_is_written_in_utc(path: Path) -> None:
    second_of_two = datetime(2024, 10, 27, 1, 30, tzinfo=UTC)  # 02:30 in Berlin, after the change of the clocks
    calendar = Calendar(path, event("DTSTART;TZID=Europe/Berlin:20241027T010000"))
    assert await calendar.merge({"a": {"start_time": second_of_two, "end_time": second_of_two}}) == [
        "- DTSTART;TZID=Europe/Berlin:20241027T010000",
        "+ DTSTART:20241027T013000Z",
    ]
    noon = datetime(2024, 7, 15, 12, tzinfo=BERLIN)
    calendar = Calendar(path, event("DTSTART;VALUE=DATE:20240715", "DURATION:P1D"), assume_zone=BERLIN)
    assert await calendar.merge({"a": {"start_time": noon, "end_time": noon + timedelta(hours=1)}}) == [
        "- DTSTART;VALUE=DATE:20240715",
        "- DURATION:P1D",
        "+ DTEND:20240715T110000Z",
        "+ DTSTART:20240715T100000Z",
    ]


async def test_changed_occurrence_becomes_an_event_of_its_own(path: Path) -> None:
    series = event(
        "DTSTART;TZID=Europe/Berlin:20240701T120000",
        "DTEND;TZID=Europe/Berlin:20240701T130000",
        "RRULE:FREQ=WEEKLY;COUNT=3",
    )
    calendar = Calendar(path, series, expand=JULY)
    await calendar.merge({"a/20240708T100000Z": {"title": "Changed"}})
    override = event(
        "DTSTART;TZID=Europe/Berlin:20240708T120000",
        "RECURRENCE-ID;TZID=Europe/Berlin:20240708T120000",
        "DTEND;TZID=Europe/Berlin:20240708T130000",
    )
    override[3] = "SUMMARY;LANGUAGE=en:Changed"
    assert content(path).decode().split("\r\n") == [*HEAD, *series, *override, *REST, ""]


async def test_removed_occurrence_becomes_an_exception(path: Path) -> None:
    calendar = Calendar(
        path, event("DTSTART;VALUE=DATE:20240701", "RRULE:FREQ=DAILY;COUNT=3"), expand=JULY, assume_zone=UTC
    )
    assert await calendar.merge({"a/20240702": None, "a/20240703": None}) == [
        "+ EXDATE;VALUE=DATE:20240703",
        "+ EXDATE;VALUE=DATE:20240702",
    ]


async def test_removed_override_is_cancelled_and_a_single_event_is_removed(path: Path) -> None:
    series = event("DTSTART:20240701T100000Z", "RRULE:FREQ=WEEKLY;COUNT=3")
    override = event("RECURRENCE-ID:20240708T100000Z", "DTSTART:20240709T100000Z")
    calendar = Calendar(path, series, override, event("DTSTART:20240710T100000Z", uid="b"), expand=JULY)
    removed = event("DTSTART:20240710T100000Z", uid="b")
    changes = await calendar.merge({"a/20240708T100000Z": None, "b": None})
    assert [line for line in changes if line[0] == "+"] == ["+ STATUS:CANCELLED"]
    assert len(changes) == 1 + len(removed)


async def test_removed_event_with_an_older_revision_is_cancelled(path: Path) -> None:
    newest = event("DTSTART:20240710T110000Z")
    newest[newest.index("SEQUENCE:3")] = "SEQUENCE:4"
    calendar = Calendar(path, event("DTSTART:20240710T100000Z"), newest)
    assert await calendar.merge({"a": None}) == ["+ STATUS:CANCELLED"]


async def test_time_zone_beside_a_time_in_utc_is_not_kept(path: Path) -> None:
    calendar = Calendar(path, event("DTSTART;TZID=Europe/London:20240115T100000Z"))
    assert await calendar.merge({"a": {"start_time": TEN, "end_time": TEN}}) == [
        "- DTSTART;TZID=Europe/London:20240115T100000Z",
        "+ DTSTART:20240715T100000Z",
    ]


async def test_occurrence_in_the_gap_is_removed_by_its_instant(path: Path) -> None:
    series = event("DTSTART;TZID=Europe/Berlin:20240330T023000", "RRULE:FREQ=DAILY;COUNT=3")
    march = Scope(start=datetime(2024, 3, 1, tzinfo=UTC), end=datetime(2024, 4, 30, tzinfo=UTC))
    calendar = Calendar(path, series, expand=march)
    assert await calendar.merge({"a/20240331T013000Z": None}) == ["+ EXDATE;TZID=Europe/Berlin:20240331T033000"]


async def test_occurrences_that_an_event_changes_from_one_on_are_refused_by_name(path: Path) -> None:
    series = event("DTSTART:20240701T100000Z", "RRULE:FREQ=WEEKLY;COUNT=3")
    later = event("RECURRENCE-ID;RANGE=THISANDFUTURE:20240708T100000Z", "DTSTART:20240708T110000Z")
    calendar = Calendar(path, series, later, event("DTSTART:20240710T100000Z", uid="b"), expand=JULY)
    with pytest.raises(SourceError, match=r"cannot be changed alone.*: a/20240715T100000Z$"):
        await calendar.merge({"a/20240715T100000Z": {"title": "Changed"}, "b": {"title": "Changed"}})
    records = await calendar.records()
    # The other change is in the file.
    assert {key: each.appointment.title for key, each in records.items() if key != "a/20240701T100000Z"} == {
        "a/20240708T100000Z": "Visit",
        "a/20240715T100000Z": "Visit",
        "b": "Changed",
    }


FORMS = [
    ["DTSTART:{0}Z", "DTEND:{1}Z"],
    ["DTSTART:{0}Z", "DURATION:{2}"],
    ["DTSTART;TZID=America/New_York:{0}", "DTEND;TZID=Europe/Berlin:{1}"],
    ["DTSTART;TZID=America/New_York:{0}", "DURATION:{2}"],
    ["DTSTART:{0}"],
    ["DTSTART;VALUE=DATE:{3}", "DTEND;VALUE=DATE:{4}"],
    ["DTSTART;VALUE=DATE:{3}"],
    ["DTSTART;VALUE=DATE:{3}", "DURATION:P2D"],
]
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))
DAYS = st.dates(date(1971, 1, 1), date(2090, 1, 1))
LENGTHS = st.timedeltas(timedelta(0), timedelta(days=3))


@given(
    form=st.sampled_from(FORMS),
    day=DAYS,
    start=INSTANTS | DAYS,
    length=LENGTHS | st.sampled_from([timedelta(days=1), timedelta(days=2)]),
    title=st.text(st.characters(codec="utf-8"), min_size=1, max_size=90).filter(lambda text: bool(text.strip())),
)
async def test_any_change_is_in_the_file_and_everything_else_stays(
    form: list[str], day: date, start: datetime | date, length: timedelta, title: str
) -> None:
    first = datetime.combine(day, time(9))
    values = [f"{each:%Y%m%dT%H%M%S}" for each in (first, first + timedelta(hours=12))]
    values += ["P1DT1H", f"{day:%Y%m%d}", f"{day + timedelta(days=3):%Y%m%d}"]
    with tempfile.TemporaryDirectory() as folder:
        calendar = Calendar(
            Path(folder) / "mine.ics", event(*(line.format(*values) for line in form)), assume_zone=BERLIN
        )
        start_time = start if isinstance(start, datetime) else datetime.combine(start, time(), tzinfo=BERLIN)
        fields = {"title": title, "start_time": start_time, "end_time": start_time + length}
        changes = await calendar.merge({"a": fields})
    names = {line[2:].replace(";", ":").partition(":")[0] for line in changes if line[2:3] != " "}
    assert names <= {"SUMMARY", "DTSTART", "DTEND", "DURATION", ""}
