"""A lease for each tenant: runs for different tenants work at once, a second one for a tenant waits or is refused."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector_async import Clock
from connector_async.sync import (
    BulkSync,
    Calendar,
    Fate,
    FencedError,
    Mode,
    RunReport,
    State,
    StateBusyError,
    SyncOptions,
    SyncSettings,
)
from connector_async.sync.state import Transaction
from connector_async.sync.state.db.lease import DatabaseClock
from connector_async.sync.state.schema import cells
from tests.support.cancelling import is_cancelled_at
from tests.support.postgres import PostgresServer
from tests.support.syncing import ACME, EVERYTHING, ListSource, MemorySource, Syncing, record, syncing

GLOBEX = Calendar("globex")
RECORDS = [record(key, calendar=calendar) for calendar in (ACME, GLOBEX) for key in "abc"]


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = f"test_leases_{os.getpid()}"
    yield postgres.create(name)
    postgres.drop(name)


def query(postgres: PostgresServer, url: str, statement: str) -> list[tuple[object, ...]]:
    return postgres.execute(statement, url.partition("@/")[2].partition("?")[0])


async def run(sync: Syncing, state: State, tenant_id: str, **options: Any) -> RunReport:
    bulk_sync = BulkSync(state, sync.service, SyncSettings(grace=0.0))
    sync_options = SyncOptions(tenants=frozenset({tenant_id}), assume_empty=True, **options)
    return await bulk_sync.run(ListSource(RECORDS), sync_options)


async def put_cell(transaction: Transaction) -> None:
    row = {"tenant_id": "acme", "domain_id": "", "ad_id": "", "window_start": "", "window_end": ""}
    await transaction.upsert(cells, [row | {"done_run": None, "previewed_at": None}])


async def bump_acme(transaction: Transaction) -> None:
    transaction.bump("acme")


async def test_runs_for_different_tenants_work_at_once(url: str, tmp_path: Path) -> None:
    async with (
        syncing(tmp_path / "unused.db") as sync,
        await State.open(url, owner="first") as first,
        await State.open(url, owner="second") as second,
    ):
        both_hold = asyncio.Barrier(2)
        stage = BulkSync._stage

        async def stage_together(self: BulkSync, *args: Any, **options: Any) -> Any:
            await both_hold.wait()
            return await stage(self, *args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BulkSync, "_stage", stage_together)
            reports = await asyncio.gather(run(sync, first, "acme"), run(sync, second, "globex"))
        assert [report.counts for report in reports] == [{Fate.CREATED: 3}] * 2
        assert [list(report.tenants) for report in reports] == [["acme"], ["globex"]]
        assert sync.requests() == {"create": 6}


async def test_second_run_for_a_tenant_is_refused_by_name(url: str, tmp_path: Path) -> None:
    async with syncing(tmp_path / "unused.db") as sync, await State.open(url, owner="nightly") as first:
        await run(sync, first, "acme")
        async with await State.open(url, owner="second") as second:
            with pytest.raises(StateBusyError, match=r"tenant acme is in use by nightly, since 20"):
                await run(sync, second, "acme")
            with pytest.raises(StateBusyError, match="tenant acme is in use by nightly"):
                await second.write(put_cell, "acme")
            assert (await run(sync, second, "globex")).counts == {Fate.CREATED: 3}
            await first.release(["acme"])
            assert (await run(sync, second, "acme")).counts == {}


class HeldClock(Clock):
    """A clock whose sleeps end when the test lets them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: asyncio.Queue[float] = asyncio.Queue()
        self.wakes: asyncio.Queue[None] = asyncio.Queue()

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.put_nowait(seconds)
        await self.wakes.get()
        self.now += seconds


async def test_second_run_for_a_tenant_waits_until_the_first_is_closed(url: str) -> None:
    clock = HeldClock()
    first = await State.open(url, owner="first")
    await first.lease(["acme", "globex"])
    async with await State.open(url, owner="second", wait=60, clock=clock) as second:
        waiting = asyncio.create_task(second.lease(["globex"]))
        for _ in range(2):  # it asks again after each sleep
            assert await clock.sleeps.get() == 0.25
            clock.wakes.put_nowait(None)
        assert await clock.sleeps.get() == 0.25
        await first.aclose()
        clock.wakes.put_nowait(None)
        await waiting
        assert clock.sleeps.empty()


async def test_second_run_for_a_tenant_is_refused_at_the_end_of_its_wait(url: str) -> None:
    clock = HeldClock()
    async with (
        await State.open(url, owner="first") as first,
        await State.open(url, owner="second", wait=0.4, clock=clock) as second,
    ):
        await first.lease(["acme"])
        for _ in range(2):
            clock.wakes.put_nowait(None)
        with pytest.raises(StateBusyError, match="tenant acme is in use by first"):
            await second.lease(["acme"])
        assert [clock.sleeps.get_nowait() for _ in range(clock.sleeps.qsize())] == pytest.approx([0.25, 0.15])


async def test_tenants_of_a_cancelled_run_are_free_at_once_wherever_it_was_cancelled(url: str) -> None:
    async def use_state() -> None:
        async with await State.open(url, owner="cancelled") as state:
            await state.lease(["acme"])
            await state.write(put_cell, "acme")
            await state.write(put_cell, "globex")  # takes the lease of globex
            await state.release(["acme"])

    steps = 0
    while await is_cancelled_at(steps, use_state()):
        async with await State.open(url, owner="next") as successor:
            await successor.lease(["acme", "globex"])
        steps += 1
    assert steps > 10


async def test_tenant_that_a_cancelled_transaction_took_is_free_once_the_state_is_closed(url: str) -> None:
    async def write(state: State) -> None:
        async with state.writing("acme") as transaction:
            await put_cell(transaction)

    steps, is_cancelled = 0, True
    while is_cancelled:
        async with await State.open(url, owner="cancelled") as state:
            is_cancelled = await is_cancelled_at(steps, write(state))
        async with await State.open(url, owner="next") as successor:
            await successor.lease(["acme"])
        steps += 1
    assert steps > 5


async def test_tenant_of_a_killed_process_is_taken_over_and_fenced(url: str) -> None:
    async with await State.open(url, owner="killed", lease=0.2) as killed:
        await killed.lease(["acme"])
        assert killed._renewal is not None
        killed._renewal.cancel()
        async with await State.open(url, owner="next", wait=60) as successor:
            await successor.lease(["acme"])
            with pytest.raises(FencedError, match="next has taken over tenant acme"):
                await killed.write(put_cell, "acme")
            with pytest.raises(FencedError, match="next has taken over tenant acme"):
                async with killed.writing() as transaction:
                    transaction.bump("acme")
            await successor.write(put_cell, "acme")


async def test_lease_is_renewed_as_long_as_the_state_is_open(postgres: PostgresServer, url: str) -> None:
    expires_at = "SELECT expires_at FROM tenants"
    async with await State.open(url, owner="test", lease=0.1) as state:
        await state.lease(["acme"])
        before = query(postgres, url, expires_at)
        while query(postgres, url, expires_at) == before:
            await asyncio.sleep(0.01)
        await state.write(put_cell, "acme")
    assert query(postgres, url, "SELECT holder, expires_at FROM tenants") == [("", 0.0)]


async def test_lease_that_a_failed_transaction_has_taken_is_not_held(url: str) -> None:
    async def fail(transaction: Transaction) -> None:
        transaction.bump("acme")
        raise LookupError

    async with await State.open(url, owner="first") as first, await State.open(url, owner="second") as second:
        with pytest.raises(LookupError):
            await first.write(fail, "acme")
        await second.lease(["acme"])
        with pytest.raises(StateBusyError, match="in use by second"):
            await first.write(put_cell, "acme")


async def test_closing_does_not_wait_for_a_database_that_is_down(postgres: PostgresServer, url: str) -> None:
    state = await State.open(url, owner="test", lease=0.2)
    await state.lease(["acme"])
    postgres.stop()
    try:
        async with asyncio.timeout(10):
            await state.aclose()
    finally:
        postgres.start()


async def test_failure_to_give_back_the_leases_leaves_no_connection(
    postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise LookupError

    state = await State.open(url, owner="test")
    await state.lease(["acme"])
    monkeypatch.setattr(state._leases, "release", fail)
    with pytest.raises(LookupError):
        await state.aclose()
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with asyncio.timeout(5):  # a backend ends a moment after its connection
        while query(postgres, url, count) != [(0,)]:
            await asyncio.sleep(0.01)


async def test_each_tenant_has_its_own_counter_of_changes(state_path: Path) -> None:
    async with await State.open(state_path, owner="test") as state:
        async with state.writing() as transaction:
            for tenant_id in ("acme", "globex", "acme"):
                transaction.bump(tenant_id)
        await state.write(put_cell, "acme")
        await state.write(bump_acme)
        assert await state.serial() == 3


@pytest.mark.parametrize("options", [{}, {"mode": Mode.CHECK}])
async def test_run_for_some_tenants_leaves_the_others_alone(state_path: Path, options: dict[str, Any]) -> None:
    async with syncing(state_path) as sync:
        await sync.run(RECORDS)
        changed = [record("a", "New", calendar=calendar) for calendar in (ACME, GLOBEX)]
        report = await sync.run(changed, tenants=frozenset({"acme"}), max_delete=EVERYTHING, **options)
        assert report.counts == {Fate.UPDATED: 1, Fate.DELETED: 2}
        assert (await sync.titles(), await sync.titles(GLOBEX)) == (["New"], ["Visit a", "Visit b", "Visit c"])
        assert (await sync.run(changed[:1] + RECORDS[3:])).counts == {}


async def test_tenants_are_rejected_where_the_whole_source_is_concerned(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tenants must be None with rebind"):
        SyncOptions(tenants=frozenset({"acme"}), rebind=True)
    async with syncing(tmp_path / "state.db") as sync:
        with pytest.raises(ValueError, match="tenants must be None in a two-way run"):
            await sync.run_two_way(MemorySource(), tenants=frozenset({"acme"}))


async def test_two_way_plan_looks_at_some_tenants_only(tmp_path: Path) -> None:
    async with syncing(tmp_path / "state.db") as sync:
        await sync.run(RECORDS)
        async with sync.opened() as (bulk_sync, _):
            options = SyncOptions(mode=Mode.TWO_WAY, tenants=frozenset({"acme"}))
            assert [each async for each in bulk_sync.plan(ListSource(RECORDS[1:3]), options)] != []
        previews = [sync.sandbox.log.count(operation="preview", tenant=each) for each in ("acme", "globex")]
        assert previews == [1, 0]


async def test_times_are_by_the_clock_of_the_server(
    postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await State.open(url, owner="test") as state:
        assert isinstance(state.clock, DatabaseClock)
        (theirs,) = query(postgres, url, "SELECT extract(epoch FROM clock_timestamp())::float8")[0]
        assert isinstance(theirs, float)
        assert abs(state.clock.time() - theirs) < 5
        state.clock._offset = 0.0
        monkeypatch.setattr("time.time", lambda: 1_000.0)  # a machine with another idea of the time
        await state._measure_clock()
        assert abs(state.clock.time() - theirs) < 60


async def test_clock_of_the_machine_that_is_set_changes_no_time_of_the_state(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await State.open(url, owner="test") as state:
        before = state.clock.time()
        monkeypatch.setattr("time.time", lambda: before + 3 * 3600)
        assert 0 <= state.clock.time() - before < 60
