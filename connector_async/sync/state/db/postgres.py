"""PostgreSQL only: its engines, and the revision of the tables in a database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, exc, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from connector_async.sync.exceptions import StateError
from connector_async.sync.state.schema import VERSION_TABLE, metadata

from .errors import database_errors
from .location import Location

_IDLE: Final = 1.0  # seconds after which a connection may be lost
_READERS: Final = 2  # their transactions are short, and the connections of a server are few
_CONNECTING: Final = {
    "application_name": "connector-async",
    "connect_timeout": "10",  # seconds
    "tcp_user_timeout": "30000",  # milliseconds; a server that vanished would be waited for 15 minutes
}
# A commit that has returned must survive a crash: otherwise a create would be forgotten, and sent again.
_OPTIONS: Final = "-c synchronous_commit=on"
_UPGRADE_LOCK: Final = 0x636F6E6E6563746F  # any number that other applications are unlikely to take


def writer_engine(location: Location) -> AsyncEngine:
    """Return an engine with one connection."""
    return _create_async_engine(location, connections=1)


def reader_engine(location: Location) -> AsyncEngine:
    """Return an engine with a few connections that cannot write. Each transaction sees one snapshot."""
    # With the default level, each statement would see a snapshot of its own.
    return _create_async_engine(
        location,
        connections=_READERS,
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
    )


def migration_engine(location: Location) -> Engine:
    """Return a blocking engine."""
    with _driver_errors(location):
        return create_engine(
            location.url, connect_args=_connect_args(location), hide_parameters=True, poolclass=NullPool
        )


def lock_upgrades(connection: Connection) -> None:
    """Wait until no other process creates or upgrades the state, and keep others out to the end of the transaction."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})


def read_revision(location: Location) -> str | None:
    """Return the revision of the state in a database, or `None` if the database does not have its tables.

    Raises:
        StateError: If the database cannot be read, or has tables of the same names that are of something else.
    """
    engine = migration_engine(location)
    with database_errors(location), engine.connect() as connection:
        tables = set(inspect(connection).get_table_names())
        if VERSION_TABLE not in tables:
            if others := sorted(tables & metadata.tables.keys()):
                raise StateError(
                    f"{location}: the table {others[0]} is not of a state; give the state a database or a schema of "
                    "its own"
                )
            return None
        revisions = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all()  # noqa: S608
    if len(revisions) != 1:
        raise StateError(f"{location}: the revision of its tables is missing")
    return str(revisions[0])


def _create_async_engine(location: Location, *, connections: int, **options: Any) -> AsyncEngine:
    with _driver_errors(location):
        engine = create_async_engine(
            location.url,
            connect_args=_connect_args(location),
            hide_parameters=True,
            pool_size=connections,
            max_overflow=0,
            **options,
        )
    _ping_idle_connections(engine)
    return engine


def _ping_idle_connections(engine: AsyncEngine) -> None:
    """Check a connection before use: otherwise the first transaction after a restart of the server would fail.

    One that was in use a moment ago is not checked, unlike by SQLAlchemy's `pool_pre_ping`: that took a fifth of the
    statements of a worker. Were it lost since, the transaction would be repeated as after any other loss.
    """
    dialect = engine.dialect

    @event.listens_for(engine.sync_engine, "checkin")
    def remember(_: Any, record: Any) -> None:
        record.info["returned_at"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def ping(connection: Any, record: Any, _: Any) -> None:
        returned_at = record.info.get("returned_at")
        if returned_at is None or time.monotonic() - returned_at < _IDLE:  # None: it was just made
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error:
            raise exc.DisconnectionError from None


def _connect_args(location: Location) -> dict[str, str]:
    query = location.url.query
    own = {name: value for name, value in _CONNECTING.items() if name not in query}
    return own | {"options": f"{query.get('options', '')} {_OPTIONS}".strip()}


@contextmanager
def _driver_errors(location: Location) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise StateError(f"{location}: {error.name} is missing; install connector-async[postgres]") from None
