"""An open state: one connection that writes, and a few that read."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

import attrs
from sqlalchemy import Column, Executable, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncResult
from sqlalchemy.sql.elements import ColumnElement

from connector_async._checks import check_seconds, check_text
from connector_async._clock import Clock, Deadline, checked_clock
from connector_async._files import run_in_thread
from connector_async.sync.exceptions import StateBusyError, StateError, StateUnavailableError
from connector_async.sync.state.schema import STATE, serial, tenants

from . import postgres, sqlite
from .errors import CommitLostError, database_errors
from .group_commit import GroupCommit
from .lease import DatabaseClock, Leases, acquire_lock
from .location import Location
from .retrying import repeatable
from .upgrade import check_ready, create_or_upgrade
from .upsert import positional_sql, upsert

LEASE_SECONDS: Final = 30.0
"""How long a process may be gone before another one may take over its tenants. A renewal comes three times as often."""
_POLL: Final = 0.25  # seconds
_LONGEST_RELEASE: Final = 10.0
"""Seconds that closing waits for a server that is down, to give back the leases. A restart takes a few."""


@attrs.frozen
class Serials:
    """How often a state has changed. The counters only grow."""

    state: int
    """The changes that concern all tenants."""
    tenants: Mapping[str, int]
    """The changes of the items of each tenant that had one."""

    def total(self) -> int:
        """Return the sum of all counters."""
        return self.state + sum(self.tenants.values())


@attrs.define
class Transaction:
    """An atomic transaction on the state."""

    connection: AsyncConnection
    """The connection for statements. Do not commit or roll back on it."""
    _leases: Leases
    taken: dict[str, int] = attrs.field(factory=dict, init=False)
    """The epochs of the leases that this transaction takes, by tenant."""
    released: set[str] = attrs.field(factory=set, init=False)
    """The tenants whose leases this transaction gives back."""
    _written: set[str] = attrs.field(factory=set, init=False)
    _changed: set[str] = attrs.field(factory=set, init=False)

    async def lease(self, tenant_ids: Iterable[str]) -> None:
        """Take the leases of some tenants, except for those that the state has already.

        Raises:
            StateBusyError: If another run has one of them.
        """
        wanted = [each for each in tenant_ids if each not in self._leases.epochs and each not in self.taken]
        if wanted:
            self.taken |= await self._leases.take(self.connection, wanted)

    async def release(self, tenant_id: str) -> None:
        """Let other runs work for a tenant as soon as the transaction is committed, which still needs its lease."""
        await self._leases.release(self.connection, [tenant_id])
        self.write_for([tenant_id])
        self.released.add(tenant_id)

    def bump(self, tenant_id: str) -> None:
        """Increment the counter of a tenant's changes at the end of the transaction. It makes all saved plans stale.

        The counter changes once in a transaction, however often this is called.
        """
        self._changed.add(tenant_id)

    async def finish(self, tenant_ids: Iterable[str] = ()) -> None:
        """Increment the counters, and check the leases of the tenants that were written for.

        The leases of tenants that the state has not had yet are taken. It is the last step before the commit, and one
        statement for all tenants: a group of writes is mostly for as many tenants.

        Args:
            tenant_ids: Tenants without a counter to increment.

        Raises:
            FencedError: If another run has taken over one of the tenants.
            StateBusyError: If another run has one of the tenants, and this state has not yet had it.
        """
        self._written.update(tenant_ids)
        await self.lease(sorted(self._changed | self._written))
        epochs = self._leases.epochs | self.taken
        await self._leases.change(self.connection, {each: epochs[each] for each in self._changed})
        unchanged = self._written - self._changed - self.taken.keys()
        await self._leases.check(self.connection, {each: epochs[each] for each in unchanged})

    def write_for(self, tenant_ids: Iterable[str]) -> None:
        """Check the leases of some tenants at the end of the transaction."""
        self._written.update(tenant_ids)

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

    async def upsert_tuples(
        self, table: Table, rows: Sequence[tuple[Any, ...]], *, on_conflict: Mapping[str, ColumnElement[Any]]
    ) -> None:
        """Insert rows as `upsert` does, at a third of its cost for each row: they go to the driver as they are.

        Args:
            table: As for `upsert`.
            rows: The rows, each with the values of all columns in order. No string has a U+0000.
            on_conflict: The values that an existing row gets: expressions without parameters.

        Raises:
            StateError: If the database fails; raised at the end of the transaction.
        """
        if rows:
            dialect = self.connection.dialect
            statement = positional_sql(upsert(dialect.name, table, on_conflict), dialect)
            await self.connection.exec_driver_sql(statement, rows)


class State:
    """The state of a sync. Open one with `State.open`, and close it or use it as an async context manager."""

    def __init__(
        self,
        location: Location,
        *,
        reader: AsyncEngine,
        writer: AsyncEngine | None,
        leases: Leases,
        wait: float,
        clock: Clock,
        opened: AsyncExitStack,
    ) -> None:
        self._location = location
        self._reader = reader
        self._writer = writer
        self._leases = leases
        self._wait = wait
        self._clock = clock
        self._opened = opened
        self._writing = asyncio.Lock()
        self._commits = GroupCommit(self.writing)
        self._renewal: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        path_or_url: str | os.PathLike[str],
        *,
        owner: str,
        clock: Clock | None = None,
        wait: float = 0.0,
        lease: float = LEASE_SECONDS,
        read_only: bool = False,
    ) -> Self:
        """Open a state. A new state is created, an old one is upgraded.

        A state that is a file keeps other runs out until it is closed. In PostgreSQL, only the tenants that this run
        works for are kept from other runs.

        Before an upgrade, a state that is a file is copied to a file beside it, which is named after the old revision.

        Args:
            path_or_url: A SQLite file, or the URL of a PostgreSQL database, such as `postgresql://user@host/database`,
                which needs the extra `connector-async[postgres]`.
            owner: The name of this run in the errors that other runs get.
            clock: The clock for waiting and for times; `None`: the clock of the machine, with the time of the server if
                the state is in PostgreSQL.
            wait: Seconds to wait for a run that is using the state or a tenant.
            lease: Seconds after which another run may take over the tenants of a process that was killed; only in
                PostgreSQL.
            read_only: Whether to open the state for reading only, also while a run is using it. Then it is neither
                created nor upgraded.

        Raises:
            StateBusyError: If another run is using the state.
            StateUnavailableError: If PostgreSQL does not respond.
            StateVersionError: If a newer version has written the state, or it needs an upgrade and is opened read-only.
            StateError: If the state cannot be read, written or upgraded, or the file is something else.
            ValueError: If `path_or_url` is not a valid location, `owner` is not printable, `wait` is negative, or
                `lease` is not above zero.
        """
        location = Location.parse(path_or_url)
        clock = DatabaseClock() if clock is None and location.path is None else checked_clock(clock)
        del path_or_url  # it may have a password
        check_text("owner", owner)
        check_seconds("wait", wait, finite=False)
        check_seconds("lease", lease, above_zero=True)
        leases = Leases(location, owner=owner, clock=clock, duration=None if location.path else lease)
        async with AsyncExitStack() as opened:
            if read_only:
                await run_in_thread(check_ready, location)
                reader = _dispose_with(opened, _reader_engine(location))
                return cls(
                    location, reader=reader, writer=None, leases=leases, wait=wait, clock=clock, opened=opened.pop_all()
                )
            if location.path is not None:
                opened.callback((await acquire_lock(location.path, wait=wait, clock=clock)).release)
            await run_in_thread(create_or_upgrade, location)
            writer = _dispose_with(opened, _writer_engine(location))
            # The reader is closed before the writer, since a read-only connection cannot remove the write-ahead log.
            reader = _dispose_with(opened, _reader_engine(location))
            state = cls(
                location, reader=reader, writer=writer, leases=leases, wait=wait, clock=clock, opened=opened.pop_all()
            )
        try:
            if location.path is not None:
                await state.lease([STATE])
            else:
                await state._measure_clock()
        except BaseException:
            await state.aclose()
            raise
        return state

    @property
    def location(self) -> Location:
        """The file or the URL of the state."""
        return self._location

    async def aclose(self) -> None:
        """Close the state after all writes, and release it for other runs. The caller must have ended all reads.

        If PostgreSQL is down, it waits for ten seconds at most, and leaves the leases to expire.

        A cancellation is raised when the state is closed: otherwise other runs would wait until the leases expire. A
        second one does not wait for that.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="connector_async close")
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            await asyncio.wait([self._closing])
            raise

    async def _close(self) -> None:
        await self._commits.finish()
        if self._renewal is not None:
            self._renewal.cancel()
        try:
            if self._leases.duration is not None and self._leases.were_taken:
                with suppress(StateError, TimeoutError):  # then the leases expire
                    async with asyncio.timeout(min(self._leases.duration, _LONGEST_RELEASE)):
                        await self.release()
        finally:
            async with self._writing:
                self._closed = True
                await self._opened.aclose()

    @property
    def clock(self) -> Clock:
        """The clock for the times in the state."""
        return self._clock

    async def _measure_clock(self) -> None:
        if isinstance(self._clock, DatabaseClock):
            async with self.writing() as transaction:
                await self._clock.measure(transaction.connection)

    async def lease(
        self, tenant_ids: Iterable[str], then: Callable[[Transaction], Awaitable[None]] | None = None
    ) -> None:
        """Keep other runs from some tenants until this state is closed or `release` is called.

        If this is cancelled, they may have been taken.

        Args:
            tenant_ids: The tenants.
            then: Called in the same transaction once they were taken; see `write`. If it raises, none was taken.

        Raises:
            StateBusyError: If another run has one of them, and the wait is over. Then none was taken.
            StateError: As for `writing`.
            RuntimeError: If this state is closed.
        """
        wanted = [each for each in tenant_ids if each not in self._leases.epochs]
        if not wanted and then is None:
            return
        deadline = Deadline(self._wait, self._clock)

        async def take(transaction: Transaction) -> None:
            await transaction.lease(wanted)
            if then is not None:
                await then(transaction)

        while True:
            try:
                await self.write(take)
            except StateBusyError:
                if (remaining := deadline.remaining()) <= 0:
                    raise
                await self._clock.sleep(min(_POLL, remaining))
            else:
                return

    def has_lease(self, tenant_id: str) -> bool:
        """Return whether this state has taken the lease of a tenant and not released it. It may be lost since."""
        return tenant_id in self._leases.epochs

    async def release(self, tenant_ids: Sequence[str] | None = None) -> None:
        """Let other runs work for some tenants, or for all. This state must not write for them any more.

        Raises:
            StateError: As for `writing`.
            RuntimeError: If this state is closed.
        """
        for tenant_id in list(self._leases.epochs) if tenant_ids is None else tenant_ids:
            self._leases.epochs.pop(tenant_id, None)
        # It is repeated: were it given up, this state would go on to renew a lease that nobody works with.
        await self._write(lambda transaction: self._leases.release(transaction.connection, tenant_ids))

    def is_leased(self, tenant_id: Column[str]) -> ColumnElement[bool]:
        """Return the condition for rows of the tenants that this state has leased."""
        return tenant_id.in_(select(tenants.c.tenant_id).where(tenants.c.holder == self._leases.holder))

    async def _renew(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            with suppress(StateError):  # the next one may work; otherwise the check of the next write fails
                async with self.writing() as transaction:
                    await self._leases.renew(transaction.connection)
                await self._measure_clock()

    @asynccontextmanager
    async def writing(self, *tenant_ids: str) -> AsyncIterator[Transaction]:
        """Start a transaction, which is committed at the end of the block and rolled back on an error.

        Args:
            tenant_ids: The tenants that it writes for. Their leases are checked.

        One transaction writes at a time; the others wait. So a transaction inside another one waits forever.

        Raises:
            FencedError: If another run has taken over one of the tenants. Nothing was written.
            StateBusyError: If the database stays locked, or another run has one of the tenants.
            StateError: If the database is full, read-only or damaged, or this state was opened read-only. Nothing was
                written.
            RuntimeError: If this state is closed.
        """
        async with self._writing:
            self._check_open()
            if self._writer is None:
                raise StateError(f"{self._location}: the state was opened read-only")
            async with _transaction(self._writer, self._location) as connection:
                transaction = Transaction(connection, self._leases)
                yield transaction
                await transaction.finish(tenant_ids)
            self._leases.epochs |= transaction.taken
            for tenant_id in transaction.released:
                self._leases.epochs.pop(tenant_id, None)
            self._start_renewal()

    def _start_renewal(self) -> None:
        if self._leases.duration is not None and self._leases.epochs and self._renewal is None:
            renewal = self._renew(self._leases.duration / 3)
            self._renewal = asyncio.create_task(renewal, name="connector_async lease")

    async def write(self, body: Callable[[Transaction], Awaitable[None]], *tenant_ids: str) -> None:
        """Call `body` in a transaction, which it may share with the concurrent writes of other tasks.

        Args:
            body: Writes to the transaction. It must do nothing else, as it may be called again.
            tenant_ids: The tenants that it writes for. Their leases are checked.

        Raises:
            FencedError: If another run has taken over one of the tenants. Nothing was written.
            StateBusyError: If the database stays locked, or another run has one of the tenants.
            StateError: As for `writing`. Nothing was written.
            RuntimeError: If this state is closed.
        """

        async def checked(transaction: Transaction) -> None:
            await body(transaction)
            transaction.write_for(tenant_ids)

        await self._write(checked)

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
        """Return the sum of the counters of all changes of the items.

        Raises:
            StateError: If the database cannot be read.
            RuntimeError: If this state is closed.
        """
        async with self.reading() as connection:
            return await read_serial(connection)

    @repeatable
    async def serials(self) -> Serials:
        """Return the counters of all changes of the items.

        Raises:
            StateError: If the database cannot be read.
            RuntimeError: If this state is closed.
        """
        changed = select(tenants.c.tenant_id, tenants.c.number).where(tenants.c.number > 0)
        async with self.reading() as connection:
            of_state = (await connection.execute(select(serial.c.number))).scalar_one()
            return Serials(of_state, dict(map(tuple, await connection.execute(changed))))

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the state is closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


async def read_serial(connection: AsyncConnection) -> int:
    """Return the sum of the counters of all changes of the items."""
    by_tenant = select(func.coalesce(func.sum(tenants.c.number), 0)).scalar_subquery()
    return int((await connection.execute(select(serial.c.number + by_tenant))).scalar_one())


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
