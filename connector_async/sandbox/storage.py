"""Appointments in SQLite: one connection, autocommit, and one statement, hence one transaction, per method call.

The values are trusted, except that the database rejects an end before the start.
"""

import logging
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from .models import (
    Appointment,
    AppointmentChanges,
    AppointmentKey,
    AppointmentPage,
    CalendarSummary,
    PageSelection,
    Position,
    PreviewRange,
    User,
)
from .timestamps import from_stored, to_stored

# With synchronous=NORMAL in WAL mode, a crash of the machine may lose the last writes but never corrupts the file.
_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS appointment (
    sequence INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    domain_id TEXT NOT NULL,
    ad_id TEXT NOT NULL,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    start_time TEXT NOT NULL,
    end_time TEXT NOT NULL,
    description TEXT,
    content_type TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    show_as TEXT NOT NULL,
    UNIQUE (tenant, domain_id, ad_id, id),
    CHECK (end_time >= start_time)
);
CREATE INDEX IF NOT EXISTS appointment_by_start
ON appointment (tenant, domain_id, ad_id, start_time, sequence);
"""
# The statements below are built from constants only. Every value is a parameter.
_COLUMNS: Final = "domain_id, ad_id, id, title, start_time, end_time, description, content_type, time_zone, show_as"
_KEY: Final = "tenant = :tenant AND domain_id = :domain_id AND ad_id = :ad_id AND id = :id"
_INSERT: Final = f"""
INSERT INTO appointment (tenant, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608
_SELECT_ONE: Final = f"SELECT {_COLUMNS} FROM appointment WHERE {_KEY}"  # noqa: S608
_WITHOUT_USER: Final = "tenant = :tenant AND domain_id = '' AND ad_id = ''"
# An appointment of no duration overlaps a range that starts when it does, although it also ends then. The index has
# the start but not the end, so the end is compared last.
_OVERLAPPING: Final = """
tenant = :tenant AND domain_id = :domain_id AND ad_id = :ad_id
AND :start < :end AND start_time < :end AND (start_time >= :start OR end_time > :start)
"""
# One statement, so that the total and the page are of the same moment. An empty page yields one row without a sequence.
_SELECT_PAGE: Final = """
SELECT total, page.* FROM
(SELECT iif(:count_total, (SELECT count(*) FROM appointment WHERE {condition}), 0) AS total)
LEFT JOIN (
    SELECT sequence, {columns} FROM appointment
    WHERE {condition} AND (start_time, sequence) > (:after_start, :after_sequence)
    ORDER BY start_time, sequence LIMIT :limit OFFSET :offset
) AS page
ORDER BY start_time, sequence
"""
_SELECT_WITHOUT_USER: Final = _SELECT_PAGE.format(columns=_COLUMNS, condition=_WITHOUT_USER)
_SELECT_OVERLAPPING: Final = _SELECT_PAGE.format(columns=_COLUMNS, condition=_OVERLAPPING)
_LARGEST_INTEGER: Final = 2**63 - 1  # of SQLite
_UPDATE: Final = f"""
UPDATE appointment SET
    title = coalesce(:title, title),
    start_time = coalesce(:start, start_time),
    end_time = coalesce(:end, end_time),
    description = CASE WHEN :sets_description THEN :description ELSE description END,
    content_type = coalesce(:content_type, content_type),
    time_zone = coalesce(:time_zone, time_zone),
    show_as = coalesce(:show_as, show_as)
WHERE {_KEY} RETURNING {_COLUMNS}
"""  # noqa: S608
_DELETE: Final = f"DELETE FROM appointment WHERE {_KEY} RETURNING {_COLUMNS}"  # noqa: S608
_SELECT_CALENDARS: Final = """
SELECT tenant, domain_id, ad_id, count(*), min(start_time) FROM appointment
GROUP BY tenant, domain_id, ad_id ORDER BY tenant, domain_id, ad_id LIMIT 1000
"""
_SELECT_NON_INTEGER_ID: Final = "SELECT 1 FROM appointment WHERE id GLOB '*[^0-9]*' LIMIT 1"


class EndBeforeStartError(Exception):
    """An update would have moved an appointment's end before its start; nothing was written."""


class Storage:
    """The appointments of every tenant. A method with a `tenant` parameter reads and writes only that tenant's."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def add(self, tenant: str, appointment: Appointment) -> None:
        """Store a new appointment.

        Raises:
            sqlite3.IntegrityError: If its user already has an appointment with this id.
        """
        await self._connection.execute_fetchall(_INSERT, _row(tenant, appointment))

    async def add_all(self, tenant: str, appointments: Iterable[Appointment]) -> None:
        """Store new appointments one after another.

        Raises:
            sqlite3.IntegrityError: If a user already has an appointment with the id of one of them. The appointments
                before that one are stored.
        """
        await self._connection.executemany(_INSERT, [_row(tenant, appointment) for appointment in appointments])

    async def get(self, tenant: str, key: AppointmentKey) -> Appointment | None:
        """Return the appointment with this key, or None."""
        return _first(await self._connection.execute_fetchall(_SELECT_ONE, _key(tenant, key)))

    async def list_without_user(self, tenant: str, selection: PageSelection) -> AppointmentPage:
        """Return appointments without a user, ordered by start, then by creation."""
        return await self._list(_SELECT_WITHOUT_USER, {"tenant": tenant}, selection)

    async def list_overlapping(
        self, tenant: str, time_range: PreviewRange, selection: PageSelection
    ) -> AppointmentPage:
        """Return a user's appointments that overlap the range, ordered by start, then by creation."""
        parameters: dict[str, object] = {
            "tenant": tenant,
            "domain_id": time_range.user.domain_id,
            "ad_id": time_range.user.ad_id,
            "start": to_stored(time_range.start),
            "end": to_stored(time_range.end),
        }
        return await self._list(_SELECT_OVERLAPPING, parameters, selection)

    async def _list(self, statement: str, parameters: dict[str, object], selection: PageSelection) -> AppointmentPage:
        rows = await self._connection.execute_fetchall(statement, {**parameters, **_selection_parameters(selection)})
        return _page(list(rows), selection)

    async def update(self, tenant: str, changes: AppointmentChanges) -> Appointment | None:
        """Apply the changes and return the updated appointment, or None if no appointment has this key.

        Raises:
            EndBeforeStartError: If the updated appointment would end before it starts.
        """
        try:
            return _first(await self._connection.execute_fetchall(_UPDATE, _update_parameters(tenant, changes)))
        except sqlite3.IntegrityError as error:
            raise EndBeforeStartError from error

    async def delete(self, tenant: str, key: AppointmentKey) -> Appointment | None:
        """Delete the appointment with this key and return it as it was, or None if it does not exist."""
        return _first(await self._connection.execute_fetchall(_DELETE, _key(tenant, key)))

    async def list_calendars(self) -> Sequence[CalendarSummary]:
        """Return the calendars of all tenants that have an appointment, 1,000 at most."""
        rows = await self._connection.execute_fetchall(_SELECT_CALENDARS)
        return [
            CalendarSummary(tenant, domain_id, ad_id, count, from_stored(start))
            for tenant, domain_id, ad_id, count, start in rows
        ]

    async def has_non_integer_ids(self) -> bool:
        """Return whether any tenant has an appointment id that is not a string of digits."""
        return bool(await self._connection.execute_fetchall(_SELECT_NON_INTEGER_ID))


@asynccontextmanager
async def open_storage(database: str | Path) -> AsyncGenerator[Storage]:
    """Open the appointments in a database, creating both if they are missing.

    Args:
        database: A file, or `:memory:`.

    Raises:
        sqlite3.Error: If the database cannot be opened or is not a SQLite database.
    """
    # At DEBUG, aiosqlite logs the values of each statement, titles and descriptions included. If its logger has a level
    # of its own, someone wants to see them.
    logger = logging.getLogger("aiosqlite")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    # If aiosqlite cannot open the file, its thread may outlive the event loop and raise there. This line fails first.
    sqlite3.connect(database).close()
    async with aiosqlite.connect(database, isolation_level=None) as connection:
        await connection.executescript(_SCHEMA)
        yield Storage(connection)


def _key(tenant: str, key: AppointmentKey) -> dict[str, object]:
    return {"tenant": tenant, "domain_id": key.user.domain_id, "ad_id": key.user.ad_id, "id": key.appointment_id}


def _update_parameters(tenant: str, changes: AppointmentChanges) -> dict[str, object]:
    return {
        **_key(tenant, changes.key),
        "title": changes.title,
        "start": None if changes.start is None else to_stored(changes.start),
        "end": None if changes.end is None else to_stored(changes.end),
        "sets_description": changes.sets_description,
        "description": changes.description,
        "content_type": changes.content_type,
        "time_zone": changes.time_zone,
        "show_as": changes.show_as,
    }


def _selection_parameters(selection: PageSelection) -> dict[str, object]:
    after = selection.after
    return {
        "count_total": selection.count_total,
        "after_start": "" if after is None else to_stored(after.start),
        "after_sequence": 0 if after is None else after.sequence,
        "limit": -1 if selection.limit is None else selection.limit + 1,  # one more row shows whether others follow
        "offset": min(selection.offset, _LARGEST_INTEGER),
    }


def _page(rows: list[sqlite3.Row], selection: PageSelection) -> AppointmentPage:
    stored = [(sequence, _appointment(columns)) for _, sequence, *columns in rows if sequence is not None]
    selected = stored[: selection.limit]
    next_after: Position | None = None
    if len(selected) < len(stored):
        sequence, last = selected[-1]
        next_after = Position(start=last.start, sequence=sequence)
    appointments = [appointment for _, appointment in selected]
    return AppointmentPage(appointments=appointments, next_after=next_after, total=rows[0][0])


def _row(tenant: str, appointment: Appointment) -> tuple[str | None, ...]:
    user, start, end = appointment.user, to_stored(appointment.start), to_stored(appointment.end)
    required = (tenant, user.domain_id, user.ad_id, appointment.appointment_id, appointment.title, start, end)
    return (*required, appointment.description, appointment.content_type, appointment.time_zone, appointment.show_as)


def _first(rows: Iterable[sqlite3.Row]) -> Appointment | None:
    return next(map(_appointment, rows), None)


def _appointment(row: Iterable[Any]) -> Appointment:
    domain_id, ad_id, appointment_id, title, start, end, description, content_type, time_zone, show_as = row
    return Appointment(
        user=User(domain_id, ad_id),
        appointment_id=appointment_id,
        title=title,
        start=from_stored(start),
        end=from_stored(end),
        description=description,
        content_type=content_type,
        time_zone=time_zone,
        show_as=show_as,
    )
