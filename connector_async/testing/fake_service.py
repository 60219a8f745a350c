"""`FakeAppointmentService`: the real service and the real session, over a transport that responds from memory."""

from collections import deque
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, NamedTuple, Self, TypeVar

import attrs

from connector_async._checks import check_type
from connector_async._clock import Clock, Deadline
from connector_async.appointments import AppointmentService
from connector_async.appointments.calls import CreateCall, DeleteCall, GetCall, UpdateCall
from connector_async.appointments.listing import Overlap, PageCall
from connector_async.appointments.request_call import RequestCall
from connector_async.auth import StaticToken
from connector_async.exceptions import InvalidArgumentError
from connector_async.models import AppointmentUpdate, DirectoryUser, NewAppointment
from connector_async.rate_limit import RateLimit
from connector_async.retry import Call, CallRecord, RetryPolicy
from connector_async.session import ConnectorSession
from connector_async.session.transport import Transport
from connector_async.wire import WireFormat

from .memory_transport import MemoryTransport
from .virtual_clock import VirtualClock

T = TypeVar("T")

_BASE_URL: Final = "https://fake.invalid"
_OPERATIONS: Final = ("get", "create", "update", "delete", "preview", "request")
_ONE_ATTEMPT: Final = RetryPolicy(attempts=1)


class FakeCall(NamedTuple):
    """A call that was made. It is equal to a plain tuple, such as `("get", "1")`."""

    operation: str
    """`get`, `create`, `update`, `delete`, `preview`, or `request` for any endpoint."""
    argument: (
        str | NewAppointment | AppointmentUpdate | tuple[datetime | None, datetime | None] | tuple[str, str] | None
    )
    """The id of a `get` or a `delete`, the model of a `create` or an `update`, the start and the end of a `preview`, or
    the method and the path of a `request`."""


class FakeAppointmentService(AppointmentService):
    """An `AppointmentService` for unit tests, which keeps the appointments in memory and opens no connection.

    It is the real service over a real session. Only the transport is replaced, so arguments are checked, bodies encoded
    and decoded, pages walked, and bulk calls made as with a server. Ids are "1", "2", and so on. Waits take no time,
    there is no rate limit, and nothing has to be closed.

    `session.for_tenant(…)` has calendars of its own in the same memory. Services that are built on it, or on `session`,
    are real ones: they neither record calls nor fail on request.

    Args:
        tenant_id: The tenant.
        wire_format: The format of the bodies.
        user: The owner of the appointments. `WireFormat.REFERENCE` needs one, `WireFormat.GUIDE` has none.
        retry: As of `AppointmentService`.
        deadline: As of `AppointmentService`.
        clock: The clock of the session. `None`: a `VirtualClock`.

    Raises:
        ValueError: If an argument breaks its rule. The message names both.
        TypeError: If an argument has another type. The message names it.
    """

    def __init__(
        self,
        *,
        tenant_id: str = "acme",
        wire_format: WireFormat = WireFormat.GUIDE,
        user: DirectoryUser | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        session = _MemorySession(
            _BASE_URL,
            tenant_id=tenant_id,
            auth=StaticToken("fake"),
            wire_format=wire_format,
            rate_limit=RateLimit.unlimited(),
            clock=VirtualClock() if clock is None else clock,
        )
        super().__init__(session, user=user, retry=retry, deadline=deadline)
        self.calls: list[FakeCall] = []
        """The calls so far, in the order in which they were made; one for each page of a preview. Calls with an invalid
        argument are not among them."""
        self._failures: deque[_Failure] = deque()

    def fail_next(self, *errors: Exception, operation: str | None = None, applied: bool = False) -> None:
        """Let calls fail. Each error is raised by one call, the next one that matches, without a retry.

        Args:
            errors: The errors, in the order in which they are raised.
            operation: The operation that fails, such as `get`, or `request` for any endpoint. `None`: any.
            applied: Whether the operation takes effect all the same, as when its response is lost.

        Raises:
            ValueError: If `operation` is not one of the six.
            TypeError: If an error is not an instance of `Exception`.
        """
        if operation not in (None, *_OPERATIONS):
            raise InvalidArgumentError(f"operation must be one of {', '.join(_OPERATIONS)}", argument="operation")
        for error in errors:
            check_type("errors", error, Exception)
        self._failures += [_Failure(error, operation, applied) for error in errors]

    def with_options(
        self,
        *,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a fake with the same appointments, calls and failures; see `AppointmentService.with_options`."""
        real = super().with_options(retry=retry, deadline=deadline, headers=headers)
        fake = type(self).__new__(type(self))
        fake.__dict__ |= real.__dict__ | {"calls": self.calls, "_failures": self._failures}
        return fake

    def _make(self, call: Call[T], retry: RetryPolicy | None, deadline: float | None) -> Awaitable[T]:
        failure = next((failure for failure in self._failures if failure.operation in (None, call.operation)), None)
        if failure is None:
            made = super()._make(call, retry, deadline)
        else:
            check_type("retry", retry, RetryPolicy, optional=True)
            made = super()._make(_FailingCall(call, failure), _ONE_ATTEMPT, deadline)
            self._failures.remove(failure)
        self.calls.append(FakeCall(call.operation, _argument(call)))
        return made


class _MemorySession(ConnectorSession):
    _transport: ClassVar[type[Transport]] = MemoryTransport


@attrs.frozen(eq=False)
class _Failure:
    error: Exception
    operation: str | None
    applied: bool


@attrs.frozen
class _FailingCall(Generic[T]):
    _call: Call[T]
    _failure: _Failure

    @property
    def operation(self) -> str:
        return self._call.operation

    @property
    def idempotent(self) -> bool:
        return self._call.idempotent

    async def attempt(self, deadline: Deadline | None, record: CallRecord) -> T:
        if self._failure.applied:
            await self._call.attempt(deadline, record)
        raise self._failure.error


def _argument(call: Call[Any]) -> Any:
    match call:
        case GetCall() | DeleteCall():
            return call.appointment_id
        case CreateCall():
            return call._new  # noqa: SLF001 - of this package
        case UpdateCall():
            return call._update  # noqa: SLF001 - of this package
        case PageCall(operation="preview"):
            keeps = call.listing.keeps
            return (keeps.start, keeps.end) if isinstance(keeps, Overlap) else (None, None)
        case PageCall():
            return "GET", call.listing.endpoint.shown
        case RequestCall():
            return call.method, call.endpoint.shown
        case _:
            return None
