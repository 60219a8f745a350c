"""The operations of a service with the status and the headers of the response beside the result."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import attrs

from connector_async.protocol import reduced
from connector_async.retry import last_call

if TYPE_CHECKING:
    from .service import AppointmentService

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class RawResponse(Generic[T]):
    """The result of an operation, and what its last response says beside the body."""

    result: T
    """What the operation returns."""
    status: int | None
    """The HTTP status code. `None` if there was no response, and the `verify` of a create found the appointment."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The headers of a 2xx response; empty after another status. Names are matched without regard to case."""
    request_id: str | None
    """The server's id of the request, to quote to its support. `None`: the server sent none."""
    attempts: int
    """The number of attempts."""
    elapsed: float
    """Seconds from the start of the call to its end, by the monotonic clock."""

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)


class RawResponses:
    """The operations of a service, with the same arguments and errors. Each returns a `RawResponse` of its result."""

    def __init__(self, service: "AppointmentService") -> None:
        self.get = _with_response(service.get)
        self.create = _with_response(service.create)
        self.update = _with_response(service.update)
        self.delete = _with_response(service.delete)


def _with_response(operation: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
    async def call(*args: P.args, **kwargs: P.kwargs) -> RawResponse[T]:
        try:
            result = await operation(*args, **kwargs)
        finally:
            del args, kwargs  # every error has this frame in its traceback
        record = last_call.get()
        return RawResponse(
            result=result,
            status=record.status,
            headers=record.headers,
            request_id=record.request_id,
            attempts=record.attempts,
            elapsed=record.elapsed or 0.0,
        )

    return call
