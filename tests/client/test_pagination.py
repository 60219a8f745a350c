"""Walks over pages: every item once, from any page on, whatever ends them, and no task left."""

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
    """Pages of items; the token of a page is its number, and the first one goes without."""

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
        following = str(number + 1) if number + 1 < len(self.pages) else self.last_token
        return Page(items=self.pages[number], continuation_token=following)


def alone() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


async def take(pages: AsyncIterator[Page[str]], taken: list[str]) -> None:
    async for page in pages:
        taken += page.items
        for _ in range(3):
            await asyncio.sleep(0)  # in which a page may be fetched ahead


ABC: tuple[list[str], ...] = (["a", "b"], [], ["c"], ["d", "e"])


async def test_nothing_is_fetched_before_the_first_item_is_asked_for() -> None:
    book = Book(*ABC)
    pager = AsyncPager(book)
    assert book.fetched == []
    assert [item async for item in pager] == ["a", "b", "c", "d", "e"]
    assert book.fetched == [None, "1", "2", "3"]


async def test_each_walk_fetches_anew() -> None:
    book = Book(["a"])
    pager = AsyncPager(book)
    for _ in range(2):
        assert [page.items async for page in pager.pages()] == [["a"]]
    assert book.fetched == [None, None]


@given(st.lists(st.lists(st.integers().map(str), max_size=4), min_size=1, max_size=8), st.integers(0, 1))
def test_p1_from_each_pages_token_the_rest_comes_exactly_once(pages: list[list[str]], prefetch: int) -> None:
    async def walk() -> None:
        pager = AsyncPager(Book(*pages), prefetch=prefetch)
        whole = [item for page in pages for item in page]
        assert [item async for item in pager] == whole
        taken: list[str] = []
        async for page in pager.pages():
            taken += page.items
            if page.continuation_token is not None:
                rest = [page async for page in pager.pages(continuation_token=page.continuation_token)]
                assert taken + [item for page in rest for item in page.items] == whole
        assert taken == whole

    asyncio.run(walk())


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_p2_a_token_that_comes_twice_is_an_error_after_the_page_that_it_came_with(prefetch: int) -> None:
    for last_token in ("1", "2", "3"):
        book = Book(*ABC, last_token=last_token)
        taken: list[str] = []
        with pytest.raises(PaginationError) as caught:
            await take(AsyncPager(book, prefetch=prefetch).pages(), taken)
        assert taken == ["a", "b", "c", "d", "e"]
        assert caught.value.continuation_token == last_token
        assert book.fetched == [None, "1", "2", "3"]


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_p2_the_token_it_began_with_is_one_that_came(prefetch: int) -> None:
    book = Book(*ABC, last_token="2")
    with pytest.raises(PaginationError):
        await take(AsyncPager(book, prefetch=prefetch).pages(continuation_token="2"), [])
    assert book.fetched == ["2", "3"]


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_p2_an_error_on_the_third_page_tells_where_to_go_on(prefetch: int) -> None:
    book = Book(*ABC)
    book.failures["2"] = ServerError("down", status=503)
    pager = AsyncPager(book, prefetch=prefetch)
    taken: list[str] = []
    with pytest.raises(ServerError) as caught:
        await take(pager.pages(), taken)
    assert caught.value.continuation_token == "2"
    await take(pager.pages(continuation_token=caught.value.continuation_token), taken)
    assert taken == ["a", "b", "c", "d", "e"]
    assert alone()


async def test_an_error_on_the_first_page_has_no_token() -> None:
    book = Book(*ABC)
    book.failures[None] = ServerError("down")
    with pytest.raises(ServerError) as caught:
        await AsyncPager(book).collect()
    assert caught.value.continuation_token is None


@pytest.mark.parametrize("prefetch", [0, 1])
@pytest.mark.parametrize("how", ["break", "error", "cancel"])
async def test_p2_a_walk_that_is_left_asks_for_no_further_page_and_leaves_no_task(how: str, prefetch: int) -> None:
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
        if alone():
            break
        await asyncio.sleep(0)
    assert len(book.fetched) <= 1 + prefetch
    assert book.ended == len(book.fetched)
    assert alone()


async def test_a_page_is_fetched_while_the_caller_works_on_the_one_before() -> None:
    for prefetch in (0, 1):
        book = Book(*ABC)
        ahead = []
        async for _ in AsyncPager(book, prefetch=prefetch).pages():
            for _ in range(3):
                await asyncio.sleep(0)
            ahead.append(len(book.fetched))
        assert ahead == ([1, 2, 3, 4] if prefetch == 0 else [2, 3, 4, 4])


async def test_a_page_that_fails_ahead_and_is_not_asked_for_is_silent() -> None:
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


async def test_a_cancellation_while_a_page_is_awaited_cancels_its_fetch() -> None:
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
        assert alone()


async def test_the_first_item_is_had_without_the_pages_after_it() -> None:
    book = Book([], ["a", "b"], ["c"])
    assert await AsyncPager(book).first() == "a"
    assert book.fetched == [None, "1"]
    assert await AsyncPager(Book([])).first() is None


@pytest.mark.parametrize(
    ("limit", "items", "pages"), [(None, "abcde", 4), (0, "", 0), (2, "ab", 1), (3, "abc", 3), (9, "abcde", 4)]
)
async def test_items_are_collected_up_to_a_limit(limit: int | None, items: str, pages: int) -> None:
    book = Book(*ABC)
    assert await AsyncPager(book).collect(limit=limit) == list(items)
    assert len(book.fetched) == pages


async def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="limit must be zero or more"):
        await AsyncPager(Book()).collect(limit=-1)
    wrong: Any
    for wrong in (1.5, True, "1"):
        with pytest.raises(TypeError, match="limit must be an int or None"):
            await AsyncPager(Book()).collect(limit=wrong)
    for wrong in (2, -1):
        with pytest.raises(ValueError, match="prefetch must be 0 or 1"):
            AsyncPager(Book(), prefetch=wrong)
    for wrong in (1.0, True, None, "1", []):
        with pytest.raises(TypeError, match=f"prefetch must be an int, not {type(wrong).__name__}"):
            AsyncPager(Book(), prefetch=wrong)
    for wrong in (None, 5, [ABC]):
        with pytest.raises(TypeError, match=f"fetch must be callable, not {type(wrong).__name__}"):
            AsyncPager(wrong)


async def test_a_preview_is_one_page_with_its_headers(draft: NewAppointment) -> None:
    async with HostileServer(PREVIEW.replace(b"Content-Type", b"X-Total: 1\r\nContent-Type")) as server:
        service: AppointmentService = open_service(server)
        (page,) = [page async for page in service.preview().pages()]
        assert [appointment.title for appointment in page.items] == [draft.title]
        assert (page.continuation_token, page.raw["x-total"]) == (None, "1")
        assert await service.preview().first() == page.items[0]
        with pytest.raises(ValueError, match="continuation_token must be one that this server gave"):
            await anext(service.preview().pages(continuation_token="2"))


async def test_an_error_of_a_preview_goes_on_from_the_first_page() -> None:
    async with HostileServer(http(403)) as server:
        with pytest.raises(Exception, match="403") as caught:
            await open_service(server).preview().collect()
    assert getattr(caught.value, "continuation_token", "none") is None
