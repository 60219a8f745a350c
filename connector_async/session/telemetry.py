"""Telemetry: what watches the calls and requests of a session. It sees a request, but never its token.

Whatever a telemetry raises is logged, and reaches no call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

from connector_async import _log
from connector_async._clock import is_cancelled
from connector_async._tracebacks import drop_frames
from connector_async.exceptions import TransportError
from connector_async.protocol import Response

from .middleware import CallNext, OutgoingRequest


@runtime_checkable
class Telemetry(Protocol):
    """Watches a session. `connector_async.otel.OpenTelemetry` is one.

    Errors of its own are logged. They change nothing of the calls and requests.
    """

    def call(self, operation: str, tenant_id: str) -> AbstractContextManager[object]:
        """Return a context manager around one call of a service. At its end, `last_call` has the call's record."""
        ...

    async def request(self, request: OutgoingRequest, call_next: CallNext) -> Response:
        """Send one request by `call_next`, which takes no rate-limit slot: the request has it already.

        Each attempt, replay after a 401 and token request comes here. The body of a token request is not shown.
        """
        ...

    def waited(self, tenant_id: str, seconds: float) -> None:
        """Note that a request waited for its rate-limit slot."""
        ...


@contextmanager
def watching_call(telemetry: Telemetry, operation: str, tenant_id: str) -> Iterator[None]:
    """Watch one call of a service, which the block makes."""
    watch: AbstractContextManager[object] | None = None
    with _logging_errors():
        watch = telemetry.call(operation, tenant_id)
        watch.__enter__()
    try:
        yield
    except BaseException as error:
        if watch is not None:
            with _logging_errors():
                watch.__exit__(type(error), error, error.__traceback__)
        raise
    if watch is not None:
        with _logging_errors():
            watch.__exit__(None, None, None)


async def watched_request(
    telemetry: Telemetry, request: OutgoingRequest, send: Callable[[OutgoingRequest], Awaitable[Response]]
) -> Response:
    """Send a request once, with the telemetry around it, and return its response.

    Raises:
        BaseException: What `send` raises.
    """
    sending = _Sending(send)
    try:
        await telemetry.request(request, sending)
    except (Exception, asyncio.CancelledError) as error:
        if error is not sending.failure:
            if is_cancelled():
                raise
            if sending.failure is not None:
                drop_frames(sending.failure)  # it may be the context of this error, and its frames have the token
            _log.hook_failure("telemetry", error)
    if not sending.has_started:
        return await send(request)
    return sending.result()


def note_wait(telemetry: Telemetry, tenant_id: str, seconds: float) -> None:
    """Pass on that a request waited for its rate-limit slot."""
    with _logging_errors():
        telemetry.waited(tenant_id, seconds)


class _Sending:
    """Sends a request once, as the `call_next` of a telemetry, and keeps what came of it."""

    def __init__(self, send: Callable[[OutgoingRequest], Awaitable[Response]]) -> None:
        self._send = send
        self.has_started = False
        self.response: Response | None = None
        self.failure: BaseException | None = None

    async def __call__(self, request: OutgoingRequest) -> Response:
        if self.has_started:
            raise RuntimeError("a telemetry must call call_next once")
        self.has_started = True
        try:
            self.response = await self._send(request)
        except BaseException as error:
            self.failure = error
            raise
        return self.response

    def result(self) -> Response:
        """Return the response, or raise what sending has raised.

        Raises:
            TransportError: If the telemetry has not waited for the response.
        """
        if self.response is not None:
            return self.response
        try:
            raise self.failure or TransportError("the telemetry did not wait for the response")
        finally:
            self.failure = None  # a cycle


@contextmanager
def _logging_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the telemetry's
        _log.hook_failure("telemetry", error)
