"""Pages that link to the next one: followed at the origin of the API, with its token, and refused anywhere else."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import (
    AppointmentService,
    DecodingError,
    LinkHeader,
    NextLink,
    OnePage,
    PaginationError,
    PagingStyle,
    RecognizedPaging,
)
from connector_async.pagination.links import next_link, target_of
from tests.hostile import HostileServer, http
from tests.services import FIELDS, open_service

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
    "a header, recognized": (RecognizedPaging(), in_header, ABSOLUTE),
    "a header beside an envelope, recognized": (
        RecognizedPaging(),
        lambda items, reference: ({"items": items}, in_header(items, reference)[1]),
        ABSOLUTE,
    ),
    "a body": (NextLink(), in_body("value", "nextLink"), ABSOLUTE),
    "a body, by other names": (NextLink(items="rows", link="more"), in_body("rows", "more"), "?from={following}"),
    "a body, recognized": (RecognizedPaging(), in_body("value", "@odata.nextLink"), ABSOLUTE),
    "a body, recognized by another name": (RecognizedPaging(), in_body("results", "next"), "?from={following}"),
    "an unquoted query": (NextLink(), in_body("value", "nextLink"), "?filter=a b é&from={following}"),
    "another path": (NextLink(), in_body("value", "nextLink"), "/elsewhere?from={following}"),
}


@pytest.mark.parametrize(("paging", "shape", "reference"), STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_p1_links_are_followed_from_any_page_on(
    paging: PagingStyle, shape: Shape, reference: str, prefix: str
) -> None:
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
    "another host": "http://localhost:{port}/x?from=10",
    "another port": "http://127.0.0.1:{other}/x?from=10",
    "another scheme": "https://127.0.0.1:{port}/x?from=10",
    "without a scheme": "//127.0.0.1:{other}/x?from=10",
    "with a user": "http://user@127.0.0.1:{port}/x?from=10",
    "no address": "javascript:alert(1)",
    "a file": "file:///etc/passwd",
}


@pytest.mark.parametrize("reference", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize(
    ("paging", "shape"),
    [
        (LinkHeader(), in_header),
        (NextLink(), in_body("value", "nextLink")),
        (RecognizedPaging(), in_header),
        (RecognizedPaging(), in_body("value", "nextLink")),
    ],
)
async def test_a_link_to_another_origin_is_refused_and_no_token_goes_there(
    reference: str, paging: PagingStyle, shape: Shape
) -> None:
    if reference.startswith("javascript") and shape is not in_header and isinstance(paging, RecognizedPaging):
        expected: type[Exception] = DecodingError  # not taken for a link at all
    else:
        expected = PaginationError
    async with HostileServer(http(200, b"[]")) as other, HostileServer(http(200, b"[]")) as server:
        body, headers = shape(ITEMS[:SIZE], reference.format(port=server.port, other=other.port))
        server._answers[:] = [answer_of(body, headers)]
        with pytest.raises(expected) as caught:
            await service(server, paging).preview().collect()
        assert len(server.requests) == 1
        assert other.connections == 0
    assert str(server.port) not in str(caught.value)


REFERENCES = {
    "/a/../b?x=1#there": "/b?x=1",
    "": "/v1/acme/appointment/preview?from=1",
    "other": "/v1/acme/appointment/other",
    "/\\evil.example/x": "/%5Cevil.example/x",
    "http://127.0.0.1/x": "/x",
    "HTTP://127.0.0.1:80": "/",
    "/a%2Fb?c=%C3%A9": "/a%2Fb?c=%C3%A9",
    "/a b?c=é": "/a%20b?c=%C3%A9",
    "////evil.example/x": "//evil.example/x",
}


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_is_resolved_against_its_page(reference: str) -> None:
    assert target_of(reference, PAGE, "Link") == REFERENCES[reference]


@pytest.mark.parametrize("reference", ["http://[::1/x", "/a\r\nX: y", "/a\tb", "/a\0"])
def test_what_is_no_reference_is_malformed(reference: str) -> None:
    with pytest.raises(DecodingError) as caught:
        target_of(reference, PAGE, "Link")
    assert caught.value.problems == ("Link: not a URI reference",)


@given(st.text(max_size=40))
def test_whatever_a_reference_says_the_target_stays_at_the_origin_of_its_page(reference: str) -> None:
    try:
        target = target_of(reference, PAGE, "Link")
    except (DecodingError, PaginationError):
        return
    assert target.startswith("/")
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target
    assert urlsplit("http://127.0.0.1:80" + target).netloc == "127.0.0.1:80"


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
    "no brackets": (["a; rel=next"], None),
    "an open bracket": (["<a; rel=next"], None),
}


@pytest.mark.parametrize(("lines", "reference"), HEADERS.values(), ids=HEADERS)
def test_the_next_link_is_found_as_rfc_8288_says(lines: list[str], reference: str | None) -> None:
    class Headers(dict[str, str]):
        def items(self) -> Any:
            return [("link", line) for line in lines]

    assert next_link(Headers()) == reference


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


@pytest.mark.parametrize("token", ["", "from=10", "http://127.0.0.1/x", "/a b", "/a\r\nb", "/é", "/a#b"])
@pytest.mark.parametrize("paging", [LinkHeader(), NextLink()])
async def test_a_token_that_is_no_target_is_refused_before_anything_is_sent(paging: PagingStyle, token: str) -> None:
    async with HostileServer(http(200, b"[]")) as server:
        with pytest.raises(ValueError, match="continuation_token must"):
            await anext(service(server, paging).preview().pages(continuation_token=token))
        assert server.requests == []


async def test_a_token_that_looks_like_another_host_stays_at_the_origin() -> None:
    async with HostileServer(http(200, b"[]", Link='<?y>; rel="next"'), http(200, b"[]")) as server:
        pages = service(server, LinkHeader()).preview().pages(continuation_token="//localhost:1/x")
        assert [page.continuation_token async for page in pages] == ["//localhost:1/x?y", None]
        assert [request.target for request in server.requests] == ["//localhost:1/x", "//localhost:1/x?y"]


WRONG: dict[str, tuple[PagingStyle, object, dict[str, str]]] = {
    "a link where one page is named": (OnePage(), ITEMS[:3], {"Link": "</x>; rel=next"}),
    "a link that is a number": (NextLink(), {"value": [], "nextLink": 5}, {}),
    "a link to itself": (NextLink(), {"value": [], "nextLink": "?x"}, {}),
    "an object of links": (RecognizedPaging(), {"items": [], "links": {"next": "/x"}}, {}),
    "an object of links, as HAL has them": (RecognizedPaging(), {"items": [], "_links": {"next": {"href": "/x"}}}, {}),
    "an object about the pages": (RecognizedPaging(), {"data": [], "paging": {"nextCursor": "c"}}, {}),
    "an object with a total": (RecognizedPaging(), {"data": [], "meta": {"total": 7}}, {}),
    "a next that is no link": (RecognizedPaging(), {"data": [], "next": "c7"}, {}),
    "an object where a list is": (LinkHeader(), {"items": []}, {}),
}


@pytest.mark.parametrize(("paging", "body", "headers"), WRONG.values(), ids=WRONG)
async def test_a_wrong_guess_is_an_error(paging: PagingStyle, body: object, headers: dict[str, str]) -> None:
    async with HostileServer(answer_of(body, headers)) as server:
        with pytest.raises((DecodingError, PaginationError)):
            await service(server, paging).preview().collect()


async def test_follow_takes_a_path_and_nothing_else() -> None:
    async with HostileServer(http(200, b"[]")) as server:
        session = open_service(server).session
        for target in ("", "http://127.0.0.1/", "x"):
            with pytest.raises(ValueError, match="target must"):
                await session.follow(target)
        assert session.origin == server.base_url
        assert (await session.follow("/x?y")).body == b"[]"
    assert [request.target for request in server.requests] == ["/x?y"]


@pytest.mark.parametrize(
    "style",
    [
        lambda: LinkHeader(items=""),
        lambda: NextLink(link=""),
        lambda: NextLink(items=""),
    ],
)
def test_an_empty_key_is_refused(style: Callable[[], PagingStyle]) -> None:
    with pytest.raises(ValueError, match="Length of"):
        style()
