"""The report counts every record once, whatever happens to it."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from connector_async import AppointmentService, RateLimit, RetryPolicy
from connector_async.sandbox import DropAfter, SeedAppointment, StatusFault
from connector_async.sync import (
    Budget,
    BulkSync,
    Calendar,
    ConflictRules,
    Fate,
    MaxDelete,
    Mode,
    Policy,
    RunReport,
    State,
    SyncOptions,
    SyncSettings,
)
from connector_async.sync.state.schema import runs
from tests.support.calendar_server import CalendarServer
from tests.support.services import open_service
from tests.support.syncing import ACME, TEN, ListSource, MemorySource, record, syncing
from tests.support.virtual_time import LoopClock

FAIL = ConflictRules(policy=Policy.FAIL)


def figures(report: RunReport) -> tuple[int, int, dict[Fate, int]]:
    tenant = report.tenants["acme"]
    return tenant.records, tenant.in_sync, dict(report.counts)


@pytest.mark.parametrize("mode", [Mode.CHECK, Mode.TWO_WAY])
async def test_conflict_is_counted_once_over_several_passes(state_path: Path, mode: Mode) -> None:
    source = MemorySource(record("a"), record("b"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.retitle("Visit a", "Theirs")
        source.kept = [record("a", "Mine"), record("b", "New")]
        sync.sandbox.faults.script(*[StatusFault(503)] * 4, operation="update")
        options: dict[str, Any] = {"rules": FAIL}
        if mode is Mode.TWO_WAY:
            report = await sync.run_two_way(source, **options)
        else:
            report = await sync.run(source.kept, mode=mode, **options)
        assert figures(report) == (2, 1, {Fate.CONFLICT: 1, Fate.UPDATED: 1})
        assert report.minimum == 2  # a preview and an update, although there were three of each
        assert report.requests == 8


async def test_appointment_that_no_record_can_hold_is_counted_once(state_path: Path) -> None:
    source = MemorySource(record("a"), record("b"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.sandbox.seed("acme", [SeedAppointment(title=" ", start=TEN, end=TEN)])
        sync.sandbox.faults.script(*[StatusFault(503)] * 4, operation="update")
        source.kept = [record("a", "New"), record("b")]
        assert figures(await sync.run_two_way(source)) == (2, 2, {Fate.REFUSED: 1, Fate.UPDATED: 1})


async def test_earlier_dead_letters_are_counted_as_skipped(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        await sync.run([record("a")])
        await sync.run([record("a"), record("b")])
        await sync.retitle("Visit b", "Theirs")
        records = [record("a"), record("b"), record("z")]
        report = await sync.run(records, mode=Mode.CHECK, rules=FAIL)
        assert figures(report) == (3, 1, {Fate.CONFLICT: 1, Fate.CREATED: 1, Fate.SKIPPED: 1})


async def test_retry_counts_other_records_as_not_started(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        refused = await sync.run([record("a")])
        records = [record("a"), *(record(f"n{number}") for number in range(4))]
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        again = await sync.run(records, retry_run=refused.run_id)
        assert figures(again) == (5, 0, {Fate.REFUSED: 1, Fate.NOT_STARTED: 4})
        report = await sync.run(records, retry_run=again.run_id)
        assert figures(report) == (5, 1, {Fate.CREATED: 1, Fate.NOT_STARTED: 4})


async def test_key_refused_for_another_reason_is_sent_and_counted_once(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.retry = RetryPolicy(attempts=1)
        sync.settings["concurrency"] = 1
        sync.sandbox.faults.script(StatusFault(422), StatusFault(422), operation="create")
        records = [record("a"), record("b")]
        refused = await sync.run(records)
        # The second one fails transiently, so that there is another pass.
        sync.sandbox.faults.script(StatusFault(409), StatusFault(429, retry_after=0), operation="create")
        again = await sync.run(records, retry_run=refused.run_id)
        assert figures(again) == (2, 1, {Fate.REFUSED: 1, Fate.CREATED: 1})
        assert sync.requests()["create"] == 2 + 3
        assert await sync.titles() == ["Visit b"]
        assert figures(await sync.run(records, retry_run=again.run_id)) == (2, 2, {Fate.CREATED: 1})


async def test_resolved_create_outside_the_retry_is_counted_once(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        refused = await sync.run([record("a")])
        sync.sandbox.faults.script(DropAfter(), operation="create")
        lost = await sync.run([record("a"), record("b")], Budget(sync.clock, max_requests=1))
        assert lost.counts == {Fate.SKIPPED: 1, Fate.UNKNOWN: 1}
        report = await sync.run([record("a"), record("b", "Another")], retry_run=refused.run_id)
        assert figures(report) == (2, 1, {Fate.CREATED: 1, Fate.NOT_STARTED: 1})
        assert (await sync.run([record("a"), record("b", "Another")])).counts == {Fate.UPDATED: 1}
        assert await sync.titles() == ["Another", "Visit a"]


async def test_fates_keep_their_names_in_the_state(state_path: Path) -> None:
    assert [Fate.from_stored(fate.stored_name) for fate in Fate] == list(Fate)
    async with syncing(state_path) as sync:
        await sync.service(ACME).create(record("a").appointment)
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        await sync.run([record("a"), record("b")], mode=Mode.CHECK)
        sync.retry = RetryPolicy(attempts=1)
        sync.settings["passes"] = 1
        sync.sandbox.faults.script(StatusFault(503), operation="update")
        await sync.run([record("a", "New"), record("b")])
        async with sync.opened() as (_, state), state.reading() as connection:
            rows = await connection.execute(select(runs.c.counts).order_by(runs.c.started_at))
            stored = list(rows.scalars())
        counts = [{"agreed": 1, "refused": 1}, {"temporary": 1, "given_up": 1}]
        assert [counts.pop("tenants")["acme"]["counts"] for counts in stored] == counts
        assert stored == counts


async def test_missing_appointment_is_counted_once_when_its_calendar_is_read_again(state_path: Path) -> None:
    source = MemorySource(*[record(f"k{number:02}") for number in range(20)])
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.delete(*[f"Visit k{number:02}" for number in range(8)])  # twice 8 would be over the limit
        sync.sandbox.faults.script(StatusFault(500), StatusFault(500), operation="get")
        report = await sync.run_two_way(source, max_delete=MaxDelete(share=0.5))
        assert figures(report) == (12, 12, {Fate.PULLED: 8})


async def test_records_are_counted_after_the_write_back(state_path: Path) -> None:
    source = MemorySource(record("a"), record("b"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.delete("Visit a")
        assert figures(await sync.run_two_way(source)) == (1, 1, {Fate.PULLED: 1})
        for number in range(3):
            await sync.service(ACME).create(record("x", f"Theirs {number}").appointment)
        assert figures(await sync.run_two_way(source)) == (4, 4, {Fate.PULLED: 3})


async def test_saved_plan_overwrites_the_server_changes_that_it_has_seen(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        records = [record("a"), record("b"), record("z")]
        await sync.run(records)
        await sync.retitle("Visit a", "Theirs")
        await sync.delete("Visit b")
        plan = await sync.save(tmp_path / "plan", [*records, record("n")], mode=Mode.CHECK)
        async with sync.opened() as (bulk_sync, _):
            assert figures(await bulk_sync.apply(plan)) == (3, 3, {Fate.CREATED: 2, Fate.UPDATED: 1})
        assert await sync.titles() == ["Visit a", "Visit b", "Visit n", "Visit z"]


async def test_refused_operation_of_a_saved_plan_is_out_of_sync(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        plan = await sync.save(tmp_path / "plan", [record("a"), record("b")])
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        async with sync.opened() as (bulk_sync, _):
            assert figures(await bulk_sync.apply(plan)) == (2, 1, {Fate.CREATED: 1, Fate.REFUSED: 1})


@pytest.mark.virtual_time
async def test_wait_is_not_longer_than_the_work_however_many_wait_at_once(state_path: Path) -> None:
    tenants = [Calendar(f"t{number}") for number in range(3)]
    records = [record(f"k{number}", calendar=calendar) for calendar in tenants for number in range(10)]
    async with CalendarServer() as server, await State.open(state_path, owner="test") as state:
        service = open_service(server, clock=LoopClock(), rate_limit=RateLimit(limit=61, per=60, burst=1))
        sync = BulkSync(
            state,
            lambda calendar: AppointmentService(service.session.for_tenant(calendar.tenant_id)),
            SyncSettings(concurrency=8),
            clock=LoopClock(),
        )
        report = await sync.run(ListSource(records), SyncOptions())
    for tenant in report.tenants.values():
        assert 8 < tenant.waited <= tenant.elapsed  # a busy machine lets more of the virtual time pass
    assert 8 < report.waited <= report.elapsed
