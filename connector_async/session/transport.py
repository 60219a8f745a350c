"""One attempt over aiohttp: a pool for each event loop, whole and capped answers, aiohttp's errors as `TransportError`.

It knows neither tenants nor tokens nor when to send again.
"""

import asyncio
import io
import math
import os
import weakref
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import aiohttp
import attrs
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from connector_async.deadline import Deadline
from connector_async.exceptions import (
    ConnectFailedError,
    ConnectorError,
    DeadlineExceededError,
    RequestTimeoutError,
    TransportError,
)
from connector_async.protocol import Response

from .timeouts import Timeout, Timeouts
from .transport_options import TransportOptions

# A wait for a connection ends this much before the attempt does. Were both to end at once, aiohttp would tell of the
# attempt, and nobody could say that the request never left.
_POOL_WAIT_MARGIN: Final = 0.01
_LARGE_BODY: Final = 1024 * 1024
_LONGEST_CLOSING: Final = 1.0
# The epoll of an event loop is shared with the process that forked, and what is collected as garbage is closed.
_OPENED_BY_PARENT: Final[list[object]] = []


@attrs.frozen
class _Opened:
    """What there is for one event loop."""

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    timeouts: Timeouts


class Transport:
    """Sends. It may be built outside of an event loop, and used from several, also at once in threads.

    In each loop it opens a session of its own when it first sends, which is closed when that loop shuts down. A
    borrowed session is never closed, and serves in one loop only.

    Raises:
        ValueError: The borrowed session has credentials of its own.
    """

    def __init__(self, options: TransportOptions, borrowed: aiohttp.ClientSession | None = None) -> None:
        self._options = options
        self._latest_timeout = (-math.inf, aiohttp.ClientTimeout())
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
        self._holders: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[_Opened]]
        self._holders = weakref.WeakKeyDictionary()
        self._current: _Opened | None = None
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
        opened = await self._open()
        failure: ConnectorError
        seconds = self._seconds_until(deadline)
        try:
            with Timeout(opened.timeouts, seconds):
                # Not in `async with`, whose end costs a call 4 % more than this.
                response = await opened.session.request(
                    method,
                    url,
                    data=_payload(body),
                    headers=headers,
                    timeout=self._client_timeout(seconds),
                    **self._arguments,
                )
                try:
                    return await self._read(response)
                finally:
                    if not response.closed:  # its answer was not read to the end
                        response.close()
        except (aiohttp.ClientError, OSError) as error:
            failure = _failure(error)
            if isinstance(failure, RequestTimeoutError) and opened.session.closed:
                failure = TransportError("the session was closed before a whole answer", sent=failure.sent)
            elif isinstance(failure, RequestTimeoutError) and deadline is not None and _has_come(deadline):
                failure = DeadlineExceededError("the deadline came before a whole answer", sent=failure.sent)
        except asyncio.CancelledError:
            # aiohttp cancels those who wait for a connection when it closes; nobody cancelled the caller then.
            task = asyncio.current_task()
            if (task is not None and task.cancelling()) or not (self._closed or opened.session.closed):
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
        while self._holders:
            loop, holder = self._holders.popitem()
            if loop is here:
                await holder.aclose()
            elif loop.is_running():  # in another thread
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_finish(holder), loop))

    async def _open(self) -> _Opened:
        loop = asyncio.get_running_loop()
        current = self._current  # read once: a loop in another thread may replace it
        if current is not None and current.loop is loop:
            return current
        self.check_open()
        self._leave_to_parent()
        if self._borrowed is None:
            opened = await anext(self._holders.setdefault(loop, self._hold()))
        elif current is None:
            opened = _Opened(loop, self._borrowed, Timeouts(loop))
        else:
            raise RuntimeError("the borrowed aiohttp session belongs to another event loop")
        self._current = opened
        return opened

    def _leave_to_parent(self) -> None:
        """Keep what was opened before a fork, and never touch it: to close it here would disturb it there."""
        if self._process != os.getpid():
            _OPENED_BY_PARENT.append((self._holders, self._current))
            self._holders = weakref.WeakKeyDictionary()
            # Of a borrowed session the loop is still told from others.
            self._current = self._current if self._borrowed is not None else None
            self._process = os.getpid()

    def _seconds_until(self, deadline: Deadline | None) -> float:
        longest = self._options.attempt_timeout
        if deadline is None:
            return longest
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineExceededError("the deadline came before the request was sent", sent=False)
        return min(remaining, longest)

    def _client_timeout(self, seconds: float) -> aiohttp.ClientTimeout:
        # To build one anew costs 3 % of a call. Nearly all calls have just begun, and one serves them all.
        pool_wait, timeout = self._latest_timeout
        if not _POOL_WAIT_MARGIN <= seconds - pool_wait <= 2 * _POOL_WAIT_MARGIN:
            pool_wait = max(seconds - _POOL_WAIT_MARGIN, seconds / 2)
            timeout = aiohttp.ClientTimeout(
                total=None,
                connect=pool_wait,
                sock_connect=self._options.connect_timeout,
                ceil_threshold=math.inf,  # otherwise what is above 5 s is rounded up to whole seconds
            )
            self._latest_timeout = pool_wait, timeout
        return timeout

    async def _hold(self) -> AsyncGenerator[_Opened]:
        """Yield what one event loop has, and close it with the generator: at the latest when the loop shuts down."""
        loop = asyncio.get_running_loop()
        timeouts = Timeouts(loop)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._options.pool_size, keepalive_timeout=self._options.keepalive_timeout
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_SentOnceResponse,
        )
        try:
            while True:
                yield _Opened(loop, session, timeouts)
        finally:
            closing = asyncio.create_task(session.close(), name="connector_async closing")
            try:
                # It does not end while a server does not take what was sent to it.
                await asyncio.wait([closing], timeout=_LONGEST_CLOSING)
            finally:
                closing.cancel()
                timeouts.end_all()

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


async def _finish(holder: AsyncGenerator[_Opened]) -> None:
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
