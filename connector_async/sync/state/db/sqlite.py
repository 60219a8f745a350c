"""SQLite only: opening, reading and copying its files, and the start of its transactions."""

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from connector_async._files import atomic_replace, check_regular
from connector_async.sync.exceptions import StateError
from connector_async.sync.state.schema import STATE, VERSION_TABLE

from .errors import database_errors, file_errors
from .permissions import beside

_BUSY_TIMEOUT: Final = 5.0  # seconds; the lock keeps other runs out, so only a checkpoint of a reader can take it
_READERS: Final = 4
# With FULL, a commit that has returned survives a power cut; with NORMAL, only the end of the process. Measured with
# 500 transactions of one insert, on ext4 on a virtual disk: median 185 us with FULL, 16 us with NORMAL. The API accepts
# one request a second, so 0.2 ms is cheap for a durable record of each create that may have been sent.
_WRITER_PRAGMAS: Final = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")
# KiB for each reader. With SQLite's default of 2,000, the peak memory of a cold start with 10,000 users was 9 % over
# that with 1,000 users; with 500 it is 3 %. Planning 100,000 unchanged items takes the same time, within the noise.
_READER_PRAGMAS: Final = ("PRAGMA cache_size = -500",)
_LAST_OWNER: Final = "SELECT owner, acquired_at FROM tenants WHERE tenant_id = ?"


class _Connection(sqlite3.Connection):
    """A connection that rolls back when it is closed.

    SQLite does so only when the last statement is finalized. If a task is cancelled during a statement, its cursor
    lives until it is garbage-collected, and the next transaction would wait for that.
    """

    def close(self) -> None:
        if self.in_transaction:
            self.rollback()
        super().close()

    def __del__(self) -> None:
        # Nobody else closes a connection if its opening was cancelled, and Python 3.13 warns about it.
        with contextlib.suppress(sqlite3.ProgrammingError):
            self.close()


_CONNECT_ARGS: Final[dict[str, Any]] = {
    "isolation_level": None,
    "timeout": _BUSY_TIMEOUT,
    "factory": _Connection,
    "check_same_thread": False,  # used by one thread at a time, but garbage-collected in any
}


def writer_engine(path: Path) -> AsyncEngine:
    """Return an engine with one connection. Its transactions hold the write lock from their start."""
    engine = _create_async_engine(path, mode="rw", connections=1)
    _execute_on_connect(engine.sync_engine, _WRITER_PRAGMAS)
    _begin_with(engine.sync_engine, "BEGIN IMMEDIATE")
    return engine


def reader_engine(path: Path) -> AsyncEngine:
    """Return an engine with a few read-only connections. Each transaction sees one snapshot."""
    engine = _create_async_engine(path, mode="ro", connections=_READERS)
    _execute_on_connect(engine.sync_engine, _READER_PRAGMAS)
    _begin_with(engine.sync_engine, "BEGIN")
    return engine


def migration_engine(path: Path) -> Engine:
    """Return a blocking engine with atomic transactions, also for changes of tables.

    The driver would start a transaction by itself before an insert, but not before a change of tables. So that is
    switched off, and a BEGIN statement starts each transaction.
    """
    engine = create_engine(
        _url("sqlite", path, "rw"), connect_args=_CONNECT_ARGS, hide_parameters=True, poolclass=NullPool
    )
    _execute_on_connect(engine, _WRITER_PRAGMAS)
    _begin_with(engine, "BEGIN IMMEDIATE")
    return engine


def read_revision(path: Path) -> str | None:
    """Return the revision of the state in a file, or `None` if the file does not exist or is empty.

    Raises:
        StateError: If the file cannot be read, or is not a state.
    """
    if not os.path.lexists(path):
        return None
    with file_errors(path):
        check_regular(path)  # SQLite would wait for the writer of a pipe
    with database_errors(path), closing(connect_read_only(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return None
        if VERSION_TABLE not in tables:
            raise StateError(f"{path}: a SQLite database, but not the state of a sync, or a damaged one")
        revisions = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()  # noqa: S608 - constant
    if len(revisions) != 1:
        raise StateError(f"{path}: the revision of its tables is missing")
    return str(revisions[0][0])


def read_last_owner(path: Path) -> tuple[str, float] | None:
    """Return who has opened a state last, and when, or `None` if that is not known or the read fails."""
    try:
        with closing(connect_read_only(path)) as connection:
            row = connection.execute(_LAST_OWNER, (STATE,)).fetchone()
    except sqlite3.Error:
        return None
    return (str(row[0]), float(row[1])) if row and row[0] else None


def copy_database(path: Path, to: Path) -> None:
    """Copy one snapshot of a database to a file, atomically. The database may be in use; an existing copy is replaced.

    Raises:
        StateError: If the copy cannot be written, or a database in use has its place.
    """
    for suffix in ("-wal", "-journal"):
        # SQLite would take this log for the log of the copy, and apply it.
        if beside(to, suffix).exists():
            raise StateError(f"{to}: a database in use has this place")
    with file_errors(to), database_errors(to), atomic_replace(to) as temporary:
        _copy(path, temporary)


def _copy(path: Path, to: Path) -> None:
    with closing(connect_read_only(path)) as source, closing(sqlite3.connect(to, isolation_level=None)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # so that the copy is one file


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Return a blocking connection that cannot write."""
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT)


def _url(driver: str, path: Path, mode: str) -> URL:
    # Without a mode, SQLite would create an empty file in place of a deleted one.
    return URL.create(driver, database=path.as_uri(), query={"mode": mode, "uri": "true"})


def _create_async_engine(path: Path, *, mode: str, connections: int) -> AsyncEngine:
    return create_async_engine(
        _url("sqlite+aiosqlite", path, mode),
        connect_args=_CONNECT_ARGS,
        hide_parameters=True,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=connections,
        max_overflow=0,
    )


def _execute_on_connect(engine: Engine, statements: tuple[str, ...]) -> None:
    @event.listens_for(engine, "connect")
    def execute(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()


def _begin_with(engine: Engine, statement: str) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)
