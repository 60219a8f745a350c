"""Walking what comes in pages. The fetch is handed in: nothing here knows of HTTP."""

from .pager import AsyncPager, Page
from .styles import CursorPaging, OffsetLimit, OnePage, PageNumbers, PagingStyle, RecognizedPaging

__all__ = [
    "AsyncPager",
    "CursorPaging",
    "OffsetLimit",
    "OnePage",
    "Page",
    "PageNumbers",
    "PagingStyle",
    "RecognizedPaging",
]
