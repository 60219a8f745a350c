"""Pages of any endpoint: walked, checked and resumed by the rules of the preview."""

from typing import Any

import attrs
import orjson
import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    ClientCredentials,
    CursorPaging,
    DecodingError,
    LinkHeader,
    NextLink,
    PageNumbers,
    PaginationError,
    last_call,
)
from connector_async.sandbox import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    PreviewPaging,
    Sandbox,
    synthetic_seeds,
)
from tests.support.hostile import HostileServer, http
from tests.support.services import PREVIEW, open_service

NOTES = "/appointment/{appointmentId}/notes"
OF_SEVEN = {"appointmentId": "7"}


@attrs.frozen
class Note:
    id: int
    text: str = ""


def page(body: object, **headers: Any) -> bytes:
    return http(200, orjson.dumps(body), **headers)


async def test_walk_with_a_named_style_sends_the_query_with_each_page() -> None:
    pages = page({"rows": [{"id": 1}], "after": "x y"}), page({"rows": [{"id": 2}], "after": None})
    async with HostileServer(*pages) as server:
        style = CursorPaging(items="rows", cursor="after", parameter="after")
        pager = open_service(server).pages(
            NOTES, Note, paging=style, path_parameters=OF_SEVEN, query={"kind": "private"}
        )
        assert server.requests == []
        assert await pager.collect() == [Note(1), Note(2)]
        assert [request.target for request in server.requests] == [
            "/acme/appointment/7/notes?kind=private",
            "/acme/appointment/7/notes?kind=private&after=x+y",
        ]
    assert last_call.get().operation == "request"


async def test_walk_of_the_sandbox_is_the_same_as_that_of_the_preview() -> None:
    async with Sandbox(paging=PreviewPaging.NEXT_LINK, page_size=10) as sandbox:
        ids = sorted(await sandbox.seed("acme", synthetic_seeds(34)))
        service = open_service(sandbox.base_url, auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET))
        pager = service.pages("/appointment/preview", Appointment)
        pages = [found async for found in pager.pages()]
        rest = [found async for found in pager.pages(continuation_token=pages[0].continuation_token)]
    assert [len(found.items) for found in pages] == [10, 10, 10, 4]
    assert sorted(item.appointment_id for found in [pages[0], *rest] for item in found.items) == ids


async def test_items_may_be_objects_without_a_class() -> None:
    async with HostileServer(page([{"id": 1, "x": [2]}])) as server:
        pager = open_service(server).pages("/notes", dict[str, Any])
        assert await pager.collect() == [{"id": 1, "x": [2]}]


async def test_list_that_may_be_cut_short_is_an_error() -> None:
    async with HostileServer(page({"items": [{"id": 1}], "limit": 1})) as server:
        with pytest.raises(DecodingError) as caught:
            await open_service(server).pages("/notes", Note).collect()
    assert caught.value.problems[0].startswith("$.limit: there may be more pages; name the paging style")


@pytest.mark.parametrize("link", ["https://other.example/acme/notes?page=2", "/globex/notes?page=2"])
@pytest.mark.parametrize("style", [LinkHeader(), NextLink(items="items", link="next")])
async def test_link_to_another_place_is_not_followed(link: str, style: Any) -> None:
    body: Any = [{"id": 1}] if isinstance(style, LinkHeader) else {"items": [{"id": 1}], "next": link}
    headers = {"Link": f'<{link}>; rel="next"'} if isinstance(style, LinkHeader) else {}
    async with HostileServer(page(body, **headers)) as server:
        with pytest.raises(PaginationError, match="the next page has another origin or path"):
            await open_service(server).pages("/notes", Note, paging=style).collect()
        assert len(server.requests) == 1


async def test_query_of_a_link_replaces_the_query_of_the_first_page() -> None:
    pages = page([{"id": 1}], Link='</acme/notes?page=2>; rel="next"'), page([{"id": 2}])
    async with HostileServer(*pages) as server:
        await open_service(server).pages("/notes", Note, query={"size": "1"}).collect()
        assert [request.target for request in server.requests] == ["/acme/notes?size=1", "/acme/notes?page=2"]


async def test_invalid_item_is_an_error_with_its_path_and_the_page_to_resume_from() -> None:
    pages = page({"items": [{"id": 1}], "n": 1, "of": 2}), page({"items": [{"id": "secret"}], "n": 2, "of": 2})
    style = PageNumbers(page="n", total_pages="of")
    async with HostileServer(*pages) as server:
        with pytest.raises(DecodingError) as caught:
            await open_service(server).pages("/notes", Note, paging=style).collect()
    assert caught.value.problems == ("$[0].id: expected an integer, not a string",)
    assert (caught.value.continuation_token, caught.value.operation) == ("2", "request")


async def test_invalid_items_are_skipped_on_request(caplog: pytest.LogCaptureFixture) -> None:
    long = 2**70
    async with HostileServer(http(200, b'[{"id": "x"}, {"id": %d}]' % long)) as server:
        pager = open_service(server).pages("/notes", Note, on_invalid="skip")
        (found,) = [found async for found in pager.pages()]
    assert (found.items, found.skipped) == ([Note(long)], 1)
    assert found.problems == ("$[0].id: expected an integer, not a string",)
    assert "request for tenant acme: 1 invalid items skipped" in caplog.text


async def test_page_without_a_body_is_empty_only_with_a_status_that_says_so() -> None:
    async with HostileServer(http(204), http(200)) as server:
        pager = open_service(server).pages("/notes", Note)
        assert await pager.collect() == []
        with pytest.raises(DecodingError, match="the page is empty"):
            await pager.collect()


INVALID: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"paging": PageNumbers}, TypeError, "paging must be an instance"),
    ({"query": "a=b"}, TypeError, "query must be a Mapping or None, not str"),
    ({"query": {"a": 5}}, TypeError, "query must have names and values of type str, not int"),
    ({"prefetch": 2}, ValueError, "prefetch must be 0 or 1"),
    ({"on_invalid": "ignore"}, ValueError, "on_invalid must be 'raise' or 'skip'"),
    ({"deadline": 0}, ValueError, "deadline must be above zero"),
    ({"headers": {"tenantId": "x"}}, ValueError, "headers must not have tenantId"),
    ({"item_type": set[str]}, TypeError, "cannot be read from JSON"),
]


@pytest.mark.parametrize(("arguments", "error", "rule"), INVALID)
async def test_invalid_argument_is_rejected_at_the_call(
    arguments: dict[str, Any], error: type[Exception], rule: str
) -> None:
    arguments = {"item_type": Note, **arguments}
    async with HostileServer(PREVIEW) as server:
        service: AppointmentService = open_service(server)
        with pytest.raises(error, match=rule):
            service.pages("/notes", **arguments)
        assert server.requests == []
