"""How to find out whether a create with a lost response has happened."""

import inspect
import math
from collections.abc import Callable, Container, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from connector_async._checks import check_seconds
from connector_async.exceptions import DeadlineExceededError
from connector_async.models import Appointment, NewAppointment
from connector_async.pagination import AsyncPager

_SHORTEST_DEADLINE: Final = 1e-9
_ONE_SECOND: Final = timedelta(seconds=1)
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


class SupportsPreview(Protocol):
    """The part of an `AppointmentService` that `found_by_preview` uses."""

    async def sleep(self, seconds: float) -> None:
        """Wait by the session's clock."""
        ...

    @property
    def deadline(self) -> float | None:
        """Seconds for each call. `None`: no limit."""
        ...

    def preview(self, start: datetime | None = None, end: datetime | None = None) -> AsyncPager[Appointment]:
        """Return the appointments that overlap the time from `start` to `end`."""
        ...


Verify = Callable[[Any, NewAppointment], Coroutine[Any, Any, Appointment | None]]
"""Finds out whether a create has happened. It is called with the service and the draft. The deadline of the service is
the rest of the create's deadline. It returns the created appointment, or `None` if there is none. A `ConnectorError`
leaves the outcome unknown."""


class found_by_preview:  # noqa: N801 - it is used like a function
    """A `verify` for `create`: looks in the preview for an appointment of the same title, start and end.

    Several appointments may have the same title, start and end. The ids in `known`, and the appointments that the same
    instance has found before, are skipped. So use one instance for a batch, and add the ids of existing appointments
    and of each created one to the set that is passed as `known`.

    It has limits:

    - It does not know whether the server is still processing the lost request. It waits for `grace` seconds. If the
      server is slower, the appointment is created a second time.
    - It does not know who created an equal appointment. One of another client, or of a concurrent create that has not
      returned yet, is taken for the one that was created.
    - It compares exactly. If the server changes a title or a time, for example by cutting fractions of a second, the
      appointment is not found, and created a second time.
    - It sees only what the preview shows. A preview that lags behind for longer than `grace`, or that omits
      appointments, misleads it.

    Args:
        grace: Seconds to wait before the preview is requested.
        known: The ids of appointments to skip. The container is read at each call.

    Raises:
        ValueError: If `grace` is negative or not finite.
        TypeError: If `grace` is not a number, or `known` is not a container.
    """

    def __init__(self, *, grace: float = 2.0, known: Container[str] = ()) -> None:
        self.grace = check_seconds("grace", grace)
        if not isinstance(known, Container) or isinstance(known, str | bytes | bytearray):
            raise TypeError(f"known must be a container of ids, not {type(known).__name__}")
        self._known = known
        self._found: set[str] = set()

    async def __call__(self, service: SupportsPreview, new: NewAppointment) -> Appointment | None:
        """Return the appointment that was created from `new`, or `None`; see `Verify`.

        Raises:
            DeadlineExceededError: If the grace ends after the deadline. It is raised without waiting.
            ConnectorError: If the preview fails.
        """
        if service.deadline is not None and service.deadline <= self.grace:
            raise DeadlineExceededError("the grace ends after the deadline", sent=False)
        await service.sleep(self.grace)
        # An appointment without duration does not overlap a range that ends when it starts.
        end = new.end_time + min(_ONE_SECOND, _END_OF_TIME - new.end_time)
        async for appointment in service.preview(new.start_time, end):
            skip = appointment.appointment_id in self._found or appointment.appointment_id in self._known
            if not skip and _is_equal(appointment, new):
                self._found.add(appointment.appointment_id)
                return appointment
        return None


def check_verify(verify: Verify) -> None:
    """Reject a `verify` that could not be called and awaited.

    A plain function is accepted, since it may return the coroutine of another function. Only a call would show that.

    Raises:
        TypeError: If `verify` is a class, cannot be called, or is an async generator function.
    """
    if isinstance(verify, type):  # a class can be called, but would fail only after a response was lost
        raise TypeError("verify must be an instance, such as found_by_preview(), not a class")
    if not callable(verify):
        raise TypeError(f"verify must be callable, such as found_by_preview(), or None, not {type(verify).__name__}")
    if inspect.isasyncgenfunction(verify):
        raise TypeError("verify must return an appointment: it must not be an async generator function")


def _is_equal(appointment: Appointment, new: NewAppointment) -> bool:
    return (appointment.title, appointment.start_time, appointment.end_time) == (
        new.title,
        new.start_time,
        new.end_time,
    )


class SupportsVerify(SupportsPreview, Protocol):
    """The part of an `AppointmentService` that `bind_verify` uses."""

    def with_options(self, *, deadline: float) -> SupportsPreview:
        """Return the service with another deadline."""
        ...


def bind_verify(
    service: SupportsVerify, verify: Verify | None, new: NewAppointment
) -> Callable[[float | None], Coroutine[Any, Any, Appointment | None]] | None:
    """Return a function that takes the remaining seconds of the create, and calls `verify` with them as its deadline.

    It returns `None` if `verify` is `None`.

    Raises:
        TypeError: If `verify` is a class, cannot be called, or is an async generator function.
    """
    if verify is None:
        return None
    check_verify(verify)

    async def look(remaining: float | None) -> Appointment | None:
        # A deadline must be positive. If no time is left, the first wait ends the call.
        deadline = math.inf if remaining is None else max(remaining, _SHORTEST_DEADLINE)
        return await verify(service.with_options(deadline=deadline), new)

    return look
