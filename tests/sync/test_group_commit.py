"""Writes that come at the same time share a transaction, and each is told what became of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from connector_async.sync.exceptions import FencedError, StateError
from connector_async.sync.records import Calendar
from connector_async.sync.state import State, Transaction
from connector_async.sync.state.db.group_commit import GroupCommit
from connector_async.sync.state.schema import cells, leases

ACME = Calendar("acme")


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with await State.open(tmp_path / "state.db", owner="test") as opened:
        yield opened


class Writes:
    """Each writes a cell of its own."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.calls: list[str] = []

    async def write(self, name: str, error: Exception | None = None) -> None:
        async def body(transaction: Transaction) -> None:
            self.calls.append(name)
            row = {"tenant_id": name, "domain_id": "", "ad_id": "", "window_start": "", "window_end": ""}
            await transaction.upsert(cells, [row | {"done_run": "r", "previewed_at": 0.0}])
            await transaction.bump()
            if error is not None:
                raise error

        await self.state.write(body)

    async def written(self) -> set[str]:
        async with self.state.reading() as connection:
            return set((await connection.execute(select(cells.c.tenant_id))).scalars())


def writers() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "connector_async group commit"]


async def test_what_comes_at_the_same_time_is_committed_as_one(state: State) -> None:
    writes, before = Writes(state), await state.serial()
    names = [f"t{number:03}" for number in range(150)]
    await asyncio.gather(*map(writes.write, names))
    assert await writes.written() == set(names)
    assert await state.serial() - before == 2  # a hundred and the rest
    assert writes.calls == names


async def test_there_is_one_writer(state: State) -> None:
    writes = Writes(state)
    tasks = [asyncio.create_task(writes.write(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert len(writers()) == 1
    await asyncio.gather(*tasks)
    assert not writers()


async def test_what_comes_later_is_committed_when_its_write_returns(state: State) -> None:
    writes = Writes(state)
    for name in ("a", "b"):
        await writes.write(name)
        assert name in await writes.written()


async def test_one_that_fails_takes_no_other_with_it(state: State) -> None:
    writes = Writes(state)
    mistake = KeyError("b")
    found = await asyncio.gather(
        writes.write("a"), writes.write("b", mistake), writes.write("c"), return_exceptions=True
    )
    assert list(found) == [None, mistake, None]
    assert await writes.written() == {"a", "c"}
    await writes.write("d")
    assert await writes.written() == {"a", "c", "d"}


async def test_a_task_that_is_cancelled_takes_no_other_with_it(state: State) -> None:
    writes = Writes(state)
    tasks = [asyncio.create_task(writes.write(name)) for name in ("a", "b", "c")]
    while not writes.calls:
        await asyncio.sleep(0)
    tasks[1].cancel()
    later = asyncio.create_task(writes.write("d"))
    await asyncio.sleep(0)
    later.cancel()  # before its turn
    found = await asyncio.gather(*tasks, later, return_exceptions=True)
    assert [type(each) for each in found] == [type(None), asyncio.CancelledError, type(None), asyncio.CancelledError]
    await writes.write("e")
    assert "d" not in writes.calls
    assert await writes.written() >= {"a", "c", "e"}


async def test_one_that_fails_after_its_task_was_cancelled_takes_no_other_with_it(state: State) -> None:
    writes = Writes(state)
    tasks = [asyncio.create_task(writes.write("a", KeyError("a"))), asyncio.create_task(writes.write("b"))]
    while not writes.calls:
        await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert tasks[0].cancelled()
    await tasks[1]
    assert await writes.written() == {"b"}


async def test_what_is_waiting_is_committed_before_the_state_is_closed(tmp_path: Path) -> None:
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


async def test_each_is_told_when_another_run_has_taken_over(state: State) -> None:
    async with state.writing() as transaction:
        await transaction.connection.execute(leases.update().values(epoch=leases.c.epoch + 1, owner="other"))
    writes = Writes(state)
    found: list[Any] = await asyncio.gather(*map(writes.write, "abc"), return_exceptions=True)
    assert [type(each) for each in found] == [FencedError] * 3
    assert len({id(each) for each in found}) == 3  # no two share a traceback
    assert writes.calls == []


async def test_a_beginning_that_fails_is_not_tried_again_for_each() -> None:
    begun = 0

    @asynccontextmanager
    async def begin() -> AsyncIterator[None]:
        nonlocal begun
        begun += 1
        if begun:
            raise StateError("locked")
        yield

    async def body(_: object) -> None:
        raise AssertionError("there is no transaction")

    writes: GroupCommit[None] = GroupCommit(begin)
    found = await asyncio.gather(*(writes.write(body) for _ in range(5)), return_exceptions=True)
    assert [str(each) for each in found] == ["locked"] * 5
    assert begun == 1


async def test_nothing_is_begun_for_a_group_whose_tasks_were_all_cancelled() -> None:
    begun, written = [asyncio.Event(), asyncio.Event()], []
    goes_on = asyncio.Event()

    @asynccontextmanager
    async def begin() -> AsyncIterator[None]:
        begun.pop(0).set()
        await goes_on.wait()
        yield

    async def write(name: str) -> None:
        async def body(_: object) -> None:
            written.append(name)

        await writes.write(body)

    writes: GroupCommit[None] = GroupCommit(begin)
    first_begun = begun[0]
    first = asyncio.create_task(write("a"))
    await first_begun.wait()
    second = asyncio.create_task(write("b"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    goes_on.set()
    await first
    await writes.finish()
    assert (second.cancelled(), written, len(begun)) == (True, ["a"], 1)


async def test_a_state_for_reading_alone_takes_nothing(state: State) -> None:
    async with await State.open(state.location.path or "", owner="test", read_only=True) as reader:
        with pytest.raises(StateError, match="reading alone"):
            await Writes(reader).write("a")


def test_those_who_wait_are_cancelled_with_the_event_loop(tmp_path: Path) -> None:
    waiting: list[asyncio.Task[None]] = []

    async def main() -> None:
        state = await State.open(tmp_path / "state.db", owner="test")
        writes = Writes(state)
        async with state.writing():
            for name in "abc":
                waiting.append(asyncio.create_task(writes.write(name)))
                await asyncio.sleep(0)
                await asyncio.sleep(0)  # the first is about to be written, the others wait for that
            (writer,) = writers()
            writer.cancel()  # as the end of the loop does
            _, pending = await asyncio.wait(waiting, timeout=5)
            assert not pending
        await state.aclose()

    asyncio.run(main())
    assert [task.cancelled() for task in waiting] == [True] * 3
