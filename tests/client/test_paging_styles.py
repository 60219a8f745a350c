"""Each paging style against a server that pages so, and against others: an error, never a short list."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import attrs
import orjson
import pytest

from connector_async import (
    AppointmentService,
    AutoDetectPaging,
    CursorPaging,
    DecodingError,
    LinkHeader,
    NextLink,
    OffsetLimit,
    OnePage,
    PageNumbers,
    PageRequest,
    PageResponse,
    PaginationError,
    PagingStyle,
)
from tests.support.hostile import HostileServer, http
from tests.support.paging import COUNT, IDS, ITEMS, SIZE, items_from, walks_from_each_page
from tests.support.services import open_service

Body = Callable[[dict[str, str]], object]
"""Returns the body for the parameters of a query."""


def cursor_body(items: str, cursor: str, parameter: str) -> Body:
    def body(query: dict[str, str]) -> object:
        offset = int(query.get(parameter, "c0")[1:])
        return {items: items_from(offset), cursor: f"c{offset + SIZE}" if offset + SIZE < COUNT else None}

    return body


def total_and_missing_last_cursor(query: dict[str, str]) -> object:
    offset = int(query.get("cursor", 0))
    cursor = {"nextCursor": str(offset + SIZE)} if offset + SIZE < COUNT else {}
    return {"items": items_from(offset), "total": COUNT} | cursor


def empty_last_cursor(query: dict[str, str]) -> object:
    offset = int(query.get("cursor", 0))
    return {"items": items_from(offset), "nextCursor": str(offset + SIZE) if offset + SIZE < COUNT else ""}


def numbered_body(query: dict[str, str]) -> object:
    number = int(query.get("page", 1))
    return {"items": items_from((number - 1) * SIZE), "page": number, "totalPages": 4}


def numbered_array(query: dict[str, str]) -> object:
    return items_from((int(query["p"])) * SIZE)


def offset_body(query: dict[str, str]) -> object:
    # Fewer items than requested: a short page is not the last one.
    return {"rows": items_from(int(query["skip"]), min(SIZE, int(query["take"]))), "total": COUNT}


def offset_without_total(query: dict[str, str]) -> object:
    return {"items": items_from(int(query["offset"]), 7)}


class PagedServer(HostileServer):
    """Sends the body for the query of each request."""

    def __init__(self, body: Body) -> None:
        async def write(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            query = parse_qs(urlsplit(self.requests[-1].target).query)
            writer.write(http(200, orjson.dumps(body({name: values[0] for name, values in query.items()}))))

        super().__init__(write)


def service(server: HostileServer, paging: PagingStyle | None) -> AppointmentService:
    plain = open_service(server)
    return plain if paging is None else AppointmentService(plain.session, paging=paging)


STYLES: dict[str, tuple[PagingStyle | None, Body, int]] = {
    "array": (None, lambda _: ITEMS, 1),
    "array, named": (OnePage(), lambda _: ITEMS, 1),
    "envelope of one page": (None, lambda _: {"value": ITEMS, "total": COUNT}, 1),
    "cursor": (CursorPaging(), cursor_body("items", "nextCursor", "cursor"), 4),
    "cursor by other names": (
        CursorPaging(items="rows", cursor="more", parameter="from"),
        cursor_body("rows", "more", "from"),
        4,
    ),
    "cursor, detected": (None, cursor_body("data", "nextCursor", "cursor"), 4),
    "continuation token, detected": (None, cursor_body("items", "continuationToken", "continuationToken"), 4),
    "page token, detected": (None, cursor_body("results", "nextPageToken", "pageToken"), 4),
    "cursor that is missing on the last page, detected": (None, total_and_missing_last_cursor, 4),
    "cursor that is empty on the last page": (CursorPaging(), empty_last_cursor, 4),
    "page numbers": (PageNumbers(page="page", total_pages="totalPages"), numbered_body, 4),
    "page numbers, detected": (None, numbered_body, 4),
    "page numbers without a total": (PageNumbers(parameter="p", first=0, items=None), numbered_array, 5),
    "offsets": (
        OffsetLimit(limit=20, offset_parameter="skip", limit_parameter="take", items="rows", total="total"),
        offset_body,
        4,
    ),
    "offsets without a total": (OffsetLimit(), offset_without_total, 6),
}


@pytest.mark.row("P1")
@pytest.mark.parametrize(("paging", "body", "requests"), STYLES.values(), ids=STYLES)
async def test_walk_from_any_page_returns_each_item_once(paging: PagingStyle | None, body: Body, requests: int) -> None:
    async with PagedServer(body) as server:
        pager = service(server, paging).preview()
        assert [item.appointment_id async for item in pager] == IDS
        assert len(server.requests) == requests
        async for page in pager.pages():
            assert page.continuation_token is None or page.continuation_token.isprintable()
        assert all(walk == IDS for walk in await walks_from_each_page(pager))


@pytest.mark.row("P1")
@pytest.mark.parametrize("name", ["array", "cursor, detected", "page numbers without a total", "offsets"])
async def test_walk_with_prefetch_returns_each_item_once(name: str) -> None:
    paging, body, requests = STYLES[name]
    async with PagedServer(body) as server:
        pager = service(server, paging).preview(prefetch=1)
        assert [item.appointment_id async for item in pager] == IDS
        assert len(server.requests) == requests
        assert all(walk == IDS for walk in await walks_from_each_page(pager))


WRONG: dict[str, tuple[PagingStyle | None, Body]] = {
    "server ignores the cursor": (None, lambda _: {"items": items_from(0), "nextCursor": "c10"}),
    "server ignores the page number": (None, lambda _: {"items": items_from(0), "page": 1, "totalPages": 4}),
    "more pages, and no way to request them": (None, lambda _: {"items": items_from(0), "hasMore": True}),
    "larger total": (None, lambda _: {"items": items_from(0), "total": COUNT}),
    "no items": (None, lambda _: {"rows": items_from(0)}),
    "two lists of items": (None, lambda _: {"items": items_from(0), "data": items_from(10)}),
    "items that are not objects": (None, lambda _: {"items": [1]}),
    "object instead of an array": (OnePage(), lambda _: {"items": ITEMS}),
    "array instead of a cursor": (CursorPaging(), lambda _: ITEMS),
    "cursor that is a number": (CursorPaging(), lambda _: {"items": items_from(0), "nextCursor": 5}),
    "number of pages that is a string": (
        PageNumbers(total_pages="pages"),
        lambda _: {"items": items_from(0), "pages": "4"},
    ),
    "another page than requested": (PageNumbers(page="page"), lambda _: {"items": items_from(0), "page": 7}),
    "total that is never reached": (OffsetLimit(total="total"), lambda _: {"items": [], "total": 5}),
    "page numbers after a cursor": (
        None,
        lambda query: {"items": items_from(10), "totalPages": 4} if query else {"items": ITEMS[:10], "nextCursor": "c"},
    ),
    "array after an envelope": (None, lambda query: ITEMS if query else {"items": ITEMS[:10], "nextCursor": "c10"}),
}


@pytest.mark.parametrize(("paging", "body"), WRONG.values(), ids=WRONG)
async def test_mismatched_paging_is_an_error_and_never_a_short_list(paging: PagingStyle | None, body: Body) -> None:
    async with PagedServer(body) as server:
        with pytest.raises((DecodingError, PaginationError)) as caught:
            await service(server, paging).preview().collect()
        assert len(server.requests) <= 2
    assert "Meeting" not in repr(caught.value) + repr(getattr(caught.value, "problems", ()))


def ever_new_cursors() -> Body:
    numbers = itertools.count()
    return lambda _: {"items": items_from(0), "nextCursor": str(next(numbers))}


@pytest.mark.row("P2")
@pytest.mark.parametrize(
    ("paging", "body"),
    [
        (PageNumbers(items=None), lambda _: items_from(0)),
        (OffsetLimit(items=None), lambda _: items_from(0)),
        (OffsetLimit(total="total"), lambda _: {"items": items_from(0), "total": COUNT}),
        (None, ever_new_cursors()),
    ],
)
async def test_server_that_repeats_a_page_is_detected(paging: PagingStyle | None, body: Body) -> None:
    async with PagedServer(body) as server:
        pager = service(server, paging).preview()
        with pytest.raises(PaginationError, match="the same page twice") as caught:
            await pager.collect()
        assert len(server.requests) == 2
        assert caught.value.continuation_token is not None


async def test_cursor_that_is_not_printable_is_rejected() -> None:
    async with PagedServer(lambda _: {"items": items_from(0), "nextCursor": "a\nb"}) as server:
        with pytest.raises(DecodingError) as caught:
            await service(server, None).preview().collect()
        assert caught.value.problems == ("$: token is not printable",)


@pytest.mark.parametrize(
    ("paging", "token"),
    [
        (OnePage(), "2"),
        (AutoDetectPaging(), "page=-1"),
        (AutoDetectPaging(), "page="),
        (AutoDetectPaging(), "2"),
        (AutoDetectPaging(), "appointmentId=5"),
        (PageNumbers(), "-1"),
        (PageNumbers(), "two"),
        (OffsetLimit(), "1" * 20),
    ],
)
async def test_token_of_another_style_is_rejected_before_any_request(paging: PagingStyle, token: str) -> None:
    async with PagedServer(lambda _: ITEMS) as server:
        with pytest.raises(ValueError, match="continuation_token must be from a page of the same paging style"):
            await anext(service(server, paging).preview().pages(continuation_token=token))
        assert server.requests == []


async def test_paging_style_is_kept_by_with_options() -> None:
    async with HostileServer(http(200, b"[]")) as server:
        paging = CursorPaging()
        assert service(server, paging).with_options(deadline=5).paging is paging


async def test_invalid_paging_style_is_rejected() -> None:
    async with HostileServer(http(200, b"[]")) as server:
        wrong: Any = "cursor"
        with pytest.raises(TypeError, match="paging must be a PagingStyle, not str"):
            service(server, wrong)
        for wrong in (PageNumbers, OnePage, AutoDetectPaging):
            with pytest.raises(TypeError, match=r"paging must be an instance, such as PageNumbers\(\), not a class"):
                service(server, wrong)


class BrokenStyle:
    """Requests something that is not a page."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def request(self, _: str | None) -> Any:
        return self._request

    def read(self, _: PageResponse, __: str | None) -> tuple[list[Any], str | None]:
        raise AssertionError


@pytest.mark.parametrize("request_", [None, {"page": "1"}, PageRequest])
async def test_style_that_does_not_return_a_page_request_is_named(request_: Any) -> None:
    async with HostileServer(http(200, b"[]")) as server:
        rule = f"BrokenStyle.request must return a PageRequest, not {type(request_).__name__}"
        with pytest.raises(TypeError, match=rule):
            await service(server, cast("PagingStyle", BrokenStyle(request_))).preview().collect()
        assert server.requests == []


@pytest.mark.parametrize("style", [OnePage, CursorPaging, PageNumbers, OffsetLimit, LinkHeader, NextLink])
def test_keys_and_parameters_of_a_style_must_be_printable_strings(style: Any) -> None:
    assert isinstance(style(), PagingStyle)
    fields = [field for field in attrs.fields(style) if "str" in str(field.type)]
    assert fields
    for field in fields:
        with pytest.raises(ValueError, match=f"^{field.name} must not be empty$"):
            style(**{field.name: ""})
        with pytest.raises(ValueError, match=f"^{field.name} must be printable$"):
            style(**{field.name: "\ud800"})
        for wrong in (5, b"next"):
            with pytest.raises(TypeError, match=f"^{field.name} must be a str, not {type(wrong).__name__}$"):
                style(**{field.name: wrong})
        if "None" in str(field.type):
            style(**{field.name: None})
        else:
            with pytest.raises(TypeError, match=f"^{field.name} must be a str, not NoneType$"):
                style(**{field.name: None})


@pytest.mark.parametrize(
    ("build", "error", "rule"),
    [
        (lambda: OffsetLimit(limit=0), ValueError, "limit must be 1 or more"),
        (lambda: OffsetLimit(limit=cast("Any", "10")), TypeError, "limit must be an int, not str"),
        (lambda: OffsetLimit(limit=True), TypeError, "limit must be an int, not bool"),
        (lambda: PageNumbers(first=-1), ValueError, "first must be zero or more"),
        (lambda: PageNumbers(first=True), TypeError, "first must be an int, not bool"),
        (lambda: PageNumbers(first=cast("Any", 1.0)), TypeError, "first must be an int, not float"),
    ],
)
def test_invalid_number_of_a_style_is_rejected(
    build: Callable[[], PagingStyle], error: type[Exception], rule: str
) -> None:
    with pytest.raises(error, match=f"^{rule}$"):
        build()
