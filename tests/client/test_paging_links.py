"""Links to the next page: followed at the origin of the API, with its token, and nowhere else."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import (
    AppointmentService,
    AutoDetectPaging,
    DecodingError,
    DirectoryUser,
    LinkHeader,
    NextLink,
    OnePage,
    PaginationError,
    PagingStyle,
    WireFormat,
)
from connector_async.pagination.links import next_link, token_for_link
from tests.support.hostile import HostileServer, http
from tests.support.paging import COUNT, IDS, ITEMS, SIZE, items_from, walks_from_each_page
from tests.support.services import open_service

PAGE = "http://127.0.0.1:80/v1/acme/appointment/preview?from=1"

Shape = Callable[[list[dict[str, str]], str | None], tuple[object, dict[str, str]]]
"""The body and the headers of a page: its items, and the reference to the next one."""


def http_page(body: object, headers: dict[str, str]) -> bytes:
    options: dict[str, Any] = dict(headers)
    return http(200, orjson.dumps(body), **options)


class LinkingServer(HostileServer):
    """Sends ten items from the offset in the query, and a link to the next ten."""

    def __init__(self, shape: Shape, reference: str = "{path}?from={offset}&keep=a%2Fb") -> None:
        async def write(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            target = urlsplit(self.requests[-1].target)
            offset = int(parse_qs(target.query).get("from", ["0"])[0])
            link: str | None = None
            if offset + SIZE < COUNT:
                link = reference.format(base=self.base_url, path=target.path, offset=offset + SIZE)
            writer.write(http_page(*shape(items_from(offset), link)))

        super().__init__(write)


def in_header(items: list[dict[str, str]], reference: str | None) -> tuple[object, dict[str, str]]:
    return items, {} if reference is None else {"Link": f'</>; rel="up", <{reference}>; rel="next"; title="a, b; c"'}


def in_body(items_key: str, link_key: str) -> Shape:
    return lambda items, reference: ({items_key: items, link_key: reference}, {})


def service(server: HostileServer, paging: PagingStyle, prefix: str = "") -> AppointmentService:
    return AppointmentService(open_service(server.base_url + prefix).session, paging=paging)


ABSOLUTE = "{base}{path}?from={offset}"
STYLES: dict[str, tuple[PagingStyle, Shape, str]] = {
    "header": (LinkHeader(), in_header, ABSOLUTE),
    "header with path and query": (LinkHeader(), in_header, "{path}?from={offset}"),
    "header with a query": (LinkHeader(), in_header, "?from={offset}"),
    "header beside an envelope": (
        LinkHeader(items="rows"),
        lambda items, reference: ({"rows": items}, in_header(items, reference)[1]),
        ABSOLUTE,
    ),
    "header, detected": (AutoDetectPaging(), in_header, ABSOLUTE),
    "header beside an envelope, detected": (
        AutoDetectPaging(),
        lambda items, reference: ({"items": items}, in_header(items, reference)[1]),
        ABSOLUTE,
    ),
    "body": (NextLink(), in_body("value", "nextLink"), ABSOLUTE),
    "body by other names": (NextLink(items="rows", link="more"), in_body("rows", "more"), "?from={offset}"),
    "body, detected": (AutoDetectPaging(), in_body("value", "@odata.nextLink"), ABSOLUTE),
    "body, detected by another name": (AutoDetectPaging(), in_body("results", "next"), "?from={offset}"),
    "unquoted query": (NextLink(), in_body("value", "nextLink"), "?filter=a b é&from={offset}"),
    "quoted otherwise": (NextLink(), in_body("value", "nextLink"), "/%61cme/appointment/%70review?from={offset}"),
}


@pytest.mark.row("P1")
@pytest.mark.parametrize(
    ("name", "prefix"),
    [*((name, "") for name in STYLES), ("header", "/v1"), ("body, detected", "/v1"), ("quoted otherwise", "/v1")],
)
async def test_links_are_followed_from_any_page(name: str, prefix: str) -> None:
    paging, shape, reference = STYLES[name]
    async with LinkingServer(shape, reference.replace("/%61cme", prefix + "/%61cme")) as server:
        pager = service(server, paging, prefix).preview()
        assert [item.appointment_id async for item in pager] == IDS
        assert len(server.requests) == 4
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer hunter2"}
        async for page in pager.pages():
            assert page.continuation_token is None or page.continuation_token.isprintable()
        assert all(walk == IDS for walk in await walks_from_each_page(pager))


async def test_query_of_a_link_is_sent_as_the_server_quoted_it() -> None:
    async with LinkingServer(in_header) as server:
        await service(server, LinkHeader()).preview().collect()
    assert server.requests[1].target == "/acme/appointment/preview?from=10&keep=a%2Fb"


ELSEWHERE = {
    "another host": "http://localhost:{port}/acme/appointment/preview?from=10",
    "another port": "http://127.0.0.1:{other}/acme/appointment/preview?from=10",
    "port zero": "http://127.0.0.1:0/acme/appointment/preview?from=10",
    "another scheme": "https://127.0.0.1:{port}/acme/appointment/preview?from=10",
    "another port without a scheme": "//127.0.0.1:{other}/acme/appointment/preview?from=10",
    "user information": "http://user@127.0.0.1:{port}/acme/appointment/preview?from=10",
    "not an address": "javascript:alert(1)",
    "file": "file:///etc/passwd",
    "another path": "/acme/appointment?from=10",
    "another tenant": "/globex/appointment/preview?from=10",
    "parent folders": "/acme/appointment/../../admin?from=10",
}


OTHER_STYLES = ((NextLink(), "body"), (AutoDetectPaging(), "header"), (AutoDetectPaging(), "body"))


@pytest.mark.parametrize(
    ("name", "paging", "place"),
    [
        *((name, LinkHeader(), "header") for name in ELSEWHERE),
        *((name, *style) for name in ("another host", "another tenant") for style in OTHER_STYLES),
    ],
)
async def test_link_that_leads_elsewhere_is_not_followed(name: str, paging: PagingStyle, place: str) -> None:
    shape = in_header if place == "header" else in_body("value", "nextLink")
    async with HostileServer(http(200, b"[]")) as other, HostileServer(http(200, b"[]")) as server:
        reference = ELSEWHERE[name].format(port=server.port, other=other.port)
        server.responses[:] = [http_page(*shape(ITEMS[:SIZE], reference))]
        pager = service(server, paging).preview()
        with pytest.raises(PaginationError, match="no request is sent there") as caught:
            await pager.collect()
        # The page with the link is yielded first. Resuming from its token is rejected as well.
        token = (await anext(pager.pages())).continuation_token
        assert caught.value.continuation_token == token
        with pytest.raises(PaginationError):
            await anext(pager.pages(continuation_token=token))
        assert len(server.requests) == 2
        assert other.connections == 0
    assert "preview" not in str(caught.value)
    assert str(server.port) not in str(caught.value)


async def test_member_without_a_slash_is_not_detected_as_a_link() -> None:
    page = http_page({"value": ITEMS[:SIZE], "nextLink": "javascript:alert(1)"}, {})
    async with HostileServer(page) as server:
        with pytest.raises(DecodingError):
            await service(server, AutoDetectPaging()).preview().collect()
        assert len(server.requests) == 1


PREVIEW = {"adId": "alice", "domainId": "d-1"}
SPAN = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("query", "paging"),
    [
        ("adId=bob", LinkHeader()),
        ("adId=bob", AutoDetectPaging()),
        ("ADID=bob&adId=alice", LinkHeader()),
        ("adId=", AutoDetectPaging()),
        ("domainId=d-2&adId=alice", LinkHeader()),
    ],
)
async def test_token_of_another_user_is_rejected(query: str, paging: PagingStyle) -> None:
    async with HostileServer(http(200, b"[]")) as server:
        user = DirectoryUser(PREVIEW["adId"], PREVIEW["domainId"])
        service = open_service(server, user=user, paging=paging, wire_format=WireFormat.REFERENCE)
        with pytest.raises(PaginationError, match="of another user"):
            await anext(service.preview(*SPAN).pages(continuation_token="?" + query))
        assert server.requests == []


async def test_first_of_repeated_user_parameters_counts() -> None:
    async with HostileServer(http(200, b"[]")) as server:
        user = DirectoryUser(PREVIEW["adId"], PREVIEW["domainId"])
        service = open_service(server, user=user, paging=LinkHeader(), wire_format=WireFormat.REFERENCE)
        pager = service.preview(*SPAN)
        assert [page async for page in pager.pages(continuation_token="?adId=alice&adId=bob")]


async def test_link_need_not_name_the_user() -> None:
    first = http(200, b"[]", Link='<?cursor=a%2Fb>; rel="next"')
    async with HostileServer(first, http(200, b"[]", Link='<>; rel="next"'), http(200, b"[]")) as server:
        user = DirectoryUser(PREVIEW["adId"], PREVIEW["domainId"])
        assert await open_service(server, user=user, wire_format=WireFormat.REFERENCE).preview(*SPAN).collect() == []
    assert server.requests[1].target == "/acme/appointment/preview?cursor=a%2Fb&adId=alice&domainId=d-1"
    # An empty reference is the page itself, with its whole query (RFC 3986, section 4.4).
    assert server.requests[2].target == server.requests[1].target


REFERENCES = {
    "?x=1#there": "?x=1",
    "": "?from=1",
    "preview?x=1": "?x=1",
    "./preview": "?",
    "/v1/acme/appointment/preview?c=%C3%A9": "?c=%C3%A9",
    "?c=a b é": "?c=a%20b%20%C3%A9",
    "http://127.0.0.1/v1/acme/appointment/preview": "?",
    "HTTP://127.0.0.1:80/v1/acme/appointment/preview?y": "?y",
    "http://127.0.0.1./v1/acme/appointment/preview?y": "?y",
    "other": "http://127.0.0.1:80/v1/acme/appointment/other",
    "/\\evil.example/x": "http://127.0.0.1:80/%5Cevil.example/x",
    "////evil.example/x": "http://127.0.0.1:80//evil.example/x",
}


@pytest.mark.parametrize("reference", REFERENCES)
def test_reference_is_resolved_against_its_page(reference: str) -> None:
    assert token_for_link(reference, PAGE, "Link") == REFERENCES[reference]


@pytest.mark.parametrize(
    ("page", "reference"),
    [
        ("https://xn--mnchen-3ya.example/p", "https://m\u00fcnchen.example/p?x"),
        ("https://api.example/p", "https://API.example:443/p?x"),
    ],
)
def test_equal_origins_may_be_written_differently(page: str, reference: str) -> None:
    assert token_for_link(reference, page, "Link") == "?x"


@pytest.mark.parametrize(
    "reference", ["http://[::1/x", "/a\r\nX: y", "/a\tb", "/a\0", "http://a:99999/", "http://a..b/"]
)
def test_malformed_reference_is_rejected(reference: str) -> None:
    with pytest.raises(DecodingError) as caught:
        token_for_link(reference, PAGE, "Link")
    assert caught.value.problems == ("Link: not a URI reference",)


@given(st.text(max_size=40))
def test_token_of_any_reference_is_a_query_or_rejected(reference: str) -> None:
    try:
        token = token_for_link(reference, PAGE, "Link")
        query = LinkHeader().request(token).query
    except (DecodingError, PaginationError):
        return
    assert query is not None
    assert query.isascii()
    assert query.isprintable() or not query
    assert not set(query) & {" ", "#"}


HEADERS: dict[str, tuple[list[str], str | None]] = {
    "none": ([], None),
    "empty": ([""], None),
    "unquoted": (["<a>; rel=next"], "a"),
    "quoted": (['<a>; rel="next"'], "a"),
    "upper case": (['<a>; REL="NEXT"'], "a"),
    "several types": (['<a>; rel="last next"'], "a"),
    "another type": (['<a>; rel="prev"'], None),
    "longer type": (["<a>; rel=next-archive"], None),
    "second link": (["<a>; rel=prev, <b>; rel=next"], "b"),
    "first of two": (["<a>; rel=next, <b>; rel=next"], "a"),
    "second header line": (["<a>; rel=prev", "<b>; rel=next"], "b"),
    "comma in the reference": (["<a,b>; rel=next"], "a,b"),
    "separators in a title": (['<a>; title="x, <c>; rel=next"; rel=prev, <b>; rel=next'], "b"),
    "quote in a title": (['<a>; title="x\\", y"; rel=next'], "a"),
    "first of two rel": (["<a>; rel=prev; rel=next"], None),
    "spaces": (["  <a>  ;  rel  =  next  "], "a"),
    "anchor": (['<a>; rel=next; anchor="/other"'], None),
    "without a rel": (["<a>"], None),
    "parameter without a value": (["<a>; crossorigin; rel=next"], "a"),
    "empty anchor": (['<a>; rel=next; anchor=""'], "a"),
    "other quotes": (["<a>; rel='next'"], "a"),
    "empty elements": ([",, <a>; rel=next,"], "a"),
}
MALFORMED_HEADERS = {
    "no brackets": ["a; rel=next"],
    "open bracket": ["<a; rel=next"],
    "open quote": ['<a>; rel="next'],
    "other brackets": ["‹a>; rel=next"],
    "junk after a link": ["<a>; rel=prev, next"],
    "longer than any header": ["<a>; rel=prev," * 5_000],
}


@pytest.mark.parametrize(("lines", "reference"), HEADERS.values(), ids=HEADERS)
def test_next_link_is_found_by_the_rules_of_rfc_8288(lines: list[str], reference: str | None) -> None:
    class Headers(dict[str, str]):
        def items(self) -> Any:
            return [("link", line) for line in lines]

    assert next_link(Headers()) == reference


@pytest.mark.parametrize("lines", MALFORMED_HEADERS.values(), ids=MALFORMED_HEADERS)
def test_malformed_link_header_is_rejected_as_it_may_have_the_next_page(lines: list[str]) -> None:
    with pytest.raises(DecodingError) as caught:
        next_link({"Link": ", ".join(lines)})
    assert caught.value.problems[0].startswith("Link: ")


def test_parsing_a_hostile_header_takes_bounded_time() -> None:
    start = time.process_time()
    for shape in ("<", '<a>;"', "<a>;x=", "<>;" + '"' * 3, "\\", '<a>; rel="\\'):
        with contextlib.suppress(DecodingError):
            next_link({"Link": shape * (65_000 // len(shape))})
    assert time.process_time() - start < 2  # it took a minute when it was quadratic


TOKEN = st.text("abcXYZ019-._~", min_size=1, max_size=8)
QUOTED = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="<>"), max_size=12),
            st.sampled_from(["next", "prev", "last NEXT", "up"]),
            st.lists(st.tuples(TOKEN.map(lambda name: "x" + name), QUOTED), max_size=3),
        ),
        max_size=5,
    )
)
def test_next_link_is_found_among_any_others(links: list[tuple[str, str, list[tuple[str, str]]]]) -> None:
    def written(reference: str, relation: str, parameters: list[tuple[str, str]]) -> str:
        quoted = [(name, value.replace("\\", "\\\\").replace('"', '\\"')) for name, value in parameters]
        return "; ".join([f"<{reference}>", *(f'{name}="{value}"' for name, value in quoted), f'rel="{relation}"'])

    header = ", ".join(written(*link) for link in links)
    expected = next((reference for reference, relation, _ in links if "next" in relation.lower()), None)
    assert next_link({"Link": header}) == expected


@pytest.mark.parametrize("token", ["", "from=10", "/acme", "//evil/x", "?a b", "?a\r\nb", "?é", "?a#b", 5])
async def test_invalid_token_of_a_link_is_rejected_before_any_request(token: Any) -> None:
    error = ValueError if isinstance(token, str) else TypeError
    async with HostileServer(http(200, b"[]")) as server:
        for paging in (LinkHeader(), NextLink(), AutoDetectPaging()):
            with pytest.raises(error, match="continuation_token must"):
                await anext(service(server, paging).preview().pages(continuation_token=token))
        assert server.requests == []


WRONG: dict[str, tuple[PagingStyle, object, dict[str, str]]] = {
    "link beside one page": (OnePage(), ITEMS[:3], {"Link": "</x>; rel=next"}),
    "link that is a number": (NextLink(), {"value": [], "nextLink": 5}, {}),
    "link to itself": (NextLink(), {"value": [], "nextLink": "?x"}, {}),
    "object of links": (AutoDetectPaging(), {"items": [], "links": {"next": "/x"}}, {}),
    "object of links in the form of HAL": (AutoDetectPaging(), {"items": [], "_links": {"next": {"href": "/x"}}}, {}),
    "object about the pages": (AutoDetectPaging(), {"data": [], "paging": {"nextCursor": "c"}}, {}),
    "object with a total": (AutoDetectPaging(), {"data": [], "meta": {"total": 7}}, {}),
    "next that is not a link": (AutoDetectPaging(), {"data": [], "next": "c7"}, {}),
    "object instead of a list": (LinkHeader(), {"items": []}, {}),
}


@pytest.mark.parametrize(("paging", "body", "headers"), WRONG.values(), ids=WRONG)
async def test_mismatched_paging_style_is_an_error(paging: PagingStyle, body: object, headers: dict[str, str]) -> None:
    async with HostileServer(http_page(body, headers)) as server:
        with pytest.raises((DecodingError, PaginationError)):
            await service(server, paging).preview().collect()
