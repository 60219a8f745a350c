from connector_async import AsyncPager, Page


class Fetches:
    def __init__(self) -> None:
        self.made = 0

    async def __call__(self) -> Page[str]:
        self.made += 1
        return Page(items=["a", "b", "c"])


async def test_nothing_is_fetched_before_the_first_item_is_asked_for() -> None:
    fetches = Fetches()
    pager = AsyncPager(fetches)
    assert fetches.made == 0
    assert [item async for item in pager] == ["a", "b", "c"]
    assert fetches.made == 1


async def test_each_walk_fetches_anew() -> None:
    fetches = Fetches()
    pager = AsyncPager(fetches)
    for _ in range(2):
        assert [page.items async for page in pager.pages()] == [["a", "b", "c"]]
    assert fetches.made == 2


async def test_a_walk_may_end_early() -> None:
    async for item in AsyncPager(Fetches()):
        assert item == "a"
        break
