import itertools
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from connector_async.sandbox import BodyFormat, PreviewPaging, Sandbox, storage
from connector_async.sandbox.models import Position
from connector_async.sandbox.paging import CURSOR_PATTERN, read_cursor, write_cursor
from tests.support.sandbox_pages import DAY, SEED, calling, calling_guide, following, seeds, target, walk
from tests.support.sandbox_user import BOB, joined

KEYSET = [PreviewPaging.CURSOR, PreviewPaging.LINK_HEADER, PreviewPaging.NEXT_LINK]
PAGED = list(PreviewPaging)[1:]


def chunks(ids: Sequence[str], size: int) -> list[list[str]]:
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)] or [[]]


@pytest.mark.parametrize("paging", list(PreviewPaging))
@pytest.mark.parametrize("body_format", list(BodyFormat))
@pytest.mark.parametrize("size", [1, 3, 6, 100])
@pytest.mark.parametrize("count", [0, 1, 6, 7])
async def test_a_walk_shows_everything_once_and_in_order(
    paging: PreviewPaging, body_format: BodyFormat, size: int, count: int
) -> None:
    async with calling(paging, size, body_format) as caller:
        wanted = seeds(count)
        ids = await caller.sandbox.seed("acme", wanted)
        if caller.user:
            next_day = timedelta(days=1)
            late = attrs.evolve(SEED, start=SEED.start + next_day, end=SEED.end + next_day)
            await caller.sandbox.seed("acme", [attrs.evolve(SEED, ad_id=BOB["adId"]), late])
        in_order = [id_ for _, _, id_ in sorted(zip((one.start for one in wanted), itertools.count(), ids))]
        pages = [page async for page in walk(caller, paging)]
    assert pages == ([in_order] if paging is PreviewPaging.ARRAY else chunks(in_order, size))


@pytest.mark.parametrize("body_format", list(BodyFormat))
@pytest.mark.parametrize("paging", KEYSET)
async def test_a_walk_by_cursors_is_not_disturbed_by_what_is_created_and_deleted(
    paging: PreviewPaging, body_format: BodyFormat
) -> None:
    async with calling(paging, 2, body_format) as caller:
        there = await caller.sandbox.seed("acme", seeds(20))
        added: set[str] = set()
        deleted: set[str] = set()
        shown: list[str] = []
        async for page in walk(caller, paging):
            shown += page
            ahead = next((id_ for id_ in there if id_ not in {*shown, *deleted}), None)
            gone = {page[-1], ahead} - {None, *added, *deleted}
            for appointment_id in filter(None, gone):
                await caller.delete(appointment_id)
                deleted.add(appointment_id)
            # The first of them stands before the walk, the second shares its start with what is shown last.
            for start in ("2024-01-15T00:00:00Z", "2024-01-15T10:00:00Z"):
                if len(added) < 20:
                    added.add(await caller.create(start))
    assert len(set(shown)) == len(shown)
    assert set(there) - deleted <= set(shown)
    assert deleted & set(shown)
    assert deleted - set(shown)
    assert added & set(shown)
    assert added - set(shown)


@pytest.mark.parametrize("paging", [PreviewPaging.PAGE_NUMBERS, PreviewPaging.OFFSET])
async def test_page_numbers_and_offsets_count_what_is_there_at_the_moment(paging: PreviewPaging) -> None:
    async with calling_guide(paging, 2, 0) as caller:
        ids = await caller.sandbox.seed("acme", [SEED] * 5)
        pages = walk(caller, paging)
        assert await anext(pages) == ids[:2]
        await caller.delete(ids[0])
        assert [page async for page in pages] == [ids[3:5]]


EMPTY: dict[PreviewPaging, object] = {
    PreviewPaging.ARRAY: [],
    PreviewPaging.CURSOR: {"items": [], "nextCursor": None},
    PreviewPaging.PAGE_NUMBERS: {"items": [], "page": 1, "totalPages": 1},
    PreviewPaging.OFFSET: {"items": [], "total": 0},
    PreviewPaging.LINK_HEADER: [],
    PreviewPaging.NEXT_LINK: {"value": [], "nextLink": None},
}


@pytest.mark.parametrize("paging", list(PreviewPaging))
async def test_of_nothing_there_is_one_empty_page(paging: PreviewPaging) -> None:
    async with calling_guide(paging, 2, 0) as caller:
        answer = await caller.get({})
    assert (answer.status, answer.body, answer.link) == (200, EMPTY[paging], None)


async def test_a_preview_is_an_array_unless_told_otherwise() -> None:
    async with joined(Sandbox()) as acme:
        assert await acme.call("GET", "/preview") == (200, [])


@pytest.mark.parametrize(
    ("paging", "query", "body"),
    [
        (PreviewPaging.PAGE_NUMBERS, {"page": "3"}, {"items": [], "page": 3, "totalPages": 2}),
        (PreviewPaging.PAGE_NUMBERS, {"page": "9" * 18}, {"items": [], "page": 10**18 - 1, "totalPages": 2}),
        (PreviewPaging.OFFSET, {"offset": "3"}, {"items": [], "total": 3}),
        (PreviewPaging.OFFSET, {"offset": "9" * 18, "limit": "9" * 18}, {"items": [], "total": 3}),
        (PreviewPaging.CURSOR, {"cursor": "_" * 20}, {"items": [], "nextCursor": None}),
    ],
)
async def test_a_position_beyond_the_end_is_an_empty_page(
    paging: PreviewPaging, query: dict[str, str], body: object
) -> None:
    async with calling_guide(paging, 2, 3) as caller:
        assert (await caller.get(query)).body == body


async def test_the_last_page_number_of_the_largest_pages_is_an_empty_page() -> None:
    async with calling_guide(PreviewPaging.PAGE_NUMBERS, 2**31 - 1, 3) as caller:
        assert (await caller.get({"page": "9" * 18})).body == {"items": [], "page": 10**18 - 1, "totalPages": 1}


@pytest.mark.parametrize(("limit", "shown"), [("1", 1), ("2", 2), ("3", 3), ("4", 3), ("100", 3), ("02", 2)])
async def test_a_limit_beyond_the_page_size_is_capped(limit: str, shown: int) -> None:
    async with calling_guide(PreviewPaging.OFFSET, 3, 6) as caller:
        answer = await caller.get({"limit": limit})
        everything = await caller.get({"offset": "0"}), await caller.get({"offset": "3"})
    assert answer.ids == [*everything[0].ids, *everything[1].ids][:shown]
    assert answer.body["total"] == 6


NO_CURSOR = ["", "x", "A" * 19, "A" * 21, "A" * 19 + "=", "A" * 19 + "+", "A" * 20 + "\n", "null"]
NO_NUMBER = ["", "x", "-1", "+1", "1.0", "٧", "1" * 19, "1 ", "1e1", "null"]
MALFORMED = [
    *((paging, "cursor", text) for paging in KEYSET for text in NO_CURSOR),
    *((PreviewPaging.PAGE_NUMBERS, "page", text) for text in [*NO_NUMBER, "0"]),
    *((PreviewPaging.OFFSET, "offset", text) for text in NO_NUMBER),
    *((PreviewPaging.OFFSET, "limit", text) for text in [*NO_NUMBER, "0"]),
]


@pytest.mark.parametrize(("paging", "name", "text"), MALFORMED)
async def test_a_malformed_position_is_400_that_names_the_parameter(
    paging: PreviewPaging, name: str, text: str
) -> None:
    async with calling_guide(paging, 2, 1) as caller:
        answer = await caller.get({name: text})
    assert (answer.status, list(answer.body["errors"])) == (400, [name])


async def test_all_that_is_wrong_with_a_preview_is_told_at_once() -> None:
    async with calling(PreviewPaging.OFFSET, 2, BodyFormat.REFERENCE) as caller:
        answer = await caller.get({"adId": "", "endDate": "x", "offset": "x", "limit": "x"})
    assert (answer.status, answer.body["errors"].keys()) == (400, {"adId", "endDate", "offset", "limit"})


@pytest.mark.parametrize("paging", list(PreviewPaging))
async def test_the_parameters_of_other_styles_are_ignored(paging: PreviewPaging) -> None:
    own = {
        PreviewPaging.ARRAY: set(),
        PreviewPaging.PAGE_NUMBERS: {"page"},
        PreviewPaging.OFFSET: {"offset", "limit"},
    }.get(paging, {"cursor"})
    async with calling_guide(paging, 2, 3) as caller:
        answer = await caller.get(dict.fromkeys({"cursor", "page", "offset", "limit"} - own, "x"))
        assert (answer.status, answer.ids) == (200, (await caller.get({})).ids)


@pytest.mark.parametrize("paging", [PreviewPaging.LINK_HEADER, PreviewPaging.NEXT_LINK])
async def test_a_link_repeats_the_other_parameters(paging: PreviewPaging) -> None:
    user = {"domainId": 'a&b=c+d e"<é>', "adId": "100%"}
    async with calling(paging, 1, BodyFormat.REFERENCE) as caller:
        await caller.sandbox.seed("acme", [attrs.evolve(SEED, domain_id=user["domainId"], ad_id=user["adId"])] * 3)
        asked = {**user, **DAY, "other": ""}
        first = await caller.get(asked)
        first_link = following(paging, first, 1)
        assert isinstance(first_link, URL)
        second_link = following(paging, await caller.get(first_link), 2)
        assert isinstance(second_link, URL)
        last = await caller.get(second_link)
    for link in (first_link, second_link):
        assert list(link.query) == [*asked, "cursor"]
        assert {**link.query, "cursor": ""} == {**asked, "cursor": ""}
    assert first_link.query["cursor"] != second_link.query["cursor"]
    assert (len(last.ids), following(paging, last, 3)) == (1, None)


async def test_of_a_parameter_given_twice_a_link_repeats_the_value_that_counted() -> None:
    async with calling_guide(PreviewPaging.LINK_HEADER, 1, 2) as caller:
        answer = await caller.get(URL("/acme/appointment/preview?a=1&b=2&a=3"))
        assert list(target(answer).query.items())[:-1] == [("a", "1"), ("b", "2")]


async def test_a_link_in_the_header_is_a_path_and_query() -> None:
    sandbox = Sandbox(paging=PreviewPaging.LINK_HEADER, page_size=1)
    async with joined(sandbox, "a b;c") as tenant:
        await sandbox.seed(tenant.name, seeds(2))
        async with tenant.session.get("/a b;c/appointment/preview", headers=tenant.headers) as response:
            link = response.headers["Link"]
    assert link.startswith("</a%20b;c/appointment/preview?cursor=")


@pytest.mark.parametrize(
    "host", ["api.example", "api.example:8443", "[::1]:80", "[::ffff:127.0.0.1]", "127.0.0.1", "a%20b:", "x_y:65535"]
)
async def test_a_link_in_the_body_has_the_origin_that_was_asked(host: str) -> None:
    async with calling_guide(PreviewPaging.NEXT_LINK, 1, 2) as caller:
        by_host = await caller.get({}, Host=host)
        by_address = await caller.get({})
        base_url = caller.sandbox.base_url
    assert by_host.body["nextLink"].startswith(f"http://{host}/acme/appointment/preview?cursor=")
    assert by_address.body["nextLink"].startswith(f"{base_url}/acme/appointment/preview?cursor=")


@pytest.mark.parametrize(
    "host",
    [
        *("", "a b", 'x" y', "[::1", "::1", "[]", "[1]", "[fe80::1%1]", ":80", "a/b", "a?b", "a#b", "u@a"),
        *("a:b", "a:65536", "a:1:2", "a%2", "<a>", "\xe4"),
    ],
)
async def test_a_host_that_is_none_is_refused_where_a_link_would_have_it(host: str) -> None:
    for paging in PreviewPaging:
        async with calling_guide(paging, 1, 2) as caller:
            answer = await caller.ask(f"Host: {host}\r\n")
        refused = paging is PreviewPaging.NEXT_LINK
        assert answer.startswith("HTTP/1.1 400 " if refused else "HTTP/1.1 200 ")
        assert ('"errors":{"Host":["The Host header must be a host, with or without a port."]}' in answer) is refused


async def test_a_link_in_the_body_needs_a_host_which_http_1_0_does_not() -> None:
    for paging, status in ((PreviewPaging.NEXT_LINK, 400), (PreviewPaging.CURSOR, 200)):
        async with calling_guide(paging, 1, 2) as caller:
            assert (await caller.ask("", version="1.0")).startswith(f"HTTP/1.0 {status} ")


@pytest.mark.parametrize("paging", PAGED)
async def test_no_more_is_read_than_a_page_and_one(paging: PreviewPaging, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    build = storage._appointment

    def count(row: Any) -> Any:
        read.append(row)
        return build(row)

    monkeypatch.setattr(storage, "_appointment", count)
    async with calling_guide(paging, 2, 9) as caller:
        async for page in walk(caller, paging):
            assert len(page) <= len(read) <= 3
            read.clear()


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (0, ValueError, "page_size must be between 1 and"),
        (-1, ValueError, "page_size must be between 1 and"),
        (2**31, ValueError, "page_size must be between 1 and 2147483647"),
        (1.0, TypeError, "page_size must be an int, not"),
        ("1", TypeError, "page_size must be an int, not"),
        (True, TypeError, "page_size must be an int, not"),
        (None, TypeError, "page_size must be an int, not"),
    ],
)
def test_a_page_size_that_is_none_is_refused_at_once(size: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Sandbox(page_size=size)


def test_a_style_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="paging"):
        Sandbox(paging="cursor")  # type: ignore[arg-type]


@given(st.builds(Position, start=st.datetimes(timezones=st.just(UTC)), sequence=st.integers(0, 2**56 - 1)))
def test_a_cursor_is_read_as_it_was_written(position: Position) -> None:
    assert read_cursor(write_cursor(position)) == position


@given(st.from_regex(CURSOR_PATTERN.strip("^$"), fullmatch=True))
def test_whatever_looks_like_a_cursor_is_one(text: str) -> None:
    assert 0 <= read_cursor(text).sequence < 2**56
