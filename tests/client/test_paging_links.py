"""Pages that link to the next one: followed at the origin of the API, with its token, and refused anywhere else."""

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
from connector_async.pagination.links import next_link, token_of
from tests.support.hostile import HostileServer, http
from tests.support.services import FIELDS, open_service

SIZE = 10
COUNT = 34
ITEMS = [FIELDS | {"appointmentId": str(number)} for number in range(COUNT)]
IDS = [str(number) for number in range(COUNT)]
PAGE = "http://127.0.0.1:80/v1/acme/appointment/preview?from=1"

Shape = Callable[[list[dict[str, str]], str | None], tuple[object, dict[str, str]]]
"""The body and the headers of a page: its items, and the reference to the next one."""


def answer_of(body: object, headers: dict[str, str]) -> bytes:
    options: dict[str, Any] = dict(headers)
    return http(200, orjson.dumps(body), **options)


class Linked(HostileServer):
    """Gives ten items from where the query says, and links to the next ten."""

    def __init__(self, shape: Shape, reference: str = "{path}?from={following}&keep=a%2Fb") -> None:
        async def write(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            target = urlsplit(self.requests[-1].target)
            offset = int(parse_qs(target.query).get("from", ["0"])[0])
            following: str | None = None
            if offset + SIZE < COUNT:
                following = reference.format(base=self.base_url, path=target.path, following=offset + SIZE)
            body, headers = shape(ITEMS[offset : offset + SIZE], following)
            writer.write(answer_of(body, headers))

        super().__init__(write)


def in_header(items: list[dict[str, str]], reference: str | None) -> tuple[object, dict[str, str]]:
    return items, {} if reference is None else {"Link": f'</>; rel="up", <{reference}>; rel="next"; title="a, b; c"'}


def in_body(items_key: str, link_key: str) -> Shape:
    return lambda items, reference: ({items_key: items, link_key: reference}, {})


def service(server: HostileServer, paging: PagingStyle, prefix: str = "") -> AppointmentService:
    return AppointmentService(open_service(server.base_url + prefix).session, paging=paging)


ABSOLUTE = "{base}{path}?from={following}"
STYLES: dict[str, tuple[PagingStyle, Shape, str]] = {
    "a header": (LinkHeader(), in_header, ABSOLUTE),
    "a header, path and query": (LinkHeader(), in_header, "{path}?from={following}"),
    "a header, a query alone": (LinkHeader(), in_header, "?from={following}"),
    "a header beside an envelope": (
        LinkHeader(items="rows"),
        lambda items, reference: ({"rows": items}, in_header(items, reference)[1]),
        ABSOLUTE,
    ),
    "a header, recognized": (AutoDetectPaging(), in_header, ABSOLUTE),
    "a header beside an envelope, recognized": (
        AutoDetectPaging(),
        lambda items, reference: ({"items": items}, in_header(items, reference)[1]),
        ABSOLUTE,
    ),
    "a body": (NextLink(), in_body("value", "nextLink"), ABSOLUTE),
    "a body, by other names": (NextLink(items="rows", link="more"), in_body("rows", "more"), "?from={following}"),
    "a body, recognized": (AutoDetectPaging(), in_body("value", "@odata.nextLink"), ABSOLUTE),
    "a body, recognized by another name": (AutoDetectPaging(), in_body("results", "next"), "?from={following}"),
    "an unquoted query": (NextLink(), in_body("value", "nextLink"), "?filter=a b é&from={following}"),
    "quoted otherwise": (NextLink(), in_body("value", "nextLink"), "/%61cme/appointment/%70review?from={following}"),
}


@pytest.mark.parametrize(("paging", "shape", "reference"), STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_p1_links_are_followed_from_any_page_on(
    paging: PagingStyle, shape: Shape, reference: str, prefix: str
) -> None:
    reference = reference.replace("/%61cme", prefix + "/%61cme")
    async with Linked(shape, reference) as server:
        pager = service(server, paging, prefix).preview()
        assert [item.appointment_id async for item in pager] == IDS
        assert len(server.requests) == 4
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer hunter2"}
        taken: list[str] = []
        async for page in pager.pages():
            taken += [item.appointment_id for item in page.items]
            if page.continuation_token is not None:
                assert page.continuation_token.isprintable()
                rest = [page async for page in pager.pages(continuation_token=page.continuation_token)]
                assert taken + [item.appointment_id for page in rest for item in page.items] == IDS


async def test_the_query_of_a_link_is_sent_as_the_server_quoted_it() -> None:
    async with Linked(in_header) as server:
        await service(server, LinkHeader()).preview().collect()
    assert server.requests[1].target == "/acme/appointment/preview?from=10&keep=a%2Fb"


ELSEWHERE = {
    "another host": "http://localhost:{port}/acme/appointment/preview?from=10",
    "another port": "http://127.0.0.1:{other}/acme/appointment/preview?from=10",
    "no port": "http://127.0.0.1:0/acme/appointment/preview?from=10",
    "another scheme": "https://127.0.0.1:{port}/acme/appointment/preview?from=10",
    "without a scheme": "//127.0.0.1:{other}/acme/appointment/preview?from=10",
    "with a user": "http://user@127.0.0.1:{port}/acme/appointment/preview?from=10",
    "no address": "javascript:alert(1)",
    "a file": "file:///etc/passwd",
    "another path": "/acme/appointment?from=10",
    "another tenant": "/globex/appointment/preview?from=10",
    "above": "/acme/appointment/../../admin?from=10",
}


@pytest.mark.parametrize("reference", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize(
    ("paging", "shape"),
    [
        (LinkHeader(), in_header),
        (NextLink(), in_body("value", "nextLink")),
        (AutoDetectPaging(), in_header),
        (AutoDetectPaging(), in_body("value", "nextLink")),
    ],
)
async def test_a_link_that_leads_elsewhere_is_refused_and_no_token_goes_there(
    reference: str, paging: PagingStyle, shape: Shape
) -> None:
    if reference.startswith("javascript") and shape is not in_header and isinstance(paging, AutoDetectPaging):
        expected: type[Exception] = DecodingError  # not taken for a link at all
    else:
        expected = PaginationError
    async with HostileServer(http(200, b"[]")) as other, HostileServer(http(200, b"[]")) as server:
        body, headers = shape(ITEMS[:SIZE], reference.format(port=server.port, other=other.port))
        server.responses[:] = [answer_of(body, headers)]
        pager = service(server, paging).preview()
        with pytest.raises(expected) as caught:
            await pager.collect()
        assert "another" not in str(caught.value)
        if isinstance(caught.value, PaginationError):
            # The page that has the link comes first, and what goes on from it is refused as well.
            token = (await anext(pager.pages())).continuation_token
            assert caught.value.continuation_token == token
            with pytest.raises(PaginationError):
                await anext(pager.pages(continuation_token=token))
            assert len(server.requests) == 2
        assert other.connections == 0
    assert str(server.port) not in str(caught.value)


PREVIEW = {"adId": "alice", "domainId": "d-1"}
SPAN = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))


@pytest.mark.parametrize("paging", [LinkHeader(), AutoDetectPaging()])
@pytest.mark.parametrize(
    "query", ["adId=bob", "ADID=bob&adId=alice", "adId=", "domainId=d-2&adId=alice", "adId=alice&adId=bob"]
)
async def test_no_token_leads_to_another_user(paging: PagingStyle, query: str) -> None:
    async with HostileServer(http(200, b"[]")) as server:
        user = DirectoryUser(PREVIEW["adId"], PREVIEW["domainId"])
        service = open_service(server, user=user, paging=paging, wire_format=WireFormat.REFERENCE)
        if query == "adId=alice&adId=bob":
            # Of a name that comes twice servers take the first.
            assert [page async for page in service.preview(*SPAN).pages(continuation_token="?" + query)]
            return
        with pytest.raises(PaginationError, match="of another user"):
            await anext(service.preview(*SPAN).pages(continuation_token="?" + query))
        assert server.requests == []


async def test_a_link_need_not_name_the_user() -> None:
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
def test_a_reference_is_resolved_against_its_page(reference: str) -> None:
    assert token_of(reference, PAGE, "Link") == REFERENCES[reference]


@pytest.mark.parametrize(
    ("page", "reference"),
    [
        ("https://xn--mnchen-3ya.example/p", "https://m\u00fcnchen.example/p?x"),
        ("https://api.example/p", "https://API.example:443/p?x"),
    ],
)
def test_one_origin_may_be_written_in_several_ways(page: str, reference: str) -> None:
    assert token_of(reference, page, "Link") == "?x"


@pytest.mark.parametrize(
    "reference", ["http://[::1/x", "/a\r\nX: y", "/a\tb", "/a\0", "http://a:99999/", "http://a..b/"]
)
def test_what_is_no_reference_is_malformed(reference: str) -> None:
    with pytest.raises(DecodingError) as caught:
        token_of(reference, PAGE, "Link")
    assert caught.value.problems == ("Link: not a URI reference",)


@given(st.text(max_size=40))
def test_whatever_a_reference_says_its_token_is_a_query_or_refused(reference: str) -> None:
    try:
        token = token_of(reference, PAGE, "Link")
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
    "a type that begins so": (["<a>; rel=next-archive"], None),
    "the second": (["<a>; rel=prev, <b>; rel=next"], "b"),
    "the first of two": (["<a>; rel=next, <b>; rel=next"], "a"),
    "another line": (["<a>; rel=prev", "<b>; rel=next"], "b"),
    "a comma in the reference": (["<a,b>; rel=next"], "a,b"),
    "separators in a title": (['<a>; title="x, <c>; rel=next"; rel=prev, <b>; rel=next'], "b"),
    "a quote in a title": (['<a>; title="x\\", y"; rel=next'], "a"),
    "the first of two rel": (["<a>; rel=prev; rel=next"], None),
    "spaces": (["  <a>  ;  rel  =  next  "], "a"),
    "of another resource": (['<a>; rel=next; anchor="/other"'], None),
    "without a rel": (["<a>"], None),
    "a parameter without a value": (["<a>; crossorigin; rel=next"], "a"),
    "an empty anchor": (['<a>; rel=next; anchor=""'], "a"),
    "other quotes": (["<a>; rel='next'"], "a"),
    "empty elements": ([",, <a>; rel=next,"], "a"),
}
NO_LINKS = {
    "no brackets": ["a; rel=next"],
    "an open bracket": ["<a; rel=next"],
    "an open quote": ['<a>; rel="next'],
    "other brackets": ["‹a>; rel=next"],
    "junk behind a link": ["<a>; rel=prev, next"],
    "longer than any header": ["<a>; rel=prev," * 5_000],
}


@pytest.mark.parametrize(("lines", "reference"), HEADERS.values(), ids=HEADERS)
def test_the_next_link_is_found_as_rfc_8288_says(lines: list[str], reference: str | None) -> None:
    class Headers(dict[str, str]):
        def items(self) -> Any:
            return [("link", line) for line in lines]

    assert next_link(Headers()) == reference


@pytest.mark.parametrize("lines", NO_LINKS.values(), ids=NO_LINKS)
def test_what_is_no_link_may_have_been_the_next_one(lines: list[str]) -> None:
    with pytest.raises(DecodingError) as caught:
        next_link({"Link": ", ".join(lines)})
    assert caught.value.problems[0].startswith("Link: ")


def test_no_header_takes_long_to_read() -> None:
    begun_at = time.process_time()
    for shape in ("<", '<a>;"', "<a>;x=", "<>;" + '"' * 3, "\\", '<a>; rel="\\'):
        with contextlib.suppress(DecodingError):
            next_link({"Link": shape * (65_000 // len(shape))})
    assert time.process_time() - begun_at < 2  # it took a minute when it was quadratic


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
def test_the_next_link_is_found_among_any_others(links: list[tuple[str, str, list[tuple[str, str]]]]) -> None:
    def written(reference: str, relation: str, parameters: list[tuple[str, str]]) -> str:
        quoted = [(name, value.replace("\\", "\\\\").replace('"', '\\"')) for name, value in parameters]
        return "; ".join([f"<{reference}>", *(f'{name}="{value}"' for name, value in quoted), f'rel="{relation}"'])

    header = ", ".join(written(*link) for link in links)
    expected = next((reference for reference, relation, _ in links if "next" in relation.lower()), None)
    assert next_link({"Link": header}) == expected


@pytest.mark.parametrize("token", ["", "from=10", "/acme", "//evil/x", "?a b", "?a\r\nb", "?é", "?a#b"])
@pytest.mark.parametrize("paging", [LinkHeader(), NextLink(), AutoDetectPaging()])
async def test_a_token_that_is_no_query_is_refused_before_anything_is_sent(paging: PagingStyle, token: str) -> None:
    async with HostileServer(http(200, b"[]")) as server:
        with pytest.raises(ValueError, match="continuation_token must"):
            await anext(service(server, paging).preview().pages(continuation_token=token))
        wrong: Any = 5
        with pytest.raises(TypeError, match="continuation_token must be a str"):
            await anext(service(server, paging).preview().pages(continuation_token=wrong))
        assert server.requests == []


WRONG: dict[str, tuple[PagingStyle, object, dict[str, str]]] = {
    "a link where one page is named": (OnePage(), ITEMS[:3], {"Link": "</x>; rel=next"}),
    "a link that is a number": (NextLink(), {"value": [], "nextLink": 5}, {}),
    "a link to itself": (NextLink(), {"value": [], "nextLink": "?x"}, {}),
    "an object of links": (AutoDetectPaging(), {"items": [], "links": {"next": "/x"}}, {}),
    "an object of links, as HAL has them": (AutoDetectPaging(), {"items": [], "_links": {"next": {"href": "/x"}}}, {}),
    "an object about the pages": (AutoDetectPaging(), {"data": [], "paging": {"nextCursor": "c"}}, {}),
    "an object with a total": (AutoDetectPaging(), {"data": [], "meta": {"total": 7}}, {}),
    "a next that is no link": (AutoDetectPaging(), {"data": [], "next": "c7"}, {}),
    "an object where a list is": (LinkHeader(), {"items": []}, {}),
}


@pytest.mark.parametrize(("paging", "body", "headers"), WRONG.values(), ids=WRONG)
async def test_a_wrong_guess_is_an_error(paging: PagingStyle, body: object, headers: dict[str, str]) -> None:
    async with HostileServer(answer_of(body, headers)) as server:
        with pytest.raises((DecodingError, PaginationError)):
            await service(server, paging).preview().collect()


@pytest.mark.parametrize(
    "style",
    [
        lambda: LinkHeader(items=""),
        lambda: NextLink(link=""),
        lambda: NextLink(items=""),
    ],
)
def test_an_empty_key_is_refused(style: Callable[[], PagingStyle]) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        style()
