"""An open state: one connection that writes, and a few that read."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import attrs
from sqlalchemy import Executable, Table, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncResult

from connector_async._checks import check_seconds, check_text
from connector_async._clock import Clock, checked_clock
from connector_async._files import run_in_thread
from connector_async.sync.exceptions import StateError, StateUnavailableError
from connector_async.sync.state.schema import serial

from . import postgres, sqlite
from .errors import CommitLostError, database_errors
from .group_commit import GroupCommit
from .lease import acquire_lock, check_lease, take_lease
from .location import Location
from .retrying import repeatable
from .upgrade import check_ready, create_or_upgrade
from .upsert import upsert


@attrs.define
class Transaction:
    """An atomic transaction on the state."""

    connection: AsyncConnection
    """The connection for statements. Do not commit or roll back on it."""
    _number: int | None = attrs.field(default=None, init=False)

    async def bump(self) -> int:
        """Increment the serial number of the items, and return it. It makes all saved plans stale.

        The number changes once in a transaction, however often this is called.

        Raises:
            StateError: If the database fails; raised at the end of the transaction.
        """
        if self._number is None:
            statement = update(serial).values(number=serial.c.number + 1).returning(serial.c.number)
            self._number = int((await self.connection.execute(statement)).scalar_one())
        return self._number

    async def upsert(
        self, table: Table, rows: Sequence[Mapping[str, Any]], *, on_conflict: Mapping[str, Any] | None = None
    ) -> None:
        """Insert rows, and update those with an existing primary key.

        Args:
            table: A table of `schema`, but not one with a primary key that the database counts up.
            rows: The rows, each with every column of the table: a column that is left out becomes `NULL`.
            on_conflict: The values that an existing row gets: plain values, or expressions of the table's columns;
                `None`: the values of the new row.

        Raises:
            StateError: If the database fails; raised at the end of the transaction.
        """
        if rows:
            await self.connection.execute(upsert(self.connection.dialect.name, table, on_conflict), rows)


class State:
    """The state of a sync. Open one with `State.open`, and close it or use it as an async context manager."""

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
        """Open a state, and keep other runs out until it is closed. A new state is created, an old one is upgraded.

        Before an upgrade, a state that is a file is copied to a file beside it, which is named after the old revision.

        Args:
            path_or_url: A SQLite file, or the URL of a PostgreSQL database, such as `postgresql://user@host/database`,
                which needs the extra `connector-async[postgres]`. On PostgreSQL only the lease keeps runs apart: the
                run that opened the state last can write.
            owner: The name of this run in the errors that other runs get.
            clock: The clock for waiting and for times; `None`: the clock of the machine.
            wait: Seconds to wait for a run that is using the state.
            read_only: Whether to open the state for reading only, also while a run is using it. Then it is neither
                created nor upgraded.

        Raises:
            StateBusyError: If another run is using the state.
            StateUnavailableError: If PostgreSQL does not respond.
            StateVersionError: If a newer version has written the state, or it needs an upgrade and is opened read-only.
            StateError: If the state cannot be read, written or upgraded, or the file is something else.
            ValueError: If `path_or_url` is not a valid location, `owner` is not printable, or `wait` is negative.
        """
        location, clock = Location.parse(path_or_url), checked_clock(clock)
        del path_or_url  # it may have a password
        check_text("owner", owner)
        check_seconds("wait", wait, finite=False)
        async with AsyncExitStack() as opened:
            if read_only:
                await run_in_thread(check_ready, location)
                reader = _dispose_with(opened, _reader_engine(location))
                return cls(location, reader=reader, writer=None, epoch=0, opened=opened.pop_all())
            if location.path is not None:
                opened.callback((await acquire_lock(location.path, wait=wait, clock=clock)).release)
            await run_in_thread(create_or_upgrade, location)
            writer = _dispose_with(opened, _writer_engine(location))
            # The reader is closed before the writer, since a read-only connection cannot remove the write-ahead log.
            reader = _dispose_with(opened, _reader_engine(location))
            async with _transaction(writer, location) as connection:
                epoch = await take_lease(connection, owner=owner, now=clock.time(), place=location)
            return cls(location, reader=reader, writer=writer, epoch=epoch, opened=opened.pop_all())

    @property
    def location(self) -> Location:
        """The file or the URL of the state."""
        return self._location

    async def aclose(self) -> None:
        """Close the state after all writes, and release it for other runs. The caller must have ended all reads."""
        await self._commits.finish()
        async with self._writing:
            self._closed = True
            await self._opened.aclose()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        """Start a transaction, which is committed at the end of the block and rolled back on an error.

        One transaction writes at a time; the others wait. So a transaction inside another one waits forever.

        Raises:
            FencedError: If another run has taken over. Nothing was written.
            StateBusyError: If the database stays locked.
            StateError: If the database is full, read-only or damaged, or this state was opened read-only. Nothing was
                written.
            RuntimeError: If this state is closed.
        """
        async with self._writing:
            self._check_open()
            if self._writer is None:
                raise StateError(f"{self._location}: the state was opened read-only")
            async with _transaction(self._writer, self._location) as connection:
                await check_lease(connection, self._epoch, self._location)
                yield Transaction(connection)

    async def write(self, body: Callable[[Transaction], Awaitable[None]]) -> None:
        """Call `body` in a transaction, which it may share with the concurrent writes of other tasks.

        Args:
            body: Writes to the transaction. It must do nothing else, as it may be called again.

        Raises:
            FencedError: If another run has taken over. Nothing was written.
            StateBusyError: If the database stays locked.
            StateError: As for `writing`. Nothing was written.
            RuntimeError: If this state is closed.
        """
        await self._write(body)

    @repeatable
    async def _write(self, body: Callable[[Transaction], Awaitable[None]]) -> None:
        await self._commits.write(body)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Return a connection that sees the state as it is at the first statement, without later writes.

        Keep the block short: the write-ahead log grows as long as it lasts.

        Raises:
            StateError: If the database cannot be read.
            RuntimeError: If this state is closed.
        """
        self._check_open()
        async with _transaction(self._reader, self._location) as connection:
            yield connection

    @repeatable
    async def serial(self) -> int:
        """Return the serial number of the items, which increases with each change of them.

        Raises:
            StateError: If the database cannot be read.
            RuntimeError: If this state is closed.
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
async def streamed(connection: AsyncConnection, query: Executable) -> AsyncIterator[AsyncResult[Any]]:
    """Execute a query whose rows are not fetched at once, and close its result also if the block raises."""
    result = await connection.stream(query)
    try:
        yield result
    finally:
        await result.close()


@asynccontextmanager
async def _transaction(engine: AsyncEngine, place: Location) -> AsyncIterator[AsyncConnection]:
    is_committing = False
    try:
        with database_errors(place):
            async with engine.begin() as connection:
                yield connection
                is_committing = True
    except StateUnavailableError as error:
        if not is_committing:
            raise
        raise CommitLostError(str(error)) from None


def _writer_engine(location: Location) -> AsyncEngine:
    return sqlite.writer_engine(location.path) if location.path else postgres.writer_engine(location)


def _reader_engine(location: Location) -> AsyncEngine:
    return sqlite.reader_engine(location.path) if location.path else postgres.reader_engine(location)


def _dispose_with(stack: AsyncExitStack, engine: AsyncEngine) -> AsyncEngine:
    stack.push_async_callback(engine.dispose)
    return engine
