"""One attempt over aiohttp: a pool for each event loop, whole and capped responses, `TransportError` for its errors.

It knows neither tenants nor tokens nor when to retry.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import io
import os
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp
import attrs
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from multidict import CIMultiDict
from yarl import URL

from connector_async._checks import check_int, check_seconds, check_type, validator
from connector_async._clock import Deadline
from connector_async.auth import Secret
from connector_async.exceptions import (
    ConnectFailedError,
    ConnectorError,
    DeadlineExceededError,
    InvalidArgumentError,
    RequestTimeoutError,
    TransportError,
)
from connector_async.protocol import Response

from .client_request import DirectRequest, copy_headers_at_once
from .pool import CheckedConnector, NotConnectedError, mark_never_connected, never_connected
from .timeouts import Timeout, Timeouts

_LARGE_BODY: Final = 1024 * 1024
_LONGEST_CLOSING: Final = 1.0
_HAS_SWITCH: Final = "_retry_connection" in aiohttp.ClientSession.ATTRS
"""Whether aiohttp's sessions can be kept from repeating a GET, PUT or DELETE when the connection drops."""
# Sessions of the process that forked. They are kept: garbage collection would close them, and the epoll of their event
# loops is shared with that process.
_OPENED_BY_PARENT: Final[list[object]] = []


def _seconds() -> Any:
    return attrs.field(validator=validator(check_seconds, above_zero=True))


@attrs.frozen(eq=False, repr=False, kw_only=True)
class TransportOptions:
    """How to connect and how long to wait.

    Raises:
        ValueError: If a number is not above zero, or not finite. The message names the option.
        TypeError: If an option has another type. The message names the option.
    """

    connect_timeout: float = _seconds()
    """Seconds for the TCP and TLS handshakes with one address."""
    attempt_timeout: float = _seconds()
    """Seconds for one attempt, from the wait for a connection to the last byte of the response."""
    keepalive_timeout: float = _seconds()
    """Seconds that an idle connection stays in the pool."""
    pool_size: int = attrs.field(validator=validator(check_int))
    """Most connections at a time in each event loop."""
    max_body_size: int = attrs.field(validator=validator(check_int))
    """Most bytes of a response body, after decompression."""
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, validator=validator(check_type, ssl.SSLContext, optional=True)
    )
    """The trusted authorities and the client certificate. `None`: the machine's authorities."""
    proxy: Secret | None = None
    """The URL of a forward proxy, which may hold user information. `None`: no proxy, whatever the environment says."""


@attrs.define(eq=False, repr=False)
class _Opened:
    """The aiohttp session of one event loop, with its timeouts."""

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    timeouts: Timeouts
    guard: AsyncGenerator[None, None] | None = None
    """Closes the session when the loop shuts down its asynchronous generators, as `asyncio.run` does at its end."""
    closing: asyncio.Task[None] | None = None
    closed: "concurrent.futures.Future[None]" = attrs.field(factory=concurrent.futures.Future)
    """Done when the session is closed. Other event loops wait for it."""


class Transport:
    """Sends requests. It may be built outside an event loop, and used from several, also at once in threads.

    In each loop the first request opens an aiohttp session, which is closed when the loop shuts down. A borrowed
    session is never closed, and works in one loop only. Its idle connections are not checked before reuse.

    Raises:
        ValueError: If the borrowed session has credentials of its own.
    """

    def __init__(self, options: TransportOptions, borrowed: aiohttp.ClientSession | None = None) -> None:
        self._options = options
        if borrowed is not None and ("Authorization" in borrowed.headers or borrowed.auth is not None):
            raise InvalidArgumentError(
                "session must have no credentials of its own: the token endpoint would get them", argument="session"
            )
        self._borrowed = borrowed
        self._arguments: dict[str, Any] = {"allow_redirects": False, "proxy": None}
        if options.proxy is not None:
            self._arguments["proxy"] = options.proxy.reveal()
        if borrowed is not None:
            self._arguments |= {
                "middlewares": (_send_once,),
                "raise_for_status": False,  # the repr of the error that it raises holds the bearer token
                "auto_decompress": True,
                "timeout": self._timeout(),
            }
        if options.ssl_context is not None:
            self._arguments["ssl"] = options.ssl_context
        self._opened: dict[asyncio.AbstractEventLoop, _Opened] = {}
        self._current: _Opened | None = None
        self._process = os.getpid()
        self.closed = False
        """Whether `aclose` was called. Every later `send` raises."""

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
            TransportError: If there is no whole response. The subclasses say why.
            RuntimeError: If the transport is closed, or the borrowed session is closed or of another event loop.
        """
        opened = self._current  # read once: a loop in another thread may replace it
        if opened is None or opened.loop is not asyncio.get_running_loop():
            opened = await self._open()
        failure: ConnectorError
        seconds, is_deadline = self._time_limit(deadline)
        timeout = Timeout(opened.timeouts, seconds)
        arguments = self._arguments
        # The context manager that aiohttp's `request` returns costs 3 % of a call. aioresponses replaces `_request`.
        request: Callable[..., Awaitable[ClientResponse]] = opened.session._request  # noqa: SLF001
        if self._borrowed is not None:
            request = self._borrowed.request
            if self._borrowed.trust_env:
                headers, arguments = _hide_from_netrc(headers, arguments)
        # aiohttp warns about more than 1 MiB of bytes.
        data = body if body is None or len(body) <= _LARGE_BODY else io.BytesIO(body)
        try:
            with timeout:
                response = await request(method, url, data=data, headers=headers, **arguments)
                try:
                    return await self._read(response)
                finally:
                    if not response.closed:  # its body was not read to the end
                        response.close()
        except (aiohttp.ClientError, OSError) as error:
            failure = _transport_error(error)
            if self.closed or opened.session.closed:
                failure = TransportError("the session was closed before a whole response", sent=failure.sent)
            elif timeout.has_expired and is_deadline:
                failure = DeadlineExceededError("the deadline expired before a whole response", sent=failure.sent)
        except asyncio.CancelledError:
            # When aiohttp closes, it cancels the requests that wait for a connection, although no task was cancelled.
            task = asyncio.current_task()
            if (task is not None and task.cancelling()) or not (self.closed or opened.session.closed):
                raise
            failure = TransportError("the session was closed while it waited for a connection", sent=False)
        # Raised outside the handler and without these locals: the repr of aiohttp's errors may hold the headers of the
        # request, and error reporters read the locals of a traceback.
        del headers, arguments, body, data
        raise failure

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops in which it has sessions that it opened."""
        return list(self._opened)

    async def aclose(self) -> None:
        """Close the sessions that it opened, within a second. Closing again does nothing."""
        self._set_aside_after_fork()
        self.closed = True
        self._current = None
        current = self._opened.get(asyncio.get_running_loop())
        others = [opened for opened in list(self._opened.values()) if opened is not current]
        closing = [asyncio.wrap_future(opened.closed) for opened in others if self._start_closing(opened)]
        if current is not None:
            await self._close(current)
            if current.guard is not None:
                await current.guard.aclose()
        if closing:
            await asyncio.wait(closing, timeout=_LONGEST_CLOSING)

    async def _open(self) -> _Opened:
        """Return the aiohttp session of the running event loop, which becomes the current one."""
        if self.closed:
            raise RuntimeError("the session is closed")
        loop = asyncio.get_running_loop()
        self._set_aside_after_fork()
        if self._borrowed is None:
            opened = self._opened.get(loop) or await self._open_in(loop)
        elif self._current is None:
            opened = _Opened(loop, self._borrowed, Timeouts(loop))
        else:
            raise RuntimeError("the borrowed aiohttp session belongs to another event loop")
        self._current = opened
        return opened

    async def _open_in(self, loop: asyncio.AbstractEventLoop) -> _Opened:
        for closed_loop in [other for other in list(self._opened) if other.is_closed()]:
            self._opened.pop(closed_loop, None)  # it was closed without `shutdown_asyncgens`
        connector = CheckedConnector(limit=self._options.pool_size, keepalive_timeout=self._options.keepalive_timeout)
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout(),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=DirectRequest,
            middlewares=() if _HAS_SWITCH else (_send_once,),
        )
        if _HAS_SWITCH:
            session._retry_connection = False  # noqa: SLF001
        copy_headers_at_once(session)
        opened = _Opened(loop, session, Timeouts(loop))
        opened.guard = self._close_on_shutdown(opened)
        await anext(opened.guard)  # registers it with the loop
        self._opened[loop] = opened
        return opened

    async def _close_on_shutdown(self, opened: _Opened) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._opened.pop(opened.loop, None)
            if self._current is opened:
                self._current = None
            await self._close(opened)

    async def _close(self, opened: _Opened) -> None:
        """Close a session of this event loop. It may be called several times, also at once."""
        if opened.closed.done():
            return
        if opened.closing is None or opened.closing.done():  # a loop that ends cancels tasks before they start
            opened.closing = asyncio.create_task(opened.session.close(), name="connector_async closing")
        try:
            # With a timeout, since it waits for a server that does not read what was sent to it.
            await asyncio.wait([opened.closing], timeout=_LONGEST_CLOSING)
        finally:
            opened.closing.cancel()
            opened.timeouts.end_all()
            if opened.session.closed and not opened.closed.done():
                opened.closed.set_result(None)

    def _start_closing(self, opened: _Opened) -> bool:
        """Start to close a session in the loop of another thread, and return whether that loop is running.

        A loop that ends meanwhile closes the session by itself.
        """

        def start() -> None:
            tasks.append(opened.loop.create_task(self._close(opened), name="connector_async closing"))

        tasks: list[asyncio.Task[None]] = []
        opened.closed.add_done_callback(lambda _: tasks.clear())  # a loop holds its tasks weakly
        with contextlib.suppress(RuntimeError):  # the loop is closed by now
            if opened.loop.is_running():
                opened.loop.call_soon_threadsafe(start)
                return True
        return False

    def _set_aside_after_fork(self) -> None:
        """In a forked child, set aside the parent's sessions: closing them here would disturb the parent."""
        if self._process != os.getpid():
            _OPENED_BY_PARENT.append((self._opened, self._current))
            self._opened = {}
            # For a borrowed session, `_current` still says which loop it belongs to.
            self._current = self._current if self._borrowed is not None else None
            self._process = os.getpid()

    def _time_limit(self, deadline: Deadline | None) -> tuple[float, bool]:
        """Return the seconds that an attempt may take, and whether the deadline sets them."""
        timeout = self._options.attempt_timeout
        if deadline is None:
            return timeout, False
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineExceededError("the deadline expired before the request was sent", sent=False)
        return (remaining, True) if remaining <= timeout else (timeout, False)

    def _timeout(self) -> aiohttp.ClientTimeout:
        # `Timeout` bounds an attempt. Above `ceil_threshold` aiohttp would round up to whole seconds.
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
    """A dropped connection, as an error that aiohttp does not know: after its own errors it would send again."""


async def _send_once(
    request: ClientRequest, handler: ClientHandlerType, authorization: str | None = None
) -> ClientResponse:
    """Send a request once, and mark failures to connect: a client middleware, which costs 3 % of a call.

    Borrowed sessions need it. Sessions of our own need it only if aiohttp has no switch (`_HAS_SWITCH`): their
    `CheckedConnector` marks failures to connect.

    Args:
        request: The request of aiohttp.
        handler: Obtains a connection and sends the request.
        authorization: The `Authorization` header to send instead of aiohttp's, which may be from a netrc file. Empty:
            send none. `None`: keep aiohttp's.
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
        raise  # it was not sent, and aiohttp does not repeat it
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        failure = _DroppedError() if is_connected else NotConnectedError()
    except BaseException as error:
        if not is_connected:
            mark_never_connected(error)
        raise
    finally:
        del request.send
    raise failure


def _hide_from_netrc(
    headers: Mapping[str, str], arguments: Mapping[str, Any]
) -> tuple[Mapping[str, str], dict[str, Any]]:
    """Return headers and arguments for a session with `trust_env`, which looks for credentials of the host in netrc.

    aiohttp rejects a request that has an `Authorization` header besides those credentials. So a middleware sets or
    removes the header after aiohttp has looked.
    """
    other_headers = CIMultiDict(headers)
    authorization = other_headers.pop("Authorization", "")
    return other_headers, {**arguments, "middlewares": (functools.partial(_send_once, authorization=authorization),)}


def _transport_error(error: Exception) -> TransportError:
    # Messages of aiohttp that may hold the URL or data of the server are not passed on.
    is_unsent = isinstance(error, aiohttp.ConnectionTimeoutError) or never_connected(error)
    if isinstance(error, TimeoutError):
        return RequestTimeoutError(f"no {'connection' if is_unsent else 'whole response'} in time", sent=not is_unsent)
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectFailedError(f"no connection to {error.host}:{error.port}: {_connect_reason(error)}")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ConnectFailedError(f"the proxy returned {error.status}")
    if is_unsent:
        return ConnectFailedError("the connection was lost before the request was sent")
    if isinstance(error, aiohttp.ClientPayloadError):
        return TransportError("the response was cut short or cannot be decompressed")
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportError("the response is not valid HTTP")
    return TransportError("the connection was dropped before a whole response")


def _connect_reason(error: aiohttp.ClientConnectorError) -> str:
    """Return why a connection could not be made, in the words of the system rather than those of aiohttp."""
    cause = error.os_error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "it does not fit the host"
        return f"the certificate was rejected: {reason}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {(getattr(cause, 'reason', None) or 'no reason is known').replace('_', ' ').lower()}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the host is not known: {cause.strerror or 'its name cannot be resolved'}"
    return os.strerror(cause.errno) if cause.errno else "it could not be made"
