"""The connection of procrastinate to PostgreSQL, which survives a restart of the server, and refused connections."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import procrastinate
import psycopg
from procrastinate import PsycopgConnector, exceptions, sql
from procrastinate.schema import SchemaManager
from psycopg import sql as psycopg_sql
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from connector_async._tracebacks import drop_frames
from connector_async.sync.exceptions import StateUnavailableError, StateVersionError
from connector_async.sync.state.db.location import Location

_LONGEST: Final = 120.0  # seconds from the first failure on
_CONNECTION_TIMEOUT: Final = 30.0  # seconds
_OPTIONS: Final = {
    "application_name": "connector-async queue",
    "connect_timeout": 10,  # seconds
    "tcp_user_timeout": 30_000,  # milliseconds
}
_LOCK: Final = 0x636F6E6E71756575  # any number that other applications are unlikely to take

_COMMENT: Final = """
    SELECT obj_description(pg_class.oid, 'pg_class')
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relname = 'procrastinate_jobs' AND nspname = current_schema()
"""
_MIGRATION: Final = "connector_async: created by procrastinate after its migration "

_OF_A_JOB: Final = (sql.queries["finish_job"], sql.queries["retry_job"])

_T = TypeVar("_T")


class RepeatingConnector(PsycopgConnector):
    """A connector with one connection at most, which repeats what the server did not respond to.

    Procrastinate's worker would end with the first error. All its statements may be repeated, except for the one that
    fetches a job: a job whose fetch was lost is found later, since its worker does not work on it.

    Args:
        location: The database.
        on_lost: Called when the server has not responded for minutes. Procrastinate goes on without heartbeats then.
    """

    def __init__(self, location: Location, on_lost: Callable[[], None]) -> None:
        super().__init__(
            conninfo=conninfo(location),
            kwargs=_OPTIONS,
            # It is opened when it is needed: a worker starts also if the server has no free connection.
            min_size=0,
            max_size=1,
            timeout=_CONNECTION_TIMEOUT,
        )
        self._on_lost = on_lost
        self._fetches_since: float | None = None
        """Since when no job could be fetched, by the monotonic clock."""

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        """Execute a statement."""
        execute = super().execute_query_async
        try:
            await self._repeat(lambda: execute(query, **arguments))
        except exceptions.ConnectorException as error:
            # The job was finished already: the response was lost, or this process was taken for dead, and another one
            # has had its job since.
            if query not in _OF_A_JOB or not isinstance(error.__cause__, psycopg.errors.RaiseException):
                raise

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        """Execute a statement, and return its row."""
        execute: Callable[..., Awaitable[dict[str, Any]]] = super().execute_query_one_async
        if query == sql.queries["fetch_job"]:
            try:
                fetched = await execute(query, **arguments)
            except exceptions.ConnectorException as error:
                if not _is_transient(error):
                    raise
                self._note_failed_fetch()
                return {"id": None}  # as when there is none
            self._fetches_since = None
            return fetched
        return await self._repeat(lambda: execute(query, **arguments))

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        """Execute a statement, and return its rows."""
        execute: Callable[..., Awaitable[list[dict[str, Any]]]] = super().execute_query_all_async
        return await self._repeat(lambda: execute(query, **arguments))

    async def _repeat(self, execute: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await _repeating(execute)
        except exceptions.ConnectorException as error:
            if _is_transient(error):
                self._on_lost()
            raise

    def _note_failed_fetch(self) -> None:
        now = time.monotonic()
        if self._fetches_since is None:
            self._fetches_since = now
        elif now - self._fetches_since > _LONGEST:
            self._on_lost()


def conninfo(location: Location) -> str:
    """Return the URL of a database as libpq takes it, with its password."""
    return location.url.set(drivername="postgresql").render_as_string(hide_password=False)


async def apply_schema(location: Location) -> None:
    """Create the tables of procrastinate if the schema does not have them. Processes do so one at a time.

    Only the first schema of the search path counts: in that of another state, the queue has the shares of that state.

    Raises:
        StateVersionError: If another version of procrastinate has created the tables, and they differ.
        ConnectorException: If the database does not respond.
    """
    needed = _last_migration()

    async def apply() -> None:
        try:
            async with await psycopg.AsyncConnection.connect(conninfo(location), **_OPTIONS) as connection:  # type: ignore[arg-type]
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
                row = await (await connection.execute(_COMMENT)).fetchone()
                if row is None:
                    await connection.execute(SchemaManager.get_schema())
                    comment = psycopg_sql.Literal(f"{_MIGRATION}{needed}")
                    set_comment = psycopg_sql.SQL("COMMENT ON TABLE procrastinate_jobs IS {}")
                    await connection.execute(set_comment.format(comment))
                elif str(row[0]).startswith(_MIGRATION) and (found := row[0].removeprefix(_MIGRATION)) != needed:
                    raise StateVersionError(
                        f"{location}: the queue has the tables of another version of procrastinate: those after its "
                        f"migration {found}, but procrastinate {procrastinate.__version__} needs those after {needed}; "
                        "install that version, or stop all workers and apply the migrations of procrastinate"
                    )
        except psycopg.Error as error:
            raise exceptions.ConnectorException from error

    await _repeating(apply)


def _last_migration() -> str:
    """Return the name of the last migration that the tables of the installed version have in them."""
    return max(path.stem for path in Path(SchemaManager.get_migrations_path()).glob("*.sql"))


@contextmanager
def queue_errors(location: Location) -> Iterator[None]:
    """Raise errors of procrastinate's connection in the block as `StateUnavailableError`."""
    try:
        yield
    except exceptions.ConnectorException as error:
        drop_frames(error)  # those of the driver have the password
        raise StateUnavailableError(f"{location}: the queue does not respond") from None


async def _repeating(execute: Callable[[], Awaitable[_T]]) -> _T:
    """Execute a statement, again as long as the server does not respond."""
    again = AsyncRetrying(
        retry=retry_if_exception(_is_transient),
        wait=wait_random_exponential(multiplier=0.05, max=2.0),
        stop=stop_after_delay(_LONGEST),
        reraise=True,
    )

    async def attempt() -> _T:  # tenacity awaits the result of a coroutine function alone
        return await execute()

    return await again(attempt)


def _is_transient(error: BaseException) -> bool:
    cause = error.__cause__ if isinstance(error, exceptions.ConnectorException) else error
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
