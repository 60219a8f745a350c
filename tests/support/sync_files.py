"""Shared by the tests of the file formats: reading, writing, one record, and a strategy of records."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from connector_async import NewAppointment
from connector_async.sync.formats import FileFormat, Mirror, Source
from connector_async.sync.records import Calendar, SourceProblem, SourceRecord

FORMATS: list[FileFormat] = ["jsonl", "csv", "ics"]

MARKER = "Lindqvist"
"""Personal data in bad rows. No problem may repeat it."""


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def content(path: Path) -> bytes:
    return path.read_bytes()


async def read(source: Source) -> list[SourceRecord | SourceProblem]:
    return [item async for item in source.records()]


async def read_one(source: Source) -> SourceRecord:
    (item,) = await read(source)
    assert isinstance(item, SourceRecord), item
    return item


async def problem(source: Source) -> SourceProblem:
    """Return the only problem of a source, which must not repeat personal data."""
    (found,) = [item for item in await read(source) if isinstance(item, SourceProblem)]
    assert MARKER not in repr(found)
    return found


async def write(mirror: Mirror, records: Iterable[SourceRecord]) -> None:
    async with mirror.writing() as writer:
        for record in records:
            await writer.write(record)


def record(key: str = "k-1", calendar: Calendar | None = None, **changes: Any) -> SourceRecord:
    fields: dict[str, Any] = {
        "title": "Visit",
        "start_time": datetime(2024, 1, 15, 10, tzinfo=UTC),
        "end_time": datetime(2024, 1, 15, 11, tzinfo=UTC),
    }
    modified = changes.pop("modified", None)
    appointment = NewAppointment(**fields | changes)
    return SourceRecord(key=key, calendar=calendar or Calendar("acme"), appointment=appointment, modified=modified)


_strings = st.text(st.characters(codec="utf-8"), max_size=20)
_instants = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))


@st.composite
def records(draw: st.DrawFn) -> SourceRecord:
    start = draw(_instants)
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        options["description"] = draw(_strings | st.none())
        if options["description"] is not None and draw(st.booleans()):
            options["description_type"] = draw(st.sampled_from(["Text", "Html"]))
    if draw(st.booleans()):
        options["time_zone"] = "Europe/Berlin"
    return SourceRecord(
        key=draw(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=10)),
        calendar=draw(st.sampled_from([Calendar("acme"), Calendar("acme", domain_id="d", ad_id="u")])),
        appointment=NewAppointment(
            title=draw(_strings.filter(lambda string: bool(string.strip()))),
            start_time=start,
            end_time=start + draw(st.timedeltas(timedelta(0), timedelta(days=300))),
            **options,
        ),
        modified=draw(st.none() | _instants),
    )
