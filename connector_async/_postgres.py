"""Statements in PostgreSQL: a few connections of an event loop, the URLs they take, and which errors are transient.

What imports it needs psycopg, which is in an extra.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict

from connector_async.exceptions import InvalidArgumentError

Row = tuple[Any, ...]

_TRANSIENT: Final = frozenset(
    {
        None,  # the connection was lost, or there was none
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "53300",  # too_many_connections
        "55P03",  # lock_not_available
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
    }
)


class Connections:
    """The connections of one event loop, `size` at most."""

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._idle: list[psycopg.AsyncConnection[Row]] = []
        self._free = asyncio.Semaphore(size)
        self._closed = False
        self._running: set[asyncio.Task[Row | None]] = set()

    async def execute(self, query: LiteralString, parameters: Mapping[str, Any] | None = None) -> Row | None:
        """Execute a statement in a transaction of its own, and return its first row.

        A call that is cancelled leaves the statement to end by itself, so that a deadline holds when the server hangs.
        """
        await self._free.acquire()
        task = asyncio.create_task(self._execute(query, parameters), name="connector_async statement")
        self._running.add(task)
        task.add_done_callback(self._finish)
        return await asyncio.shield(task)

    def _finish(self, task: asyncio.Task[Row | None]) -> None:
        self._running.discard(task)
        self._free.release()
        if not task.cancelled():
            task.exception()  # otherwise asyncio reports that it was never retrieved

    async def _execute(self, query: LiteralString, parameters: Mapping[str, Any] | None) -> Row | None:
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            cursor = await connection.execute(query, parameters)
            return await cursor.fetchone() if cursor.description else None
        finally:
            if connection.closed or self._closed:
                await connection.close()
            else:
                self._idle.append(connection)

    async def _connect(self) -> psycopg.AsyncConnection[Row]:
        return await psycopg.AsyncConnection.connect(self._url, autocommit=True)

    async def aclose(self) -> None:
        self._closed = True
        while self._idle:
            await self._idle.pop().close()


def is_transient(error: Exception) -> bool:
    """Return whether a statement that failed may succeed in another attempt."""
    return isinstance(error, psycopg.OperationalError) and error.sqlstate in _TRANSIENT


def checked_url(url: str) -> str:
    """Return a URL as libpq takes it, without the driver that a URL of SQLAlchemy may name.

    Raises:
        ValueError: If `url` is not a URL of PostgreSQL. The message never repeats it.
        TypeError: If `url` is not a str.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
        raise InvalidArgumentError("url must start with postgresql://", argument="url")
    checked = f"postgresql://{rest}"
    try:
        conninfo_to_dict(checked)
    except psycopg.ProgrammingError:  # its message may hold the password
        checked = ""
    if not checked:
        raise InvalidArgumentError("url must be a URL as libpq defines it", argument="url")
    return checked
