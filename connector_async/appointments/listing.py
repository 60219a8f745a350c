"""Lists that the server splits into pages: the preview, and those of any endpoint. Both are read by one call."""

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Generic, Literal, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

import attrs

from connector_async import _log
from connector_async._clock import Deadline
from connector_async.exceptions import DecodingError, PaginationError, ResponseError
from connector_async.models import Appointment
from connector_async.pagination import (
    Page,
    PageRequest,
    PageResponse,
    PagingStyle,
    fingerprint_items,
)
from connector_async.protocol import Response
from connector_async.retry import CallRecord
from connector_async.wire import exactly_if_needed

from .context import NO_CONTENT, PREVIEW, CallContext, Endpoint

T = TypeVar("T")

OnInvalid = Literal["raise", "skip"]
"""Whether a page with invalid items raises an error, or leaves them out and reports them."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Listing(Generic[T]):
    """A list of one endpoint: what is sent for each of its pages, and what its items are."""

    context: CallContext
    operation: str
    endpoint: Endpoint
    query: Mapping[str, str]
    """The parameters of each page, beside those of the style. The query of a link replaces all of them."""
    user_fields: Mapping[str, str] = attrs.field(factory=dict)
    """The parameters that a link must not change, and gets if it leaves them out."""
    style: PagingStyle
    item_type: type[T]
    on_invalid: OnInvalid
    keeps: Callable[[T], bool] | None = None
    """Whether an item is wanted. `None`: all are."""


def preview_listing(
    context: CallContext, start: datetime | None, end: datetime | None, style: PagingStyle, on_invalid: OnInvalid
) -> Listing[Appointment]:
    """Return the appointments that overlap the time from `start` (included) to `end` (excluded). `None` is open.

    Raises:
        ValueError: If the wire format needs an end that is `None`.
    """
    return Listing(
        context=context,
        operation="preview",
        endpoint=PREVIEW,
        query=context.wire_format.preview_query(context.user, start, end),
        user_fields=context.user_fields,
        style=style,
        item_type=Appointment,
        on_invalid=on_invalid,
        keeps=None if start is None and end is None else Overlap(start, end),
    )


class PageCall(Generic[T]):
    """Reads one page of a list.

    Args:
        listing: The list.
        token: The continuation token of the page; `None`: the first page.

    Raises:
        ValueError: If the token is not of the style.
        PaginationError: If the token leads to another user.
        TypeError: If the style does not return a `PageRequest`.
    """

    idempotent = True

    def __init__(self, listing: Listing[T], token: str | None) -> None:
        style = listing.style
        request = style.request(token)
        if not isinstance(request, PageRequest):
            raise TypeError(f"{type(style).__name__}.request must return a PageRequest, not {type(request).__name__}")
        query: Mapping[str, str] | str | None
        if request.query is None:
            query = {**listing.query, **request.parameters} or None
        else:
            query = _add_user(request.query, listing.user_fields)
        self.operation = listing.operation
        self.listing = listing
        self._token = token
        self._query = query
        self._url = listing.context.session.url(listing.endpoint.path, query)

    async def attempt(self, deadline: Deadline | None, record: CallRecord) -> Page[T]:
        """Send the request, and return the page."""
        context = self.listing.context
        try:
            response = await context.request("GET", self.listing.endpoint, record, deadline, query=self._query)
        except ResponseError as error:
            if self.listing.endpoint is not PREVIEW:  # it has no values
                self.listing.endpoint.show_template(error)
            raise
        record.note(response)
        if not response.body:
            return self._read_without_body(response)
        page = exactly_if_needed(functools.partial(self._read, response))
        if page.skipped:
            _log.skipped_items(
                operation=self.operation,
                tenant=context.session.tenant_id,
                count=page.skipped,
                request_id=record.request_id,
            )
        return page

    def _read(self, response: Response, *, exact: bool) -> Page[T]:
        listing = self.listing
        wire_format = listing.context.wire_format
        parsed = wire_format.parse(response.body, exact=exact)
        items, next_token = listing.style.read(self._page_response(response, parsed), self._token)
        if next_token is not None and not next_token.isprintable():
            raise DecodingError("the page does not match the paging style", problems=["$: token is not printable"])
        skip_invalid = listing.on_invalid == "skip"
        valid = wire_format.structure_items(
            items, listing.item_type, listing.context.zone, skip_invalid=skip_invalid, exact=exact
        )
        is_only_page = self._token is None and next_token is None
        return Page(
            items=valid.items if listing.keeps is None else [item for item in valid.items if listing.keeps(item)],
            continuation_token=next_token,
            raw=response.headers,
            fingerprint=None if is_only_page or not items else fingerprint_items(items),
            problems=valid.problems,
            skipped=valid.skipped,
        )

    def _read_without_body(self, response: Response) -> Page[T]:
        """Return the page of a response without a body, if its status says that there are no items (204).

        Raises:
            DecodingError: If another status has no body, or the headers say that there are items.
        """
        from connector_async.pagination import check_complete, next_link  # noqa: PLC0415 - imported on first use

        if response.status not in NO_CONTENT:
            # If the body was lost and this were an empty page, a sync would take all appointments for deleted.
            problem = "$: no body; only [] and 204 say that there are no items"
            raise DecodingError("the page is empty", problems=[problem])
        check_complete(self._page_response(response, []), [], None, page=1 if self._token is None else None)
        if next_link(response.headers) is not None:
            raise DecodingError("the page does not match the paging style", problems=["Link: there is a next page"])
        return Page(items=[], raw=response.headers)

    def _page_response(self, response: Response, parsed_body: object) -> PageResponse:
        return PageResponse(body=parsed_body, headers=response.headers, url=self._url, status=response.status)


@attrs.frozen(eq=False, repr=False)
class Overlap:
    """Keeps the appointments that overlap a time range; `None` is an open end."""

    start: datetime | None
    end: datetime | None

    def __call__(self, appointment: Appointment) -> bool:
        """Return whether an appointment overlaps the range."""
        starts_before_end = self.end is None or appointment.start_time < self.end
        # An appointment without duration that starts at `start` overlaps, although it does not end after it.
        return starts_before_end and (
            self.start is None or appointment.end_time > self.start or appointment.start_time == self.start
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
