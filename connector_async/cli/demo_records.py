"""The records of the demonstration: who has which, how its file is edited, and how it compares with the server."""

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
_FIRST_DAY: Final = datetime(2024, 1, 15, 8, tzinfo=UTC)

Services = Callable[[Calendar], AppointmentService]


@attrs.frozen
class Compared:
    """How the file and the server compare at the end."""

    records: int
    """Of the file."""
    missing: int
    """Appointments that the file has and the server has not."""
    surplus: int
    """Appointments that the server has and the file has not, those that are there twice among them."""


def scope_of(count: int) -> Scope:
    """Return a time in which all records are, however the file is edited."""
    return Scope(start=_FIRST_DAY - timedelta(days=1), end=_FIRST_DAY + timedelta(days=2, hours=2 * count))


def made_up(numbers: Iterable[int]) -> list[SourceRecord]:
    """Return a record for each number, dealt out to the users in turn."""
    return [_record(number, f"Visit {number}") for number in numbers]


def edited(records: Sequence[SourceRecord]) -> list[SourceRecord]:
    """Return what the file has after its users went over it: two in ten changed, one removed, two added."""
    kept = [
        _record(number, f"Visit {number}, in the large room") if number % 10 < 2 else record
        for number, record in enumerate(records)
        if number % 10 != 2
    ]
    return [*kept, *made_up(range(len(records), len(records) + len(records) // 5))]


async def edit_on_server(services: Services, records: Sequence[SourceRecord], scope: Scope) -> int:
    """Change, remove and add an appointment of each user, none that `edited` touches; return how many that are."""
    count = 0
    for calendar in CALENDARS:
        service = services(calendar)
        there = {appointment.title: appointment.appointment_id for appointment in await _shown(service, scope)}
        own = [(number, record) for number, record in enumerate(records) if record.calendar == calendar]
        changed, removed = (
            next((there[record.appointment.title] for number, record in own if number % 10 in digits), None)
            for digits in ({5, 6}, {7, 8})
        )
        if changed is not None:
            await service.update(changed, title=f"Moved by {calendar.ad_id}")
        if removed is not None:
            await service.delete(removed)
        await service.create(
            NewAppointment(title=f"New from {calendar.ad_id}", start_time=_FIRST_DAY, end_time=_FIRST_DAY)
        )
        count += 1 + (changed is not None) + (removed is not None)
    return count


async def write(path: Path, records: Iterable[SourceRecord]) -> None:
    """Write the file anew."""
    async with file_mirror(path).writing() as writer:
        for record in records:
            await writer.write(record)


async def compare(services: Services, path: Path, scope: Scope) -> Compared:
    """Look at all that the server has, and compare it with the file."""
    wanted: Counter[tuple[Calendar, str]] = Counter()
    async with aclosing(file_source(path).records()) as records:  # type: ignore[type-var]  # a generator
        async for record in records:
            if isinstance(record, SourceRecord):
                wanted[record.calendar, content_hash(record.appointment)] += 1
    there: Counter[tuple[Calendar, str]] = Counter()
    for calendar in CALENDARS:
        there.update((calendar, content_hash(each)) for each in await _shown(services(calendar), scope))
    return Compared(wanted.total(), (wanted - there).total(), (there - wanted).total())


async def _shown(service: AppointmentService, scope: Scope) -> list[Appointment]:
    return await service.preview(scope.start, scope.end).collect()


def _record(number: int, title: str) -> SourceRecord:
    start_time = _FIRST_DAY + timedelta(hours=number)
    appointment = NewAppointment(
        title=title,
        start_time=start_time,
        end_time=start_time + timedelta(minutes=45),
        description="Made up by the demonstration",
    )
    return SourceRecord(key=f"visit-{number:06}", calendar=CALENDARS[number % len(CALENDARS)], appointment=appointment)
