"""The calls of the five operations: the request that each sends (the guide's paths), and what its response means.

When to retry is decided elsewhere.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, urlencode

from connector_async import _log
from connector_async._checks import check_appointment_id, check_type
from connector_async._clock import Deadline, is_cancelled
from connector_async.exceptions import (
    ConnectorError,
    DeadlineExceededError,
    DecodingError,
    NotFoundError,
    OutcomeUnknownError,
    PaginationError,
    ResponseError,
    TransportError,
)
from connector_async.models import Appointment, AppointmentUpdate, DirectoryUser, NewAppointment
from connector_async.pagination import (
    Page,
    PageRequest,
    PageResponse,
    PagingStyle,
    check_complete,
    fingerprint_items,
    next_link,
)
from connector_async.protocol import Response, request_id
from connector_async.retry import CallRecord, may_have_happened
from connector_async.session import ConnectorSession
from connector_async.wire import exactly_if_needed

Look = Callable[[float | None], Awaitable[Appointment | None]]
"""Looks for the appointment of a create with an unknown outcome, within a number of seconds."""

OnInvalid = Literal["raise", "skip"]
"""Whether a page with invalid items raises an error, or leaves them out and reports them."""

_LONGEST_ID: Final = 256
_APPOINTMENT: Final = ("appointment",)
_PREVIEW: Final = ("appointment", "preview")
_NO_CONTENT: Final = frozenset({204, 205})
"""Statuses of responses without a body, whatever the headers say (RFC 9110, sections 15.3.5 and 15.3.6)."""


class CallContext:
    """The session and the user that the calls of a service are made for, and how bodies are written."""

    def __init__(self, session: ConnectorSession, user: DirectoryUser | None) -> None:
        self.session = session
        self.user = user
        self.wire_format = session.wire_format
        self.zone = session.assume_zone
        self.user_fields = session.wire_format.user_fields(user)


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
        response = await context.session.request("GET", _APPOINTMENT, query=self._query, deadline=deadline)
        record.request_id = request_id(response.headers)
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
            response = await self._context.session.request("POST", _APPOINTMENT, body=self._body, deadline=deadline)
        except (ResponseError, TransportError, DeadlineExceededError) as error:
            if not may_have_happened(error, unavailable_means_refused=self._unavailable_means_refused):
                raise
            failure = error
        else:
            record.request_id = request_id(response.headers)
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
        response = await context.session.request("PUT", _APPOINTMENT, body=body, deadline=deadline)
        record.request_id = request_id(response.headers)
        return context.wire_format.structure_updated(response.body, context.zone)

    async def _merged_body(self, deadline: Deadline | None, record: CallRecord) -> bytes:
        """Read the appointment, and return the body of all its fields with the changes."""
        context = self._context
        query = {"appointmentId": self._update.appointment_id, **context.user_fields}
        try:
            response = await context.session.request("GET", _APPOINTMENT, query=query, deadline=deadline)
            record.request_id = request_id(response.headers)
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
            response = await self._context.session.request("DELETE", _APPOINTMENT, body=self._body, deadline=deadline)
        except ConnectorError as error:
            if isinstance(error, NotFoundError) and self._may_be_deleted:
                record.request_id = error.request_id
                return
            self._may_be_deleted = self._may_be_deleted or may_have_happened(error)
            raise
        record.request_id = request_id(response.headers)


class PreviewCall:
    """Reads one page of the appointments that overlap a time range: `GET /appointment/preview`.

    Args:
        start: The start of the range (included); `None`: open.
        end: The end of the range (excluded); `None`: open.
        style: How the server pages.
        token: The continuation token of the page; `None`: the first page.
        on_invalid: Whether invalid items raise an error or are skipped.

    Raises:
        ValueError: If the wire format needs an end that is `None`, or the token is not of the style.
        PaginationError: If the token leads to another user.
        TypeError: If the style does not return a `PageRequest`.
    """

    operation = "preview"
    idempotent = True

    def __init__(
        self,
        context: CallContext,
        start: datetime | None,
        end: datetime | None,
        style: PagingStyle,
        token: str | None,
        on_invalid: OnInvalid,
    ) -> None:
        request = style.request(token)
        if not isinstance(request, PageRequest):
            raise TypeError(f"{type(style).__name__}.request must return a PageRequest, not {type(request).__name__}")
        query: Mapping[str, str] | str | None
        if request.query is None:
            query = {**context.wire_format.preview_query(context.user, start, end), **request.parameters} or None
        else:
            query = _add_user(request.query, context.user_fields)
        self._context = context
        self._start = start
        self._end = end
        self._style = style
        self._token = token
        self._skip_invalid = on_invalid == "skip"
        self._query = query
        self._url = context.session.url(_PREVIEW, query)

    async def attempt(self, deadline: Deadline | None, record: CallRecord) -> Page[Appointment]:
        """Send the request, and return the page."""
        session = self._context.session
        response = await session.request("GET", _PREVIEW, query=self._query, deadline=deadline)
        record.request_id = request_id(response.headers)
        if not response.body:
            return self._read_without_body(response)
        page = exactly_if_needed(functools.partial(self._read, response))
        if page.skipped:
            _log.skipped_items(tenant=session.tenant_id, count=page.skipped, request_id=record.request_id)
        return page

    def _read(self, response: Response, *, exact: bool) -> Page[Appointment]:
        wire_format = self._context.wire_format
        parsed = wire_format.parse(response.body, exact=exact)
        items, next_token = self._style.read(self._page_response(response, parsed), self._token)
        if next_token is not None and not next_token.isprintable():
            raise DecodingError("the page does not match the paging style", problems=["$: token is not printable"])
        valid = wire_format.structure_items(items, self._context.zone, skip_invalid=self._skip_invalid, exact=exact)
        is_only_page = self._token is None and next_token is None
        return Page(
            items=[appointment for appointment in valid.appointments if self._overlaps(appointment)],
            continuation_token=next_token,
            raw=response.headers,
            fingerprint=None if is_only_page or not items else fingerprint_items(items),
            problems=valid.problems,
            skipped=valid.skipped,
        )

    def _read_without_body(self, response: Response) -> Page[Appointment]:
        """Return the page of a response without a body, if its status says that there are no appointments (204).

        Raises:
            DecodingError: If another status has no body, or the headers say that there are items.
        """
        if response.status not in _NO_CONTENT:
            # If the body was lost and this were an empty page, a sync would take all appointments for deleted.
            problem = "$: no body; only [] and 204 say that there is no appointment"
            raise DecodingError("the preview is empty", problems=[problem])
        check_complete(self._page_response(response, []), [], None, page=1 if self._token is None else None)
        if next_link(response.headers) is not None:
            raise DecodingError("the page does not match the paging style", problems=["Link: there is a next page"])
        return Page(items=[], raw=response.headers)

    def _page_response(self, response: Response, parsed_body: object) -> PageResponse:
        return PageResponse(body=parsed_body, headers=response.headers, url=self._url, status=response.status)

    def _overlaps(self, appointment: Appointment) -> bool:
        starts_before_end = self._end is None or appointment.start_time < self._end
        # An appointment without duration that starts at `start` overlaps, although it does not end after it.
        return starts_before_end and (
            self._start is None or appointment.end_time > self._start or appointment.start_time == self._start
        )


def _check_found(context: CallContext, response: Response) -> None:
    """Raise `NotFoundError` for a 2xx response without a body, which some servers send instead of 404.

    See the contract, open point 4. A response that announces a compressed body is left to the decoder, which rejects
    it: its body may have been cut off.

    Raises:
        NotFoundError: If the status is 204 or 205, or the response has no `Content-Encoding`.
    """
    if "Content-Encoding" in response.headers and response.status not in _NO_CONTENT:
        return
    path = context.session.quoted_path(_APPOINTMENT)
    raise NotFoundError(
        f"GET {path} returned {response.status} with an empty body",
        status=response.status,
        method="GET",
        path=path,
        request_id=request_id(response.headers),
    )


def _add_user(query: str, user_fields: Mapping[str, str]) -> str:
    """Return the query of a link with the fields of the user, which a link may leave out.

    Raises:
        PaginationError: If the link names another user.
    """
    named = {name.lower(): value for name, value in reversed(parse_qsl(query, keep_blank_values=True))}
    if any(named.get(field.lower(), value) != value for field, value in user_fields.items()):
        raise PaginationError("the next page is of another user")
    missing = {field: value for field, value in user_fields.items() if field.lower() not in named}
    return "&".join(part for part in (query, urlencode(missing, quote_via=quote)) if part)
