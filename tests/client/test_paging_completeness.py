"""What says that a page is the last one, and what may mean that there are more: then nothing is taken for the whole."""

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
from connector_async.pagination import fingerprint_of
from tests.support.hostile import HostileServer, http
from tests.support.services import FIELDS, open_service

ITEMS = [FIELDS | {"appointmentId": str(number)} for number in range(3)]
COUNT = len(ITEMS)


def response(said: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> PageResponse:
    return PageResponse(body={"items": ITEMS, **said}, headers=headers or {}, url="http://h/p", status=status)


def refusal(answer: PageResponse, style: PagingStyle | None = None, token: str | None = None) -> str:
    with pytest.raises(DecodingError) as caught:
        (style or AutoDetectPaging()).read(answer, token)
    return caught.value.problems[0]


def is_whole(answer: PageResponse, style: PagingStyle | None = None, token: str | None = None) -> bool:
    return (style or AutoDetectPaging()).read(answer, token) == (ITEMS, None)


MAY_BE_A_PART: list[dict[str, Any]] = [
    {"page": 1},
    {"page": 0},
    {"limit": 100},
    {"offset": 0},
    {"pageSize": 50},
    {"per_page": 50},
    {"count": COUNT},
    {"Count": COUNT + 7},
    {"skip": 0, "top": 100},
    {"meta": {"pagination": {"limit": 100}}},
    {"partial": True},
    {"status": "partial"},
    {"status": "206 Partial Content"},
    {"statusCode": 206},
    {"message": "Showing 3 of 34"},
    {"message": "Showing 3 out of 34"},
    {"message": "3/34"},
    {"message": "capped at 3"},
    {"isLast": 0},
    {"done": 0, "limit": 3},
    {"totalPages": 0},
    {"isTruncated": True},
    {"incomplete_results": True},
    {"remaining": 31},
    {"isLast": False},
    {"done": False},
    {"total": COUNT + 1},
    {"total": COUNT - 1},
    {"total": True},
    {"hasPreviousPage": True},
    {"success": False},
    {"errors": [{"code": "timeout"}]},
    {"somethingNew": 1},
    {"somethingNew": False},
]


@pytest.mark.row("H10")
@pytest.mark.parametrize("said", MAY_BE_A_PART, ids=str)
def test_an_envelope_that_may_be_a_part_is_refused_by_its_key(said: dict[str, Any]) -> None:
    problem = refusal(response(said))
    assert any(problem.startswith(f"$.{name}") for name in said)
    assert problem.endswith('name the paging style (OnePage(items="items") if there are none)')


@pytest.mark.row("H10")
@pytest.mark.parametrize("body", ["array", "envelope"])
@pytest.mark.parametrize("status", [202, 206, 207])
async def test_a_status_of_a_part_is_refused(status: int, body: str) -> None:
    content = orjson.dumps(ITEMS if body == "array" else {"items": ITEMS})
    async with HostileServer(http(status, content)) as server:
        with pytest.raises(DecodingError) as caught:
            await open_service(server).preview().collect()
    assert caught.value.problems[0].startswith("status: there may be more pages")


HEADERS_OF_A_PART = {
    "X-Page": "1",
    "X-Per-Page": "3",
    "X-Limit": "100",
    "X-Offset": "0",
    "X-Item-Count": "3",
    "Content-Range": "items 0-2/34",
    "Preference-Applied": "odata.maxpagesize=3",
    "Accept-Ranges": "items 50",
    "X-Total-Count": "34",
    "X-Truncated": "true",
    "X-NextPageToken": "abc",
    "X-HasNextPage": "true",
    "X-Next-Request": "/a?page=2",
    "X-Items-Remaining": "150",
    "Warning": '299 - "partial results"',
}


@pytest.mark.row("H10")
@pytest.mark.parametrize("header", HEADERS_OF_A_PART)
@pytest.mark.parametrize("body", [ITEMS, {"items": ITEMS}], ids=["array", "envelope"])
def test_a_header_of_a_part_is_refused_beside_an_array_and_an_envelope(header: str, body: Any) -> None:
    answer = PageResponse(body=body, headers={header: HEADERS_OF_A_PART[header]}, url="http://h/p")
    assert refusal(answer).startswith(f"{header}: ")


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
@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_key_is_not_refused(name: str) -> None:
    assert is_whole(response({name: HARMLESS[name]}))


@pytest.mark.row("H10")
def test_harmless_keys_and_headers_are_not_refused_together() -> None:
    assert is_whole(response(HARMLESS, headers=HARMLESS_HEADERS))


def test_a_link_to_the_page_itself_is_not_refused() -> None:
    assert is_whole(response({"_links": {"self": {"href": "/a"}}}))
    assert is_whole(response({"links": {"self": "/a", "next": None}}))


SAYS_WHOLE: list[dict[str, Any]] = [
    {"total": COUNT},
    {"totalCount": COUNT},
    {"@odata.count": COUNT},
    {"totalPages": 1},
    {"meta": {"hasMore": False}},
    {"isLast": True},
    {"nextLink": None},
]


@pytest.mark.row("H10")
@pytest.mark.parametrize("said", SAYS_WHOLE, ids=str)
def test_what_says_that_nothing_follows_makes_limit_and_count_harmless(said: dict[str, Any]) -> None:
    assert is_whole(response({"limit": 100, "offset": 0, "count": COUNT, **said}))


def test_a_total_in_a_header_makes_a_limit_harmless() -> None:
    assert is_whole(response({"limit": 100}, headers={"X-Total-Count": str(COUNT)}))


def test_an_empty_list_is_held_to_the_same_rules() -> None:
    empty = PageResponse(body={"items": [], "count": 0}, headers={}, url="http://h/p")
    assert refusal(empty).startswith("$.count: ")
    empty = PageResponse(body={"items": [], "total": 0, "totalPages": 0}, headers={}, url="http://h/p")
    assert AutoDetectPaging().read(empty, None) == ([], None)


UNFOUND: dict[str, tuple[PagingStyle, PageResponse]] = {
    "a cursor by another name": (CursorPaging(), response({"next_page_token": "c"})),
    "a cursor within another object": (CursorPaging(), response({"paging": {"cursors": {"after": "c"}}})),
    "a flag": (CursorPaging(), response({"hasMore": True})),
    "a total": (CursorPaging(), response({"total": COUNT + 1})),
    "a status": (CursorPaging(), response({}, status=206)),
    "a link by another name": (NextLink(items="items"), response({"@odata.nextLink": "/x"})),
    "a header": (LinkHeader(items="items"), response({}, headers={"X-Next-Page": "2"})),
    "one page with a total": (OnePage(items="items"), response({}, headers={"X-Total-Count": str(COUNT + 1)})),
    "one page with a status": (OnePage(items="items"), response({}, status=206)),
    "an empty page by number": (
        PageNumbers(items="rows"),
        PageResponse(body={"rows": [], "hasMore": True}, headers={}, url="http://h/p"),
    ),
    "an empty page by offset": (
        OffsetLimit(items="rows"),
        PageResponse(body={"rows": [], "total": 34}, headers={}, url="http://h/p"),
    ),
}


@pytest.mark.parametrize(("style", "answer"), UNFOUND.values(), ids=UNFOUND)
def test_a_named_style_that_misses_the_next_page_is_an_error(style: PagingStyle, answer: PageResponse) -> None:
    assert "says that there are more pages" in refusal(answer, style)


def test_a_named_style_is_believed_about_what_may_mean_anything() -> None:
    said = {"limit": 3, "count": COUNT, "somethingNew": 1, "rows": [1, 2]}
    assert is_whole(response(said), OnePage(items="items"))
    assert is_whole(response(said), CursorPaging())
    # A server may send every part of a list with 206, the last one too.
    assert is_whole(response({"total": 34}, status=206), CursorPaging(), "c3")


async def test_one_page_in_an_envelope_can_be_named() -> None:
    async with HostileServer(http(200, orjson.dumps({"rows": ITEMS, "limit": 100}))) as server:
        found = await open_service(server, paging=OnePage(items="rows")).preview().collect()
    assert [appointment.appointment_id for appointment in found] == ["0", "1", "2"]


MEGABYTE = 1_000_000
BESIDE: dict[str, bytes] = {
    "ones": b'"other":[' + b"1," * (MEGABYTE // 2) + b"1]",
    "zeros": b'"other":[' + b"0," * (MEGABYTE // 2) + b"0]",
    "objects": b'"meta":{"a":[' + b"{}," * (MEGABYTE // 3) + b"{}]}",
    "many members": b",".join(b'"m%d":null' % number for number in range(MEGABYTE // 12)),
    "many empty objects": b'"meta":{' + b",".join(b'"m%d":{}' % number for number in range(MEGABYTE // 12)) + b"}",
    "a long name": b'"' + b"x" * MEGABYTE + b'":1',
}


@pytest.mark.row("H2")
@pytest.mark.parametrize("member", BESIDE.values(), ids=BESIDE)
def test_what_stands_beside_the_items_is_not_searched_to_its_end(member: bytes) -> None:
    answer = PageResponse(body=orjson.loads(b'{"items":[],' + member + b"}"), headers={}, url="http://h/p")
    tracemalloc.start()
    began = time.process_time()
    problem = refusal(answer)
    took, memory = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 0.3
    assert memory < 5 * MEGABYTE
    assert len(problem) < 250


@pytest.mark.row("H9")
@pytest.mark.parametrize("levels", [300, 1_000])
async def test_a_deep_envelope_is_a_typed_error(levels: int) -> None:
    body = b'{"items":[],"meta":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"
    async with HostileServer(http(200, body)) as server:
        with pytest.raises(DecodingError):
            await open_service(server).preview().collect()


@pytest.mark.row("H9")
def test_a_fingerprint_of_deep_items_and_long_integers_never_raises() -> None:
    def deep(levels: int) -> Any:
        value: Any = None
        for _ in range(levels):
            value = [value]
        return value

    for item in (deep(200), deep(300), 2**70):
        assert fingerprint_of([item]) == fingerprint_of([item])
    assert fingerprint_of([2**70]) != fingerprint_of([2**70 + 1])
    assert fingerprint_of([deep(100_000)]) is None
