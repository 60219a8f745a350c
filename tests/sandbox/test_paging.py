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
from tests.support.sandbox_pages import (
    DAY,
    SEED,
    link_target,
    next_query,
    open_guide_preview,
    open_preview,
    unordered_seeds,
    walk,
)
from tests.support.sandbox_user import BOB, signed_in

CURSOR_STYLES = [PreviewPaging.CURSOR, PreviewPaging.LINK_HEADER, PreviewPaging.NEXT_LINK]
PAGED = list(PreviewPaging)[1:]


def chunks(ids: Sequence[str], size: int) -> list[list[str]]:
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


# Every pair of two columns' values occurs. With 3 starts, appointments share a start; with 7, all starts differ.
@pytest.mark.parametrize(
    ("paging", "size", "count", "body_format", "starts", "integer_ids"),
    [
        (PreviewPaging.ARRAY, 1, 7, BodyFormat.REFERENCE, 7, True),
        (PreviewPaging.ARRAY, 3, 1, BodyFormat.GUIDE, 3, False),
        (PreviewPaging.ARRAY, 6, 6, BodyFormat.REFERENCE, 7, True),
        (PreviewPaging.CURSOR, 1, 6, BodyFormat.REFERENCE, 3, False),
        (PreviewPaging.CURSOR, 3, 7, BodyFormat.REFERENCE, 7, False),
        (PreviewPaging.CURSOR, 6, 1, BodyFormat.GUIDE, 7, True),
        (PreviewPaging.PAGE_NUMBERS, 1, 6, BodyFormat.GUIDE, 7, False),
        (PreviewPaging.PAGE_NUMBERS, 3, 7, BodyFormat.REFERENCE, 3, True),
        (PreviewPaging.PAGE_NUMBERS, 6, 1, BodyFormat.REFERENCE, 3, True),
        (PreviewPaging.OFFSET, 1, 1, BodyFormat.GUIDE, 3, False),
        (PreviewPaging.OFFSET, 3, 6, BodyFormat.GUIDE, 3, True),
        (PreviewPaging.OFFSET, 6, 7, BodyFormat.REFERENCE, 7, False),
        (PreviewPaging.LINK_HEADER, 1, 1, BodyFormat.GUIDE, 3, False),
        (PreviewPaging.LINK_HEADER, 3, 6, BodyFormat.REFERENCE, 7, True),
        (PreviewPaging.LINK_HEADER, 6, 7, BodyFormat.GUIDE, 3, False),
        (PreviewPaging.NEXT_LINK, 1, 7, BodyFormat.GUIDE, 7, False),
        (PreviewPaging.NEXT_LINK, 3, 1, BodyFormat.REFERENCE, 7, False),
        (PreviewPaging.NEXT_LINK, 6, 6, BodyFormat.REFERENCE, 3, True),
    ],
)
async def test_walk_shows_every_appointment_once_and_in_order(
    paging: PreviewPaging, size: int, count: int, body_format: BodyFormat, starts: int, *, integer_ids: bool
) -> None:
    async with open_preview(paging, size, body_format, integer_ids=integer_ids) as user:
        seeds = unordered_seeds(count, starts=starts)
        ids = await user.sandbox.seed("acme", seeds)
        if user.user:
            next_day = timedelta(days=1)
            late = attrs.evolve(SEED, start=SEED.start + next_day, end=SEED.end + next_day)
            await user.sandbox.seed("acme", [attrs.evolve(SEED, ad_id=BOB["adId"]), late])
        pages = [page async for page in walk(user, paging)]
    in_order = [ids[index] for index in sorted(range(count), key=lambda index: seeds[index].start)]
    assert pages == ([in_order] if paging is PreviewPaging.ARRAY else chunks(in_order, size))


@pytest.mark.parametrize(
    ("paging", "body_format"),
    [
        (PreviewPaging.CURSOR, BodyFormat.GUIDE),
        (PreviewPaging.LINK_HEADER, BodyFormat.REFERENCE),
        (PreviewPaging.NEXT_LINK, BodyFormat.GUIDE),
    ],
)
async def test_walk_by_cursors_survives_creates_and_deletes(paging: PreviewPaging, body_format: BodyFormat) -> None:
    async with open_preview(paging, 2, body_format) as user:
        initial = await user.sandbox.seed("acme", unordered_seeds(20))
        added: set[str] = set()
        deleted: set[str] = set()
        shown: list[str] = []
        async for page in walk(user, paging):
            shown += page
            ahead = next((id_ for id_ in initial if id_ not in {*shown, *deleted}), None)
            for appointment_id in filter(None, {page[-1], ahead} - {None, *added, *deleted}):
                await user.delete(appointment_id)
                deleted.add(appointment_id)
            # The first one starts before the walk's position, the second one at the start of the last one shown.
            for start in ("2024-01-15T00:00:00Z", "2024-01-15T10:00:00Z"):
                if len(added) < 20:
                    added.add(await user.create(start))
    assert len(set(shown)) == len(shown)
    assert set(initial) - deleted <= set(shown)
    assert deleted & set(shown)
    assert deleted - set(shown)
    assert added & set(shown)
    assert added - set(shown)


@pytest.mark.parametrize("paging", [PreviewPaging.PAGE_NUMBERS, PreviewPaging.OFFSET])
async def test_page_numbers_and_offsets_count_the_current_appointments(paging: PreviewPaging) -> None:
    async with open_guide_preview(paging, 2, 0) as user:
        ids = await user.sandbox.seed("acme", [SEED] * 5)
        pages = walk(user, paging)
        assert await anext(pages) == ids[:2]
        await user.delete(ids[0])
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
async def test_empty_preview_has_one_empty_page(paging: PreviewPaging) -> None:
    async with open_guide_preview(paging, 2, 0) as user:
        page = await user.get({})
    assert (page.status, page.body, page.link) == (200, EMPTY[paging], None)


async def test_preview_is_an_array_by_default() -> None:
    async with signed_in(Sandbox()) as acme:
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
async def test_position_beyond_the_end_is_an_empty_page(
    paging: PreviewPaging, query: dict[str, str], body: object
) -> None:
    async with open_guide_preview(paging, 2, 3) as user:
        assert (await user.get(query)).body == body


async def test_last_page_number_of_the_largest_pages_is_an_empty_page() -> None:
    async with open_guide_preview(PreviewPaging.PAGE_NUMBERS, 2**31 - 1, 3) as user:
        assert (await user.get({"page": "9" * 18})).body == {"items": [], "page": 10**18 - 1, "totalPages": 1}


@pytest.mark.parametrize(("limit", "shown"), [("1", 1), ("3", 3), ("4", 3), ("02", 2)])
async def test_limit_is_capped_at_the_page_size(limit: str, shown: int) -> None:
    async with open_guide_preview(PreviewPaging.OFFSET, 3, 6) as user:
        page = await user.get({"limit": limit})
        everything = await user.get({"offset": "0"}), await user.get({"offset": "3"})
    assert page.ids == [*everything[0].ids, *everything[1].ids][:shown]
    assert page.body["total"] == 6


# The three styles with cursors share one reader, and so do the three numbers.
MALFORMED = [
    (PreviewPaging.CURSOR, "cursor", ""),
    (PreviewPaging.LINK_HEADER, "cursor", "A" * 19),
    (PreviewPaging.NEXT_LINK, "cursor", "A" * 21),
    (PreviewPaging.CURSOR, "cursor", "A" * 19 + "="),
    (PreviewPaging.CURSOR, "cursor", "A" * 19 + "+"),
    (PreviewPaging.CURSOR, "cursor", "A" * 20 + "\n"),
    (PreviewPaging.PAGE_NUMBERS, "page", ""),
    (PreviewPaging.PAGE_NUMBERS, "page", "0"),
    (PreviewPaging.PAGE_NUMBERS, "page", "٧"),
    (PreviewPaging.PAGE_NUMBERS, "page", "1" * 19),
    (PreviewPaging.OFFSET, "offset", "-1"),
    (PreviewPaging.OFFSET, "offset", "+1"),
    (PreviewPaging.OFFSET, "offset", "1.0"),
    (PreviewPaging.OFFSET, "offset", "x"),
    (PreviewPaging.OFFSET, "limit", "0"),
    (PreviewPaging.OFFSET, "limit", "1 "),
    (PreviewPaging.OFFSET, "limit", "1e1"),
]


@pytest.mark.parametrize(("paging", "name", "value"), MALFORMED)
async def test_malformed_position_is_400_that_names_the_parameter(paging: PreviewPaging, name: str, value: str) -> None:
    async with open_guide_preview(paging, 2, 1) as user:
        page = await user.get({name: value})
    assert (page.status, list(page.body["errors"])) == (400, [name])


async def test_one_400_lists_every_error_of_a_preview_query() -> None:
    async with open_preview(PreviewPaging.OFFSET, 2, BodyFormat.REFERENCE) as user:
        page = await user.get({"adId": "", "endDate": "x", "offset": "x", "limit": "x"})
    assert (page.status, page.body["errors"].keys()) == (400, {"adId", "endDate", "offset", "limit"})


@pytest.mark.parametrize("paging", list(PreviewPaging))
async def test_parameters_of_other_styles_are_ignored(paging: PreviewPaging) -> None:
    own = {
        PreviewPaging.ARRAY: set(),
        PreviewPaging.PAGE_NUMBERS: {"page"},
        PreviewPaging.OFFSET: {"offset", "limit"},
    }.get(paging, {"cursor"})
    async with open_guide_preview(paging, 2, 3) as user:
        page = await user.get(dict.fromkeys({"cursor", "page", "offset", "limit"} - own, "x"))
        assert (page.status, page.ids) == (200, (await user.get({})).ids)


@pytest.mark.parametrize("paging", [PreviewPaging.LINK_HEADER, PreviewPaging.NEXT_LINK])
async def test_link_repeats_the_other_parameters(paging: PreviewPaging) -> None:
    owner = {"domainId": 'a&b=c+d e"<é>', "adId": "100%"}
    async with open_preview(paging, 1, BodyFormat.REFERENCE) as user:
        await user.sandbox.seed("acme", [attrs.evolve(SEED, domain_id=owner["domainId"], ad_id=owner["adId"])] * 3)
        query = {**owner, **DAY, "other": ""}
        first_link = next_query(paging, await user.get(query), 1)
        assert isinstance(first_link, URL)
        second_link = next_query(paging, await user.get(first_link), 2)
        assert isinstance(second_link, URL)
        last = await user.get(second_link)
    for link in (first_link, second_link):
        assert list(link.query) == [*query, "cursor"]
        assert {**link.query, "cursor": ""} == {**query, "cursor": ""}
    assert first_link.query["cursor"] != second_link.query["cursor"]
    assert (len(last.ids), next_query(paging, last, 3)) == (1, None)


async def test_link_repeats_the_first_value_of_a_repeated_parameter() -> None:
    async with open_guide_preview(PreviewPaging.LINK_HEADER, 1, 2) as user:
        page = await user.get(URL("/acme/appointment/preview?a=1&b=2&a=3"))
        assert list(link_target(page).query.items())[:-1] == [("a", "1"), ("b", "2")]


async def test_link_in_the_header_is_a_path_and_query() -> None:
    sandbox = Sandbox(paging=PreviewPaging.LINK_HEADER, page_size=1)
    async with signed_in(sandbox, "a b;c") as tenant:
        await sandbox.seed(tenant.name, unordered_seeds(2))
        async with tenant.session.get("/a b;c/appointment/preview", headers=tenant.headers) as response:
            link = response.headers["Link"]
    assert link.startswith("</a%20b;c/appointment/preview?cursor=")


@pytest.mark.parametrize(
    "host", ["api.example", "api.example:8443", "[::1]:80", "[::ffff:127.0.0.1]", "a%20b:", "x_y:65535"]
)
async def test_link_in_the_body_has_the_origin_of_the_request(host: str) -> None:
    async with open_guide_preview(PreviewPaging.NEXT_LINK, 1, 2) as user:
        by_host = await user.get({}, Host=host)
        by_address = await user.get({})
        base_url = user.sandbox.base_url
    assert by_host.body["nextLink"].startswith(f"http://{host}/acme/appointment/preview?cursor=")
    assert by_address.body["nextLink"].startswith(f"{base_url}/acme/appointment/preview?cursor=")


@pytest.mark.parametrize(
    "host",
    [
        *("", "a b", "::1", "[::1", "[1]", "[fe80::1%1]", ":80", "a/b", "u@a", "a:b", "a:65536", "a%2", "\xe4"),
    ],
)
async def test_invalid_host_is_400_if_links_need_the_origin(host: str) -> None:
    async with open_guide_preview(PreviewPaging.NEXT_LINK, 1, 2) as user:
        response = await user.get_raw(f"Host: {host}\r\n")
    assert response.startswith("HTTP/1.1 400 ")
    assert '"errors":{"Host":["The Host header must be a host, with or without a port."]}' in response


@pytest.mark.parametrize("paging", [style for style in PreviewPaging if style is not PreviewPaging.NEXT_LINK])
async def test_invalid_host_is_accepted_if_links_do_not_need_the_origin(paging: PreviewPaging) -> None:
    async with open_guide_preview(paging, 1, 2) as user:
        assert (await user.get_raw("Host: a b\r\n")).startswith("HTTP/1.1 200 ")


async def test_missing_host_of_http_1_0_is_400_only_if_links_need_the_origin() -> None:
    for paging, status in ((PreviewPaging.NEXT_LINK, 400), (PreviewPaging.CURSOR, 200)):
        async with open_guide_preview(paging, 1, 2) as user:
            assert (await user.get_raw("", version="1.0")).startswith(f"HTTP/1.0 {status} ")


@pytest.mark.parametrize("paging", PAGED)
async def test_at_most_one_appointment_beyond_the_page_is_read(
    paging: PreviewPaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    build = storage._appointment

    def count(row: Any) -> Any:
        read.append(row)
        return build(row)

    monkeypatch.setattr(storage, "_appointment", count)
    async with open_guide_preview(paging, 2, 9) as user:
        async for page in walk(user, paging):
            assert len(page) <= len(read) <= 3
            read.clear()


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (0, ValueError, "page_size must be between 1 and 2147483647"),
        (2**31, ValueError, "page_size must be between 1 and 2147483647"),
        ("1", TypeError, "page_size must be an int, not str"),
        (True, TypeError, "page_size must be an int, not bool"),
    ],
)
def test_invalid_page_size_is_rejected(size: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Sandbox(page_size=size)


def test_invalid_paging_style_is_rejected() -> None:
    with pytest.raises(TypeError, match="paging"):
        Sandbox(paging="cursor")  # type: ignore[arg-type]


@given(st.builds(Position, start=st.datetimes(timezones=st.just(UTC)), sequence=st.integers(0, 2**56 - 1)))
def test_cursor_reads_back_as_the_same_position(position: Position) -> None:
    assert read_cursor(write_cursor(position)) == position


@given(st.from_regex(CURSOR_PATTERN.strip("^$"), fullmatch=True))
def test_every_string_in_the_form_of_a_cursor_is_accepted(cursor: str) -> None:
    assert 0 <= read_cursor(cursor).sequence < 2**56
