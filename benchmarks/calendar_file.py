"""Reading an iCalendar file, beside what the icalendar library takes alone to parse it and to walk through its events.

Time is measured with both in one process, memory with each in a process of its own.
"""

import argparse
import asyncio
import functools
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from icalendar import Calendar

from benchmarks import rounds
from benchmarks.processes import peak_megabytes, run_python
from benchmarks.tables import Settings, Table, compare
from connector_async.sync.formats import file_source
from connector_async.sync.records import SourceRecord

_EVENTS: Final = 20_000
_EVENTS_A_DAY: Final = 16
"""From 9:00 to 17:00, so that none is at an hour that the change to summer time skips."""
_ROUNDS: Final = 3
_FLOOR: Final = "icalendar alone"
_OURS: Final = "ICalendarSource"
_FIRST: Final = datetime(2024, 1, 1, 9, tzinfo=UTC)

_HEADER: Final = """\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//connector-async//benchmark//EN
BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:DAYLIGHT
DTSTART:19810329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:19961027T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
END:VTIMEZONE
"""
_EVENT: Final = """\
BEGIN:VEVENT
DTSTAMP:20240101T080000Z
UID:{number:08}-7c01f588@example.com
SUMMARY:Quarterly review {number}
DTSTART;TZID=Europe/Berlin:{start:%Y%m%dT%H%M%S}
DTEND;TZID=Europe/Berlin:{end:%Y%m%dT%H%M%S}
DESCRIPTION:The agenda is in the shared folder\\, as always.\\nPlease read i
 t before\\, and bring the figures of the last quarter\\; the minutes follow.
LOCATION:Building 7\\, Room 4.{number}
ORGANIZER;CN=First Organizer:mailto:organizer@example.com
ATTENDEE;CN=First Attendee;ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED;RSVP=TRUE:
 mailto:first@example.com
ATTENDEE;CN=Second Attendee;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=
 TRUE:mailto:second@example.com
STATUS:CONFIRMED
SEQUENCE:1
LAST-MODIFIED:20240102T080000Z
BEGIN:VALARM
ACTION:DISPLAY
DESCRIPTION:Reminder
TRIGGER:-PT15M
END:VALARM
END:VEVENT
"""


def _lines(count: int) -> Iterator[str]:
    yield _HEADER
    for number in range(count):
        day, slot = divmod(number, _EVENTS_A_DAY)
        start = _FIRST + timedelta(days=day, minutes=30 * slot)
        yield _EVENT.format(number=number, start=start, end=start + timedelta(minutes=30))
    yield "END:VCALENDAR\n"


@functools.cache
def calendar_file(folder: Path, count: int) -> Path:
    """Return a file with `count` events, as calendar programs write them. It is written to `folder` once."""
    path = folder / f"{count}.ics"
    with path.open("w", encoding="utf-8", newline="\r\n") as file:
        file.writelines(_lines(count))
    return path


def walk(path: Path) -> int:
    """Parse a file with the library alone, and return the number of its events."""
    return len(Calendar.from_ical(path.read_bytes()).walk("VEVENT"))


async def read(path: Path) -> int:
    """Read a file with `ICalendarSource`, and return the number of its records.

    Raises:
        AssertionError: If something in it is not a record.
    """
    count = 0
    async for item in file_source(path, tenant_id="tenant").records():
        assert isinstance(item, SourceRecord), item
        count += 1
    return count


def contestants(folder: Path) -> dict[str, rounds.Contestant]:
    """Return both ways to read as many events as they are asked for. The files are written to `folder`."""

    async def alone(count: int) -> None:
        assert walk(calendar_file(folder, count)) == count

    async def ours(count: int) -> None:
        assert await read(calendar_file(folder, count)) == count

    return {_FLOOR: alone, _OURS: ours}


async def _measure_time(settings: Settings) -> Table:
    count = settings.size(_EVENTS)
    with tempfile.TemporaryDirectory() as folder:
        measurement = await rounds.measure(
            contestants(Path(folder)), floor=_FLOOR, rounds=settings.rounds_or(_ROUNDS), calls=count
        )
    figures = measurement.figures
    return compare(
        measurement,
        name="calendar_file.time",
        title="reading an iCalendar file",
        unit="event",
        ours=(_OURS,),
        extra_columns={"events a second": lambda name: f"{1e6 / figures[name].wall_per_call():,.0f}"},
    )


def _measure_memory(settings: Settings) -> Table:
    count = settings.size(_EVENTS)
    peaks = {kind: _megabytes(kind, count) for kind in (_FLOOR, _OURS)}
    return Table(
        name="calendar_file.memory",
        title=f"MB more at the peak of reading an iCalendar file of {count:,} events",
        columns=["", "MB"],
        rows=[[kind, f"{megabytes:.1f}"] for kind, megabytes in peaks.items()],
        notes=["Each in a process of its own, over what it had after reading a file of one event."],
        figures=peaks,
    )


def _megabytes(kind: str, count: int) -> float:
    (megabytes,) = run_python(["-m", "benchmarks.calendar_file", kind, str(count)])
    return megabytes


def measure(settings: Settings) -> list[Table]:
    """Return the tables of the time and of the memory."""
    return [asyncio.run(_measure_time(settings)), _measure_memory(settings)]


async def _print_growth(kind: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        read_events = contestants(Path(folder))[kind]
        calendar_file(Path(folder), count)
        await read_events(1)  # imports the rest, and starts the thread
        before = peak_megabytes()
        await read_events(count)
    print(max(0.0, peak_megabytes() - before))


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=(_FLOOR, _OURS))
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    asyncio.run(_print_growth(options.kind, options.count))


if __name__ == "__main__":
    _main()
