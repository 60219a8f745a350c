"""Keeps appointments in SQLite: one connection, autocommit, and one statement, hence one transaction, per call.

It knows neither HTTP nor JSON, and trusts what it is given except that an end may not precede its start.
"""

import sqlite3
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiosqlite

from connector_async.sandbox.appointments import Appointment, AppointmentChanges
from connector_async.sandbox.instants import from_stored, to_stored

# synchronous=NORMAL under WAL: a crash of the machine may lose the last writes but never breaks the file.
_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS appointment (
    sequence INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    start_time TEXT NOT NULL,
    end_time TEXT NOT NULL,
    description TEXT,
    UNIQUE (tenant, id),
    CHECK (end_time >= start_time)
);
CREATE INDEX IF NOT EXISTS appointment_by_start ON appointment (tenant, start_time, sequence);
"""
_INSERT: Final = """
INSERT INTO appointment (tenant, id, title, start_time, end_time, description) VALUES (?, ?, ?, ?, ?, ?)
"""
_SELECT_ONE: Final = """
SELECT id, title, start_time, end_time, description FROM appointment WHERE tenant = ? AND id = ?
"""
_SELECT_ALL: Final = """
SELECT id, title, start_time, end_time, description FROM appointment WHERE tenant = ? ORDER BY start_time, sequence
"""
_UPDATE: Final = """
UPDATE appointment SET
    title = coalesce(:title, title),
    start_time = coalesce(:start, start_time),
    end_time = coalesce(:end, end_time),
    description = CASE WHEN :sets_description THEN :description ELSE description END
WHERE tenant = :tenant AND id = :id
RETURNING id, title, start_time, end_time, description
"""
_DELETE: Final = "DELETE FROM appointment WHERE tenant = ? AND id = ? RETURNING id"


class EndBeforeStartError(Exception):
    """An update would have left an appointment that ends before it starts; nothing was written."""


class Storage:
    """The appointments of every tenant; each method works on one tenant's alone."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def add(self, tenant: str, appointment: Appointment) -> None:
        """Store a new appointment.

        Raises:
            sqlite3.IntegrityError: The tenant already has one of that id.
        """
        start, end = to_stored(appointment.start), to_stored(appointment.end)
        values = (tenant, appointment.appointment_id, appointment.title, start, end, appointment.description)
        await self._connection.execute_fetchall(_INSERT, values)

    async def find(self, tenant: str, appointment_id: str) -> Appointment | None:
        """Read one appointment; None when the tenant has none of that id."""
        return _first(await self._connection.execute_fetchall(_SELECT_ONE, (tenant, appointment_id)))

    async def list_by_start(self, tenant: str) -> list[Appointment]:
        """Read all appointments of the tenant by start, then in the order they were created."""
        return [_appointment(row) for row in await self._connection.execute_fetchall(_SELECT_ALL, (tenant,))]

    async def change(self, tenant: str, changes: AppointmentChanges) -> Appointment | None:
        """Merge the changes and return the result; None when the tenant has no appointment of that id.

        Raises:
            EndBeforeStartError: The result would end before it starts.
        """
        try:
            return _first(await self._connection.execute_fetchall(_UPDATE, _parameters(tenant, changes)))
        except sqlite3.IntegrityError as error:
            raise EndBeforeStartError from error

    async def remove(self, tenant: str, appointment_id: str) -> bool:
        """Delete one appointment; False when the tenant has none of that id."""
        return bool(await self._connection.execute_fetchall(_DELETE, (tenant, appointment_id)))


@asynccontextmanager
async def open_storage(database: str | Path) -> AsyncGenerator[Storage]:
    """Open the database, or create it, until the block ends.

    Args:
        database: A file, or `:memory:`.

    Raises:
        sqlite3.Error: It cannot be opened or is not a SQLite database.
    """
    async with aiosqlite.connect(database, isolation_level=None) as connection:
        await connection.executescript(_SCHEMA)
        yield Storage(connection)


def _parameters(tenant: str, changes: AppointmentChanges) -> dict[str, object]:
    return {
        "tenant": tenant,
        "id": changes.appointment_id,
        "title": changes.title,
        "start": None if changes.start is None else to_stored(changes.start),
        "end": None if changes.end is None else to_stored(changes.end),
        "sets_description": changes.sets_description,
        "description": changes.description,
    }


def _first(rows: Iterable[sqlite3.Row]) -> Appointment | None:
    return next(map(_appointment, rows), None)


def _appointment(row: sqlite3.Row) -> Appointment:
    appointment_id, title, start, end, description = row
    return Appointment(
        appointment_id=appointment_id,
        title=title,
        start=from_stored(start),
        end=from_stored(end),
        description=description,
    )
