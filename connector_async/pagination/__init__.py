"""Lists that a server splits into pages: the pager, the paging styles, and the check that no page is missing.

It knows nothing of HTTP: the pager receives the function that fetches a page. The styles and the check are imported at
their first use, because a program that reads no list does not need them.
"""

from typing import TYPE_CHECKING

from connector_async._first_use import first_use

from .auto_detect import AutoDetectPaging
from .base import PageRequest, PageResponse, PagingStyle
from .pager import AsyncPager, Page, fingerprint_items

if TYPE_CHECKING:
    from .completeness import check_complete
    from .links import LinkHeader, NextLink, next_link
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

__getattr__ = first_use(
    __name__,
    {
        "completeness": ("check_complete",),
        "links": ("LinkHeader", "NextLink", "next_link"),
        "styles": ("CursorPaging", "OffsetLimit", "OnePage", "PageNumbers"),
    },
)
