"""Every style of paging against a server that pages so, and wrong guesses, which are errors and never short lists."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

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
from tests.support.services import FIELDS, open_service

SIZE = 10
COUNT = 34
ITEMS = [FIELDS | {"appointmentId": str(number)} for number in range(COUNT)]
IDS = [str(number) for number in range(COUNT)]

Answer = Callable[[dict[str, str]], object]


def cut(offset: int, size: int = SIZE) -> list[dict[str, str]]:
    return ITEMS[offset : offset + size]


def by_cursor(items: str, cursor: str, parameter: str) -> Answer:
    def answer(query: dict[str, str]) -> object:
        offset = int(query.get(parameter, "c0")[1:])
        following = f"c{offset + SIZE}" if offset + SIZE < COUNT else None
        return {items: cut(offset), cursor: following}

    return answer


def by_cursor_with_total(query: dict[str, str]) -> object:
    offset = int(query.get("cursor", 0))
    following = {"nextCursor": str(offset + SIZE)} if offset + SIZE < COUNT else {}
    return {"items": cut(offset), "total": COUNT} | following


def by_cursor_that_is_empty(query: dict[str, str]) -> object:
    offset = int(query.get("cursor", 0))
    return {"items": cut(offset), "nextCursor": str(offset + SIZE) if offset + SIZE < COUNT else ""}


def by_number(query: dict[str, str]) -> object:
    number = int(query.get("page", 1))
    return {"items": cut((number - 1) * SIZE), "page": number, "totalPages": 4}


def by_number_alone(query: dict[str, str]) -> object:
    return cut((int(query["p"])) * SIZE)


def by_offset(query: dict[str, str]) -> object:
    # It gives fewer than it is asked for: a short page is not the last one.
    return {"rows": cut(int(query["skip"]), min(SIZE, int(query["take"]))), "total": COUNT}


def by_offset_alone(query: dict[str, str]) -> object:
    return {"items": cut(int(query["offset"]), 7)}


class Paged(HostileServer):
    """Answers by the query."""

    def __init__(self, answer: Answer) -> None:
        async def write(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            query = parse_qs(urlsplit(self.requests[-1].target).query)
            writer.write(http(200, orjson.dumps(answer({name: values[0] for name, values in query.items()}))))

        super().__init__(write)


def service(server: HostileServer, paging: PagingStyle | None) -> AppointmentService:
    plain = open_service(server)
    return plain if paging is None else AppointmentService(plain.session, paging=paging)


STYLES: dict[str, tuple[PagingStyle | None, Answer, int]] = {
    "an array": (None, lambda _: ITEMS, 1),
    "an array, named": (OnePage(), lambda _: ITEMS, 1),
    "an envelope of one page": (None, lambda _: {"value": ITEMS, "total": COUNT}, 1),
    "a cursor": (CursorPaging(), by_cursor("items", "nextCursor", "cursor"), 4),
    "a cursor by other names": (
        CursorPaging(items="rows", cursor="more", parameter="from"),
        by_cursor("rows", "more", "from"),
        4,
    ),
    "a cursor, recognized": (None, by_cursor("data", "nextCursor", "cursor"), 4),
    "a continuation token, recognized": (None, by_cursor("items", "continuationToken", "continuationToken"), 4),
    "a page token, recognized": (None, by_cursor("results", "nextPageToken", "pageToken"), 4),
    "a cursor that is missing in the end, recognized": (None, by_cursor_with_total, 4),
    "a cursor that is empty in the end": (CursorPaging(), by_cursor_that_is_empty, 4),
    "numbers": (PageNumbers(page="page", total_pages="totalPages"), by_number, 4),
    "numbers, recognized": (None, by_number, 4),
    "numbers alone": (PageNumbers(parameter="p", first=0, items=None), by_number_alone, 5),
    "offsets": (
        OffsetLimit(limit=20, offset_parameter="skip", limit_parameter="take", items="rows", total="total"),
        by_offset,
        4,
    ),
    "offsets alone": (OffsetLimit(), by_offset_alone, 6),
}


@pytest.mark.parametrize(("paging", "answer", "requests"), STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("prefetch", [0, 1])
async def test_p1_every_item_comes_once_from_any_page_on(
    paging: PagingStyle | None, answer: Answer, requests: int, prefetch: int
) -> None:
    async with Paged(answer) as server:
        pager = service(server, paging).preview(prefetch=prefetch)
        assert [item.appointment_id async for item in pager] == IDS
        assert len(server.requests) == requests
        taken: list[str] = []
        async for page in pager.pages():
            taken += [item.appointment_id for item in page.items]
            token = page.continuation_token
            if token is not None:
                assert token.isprintable()
                rest = [page async for page in pager.pages(continuation_token=token)]
                assert taken + [item.appointment_id for page in rest for item in page.items] == IDS


WRONG: dict[str, tuple[PagingStyle | None, Answer]] = {
    "it ignores the cursor's parameter": (None, lambda _: {"items": cut(0), "nextCursor": "c10"}),
    "it ignores the number": (None, lambda _: {"items": cut(0), "page": 1, "totalPages": 4}),
    "there is more, and no way to it": (None, lambda _: {"items": cut(0), "hasMore": True}),
    "the total is more": (None, lambda _: {"items": cut(0), "total": COUNT}),
    "no items": (None, lambda _: {"rows": cut(0)}),
    "items twice": (None, lambda _: {"items": cut(0), "data": cut(10)}),
    "items that are none": (None, lambda _: {"items": [1]}),
    "an object where an array is named": (OnePage(), lambda _: {"items": ITEMS}),
    "an array where a cursor is named": (CursorPaging(), lambda _: ITEMS),
    "a cursor that is a number": (CursorPaging(), lambda _: {"items": cut(0), "nextCursor": 5}),
    "a number of pages that is none": (PageNumbers(total_pages="pages"), lambda _: {"items": cut(0), "pages": "4"}),
    "another page": (PageNumbers(page="page"), lambda _: {"items": cut(0), "page": 7}),
    "a total that is never reached": (OffsetLimit(total="total"), lambda _: {"items": [], "total": 5}),
    "numbers after a cursor": (
        None,
        lambda query: {"items": cut(10), "totalPages": 4} if query else {"items": cut(0), "nextCursor": "c10"},
    ),
    "an array after an envelope": (
        None,
        lambda query: ITEMS if query else {"items": cut(0), "nextCursor": "c10"},
    ),
}


@pytest.mark.parametrize(("paging", "answer"), WRONG.values(), ids=WRONG)
async def test_a_wrong_guess_is_an_error_and_never_a_list_that_is_too_short(
    paging: PagingStyle | None, answer: Answer
) -> None:
    async with Paged(answer) as server:
        with pytest.raises((DecodingError, PaginationError)) as caught:
            await service(server, paging).preview().collect()
        assert len(server.requests) <= 2
    assert "Meeting" not in repr(caught.value) + repr(getattr(caught.value, "problems", ()))


MORE: dict[str, dict[str, Any]] = {
    "Stripe": {"object": "list", "has_more": True},
    "Notion": {"next_cursor": "c"},
    "TMDB": {"page": 1, "total_pages": 4},
    "GitHub": {"total_count": COUNT},
    "Zendesk": {"meta": {"has_more": True}},
    "X": {"meta": {"next_token": "c"}},
    "Slack": {"response_metadata": {"next_cursor": "c"}},
    "Laravel": {"next_page_url": "/x?page=2"},
    "Strapi": {"meta": {"pagination": {"pageCount": 4, "total": COUNT}}},
    "OData v3": {"odata.nextLink": "/x"},
    "AWS": {"NextToken": "c"},
    "Square": {"cursor": "c"},
    "PagerDuty": {"more": True},
    "ASP.NET": {"totalRecords": COUNT, "nextPage": "/x"},
    "Spring": {"last": False, "number": 1},
    "a total that is a text": {"total": "34"},
    "a list of links": {"links": [{"rel": "next", "href": "/x"}]},
    "FHIR": {"link": [{"relation": "next", "url": "/x"}]},
    "no cursor, and more": {"nextCursor": None, "hasMore": True},
    "no cursor, and a total": {"nextCursor": None, "total": COUNT},
    "no token, and a link": {"continuationToken": None, "links": {"next": "/x"}},
    "one page, and another": {"totalPages": 1, "hasNextPage": True},
    "pages without their number": {"totalPages": 4},
    "a full page": {"pageSize": SIZE},
    "another page": {"page": 2},
}


@pytest.mark.parametrize("said", MORE.values(), ids=MORE)
async def test_whatever_may_say_that_there_is_more_is_an_error(said: dict[str, Any]) -> None:
    async with Paged(lambda _: {"items": cut(0)} | said) as server:
        with pytest.raises(DecodingError, match="not of the paging style") as caught:
            await service(server, None).preview().collect()
        assert "name the paging style" in caught.value.problems[0]
        assert len(server.requests) == 1


LAST: dict[str, dict[str, Any]] = {
    "nothing": {},
    "empty answers to all": {"nextCursor": None, "next": "", "hasMore": False, "links": {"next": None}, "errors": []},
    "a total": {"total": SIZE, "page": 1, "pageSize": SIZE},
    "a total of pages": {"totalPages": 1, "page": 1, "pageSize": 50},
    "what says nothing of pages": {"@odata.context": "x", "requestId": "r", "status": "ok", "@odata.count": SIZE},
}


@pytest.mark.parametrize("said", LAST.values(), ids=LAST)
async def test_an_envelope_that_says_that_it_is_whole_is_taken(said: dict[str, Any]) -> None:
    async with Paged(lambda _: {"items": cut(0)} | said) as server:
        assert len(await service(server, None).preview().collect()) == SIZE


HEADERS = {
    "X-Total-Count": "1000",
    "X-Next-Page": "2",
    "X-Total-Pages": "4",
    "X-Pagination": '{"HasNext":true}',
    "x-ms-continuation": "c",
    "Content-Range": "items 0-9/1000",
    "content-range": "items 0-9/*",
    "X-Has-More": "true",
}


@pytest.mark.parametrize("header", HEADERS)
async def test_a_header_that_may_say_that_there_is_more_is_an_error(header: str) -> None:
    said: Any = {header.replace("-", "_"): HEADERS[header]}
    async with HostileServer(http(200, orjson.dumps(cut(0)), **said)) as server:
        with pytest.raises(DecodingError) as caught:
            await service(server, None).preview().collect()
        assert header.lower() in caught.value.problems[0].lower()


async def test_headers_that_say_that_it_is_whole_are_taken() -> None:
    said: Any = {"X_Total_Count": str(SIZE), "X_Total_Pages": "1", "X_Next_Page": "", "X_RateLimit_Total": "60"}
    async with HostileServer(http(200, orjson.dumps(cut(0)), **said, Content_Range="items 0-9/10")) as server:
        assert len(await service(server, None).preview().collect()) == SIZE


def by_ever_new_cursors() -> Answer:
    numbers = itertools.count()
    return lambda _: {"items": cut(0), "nextCursor": str(next(numbers))}


@pytest.mark.parametrize(
    ("paging", "answer"),
    [
        (PageNumbers(items=None), lambda _: cut(0)),
        (OffsetLimit(items=None), lambda _: cut(0)),
        (OffsetLimit(total="total"), lambda _: {"items": cut(0), "total": COUNT}),
        (None, by_ever_new_cursors()),
    ],
)
async def test_a_server_that_heeds_no_parameter_is_found_out(paging: PagingStyle | None, answer: Answer) -> None:
    async with Paged(answer) as server:
        pager = service(server, paging).preview()
        with pytest.raises(PaginationError, match="the same page twice") as caught:
            await pager.collect()
        assert len(server.requests) == 2
        assert caught.value.continuation_token is not None


async def test_a_cursor_that_is_not_printable_is_no_token() -> None:
    async with Paged(lambda _: {"items": cut(0), "nextCursor": "a\nb"}) as server:
        with pytest.raises(DecodingError) as caught:
            await service(server, None).preview().collect()
        assert caught.value.problems == ("$: a token is not printable",)


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
async def test_a_token_of_another_style_is_refused_before_anything_is_sent(paging: PagingStyle, token: str) -> None:
    async with Paged(lambda _: ITEMS) as server:
        with pytest.raises(ValueError, match="continuation_token must be one that this server gave"):
            await anext(service(server, paging).preview().pages(continuation_token=token))
        assert server.requests == []


async def test_a_style_is_kept_by_with_options_and_must_be_one() -> None:
    async with HostileServer(http(200, b"[]")) as server:
        paging = CursorPaging()
        assert service(server, paging).with_options(deadline=5).paging is paging
        wrong: Any = "cursor"
        with pytest.raises(TypeError, match="paging must be a PagingStyle, not str"):
            service(server, wrong)


class AsksForAnything:
    """A style of the caller's own, and a mistake."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def request(self, _: str | None) -> Any:
        return self.answer

    def read(self, _: PageResponse, __: str | None) -> tuple[list[Any], str | None]:
        raise AssertionError


@pytest.mark.parametrize("answer", [None, {"page": "1"}, PageRequest])
async def test_a_style_that_asks_for_what_is_no_page_is_named(answer: Any) -> None:
    async with HostileServer(http(200, b"[]")) as server:
        rule = f"AsksForAnything.request must return a PageRequest, not {type(answer).__name__}"
        with pytest.raises(TypeError, match=rule):
            await service(server, cast("PagingStyle", AsksForAnything(answer))).preview().collect()
        assert server.requests == []


@pytest.mark.parametrize("style", [PageNumbers, OnePage, AutoDetectPaging])
async def test_a_class_of_styles_is_none(style: Any) -> None:
    async with HostileServer(http(200, b"[]")) as server:
        with pytest.raises(TypeError, match=r"paging must be an instance, such as PageNumbers\(\), not a class"):
            service(server, style)


def test_the_styles_are_paging_styles() -> None:
    for style in (OnePage(), CursorPaging(), PageNumbers(), OffsetLimit(), AutoDetectPaging()):
        assert isinstance(style, PagingStyle)


@pytest.mark.parametrize(
    ("build", "error", "rule"),
    [
        (lambda: OffsetLimit(limit=0), ValueError, "limit must be 1 or more"),
        (lambda: OffsetLimit(limit=cast("Any", "10")), TypeError, "limit must be an int, not str"),
        (lambda: OffsetLimit(limit=True), TypeError, "limit must be an int, not bool"),
        (lambda: OffsetLimit(total=""), ValueError, "total must not be empty"),
        (lambda: OffsetLimit(items=cast("Any", 5)), TypeError, "items must be a str or None, not int"),
        (lambda: PageNumbers(first=-1), ValueError, "first must be 0 or more"),
        (lambda: PageNumbers(first=True), TypeError, "first must be an int, not bool"),
        (lambda: PageNumbers(first=cast("Any", 1.0)), TypeError, "first must be an int, not float"),
        (lambda: PageNumbers(parameter=""), ValueError, "parameter must not be empty"),
        (lambda: PageNumbers(page="\ud800"), ValueError, "page must be printable"),
        (lambda: CursorPaging(cursor=""), ValueError, "cursor must not be empty"),
        (lambda: CursorPaging(items=cast("Any", None)), TypeError, "items must be a str, not NoneType"),
        (lambda: NextLink(link=cast("Any", b"next")), TypeError, "link must be a str, not bytes"),
        (lambda: LinkHeader(items=cast("Any", b"")), TypeError, "items must be a str or None, not bytes"),
    ],
)
def test_a_style_that_cannot_work_is_refused_when_it_is_built(
    build: Callable[[], PagingStyle], error: type[Exception], rule: str
) -> None:
    with pytest.raises(error, match=f"^{rule}$"):
        build()
