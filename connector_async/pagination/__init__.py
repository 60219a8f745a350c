"""Walking what comes in pages. The fetch is handed in: nothing here knows of HTTP."""

from .completeness import check_whole
from .links import LinkHeader, NextLink, next_link
from .pager import AsyncPager, Page, fingerprint_of
from .recognized import RecognizedPaging
from .style import PageAnswer, PageRequest, PagingStyle
from .styles import CursorPaging, OffsetLimit, OnePage, PageNumbers

__all__ = [
    "AsyncPager",
    "CursorPaging",
    "LinkHeader",
    "NextLink",
    "OffsetLimit",
    "OnePage",
    "Page",
    "PageAnswer",
    "PageNumbers",
    "PageRequest",
    "PagingStyle",
    "RecognizedPaging",
    "check_whole",
    "fingerprint_of",
    "next_link",
]
