"""The records of the demo: how they are made and edited, and how the file is compared with the server."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from connector_async.appointments import AppointmentService
from connector_async.models import Appointment, NewAppointment
from connector_async.sync.formats import file_mirror, file_source
from connector_async.sync.records import Calendar, SourceRecord, content_hash
from connector_async.sync.scope import Scope

TENANTS: Final = ("acme", "globex", "initech")
CALENDARS: Final = tuple(Calendar(tenant, "contoso", user) for user in ("ann", "bob", "cyd") for tenant in TENANTS)
_FIRST_START: Final = datetime(2024, 1, 15, 8, tzinfo=UTC)

Services = Callable[[Calendar], AppointmentService]


@attrs.frozen
class Comparison:
    """How the file and the server differ."""

    records: int
    """How many records the file has."""
    missing: int
    """How many appointments only the file has."""
    surplus: int
    """How many appointments only the server has, duplicates included."""


def demo_scope(count: int) -> Scope:
    """Return a time range that contains all records, however the file is edited."""
    return Scope(start=_FIRST_START - timedelta(days=1), end=_FIRST_START + timedelta(days=2, hours=2 * count))


def new_records(numbers: Iterable[int], calendars: Sequence[Calendar] = CALENDARS) -> list[SourceRecord]:
    """Return a record for each number, spread evenly over the calendars."""
    return [_record(number, f"Visit {number}", calendars) for number in numbers]


def edited(records: Sequence[SourceRecord]) -> list[SourceRecord]:
    """Return the records after an edit of the file: of each ten, two are changed, one is removed and two are added."""
    kept = [
        _record(number, f"Visit {number}, in the large room") if number % 10 < 2 else record
        for number, record in enumerate(records)
        if number % 10 != 2
    ]
    return [*kept, *new_records(range(len(records), len(records) + len(records) // 5))]


async def edit_on_server(services: Services, records: Sequence[SourceRecord], scope: Scope) -> int:
    """Update, delete and create one appointment of each user, and return the number of changes.

    It does not touch records that `edited` changes or removes.
    """
    changes = 0
    for calendar in CALENDARS:
        service = services(calendar)
        ids = {appointment.title: appointment.appointment_id for appointment in await _preview(service, scope)}
        own = [(number, record) for number, record in enumerate(records) if record.calendar == calendar]
        updated_id, deleted_id = (
            next((ids[record.appointment.title] for number, record in own if number % 10 in digits), None)
            for digits in ({5, 6}, {7, 8})
        )
        if updated_id is not None:
            await service.update(updated_id, title=f"Moved by {calendar.ad_id}")
        if deleted_id is not None:
            await service.delete(deleted_id)
        await service.create(
            NewAppointment(title=f"New from {calendar.ad_id}", start_time=_FIRST_START, end_time=_FIRST_START)
        )
        changes += 1 + (updated_id is not None) + (deleted_id is not None)
    return changes


async def write(path: Path, records: Iterable[SourceRecord]) -> None:
    """Replace the file with one of these records."""
    async with file_mirror(path).writing() as writer:
        for record in records:
            await writer.write(record)


async def compare(
    services: Services, path: Path, scope: Scope, calendars: Sequence[Calendar] = CALENDARS
) -> Comparison:
    """Compare the file with everything that the server has in these calendars."""
    in_file: Counter[tuple[Calendar, str]] = Counter()
    async with aclosing(file_source(path).records()) as records:  # type: ignore[type-var]  # a generator
        async for record in records:
            if isinstance(record, SourceRecord):
                in_file[record.calendar, content_hash(record.appointment)] += 1
    on_server: Counter[tuple[Calendar, str]] = Counter()
    for calendar in calendars:
        shown = await _preview(services(calendar), scope)
        on_server.update((calendar, content_hash(appointment)) for appointment in shown)
    return Comparison(in_file.total(), (in_file - on_server).total(), (on_server - in_file).total())


async def _preview(service: AppointmentService, scope: Scope) -> list[Appointment]:
    return await service.preview(scope.start, scope.end).collect()


def _record(number: int, title: str, calendars: Sequence[Calendar] = CALENDARS) -> SourceRecord:
    start_time = _FIRST_START + timedelta(hours=number)
    appointment = NewAppointment(
        title=title,
        start_time=start_time,
        end_time=start_time + timedelta(minutes=45),
        description="Made up by the demo",
    )
    return SourceRecord(key=f"visit-{number:06}", calendar=calendars[number % len(calendars)], appointment=appointment)
