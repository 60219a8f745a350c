"""Syncs that are killed: after the next run the server has every record once, and nothing else."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connector_async import (
    AppointmentService,
    ClientCredentials,
    Clock,
    ConnectorSession,
    RateLimit,
    RetryPolicy,
)
from connector_async.sandbox import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    DelayFault,
    DropAfter,
    DropBefore,
    FaultRates,
    Sandbox,
    StatusFault,
)
from connector_async.sync import (
    BulkSync,
    Calendar,
    Fate,
    SourceRecord,
    State,
    StateBusyError,
    StateError,
    SyncOptions,
    SyncSettings,
)
from connector_async.sync.formats import JsonLinesSource
from connector_async.sync.state import Transaction
from tests.support.state_rows import drop_tables
from tests.support.sync_child import GRACE, POINTS, SyncProcess, wait_for
from tests.support.syncing import ACME, ListSource, record, syncing

KILLS = dict.fromkeys(POINTS, 5) | dict.fromkeys(
    ("PUT sent", "update returned", "DELETE sent", "delete returned", "operation executed"), 2
)
KILLS_AT_RANDOM = 20
GLOBEX = Calendar("globex")


def source_contents(records: Sequence[SourceRecord]) -> Counter[tuple[str, str]]:
    return Counter((each.calendar.tenant_id, each.appointment.title) for each in records)


async def server_contents(sandbox: Sandbox) -> Counter[tuple[str, str]]:
    contents: Counter[tuple[str, str]] = Counter()
    async with open_session(sandbox) as session:
        for tenant_id in ("acme", "globex"):
            service = AppointmentService(
                session.for_tenant(tenant_id), retry=RetryPolicy(attempts=9, wait_initial=0.01)
            )
            contents.update([(tenant_id, item.title) async for item in service.preview()])
    return contents


def records_of(generation: int) -> list[SourceRecord]:
    """Return records of which each generation changes, adds and removes some. Half of them are twins."""
    records = []
    for calendar in (ACME, GLOBEX):
        for number in range(12):
            if (number + generation) % 6 == 0:
                continue  # removed, or not added yet
            title = "Twin" if number % 2 else f"Visit {number}, {generation if number % 4 == 0 else 0}"
            records.append(record(f"k{number}", title, calendar=calendar))
    return records


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
async def test_next_run_finishes_a_sync_killed_at_a_point(point: str, tmp_path: Path) -> None:
    # Requests are executed a little later, even if nobody waits for the response any more.
    rates = FaultRates({DelayFault(GRACE / 10): 0.5})
    async with Sandbox(fault_rates=rates) as sandbox:
        process = SyncProcess(sandbox.base_url, tmp_path)
        kills = generation = 0
        if point == "migration":
            drop_tables(process.state)
        else:
            await process.write_source(records_of(generation))
            await process.finished()
        while kills < KILLS[point] and generation < 20:
            generation += 1
            await process.write_source(records_of(generation))
            # The first time and later times, as far as one run reaches the point so often.
            times = {"migration": generation, "guard passed": 1}.get(point, 1 + 2 * (generation % 2))
            kills += await process.is_killed(point, times)
        first = await process.finished()
        assert await server_contents(sandbox) == source_contents(records_of(generation))
        sent = sandbox.log.count()
        assert (await process.finished())["counts"] == {}
        assert sandbox.log.count() == sent
        print(f"{point}: {kills} kills, then {first['requests']} requests of {first['minimum']}")
        assert kills == KILLS[point]


@pytest.mark.slow
async def test_next_runs_finish_a_sync_that_is_killed_at_random_and_loses_responses(tmp_path: Path) -> None:
    draw = random.Random(7)
    rates = FaultRates(
        {DropAfter(): 0.05, DropBefore(): 0.05, StatusFault(500): 0.03, DelayFault(GRACE / 20): 0.8}, seed=3
    )
    async with Sandbox(fault_rates=rates) as sandbox:
        process = SyncProcess(sandbox.base_url, tmp_path)
        kills = 0
        for generation in range(KILLS_AT_RANDOM):
            await process.write_source(records_of(generation // 2))
            kills += await process.is_killed_at_random(sandbox.log, draw, requests=15)
        for _ in range(5):  # transient failures, and creates lost again and again, are left to the next run
            report = await process.finished()
        assert report["counts"] == {}
        assert await server_contents(sandbox) == source_contents(records_of((KILLS_AT_RANDOM - 1) // 2))
        print(f"{kills} kills at random, {sandbox.log.count()} requests")
        assert kills >= KILLS_AT_RANDOM * 0.7


@pytest.mark.sqlite
async def test_second_run_is_rejected_while_one_works_with_the_state(tmp_path: Path) -> None:
    async with Sandbox(fault_rates=FaultRates({DelayFault(0.05): 1.0})) as sandbox:
        process = SyncProcess(sandbox.base_url, tmp_path)
        await process.write_source(records_of(0))
        running = await process.start()
        while sandbox.log.count() == 0:
            await asyncio.sleep(0.005)
        with pytest.raises(StateBusyError, match="child"):
            await State.open(process.state, owner="second")
        await wait_for(running)
        assert running.exitcode == 0
        assert await server_contents(sandbox) == source_contents(records_of(0))


async def test_wall_clock_set_back_after_a_crash_creates_nothing_twice(tmp_path: Path) -> None:
    class Jumped(Clock):
        def time(self) -> float:
            return super().time() - 86_400

    async with Sandbox(fault_rates=FaultRates({DelayFault(GRACE / 10): 1.0})) as sandbox:
        process = SyncProcess(sandbox.base_url, tmp_path)
        await process.write_source(records_of(0))
        assert await process.is_killed("POST sent", 3)
        async with open_session(sandbox) as session:

            def service(calendar: Calendar) -> AppointmentService:
                return AppointmentService(session.for_tenant(calendar.tenant_id))

            async with await State.open(process.state, owner="test", clock=Jumped(), wait=20) as state:
                sync = BulkSync(state, service, SyncSettings(grace=GRACE), clock=Jumped())
                await sync.run(JsonLinesSource(process.source), SyncOptions())
        assert await server_contents(sandbox) == source_contents(records_of(0))


@pytest.mark.sqlite
async def test_full_disk_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    async with syncing(tmp_path / "state.db") as sync:
        records = [record(f"k{number}") for number in range(40)]
        writes = 0

        class Filling(State):
            @asynccontextmanager
            async def writing(self, *tenant_ids: str) -> AsyncIterator[Transaction]:
                nonlocal writes
                writes += 1
                async with super().writing(*tenant_ids) as transaction:
                    if writes > 12:
                        pages = (await transaction.connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
                        await transaction.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
                        await transaction.connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS filler (bytes BLOB)")
                        await transaction.connection.exec_driver_sql("INSERT INTO filler VALUES (zeroblob(10000000))")
                    yield transaction

        async with await Filling.open(sync.path, owner="test") as state:
            bulk_sync = BulkSync(state, sync.service, SyncSettings(grace=0.0))
            with pytest.raises(StateError, match="database or disk is full"):
                await bulk_sync.run(ListSource(records), SyncOptions())
        assert 0 < sync.sandbox.log.count(operation="create") < 40
        assert (await sync.run(records)).counts[Fate.CREATED] > 0
        assert await sync.titles() == sorted(each.appointment.title for each in records)


def open_session(sandbox: Sandbox) -> ConnectorSession:
    return ConnectorSession(
        sandbox.base_url,
        tenant_id="acme",
        auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
        rate_limit=RateLimit.unlimited(),
    )
