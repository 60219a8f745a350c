"""The pages of a preview: read which one is requested, and write appointments into its envelope.

This module knows neither HTTP nor storage nor the body formats.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from attrs import frozen

from .models import AppointmentPage, PageSelection, Position
from .settings import PreviewPaging
from .validation import FieldReader

CURSOR_PATTERN: Final = "^[A-Za-z0-9_-]{20}$"
"""Matches every cursor. Every string that it matches is accepted as a cursor."""

# 15 bytes, because they make 20 characters of base64url without padding, and any 20 such characters are 15 bytes.
_START_BYTES: Final = 8
_SEQUENCE_BYTES: Final = 7
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _FIRST) // _MICROSECOND

FIRST_POSITION: Final = Position(start=_FIRST, sequence=0)
"""The position before all appointments."""


@frozen(kw_only=True)
class PageRequest:
    """The request for one page."""

    origin: str
    """Scheme and authority, such as `http://127.0.0.1:8080`; empty unless `Pagination.needs_origin`."""
    path: str
    """Percent-encoded path."""
    query: Mapping[str, str]
    selection: PageSelection


@frozen(kw_only=True)
class Pagination:
    """Reads page requests and writes pages in one style."""

    style: PreviewPaging
    page_size: int
    """Maximum number of items on a page."""

    @property
    def needs_origin(self) -> bool:
        """Whether pages contain absolute links, which need the origin of the request."""
        return self.style is PreviewPaging.NEXT_LINK

    def read_selection(self, query: FieldReader) -> PageSelection:
        """Return the selection that the query requests; parameters of other styles are ignored.

        Errors are added to the query's reader, which the caller must check.
        """
        match self.style:
            case PreviewPaging.ARRAY:
                return PageSelection()
            case PreviewPaging.PAGE_NUMBERS:
                page = query.digits("page", default=1, minimum=1)
                return PageSelection(limit=self.page_size, offset=(page - 1) * self.page_size, count_total=True)
            case PreviewPaging.OFFSET:
                limit = query.digits("limit", default=self.page_size, minimum=1)
                offset = query.digits("offset", default=0, minimum=0)
                return PageSelection(limit=min(limit, self.page_size), offset=offset, count_total=True)
            case PreviewPaging.CURSOR | PreviewPaging.LINK_HEADER | PreviewPaging.NEXT_LINK:
                return PageSelection(limit=self.page_size, after=_read_position(query))

    def write_page(
        self, request: PageRequest, page: AppointmentPage, items: Sequence[Mapping[str, object]]
    ) -> tuple[object, str | None]:
        """Return the JSON of the page, and the value of its `Link` header (RFC 8288) if it has one.

        Args:
            request: The request for the page.
            page: The appointments that were found.
            items: The same appointments as JSON objects.
        """
        cursor = None if page.next_after is None else write_cursor(page.next_after)
        next_target = None if cursor is None else f"{request.path}?{urlencode({**request.query, 'cursor': cursor})}"
        match self.style:
            case PreviewPaging.ARRAY:
                return items, None
            case PreviewPaging.CURSOR:
                return {"items": items, "nextCursor": cursor}, None
            case PreviewPaging.PAGE_NUMBERS:
                number = request.selection.offset // self.page_size + 1
                total_pages = max(1, -(-page.total // self.page_size))
                return {"items": items, "page": number, "totalPages": total_pages}, None
            case PreviewPaging.OFFSET:
                return {"items": items, "total": page.total}, None
            case PreviewPaging.LINK_HEADER:
                return items, None if next_target is None else f'<{next_target}>; rel="next"'
            case PreviewPaging.NEXT_LINK:
                return {"value": items, "nextLink": None if next_target is None else request.origin + next_target}, None


def write_cursor(position: Position) -> str:
    """Return the position as an opaque string that `read_cursor` accepts."""
    start = (position.start - _FIRST) // _MICROSECOND
    return urlsafe_b64encode(start.to_bytes(_START_BYTES) + position.sequence.to_bytes(_SEQUENCE_BYTES)).decode()


def read_cursor(cursor: str) -> Position:
    """Return the position in a cursor. An invented cursor is valid, too, and yields some position.

    Raises:
        ValueError: If the string does not match `CURSOR_PATTERN`.
    """
    if not re.fullmatch(CURSOR_PATTERN, cursor):
        raise ValueError("not a cursor")
    packed = urlsafe_b64decode(cursor)
    start = min(int.from_bytes(packed[:_START_BYTES]), _LAST)
    return Position(start=_FIRST + start * _MICROSECOND, sequence=int.from_bytes(packed[_START_BYTES:]))


def _read_position(query: FieldReader) -> Position | None:
    cursor = query.optional_string("cursor")
    try:
        return None if cursor is None else read_cursor(cursor)
    except ValueError:
        query.reject("cursor", "must be a cursor from an earlier page")
        return None
