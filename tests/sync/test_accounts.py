"""The report of a run accounts for every record once, whatever it took."""

from pathlib import Path
from typing import Any

import pytest

from connector_async import RetryPolicy
from connector_async.sandbox import DropAfter, SeedAppointment, StatusFault
from connector_async.sync.budget import Budget
from connector_async.sync.planning.operations import ConflictRules
from connector_async.sync.planning.three_way import Mode, Policy
from connector_async.sync.report import Fate, RunReport
from tests.support.syncing import ACME, TEN, record, saved, syncing
from tests.sync.test_modes import Kept, ids, run

FAIL = ConflictRules(policy=Policy.FAIL)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def figures(report: RunReport) -> tuple[int, int, dict[Fate, int]]:
    tenant = report.tenants["acme"]
    return tenant.records, tenant.in_sync, dict(report.counts)


@pytest.mark.parametrize("mode", [Mode.CHECK, Mode.TWO_WAY])
async def test_a_conflict_is_counted_once_however_many_passes_there_are(state: Path, mode: Mode) -> None:
    kept = Kept(record("a"), record("b"))
    async with syncing(state) as sync:
        await run(sync, kept)
        service = sync.service(ACME)
        await service.update((await ids(service))["Visit a"], title="Theirs")
        kept.kept = [record("a", "Mine"), record("b", "New")]
        sync.sandbox.faults.script(*[StatusFault(503)] * 4, operation="update")
        plan: dict[str, Any] = {"rules": FAIL}
        report = await (run(sync, kept, **plan) if mode is Mode.TWO_WAY else sync.run(kept.kept, mode=mode, **plan))
        assert figures(report) == (2, 1, {Fate.CONFLICT: 1, Fate.UPDATED: 1})
        assert report.minimum == 2  # a preview and an update, although there were three of each
        assert report.requests == 8


async def test_what_no_record_can_say_is_counted_once(state: Path) -> None:
    kept = Kept(record("a"), record("b"))
    async with syncing(state) as sync:
        await run(sync, kept)
        await sync.sandbox.seed("acme", [SeedAppointment(title=" ", start=TEN, end=TEN)])
        sync.sandbox.faults.script(*[StatusFault(503)] * 4, operation="update")
        kept.kept = [record("a", "New"), record("b")]
        assert figures(await run(sync, kept)) == (2, 2, {Fate.REFUSED: 1, Fate.UPDATED: 1})


async def test_what_was_given_up_before_is_counted_beside_what_is_now(state: Path) -> None:
    async with syncing(state) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        await sync.run([record("a")])
        await sync.run([record("a"), record("b")])
        service = sync.service(ACME)
        await service.update((await ids(service))["Visit b"], title="Theirs")
        records = [record("a"), record("b"), record("z")]
        report = await sync.run(records, mode=Mode.CHECK, rules=FAIL)
        assert figures(report) == (3, 1, {Fate.CONFLICT: 1, Fate.CREATED: 1, Fate.SKIPPED: 1})


async def test_what_is_not_meant_by_trying_again_is_not_started(state: Path) -> None:
    async with syncing(state) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        refused = await sync.run([record("a")])
        records = [record("a"), *(record(f"n{number}") for number in range(4))]
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        again = await sync.run(records, retry_run=refused.run_id)
        assert figures(again) == (5, 0, {Fate.REFUSED: 1, Fate.NOT_STARTED: 4})
        report = await sync.run(records, retry_run=again.run_id)
        assert figures(report) == (5, 1, {Fate.CREATED: 1, Fate.NOT_STARTED: 4})


async def test_what_is_refused_for_another_reason_than_before_is_counted_and_sent_once(state: Path) -> None:
    async with syncing(state) as sync:
        sync.retry = RetryPolicy(attempts=1)
        sync.settings["concurrency"] = 1
        sync.sandbox.faults.script(StatusFault(422), StatusFault(422), operation="create")
        records = [record("a"), record("b")]
        refused = await sync.run(records)
        # The second one fails in a way that may pass, so that there is another pass.
        sync.sandbox.faults.script(StatusFault(409), StatusFault(429, retry_after=0), operation="create")
        again = await sync.run(records, retry_run=refused.run_id)
        assert figures(again) == (2, 1, {Fate.REFUSED: 1, Fate.CREATED: 1})
        assert sync.writes()["create"] == 2 + 3
        assert await sync.titles() == ["Visit b"]
        assert figures(await sync.run(records, retry_run=again.run_id)) == (2, 2, {Fate.CREATED: 1})


async def test_a_create_of_before_that_is_not_to_be_tried_again_is_counted_once(state: Path) -> None:
    async with syncing(state) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        refused = await sync.run([record("a")])
        sync.sandbox.faults.script(DropAfter(), operation="create")
        lost = await sync.run([record("a"), record("b")], Budget(sync.clock, max_requests=1))
        assert lost.counts == {Fate.SKIPPED: 1, Fate.UNKNOWN: 1}
        report = await sync.run([record("a"), record("b", "Another")], retry_run=refused.run_id)
        assert figures(report) == (2, 1, {Fate.CREATED: 1, Fate.NOT_STARTED: 1})
        assert (await sync.run([record("a"), record("b", "Another")])).counts == {Fate.UPDATED: 1}
        assert await sync.titles() == ["Another", "Visit a"]


async def test_a_gone_appointment_of_a_calendar_that_is_looked_at_again_is_gone_once(state: Path) -> None:
    kept = Kept(*[record(f"k{number:02}") for number in range(20)])
    async with syncing(state) as sync:
        await run(sync, kept)
        service = sync.service(ACME)
        there = await ids(service)
        for number in range(8):  # more than half of what may go
            await service.delete(there[f"Visit k{number:02}"])
        sync.sandbox.faults.script(StatusFault(500), StatusFault(500), operation="get")
        report = await run(sync, kept)
        assert figures(report) == (12, 12, {Fate.PULLED: 8})


async def test_the_records_are_those_that_there_are_in_the_end(state: Path) -> None:
    kept = Kept(record("a"), record("b"))
    async with syncing(state) as sync:
        await run(sync, kept)
        service = sync.service(ACME)
        await service.delete((await ids(service))["Visit a"])
        assert figures(await run(sync, kept)) == (1, 1, {Fate.PULLED: 1})
        for number in range(3):
            await service.create(record("x", f"Theirs {number}").appointment)
        assert figures(await run(sync, kept)) == (4, 4, {Fate.PULLED: 3})


async def test_a_saved_plan_does_what_it_says_about_what_the_server_alone_has_changed(
    state: Path, tmp_path: Path
) -> None:
    async with syncing(state) as sync:
        records = [record("a"), record("b"), record("z")]
        await sync.run(records)
        service = sync.service(ACME)
        there = await ids(service)
        await service.update(there["Visit a"], title="Theirs")
        await service.delete(there["Visit b"])
        plan = await saved(sync, tmp_path / "plan", [*records, record("n")], mode=Mode.CHECK)
        async with sync.opened() as (bulk_sync, _):
            assert figures(await bulk_sync.apply(plan)) == (3, 3, {Fate.CREATED: 2, Fate.UPDATED: 1})
        assert await sync.titles() == ["Visit a", "Visit b", "Visit n", "Visit z"]


async def test_what_a_saved_plan_was_refused_is_not_in_step(state: Path, tmp_path: Path) -> None:
    async with syncing(state) as sync:
        plan = await saved(sync, tmp_path / "plan", [record("a"), record("b")])
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        async with sync.opened() as (bulk_sync, _):
            assert figures(await bulk_sync.apply(plan)) == (2, 1, {Fate.CREATED: 1, Fate.REFUSED: 1})
