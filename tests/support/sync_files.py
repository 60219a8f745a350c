"""What the tests of the file formats share: reading, writing, and a record."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connector_async import NewAppointment
from connector_async.sync.formats import FileFormat, Mirror, Source
from connector_async.sync.records import Calendar, SourceProblem, SourceRecord

FORMATS: list[FileFormat] = ["jsonl", "csv", "ics"]

MARKER = "Lindqvist"
"""Stands for somebody's data in bad rows: no problem may repeat it."""


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
    """Return the only problem that the source has, which tells no value."""
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
