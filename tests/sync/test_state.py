# ruff: noqa: ASYNC220, ASYNC240 - a test may block
"""The state of a sync: one run at a time, atomic transactions, and errors with a reason."""

import asyncio
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from connector_async.sync.exceptions import FencedError, StateBusyError, StateError
from connector_async.sync.report import Fate, RunReport, TenantReport
from connector_async.sync.state import State, Transaction
from connector_async.sync.state.db import sqlite
from connector_async.sync.state.db.upsert import upsert
from connector_async.sync.state.inspection import read_status
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.schema import desired, items, runs, tenants
from tests.conftest import ManualClock
from tests.support.limits import largest_file

HOLD = """
import asyncio, sys
from connector_async.sync.report import Fate, RunReport, TenantReport
from connector_async.sync.state import State, Transaction

async def main():
    state = await State.open(sys.argv[1], owner="the other process")
    transaction = state.writing()
    written = await transaction.__aenter__()
    written.bump("acme")  # not committed
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
        transaction.bump("acme")


async def keys(state: State) -> list[str]:
    async with state.reading() as connection:
        return list((await connection.execute(select(items.c.key).order_by(items.c.key))).scalars())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it's 100 % #1?.db"  # special in URLs, in SQL or in configuration files


@pytest.fixture
async def state(path: Path) -> AsyncIterator[State]:
    async with await State.open(path, owner="first") as opened:
        yield opened


async def test_committed_rows_survive_a_reopen(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with await State.open(path, owner="first") as state:
        assert await state.serial() == 0
        await add(state, item("k-1"))
        await add(state, item("k-2"))
    async with await State.open(f"sqlite:///{path}", owner="second") as state:
        assert await state.serial() == 2
        assert await keys(state) == ["k-1", "k-2"]


async def test_error_in_the_block_rolls_back(state: State) -> None:
    async def fail() -> None:
        async with state.writing() as transaction:
            await transaction.connection.execute(insert(items), [item("k-1")])
            transaction.bump("acme")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await keys(state) == []
    assert await state.serial() == 0


async def test_cancelled_write_is_atomic_and_does_not_block_others(state: State) -> None:
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


async def test_concurrent_transactions_are_serialized(state: State) -> None:
    await asyncio.gather(*(add(state, item(f"k-{number}")) for number in range(10)))
    assert len(await keys(state)) == await state.serial() == 10


async def test_reader_sees_one_snapshot_and_does_not_block_writes(state: State) -> None:
    count = select(func.count()).select_from(items)
    async with state.reading() as connection:
        assert (await connection.execute(count)).scalar_one() == 0
        await add(state, item("k-1"))
        assert (await connection.execute(count)).scalar_one() == 0
    assert await keys(state) == ["k-1"]


@pytest.mark.sqlite
async def test_reader_cannot_write(state: State) -> None:
    with pytest.raises(StateError, match="attempt to write a readonly database"):
        async with state.reading() as connection:
            await connection.execute(insert(items), [item("k-1")])


@pytest.mark.sqlite
async def test_commit_waits_for_the_disk(state: State) -> None:
    async with state.writing() as transaction:
        assert (await transaction.connection.execute(text("PRAGMA synchronous"))).scalar_one() == 2  # FULL
        assert (await transaction.connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"


@pytest.mark.sqlite
async def test_reader_has_a_small_cache(state: State) -> None:
    async with state.reading() as connection:
        assert (await connection.execute(text("PRAGMA cache_size"))).scalar_one() == -500


@pytest.mark.sqlite
async def test_all_files_are_readable_by_the_owner_only(path: Path, tmp_path: Path) -> None:
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


async def test_upsert_replaces_rows_with_the_same_key(state: State) -> None:
    async with state.writing() as transaction:
        await transaction.upsert(items, [])
        await transaction.upsert(items, [item("k-1"), item("k-2")])
        await transaction.upsert(items, [item("k-2", appointment_id="other"), item("k-3")])
    async with state.reading() as connection:
        rows = (await connection.execute(select(items.c.key, items.c.appointment_id).order_by(items.c.key))).all()
    assert [tuple(row) for row in rows] == [("k-1", "a-k-1"), ("k-2", "other"), ("k-3", "a-k-3")]


def test_upsert_for_postgresql_and_for_unsupported_databases() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    statement = str(upsert("postgresql", tenants).compile(dialect=dialect))
    assert "ON CONFLICT (tenant_id) DO UPDATE SET owner = excluded.owner, holder = excluded.holder" in statement
    with pytest.raises(ValueError, match="cannot be kept in mysql"):
        upsert("mysql", tenants)


@pytest.mark.sqlite
async def test_busy_error_names_the_owner_and_the_time(path: Path) -> None:
    async with await State.open(path, owner="nightly", clock=ManualClock()):
        with pytest.raises(StateBusyError, match="the last to open it was nightly, at 2023-11-14T22:13:20Z") as caught:
            await State.open(path, owner="second")
    assert str(path) in str(caught.value)
    await (await State.open(path, owner="second")).aclose()


@pytest.mark.sqlite
async def test_symbolic_link_has_the_same_lock(path: Path, tmp_path: Path, state: State) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(StateBusyError):
        await State.open(link, owner="second")


@pytest.mark.sqlite
async def test_busy_error_without_a_readable_owner_names_another_run(path: Path) -> None:
    async with await State.open(path, owner="first"):
        path.rename(path.with_name("moved"))
        with pytest.raises(StateBusyError, match=r"another run is using it$"):
            await State.open(path, owner="second")
        path.with_name("moved").rename(path)


@pytest.mark.sqlite
async def test_wait_ends_when_the_other_run_ends(path: Path) -> None:
    class ClosingClock(ManualClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if len(self.sleeps) == 3:
                await first.aclose()

    first, clock = await State.open(path, owner="first"), ClosingClock()
    async with await State.open(path, owner="second", wait=60, clock=clock):
        assert clock.sleeps == [0.05] * 3


@pytest.mark.sqlite
async def test_wait_ends_after_its_time(state: State, path: Path) -> None:
    clock = ManualClock()
    with pytest.raises(StateBusyError):
        await State.open(path, owner="second", wait=0.12, clock=clock)
    assert clock.sleeps == pytest.approx([0.05, 0.05, 0.02])


@pytest.mark.sqlite
async def test_killed_process_releases_the_lock_and_leaves_no_partial_write(path: Path) -> None:
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


@pytest.mark.sqlite
async def test_run_without_the_lease_cannot_write(path: Path) -> None:
    async with await State.open(path, owner="first") as first:
        await add(first, item("k-1"))
        path.with_name(path.name + ".lock").unlink()  # so that the second run gets its own lock
        async with await State.open(path, owner="second") as second:
            await second.lease(["acme"])
            with pytest.raises(FencedError, match="second has taken over tenant acme"):
                await add(first, item("k-2"))
            await add(second, item("k-3"))
            assert await keys(first) == ["k-1", "k-3"]
            assert await first.serial() == 2


@pytest.mark.parametrize("loss", [update(tenants).values(epoch=tenants.c.epoch + 1), delete(tenants)])
async def test_changed_or_missing_lease_fences_the_run(state: State, loss: Any) -> None:
    await add(state, item("k-1"))
    async with state.writing() as transaction:
        await transaction.connection.execute(loss)
    for check in (add(state, item("k-2")), state.write(lambda transaction: insert_item(transaction, "k-3"), "acme")):
        with pytest.raises(FencedError):
            await check
    assert await keys(state) == ["k-1"]


async def insert_item(transaction: Transaction, key: str) -> None:
    await transaction.connection.execute(insert(items), [item(key)])


@pytest.mark.sqlite
async def test_full_database_is_an_error_and_leaves_no_partial_write(state: State, path: Path) -> None:
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


@pytest.mark.sqlite
async def test_file_that_cannot_grow_is_an_error_and_leaves_no_partial_write(state: State, path: Path) -> None:
    await add(state, item("k-1"))
    log = path.with_name(path.name + "-wal")
    with pytest.raises(StateError, match="disk I/O error"), largest_file(log.stat().st_size + 10_000):
        await add(state, *(item(f"k-{number:04}") for number in range(2, 1_000)))
    assert await keys(state) == ["k-1"]
    await add(state, item("k-2"))
    assert await state.serial() == 2


@pytest.mark.sqlite
async def test_database_error_has_neither_values_nor_sql(state: State) -> None:
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


async def test_integrity_error_reaches_the_caller_without_values(state: State) -> None:
    await add(state, item("secret"))
    with pytest.raises(IntegrityError) as caught:
        await add(state, item("secret"))
    assert "secret" not in str(caught.value)


@pytest.mark.sqlite
async def test_database_that_stays_locked_is_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sqlite._CONNECT_ARGS, "timeout", 0.01)
    async with await State.open(path, owner="first") as state:
        # Like another program, which does not use the lock.
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StateBusyError, match="database is locked"):
                await add(state, item("k-1"))
        await add(state, item("k-1"))


@pytest.mark.sqlite
async def test_read_only_state_needs_no_lock_and_changes_nothing(state: State, path: Path) -> None:
    await add(state, item("k-1"))
    async with await State.open(path, owner="second", read_only=True) as other:
        assert await keys(other) == ["k-1"]
        with pytest.raises(StateError, match="opened read-only"):
            async with other.writing():
                pytest.fail("the block must not start")
    await add(state, item("k-2"))  # the first run still has the lease


@pytest.mark.sqlite
async def test_read_only_open_creates_nothing(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="there is no state"):
        await State.open(path, owner="second", read_only=True)
    assert list(tmp_path.iterdir()) == []


async def test_close_waits_for_an_open_transaction(path: Path) -> None:
    state = await State.open(path, owner="first")
    async with state.writing() as transaction:
        close = asyncio.create_task(state.aclose())
        await asyncio.sleep(0.02)
        assert not close.done()
        transaction.bump("acme")
    await close
    async with await State.open(path, owner="second") as again:
        assert await again.serial() == 1


async def test_closed_state_cannot_be_used(path: Path) -> None:
    state = await State.open(path, owner="first")
    await state.aclose()
    await state.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await state.serial()
    with pytest.raises(RuntimeError, match="closed"):
        await add(state, item("k-1"))


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "place", ["", ":memory:", "sqlite://", "sqlite:///:memory:", "sqlite:///a?mode=ro", "no url://"]
)
async def test_invalid_location_is_rejected(place: str) -> None:
    with pytest.raises(ValueError, match="state"):
        await State.open(place, owner="first")


@pytest.mark.sqlite
@pytest.mark.parametrize("arguments", [{"owner": ""}, {"wait": -1}])
async def test_invalid_argument_is_rejected_before_a_file_is_created(path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        await State.open(path, **({"owner": "first"} | arguments))
    assert not path.exists()


@pytest.mark.sqlite
@pytest.mark.parametrize("content", [b"hello", b"key,title\n" * 1_000])
async def test_file_that_is_not_a_database_is_unchanged(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)
    for read_only in (False, True):
        with pytest.raises(StateError, match="file is not a database"):
            await State.open(path, owner="first", read_only=read_only)
    assert path.read_bytes() == content
    assert mode(path) == 0o644


@pytest.mark.sqlite
async def test_missing_folder_and_folder_as_a_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file or directory"):
        await State.open(tmp_path / "absent" / "state.db", owner="first")
    with pytest.raises(StateError, match="must be a regular file"):
        await State.open(tmp_path, owner="first", read_only=True)


def test_import_of_the_state_loads_no_alembic_and_of_the_package_no_sqlalchemy() -> None:
    script = (
        "import sys, connector_async, connector_async.sync\n"
        "assert not {'sqlalchemy', 'alembic'} & sys.modules.keys()\n"
        "import connector_async.sync.state\n"
        "assert 'sqlalchemy' in sys.modules and 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_stored_names_of_fates_never_change() -> None:
    names = {
        Fate.CREATED: "created",
        Fate.UPDATED: "updated",
        Fate.DELETED: "deleted",
        Fate.UNCHANGED: "agreed",
        Fate.PULLED: "pulled",
        Fate.CONFLICT: "conflict",
        Fate.REFUSED: "refused",
        Fate.RETRYABLE: "temporary",
        Fate.UNKNOWN: "unknown",
        Fate.SKIPPED: "given_up",
        Fate.NOT_STARTED: "not_started",
        Fate.UNREADABLE: "unreadable",
    }
    assert {fate: fate.stored_name for fate in Fate} == names
    assert {Fate.from_stored(name): name for name in names.values()} == names


async def test_counts_of_a_run_are_stored_and_shown_by_their_names(state: State) -> None:
    journal = Journal.for_new_run(state, ManualClock())
    report = RunReport(run_id=journal.run_id)
    report.tenants["acme"] = TenantReport(counts=Counter({Fate.UNCHANGED: 2}))
    await journal.start_run(kind="run", mode="trust")
    await journal.end_run(report, "ended")
    async with state.reading() as connection:
        stored = (await connection.execute(select(runs.c.counts))).scalar_one()
    assert stored.pop("tenants")["acme"]["counts"] == {"agreed": 2}
    assert stored == {"agreed": 2}
    (shown,) = (await read_status(state))["runs"]
    assert (shown["status"], shown["counts"]) == ("ended", {Fate.UNCHANGED.value: 2})


@pytest.mark.row("S3")
@pytest.mark.parametrize(
    ("stored", "value"),
    [("", None), ("((None, None), None, None)", "((None, None), None, None)"), ('{"start":null}', {"start": None})],
)
async def test_conditions_of_a_run_are_shown_as_json(state: State, stored: str, value: Any) -> None:
    await Journal.for_new_run(state, ManualClock()).start_run(kind="run", mode="trust", conditions=stored)
    (shown,) = (await read_status(state))["runs"]
    assert shown["conditions"] == value


async def test_body_is_stored_as_bytes(state: State) -> None:
    row = {"tenant_id": "acme", "domain_id": "", "ad_id": "", "key": "k-1", "content_hash": None}
    row |= {"start_time": None, "end_time": None, "modified": None}
    async with state.writing() as transaction:
        await transaction.upsert(desired, [row | {"body": b"\x00\xff", "copies": 1}])
    async with state.reading() as connection:
        assert (await connection.execute(select(desired.c.body))).scalar_one() == b"\x00\xff"


async def test_upsert_sets_the_given_values_on_conflict(state: State) -> None:
    row: dict[str, Any] = {"tenant_id": "acme", "domain_id": "", "ad_id": "", "key": "k-1", "body": b"x", "copies": 1}
    row |= dict.fromkeys(("content_hash", "start_time", "end_time", "modified"))
    for _ in range(3):
        async with state.writing() as transaction:
            on_conflict = {"copies": desired.c.copies + 1, "body": None}
            await transaction.upsert(desired, [row, row | {"key": "k-2"}], on_conflict=on_conflict)
    async with state.reading() as connection:
        rows = (await connection.execute(select(desired.c.key, desired.c.copies, desired.c.body))).all()
        assert [tuple(row) for row in rows] == [("k-1", 3, None), ("k-2", 3, None)]
