"""One attempt over aiohttp: a pool for each event loop, whole and capped responses, `TransportError` for its errors.

It knows neither tenants nor tokens nor when to send again.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import io
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import aiohttp
import attrs
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from multidict import CIMultiDict
from yarl import URL

from connector_async._clock import Deadline
from connector_async.exceptions import (
    ConnectFailedError,
    ConnectorError,
    DeadlineExceededError,
    RequestTimeoutError,
    TransportError,
)
from connector_async.protocol import Response

from .pool import CheckedConnector, NotConnectedError, mark_never_connected, never_connected
from .timeouts import Timeout, Timeouts
from .transport_options import TransportOptions

_LARGE_BODY: Final = 1024 * 1024
_LONGEST_CLOSING: Final = 1.0
# The epoll of an event loop is shared with the process that forked, and what is collected as garbage is closed.
_OPENED_BY_PARENT: Final[list[object]] = []


@attrs.define(eq=False)
class _Opened:
    """What there is for one event loop."""

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    timeouts: Timeouts
    guard: AsyncGenerator[None, None] | None = None
    """Closes the session when the loop shuts down its asynchronous generators, as `asyncio.run` does at its end."""
    closing: asyncio.Task[None] | None = None
    closed: "concurrent.futures.Future[None]" = attrs.field(factory=concurrent.futures.Future)
    """For those who wait in another loop."""


class Transport:
    """Sends. It may be built outside of an event loop, and used from several, also at once in threads.

    In each loop it opens a session of its own when it first sends, which is closed when that loop shuts down. A
    borrowed session is never closed, and serves in one loop only; its idle connections are not checked before reuse.

    Raises:
        ValueError: If the borrowed session has credentials of its own.
    """

    def __init__(self, options: TransportOptions, borrowed: aiohttp.ClientSession | None = None) -> None:
        self._options = options
        if borrowed is not None and ("Authorization" in borrowed.headers or borrowed.auth is not None):
            raise ValueError("session must have no credentials of its own: they would go to the token endpoint")
        self._borrowed = borrowed
        # A session's own raise_for_status raises the error whose repr holds the bearer token.
        self._arguments: dict[str, Any] = {"allow_redirects": False, "proxy": None}
        if options.proxy is not None:
            self._arguments["proxy"] = options.proxy.reveal()
        if borrowed is not None:
            self._arguments |= {
                "middlewares": (_send_once,),
                "raise_for_status": False,
                "auto_decompress": True,
                "timeout": self._timeout(),
            }
        if options.ssl_context is not None:
            self._arguments["ssl"] = options.ssl_context
        self._opened: dict[asyncio.AbstractEventLoop, _Opened] = {}
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
        """Send one request, once, and read its whole response.

        Raises:
            DeadlineExceededError: If the deadline expires first.
            TransportError: If there is no whole response; its kinds say why.
            RuntimeError: If the transport is closed, or the borrowed session is closed or of another event loop.
        """
        opened = await self._open()
        failure: ConnectorError
        seconds, is_deadline = self._seconds_left(deadline)
        timeout = Timeout(opened.timeouts, seconds)
        arguments = self._arguments
        if self._borrowed is not None and self._borrowed.trust_env:
            headers, arguments = _hidden_from_netrc(headers, arguments)
        try:
            with timeout:
                # Not in `async with`, whose end costs a call 4 % more than this.
                response = await opened.session.request(method, url, data=_payload(body), headers=headers, **arguments)
                try:
                    return await self._read(response)
                finally:
                    if not response.closed:  # it was not read to the end
                        response.close()
        except (aiohttp.ClientError, OSError) as error:
            failure = _failure(error)
            if self._closed or opened.session.closed:
                failure = TransportError("the session was closed before a whole response", sent=failure.sent)
            elif timeout.has_expired and is_deadline:
                failure = DeadlineExceededError("the deadline expired before a whole response", sent=failure.sent)
        except asyncio.CancelledError:
            # aiohttp cancels those who wait for a connection when it closes; nobody cancelled the caller then.
            task = asyncio.current_task()
            if (task is not None and task.cancelling()) or not (self._closed or opened.session.closed):
                raise
            failure = TransportError("the session was closed while it waited for a connection", sent=False)
        # Raised outside of the handler, from a frame without them: the repr of aiohttp's errors may hold the headers of
        # the request, and error reporters read the locals of a traceback.
        del headers, arguments, body
        raise failure

    def check_open(self) -> None:
        """Raise if it is closed.

        Raises:
            RuntimeError: If it is closed.
        """
        if self._closed:
            raise RuntimeError("the session is closed")

    async def aclose(self) -> None:
        """Close the sessions that it opened, within a second. Closing again does nothing."""
        self._leave_to_parent()
        self._closed = True
        self._current = None
        here = self._opened.get(asyncio.get_running_loop())
        elsewhere = [opened for opened in list(self._opened.values()) if opened is not here]
        waiting = [asyncio.wrap_future(opened.closed) for opened in elsewhere if self._close_from_afar(opened)]
        if here is not None:
            await self._close(here)
            if here.guard is not None:
                await here.guard.aclose()
        if waiting:
            await asyncio.wait(waiting, timeout=_LONGEST_CLOSING)

    async def _open(self) -> _Opened:
        loop = asyncio.get_running_loop()
        current = self._current  # read once: a loop in another thread may replace it
        if current is not None and current.loop is loop:
            return current
        self.check_open()
        self._leave_to_parent()
        if self._borrowed is None:
            opened = self._opened.get(loop) or await self._open_in(loop)
        elif current is None:
            opened = _Opened(loop, self._borrowed, Timeouts(loop))
        else:
            raise RuntimeError("the borrowed aiohttp session belongs to another event loop")
        self._current = opened
        return opened

    async def _open_in(self, loop: asyncio.AbstractEventLoop) -> _Opened:
        for finished in [other for other in list(self._opened) if other.is_closed()]:
            self._opened.pop(finished, None)  # it was closed without `shutdown_asyncgens`
        connector = CheckedConnector(limit=self._options.pool_size, keepalive_timeout=self._options.keepalive_timeout)
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout(),
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_SentOnceResponse,
        )
        opened = _Opened(loop, session, Timeouts(loop))
        opened.guard = self._close_at_the_end(opened)
        await anext(opened.guard)  # from here on the loop knows it
        self._opened[loop] = opened
        return opened

    async def _close_at_the_end(self, opened: _Opened) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._opened.pop(opened.loop, None)
            if self._current is opened:
                self._current = None
            await self._close(opened)

    async def _close(self, opened: _Opened) -> None:
        """Close what is open in this event loop; it may be called several times, also at once."""
        if opened.closed.done():
            return
        if opened.closing is None or opened.closing.done():  # a loop that ends cancels what has not started
            opened.closing = asyncio.create_task(opened.session.close(), name="connector_async closing")
        try:
            # It does not end while a server does not take what was sent to it.
            await asyncio.wait([opened.closing], timeout=_LONGEST_CLOSING)
        finally:
            opened.closing.cancel()
            opened.timeouts.end_all()
            if opened.session.closed and not opened.closed.done():
                opened.closed.set_result(None)

    def _close_from_afar(self, opened: _Opened) -> bool:
        """Start to close what is open in the loop of another thread; return whether that loop was there to do so.

        A loop that ends meanwhile closes it by itself.
        """

        def start() -> None:
            tasks.append(opened.loop.create_task(self._close(opened), name="connector_async closing"))

        tasks: list[asyncio.Task[None]] = []
        opened.closed.add_done_callback(lambda _: tasks.clear())  # a loop holds its tasks weakly
        with contextlib.suppress(RuntimeError):  # it is closed by now
            if opened.loop.is_running():
                opened.loop.call_soon_threadsafe(start)
                return True
        return False

    def _leave_to_parent(self) -> None:
        """Keep what was opened before a fork, and never touch it: to close it here would disturb it there."""
        if self._process != os.getpid():
            _OPENED_BY_PARENT.append((self._opened, self._current))
            self._opened = {}
            # Of a borrowed session the loop is still told from others.
            self._current = self._current if self._borrowed is not None else None
            self._process = os.getpid()

    def _seconds_left(self, deadline: Deadline | None) -> tuple[float, bool]:
        """Return how long an attempt may take, and whether it is the deadline that ends it then."""
        longest = self._options.attempt_timeout
        if deadline is None:
            return longest, False
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineExceededError("the deadline expired before the request was sent", sent=False)
        return (remaining, True) if remaining <= longest else (longest, False)

    def _timeout(self) -> aiohttp.ClientTimeout:
        # `Timeout` ends an attempt. Above `ceil_threshold` aiohttp rounds up to whole seconds.
        return aiohttp.ClientTimeout(
            total=None, sock_connect=self._options.connect_timeout, ceil_threshold=float("inf")
        )

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


async def _send_once(
    request: ClientRequest, handler: ClientHandlerType, authorization: str | None = None
) -> ClientResponse:
    """Do for a borrowed session what `_SentOnceResponse` and `CheckedConnector` do, but for the check of its pool.

    Args:
        request: What aiohttp is about to send.
        handler: Obtains a connection and sends it.
        authorization: The `Authorization` header in place of what aiohttp found in a netrc file; `None`: as it is,
            empty: none.
    """
    if authorization is not None:
        request.headers.popall("Authorization", None)
        if authorization:
            request.headers["Authorization"] = authorization
    is_connected = False
    send = request.send

    async def send_on(connection: Any) -> ClientResponse:
        nonlocal is_connected
        is_connected = True
        return await send(connection)

    request.send = send_on  # type: ignore[assignment,method-assign]
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise  # it never left, and aiohttp does not repeat it
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        failure = _DroppedError() if is_connected else NotConnectedError()
    except BaseException as error:
        if not is_connected:
            mark_never_connected(error)
        raise
    finally:
        del request.send
    raise failure


def _hidden_from_netrc(
    headers: Mapping[str, str], arguments: Mapping[str, Any]
) -> tuple[Mapping[str, str], dict[str, Any]]:
    """Return both for a session that trusts the environment: aiohttp looks there for credentials of the host.

    It does so unless it is handed some, and refuses a request that has an `Authorization` header beside what it finds.
    So the header is set, or removed, when aiohttp has done so.
    """
    others = CIMultiDict(headers)
    authorization = others.pop("Authorization", "")
    return others, {**arguments, "middlewares": (functools.partial(_send_once, authorization=authorization),)}


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp warns when it is handed more than 1 MiB of bytes.
    return body if body is None or len(body) <= _LARGE_BODY else io.BytesIO(body)


def _failure(error: Exception) -> TransportError:
    # Only what our own side knows is told: the text of other errors may hold the URL or what the server sent.
    is_unsent = isinstance(error, aiohttp.ConnectionTimeoutError) or never_connected(error)
    if isinstance(error, TimeoutError):
        return RequestTimeoutError(f"no {'connection' if is_unsent else 'whole response'} in time", sent=not is_unsent)
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectFailedError(str(error))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ConnectFailedError(f"the proxy answered {error.status}")
    if is_unsent:
        return ConnectFailedError("the connection was lost before the request was sent")
    if isinstance(error, aiohttp.ClientPayloadError):
        return TransportError("the response was cut short or cannot be decompressed")
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportError("the response is not valid HTTP")
    return TransportError("the connection was dropped before a whole response")
