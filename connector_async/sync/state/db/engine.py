"""The state of a sync, opened: one connection that writes and a few that read."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import attrs
from sqlalchemy import Table, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from connector_async._checks import check_seconds, check_text
from connector_async._clock import Clock, checked_clock
from connector_async._files import run_in_thread
from connector_async.sync.exceptions import StateError
from connector_async.sync.state.schema import serial

from .errors import database_errors
from .group_commit import GroupCommit
from .lease import acquire_lock, check_lease, take_lease
from .location import Location
from .sqlite import reader_engine, writer_engine
from .upgrade import check_ready, prepare
from .upsert import upsert


@attrs.define
class Transaction:
    """What is written in it is committed as a whole, or not at all."""

    connection: AsyncConnection
    """For the statements; do not commit or roll back by it."""
    _number: int | None = attrs.field(default=None, init=False)

    async def bump(self) -> int:
        """Count a change of the items, and return the new number. Plans that were saved before are stale from then on.

        All changes of a transaction are counted as one.

        Raises:
            StateError: The database fails; raised where the transaction ends.
        """
        if self._number is None:
            statement = update(serial).values(number=serial.c.number + 1).returning(serial.c.number)
            self._number = int((await self.connection.execute(statement)).scalar_one())
        return self._number

    async def upsert(
        self, table: Table, rows: Sequence[Mapping[str, Any]], *, again: Mapping[str, Any] | None = None
    ) -> None:
        """Insert rows, and replace those that have the same primary key.

        Args:
            table: One of `schema` whose primary key is not counted up by the database.
            rows: Each with every column of the table: one that is left out becomes `NULL`.
            again: The values, or expressions of the table's columns, that a row of the same primary key gets instead;
                `None`: those of the new row.

        Raises:
            StateError: The database fails; raised where the transaction ends.
        """
        if rows:
            await self.connection.execute(upsert(self.connection.dialect.name, table, again), rows)


class State:
    """The state of a sync. Get one by `State.open`, and close it, or use it as an async context manager."""

    def __init__(
        self, location: Location, *, reader: AsyncEngine, writer: AsyncEngine | None, epoch: int, opened: AsyncExitStack
    ) -> None:
        self._location = location
        self._reader = reader
        self._writer = writer
        self._epoch = epoch
        self._opened = opened
        self._writing = asyncio.Lock()
        self._commits = GroupCommit(self.writing)
        self._closed = False

    @classmethod
    async def open(
        cls,
        path_or_url: str | os.PathLike[str],
        *,
        owner: str,
        clock: Clock | None = None,
        wait: float = 0.0,
        read_only: bool = False,
    ) -> Self:
        """Open a state, create it, or upgrade it; and keep other runs away until it is closed.

        Of an older state that is a file, a copy named after its revision is made beside it before it is upgraded.

        Args:
            path_or_url: A file of SQLite, or the URL of another database. A URL of PostgreSQL must be of a driver that
                is both blocking and asynchronous, as psycopg is; there the lease alone keeps runs apart: the one
                that opened it last may write.
            owner: What the others are told of who works with it.
            clock: By which to wait, and what the moments are told by. `None`: the machine's.
            wait: Seconds to wait for a run that works with it.
            read_only: `True`: only look, also while a run works with it. Nothing is created or upgraded.

        Raises:
            StateBusyError: Another run works with it.
            StateVersionError: A newer version has written it; or it has to be upgraded, and this is only to look.
            StateError: It cannot be read or written, is something else, or cannot be upgraded.
            ValueError: `path_or_url` is no place for it, `owner` is not printable, or `wait` is negative.
        """
        location, clock = Location.of(path_or_url), checked_clock(clock)
        check_text("owner", owner)
        check_seconds("wait", wait, finite=False)
        async with AsyncExitStack() as opened:
            if read_only:
                await run_in_thread(check_ready, location)
                reader = _opened(opened, _reader_engine(location))
                return cls(location, reader=reader, writer=None, epoch=0, opened=opened.pop_all())
            if location.path is not None:
                opened.callback((await acquire_lock(location.path, wait=wait, clock=clock)).release)
            await run_in_thread(prepare, location)
            writer = _opened(opened, _writer_engine(location))
            # Closed first: what reads alone cannot put the log of the writes away.
            reader = _opened(opened, _reader_engine(location))
            async with _transaction(writer, location) as connection:
                epoch = await take_lease(connection, owner=owner, now=clock.time(), place=location)
            return cls(location, reader=reader, writer=writer, epoch=epoch, opened=opened.pop_all())

    @property
    def location(self) -> Location:
        """Where it is."""
        return self._location

    async def aclose(self) -> None:
        """Close it, once what is being written is done, and let other runs have it. Everything read must have ended."""
        await self._commits.finish()
        async with self._writing:
            self._closed = True
            await self._opened.aclose()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        """Begin a transaction, which is committed at the end of the block and rolled back on an error.

        Others that write wait until then; so one within another waits for ever.

        Raises:
            FencedError: Another run has taken over; nothing was written.
            StateBusyError: The database stays locked.
            StateError: The database is full, read-only or damaged, or this state was opened to look only; nothing was
                written.
            RuntimeError: This state is closed.
        """
        async with self._writing:
            self._check_open()
            if self._writer is None:
                raise StateError(f"{self._location}: it was opened for reading alone")
            async with _transaction(self._writer, self._location) as connection:
                await check_lease(connection, self._epoch, self._location)
                yield Transaction(connection)

    async def write(self, body: Callable[[Transaction], Awaitable[None]]) -> None:
        """Let `body` write, in one transaction with what others write so at the same time.

        Args:
            body: Writes, and does nothing else: it may be called anew.

        Raises:
            FencedError: Another run has taken over; nothing was written.
            StateBusyError: The database stays locked.
            StateError: As `writing` has it; nothing was written.
            RuntimeError: This state is closed.
        """
        await self._commits.write(body)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that sees the state as it is at its first statement, whatever is written meanwhile.

        Keep it short: as long as it lasts, the log of the writes grows.

        Raises:
            StateError: The database cannot be read.
            RuntimeError: This state is closed.
        """
        self._check_open()
        async with _transaction(self._reader, self._location) as connection:
            yield connection

    async def serial(self) -> int:
        """Return how often the items have changed.

        Raises:
            StateError: The database cannot be read.
            RuntimeError: This state is closed.
        """
        async with self.reading() as connection:
            return int((await connection.execute(select(serial.c.number))).scalar_one())

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the state is closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


@asynccontextmanager
async def _transaction(engine: AsyncEngine, place: Location) -> AsyncIterator[AsyncConnection]:
    with database_errors(place):
        async with engine.begin() as connection:
            yield connection


def _writer_engine(location: Location) -> AsyncEngine:
    return writer_engine(location.path) if location.path else create_async_engine(location.url, hide_parameters=True)


def _reader_engine(location: Location) -> AsyncEngine:
    if location.path:
        return reader_engine(location.path)
    # Its default would let each statement see a moment of its own.
    return create_async_engine(location.url, hide_parameters=True, isolation_level="REPEATABLE READ")


def _opened(stack: AsyncExitStack, engine: AsyncEngine) -> AsyncEngine:
    stack.push_async_callback(engine.dispose)
    return engine
