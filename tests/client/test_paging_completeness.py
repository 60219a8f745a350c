"""Which responses are taken for the last page, and which may be part of a longer list and are rejected."""

import time
import tracemalloc
from typing import Any

import orjson
import pytest

from connector_async import (
    AutoDetectPaging,
    CursorPaging,
    DecodingError,
    LinkHeader,
    NextLink,
    OffsetLimit,
    OnePage,
    PageNumbers,
    PageResponse,
    PagingStyle,
)
from connector_async.pagination import fingerprint_items
from tests.support.hostile import HostileServer, http
from tests.support.paging import items_from
from tests.support.services import open_service

COUNT = 3
ITEMS = items_from(0, COUNT)


def response(members: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> PageResponse:
    return PageResponse(body={"items": ITEMS, **members}, headers=headers or {}, url="http://h/p", status=status)


def rejection(response: PageResponse, style: PagingStyle | None = None, token: str | None = None) -> str:
    """Return the first problem of the error that the response raises."""
    with pytest.raises(DecodingError, match="does not match the paging style") as caught:
        (style or AutoDetectPaging()).read(response, token)
    return caught.value.problems[0]


def is_complete(response: PageResponse, style: PagingStyle | None = None, token: str | None = None) -> bool:
    return (style or AutoDetectPaging()).read(response, token) == (ITEMS, None)


POSSIBLY_INCOMPLETE: dict[str, list[dict[str, Any]]] = {
    "this page": [
        {"page": 1},
        {"page": 0},
        {"page": 2},
        {"limit": 100},
        {"offset": 0},
        {"pageSize": 50},
        {"pageSize": COUNT},
        {"per_page": 50},
        {"count": COUNT},
        {"Count": COUNT + 7},
        {"skip": 0, "top": 100},
        {"meta": {"pagination": {"limit": 100}}},
    ],
    "total": [
        {"total": COUNT + 1},
        {"total": COUNT - 1},
        {"total": True},
        {"total": "34"},
        {"total_count": COUNT + 1},
        {"totalRecords": COUNT + 1, "nextPage": "/x"},
        {"nextCursor": None, "total": COUNT + 1},
    ],
    "total of pages": [
        {"totalPages": 0},
        {"totalPages": 4},
        {"page": 1, "total_pages": 4},
        {"meta": {"pagination": {"pageCount": 4, "total": COUNT + 1}}},
    ],
    "next page": [
        {"next_cursor": "c"},
        {"cursor": "c"},
        {"NextToken": "c"},
        {"meta": {"next_token": "c"}},
        {"response_metadata": {"next_cursor": "c"}},
        {"next_page_url": "/x?page=2"},
        {"odata.nextLink": "/x"},
        {"continuationToken": None, "links": {"next": "/x"}},
    ],
    "list of links": [
        {"links": [{"rel": "next", "href": "/x"}]},
        {"link": [{"relation": "next", "url": "/x"}]},
    ],
    "more pages": [
        {"has_more": True, "object": "list"},
        {"meta": {"has_more": True}},
        {"more": True},
        {"nextCursor": None, "hasMore": True},
        {"totalPages": 1, "hasNextPage": True},
    ],
    "incomplete": [
        {"partial": True},
        {"isTruncated": True},
        {"incomplete_results": True},
        {"remaining": 31},
    ],
    "not the last page": [
        {"isLast": False},
        {"isLast": 0},
        {"done": False},
        {"done": 0, "limit": 3},
        {"last": False, "number": 1},
    ],
    "previous page": [{"hasPreviousPage": True}],
    "status": [{"status": "partial"}, {"status": "206 Partial Content"}, {"statusCode": 206}],
    "message": [
        {"message": "Showing 3 of 34"},
        {"message": "Showing 3 out of 34"},
        {"message": "3/34"},
        {"message": "capped at 3"},
    ],
    "failure": [{"success": False}, {"errors": [{"code": "timeout"}]}],
    "unknown": [{"somethingNew": 1}, {"somethingNew": False}],
}


@pytest.mark.row("H10")
@pytest.mark.parametrize("envelopes", POSSIBLY_INCOMPLETE.values(), ids=POSSIBLY_INCOMPLETE)
def test_envelope_that_may_be_a_part_is_rejected_by_its_member(envelopes: list[dict[str, Any]]) -> None:
    for members in envelopes:
        problem = rejection(response(members))
        assert any(problem.startswith(f"$.{name}") for name in members)
        assert problem.endswith('name the paging style (OnePage(items="items") if there are none)')


@pytest.mark.row("H10")
@pytest.mark.parametrize(("status", "body"), [(202, ITEMS), (206, ITEMS), (207, ITEMS), (206, {"items": ITEMS})])
async def test_partial_status_is_rejected(status: int, body: object) -> None:
    async with HostileServer(http(status, orjson.dumps(body))) as server:
        with pytest.raises(DecodingError) as caught:
            await open_service(server).preview().collect()
    assert caught.value.problems[0].startswith("status: there may be more pages")


PARTIAL_HEADERS: dict[str, list[tuple[str, str]]] = {
    "this page": [
        ("X-Page", "1"),
        ("X-Per-Page", "3"),
        ("X-Limit", "100"),
        ("X-Offset", "0"),
        ("X-Item-Count", "3"),
        ("Preference-Applied", "odata.maxpagesize=3"),
        ("Accept-Ranges", "items 50"),
    ],
    "total": [
        ("X-Total-Count", "34"),
        ("X-Total-Pages", "4"),
        ("Content-Range", "items 0-2/34"),
        ("content-range", "items 0-2/*"),
    ],
    "next page": [
        ("X-NextPageToken", "abc"),
        ("X-HasNextPage", "true"),
        ("X-Has-More", "true"),
        ("X-Next-Request", "/a?page=2"),
        ("X-Next-Page", "2"),
        ("X-Pagination", '{"HasNext":true}'),
        ("x-ms-continuation", "c"),
    ],
    "incomplete": [
        ("X-Truncated", "true"),
        ("X-Items-Remaining", "150"),
        ("Warning", '299 - "partial results"'),
    ],
}


@pytest.mark.row("H10")
@pytest.mark.parametrize("headers", PARTIAL_HEADERS.values(), ids=PARTIAL_HEADERS)
@pytest.mark.parametrize("body", [ITEMS, {"items": ITEMS}], ids=["array", "envelope"])
def test_header_of_a_partial_list_is_rejected(headers: list[tuple[str, str]], body: Any) -> None:
    for name, value in headers:
        page = PageResponse(body=body, headers={name: value}, url="http://h/p")
        assert rejection(page).startswith(f"{name}: ")


async def test_header_of_a_partial_list_fails_the_preview() -> None:
    async with HostileServer(http(200, orjson.dumps(ITEMS), X_Total_Count="34")) as server:
        with pytest.raises(DecodingError) as caught:
            await open_service(server).preview().collect()
    assert caught.value.problems[0].lower().startswith("x-total-count: ")


HARMLESS: dict[str, Any] = {
    "isSuccess": True,
    "statusCode": 200,
    "status": "OK",
    "code": 0,
    "apiVersion": "2.1",
    "success": True,
    "message": "Appointments retrieved successfully",
    "errors": [],
    "error": None,
    "hasErrors": False,
    "requestId": "r-1",
    "traceId": "00-1",
    "duration": 0.12,
    "elapsed": 12,
    "serverTime": "2024-01-15T10:00:00Z",
    "timestamp": 1705312800,
    "@odata.context": "$metadata#appointments",
    "meta": {"version": "1.0", "requestId": "r-1"},
    "nextCursor": None,
    "hasMore": False,
    "incomplete_results": False,
    "previous": None,
}
HARMLESS_HEADERS = {
    "x-envoy-upstream-service-time": "12",
    "x-envoy-attempt-count": "1",
    "Server-Timing": "total;dur=12",
    "RateLimit-Limit": "60",
    "X-RateLimit-Remaining": "59",
    "X-Rate-Limit-Limit": "60",
    "X-Shopify-Shop-Api-Call-Limit": "1/40",
    "X-Request-Id": "r-1",
    "traceparent": "00-1-2-01",
    "Content-Type": "application/json",
    "Content-Length": "1000",
    "Accept-Ranges": "bytes",
    "Strict-Transport-Security": "max-age=1",
    "X-Frame-Options": "DENY",
    "X-Page-Speed": "1.13",
    "X-Retry-Count": "0",
    "Link": "</style.css>; rel=preload",
}


@pytest.mark.row("H10")
def test_harmless_members_and_headers_are_accepted_alone_and_together() -> None:
    for name, value in HARMLESS.items():
        assert is_complete(response({name: value}))
    assert is_complete(response(HARMLESS, headers=HARMLESS_HEADERS))


def test_link_to_the_page_itself_is_accepted() -> None:
    assert is_complete(response({"_links": {"self": {"href": "/a"}}}))
    assert is_complete(response({"links": {"self": "/a", "next": None}}))


SAYS_COMPLETE: list[dict[str, Any]] = [
    {"total": COUNT},
    {"totalCount": COUNT},
    {"@odata.count": COUNT},
    {"totalPages": 1},
    {"meta": {"hasMore": False}},
    {"isLast": True},
    {"nextLink": None},
]


@pytest.mark.row("H10")
@pytest.mark.parametrize("members", SAYS_COMPLETE, ids=str)
def test_sign_of_completeness_makes_limit_and_count_harmless(members: dict[str, Any]) -> None:
    assert is_complete(response({"limit": 100, "offset": 0, "count": COUNT, **members}))


def test_total_in_a_header_makes_a_limit_harmless() -> None:
    assert is_complete(response({"limit": 100}, headers={"X-Total-Count": str(COUNT)}))


async def test_headers_that_say_complete_are_accepted() -> None:
    headers: Any = {"X_Total_Count": str(COUNT), "X_Total_Pages": "1", "X_Next_Page": "", "X_RateLimit_Total": "60"}
    async with HostileServer(http(200, orjson.dumps(ITEMS), **headers, Content_Range="items 0-2/3")) as server:
        assert len(await open_service(server).preview().collect()) == COUNT


COMPLETE: dict[str, dict[str, Any]] = {
    "nothing": {},
    "empty members": {"nextCursor": None, "next": "", "hasMore": False, "links": {"next": None}, "errors": []},
    "total": {"total": COUNT, "page": 1, "pageSize": COUNT},
    "total of pages": {"totalPages": 1, "page": 1, "pageSize": 50},
    "not about pages": {"@odata.context": "x", "requestId": "r", "status": "ok", "@odata.count": COUNT},
}


@pytest.mark.parametrize("members", COMPLETE.values(), ids=COMPLETE)
def test_complete_envelope_is_accepted(members: dict[str, Any]) -> None:
    assert is_complete(response(members))


def test_empty_list_is_complete_under_the_same_rules_as_others() -> None:
    page = PageResponse(body={"items": [], "count": 0}, headers={}, url="http://h/p")
    assert rejection(page).startswith("$.count: ")
    page = PageResponse(body={"items": [], "total": 0, "totalPages": 0}, headers={}, url="http://h/p")
    assert AutoDetectPaging().read(page, None) == ([], None)


MISSED: dict[str, tuple[PagingStyle, PageResponse]] = {
    "cursor by another name": (CursorPaging(), response({"next_page_token": "c"})),
    "cursor in another object": (CursorPaging(), response({"paging": {"cursors": {"after": "c"}}})),
    "flag": (CursorPaging(), response({"hasMore": True})),
    "total": (CursorPaging(), response({"total": COUNT + 1})),
    "status": (CursorPaging(), response({}, status=206)),
    "link by another name": (NextLink(items="items"), response({"@odata.nextLink": "/x"})),
    "header": (LinkHeader(items="items"), response({}, headers={"X-Next-Page": "2"})),
    "one page with a total": (OnePage(items="items"), response({}, headers={"X-Total-Count": str(COUNT + 1)})),
    "one page with a status": (OnePage(items="items"), response({}, status=206)),
    "empty page by number": (
        PageNumbers(items="rows"),
        PageResponse(body={"rows": [], "hasMore": True}, headers={}, url="http://h/p"),
    ),
    "empty page by offset": (
        OffsetLimit(items="rows"),
        PageResponse(body={"rows": [], "total": 34}, headers={}, url="http://h/p"),
    ),
}


@pytest.mark.parametrize(("style", "page"), MISSED.values(), ids=MISSED)
def test_named_style_that_misses_the_next_page_is_an_error(style: PagingStyle, page: PageResponse) -> None:
    assert "says that there are more pages" in rejection(page, style)


def test_named_style_accepts_ambiguous_members() -> None:
    members = {"limit": 3, "count": COUNT, "somethingNew": 1, "rows": [1, 2]}
    assert is_complete(response(members), OnePage(items="items"))
    assert is_complete(response(members), CursorPaging())
    # A server may send every part of a list with 206, including the last one.
    assert is_complete(response({"total": 34}, status=206), CursorPaging(), "c3")


async def test_one_page_in_an_envelope_can_be_named() -> None:
    async with HostileServer(http(200, orjson.dumps({"rows": ITEMS, "limit": 100}))) as server:
        appointments = await open_service(server, paging=OnePage(items="rows")).preview().collect()
    assert [appointment.appointment_id for appointment in appointments] == ["0", "1", "2"]


MEGABYTE = 1_000_000
LARGE_MEMBERS: dict[str, bytes] = {
    "ones": b'"other":[' + b"1," * (MEGABYTE // 2) + b"1]",
    "zeros": b'"other":[' + b"0," * (MEGABYTE // 2) + b"0]",
    "objects": b'"meta":{"a":[' + b"{}," * (MEGABYTE // 3) + b"{}]}",
    "many members": b",".join(b'"m%d":null' % number for number in range(MEGABYTE // 12)),
    "many empty objects": b'"meta":{' + b",".join(b'"m%d":{}' % number for number in range(MEGABYTE // 12)) + b"}",
    "long name": b'"' + b"x" * MEGABYTE + b'":1',
}


@pytest.mark.row("H2")
@pytest.mark.parametrize("member", LARGE_MEMBERS.values(), ids=LARGE_MEMBERS)
def test_large_member_beside_the_items_is_not_searched(member: bytes) -> None:
    page = PageResponse(body=orjson.loads(b'{"items":[],' + member + b"}"), headers={}, url="http://h/p")
    tracemalloc.start()
    start = time.process_time()
    problem = rejection(page)
    seconds, memory = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 0.3
    assert memory < 5 * MEGABYTE
    assert len(problem) < 250


@pytest.mark.row("H9")
@pytest.mark.parametrize("levels", [300, 1_000])
async def test_deeply_nested_envelope_is_a_typed_error(levels: int) -> None:
    body = b'{"items":[],"meta":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"
    async with HostileServer(http(200, body)) as server:
        with pytest.raises(DecodingError):
            await open_service(server).preview().collect()


@pytest.mark.row("H9")
def test_fingerprint_of_deep_items_and_long_integers_does_not_raise() -> None:
    def nested(levels: int) -> Any:
        value: Any = None
        for _ in range(levels):
            value = [value]
        return value

    for item in (nested(200), nested(300), 2**70):
        assert fingerprint_items([item]) == fingerprint_items([item])
    assert fingerprint_items([2**70]) != fingerprint_items([2**70 + 1])
    assert fingerprint_items([nested(100_000)]) is None
