"""All that holds for SQLite alone: how its files are opened, read and copied, and how a transaction begins."""

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from connector_async._files import atomic_replace
from connector_async.sync.exceptions import StateError
from connector_async.sync.state.schema import VERSION_TABLE

from .errors import database_errors, file_errors
from .permissions import beside

_BUSY_TIMEOUT: Final = 5.0  # seconds; the lock keeps other runs away, so this is for a checkpoint by a reader
_READERS: Final = 4
# With FULL, a commit that has returned survives a power cut, too; NORMAL only has it survive the end of the process.
# Measured, 500 transactions of one insert on ext4 on a virtual disk: median 185 us with FULL, 16 us with NORMAL. The
# API takes one request a second: 0.2 ms is no price for knowing of each create that may have left.
_WRITER_PRAGMAS: Final = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")
# KiB for each reader. With SQLite's own 2,000 the peak of a cold start of 10,000 users was 9 % over that of 1,000, with
# 500 it is 3 %. Measured, 100,000 items planned without changes: no difference beyond that of two runs.
_READER_PRAGMAS: Final = ("PRAGMA cache_size = -500",)


class _Connection(sqlite3.Connection):
    """Gives up what is not committed when it is closed.

    SQLite itself does so only once the last statement has gone, and of a task that was cancelled within one, a cursor
    stays until it is collected: the next transaction would wait for that.
    """

    def close(self) -> None:
        if self.in_transaction:
            self.rollback()
        super().close()

    def __del__(self) -> None:
        # Of one whose opening was cancelled nobody else does so, and Python 3.13 warns of it.
        with contextlib.suppress(sqlite3.ProgrammingError):
            self.close()


_CONNECT_ARGS: Final[dict[str, Any]] = {
    "isolation_level": None,
    "timeout": _BUSY_TIMEOUT,
    "factory": _Connection,
    "check_same_thread": False,  # each is used by one at a time, and collected in any
}


def writer_engine(path: Path) -> AsyncEngine:
    """Return an engine of one connection, whose transactions hold the right to write from their beginning."""
    engine = _async_engine(path, mode="rw", connections=1)
    _prepare_by(engine.sync_engine, _WRITER_PRAGMAS)
    _begin_by(engine.sync_engine, "BEGIN IMMEDIATE")
    return engine


def reader_engine(path: Path) -> AsyncEngine:
    """Return an engine of a few connections that cannot write, each of whose transactions sees one moment."""
    engine = _async_engine(path, mode="ro", connections=_READERS)
    _prepare_by(engine.sync_engine, _READER_PRAGMAS)
    _begin_by(engine.sync_engine, "BEGIN")
    return engine


def migration_engine(path: Path) -> Engine:
    """Return a blocking engine, whose transactions take changes of tables as a whole or not at all.

    By itself the driver begins a transaction before an insert and none before a change of tables: so it begins none
    here, and each transaction is begun by a statement.
    """
    engine = create_engine(
        _url("sqlite", path, "rw"), connect_args=_CONNECT_ARGS, hide_parameters=True, poolclass=NullPool
    )
    _prepare_by(engine, _WRITER_PRAGMAS)
    _begin_by(engine, "BEGIN IMMEDIATE")
    return engine


def revision_of(path: Path) -> str | None:
    """Return the revision of the state in a file; `None`: there is none yet, as the file is absent or empty.

    Raises:
        StateError: The file cannot be read, or holds something else.
    """
    if not os.path.lexists(path):
        return None
    if path.is_dir():  # SQLite would tell of an input or output error
        raise StateError(f"{path}: it is a folder")
    with database_errors(path), closing(_connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return None
        if VERSION_TABLE not in tables:
            raise StateError(f"{path}: it is a SQLite database, but no state of a sync")
        revisions = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()  # noqa: S608 - constant
    if len(revisions) != 1:
        raise StateError(f"{path}: the revision of its tables is not known")
    return str(revisions[0][0])


def holder_of(path: Path, lease: str) -> tuple[str, float] | None:
    """Return who took that lease last, and the moment; `None`: nobody did, or it cannot be read."""
    try:
        with closing(_connect(path)) as connection:
            row = connection.execute("SELECT owner, acquired_at FROM leases WHERE name = ?", (lease,)).fetchone()
    except sqlite3.Error:
        return None
    return (str(row[0]), float(row[1])) if row and row[0] else None


def copy_database(path: Path, to: Path) -> None:
    """Copy a database as it is at one moment, also while it is being written, to one file that is whole or not there.

    What is at `to` is replaced.

    Raises:
        StateError: The copy cannot be written, or a database that is in use is there.
    """
    for suffix in ("-wal", "-journal"):
        # It would be taken for the copy's, and played back into it.
        if beside(to, suffix).exists():
            raise StateError(f"{to}: a database that is in use is there")
    with file_errors(to), database_errors(to), atomic_replace(to) as temporary:
        _copy(path, temporary)


def _copy(path: Path, to: Path) -> None:
    with closing(_connect(path)) as source, closing(sqlite3.connect(to, isolation_level=None)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # so that there is nothing of it in a second file


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT)


def _url(driver: str, path: Path, mode: str) -> URL:
    # With a mode, a file that has gone is an error, and not a new and empty state.
    return URL.create(driver, database=path.as_uri(), query={"mode": mode, "uri": "true"})


def _async_engine(path: Path, *, mode: str, connections: int) -> AsyncEngine:
    return create_async_engine(
        _url("sqlite+aiosqlite", path, mode),
        connect_args=_CONNECT_ARGS,
        hide_parameters=True,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=connections,
        max_overflow=0,
    )


def _prepare_by(engine: Engine, statements: tuple[str, ...]) -> None:
    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()


def _begin_by(engine: Engine, statement: str) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)
