"""Keeps appointments in SQLite: one connection, autocommit, and one statement, hence one transaction, per call.

It knows neither HTTP nor JSON, and trusts what it is given except that an end may not precede its start.
"""

import logging
import sqlite3
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from .appointments import (
    Appointment,
    AppointmentChanges,
    AppointmentKey,
    FoundPart,
    Part,
    Position,
    PreviewRange,
    User,
)
from .timestamps import from_stored, to_stored

# synchronous=NORMAL under WAL: a crash of the machine may lose the last writes but never breaks the file.
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
# What the statements below are put together from is constant; every value is a parameter.
_COLUMNS: Final = "domain_id, ad_id, id, title, start_time, end_time, description, content_type, time_zone, show_as"
_KEY: Final = "tenant = :tenant AND domain_id = :domain_id AND ad_id = :ad_id AND id = :id"
_INSERT: Final = f"""
INSERT INTO appointment (tenant, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608
_SELECT_ONE: Final = f"SELECT {_COLUMNS} FROM appointment WHERE {_KEY}"  # noqa: S608
_ALL: Final = "tenant = :tenant AND domain_id = '' AND ad_id = ''"
# One without a duration overlaps from its start on, though it ends there too. The start stands in the index, the end
# does not: so it is looked at last.
_OVERLAPPING: Final = """
tenant = :tenant AND domain_id = :domain_id AND ad_id = :ad_id
AND :start < :end AND start_time < :end AND (start_time >= :start OR end_time > :start)
"""
# One statement, so that the total and the part are of the same moment: of an empty part, one row without a sequence.
_SELECT_PART: Final = """
SELECT total, part.* FROM
(SELECT iif(:counts, (SELECT count(*) FROM appointment WHERE {condition}), 0) AS total)
LEFT JOIN (
    SELECT sequence, {columns} FROM appointment
    WHERE {condition} AND (start_time, sequence) > (:after_start, :after_sequence)
    ORDER BY start_time, sequence LIMIT :limit OFFSET :offset
) AS part
ORDER BY start_time, sequence
"""
_SELECT_ALL: Final = _SELECT_PART.format(columns=_COLUMNS, condition=_ALL)
_SELECT_OVERLAPPING: Final = _SELECT_PART.format(columns=_COLUMNS, condition=_OVERLAPPING)
_LARGEST: Final = 2**63 - 1
"""Of SQLite's integers."""
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
_ANY_OTHER_ID: Final = "SELECT 1 FROM appointment WHERE id GLOB '*[^0-9]*' LIMIT 1"


class EndBeforeStartError(Exception):
    """An update would have left an appointment that ends before it starts; nothing was written."""


class Storage:
    """The appointments of every tenant; each method works on one tenant's alone, unless it says otherwise."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def add(self, tenant: str, appointment: Appointment) -> None:
        """Store a new appointment.

        Raises:
            sqlite3.IntegrityError: Its user already has one of that id.
        """
        await self._connection.execute_fetchall(_INSERT, _row(tenant, appointment))

    async def add_all(self, tenant: str, appointments: Iterable[Appointment]) -> None:
        """Store new appointments one after the other.

        Raises:
            sqlite3.IntegrityError: A user already has one of that id; those before it are stored.
        """
        await self._connection.executemany(_INSERT, [_row(tenant, appointment) for appointment in appointments])

    async def find(self, tenant: str, key: AppointmentKey) -> Appointment | None:
        """Read one appointment; None when there is none of that key."""
        return _first(await self._connection.execute_fetchall(_SELECT_ONE, _key(tenant, key)))

    async def list_by_start(self, tenant: str, part: Part) -> FoundPart:
        """Read appointments without a user by start, then in the order they were created."""
        return await self._list(_SELECT_ALL, {"tenant": tenant}, part)

    async def list_overlapping(self, tenant: str, wanted: PreviewRange, part: Part) -> FoundPart:
        """Read a user's appointments in the range by start, then in the order they were created."""
        parameters: dict[str, object] = {
            "tenant": tenant,
            "domain_id": wanted.user.domain_id,
            "ad_id": wanted.user.ad_id,
            "start": to_stored(wanted.start),
            "end": to_stored(wanted.end),
        }
        return await self._list(_SELECT_OVERLAPPING, parameters, part)

    async def _list(self, statement: str, parameters: dict[str, object], part: Part) -> FoundPart:
        rows = await self._connection.execute_fetchall(statement, {**parameters, **_part_parameters(part)})
        return _found_part(list(rows), part)

    async def change(self, tenant: str, changes: AppointmentChanges) -> Appointment | None:
        """Merge the changes and return the result; None when there is no appointment of that key.

        Raises:
            EndBeforeStartError: The result would end before it starts.
        """
        try:
            return _first(await self._connection.execute_fetchall(_UPDATE, _parameters(tenant, changes)))
        except sqlite3.IntegrityError as error:
            raise EndBeforeStartError from error

    async def remove(self, tenant: str, key: AppointmentKey) -> Appointment | None:
        """Delete one appointment and return what it was; None when there is none of that key."""
        return _first(await self._connection.execute_fetchall(_DELETE, _key(tenant, key)))

    async def has_other_ids_than_integers(self) -> bool:
        """Tell whether any tenant has an appointment whose id is not made of digits."""
        return bool(await self._connection.execute_fetchall(_ANY_OTHER_ID))


@asynccontextmanager
async def open_storage(database: str | Path) -> AsyncGenerator[Storage]:
    """Open the database, or create it, until the block ends.

    Args:
        database: A file, or `:memory:`.

    Raises:
        sqlite3.Error: It cannot be opened or is not a SQLite database.
    """
    # At DEBUG, aiosqlite tells the values of each statement: titles and descriptions. Where its logger has been given a
    # level, somebody wants to see them.
    logger = logging.getLogger("aiosqlite")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    # When aiosqlite cannot open the file, its thread may outlive the event loop and fail loudly: so this comes first.
    sqlite3.connect(database).close()
    async with aiosqlite.connect(database, isolation_level=None) as connection:
        await connection.executescript(_SCHEMA)
        yield Storage(connection)


def _key(tenant: str, key: AppointmentKey) -> dict[str, object]:
    return {"tenant": tenant, "domain_id": key.user.domain_id, "ad_id": key.user.ad_id, "id": key.appointment_id}


def _parameters(tenant: str, changes: AppointmentChanges) -> dict[str, object]:
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


def _part_parameters(part: Part) -> dict[str, object]:
    after = part.after
    return {
        "counts": part.counts,
        "after_start": "" if after is None else to_stored(after.start),
        "after_sequence": 0 if after is None else after.sequence,
        "limit": -1 if part.limit is None else part.limit + 1,  # one more tells whether others follow
        "offset": min(part.offset, _LARGEST),
    }


def _found_part(rows: list[sqlite3.Row], part: Part) -> FoundPart:
    stored = [(sequence, _appointment(columns)) for _, sequence, *columns in rows if sequence is not None]
    wanted = stored[: part.limit]
    end: Position | None = None
    if len(wanted) < len(stored):
        sequence, last = wanted[-1]
        end = Position(start=last.start, sequence=sequence)
    return FoundPart(appointments=[appointment for _, appointment in wanted], end=end, total=rows[0][0])


def _row(tenant: str, appointment: Appointment) -> tuple[str | None, ...]:
    user, start, end = appointment.user, to_stored(appointment.start), to_stored(appointment.end)
    head = (tenant, user.domain_id, user.ad_id, appointment.appointment_id, appointment.title, start, end)
    return (*head, appointment.description, appointment.content_type, appointment.time_zone, appointment.show_as)


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
