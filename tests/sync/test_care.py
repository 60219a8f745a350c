"""What a sync must not do: delete too much, create anything twice, or forget what was decided."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connector_async import AppointmentService
from connector_async.sandbox import (
    BodyFormat,
    DropAfter,
    DropBefore,
    FaultRates,
    PreviewPaging,
    StatusFault,
    WriteResponse,
)
from connector_async.sync import (
    Budget,
    Calendar,
    ConflictRules,
    Fate,
    MaxDelete,
    Mode,
    Policy,
    RunReport,
    Scope,
    SourceError,
    SourceProblem,
    SourceRecord,
    Stopped,
    SyncOptions,
    read_dead_letters,
    read_status,
)
from connector_async.sync.state import journal
from tests.support.syncing import (
    ACME,
    EVERYTHING,
    SCOPE,
    TEN,
    USER,
    ListSource,
    MemorySource,
    Syncing,
    record,
    syncing,
)

FAR = 24 * 100
NOTHING = MaxDelete(number=0)
CALENDARS = {BodyFormat.GUIDE: (ACME, USER), BodyFormat.REFERENCE: (USER, ACME)}


def unreadable(key: str | None = None, calendar: Calendar | None = ACME) -> SourceProblem:
    return SourceProblem(source="list", line=7, reason="title is missing", key=key, calendar=calendar)


# Appointments that the source does not have, and that must stay.


@pytest.mark.parametrize("mode", [Mode.CHECK, Mode.TWO_WAY])
async def test_appointments_outside_the_scope_are_never_deleted(state_path: Path, mode: Mode) -> None:
    far = [record(f"far-{number}", calendar=USER, hour=FAR + number) for number in range(5)]
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:
        await sync.run([record("a", calendar=USER), *far])
        source = MemorySource(record("a", "Other", calendar=USER))
        options: dict[str, Any] = {"scope": SCOPE, "max_delete": NOTHING}
        if mode is Mode.TWO_WAY:
            report = await sync.run_two_way(source, **options)
        else:
            report = await sync.run(source.kept, mode=mode, **options)
        assert report.counts == {Fate.UPDATED: 1}
        assert len(await sync.titles(USER)) == 6


async def test_calendar_with_an_unreadable_record_loses_nothing(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(10)]
    async with syncing(state_path) as sync:
        await sync.run(records)
        report = await sync.run([record("k0", "Other"), unreadable()], mode=Mode.CHECK, max_delete=NOTHING)
        assert report.counts == {Fate.UPDATED: 1, Fate.UNREADABLE: 1}
        assert len(await sync.titles()) == 10


@pytest.mark.parametrize("mode", [Mode.TRUST, Mode.CHECK])
async def test_scope_includes_its_start_and_excludes_its_end(state_path: Path, mode: Mode) -> None:
    half, moment = timedelta(minutes=30), timedelta(milliseconds=500)
    outside = [record("before", calendar=USER), record("after", calendar=USER, hour=2)]
    inside = [record("within", calendar=USER, hour=1)]
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:
        await sync.run([*outside, *inside])
        scope = Scope(start=TEN + half, end=TEN + timedelta(hours=2))
        new = record("new", calendar=USER, hour=1)
        report = await sync.run([new], mode=mode, scope=scope, max_delete=EVERYTHING)
        assert report.counts == {Fate.DELETED: 1, Fate.CREATED: 1}
        assert await sync.titles(USER) == ["Visit after", "Visit before", "Visit new"]
        fraction = Scope(end=TEN - moment)
        assert (await sync.run([], scope=fraction, max_delete=EVERYTHING, allow_empty=True)).counts == {}


@pytest.mark.parametrize(("body_format", "mode"), [(BodyFormat.REFERENCE, Mode.CHECK), (BodyFormat.GUIDE, Mode.TRUST)])
async def test_record_in_an_impossible_calendar_protects_its_key_in_every_calendar(
    state_path: Path, body_format: BodyFormat, mode: Mode
) -> None:
    calendar, impossible = CALENDARS[body_format]
    scope = Scope(start=TEN - timedelta(days=1), end=TEN + timedelta(days=1))
    async with syncing(state_path, body_format=body_format) as sync:
        await sync.run([record(key, calendar=calendar) for key in "abc"])
        # As when a file loses the columns that name the calendar.
        lost = [record("a", "Other", calendar=impossible), record("b", calendar=impossible)]
        report = await sync.run(lost, mode=mode, scope=scope, max_delete=EVERYTHING)
        assert report.counts == {Fate.UNREADABLE: 2, Fate.DELETED: 1}
        assert await sync.titles(calendar) == ["Visit a", "Visit b"]


async def test_unreadable_record_protects_its_key_in_every_calendar(state_path: Path) -> None:
    other = Calendar("acme", "d-1", "u-2")
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:
        await sync.run([record("a", calendar=USER), record("b", calendar=USER)])
        sync.sandbox.faults.script(DropAfter(), operation="create")
        records = [record(key, calendar=USER) for key in ("a", "b", "open")]
        assert (await sync.run(records, Budget(sync.clock, max_requests=1))).counts == {Fate.UNKNOWN: 1}
        problems = [unreadable(key, other) for key in ("a", "b", "open")]
        report = await sync.run(problems, max_delete=EVERYTHING, allow_empty=True)
        assert report.counts[Fate.UNREADABLE] == 3
        assert await sync.titles(USER) == ["Visit a", "Visit b", "Visit open"]
        report = await sync.run([record(key, calendar=other) for key in ("a", "b", "open")], max_delete=EVERYTHING)
        assert report.counts == {Fate.CREATED: 3, Fate.DELETED: 3}


# Pending creates.


async def test_unreadable_record_leaves_its_pending_create_alone(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(DropAfter(), operation="create")
        budget = Budget(sync.clock, max_requests=2)
        assert (await sync.run([record("a")], budget)).counts == {Fate.UNKNOWN: 1}
        await sync.run([unreadable("a")], Budget(sync.clock, max_requests=1))
        assert (await sync.run([record("a")])).counts == {}
        assert await sync.titles() == ["Visit a"]


async def test_pending_create_is_not_taken_for_new_on_the_server(state_path: Path) -> None:
    source = MemorySource(record("a"))
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(*[DropBefore()] * 20, operation="create")
        assert (await sync.run_two_way(source)).counts == {Fate.UNKNOWN: 1}
        sync.sandbox.faults.clear()
        sync.sandbox.faults.script(DropAfter(), operation="create")
        await sync.run_two_way(source)
        assert (await sync.run_two_way(source)).counts == {}
        assert source.titles() == {"a": "Visit a"}
        assert await sync.titles() == ["Visit a"]


@pytest.mark.parametrize(
    ("after", "counts", "titles"),
    [
        ([record("b")], {Fate.CREATED: 1, Fate.DELETED: 1}, ["Visit b"]),
        ([record("a", "Other")], {Fate.UPDATED: 1}, ["Other"]),
        ([record("a")], {Fate.CREATED: 1}, ["Visit a"]),
    ],
)
async def test_one_run_after_a_crash_is_enough_even_if_the_source_has_changed(
    state_path: Path, after: list[SourceRecord], counts: dict[Fate, int], titles: list[str]
) -> None:
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(DropAfter(), operation="create")
        await sync.run([record("a")], Budget(sync.clock, max_requests=2))
        report = await sync.run(after, max_delete=EVERYTHING)
        assert report.counts == counts
        assert report.minimum <= report.requests
        assert await sync.titles() == titles
        assert (await sync.run(after)).requests == 0


async def test_unsent_change_is_still_a_conflict_in_the_next_run(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(6)]
    async with syncing(state_path) as sync:
        await sync.run(records)
        changed = [record(f"k{number}", "Mine") for number in range(6)]
        sync.settings["concurrency"] = 1
        rules = ConflictRules(policy=Policy.FAIL)
        report = await sync.run(changed, Budget(sync.clock, max_requests=2), mode=Mode.CHECK, rules=rules)
        assert report.counts == {Fate.UPDATED: 1, Fate.NOT_STARTED: 5}
        await sync.retitle("Visit k5", "Theirs")
        report = await sync.run(changed, mode=Mode.CHECK, rules=rules)
        assert report.counts == {Fate.UPDATED: 4, Fate.CONFLICT: 1}
        assert "Theirs" in await sync.titles()


async def test_refused_change_that_is_taken_back_does_not_overwrite_the_server(state_path: Path) -> None:
    source = MemorySource(record("a"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        sync.sandbox.faults.script(StatusFault(422), operation="update")
        source.kept = [record("a", "Mine")]
        assert (await sync.run_two_way(source)).counts == {Fate.REFUSED: 1}
        await sync.retitle("Visit a", "Theirs")
        source.kept = [record("a")]
        assert (await sync.run_two_way(source)).counts == {Fate.PULLED: 1}
        assert source.titles() == {"a": "Theirs"}


# What the server has.


@pytest.mark.parametrize("mode", [Mode.CHECK, Mode.TWO_WAY])
async def test_appointment_deleted_before_its_first_look_is_recognized_as_deleted(state_path: Path, mode: Mode) -> None:
    async with syncing(state_path, write_response=WriteResponse.BARE_ID) as sync:
        await sync.run([record("a"), record("b"), record("c")])
        await sync.run([record("a", "Other"), record("b"), record("c")])
        await sync.delete("Other")
        source = MemorySource(record("a", "Other"), record("b", "New"), record("c"))
        two_way = mode is Mode.TWO_WAY
        report = await sync.run_two_way(source) if two_way else await sync.run(source.kept, mode=mode)
        assert report.counts[Fate.PULLED if two_way else Fate.CREATED] == 1
        assert await sync.titles() == (["New", "Visit c"] if two_way else ["New", "Other", "Visit c"])


async def test_appointment_on_two_shifting_pages_is_taken_once(
    state_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with syncing(state_path, paging=PreviewPaging.PAGE_NUMBERS, page_size=2) as sync:
        service = sync.service(ACME)
        for number in range(4):
            await service.create(record("x", f"T{number}", hour=number).appointment)
        inserted = 0
        plain = AppointmentService.preview

        def shifting(self: AppointmentService, *arguments: Any, **options: Any) -> Any:
            pager = plain(self, *arguments, **options)
            pages = pager.pages

            async def between(**how: Any) -> Any:
                nonlocal inserted
                async for page in pages(**how):
                    yield page
                    if not inserted:
                        inserted = 1
                        await service.create(record("x", "First", hour=-5).appointment)

            monkeypatch.setattr(pager, "pages", between)
            return pager

        monkeypatch.setattr(AppointmentService, "preview", shifting)
        records = [record(f"k{number}", f"T{number}", hour=number) for number in range(4)]
        assert (await sync.run(records, mode=Mode.CHECK)).counts == {Fate.UNCHANGED: 4}


async def test_pulled_record_is_recognized_without_the_state(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.service(ACME).create(record("x", "Theirs").appointment)
        source = MemorySource(record("a"))
        assert (await sync.run_two_way(source)).counts == {Fate.PULLED: 1, Fate.CREATED: 1}
        await sync.retitle("Theirs", "Theirs, later")
        sync.path = tmp_path / "other.db"
        report = await sync.run_two_way(source, rules=ConflictRules(policy=Policy.REMOTE))
        assert report.counts == {Fate.PULLED: 1, Fate.UNCHANGED: 1}
        assert sorted(source.titles().values()) == ["Theirs, later", "Visit a"] == await sync.titles()


async def test_too_much_missing_over_all_users_stops_the_tenant(state_path: Path) -> None:
    users = [Calendar("acme", "d-1", f"u-{number}") for number in range(6)]
    source = MemorySource(*[record(f"k{number}", f"V{number}", calendar=user) for user in users for number in range(3)])
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:
        await sync.run_two_way(source, scope=SCOPE)
        for user in users:
            await sync.delete("V0", "V1", calendar=user)
        report = await sync.run_two_way(source, scope=SCOPE, max_delete=MaxDelete(number=5))
        assert report.stopped(Stopped.GUARD) == ["acme"]
        assert report.counts[Fate.PULLED] == 4
        assert report.requests == 2 * (1 + 2) + 1  # the third calendar is looked at, and none after it


async def test_emptied_calendar_is_believed_if_allowed(state_path: Path) -> None:
    source = MemorySource(record("a"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.delete("Visit a")
        assert (await sync.run_two_way(source, allow_empty=True)).counts == {Fate.PULLED: 1}
        assert source.titles() == {}


# What was decided before.


async def test_dead_letter_is_resolved_when_its_key_gets_in_sync(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        refused = await sync.run([record("a")])
        assert (await sync.run([record("a")], retry_run=refused.run_id)).counts == {Fate.CREATED: 1}
        assert (await sync.run([], max_delete=EVERYTHING, allow_empty=True)).counts == {Fate.DELETED: 1}
        assert (await sync.run([record("a")])).counts == {Fate.CREATED: 1}


async def test_repeated_dead_letter_is_written_once(state_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEYS_PER_QUERY", 2)
    async with syncing(state_path) as sync:
        for _ in range(3):
            report = await sync.run([*map(unreadable, "abcde"), unreadable()])
        async with sync.opened() as (_, state):
            letters = [letter async for letter in read_dead_letters(state)]
        assert [letter["run_id"] for letter in letters] == [report.run_id] * 6


@pytest.mark.row("S12")
async def test_many_unreadable_records_are_recorded_in_seconds(state_path: Path) -> None:
    # Each looked through all those before it: ten times as many took a hundred times as long, here five minutes.
    problems = [SourceProblem(source="list", line=number, reason="bad", key=None) for number in range(40_000)]
    async with syncing(state_path) as sync:
        for _ in range(2):  # the second run finds the dead letters of the first
            async with asyncio.timeout(30):
                assert (await sync.run(problems)).unreadable == 40_000
        async with sync.opened() as (_, state):
            assert (await read_status(state))["dead_letters"] == 40_000


async def test_retry_deletes_nothing(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(20)]
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        refused = await sync.run(records)
        created = await sync.titles()
        lost = next(each for each in records if each.appointment.title not in created)
        report = await sync.run([lost], retry_run=refused.run_id)
        assert report.counts[Fate.CREATED] == 1
        assert len(await sync.titles()) == 20


async def test_pulled_change_survives_a_plan_and_an_unreadable_record(state_path: Path) -> None:
    source = MemorySource(record("a"), record("b"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.retitle("Visit a", "Theirs")
        source.fails = True
        with pytest.raises(SourceError):
            await sync.run_two_way(source)
        source.fails = False
        await sync.run([unreadable("a"), record("b")])
        async with sync.opened() as (bulk_sync, _):
            options = SyncOptions(max_delete=EVERYTHING)
            assert [operation async for operation in bulk_sync.plan(ListSource([record("b")]), options)]
        assert (await sync.run_two_way(source)).counts == {}
        assert source.titles() == {"a": "Theirs", "b": "Visit b"}


# Budgets.


async def test_reads_of_single_appointments_count_in_the_budget(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(30)]
    async with syncing(state_path) as sync:
        await sync.run(records)
        await sync.delete(*(await sync.titles())[1:])
        changed = [record("k0", "Other"), *records[1:]]
        report = await sync.run(changed, Budget(sync.clock, max_requests=5), mode=Mode.CHECK, max_delete=EVERYTHING)
        assert report.requests <= 5


async def test_failing_calendar_is_counted_once(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(DropBefore(), operation="create")
        sync.sandbox.faults.script(*[StatusFault(500)] * 200, operation="preview")
        report = await sync.run([record("a")])
        assert report.counts == {Fate.UNKNOWN: 1}
        assert report.tenants["acme"].calendars_failed <= 1
        assert report.requests < 60


async def test_tenant_with_rejected_credentials_needs_no_requests(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(*[StatusFault(401)] * 9, operation="token")
        report = await sync.run([record(key) for key in "abcd"])
        assert report.minimum <= report.requests
        assert report.counts == {Fate.NOT_STARTED: 4}


# Everything together, at random.


@pytest.mark.parametrize("seed", range(12))
async def test_clean_run_after_random_faults_brings_everything_in_sync(state_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    two_way = seed % 3 == 2
    rates: dict[Any, float] = {DropAfter(): 0.08, DropBefore(): 0.05, StatusFault(500): 0.05, StatusFault(503): 0.03}
    options: dict[str, Any] = {"write_response": draw.choice([None, WriteResponse.BARE_ID, WriteResponse.APPOINTMENT])}
    async with syncing(state_path, fault_rates=FaultRates(rates, seed=seed), **options) as sync:
        source = MemorySource()
        for generation in range(6):
            source.kept = [
                each
                for key in "abcdefgh"
                if draw.random() < 0.8
                for each in [record(key, draw.choice(["Twin", f"Visit {key}, {draw.randrange(3)}"]))]
            ]
            mode = Mode.TWO_WAY if two_way else draw.choice([Mode.TRUST, Mode.CHECK])
            budget = Budget(sync.clock, max_requests=draw.choice([3, 8, 1_000]))
            task = asyncio.create_task(run_in_mode(sync, source, mode, budget))
            if draw.random() < 0.4:
                await asyncio.sleep(draw.random() * 0.05)
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                check_accounts(task.result(), generation)
        sync.sandbox.faults._rates = {}
        mode = Mode.TWO_WAY if two_way else Mode.TRUST
        check_accounts(await run_in_mode(sync, source, mode, None), 6)
        assert await sync.titles() == sorted(each.appointment.title for each in source.kept)
        last = await run_in_mode(sync, source, mode, None)
        assert last.requests == (1 if two_way else 0)
        assert last.tenants["acme"].in_sync == last.tenants["acme"].records


async def run_in_mode(sync: Syncing, source: MemorySource, mode: Mode, budget: Budget | None) -> RunReport:
    options: dict[str, Any] = {"max_delete": EVERYTHING, "allow_empty": True}
    if mode is Mode.TWO_WAY:
        return await sync.run_two_way(source, budget, **options)
    return await sync.run(source.kept, budget, mode=mode, **options)


def check_accounts(report: RunReport, generation: int) -> None:
    for tenant in report.tenants.values():
        left = {
            fate: tenant.counts[fate]
            for fate in (Fate.CONFLICT, Fate.REFUSED, Fate.RETRYABLE, Fate.UNKNOWN, Fate.SKIPPED, Fate.NOT_STARTED)
        }
        # What is left may also be a delete, which belongs to no record.
        assert tenant.records - tenant.in_sync <= sum(left.values()), (generation, left)
        assert tenant.minimum <= tenant.requests
