"""The connection pool of one event loop: idle connections are checked before reuse, and failures to connect are marked.

It knows neither tenants nor responses. It relies on two methods of aiohttp's connector, `connect` and `_get`;
`tests/test_pool.py` fails when a release of aiohttp changes what they do.
"""

import asyncio
import select
from typing import Any, Final

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

_MARK: Final = "_connector_async_never_connected"
_NOT_IDEMPOTENT: Final = frozenset({"PATCH", "POST"})
_DISTRUST: Final = 30.0  # seconds


class NotConnectedError(aiohttp.ClientError):
    """A connection that was lost before it could carry the request, such as by a proxy that closes on `CONNECT`.

    aiohttp raises the same errors for a connection that is lost later, and repeats an idempotent request after them.
    """


class CheckedConnector(aiohttp.TCPConnector):
    """A pool of connections that drops an idle one that must not be reused.

    aiohttp takes any idle connection that it does not know to be closed. Two kinds of them do harm:

    - A response has arrived that nobody asked for, such as a duplicate or a late 408. It would be taken for the
      response to the next request, which may be another tenant's.
    - The server has closed it, and the event loop has not seen that yet. Whether a create that is sent on it has
      happened cannot be known.

    httpx and urllib3 look at the socket before they reuse it. aiohttp (3.14.5) has no hook for that, so `_get` is
    overridden; upstream it would be two conditions there, `protocol.should_close` and a readable socket.

    The check cannot see what is still on its way. Of 500 creates in a row to a server that closes each connection after
    its response, 250 were lost without the check and 12 with it. So when a server has been seen to close idle
    connections, a request that is not idempotent gets a connection of its own for a while.
    """

    def __init__(self, *, limit: int, keepalive_timeout: float) -> None:
        super().__init__(limit=limit, keepalive_timeout=keepalive_timeout)
        self._distrusted_until: dict[ConnectionKey, float] = {}
        self._not_to_reuse: set[asyncio.Task[Any] | None] = set()
        """The tasks whose requests are to get a connection of their own."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own signature
    ) -> Connection:
        """Return a connection for a request, and mark what is raised instead, a cancellation included."""
        needs_own = bool(self._distrusted_until) and req.method in _NOT_IDEMPOTENT
        if needs_own:
            self._not_to_reuse.add(asyncio.current_task())
        try:
            return await super().connect(req, traces, timeout)
        except BaseException as error:
            is_repeated = isinstance(error, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError)
            if is_repeated and not isinstance(error, aiohttp.ClientConnectorError):
                raise NotConnectedError from None
            mark_never_connected(error)
            raise
        finally:
            if needs_own:
                self._not_to_reuse.discard(asyncio.current_task())

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (connection := await super()._get(key, traces)) is not None:
            protocol = connection.protocol
            if protocol is None or protocol.should_close or is_readable(protocol.transport):
                self._distrusted_until[key] = asyncio.get_running_loop().time() + _DISTRUST
            elif not (self._distrusted_until and self._is_not_to_reuse(key)):
                return connection
            connection.close()
        return None

    def _is_not_to_reuse(self, key: ConnectionKey) -> bool:
        until = self._distrusted_until.get(key, 0.0)
        if until < asyncio.get_running_loop().time():
            self._distrusted_until.pop(key, None)
            return False
        return asyncio.current_task() in self._not_to_reuse


def is_readable(transport: asyncio.BaseTransport | None) -> bool:
    """Return whether bytes, or the end of the stream, wait in the socket of a transport. It does not block."""
    socket = None if transport is None else transport.get_extra_info("socket")
    if socket is None:
        return False
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([socket.fileno()], [], [], 0)[0])
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def mark_never_connected(error: BaseException) -> None:
    """Record in an error that the attempt it ends had not obtained a connection."""
    setattr(error, _MARK, True)


def never_connected(error: BaseException) -> bool:
    """Return whether an error says, or what it was raised from, that its attempt had not obtained a connection."""
    cause: Any = error
    while cause is not None:
        if isinstance(cause, NotConnectedError) or hasattr(cause, _MARK):
            return True
        cause = cause.__cause__
    return False
