"""Copies of a state: as a database, and as the lines that other programs and later versions can read."""

import itertools
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from sqlalchemy import Table, delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from connector_async._files import atomic_replace, run_in_thread
from connector_async.sync.exceptions import StateError
from connector_async.sync.state.db.engine import State
from connector_async.sync.state.db.errors import file_errors
from connector_async.sync.state.db.location import Location
from connector_async.sync.state.db.sqlite import copy_database, revision_of

from .export_format import TABLES, Line, header_line, read_header, read_line, row_line
from .schema import desired, pulled, serial

_BATCH: Final = 1_000  # rows
_CHUNK: Final = 2**20  # bytes

_T = TypeVar("_T")


async def backup(path: str | os.PathLike[str], to: str | os.PathLike[str]) -> None:
    """Copy a state that is a file as it is at one moment, also while a run works with it.

    The copy is a state of its own, in one file that is whole or not there, readable by its owner alone. To go back to
    it, put it in the place of the state while nothing works with that, and delete what ends in `-wal` and `-shm`.

    Args:
        path: The state.
        to: The copy; a file that is there is replaced.

    Raises:
        StateError: The state cannot be read, the copy cannot be written, or a database that is in use is there.
        ValueError: The state is no file, or both are the same.
    """
    state, copy = Location.of(path).path, _absolute(to)
    if state is None:
        raise ValueError("only a state that is a file can be copied")
    if state == copy:
        raise ValueError("a state cannot be copied to itself")
    await run_in_thread(_backup, state, copy)


async def export_state(state: State, to_path: str | os.PathLike[str]) -> int:
    """Write a state as it is at one moment as JSON Lines, and return how many rows that are.

    What the source said in the current run is left out, since it is personal data, and so is who works with the state.
    A state that has taken over what the source's file does not have yet is refused: that would be lost.

    Args:
        state: Opened, for reading alone or not.
        to_path: The file, which is whole or not there, readable by its owner alone; one that is there is replaced.

    Raises:
        StateError: The state cannot be read, or the file cannot be written.
        ValueError: The file is the state.
        RuntimeError: The state is closed.
    """
    to = _absolute(to_path)
    if to == state.location.path:
        raise ValueError("a state cannot be exported to itself")
    with file_errors(to), atomic_replace(to) as temporary, temporary.open("wb") as file:
        async with state.reading() as connection:
            if await _count(connection, pulled):
                raise StateError(f"{state.location}: the source's file has to be written first, by a run in both ways")
            rows = sum([await _count(connection, table) for table in TABLES.values()])
            await run_in_thread(file.write, header_line(rows))
            for table in TABLES.values():
                await _export_table(connection, table, file)
        return rows


async def import_state(path: str | os.PathLike[str], into_path: str | os.PathLike[str]) -> int:
    """Make a state from what `export_state` has written, and return how many rows that are.

    Args:
        path: The file.
        into_path: Where the state will be: no file, or a state without any rows.

    Raises:
        StateError: The file cannot be read, a line is bad (the message has its number), or the state cannot be written
            or is not empty. Of the file nothing is in the state then, which may have been created.
        StateVersionError: A newer version has written the file, or the state.
        StateBusyError: A run works with the state.
        ValueError: `into_path` is no place for a state.
    """
    source = Path(path)
    with file_errors(source):
        file = await run_in_thread(source.open, "rb")
    with file:
        rows = read_header(await _read(file.readline, source), place=source)
        async with await State.open(into_path, owner="import") as state, state.writing() as transaction:
            return await _import(transaction.connection, file, rows=rows, place=source)


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).resolve()


def _backup(state: Path, copy: Path) -> None:
    if revision_of(state) is None:
        raise StateError(f"{state}: there is no state")
    copy_database(state, copy)


async def _count(connection: AsyncConnection, table: Table) -> int:
    return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def _export_table(connection: AsyncConnection, table: Table, file: BinaryIO) -> None:
    found = await connection.stream(select(table).order_by(*table.primary_key))
    async for rows in found.mappings().partitions(_BATCH):
        await run_in_thread(file.writelines, [row_line(table, dict(row)) for row in rows])


async def _import(connection: AsyncConnection, file: BinaryIO, *, rows: int, place: Path) -> int:
    await _check_empty(connection)
    await connection.execute(delete(serial))
    number = 1
    while texts := await _read(partial(file.readlines, _CHUNK), place):
        lines = [read_line(number, text, place=place) for number, text in enumerate(texts, number + 1)]
        for _, group in itertools.groupby(lines, key=lambda line: line.table.name):
            await _insert(connection, list(group), place=place)
        number += len(lines)
    if number - 1 != rows or await _count(connection, serial) != 1:
        raise StateError(f"{place}: it ends after line {number}, and is not whole")
    return rows


async def _check_empty(connection: AsyncConnection) -> None:
    for table in (*TABLES.values(), desired, pulled):
        if table is not serial and await _count(connection, table):
            raise StateError("the state is not empty, and nothing is imported into it")


async def _insert(connection: AsyncConnection, lines: Sequence[Line], *, place: Path) -> None:
    statement = insert(lines[0].table)
    try:
        async with connection.begin_nested():
            await connection.execute(statement, [line.row for line in lines])
    except IntegrityError:
        if len(lines) == 1:
            raise StateError(f"{place}, line {lines[0].number}: another line says the same key") from None
        for line in lines:  # one by one, to name the one that is wrong
            await _insert(connection, [line], place=place)


async def _read(read: Callable[[], _T], place: Path) -> _T:
    with file_errors(place):
        return await run_in_thread(read)
