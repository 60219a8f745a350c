"""Lists that a server splits into pages: the pager, the paging styles, and the check that no page is missing.

It knows nothing of HTTP: the pager receives the function that fetches a page.
"""

from .auto_detect import AutoDetectPaging
from .base import PageRequest, PageResponse, PagingStyle
from .completeness import check_complete
from .links import LinkHeader, NextLink, next_link
from .pager import AsyncPager, Page, fingerprint_items
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
    "check_complete",
    "fingerprint_items",
    "next_link",
]
