# ruff: noqa: ASYNC220, ASYNC240 - a test may block
"""The state of a sync: one run at a time, transactions that are whole, and errors that say what is wrong."""

import asyncio
import os
import pickle
import resource
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from connector_async.sync.exceptions import FencedError, StateBusyError, StateError
from connector_async.sync.state import State
from connector_async.sync.state.db import sqlite
from connector_async.sync.state.db.upsert import upsert
from connector_async.sync.state.schema import desired, items, leases
from tests.conftest import ManualClock

HOLD = """
import asyncio, sys
from connector_async.sync.state import State

async def main():
    state = await State.open(sys.argv[1], owner="the other process")
    transaction = state.writing()
    written = await transaction.__aenter__()
    await written.bump()  # and it is not committed
    print("open", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def item(key: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"tenant_id": "acme", "domain_id": "", "ad_id": "", "key": key}
    row |= {"appointment_id": f"a-{key}", "local_hash": "0" * 32, "remote_hash": None}
    row |= {"start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00Z"}
    return row | {"deleted_at": None, "run_id": "r-1"} | changes


async def add(state: State, *rows: dict[str, Any]) -> None:
    async with state.writing() as transaction:
        await transaction.connection.execute(insert(items), list(rows))
        await transaction.bump()


async def keys(state: State) -> list[str]:
    async with state.reading() as connection:
        return list((await connection.execute(select(items.c.key).order_by(items.c.key))).scalars())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it's 100 % #1?.db"  # none of it may mean anything


@pytest.fixture
async def state(path: Path) -> AsyncIterator[State]:
    async with await State.open(path, owner="first") as opened:
        yield opened


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


async def test_what_is_committed_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with await State.open(path, owner="first") as state:
        assert await state.serial() == 0
        await add(state, item("k-1"))
        await add(state, item("k-2"))
    async with await State.open(f"sqlite:///{path}", owner="second") as state:
        assert await state.serial() == 2
        assert await keys(state) == ["k-1", "k-2"]


async def test_an_error_in_the_block_rolls_everything_back(state: State) -> None:
    async def fail() -> None:
        async with state.writing() as transaction:
            await transaction.connection.execute(insert(items), [item("k-1")])
            assert await transaction.bump() == 1
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await keys(state) == []
    assert await state.serial() == 0


async def test_a_task_that_is_cancelled_writes_all_or_nothing_and_stops_nobody(state: State) -> None:
    for moment in range(60):
        before = await state.serial()
        task = asyncio.create_task(add(state, item(f"cut-{moment}")))
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await add(state, item(f"next-{moment}"))
        written = f"cut-{moment}" in await keys(state)
        assert await state.serial() == before + 1 + written


async def test_those_who_write_wait_for_each_other(state: State) -> None:
    await asyncio.gather(*(add(state, item(f"k-{number}")) for number in range(10)))
    assert len(await keys(state)) == await state.serial() == 10


async def test_one_who_reads_sees_one_moment_and_holds_nobody_up(state: State) -> None:
    count = select(func.count()).select_from(items)
    async with state.reading() as connection:
        assert (await connection.execute(count)).scalar_one() == 0
        await add(state, item("k-1"))
        assert (await connection.execute(count)).scalar_one() == 0
    assert await keys(state) == ["k-1"]


async def test_one_who_reads_cannot_write(state: State) -> None:
    with pytest.raises(StateError, match="attempt to write a readonly database"):
        async with state.reading() as connection:
            await connection.execute(insert(items), [item("k-1")])


async def test_a_commit_waits_for_the_disk(state: State) -> None:
    async with state.writing() as transaction:
        assert (await transaction.connection.execute(text("PRAGMA synchronous"))).scalar_one() == 2  # FULL
        assert (await transaction.connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"


async def test_one_who_reads_keeps_little_of_the_file_in_memory(state: State) -> None:
    async with state.reading() as connection:
        assert (await connection.execute(text("PRAGMA cache_size"))).scalar_one() == -500


async def test_everything_is_for_its_owner_alone(path: Path, tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        async with await State.open(path, owner="first") as state:
            await add(state, item("k-1"))
            files = sorted(tmp_path.iterdir())
            assert [file.name.removeprefix(path.name) for file in files] == ["", "-shm", "-wal", ".lock"]
            assert {mode(file) for file in files} == {0o600}
    finally:
        os.umask(umask)
    path.chmod(0o644)
    async with await State.open(path, owner="first"):
        assert {mode(file) for file in tmp_path.iterdir()} == {0o600}


async def test_rows_of_the_same_key_are_replaced(state: State) -> None:
    async with state.writing() as transaction:
        await transaction.upsert(items, [])
        await transaction.upsert(items, [item("k-1"), item("k-2")])
        await transaction.upsert(items, [item("k-2", appointment_id="other"), item("k-3")])
    async with state.reading() as connection:
        rows = (await connection.execute(select(items.c.key, items.c.appointment_id).order_by(items.c.key))).all()
    assert [tuple(row) for row in rows] == [("k-1", "a-k-1"), ("k-2", "other"), ("k-3", "a-k-3")]


def test_postgresql_replaces_rows_by_the_same_words() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    statement = str(upsert("postgresql", leases).compile(dialect=dialect))
    assert "ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch" in statement
    with pytest.raises(ValueError, match="cannot be kept in mysql"):
        upsert("mysql", leases)


async def test_a_second_run_is_told_who_works_with_it_and_since_when(path: Path) -> None:
    async with await State.open(path, owner="nightly", clock=ManualClock()):
        with pytest.raises(
            StateBusyError, match="the last that took it was nightly, at 2023-11-14T22:13:20Z"
        ) as caught:
            await State.open(path, owner="second")
    assert str(path) in str(caught.value)
    await (await State.open(path, owner="second")).aclose()


async def test_a_symbolic_link_has_the_same_lock(path: Path, tmp_path: Path, state: State) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(StateBusyError):
        await State.open(link, owner="second")


async def test_a_run_whose_state_cannot_be_read_is_busy_all_the_same(path: Path) -> None:
    async with await State.open(path, owner="first"):
        path.rename(path.with_name("moved"))
        with pytest.raises(StateBusyError, match=r"another run works with it$"):
            await State.open(path, owner="second")
        path.with_name("moved").rename(path)


async def test_waiting_for_a_run_ends_when_it_does(path: Path) -> None:
    class ClosingClock(ManualClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if len(self.sleeps) == 3:
                await first.aclose()

    first, clock = await State.open(path, owner="first"), ClosingClock()
    async with await State.open(path, owner="second", wait=60, clock=clock):
        assert clock.sleeps == [0.05] * 3


async def test_waiting_for_a_run_ends_in_time(state: State, path: Path) -> None:
    clock = ManualClock()
    with pytest.raises(StateBusyError):
        await State.open(path, owner="second", wait=0.12, clock=clock)
    assert clock.sleeps == pytest.approx([0.05, 0.05, 0.02])


async def test_a_process_that_is_killed_leaves_the_state_free_and_nothing_half_written(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process.stdout:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StateBusyError, match="the other process"):
            await State.open(path, owner="second")
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    async with await State.open(path, owner="second") as state:
        assert await state.serial() == 0
        await add(state, item("k-1"))


async def test_a_run_that_lost_the_lease_writes_nothing_more(path: Path) -> None:
    async with await State.open(path, owner="first") as first:
        await add(first, item("k-1"))
        path.with_name(path.name + ".lock").unlink()  # so that the second gets a lock of its own
        async with await State.open(path, owner="second") as second:
            with pytest.raises(FencedError, match="second has taken over"):
                await add(first, item("k-2"))
            await add(second, item("k-3"))
            assert await keys(first) == ["k-1", "k-3"]
            assert await first.serial() == 2


@pytest.mark.parametrize("loss", [update(leases).values(epoch=leases.c.epoch + 1), delete(leases)])
async def test_a_lease_that_is_not_the_runs_own_fences_it(state: State, loss: Any) -> None:
    async with state.writing() as transaction:
        await transaction.connection.execute(loss)
    with pytest.raises(FencedError):
        async with state.writing() as transaction:
            pytest.fail("it may write")


async def test_a_full_disk_is_told_and_leaves_nothing_half_written(state: State, path: Path) -> None:
    async with state.writing() as transaction:
        pages = (await transaction.connection.execute(text("PRAGMA page_count"))).scalar_one()
        await transaction.connection.execute(text(f"PRAGMA max_page_count = {pages + 2}"))
    await add(state, item("k-1"))
    with pytest.raises(StateError) as caught:
        await add(state, *(item(f"secret-{number}") for number in range(1_000)))
    assert str(caught.value) == f"{path}: database or disk is full"
    assert type(caught.value) is StateError
    assert await keys(state) == ["k-1"]
    await add(state, item("k-2"))


async def test_a_file_that_cannot_grow_is_told_and_leaves_nothing_half_written(state: State, path: Path) -> None:
    await add(state, item("k-1"))
    log = path.with_name(path.name + "-wal")
    with pytest.raises(StateError, match="disk I/O error"), largest_file(log.stat().st_size + 10_000):
        await add(state, *(item(f"k-{number:04}") for number in range(2, 1_000)))
    assert await keys(state) == ["k-1"]
    await add(state, item("k-2"))
    assert await state.serial() == 2


async def test_no_error_of_the_database_shows_what_was_written(state: State) -> None:
    async def fail() -> None:
        async with state.writing() as transaction:
            await transaction.connection.execute(text("PRAGMA query_only = 1"))
            await transaction.connection.execute(insert(items), [item("secret")])

    with pytest.raises(StateError, match="attempt to write a readonly database") as caught:
        await fail()
    assert caught.value.__cause__ is None
    assert "secret" not in "".join(traceback.format_exception(caught.value, chain=True))
    assert "INSERT" not in "".join(traceback.format_exception(caught.value))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


async def test_a_broken_constraint_is_the_callers_to_see_without_the_values(state: State) -> None:
    await add(state, item("secret"))
    with pytest.raises(IntegrityError) as caught:
        await add(state, item("secret"))
    assert "secret" not in str(caught.value)


async def test_a_database_that_stays_locked_is_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sqlite._CONNECT_ARGS, "timeout", 0.01)
    async with await State.open(path, owner="first") as state:
        # As a program would that is not of this package, and asks nobody.
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StateBusyError, match="database is locked"):
                await add(state, item("k-1"))
        await add(state, item("k-1"))


async def test_to_look_needs_no_lock_and_changes_nothing(state: State, path: Path) -> None:
    await add(state, item("k-1"))
    async with await State.open(path, owner="second", read_only=True) as other:
        assert await keys(other) == ["k-1"]
        with pytest.raises(StateError, match="opened for reading alone"):
            async with other.writing():
                pytest.fail("it may write")
    await add(state, item("k-2"))  # the lease is still its own


async def test_to_look_creates_nothing(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="there is no state"):
        await State.open(path, owner="second", read_only=True)
    assert list(tmp_path.iterdir()) == []


async def test_what_is_being_written_is_done_before_it_is_closed(path: Path) -> None:
    state = await State.open(path, owner="first")
    async with state.writing() as transaction:
        closing_it = asyncio.create_task(state.aclose())
        await asyncio.sleep(0.02)
        assert not closing_it.done()
        await transaction.bump()
    await closing_it
    async with await State.open(path, owner="second") as again:
        assert await again.serial() == 1


async def test_what_is_closed_is_not_used(path: Path) -> None:
    state = await State.open(path, owner="first")
    await state.aclose()
    await state.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await state.serial()
    with pytest.raises(RuntimeError, match="closed"):
        await add(state, item("k-1"))


@pytest.mark.parametrize(
    "place", ["", ":memory:", "sqlite://", "sqlite:///:memory:", "sqlite:///a?mode=ro", "no url://"]
)
async def test_a_state_must_be_somewhere(place: str) -> None:
    with pytest.raises(ValueError, match="state"):
        await State.open(place, owner="first")


@pytest.mark.parametrize(("arguments", "error"), [({"owner": ""}, ValueError), ({"wait": -1}, ValueError)])
async def test_what_cannot_be_meant_is_refused(path: Path, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await State.open(path, **({"owner": "first"} | arguments))
    assert not path.exists()


@pytest.mark.parametrize("content", [b"hello", b"key,title\n" * 1_000])
async def test_a_file_that_is_something_else_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)
    for read_only in (False, True):
        with pytest.raises(StateError, match="file is not a database"):
            await State.open(path, owner="first", read_only=read_only)
    assert path.read_bytes() == content
    assert mode(path) == 0o644


async def test_a_folder_that_is_absent_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file or directory"):
        await State.open(tmp_path / "absent" / "state.db", owner="first")
    with pytest.raises(StateError, match="it is a folder"):
        await State.open(tmp_path, owner="first", read_only=True)


def test_importing_the_state_takes_no_alembic_and_importing_the_package_no_sqlalchemy() -> None:
    script = (
        "import sys, connector_async, connector_async.sync\n"
        "assert not {'sqlalchemy', 'alembic'} & sys.modules.keys()\n"
        "import connector_async.sync.state\n"
        "assert 'sqlalchemy' in sys.modules and 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


async def test_a_body_is_kept_as_it_is(state: State) -> None:
    row = {"tenant_id": "acme", "domain_id": "", "ad_id": "", "key": "k-1", "content_hash": None}
    row |= {"start_time": None, "end_time": None, "modified": None}
    async with state.writing() as transaction:
        await transaction.upsert(desired, [row | {"body": b"\x00\xff", "copies": 1}])
    async with state.reading() as connection:
        assert (await connection.execute(select(desired.c.body))).scalar_one() == b"\x00\xff"


async def test_a_row_that_comes_again_gets_what_it_is_told(state: State) -> None:
    row: dict[str, Any] = {"tenant_id": "acme", "domain_id": "", "ad_id": "", "key": "k-1", "body": b"x", "copies": 1}
    row |= dict.fromkeys(("content_hash", "start_time", "end_time", "modified"))
    for _ in range(3):
        async with state.writing() as transaction:
            again = {"copies": desired.c.copies + 1, "body": None}
            await transaction.upsert(desired, [row, row | {"key": "k-2"}], again=again)
    async with state.reading() as connection:
        rows = (await connection.execute(select(desired.c.key, desired.c.copies, desired.c.body))).all()
        assert [tuple(each) for each in rows] == [("k-1", 3, None), ("k-2", 3, None)]
