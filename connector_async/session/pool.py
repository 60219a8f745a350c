"""The connection pool of one event loop: idle connections are checked before reuse, and failures to connect are marked.

It knows neither tenants nor responses. It relies on private names of aiohttp. `tests/client/test_pool.py` fails if a
release of aiohttp changes their meaning.
"""

import asyncio
import contextlib
import functools
import select
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

_MARK: Final = "_connector_async_never_connected"
_connect: Final = aiohttp.TCPConnector.connect
_get: Final = aiohttp.TCPConnector._get  # noqa: SLF001
_NOT_IDEMPOTENT: Final = frozenset({"PATCH", "POST"})
_DISTRUST: Final = 30.0  # seconds


class NotConnectedError(aiohttp.ClientError):
    """A connection was lost before it could carry the request, for instance because a proxy closed it on `CONNECT`.

    aiohttp raises the same errors for a connection that is lost later, and repeats an idempotent request after them.
    """


class _CheckedHandler(ResponseHandler):
    """The protocol of one connection. It can check whether its socket is readable."""

    waiting: Callable[[], Sequence[object]] = staticmethod(tuple)
    """Returns a non-empty sequence if bytes or the end of the stream wait in the socket. It never blocks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_closed_by_server: Callable[[], None]) -> None:
        super().__init__(loop)
        self._on_closed_by_server = on_closed_by_server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        socket = transport.get_extra_info("socket")
        if socket is None:
            return
        if hasattr(select, "poll"):
            poll = select.poll()  # kept: building it costs twice as much as polling
            poll.register(socket.fileno(), select.POLLIN)
            self.waiting = functools.partial(poll.poll, 0)
        else:  # Windows
            self.waiting = lambda: select.select([socket.fileno()], [], [], 0)[0]

    def connection_lost(self, exc: BaseException | None) -> None:
        was_closed_by_server = self.transport is not None  # aiohttp sets it to None when it closes
        super().connection_lost(exc)
        self.waiting = _end_of_stream  # another socket may have the file descriptor by now
        if was_closed_by_server:
            self._on_closed_by_server()


def _end_of_stream() -> Sequence[object]:
    return (b"",)


class CheckedConnector(aiohttp.TCPConnector):
    """A connection pool that drops idle connections which must not be reused.

    aiohttp reuses any idle connection that it does not know to be closed. Two kinds of them do harm:

    - An unsolicited response has arrived, such as a duplicate or a late 408. It would be taken for the response to the
      next request, which may be another tenant's.
    - The server has closed the connection, and the event loop has not noticed yet. A client cannot know whether a
      create that is sent on it has happened.

    httpx and urllib3 check the socket before they reuse it. aiohttp (3.14.5) has no hook for that, so `_get` is
    overridden. Upstream it would be two conditions there, `protocol.should_close` and a readable socket.

    The check cannot see what is still on its way. Of 500 creates in a row to a server that closes each connection after
    its response, 250 were lost without the check and 12 with it. So after a server has closed a connection unannounced,
    requests that are not idempotent get new connections for 30 seconds.
    """

    def __init__(self, *, limit: int, keepalive_timeout: float) -> None:
        super().__init__(limit=limit, keepalive_timeout=keepalive_timeout)
        handler: Any = _CheckedHandler
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._factory = functools.partial(handler, loop=loop, on_closed_by_server=self._distrust)
        self._longest_idle = keepalive_timeout
        self._distrusted_until = 0.0
        self._not_to_reuse: set[asyncio.Task[Any] | None] = set()
        """The tasks whose requests need a new connection."""

    # `connect` and `_get` are plain functions that do not call `super`: each of these would cost 0.5 % of a call.

    def connect(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Coroutine[Any, Any, Connection]:
        """Return a connection for a request."""
        if self._distrusted_until and req.method in _NOT_IDEMPOTENT and self._is_distrusted():
            return self._connect_without_reuse(req, traces, timeout)
        return _connect(self, req, traces, timeout)

    async def _connect_without_reuse(self, req: aiohttp.ClientRequest, *options: Any) -> Connection:
        task = asyncio.current_task()
        self._not_to_reuse.add(task)
        try:
            return await _connect(self, req, *options)
        finally:
            self._not_to_reuse.discard(task)

    def _get(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, key: ConnectionKey, traces: list[Trace]
    ) -> Coroutine[Any, Any, Connection | None]:
        idle: Any = self._conns.get(key)  # its protocols are made by `_factory`
        if idle:
            protocol, released_at = idle[0]
            is_expired = monotonic() - released_at > self._longest_idle
            if protocol._buffer or protocol.waiting() or is_expired or self._not_to_reuse:  # noqa: SLF001
                if asyncio.current_task() in self._not_to_reuse:
                    idle.popleft()[0].close()  # the new connection replaces it, or the pool would grow
                    return _no_connection()
                self._drop_unusable(idle)
        return _get(self, key, traces)

    def _drop_unusable(self, idle: deque[tuple[_CheckedHandler, float]]) -> None:
        """Close idle connections until the first one, the longest idle, can be reused."""
        while idle:
            protocol, released_at = idle[0]
            if monotonic() - released_at <= self._longest_idle:
                # Nothing may follow its last response: no bytes, read or unread, and no end of the stream.
                if not (protocol._buffer or protocol.waiting()):  # noqa: SLF001
                    return
                self._distrust()
            idle.popleft()
            protocol.close()

    def _is_distrusted(self) -> bool:
        if self._distrusted_until < self._time():
            self._distrusted_until = 0.0
        return self._distrusted_until > 0

    def _distrust(self) -> None:
        self._distrusted_until = self._time() + _DISTRUST

    async def _wait_for_available_connection(self, key: ConnectionKey, traces: list[Trace]) -> None:
        try:
            await super()._wait_for_available_connection(key, traces)
        except BaseException as error:
            mark_never_connected(error)
            raise
        if self._is_distrusted():  # perhaps only since a request that is not idempotent started to wait
            for protocol, _ in self._conns.pop(key, ()):
                protocol.close()

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own signature
    ) -> ResponseHandler:
        try:
            # Thousands of calls may start in this iteration of the event loop, and take longer than the handshake may.
            await asyncio.sleep(0)
            return await super()._create_connection(req, traces, timeout)
        except BaseException as error:
            mark_never_connected(error)
            raise


async def _no_connection() -> None:
    """Return `None`, as `_get` does when no connection is idle."""


def mark_never_connected(error: BaseException) -> None:
    """Mark an error: the attempt that it ends had obtained no connection."""
    with contextlib.suppress(Exception):  # an error from a hook may have read-only attributes
        setattr(error, _MARK, True)


def never_connected(error: BaseException) -> bool:
    """Return whether an error, or one of its causes, is marked: its attempt had obtained no connection."""
    cause: Any = error
    while cause is not None:
        if isinstance(cause, NotConnectedError) or hasattr(cause, _MARK):
            return True
        cause = cause.__cause__
    return False
