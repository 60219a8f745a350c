"""Group commit: concurrent writes share a transaction, and each task gets the result of its own write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from connector_async.sync.exceptions import FencedError, StateError
from connector_async.sync.state import State, Transaction
from connector_async.sync.state.db.group_commit import GroupCommit
from connector_async.sync.state.schema import cells, tenants
from tests.support.state_rows import location_of


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with await State.open(tmp_path / "state.db", owner="test") as opened:
        yield opened


class Writes:
    """Writes one cell for each name."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.calls: list[str] = []

    async def write(self, name: str, error: Exception | None = None) -> None:
        async def body(transaction: Transaction) -> None:
            self.calls.append(name)
            row = {"tenant_id": name, "domain_id": "", "ad_id": "", "window_start": "", "window_end": ""}
            await transaction.upsert(cells, [row | {"done_run": "r", "previewed_at": 0.0}])
            transaction.bump("acme")
            if error is not None:
                raise error

        await self.state.write(body, "acme")

    async def written(self) -> set[str]:
        async with self.state.reading() as connection:
            return set((await connection.execute(select(cells.c.tenant_id))).scalars())


def committers() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "connector_async group commit"]


async def test_concurrent_writes_are_committed_together(state: State) -> None:
    writes, before = Writes(state), await state.serial()
    names = [f"t{number:03}" for number in range(150)]
    await asyncio.gather(*map(writes.write, names))
    assert await writes.written() == set(names)
    assert await state.serial() - before == 2  # a full group and the rest
    assert writes.calls == names


async def test_one_task_commits_for_all(state: State) -> None:
    writes = Writes(state)
    tasks = [asyncio.create_task(writes.write(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert len(committers()) == 1
    await asyncio.gather(*tasks)
    assert not committers()


async def test_write_is_committed_when_it_returns(state: State) -> None:
    writes = Writes(state)
    for name in ("a", "b"):
        await writes.write(name)
        assert name in await writes.written()


async def test_failed_write_does_not_affect_the_others(state: State) -> None:
    writes = Writes(state)
    error = KeyError("b")
    results = await asyncio.gather(
        writes.write("a"), writes.write("b", error), writes.write("c"), return_exceptions=True
    )
    assert list(results) == [None, error, None]
    assert await writes.written() == {"a", "c"}
    await writes.write("d")
    assert await writes.written() == {"a", "c", "d"}


async def test_cancelled_task_does_not_affect_the_others(state: State) -> None:
    writes = Writes(state)
    tasks = [asyncio.create_task(writes.write(name)) for name in ("a", "b", "c")]
    while not writes.calls:
        await asyncio.sleep(0)
    tasks[1].cancel()
    later = asyncio.create_task(writes.write("d"))
    await asyncio.sleep(0)
    later.cancel()  # before its group
    results = await asyncio.gather(*tasks, later, return_exceptions=True)
    kinds = [type(result) for result in results]
    assert kinds == [type(None), asyncio.CancelledError, type(None), asyncio.CancelledError]
    await writes.write("e")
    assert "d" not in writes.calls
    assert await writes.written() >= {"a", "c", "e"}


async def test_failed_write_of_a_cancelled_task_does_not_affect_the_others(state: State) -> None:
    writes = Writes(state)
    tasks = [asyncio.create_task(writes.write("a", KeyError("a"))), asyncio.create_task(writes.write("b"))]
    while not writes.calls:
        await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert tasks[0].cancelled()
    await tasks[1]
    assert await writes.written() == {"b"}


async def test_waiting_writes_are_committed_before_the_state_is_closed(tmp_path: Path) -> None:
    state = await State.open(tmp_path / "state.db", owner="test")
    writes = Writes(state)
    tasks = [asyncio.create_task(writes.write(name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    await state.aclose()
    await asyncio.gather(*tasks)
    with pytest.raises(RuntimeError, match="closed"):
        await writes.write("c")
    async with await State.open(tmp_path / "state.db", owner="test") as state:
        assert await Writes(state).written() == {"a", "b"}


async def test_lost_lease_is_an_error_for_each_task(state: State) -> None:
    await state.lease(["acme"])
    async with state.writing() as transaction:
        await transaction.connection.execute(tenants.update().values(epoch=tenants.c.epoch + 1, owner="other"))
    writes = Writes(state)
    results: list[Any] = await asyncio.gather(*map(writes.write, "abc"), return_exceptions=True)
    assert [type(result) for result in results] == [FencedError] * 3
    assert len({id(result) for result in results}) == 3  # no two tasks share a traceback
    assert await writes.written() == set()


async def test_failed_begin_is_not_retried_for_each_write() -> None:
    begins = 0

    @asynccontextmanager
    async def begin() -> AsyncIterator[None]:
        nonlocal begins
        begins += 1
        if begins:
            raise StateError("locked")
        yield

    async def body(_: object) -> None:
        raise AssertionError("there is no transaction")

    commits: GroupCommit[None] = GroupCommit(begin)
    results = await asyncio.gather(*(commits.write(body) for _ in range(5)), return_exceptions=True)
    assert [str(result) for result in results] == ["locked"] * 5
    assert begins == 1


async def test_group_of_cancelled_tasks_starts_no_transaction() -> None:
    begins, written = [asyncio.Event(), asyncio.Event()], []
    may_continue = asyncio.Event()

    @asynccontextmanager
    async def begin() -> AsyncIterator[None]:
        begins.pop(0).set()
        await may_continue.wait()
        yield

    async def write(name: str) -> None:
        async def body(_: object) -> None:
            written.append(name)

        await commits.write(body)

    commits: GroupCommit[None] = GroupCommit(begin)
    first_begin = begins[0]
    first = asyncio.create_task(write("a"))
    await first_begin.wait()
    second = asyncio.create_task(write("b"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    may_continue.set()
    await first
    await commits.finish()
    assert (second.cancelled(), written, len(begins)) == (True, ["a"], 1)


async def test_read_only_state_rejects_writes(state: State, tmp_path: Path) -> None:
    async with await State.open(location_of(tmp_path / "state.db"), owner="test", read_only=True) as reader:
        with pytest.raises(StateError, match="opened read-only"):
            await Writes(reader).write("a")


def test_waiting_tasks_are_cancelled_with_the_event_loop(tmp_path: Path) -> None:
    waiting: list[asyncio.Task[None]] = []

    async def main() -> None:
        state = await State.open(tmp_path / "state.db", owner="test")
        writes = Writes(state)
        async with state.writing():
            for name in "abc":
                waiting.append(asyncio.create_task(writes.write(name)))
                await asyncio.sleep(0)
                await asyncio.sleep(0)  # the first write waits for the transaction, the others for the first
            (committer,) = committers()
            committer.cancel()  # as the end of the loop does
            _, pending = await asyncio.wait(waiting, timeout=5)
            assert not pending
        await state.aclose()

    asyncio.run(main())
    assert [task.cancelled() for task in waiting] == [True] * 3
