"""One attempt over aiohttp: a pool for each event loop, whole and capped answers, aiohttp's errors as `TransportError`.

It knows neither tenants nor tokens nor when to send again.
"""

import asyncio
import io
import math
import os
import ssl
import weakref
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import aiohttp
import attrs
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from connector_async.auth import Secret
from connector_async.deadline import Deadline
from connector_async.exceptions import (
    ConnectFailedError,
    ConnectorError,
    DeadlineExceededError,
    RequestTimeoutError,
    TransportError,
)
from connector_async.protocol import Response

# A wait for a connection ends this much before the attempt does. Were both to end at once, aiohttp would tell of the
# attempt, and nobody could say that the request never left.
_POOL_WAIT_MARGIN: Final = 0.01
_LARGE_BODY: Final = 1024 * 1024
# The epoll of an event loop is shared with the process that forked, and what is collected as garbage is closed.
_OPENED_BY_PARENT: Final[list[object]] = []


def _check_above_zero(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    whole = field.type is int
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise TypeError(f"{field.name} must be {'an int' if whole else 'a number'}, not {type(value).__name__}")
    if not 0 < value < math.inf:
        raise ValueError(f"{field.name} must be above zero and finite")


def _check_ssl_context(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, ssl.SSLContext | None):
        raise TypeError(f"{field.name} must be an SSLContext or None, not {type(value).__name__}")


def _above_zero() -> Any:
    return attrs.field(validator=_check_above_zero)


@attrs.frozen(kw_only=True)
class TransportOptions:
    """How to connect and how long to wait. Each number is finite and above zero.

    Raises:
        ValueError: An option is out of its range; the message names it.
        TypeError: An option is of another type.
    """

    connect_timeout: float = _above_zero()
    """Seconds for the handshakes of TCP and TLS with one address."""
    attempt_timeout: float = _above_zero()
    """Seconds for one attempt, from the wait for a connection to the last byte of the answer."""
    keepalive_timeout: float = _above_zero()
    """Seconds that an idle connection stays in the pool."""
    pool_size: int = _above_zero()
    """Connections at a time, in each event loop."""
    max_body_size: int = _above_zero()
    """Bytes of an answer that are read at most, after decompression."""
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, validator=_check_ssl_context)
    """Whom to trust, and with which certificate to answer; `None`: what the machine trusts."""
    proxy: Secret | None = None
    """The URL of a forward proxy, which may hold user information; `None`: none, whatever the environment says."""


class Transport:
    """Sends. It may be built outside of an event loop, and used from several, also at once in threads.

    In each loop it opens a session of its own when it first sends, which is closed when that loop shuts down. A
    borrowed session is never closed, and serves in one loop only.

    Raises:
        ValueError: The borrowed session has credentials of its own.
    """

    def __init__(self, options: TransportOptions, borrowed: aiohttp.ClientSession | None = None) -> None:
        self._options = options
        self._attempt_timeout = self._latest_timeout = self._client_timeout(options.attempt_timeout)
        if borrowed is not None and ("Authorization" in borrowed.headers or borrowed.auth is not None):
            raise ValueError("session must have no credentials of its own: they would go to the token endpoint")
        self._borrowed = borrowed
        # A session's own raise_for_status raises the error whose repr holds the bearer token.
        self._arguments: dict[str, Any] = {"allow_redirects": False, "proxy": None}
        if options.proxy is not None:
            self._arguments["proxy"] = options.proxy.reveal()
        if borrowed is not None:
            self._arguments |= {"middlewares": (_send_once,), "raise_for_status": False, "auto_decompress": True}
        if options.ssl_context is not None:
            self._arguments["ssl"] = options.ssl_context
        self._opened: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[aiohttp.ClientSession]]
        self._opened = weakref.WeakKeyDictionary()
        self._current: tuple[asyncio.AbstractEventLoop, aiohttp.ClientSession] | None = None
        self._process = os.getpid()
        self._closed = False

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: Deadline | None = None,
    ) -> Response:
        """Send one request, once, and read its whole answer.

        Raises:
            DeadlineExceededError: The deadline came first.
            TransportError: There is no whole answer; its kinds say why.
            RuntimeError: The transport is closed, or the borrowed session is closed or of another event loop.
        """
        session = await self._session()
        failure: ConnectorError
        timeout = self._attempt_timeout if deadline is None else self._timeout_until(deadline)
        try:
            # Not in `async with`, whose end costs a call 4 % more than this.
            response = await session.request(
                method, url, data=_payload(body), headers=headers, timeout=timeout, **self._arguments
            )
            try:
                return await self._read(response)
            finally:
                if not response.closed:  # its answer was not read to the end
                    response.close()
        except (aiohttp.ClientError, OSError) as error:
            failure = _failure(error)
            if isinstance(failure, RequestTimeoutError) and deadline is not None and _has_come(deadline):
                failure = DeadlineExceededError("the deadline came before a whole answer", sent=failure.sent)
        except asyncio.CancelledError:
            # aiohttp cancels those who wait for a connection when it closes; nobody cancelled the caller then.
            task = asyncio.current_task()
            if (task is not None and task.cancelling()) or not (self._closed or session.closed):
                raise
            failure = TransportError("the session was closed while it waited for a connection", sent=False)
        # Raised outside of the handler: the repr of aiohttp's errors may hold the headers of the request.
        raise failure

    def check_open(self) -> None:
        """Refuse further use once it is closed.

        Raises:
            RuntimeError: It is closed.
        """
        if self._closed:
            raise RuntimeError("the session is closed")

    async def aclose(self) -> None:
        """Close the sessions it opened. Closing again does nothing."""
        self._leave_to_parent()
        self._closed = True
        self._current = None
        here = asyncio.get_running_loop()
        while self._opened:
            loop, holder = self._opened.popitem()
            if loop is here:
                await holder.aclose()
            elif loop.is_running():  # in another thread
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_finish(holder), loop))

    async def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        current = self._current  # read once: a loop in another thread may replace it
        if current is not None and current[0] is loop:
            return current[1]
        self.check_open()
        self._leave_to_parent()
        if self._borrowed is None:
            session = await anext(self._opened.setdefault(loop, self._hold()))
        elif current is None:
            session = self._borrowed
        else:
            raise RuntimeError("the borrowed aiohttp session belongs to another event loop")
        self._current = (loop, session)
        return session

    def _leave_to_parent(self) -> None:
        """Keep what was opened before a fork, and never touch it: to close it here would disturb it there."""
        if self._process != os.getpid():
            _OPENED_BY_PARENT.append((self._opened, self._current))
            self._opened = weakref.WeakKeyDictionary()
            # Of a borrowed session the loop is still told from others.
            self._current = self._current if self._borrowed is not None else None
            self._process = os.getpid()

    def _timeout_until(self, deadline: Deadline) -> aiohttp.ClientTimeout:
        remaining = deadline.remaining()
        if remaining >= self._options.attempt_timeout:
            return self._attempt_timeout
        if remaining <= 0:  # which aiohttp would take for no timeout at all
            raise DeadlineExceededError("the deadline came before the request was sent", sent=False)
        # To build one anew costs 3 % of a call, and nearly all calls have just begun: with hundredths of a second one
        # serves them all.
        total = math.ceil(remaining * 100) / 100
        timeout = self._latest_timeout
        if timeout.total != total:
            timeout = self._latest_timeout = self._client_timeout(total)
        return timeout

    def _client_timeout(self, total: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=total,
            connect=max(total - _POOL_WAIT_MARGIN, total / 2),
            sock_connect=self._options.connect_timeout,
            ceil_threshold=math.inf,  # otherwise a total above 5 s is rounded up to whole seconds
        )

    async def _hold(self) -> AsyncGenerator[aiohttp.ClientSession]:
        """Yield a session, and close it when the generator is closed: at the latest when the loop shuts down."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._options.pool_size, keepalive_timeout=self._options.keepalive_timeout
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_SentOnceResponse,
        ) as session:
            while True:
                yield session

    async def _read(self, response: ClientResponse) -> Response:
        limit = self._options.max_body_size
        stream = response.content
        body = await stream.readany()
        size = len(body)
        if not stream.at_eof():
            chunks = [body]
            while size <= limit and (chunk := await stream.readany()):
                chunks.append(chunk)
                size += len(chunk)
            body = b"" if size > limit else b"".join(chunks)
        if size > limit:
            return Response(status=response.status, headers=response.headers, body=b"", oversized=True)
        return Response(status=response.status, headers=response.headers, body=body)


async def _finish(holder: AsyncGenerator[aiohttp.ClientSession]) -> None:
    await holder.aclose()


class _DroppedError(aiohttp.ClientError):
    """Stands for a dropped connection on its way through aiohttp, which sends again when it sees its own error."""


class _SentOnceResponse(ClientResponse):
    """Makes an attempt an attempt: aiohttp repeats a GET, PUT or DELETE by itself when the connection drops.

    In a session of our own this costs nothing, where a client middleware costs 3 % of the call.
    """

    async def start(self, connection: Any) -> ClientResponse:
        try:
            return await super().start(connection)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            raise _DroppedError from None


async def _send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Do what `_SentOnceResponse` does, for a borrowed session, whose response class is not ours to choose."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # refused: it never left, and aiohttp does not repeat it
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        raise _DroppedError from None


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp warns when it is handed more than 1 MiB of bytes.
    return body if body is None or len(body) <= _LARGE_BODY else io.BytesIO(body)


def _has_come(deadline: Deadline) -> bool:
    # The wait for a connection ends a little before.
    return deadline.remaining() <= _POOL_WAIT_MARGIN * 1.1


def _failure(error: Exception) -> TransportError:
    # Only what our own side knows is told: the text of other errors may hold the URL or what the server sent.
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return RequestTimeoutError("no connection in time", sent=False)
    if isinstance(error, TimeoutError):
        return RequestTimeoutError("no whole answer in time")
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectFailedError(str(error))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ConnectFailedError(f"the proxy answered {error.status}")
    if isinstance(error, aiohttp.ClientPayloadError):
        return TransportError("the answer was cut short or cannot be decompressed")
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportError("the answer is not valid HTTP")
    return TransportError("the connection was dropped before a whole answer")
