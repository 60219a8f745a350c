"""Whether a create whose answer was lost has happened: how to look, without the service that looks."""

import inspect
import math
from collections.abc import Callable, Container, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from connector_async._checks import check_seconds
from connector_async.exceptions import DeadlineExceededError
from connector_async.models import Appointment, NewAppointment
from connector_async.pagination import AsyncPager

_INSTANT: Final = 1e-9
_MOMENT: Final = timedelta(seconds=1)
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


class Previewing(Protocol):
    """What `found_by_preview` needs of an `AppointmentService`."""

    async def sleep(self, seconds: float) -> None:
        """Wait by the session's clock."""
        ...

    @property
    def deadline(self) -> float | None:
        """Seconds for each call; `None`: as long as it takes."""
        ...

    def preview(self, start: datetime | None = None, end: datetime | None = None) -> AsyncPager[Appointment]:
        """Return what overlaps the time from `start` to `end`."""
        ...


Verify = Callable[[Any, NewAppointment], Coroutine[Any, Any, Appointment | None]]
"""Looks whether a create has happened: called with the service, whose deadline is what is left of the call's, and with
what was to be created; returns it with its id, or `None` when it is not there. To raise a `ConnectorError` means that
it cannot tell."""


class found_by_preview:  # noqa: N801 - it is used as a function is
    """Looks in the preview for an appointment of the same title, start and end, as `verify` of `create`.

    Several of the same title, start and end are told apart by their ids: one that is `known`, or was found before by
    the same instance, is not the one that is looked for. So use one instance for a batch, and add the ids of what is
    there already, and of what each create returns, to the set that is handed in as `known`.

    What it cannot know:

    - whether the server is still at work on the lost request: it waits for `grace` seconds and takes what is not there
      by then for not created. A server that is slower than that creates it a second time.
    - whose an equal appointment is that another client created meanwhile, or another task of this one whose create has
      not returned yet: it is taken for the one that is looked for.
    - that an appointment is the same when the server changes a title or a time that it stores, as by cutting off
      fractions of a second: then it is not found, and created a second time.
    - what the preview does not show: one that lags behind for longer than `grace`, or leaves appointments out.

    Args:
        grace: Seconds to wait before it looks.
        known: The ids of appointments that are not the one that is looked for; it is asked anew each time.

    Raises:
        ValueError: `grace` is negative or not finite.
        TypeError: `grace` is no number, or `known` no container.
    """

    def __init__(self, *, grace: float = 2.0, known: Container[str] = ()) -> None:
        self.grace = check_seconds("grace", grace)
        if not isinstance(known, Container) or isinstance(known, str | bytes | bytearray):
            raise TypeError(f"known must be a container of ids, not {type(known).__name__}")
        self._known = known
        self._found: set[str] = set()

    async def __call__(self, service: Previewing, new: NewAppointment) -> Appointment | None:
        """Return the appointment that `new` became, or `None`; see `Verify`.

        Raises:
            DeadlineExceededError: The grace ends after the deadline; it was not waited for.
            ConnectorError: The preview failed.
        """
        if service.deadline is not None and service.deadline <= self.grace:
            raise DeadlineExceededError("the grace ends after the deadline", sent=False)
        await service.sleep(self.grace)
        # What ends as it begins overlaps no time that ends then.
        end = new.end_time + min(_MOMENT, _END_OF_TIME - new.end_time)
        async for appointment in service.preview(new.start_time, end):
            taken = appointment.appointment_id in self._found or appointment.appointment_id in self._known
            if not taken and _is_equal(appointment, new):
                self._found.add(appointment.appointment_id)
                return appointment
        return None


def check_verify(verify: Verify) -> None:
    """Raise when `verify` cannot look for what a create has made.

    A plain function may return the coroutine of another one: only a call would tell, when the answer is lost.

    Raises:
        TypeError: It is a class, cannot be called, or is an async generator function.
    """
    if isinstance(verify, type):  # it can be called, and would raise when it is too late
        raise TypeError("verify must be an instance, such as found_by_preview(), not a class")
    if not callable(verify):
        raise TypeError(f"verify must be callable, such as found_by_preview(), or None, not {type(verify).__name__}")
    if inspect.isasyncgenfunction(verify):
        raise TypeError("verify must return what it finds: it must not be an async generator function")


def _is_equal(appointment: Appointment, new: NewAppointment) -> bool:
    return (appointment.title, appointment.start_time, appointment.end_time) == (
        new.title,
        new.start_time,
        new.end_time,
    )


class Verifying(Previewing, Protocol):
    """What `look_with` needs of an `AppointmentService`."""

    def with_options(self, *, deadline: float) -> Previewing:
        """Return the same with a deadline of its own."""
        ...


def look_with(
    service: Verifying, verify: Verify | None, new: NewAppointment
) -> Callable[[float | None], Coroutine[Any, Any, Appointment | None]] | None:
    """Return what asks `verify` within so many seconds, `None` being any number; `None` when there is no `verify`.

    Raises:
        TypeError: See `check_verify`.
    """
    if verify is None:
        return None
    check_verify(verify)

    async def look(remaining: float | None) -> Appointment | None:
        # What is left may be nothing: then the first thing that has to wait ends it.
        left = math.inf if remaining is None else max(remaining, _INSTANT)
        return await verify(service.with_options(deadline=left), new)

    return look
