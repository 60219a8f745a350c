"""One attempt at each operation: the guide's paths, and what an answer means. It does not decide when to try again."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final, TypeVar
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
from connector_async.retry import Attempt, CallRecord, may_have_happened
from connector_async.session import ConnectorSession
from connector_async.wire import exactly_if_needed

from .arguments import OnInvalid

T = TypeVar("T")

Look = Callable[[float | None], Awaitable[Appointment | None]]
"""Looks, within so many seconds, whether a create has happened."""

_LONGEST_ID: Final = 256
_APPOINTMENT: Final = ("appointment",)
_PREVIEW: Final = ("appointment", "preview")
_NO_CONTENT: Final = frozenset({204, 205})
"""Statuses whose response has no body, whatever its headers say (RFC 9110, sections 15.3.5 and 15.3.6)."""


class Attempts:
    """Makes the attempts of a session's tenant and, where the wire format names one, of a user."""

    def __init__(self, session: ConnectorSession, user: DirectoryUser | None) -> None:
        self._session = session
        self._user = user
        self._wire_format = session.wire_format
        self._zone = session.assume_zone
        self._user_fields = session.wire_format.user_fields(user)

    def get(self, appointment_id: str) -> Attempt[Appointment]:
        """Read one appointment."""
        query = {"appointmentId": appointment_id, **self._user_fields}

        async def attempt(deadline: Deadline | None, record: CallRecord) -> Appointment:
            response = await self._session.request("GET", _APPOINTMENT, query=query, deadline=deadline)
            record.request_id = request_id(response.headers)
            if not response.body:
                self._check_found(response)
            return self._structure(response, Appointment)

        return attempt

    def create(
        self, new: NewAppointment, look: Look | None, *, unavailable_means_refused: bool
    ) -> Attempt[Appointment]:
        """Create an appointment; when nothing tells whether that happened, `look` is asked."""
        body = self._wire_format.unstructure(new, self._user)

        async def attempt(deadline: Deadline | None, record: CallRecord) -> Appointment:
            try:
                response = await self._session.request("POST", _APPOINTMENT, body=body, deadline=deadline)
            except (ResponseError, TransportError, DeadlineExceededError) as error:
                if not may_have_happened(error, unavailable_means_refused=unavailable_means_refused):
                    raise
                lost = error
            else:
                record.request_id = request_id(response.headers)
                return self._created(response, new)
            return await _look_for(lost, look, deadline)

        return attempt

    def update(self, update: AppointmentUpdate, *, read_first: bool) -> Attempt[Appointment | None]:
        """Change an appointment, with what it has beside the changes if it is to be read first.

        Raises:
            ValueError: The wire format does not carry a field that is set.
            TypeError: `read_first` is no bool.
        """
        check_type("read_first", read_first, bool)
        changes = self._wire_format.unstructure(update, self._user)
        query = {"appointmentId": update.appointment_id, **self._user_fields}

        async def whole(deadline: Deadline | None, record: CallRecord) -> bytes:
            response = await self._session.request("GET", _APPOINTMENT, query=query, deadline=deadline)
            record.request_id = request_id(response.headers)
            if not response.body:
                self._check_found(response)
            return self._wire_format.unstructure_over(response.body, update, self._user, self._zone)

        async def attempt(deadline: Deadline | None, record: CallRecord) -> Appointment | None:
            body = await _before(whole(deadline, record)) if read_first else changes
            response = await self._session.request("PUT", _APPOINTMENT, body=body, deadline=deadline)
            record.request_id = request_id(response.headers)
            return self._wire_format.structure_updated(response.body, self._zone)

        return attempt

    def delete(self, appointment_id: str) -> Attempt[None]:
        """Delete an appointment; when an earlier attempt of the same call may have, it need not be there."""
        body = self._wire_format.unstructure_id(appointment_id, self._user)
        may_be_done = False

        async def attempt(deadline: Deadline | None, record: CallRecord) -> None:
            nonlocal may_be_done
            try:
                # The answer is a confirmation of unstated shape (contract, "Appointments"): its status says all.
                response = await self._session.request("DELETE", _APPOINTMENT, body=body, deadline=deadline)
            except ConnectorError as error:
                if isinstance(error, NotFoundError) and may_be_done:
                    record.request_id = error.request_id
                    return
                may_be_done = may_be_done or may_have_happened(error)
                raise
            record.request_id = request_id(response.headers)

        return attempt

    def preview(
        self,
        start: datetime | None,
        end: datetime | None,
        style: PagingStyle,
        token: str | None,
        *,
        on_invalid: OnInvalid = "raise",
    ) -> Attempt[Page[Appointment]]:
        """Read one page of the appointments that overlap a time.

        Raises:
            ValueError: The wire format needs an end that is `None`, or the token is none of the style.
            TypeError: The style gives what is no `PageRequest`.
        """
        request = style.request(token)
        if not isinstance(request, PageRequest):
            raise TypeError(f"{type(style).__name__}.request must return a PageRequest, not {type(request).__name__}")
        query: Mapping[str, str] | str | None
        if request.query is None:
            query = {**self._wire_format.preview_query(self._user, start, end), **request.parameters} or None
        else:
            query = _for_user(request.query, self._user_fields)
        url = self._session.url(_PREVIEW, query)

        async def attempt(deadline: Deadline | None, record: CallRecord) -> Page[Appointment]:
            response = await self._session.request("GET", _PREVIEW, query=query, deadline=deadline)
            record.request_id = request_id(response.headers)
            if not response.body:
                return _without_items(response, url, token)
            page = exactly_if_needed(functools.partial(read, response))
            if page.skipped:
                _log.skipped_items(tenant=self._session.tenant_id, count=page.skipped, request_id=record.request_id)
            return page

        def read(response: Response, *, exact: bool) -> Page[Appointment]:
            body = self._wire_format.parse(response.body, exact=exact)
            answer = PageResponse(body=body, headers=response.headers, url=url, status=response.status)
            items, following = style.read(answer, token)
            if following is not None and not following.isprintable():
                raise DecodingError("the page does not match the paging style", problems=["$: token is not printable"])
            valid = self._wire_format.structure_items(items, self._zone, skip_invalid=on_invalid == "skip", exact=exact)
            is_whole = token is None and following is None
            return Page(
                items=[appointment for appointment in valid.appointments if _overlaps(appointment, start, end)],
                continuation_token=following,
                raw=response.headers,
                fingerprint=None if is_whole or not items else fingerprint_items(items),
                problems=valid.problems,
                skipped=valid.skipped,
            )

        return attempt

    def _check_found(self, response: Response) -> None:
        """Raise if a response without a body says that there is no such appointment.

        Some servers say so instead of 404 (contract, open point 4). A body that was compressed may have been cut.

        Raises:
            NotFoundError: If it does.
        """
        if "Content-Encoding" in response.headers and response.status not in _NO_CONTENT:
            return
        path = self._session.quoted_path(_APPOINTMENT)
        raise NotFoundError(
            f"GET {path} answered {response.status} with an empty body",
            status=response.status,
            method="GET",
            path=path,
            request_id=request_id(response.headers),
        )

    def _created(self, response: Response, new: NewAppointment) -> Appointment:
        """Return what a create has made. Whatever is wrong with the response, it has happened.

        Raises:
            DecodingError: The response has no id or is malformed. The error has the id where there is one.
        """
        try:
            return self._wire_format.structure_created(response.body, new, self._zone)
        except DecodingError as error:
            error.appointment_id = self._id_of(response.body)
            raise
        except Exception as failure:  # noqa: BLE001 - any other would pass for the error of a create that failed
            problem = f"$: {type(failure).__name__} while decoding"
        # Raised outside of the handler: the caught error may hold values.
        raise DecodingError("the body cannot be decoded", problems=[problem], appointment_id=self._id_of(response.body))

    def _id_of(self, body: bytes) -> str | None:
        """Return the usable id that a body has for an appointment, at its top or in an envelope; `None` without one."""
        try:
            parsed = self._wire_format.parse(body)
            places = [parsed, *parsed.values()] if isinstance(parsed, dict) else [{"appointmentId": parsed}]
            found = [place["appointmentId"] for place in places if isinstance(place, dict) and "appointmentId" in place]
            value = str(found[0]) if type(found[0]) is int else found[0]
            return check_appointment_id(value) if len(value) <= _LONGEST_ID else None
        except Exception:  # noqa: BLE001 - then it has none
            return None

    def _structure(self, response: Response, type_: type[T]) -> T:
        return self._wire_format.structure(response.body, type_, self._zone)


async def _before(attempt: Awaitable[T]) -> T:
    """Await what has to succeed before the operation itself is sent."""
    try:
        return await attempt
    except ConnectorError as error:
        error.sent = False
        raise


async def _look_for(lost: ConnectorError, look: Look | None, deadline: Deadline | None) -> Appointment:
    """Return what a create whose answer was lost has made.

    Raises:
        OutcomeUnknownError: Nobody looks, or the one who does cannot tell, or does not find it.
    """
    found, absent = None, False
    if look is not None:
        remaining = None if deadline is None else deadline.remaining()
        try:
            async with asyncio.timeout(remaining):
                found = await look(remaining)
                absent = found is None
            if not isinstance(found, Appointment | None):
                raise TypeError(f"verify must return an Appointment or None, not {type(found).__name__}")
        except (ConnectorError, TimeoutError):
            pass  # it cannot tell, or not in time
        except asyncio.CancelledError as failure:
            if is_cancelled():
                raise
            _log.hook_failure("verify", failure)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the create may have happened
            found = None
            _log.hook_failure("verify", failure)
    if found is not None:
        return found
    raise OutcomeUnknownError(
        "the create was sent, and its outcome is unknown", status=getattr(lost, "status", None), absent=absent
    ) from lost


def _without_items(response: Response, url: str, token: str | None) -> Page[Appointment]:
    """Return the page of a response without a body, if its status says that there is nothing (204).

    Raises:
        DecodingError: If another status has no body, or the headers say that there are items.
    """
    if response.status not in _NO_CONTENT:
        # On the word of a body that was lost, a sync would take all for deleted.
        problem = "$: no body; only [] and 204 say that there is no appointment"
        raise DecodingError("the preview is empty", problems=[problem])
    answer = PageResponse(body=[], headers=response.headers, url=url, status=response.status)
    check_complete(answer, [], None, page=1 if token is None else None)
    if next_link(response.headers) is not None:
        raise DecodingError("the page does not match the paging style", problems=["Link: there is a next page"])
    return Page(items=[], raw=response.headers)


def _for_user(query: str, user_fields: Mapping[str, str]) -> str:
    """Return the query of a link for a user, whom it need not name.

    Raises:
        PaginationError: It names another one.
    """
    named = {name.lower(): value for name, value in reversed(parse_qsl(query, keep_blank_values=True))}
    if any(named.get(field.lower(), value) != value for field, value in user_fields.items()):
        raise PaginationError("the next page is of another user")
    missing = {field: value for field, value in user_fields.items() if field.lower() not in named}
    return "&".join(part for part in (query, urlencode(missing, quote_via=quote)) if part)


def _overlaps(appointment: Appointment, start: datetime | None, end: datetime | None) -> bool:
    begins_in_time = end is None or appointment.start_time < end
    # One without duration that begins at `start` lies in it, although it does not end after it.
    return begins_in_time and (start is None or appointment.end_time > start or appointment.start_time == start)
