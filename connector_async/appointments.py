"""`AppointmentService`: the operations on appointments as coroutines.

It knows the guide's paths and what an answer means for each operation; how a request is sent is the session's.
"""

import functools
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from .exceptions import ConnectorError, DecodingError, NotFoundError, OutcomeUnknownError, ResponseError, TransportError
from .models import UNSET, Appointment, AppointmentUpdate, DirectoryUser, NewAppointment, Unset
from .pagination import AsyncPager, Page
from .protocol import Response, check_appointment_id, request_id
from .session import ConnectorSession

P = ParamSpec("P")
T = TypeVar("T")

_APPOINTMENT: Final = ("appointment",)
_PREVIEW: Final = ("appointment", "preview")


def _recorded(operation: "_Operation[P, T]") -> "_Operation[P, T]":
    """Write into every error of the tree that leaves `operation` what it took."""

    @functools.wraps(operation)
    async def record(self: "AppointmentService", /, *args: P.args, **kwargs: P.kwargs) -> T:
        started_at = self.session.clock.monotonic()
        try:
            return await operation(self, *args, **kwargs)
        except ConnectorError as error:
            if error.attempts is None:
                error.attempts = int(error.sent)
            error.elapsed = self.session.clock.monotonic() - started_at
            raise

    return record


class AppointmentService:
    """The appointments of a session's tenant.

    Each coroutine raises an error of the `ConnectorError` tree for whatever the network or the server does, with the
    attempts and the seconds it took, and `ValueError` or `TypeError` for a bad argument before anything is sent.

    Args:
        session: Sends the requests; it is not closed with the service, which has nothing to close.
        user: Whose appointments are meant; `WireFormat.REFERENCE` needs one, `WireFormat.GUIDE` carries none.

    Raises:
        ValueError: `user` is missing or too much for the session's wire format.
        TypeError: An argument is of another type.
    """

    def __init__(self, session: ConnectorSession, *, user: DirectoryUser | None = None) -> None:
        if not isinstance(session, ConnectorSession):
            raise TypeError(f"session must be a ConnectorSession, not {type(session).__name__}")
        if user is not None and not isinstance(user, DirectoryUser):
            raise TypeError(f"user must be a DirectoryUser or None, not {type(user).__name__}")
        self.session = session
        """What sends the requests."""
        self.user = user
        """Whose appointments are meant; `None` where the wire format carries no user."""
        self._user_fields = session.wire_format.user_fields(user)

    def __repr__(self) -> str:
        return f"AppointmentService({self.session!r})"

    @_recorded
    async def get(self, appointment_id: str) -> Appointment:
        """Return one appointment.

        Raises:
            NotFoundError: There is none with that id.
            DecodingError: The answer is no appointment.
            ConnectorError: Any other failure; see the tree in `connector_async.exceptions`.
            ValueError: `appointment_id` is empty, `.`, `..`, or not printable.
        """
        query = {"appointmentId": check_appointment_id(appointment_id), **self._user_fields}
        response = await self.session.request("GET", _APPOINTMENT, query=query)
        if not response.body and "Content-Encoding" not in response.headers:
            # Some servers say so instead of 404 (contract, open point 4). What was compressed may have been cut.
            path = self.session.quoted_path(_APPOINTMENT)
            raise NotFoundError(
                f"GET {path} answered {response.status} with an empty body",
                status=response.status,
                method="GET",
                path=path,
                request_id=request_id(response.headers),
            )
        return self._decode(response, lambda body: self._structure(body, Appointment))

    @_recorded
    async def create(self, new: NewAppointment) -> Appointment:
        """Create an appointment and return it with its id: what the answer leaves out is taken from `new`.

        Raises:
            OutcomeUnknownError: It was sent, and nothing tells whether it happened: the answer was lost, late or cut,
                or a status that does not refuse. Those that do are 4xx, 501, 307, 308, and 503 with `Retry-After`.
            InvalidRequestError: The server refuses it.
            DecodingError: It was created, and the answer has no id or is malformed.
            ConnectorError: Any other failure, after which nothing was created.
            ValueError: The wire format does not carry a field that is set.
            TypeError: `new` is no `NewAppointment`.
        """
        if not isinstance(new, NewAppointment):
            raise TypeError(f"new must be a NewAppointment, not {type(new).__name__}")
        wire_format, zone = self.session.wire_format, self.session.assume_zone
        try:
            response = await self.session.request("POST", _APPOINTMENT, body=wire_format.unstructure(new, self.user))
        except (ResponseError, TransportError) as error:
            if not _leaves_outcome_open(error):
                raise
            raise OutcomeUnknownError(
                "the create was sent, and its outcome is unknown", status=getattr(error, "status", None)
            ) from error
        return self._decode(response, lambda body: wire_format.structure_created(body, new, zone))

    @_recorded
    async def update(
        self,
        appointment_id: str,
        *,
        title: str | Unset = UNSET,
        start_time: datetime | Unset = UNSET,
        end_time: datetime | Unset = UNSET,
        description: str | Unset | None = UNSET,
        description_type: str | Unset = UNSET,
        time_zone: str | Unset = UNSET,
        extra: Mapping[str, Any] | None = None,
        read_first: bool = False,
    ) -> Appointment | None:
        """Change the given fields of an appointment, and send no others, but for the type of a text.

        The fields are those of `AppointmentUpdate`. With `read_first` the appointment is got first, and what it has is
        sent along with the given fields: for servers whose PUT replaces the whole (contract, open point 9). What
        others change in between is overwritten.

        Returns:
            The appointment as the server then has it; `None` when its answer holds none.

        Raises:
            NotFoundError: There is none with that id.
            InvalidRequestError: The server refuses the change.
            DecodingError: It was changed, and the answer is malformed.
            ConnectorError: Any other failure; see the tree in `connector_async.exceptions`.
            ValueError: Nothing is given, or a value breaks a rule of `AppointmentUpdate`.
        """
        update = AppointmentUpdate(
            appointment_id=check_appointment_id(appointment_id),
            title=title,
            start_time=start_time,
            end_time=end_time,
            description=description,
            description_type=description_type,
            time_zone=time_zone,
            **({} if extra is None else {"extra": extra}),
        )
        wire_format, zone = self.session.wire_format, self.session.assume_zone
        body = wire_format.unstructure(update, self.user)
        if read_first:
            body = wire_format.unstructure_over(await self.get(appointment_id), update, self.user)
        response = await self.session.request("PUT", _APPOINTMENT, body=body)
        return self._decode(response, lambda body: wire_format.structure_updated(body, zone))

    @_recorded
    async def delete(self, appointment_id: str) -> None:
        """Delete an appointment.

        Raises:
            NotFoundError: There is none with that id.
            ConnectorError: Any other failure; see the tree in `connector_async.exceptions`.
            ValueError: `appointment_id` is empty, `.`, `..`, or not printable.
        """
        body = self.session.wire_format.unstructure_id(check_appointment_id(appointment_id), self.user)
        # The answer is a confirmation of unstated shape (contract, "Appointments"): its status says all.
        await self.session.request("DELETE", _APPOINTMENT, body=body)

    def preview(self, start: datetime | None = None, end: datetime | None = None) -> AsyncPager[Appointment]:
        """Return the tenant's appointments that overlap the time from `start` (included) to `end` (excluded).

        The guide's preview takes no parameters: the server sends all, and what overlaps is kept here. The reference's
        takes both ends.

        Args:
            start: Aware; `None`: from the beginning of time, with `WireFormat.GUIDE` alone.
            end: Aware, not before `start`; `None`: to its end, with `WireFormat.GUIDE` alone.

        Returns:
            A pager that sends nothing before its first item is asked for. It raises what `get` raises.

        Raises:
            ValueError: A date-time is naive, `end` is before `start`, or the wire format needs the one that is `None`.
            TypeError: One is no date-time.
        """
        _check_aware("start", start)
        _check_aware("end", end)
        if start is not None and end is not None and end < start:
            raise ValueError("end must not be before start")
        query = self.session.wire_format.preview_query(self.user, start, end)
        return AsyncPager(functools.partial(self._fetch_preview, query, start, end))

    @_recorded
    async def _fetch_preview(
        self, query: Mapping[str, str], start: datetime | None, end: datetime | None
    ) -> Page[Appointment]:
        response = await self.session.request("GET", _PREVIEW, query=query or None)
        appointments = self._decode(response, lambda body: self._structure(body, list[Appointment]))
        return Page(items=[appointment for appointment in appointments if _overlaps(appointment, start, end)])

    def _structure(self, body: bytes, type_: type[T]) -> T:
        return self.session.wire_format.structure(body, type_, self.session.assume_zone)

    def _decode(self, response: Response, structure: Callable[[bytes], T]) -> T:
        try:
            return structure(response.body)
        except DecodingError as error:
            error.request_id = request_id(response.headers)
            raise


_Operation = Callable[Concatenate[AppointmentService, P], Coroutine[Any, Any, T]]


def _leaves_outcome_open(error: ResponseError | TransportError) -> bool:
    if not error.sent or not isinstance(error, ResponseError):
        return error.sent
    refused = 400 <= error.status < 500 or error.status == 501
    throttled = error.status == 503 and error.retry_after is not None
    elsewhere = error.status in {307, 308}  # RFC 9110, section 15.4: the same request is wanted at another place
    return not (refused or throttled or elsewhere)


def _overlaps(appointment: Appointment, start: datetime | None, end: datetime | None) -> bool:
    begins_in_time = end is None or appointment.start_time < end
    # One without duration that begins at `start` lies in it, although it does not end after it.
    return begins_in_time and (start is None or appointment.end_time > start or appointment.start_time == start)


def _check_aware(name: str, value: datetime | None) -> None:
    if value is None:
        return
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(f"{name} must be aware: it has no time zone")
