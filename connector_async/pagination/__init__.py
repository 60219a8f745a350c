"""Walking what comes in pages. The fetch is handed in: nothing here knows of HTTP."""

from .auto_detect import AutoDetectPaging
from .base import PageRequest, PageResponse, PagingStyle
from .completeness import check_whole
from .links import LinkHeader, NextLink, next_link
from .pager import AsyncPager, Page, fingerprint_of
from .styles import CursorPaging, OffsetLimit, OnePage, PageNumbers

__all__ = [
    "AsyncPager",
    "AutoDetectPaging",
    "CursorPaging",
    "LinkHeader",
    "NextLink",
    "OffsetLimit",
    "OnePage",
    "Page",
    "PageNumbers",
    "PageRequest",
    "PageResponse",
    "PagingStyle",
    "check_whole",
    "fingerprint_of",
    "next_link",
]
