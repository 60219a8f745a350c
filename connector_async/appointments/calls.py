"""The calls of four operations: the request that each sends (the guide's paths), and what its response means.

When to retry is decided elsewhere. `listing` has the calls that read pages, and `request_call` that of any endpoint.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from connector_async import _log
from connector_async._checks import check_appointment_id, check_type
from connector_async._clock import Deadline, is_cancelled
from connector_async.exceptions import (
    ConnectorError,
    DeadlineExceededError,
    DecodingError,
    NotFoundError,
    OutcomeUnknownError,
    ResponseError,
    TransportError,
)
from connector_async.models import Appointment, AppointmentUpdate, NewAppointment
from connector_async.protocol import Response
from connector_async.retry import CallRecord, may_have_happened

from .context import APPOINTMENT, NO_CONTENT, CallContext

Look = Callable[[float | None], Awaitable[Appointment | None]]
"""Looks for the appointment of a create with an unknown outcome, within a number of seconds."""

_LONGEST_ID: Final = 256


class GetCall:
    """Reads one appointment: `GET /appointment`."""

    operation = "get"
    idempotent = True

    def __init__(self, context: CallContext, appointment_id: str) -> None:
        self._context = context
        self.appointment_id = appointment_id
        self._query = {"appointmentId": appointment_id, **context.user_fields}

    async def attempt(self, deadline: Deadline | None, record: CallRecord) -> Appointment:
        """Send the request, and return the appointment."""
        context = self._context
        response = await context.request("GET", APPOINTMENT, record, deadline, query=self._query)
        record.note(response)
        if not response.body:
            _check_found(context, response)
        return context.wire_format.structure(response.body, Appointment, context.zone)


class CreateCall:
    """Creates an appointment: `POST /appointment`. If the response is lost, it looks for the appointment.

    Args:
        new: The appointment to create.
        look: Looks for the appointment. `None`: the outcome stays unknown.
        unavailable_means_refused: Whether 503 with `Retry-After` refuses it.

    Raises:
        ValueError: If the wire format does not carry a field that is set.
    """

    operation = "create"
    idempotent = False

    def __init__(
        self, context: CallContext, new: NewAppointment, look: Look | None, *, unavailable_means_refused: bool
    ) -> None:
        self._context = context
        self._new = new
        self._body = context.wire_format.unstructure(new, context.user)
        self._look = look
        self._unavailable_means_refused = unavailable_means_refused

    async def attempt(self, deadline: Deadline | None, record: CallRecord) -> Appointment:
        """Send the request, and return the appointment with its id."""
        try:
            response = await self._context.request("POST", APPOINTMENT, record, deadline, body=self._body)
        except (ResponseError, TransportError, DeadlineExceededError) as error:
            if not may_have_happened(error, unavailable_means_refused=self._unavailable_means_refused):
                raise
            record.note_failure(error)
            failure = error
        else:
            record.note(response)
            return self._read(response)
        return await self._look_for_created(failure, deadline)

    def _read(self, response: Response) -> Appointment:
        """Return the appointment that was created. Whatever is wrong with the response, it was created.

        Raises:
            DecodingError: If the response has no id or is malformed. The error has the id if the body has one.
        """
        context = self._context
        try:
            return context.wire_format.structure_created(response.body, self._new, context.zone)
        except DecodingError as error:
            error.appointment_id = self._read_id(response.body)
            raise
        except Exception as failure:  # noqa: BLE001 - any other error would mean that nothing was created
            problem = f"$: {type(failure).__name__} while decoding"
        # Raised outside the handler: the caught error may hold values.
        raise DecodingError(
            "the body cannot be decoded", problems=[problem], appointment_id=self._read_id(response.body)
        )

    def _read_id(self, body: bytes) -> str | None:
        """Return the valid appointment id at the top of a body or in an envelope, or `None` if there is none."""
        try:
            parsed = self._context.wire_format.parse(body)
            candidates = [parsed, *parsed.values()] if isinstance(parsed, dict) else [{"appointmentId": parsed}]
            ids = [
                candidate["appointmentId"]
                for candidate in candidates
                if isinstance(candidate, dict) and "appointmentId" in candidate
            ]
            value = str(ids[0]) if type(ids[0]) is int else ids[0]
            return check_appointment_id(value) if len(value) <= _LONGEST_ID else None
        except Exception:  # noqa: BLE001 - then there is none
            return None

    async def _look_for_created(self, failure: ConnectorError, deadline: Deadline | None) -> Appointment:
        """Return the appointment that a create with an unknown outcome has created.

        Raises:
            OutcomeUnknownError: If nothing looks for it, or the look fails or does not find it.
        """
        found, absent = None, False
        if self._look is not None:
            remaining = None if deadline is None else deadline.remaining()
            try:
                async with asyncio.timeout(remaining):
                    found = await self._look(remaining)
                    absent = found is None
                if not isinstance(found, Appointment | None):
                    raise TypeError(f"verify must return an Appointment or None, not {type(found).__name__}")
            except (ConnectorError, TimeoutError):
                pass  # the outcome stays unknown
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                _log.hook_failure("verify", error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the create may have happened
                found = None
                _log.hook_failure("verify", error)
        if found is not None:
            return found
        raise OutcomeUnknownError(
            "the create was sent, and its outcome is unknown", status=getattr(failure, "status", None), absent=absent
        ) from failure


class UpdateCall:
    """Changes an appointment: `PUT /appointment`.

    Args:
        update: The fields to change.
        read_first: Whether to read the appointment first, and send all its fields along with the changes.

    Raises:
        ValueError: If the wire format does not carry a field that is set.
        TypeError: If `read_first` is not a bool.
    """

    operation = "update"
    idempotent = True

    def __init__(self, context: CallContext, update: AppointmentUpdate, *, read_first: bool) -> None:
        check_type("read_first", read_first, bool)
        self._context = context
        self._update = update
        self._read_first = read_first
        self._changes = context.wire_format.unstructure(update, context.user)

    async def attempt(self, deadline: Deadline | None, record: CallRecord) -> Appointment | None:
        """Send the request, and return the changed appointment if the response has it."""
        context = self._context
        body = await self._merged_body(deadline, record) if self._read_first else self._changes
        response = await context.request("PUT", APPOINTMENT, record, deadline, body=body)
        record.note(response)
        return context.wire_format.structure_updated(response.body, context.zone)

    async def _merged_body(self, deadline: Deadline | None, record: CallRecord) -> bytes:
        """Read the appointment, and return the body of all its fields with the changes."""
        context = self._context
        query = {"appointmentId": self._update.appointment_id, **context.user_fields}
        try:
            response = await context.request("GET", APPOINTMENT, record, deadline, query=query)
            record.note(response)
            if not response.body:
                _check_found(context, response)
            return context.wire_format.unstructure_over(response.body, self._update, context.user, context.zone)
        except ConnectorError as error:
            error.sent = False  # the update was not
            raise


class DeleteCall:
    """Deletes an appointment: `DELETE /appointment`. After an attempt that may have done so, 404 is a success."""

    operation = "delete"
    idempotent = True

    def __init__(self, context: CallContext, appointment_id: str) -> None:
        self._context = context
        self.appointment_id = appointment_id
        self._body = context.wire_format.unstructure_id(appointment_id, context.user)
        self._may_be_deleted = False

    async def attempt(self, deadline: Deadline | None, record: CallRecord) -> None:
        """Send the request."""
        try:
            # The body confirms the deletion in an unspecified form (contract, "Appointments"). The status is enough.
            response = await self._context.request("DELETE", APPOINTMENT, record, deadline, body=self._body)
        except ConnectorError as error:
            if isinstance(error, NotFoundError) and self._may_be_deleted:
                record.note_failure(error)
                return
            self._may_be_deleted = self._may_be_deleted or may_have_happened(error)
            raise
        record.note(response)


def _check_found(context: CallContext, response: Response) -> None:
    """Raise `NotFoundError` for a 2xx response without a body, which some servers send instead of 404.

    See the contract, open point 4. A response that announces a compressed body is left to the decoder, which rejects
    it: its body may have been cut off.

    Raises:
        NotFoundError: If the status is 204 or 205, or the response has no `Content-Encoding`.
    """
    if "Content-Encoding" in response.headers and response.status not in NO_CONTENT:
        return
    path = context.session.quoted_path(APPOINTMENT.path)
    raise NotFoundError(
        f"GET {path} returned {response.status} with an empty body",
        status=response.status,
        method="GET",
        path=path,
        request_id=response.request_id,
    )
