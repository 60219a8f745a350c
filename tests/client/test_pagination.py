"""The walk over pages: each item once, resuming from any page, and no task left behind."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import AppointmentService, AsyncPager, NewAppointment, Page, PaginationError, ServerError
from tests.support.hostile import HostileServer, http
from tests.support.services import PREVIEW, open_service


class Book:
    """Fetches pages of items. The token of a page is its number; the first page has none."""

    def __init__(self, *pages: list[str], last_token: str | None = None) -> None:
        self.pages = pages
        self.last_token = last_token
        self.fetched: list[str | None] = []
        self.failures: dict[str | None, Exception] = {}
        self.ended = 0

    async def __call__(self, token: str | None) -> Page[str]:
        self.fetched.append(token)
        try:
            await asyncio.sleep(0)
        finally:
            self.ended += 1
        if token in self.failures:
            raise self.failures.pop(token)
        number = int(token or 0)
        next_token = str(number + 1) if number + 1 < len(self.pages) else self.last_token
        return Page(items=self.pages[number], continuation_token=next_token)


def no_other_task() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


async def collect_into(items: list[str], pages: AsyncIterator[Page[str]]) -> None:
    async for page in pages:
        items += page.items
        for _ in range(3):
            await asyncio.sleep(0)  # gives a page time to be fetched ahead


ABC: tuple[list[str], ...] = (["a", "b"], [], ["c"], ["d", "e"])


async def test_nothing_is_fetched_before_the_first_item_is_requested() -> None:
    book = Book(*ABC)
    pager = AsyncPager(book)
    assert book.fetched == []
    assert [item async for item in pager] == ["a", "b", "c", "d", "e"]
    assert book.fetched == [None, "1", "2", "3"]


async def test_each_walk_sends_its_own_requests() -> None:
    book = Book(["a"])
    pager = AsyncPager(book)
    for _ in range(2):
        assert [page.items async for page in pager.pages()] == [["a"]]
    assert book.fetched == [None, None]


@pytest.mark.row("P1")
@given(st.lists(st.lists(st.integers().map(str), max_size=4), min_size=1, max_size=8), st.integers(0, 1))
def test_walk_from_each_page_token_returns_the_rest_exactly_once(pages: list[list[str]], prefetch: int) -> None:
    async def walk() -> None:
        pager = AsyncPager(Book(*pages), prefetch=prefetch)
        expected = [item for page in pages for item in page]
        assert [item async for item in pager] == expected
        seen: list[str] = []
        async for page in pager.pages():
            seen += page.items
            if page.continuation_token is not None:
                rest = [page async for page in pager.pages(continuation_token=page.continuation_token)]
                assert seen + [item for page in rest for item in page.items] == expected
        assert seen == expected

    asyncio.run(walk())


@pytest.mark.row("P2")
@pytest.mark.parametrize("prefetch", [0, 1])
async def test_repeated_token_is_an_error_after_its_page(prefetch: int) -> None:
    for last_token in ("1", "2", "3"):
        book = Book(*ABC, last_token=last_token)
        items: list[str] = []
        with pytest.raises(PaginationError) as caught:
            await collect_into(items, AsyncPager(book, prefetch=prefetch).pages())
        assert items == ["a", "b", "c", "d", "e"]
        assert caught.value.continuation_token == last_token
        assert book.fetched == [None, "1", "2", "3"]


@pytest.mark.row("P2")
@pytest.mark.parametrize("prefetch", [0, 1])
async def test_token_that_the_walk_started_with_counts_as_seen(prefetch: int) -> None:
    book = Book(*ABC, last_token="2")
    with pytest.raises(PaginationError):
        await collect_into([], AsyncPager(book, prefetch=prefetch).pages(continuation_token="2"))
    assert book.fetched == ["2", "3"]


@pytest.mark.row("P2")
@pytest.mark.parametrize("prefetch", [0, 1])
async def test_walk_resumes_from_the_token_of_an_error_on_the_third_page(prefetch: int) -> None:
    book = Book(*ABC)
    book.failures["2"] = ServerError("down", status=503)
    pager = AsyncPager(book, prefetch=prefetch)
    items: list[str] = []
    with pytest.raises(ServerError) as caught:
        await collect_into(items, pager.pages())
    assert caught.value.continuation_token == "2"
    await collect_into(items, pager.pages(continuation_token=caught.value.continuation_token))
    assert items == ["a", "b", "c", "d", "e"]
    assert no_other_task()


async def test_error_on_the_first_page_has_no_token() -> None:
    book = Book(*ABC)
    book.failures[None] = ServerError("down")
    with pytest.raises(ServerError) as caught:
        await AsyncPager(book).collect()
    assert caught.value.continuation_token is None


@pytest.mark.row("P2")
@pytest.mark.parametrize("prefetch", [0, 1])
@pytest.mark.parametrize("how", ["break", "error", "cancel"])
async def test_abandoned_walk_fetches_no_more_and_leaves_no_task(how: str, prefetch: int) -> None:
    book = Book(*[["a"]] * 10)
    reached = asyncio.Event()

    async def walk() -> None:
        async for _ in AsyncPager(book, prefetch=prefetch):
            reached.set()
            if how == "break":
                break
            if how == "error":
                raise ZeroDivisionError
            await asyncio.Event().wait()

    task = asyncio.create_task(walk())
    await reached.wait()
    if how == "cancel":
        task.cancel()
    await asyncio.wait([task])
    gc.collect()
    for _ in range(100):
        if no_other_task():
            break
        await asyncio.sleep(0)
    assert len(book.fetched) <= 1 + prefetch
    assert book.ended == len(book.fetched)
    assert no_other_task()


async def test_prefetch_fetches_the_next_page_while_the_caller_works() -> None:
    for prefetch in (0, 1):
        book = Book(*ABC)
        ahead = []
        async for _ in AsyncPager(book, prefetch=prefetch).pages():
            for _ in range(3):
                await asyncio.sleep(0)
            ahead.append(len(book.fetched))
        assert ahead == ([1, 2, 3, 4] if prefetch == 0 else [2, 3, 4, 4])


async def test_failed_prefetch_that_nobody_awaits_is_not_logged() -> None:
    book = Book(*ABC)
    book.failures["1"] = ServerError("down")
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    pages = AsyncPager(book, prefetch=1).pages()
    async for _ in pages:
        for _ in range(3):
            await asyncio.sleep(0)
        break
    await pages.aclose()
    gc.collect()
    assert reported == []


async def test_cancelling_the_walk_cancels_the_fetch() -> None:
    for prefetch in (0, 1):
        ended = asyncio.Event()

        async def slow(token: str | None, ended: asyncio.Event = ended) -> Page[str]:
            if token is not None:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.set()
            return Page(items=["a"], continuation_token="1")

        task = asyncio.create_task(AsyncPager(slow, prefetch=prefetch).collect())
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()
        assert no_other_task()


async def test_first_fetches_no_page_after_the_first_item() -> None:
    book = Book([], ["a", "b"], ["c"])
    assert await AsyncPager(book).first() == "a"
    assert book.fetched == [None, "1"]
    assert await AsyncPager(Book([])).first() is None


@pytest.mark.parametrize(
    ("limit", "items", "pages"), [(None, "abcde", 4), (0, "", 0), (2, "ab", 1), (3, "abc", 3), (9, "abcde", 4)]
)
async def test_collect_stops_at_the_limit(limit: int | None, items: str, pages: int) -> None:
    book = Book(*ABC)
    assert await AsyncPager(book).collect(limit=limit) == list(items)
    assert len(book.fetched) == pages


async def test_invalid_arguments_are_rejected_by_name() -> None:
    with pytest.raises(ValueError, match="limit must be zero or more"):
        await AsyncPager(Book()).collect(limit=-1)
    wrong: Any
    for wrong in (1.5, True, "1"):
        with pytest.raises(TypeError, match=f"limit must be an int, not {type(wrong).__name__}"):
            await AsyncPager(Book()).collect(limit=wrong)
    with pytest.raises(ValueError, match="prefetch must be 0 or 1"):
        AsyncPager(Book(), prefetch=2)
    with pytest.raises(ValueError, match="prefetch must be zero or more"):
        AsyncPager(Book(), prefetch=-1)
    for wrong in (1.0, True, None, "1", []):
        with pytest.raises(TypeError, match=f"prefetch must be an int, not {type(wrong).__name__}"):
            AsyncPager(Book(), prefetch=wrong)
    for wrong in (None, 5, [ABC]):
        with pytest.raises(TypeError, match=f"fetch must be callable, not {type(wrong).__name__}"):
            AsyncPager(wrong)


async def test_preview_is_one_page_with_its_headers(draft: NewAppointment) -> None:
    async with HostileServer(PREVIEW.replace(b"Content-Type", b"X-Total: 1\r\nContent-Type")) as server:
        service: AppointmentService = open_service(server)
        (page,) = [page async for page in service.preview().pages()]
        assert [appointment.title for appointment in page.items] == [draft.title]
        assert (page.continuation_token, page.raw["x-total"]) == (None, "1")
        assert await service.preview().first() == page.items[0]
        with pytest.raises(ValueError, match="continuation_token must be from a page of the same paging style"):
            await anext(service.preview().pages(continuation_token="2"))


async def test_failed_preview_resumes_from_the_first_page() -> None:
    async with HostileServer(http(403)) as server:
        with pytest.raises(Exception, match="403") as caught:
            await open_service(server).preview().collect()
    assert getattr(caught.value, "continuation_token", "none") is None
