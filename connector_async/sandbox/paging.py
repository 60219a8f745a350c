"""The pages of a preview: reads which one is asked for, and puts what was found of it into its envelope.

It knows neither how a request arrives nor how appointments are stored or written.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from attrs import frozen

from .appointments import FoundPart, Part, Position
from .settings import PreviewPaging
from .validation import Fields

CURSOR_PATTERN: Final = "^[A-Za-z0-9_-]{20}$"
"""What every cursor matches; and whatever matches is one."""

# 15 bytes, for they are 20 characters of base64url without padding, and any 20 are 15 bytes.
_START_BYTES: Final = 8
_SEQUENCE_BYTES: Final = 7
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _FIRST) // _MICROSECOND

FIRST_POSITION: Final = Position(start=_FIRST, sequence=0)
"""Before every appointment."""

Item = Mapping[str, object]
"""An appointment as it is answered."""


@frozen(kw_only=True)
class PageRequest:
    """What a page was asked for with."""

    origin: str
    """Scheme and authority, as in `http://127.0.0.1:8080`; empty unless `Pages.have_origin`."""
    path: str
    """With its escapes."""
    query: Mapping[str, str]
    part: Part


@frozen(kw_only=True)
class Pages:
    """Reads and writes the pages of one style."""

    style: PreviewPaging
    size: int
    """How many items a page has at most."""

    @property
    def have_origin(self) -> bool:
        """Whether a link in a page has the origin that was asked."""
        return self.style is PreviewPaging.NEXT_LINK

    def read_part(self, query: Fields) -> Part:
        """Read the position that is asked for, and ignore other parameters; whoever made the fields finishes them."""
        match self.style:
            case PreviewPaging.ARRAY:
                return Part()
            case PreviewPaging.PAGE_NUMBERS:
                page = query.count("page", default=1, minimum=1)
                return Part(limit=self.size, offset=(page - 1) * self.size, counts=True)
            case PreviewPaging.OFFSET:
                limit = query.count("limit", default=self.size, minimum=1)
                offset = query.count("offset", default=0, minimum=0)
                return Part(limit=min(limit, self.size), offset=offset, counts=True)
            case PreviewPaging.CURSOR | PreviewPaging.LINK_HEADER | PreviewPaging.NEXT_LINK:
                return Part(limit=self.size, after=_position(query))

    def write_page(self, asked: PageRequest, found: FoundPart, items: Sequence[Item]) -> tuple[object, str | None]:
        """Build the JSON of the page and, when a link goes beside it, that link (RFC 8288)."""
        cursor = None if found.end is None else write_cursor(found.end)
        following = None if cursor is None else f"{asked.path}?{urlencode({**asked.query, 'cursor': cursor})}"
        match self.style:
            case PreviewPaging.ARRAY:
                return items, None
            case PreviewPaging.CURSOR:
                return {"items": items, "nextCursor": cursor}, None
            case PreviewPaging.PAGE_NUMBERS:
                page, total_pages = asked.part.offset // self.size + 1, max(1, -(-found.total // self.size))
                return {"items": items, "page": page, "totalPages": total_pages}, None
            case PreviewPaging.OFFSET:
                return {"items": items, "total": found.total}, None
            case PreviewPaging.LINK_HEADER:
                return items, None if following is None else f'<{following}>; rel="next"'
            case PreviewPaging.NEXT_LINK:
                return {"value": items, "nextLink": None if following is None else asked.origin + following}, None


def write_cursor(position: Position) -> str:
    """Write the position as an opaque text that `read_cursor` reads."""
    start = (position.start - _FIRST) // _MICROSECOND
    return urlsafe_b64encode(start.to_bytes(_START_BYTES) + position.sequence.to_bytes(_SEQUENCE_BYTES)).decode()


def read_cursor(text: str) -> Position:
    """Read a cursor; one that no page ever had may stand for any position.

    Raises:
        ValueError: It has not the form of a cursor.
    """
    if not re.fullmatch(CURSOR_PATTERN, text):
        raise ValueError("not a cursor")
    packed = urlsafe_b64decode(text)
    start = min(int.from_bytes(packed[:_START_BYTES]), _LAST)
    return Position(start=_FIRST + start * _MICROSECOND, sequence=int.from_bytes(packed[_START_BYTES:]))


def _position(query: Fields) -> Position | None:
    cursor = query.optional_text("cursor")
    try:
        return None if cursor is None else read_cursor(cursor)
    except ValueError:
        query.refuse("cursor", "must be a cursor as a page has it")
        return None
