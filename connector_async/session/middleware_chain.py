"""One attempt with middleware or telemetry around it. A session without either does not come here.

It knows what may have been sent, so that no error of a middleware makes a write look repeatable.
"""

import asyncio
import functools
from collections.abc import Awaitable, Mapping

import attrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from connector_async._clock import Deadline, is_cancelled
from connector_async.exceptions import ConnectorError, DeadlineExceededError, TransportError
from connector_async.protocol import Response
from connector_async.retry import IDEMPOTENT_METHODS, is_refusal, may_have_happened

from .middleware import Middleware, OutgoingRequest
from .pool import never_connected
from .request_sender import RequestSender
from .tenant import Tenant


@attrs.frozen(eq=False, repr=False)
class MiddlewareChain:
    """The middleware and the telemetry of a session, around the sender of one tenant.

    The telemetry is innermost, in `Tenant.transmit`: it sees each request that is sent, a replay after a 401 included.
    """

    middlewares: tuple[Middleware, ...]
    sender: RequestSender
    tenant: Tenant

    async def send(
        self, request: OutgoingRequest, url: URL, deadline: Deadline | None, *, idempotent: bool | None
    ) -> Response:
        """Make one attempt, and return its response of any status, or the one that a middleware returns instead.

        Args:
            request: The request.
            url: Its URL.
            deadline: When the attempt must have ended.
            idempotent: Whether the request may be repeated although it may have been processed; `None`: as its method
                says.

        Raises:
            DeadlineExceededError: If the deadline expires first.
            TransportError: If a request that is not idempotent may have been processed, and a middleware raised.
            ConnectorError: What the sender or a middleware raises. Its `sent` says what happened in this attempt.
            TypeError: If a middleware does not return a response, or passes on something else than a request.
            Exception: What a middleware raises otherwise.
        """
        if idempotent is None:
            idempotent = request.method in IDEMPOTENT_METHODS
        return await _Attempt(self, request, url, deadline, idempotent).make()


@attrs.define(eq=False, repr=False)
class _Attempt:
    _chain: MiddlewareChain
    _request: OutgoingRequest
    _url: URL
    _deadline: Deadline | None
    _is_idempotent: bool
    _sent: int = 0
    """The number of requests that were sent. One in flight counts: a middleware need not wait for it."""
    _unrefused: int = 0
    """The number of them that may have been processed: the server has not refused them."""
    _has_ended: bool = False

    async def make(self) -> Response:
        failure: Exception
        try:
            return await self._run_middlewares()
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            failure = RuntimeError("a middleware was cancelled, although the call was not")
        except ConnectorError as error:
            error.sent = self._unrefused > 0 or (self._sent > 0 and error.sent)
            if not self._unrefused or may_have_happened(error):
                raise
            failure = error
        except Exception as error:  # noqa: BLE001 - raised below
            failure = error
        finally:
            self._has_ended = True
        if self._unrefused and not self._is_idempotent:
            # Otherwise a bulk would report that it can be repeated.
            raise TransportError("a middleware raised after the request was sent") from failure
        raise failure

    async def _run_middlewares(self) -> Response:
        if not self._chain.middlewares:
            return await self._send(self._request)
        if self._deadline is None:
            return await self._call(0, self._request)
        limit = asyncio.timeout(self._deadline.remaining())
        try:
            async with limit:
                return await self._call(0, self._request)
        except TimeoutError:  # errors of this package and of the middleware can be timeouts, too
            if not limit.expired():
                raise
        raise DeadlineExceededError("the deadline expired in a middleware")

    async def _call(self, index: int, request: OutgoingRequest) -> Response:
        """Call the middleware at an index, or send the request after the last one."""
        self._check_request(request)
        if index == len(self._chain.middlewares):
            return await self._send(request)
        middleware = self._chain.middlewares[index]
        returned = middleware(request, functools.partial(self._call, index + 1))
        if not isinstance(returned, Awaitable):
            raise TypeError(f"the middleware {_name(middleware)} must be an async callable")
        response = await returned
        if not isinstance(response, Response):
            raise TypeError(f"the middleware {_name(middleware)} must return a Response, not {type(response).__name__}")
        # Otherwise the error would come when the status is judged, without what is known of the request.
        if not (isinstance(response.status, int) and isinstance(response.headers, Mapping)):
            raise TypeError(f"the middleware {_name(middleware)} must return a Response with an int and a mapping")
        if isinstance(response.headers, CIMultiDict | CIMultiDictProxy):
            return response
        return attrs.evolve(response, headers=CIMultiDict(response.headers))  # a dict would hide a "retry-after"

    def _check_request(self, request: OutgoingRequest) -> None:
        if request is self._request:
            return
        if not isinstance(request, OutgoingRequest):
            raise TypeError(f"call_next must get an OutgoingRequest, not {type(request).__name__}")
        if _fixed(request) != _fixed(self._request):
            raise TypeError("call_next must get the request with other headers or another body only")

    async def _send(self, request: OutgoingRequest) -> Response:
        return await self._chain.sender.send(
            request.method,
            self._url,
            request.body,
            self._deadline,
            request.headers,
            functools.partial(self._transmit, request),
        )

    async def _transmit(
        self,
        request: OutgoingRequest,
        _: str,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes | None,
        deadline: Deadline | None,
    ) -> Response:
        """Send a request that has its token and its slot, and note whether it was sent.

        Raises:
            RuntimeError: If the attempt has ended. What it has reported would not hold any more.
        """
        if self._has_ended:
            raise RuntimeError("call_next must not be called when the middleware has ended")
        self._sent += 1
        self._unrefused += 1
        try:
            response = await self._chain.tenant.transmit(request, url, headers, body, deadline)
        except ConnectorError as error:
            self._sent -= not error.sent
            self._unrefused -= not may_have_happened(error)
            raise
        except BaseException as error:
            if never_connected(error):
                self._sent -= 1
                self._unrefused -= 1
            raise
        self._unrefused -= is_refusal(response.status)
        return response


def _fixed(request: OutgoingRequest) -> tuple[object, ...]:
    """Return what a middleware cannot change."""
    return request.method, request.url, request.template, request.tenant_id, request.operation, request.attempt


def _name(middleware: Middleware) -> str:
    return getattr(middleware, "__qualname__", type(middleware).__qualname__)
