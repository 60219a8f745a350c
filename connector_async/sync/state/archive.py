"""The file of a state: its damage, copies of it as a database, and as lines that other programs can read."""

import itertools
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from sqlalchemy import Table, delete, func, insert, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from connector_async._files import atomic_replace, open_regular, run_in_thread
from connector_async.sync.exceptions import StateError

from .db import integrity
from .db.engine import State, read_serial, streamed
from .db.errors import file_errors
from .db.location import Location
from .db.sqlite import copy_database, read_revision
from .db.upgrade import check_ready
from .export_format import TABLES, Line, format_header, format_row, parse_header, parse_row
from .schema import STATE, archived, desired, pulled, serial, target

_ROWS_PER_READ: Final = 1_000
_CHUNK: Final = 2**20  # bytes

_T = TypeVar("_T")


async def backup(path: str | os.PathLike[str], to: str | os.PathLike[str]) -> None:
    """Copy one snapshot of a state that is a file, also while a run is using it.

    The copy is a complete state in one file, written atomically and readable by its owner only. To restore it, replace
    the state with it while nothing uses the state, and delete the files that end in `-wal` and `-shm`.

    Args:
        path: The state.
        to: The copy. An existing file is replaced.

    Raises:
        StateError: If the state cannot be read, the copy cannot be written, or a database in use has its place.
        ValueError: If the state is not a file, or both paths are the same.
    """
    state, copy = Location.parse(path).path, _absolute(to)
    if state is None:
        raise ValueError("a state in PostgreSQL is copied with pg_dump, or exported")
    if state == copy:
        raise ValueError("a state cannot be copied to itself")
    await run_in_thread(_backup, state, copy)


async def find_damage(path: str | os.PathLike[str]) -> list[str]:
    """Return what is damaged in a state that is a file, the first 20 problems; empty if nothing is.

    The problems hold no values. A run may use the state meanwhile.

    Raises:
        StateDamagedError: If the file is not a database any more.
        StateVersionError: If a newer or an older version has written the state.
        StateError: If there is no state, or it cannot be read.
        ValueError: If the state is not a file.
    """
    location = Location.parse(path)
    if location.path is None:
        raise ValueError("a state in PostgreSQL is checked with pg_amcheck")
    await run_in_thread(check_ready, location)
    return await run_in_thread(integrity.find_damage, location.path)


async def export_state(state: State, to_path: str | os.PathLike[str]) -> int:
    """Write one snapshot of a state as JSON Lines, and return the number of its rows.

    The records of the source are left out, since they are personal data, and so is the lease. A state with changes that
    are not written back to the source's file yet cannot be exported: they would be lost.

    Args:
        state: The open state, read-only or not.
        to_path: The file, written atomically and readable by its owner only. An existing file is replaced.

    Raises:
        StateError: If the state cannot be read or has changes to write back, or the file cannot be written.
        ValueError: If the file is the state itself.
        RuntimeError: If the state is closed.
    """
    to = _absolute(to_path)
    if to == state.location.path:
        raise ValueError("a state cannot be exported to itself")
    with file_errors(to), atomic_replace(to) as temporary, temporary.open("wb") as file:
        async with state.reading() as connection:
            if await _count(connection, pulled):
                raise StateError(f"{state.location}: a two-way run must write changes back to the source first")
            rows = sum([await _count(connection, table) for table in TABLES.values()])
            await run_in_thread(file.write, format_header(rows))
            for table in TABLES.values():
                await _export_table(connection, table, file)
        return rows


async def import_state(path: str | os.PathLike[str], into_path: str | os.PathLike[str]) -> int:
    """Create a state from a file that `export_state` has written, and return the number of its rows.

    Args:
        path: The file.
        into_path: The new state: a file that does not exist, or a state without rows.

    Raises:
        StateError: If the file cannot be read or has an invalid line (the message has its number), or the state cannot
            be written or is not empty. Then no row is imported, but an empty state may have been created.
        StateVersionError: If a newer version has written the file or the state.
        StateBusyError: If a run is using the state.
        ValueError: If `into_path` is not a valid location.
    """
    source = Path(path)
    with file_errors(source):
        file = await run_in_thread(open_regular, source)
    with file:
        rows = parse_header(await _read(file.readline, source), place=source)
        async with await State.open(into_path, owner="import") as state, state.writing(STATE) as transaction:
            return await _import(transaction.connection, file, rows=rows, place=source)


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).resolve()


def _backup(state: Path, copy: Path) -> None:
    if read_revision(state) is None:
        raise StateError(f"{state}: there is no state")
    copy_database(state, copy)


async def _count(connection: AsyncConnection, table: Table) -> int:
    return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def _export_table(connection: AsyncConnection, table: Table, file: BinaryIO) -> None:
    query = select(table).order_by(*table.primary_key)
    if table is serial:  # the counters of the tenants are not exported: a lease belongs to one database
        query = select(literal(await read_serial(connection)).label("number"))
    async with streamed(connection, query) as result:
        async for rows in result.mappings().partitions(_ROWS_PER_READ):
            await run_in_thread(file.writelines, [format_row(table, dict(row)) for row in rows])


async def _import(connection: AsyncConnection, file: BinaryIO, *, rows: int, place: Path) -> int:
    await _check_empty(connection)
    new_id = (await connection.execute(select(target.c.state_id))).scalar_one()
    for table in (serial, target):
        await connection.execute(delete(table))
    number = 1
    while chunk := await _read(partial(file.readlines, _CHUNK), place):
        lines = [parse_row(number, content, place=place) for number, content in enumerate(chunk, number + 1)]
        for _, group in itertools.groupby(lines, key=lambda line: line.table.name):
            await _insert(connection, list(group), place=place)
        number += len(lines)
    if number - 1 != rows or await _count(connection, serial) != 1:
        raise StateError(f"{place}: incomplete, it ends after line {number}")
    if not await _count(connection, target):  # an older version has written the file
        await connection.execute(insert(target).values(state_id=new_id))
    return rows


async def _check_empty(connection: AsyncConnection) -> None:
    for table in (*TABLES.values(), desired, pulled, archived):
        if table not in (serial, target) and await _count(connection, table):
            raise StateError("the state is not empty: import into a new one")


async def _insert(connection: AsyncConnection, lines: Sequence[Line], *, place: Path) -> None:
    statement = insert(lines[0].table)
    try:
        async with connection.begin_nested():
            await connection.execute(statement, [line.row for line in lines])
    except IntegrityError:
        if len(lines) == 1:
            raise StateError(f"{place}, line {lines[0].number}: another line has the same key") from None
        for line in lines:  # one by one, to find the invalid one
            await _insert(connection, [line], place=place)


async def _read(read: Callable[[], _T], place: Path) -> _T:
    with file_errors(place):
        return await run_in_thread(read)
