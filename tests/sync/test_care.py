"""What a sync must not do: delete what it was not told to, double what is open, forget what was decided."""

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
)
from tests.support.syncing import ACME, TEN, Listed, Syncing, record, syncing
from tests.sync.test_modes import SCOPE, Kept, ids, run

USER = Calendar("acme", "d-1", "u-1")
FAR = 24 * 100
NONE = MaxDelete(number=0)
ALL = MaxDelete(share=1.0)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def unreadable(key: str | None = None, calendar: Calendar | None = ACME) -> SourceProblem:
    return SourceProblem(source="list", line=7, reason="title is missing", key=key, calendar=calendar)


# What is not in the source, and not gone.


@pytest.mark.parametrize("mode", [Mode.CHECK, Mode.TWO_WAY])
async def test_what_is_outside_of_the_time_is_never_deleted(state: Path, mode: Mode) -> None:
    far = [record(f"far-{number}", calendar=USER, hour=FAR + number) for number in range(5)]
    async with syncing(state, body_format=BodyFormat.REFERENCE) as sync:
        await sync.run([record("a", calendar=USER), *far])
        kept = Kept(record("a", "Other", calendar=USER))
        plan: dict[str, Any] = {"scope": SCOPE, "max_delete": NONE}
        if mode is Mode.TWO_WAY:
            report = await run(sync, kept, **plan)
        else:
            report = await sync.run(kept.kept, mode=mode, **plan)
        assert report.counts == {Fate.UPDATED: 1}
        assert len(await sync.titles(USER)) == 6


async def test_nothing_withheld_is_deleted_in_a_calendar_that_is_looked_at(state: Path) -> None:
    records = [record(f"k{number}") for number in range(10)]
    async with syncing(state) as sync:
        await sync.run(records)
        report = await sync.run([record("k0", "Other"), unreadable()], mode=Mode.CHECK, max_delete=NONE)
        assert report.counts == {Fate.UPDATED: 1, Fate.UNREADABLE: 1}
        assert len(await sync.titles()) == 10


@pytest.mark.parametrize("mode", [Mode.TRUST, Mode.CHECK])
async def test_the_time_ends_where_it_ends(state: Path, mode: Mode) -> None:
    half, moment = timedelta(minutes=30), timedelta(milliseconds=500)
    outside = [record("before", calendar=USER), record("after", calendar=USER, hour=2)]
    inside = [record("within", calendar=USER, hour=1)]
    async with syncing(state, body_format=BodyFormat.REFERENCE) as sync:
        await sync.run([*outside, *inside])
        scope = Scope(start=TEN + half, end=TEN + timedelta(hours=2))
        report = await sync.run([record("new", calendar=USER, hour=1)], mode=mode, scope=scope, max_delete=ALL)
        assert report.counts == {Fate.DELETED: 1, Fate.CREATED: 1}
        assert await sync.titles(USER) == ["Visit after", "Visit before", "Visit new"]
        fraction = Scope(end=TEN - moment)
        assert (await sync.run([], scope=fraction, max_delete=ALL, allow_empty=True)).counts == {}


@pytest.mark.parametrize("mode", [Mode.TRUST, Mode.CHECK])
@pytest.mark.parametrize("body_format", [BodyFormat.REFERENCE, BodyFormat.GUIDE])
async def test_a_record_whose_calendar_the_wire_format_cannot_name_keeps_what_is_known_under_its_key(
    state: Path, mode: Mode, body_format: BodyFormat
) -> None:
    whose, unnamed = (USER, ACME) if body_format is BodyFormat.REFERENCE else (ACME, USER)
    scope = Scope(start=TEN - timedelta(days=1), end=TEN + timedelta(days=1))
    async with syncing(state, body_format=body_format) as sync:
        await sync.run([record(key, calendar=whose) for key in "abc"])
        # As when a file loses the columns that say whose a record is.
        lost = [record("a", "Other", calendar=unnamed), record("b", calendar=unnamed)]
        report = await sync.run(lost, mode=mode, scope=scope, max_delete=ALL)
        assert report.counts == {Fate.UNREADABLE: 2, Fate.DELETED: 1}
        assert await sync.titles(whose) == ["Visit a", "Visit b"]


async def test_an_unreadable_record_keeps_what_is_known_under_its_key_whosever_it_is(state: Path) -> None:
    other = Calendar("acme", "d-1", "u-2")
    async with syncing(state, body_format=BodyFormat.REFERENCE) as sync:
        await sync.run([record("a", calendar=USER), record("b", calendar=USER)])
        sync.sandbox.faults.script(DropAfter(), operation="create")
        records = [record(key, calendar=USER) for key in ("a", "b", "open")]
        assert (await sync.run(records, Budget(sync.clock, max_requests=1))).counts == {Fate.UNKNOWN: 1}
        moved = [
            SourceProblem(source="list", line=None, reason="?", key=key, calendar=other) for key in ("a", "b", "open")
        ]
        report = await sync.run(moved, max_delete=ALL, allow_empty=True)
        assert report.counts[Fate.UNREADABLE] == 3
        assert await sync.titles(USER) == ["Visit a", "Visit b", "Visit open"]
        report = await sync.run([record(key, calendar=other) for key in ("a", "b", "open")], max_delete=ALL)
        assert report.counts == {Fate.CREATED: 3, Fate.DELETED: 3}


# What is open, and what was sent.


async def test_a_record_that_cannot_be_read_leaves_its_open_create_open(state: Path) -> None:
    async with syncing(state) as sync:
        sync.sandbox.faults.script(DropAfter(), operation="create")
        budget = Budget(sync.clock, max_requests=2)
        assert (await sync.run([record("a")], budget)).counts == {Fate.UNKNOWN: 1}
        await sync.run([unreadable("a")], Budget(sync.clock, max_requests=1))
        assert (await sync.run([record("a")])).counts == {}
        assert await sync.titles() == ["Visit a"]


async def test_a_create_that_is_open_is_not_taken_for_new_on_the_server(state: Path) -> None:
    kept = Kept(record("a"))
    async with syncing(state) as sync:
        sync.sandbox.faults.script(*[DropBefore()] * 20, operation="create")
        assert (await run(sync, kept)).counts == {Fate.UNKNOWN: 1}
        sync.sandbox.faults.clear()
        sync.sandbox.faults.script(DropAfter(), operation="create")
        await run(sync, kept)
        assert (await run(sync, kept)).counts == {}
        assert kept.titles() == {"a": "Visit a"}
        assert await sync.titles() == ["Visit a"]


@pytest.mark.parametrize(
    ("after", "counts", "titles"),
    [
        ([record("b")], {Fate.CREATED: 1, Fate.DELETED: 1}, ["Visit b"]),
        ([record("a", "Other")], {Fate.UPDATED: 1}, ["Other"]),
        ([record("a")], {Fate.CREATED: 1}, ["Visit a"]),
    ],
)
async def test_one_run_is_enough_after_a_crash_whatever_the_source_says_by_then(
    state: Path, after: list[SourceRecord], counts: dict[Fate, int], titles: list[str]
) -> None:
    async with syncing(state) as sync:
        sync.sandbox.faults.script(DropAfter(), operation="create")
        await sync.run([record("a")], Budget(sync.clock, max_requests=2))
        report = await sync.run(after, max_delete=ALL)
        assert report.counts == counts
        assert report.minimum <= report.requests
        assert await sync.titles() == titles
        assert (await sync.run(after)).requests == 0


async def test_a_change_that_was_not_sent_leaves_a_conflict_a_conflict(state: Path) -> None:
    records = [record(f"k{number}") for number in range(6)]
    async with syncing(state) as sync:
        await sync.run(records)
        changed = [record(f"k{number}", "Mine") for number in range(6)]
        sync.settings["concurrency"] = 1
        rules = ConflictRules(policy=Policy.FAIL)
        report = await sync.run(changed, Budget(sync.clock, max_requests=2), mode=Mode.CHECK, rules=rules)
        assert report.counts == {Fate.UPDATED: 1, Fate.NOT_STARTED: 5}
        service = sync.service(ACME)
        await service.update((await ids(service))["Visit k5"], title="Theirs")
        report = await sync.run(changed, mode=Mode.CHECK, rules=rules)
        assert report.counts == {Fate.UPDATED: 4, Fate.CONFLICT: 1}
        assert "Theirs" in await sync.titles()


async def test_a_change_that_was_refused_and_taken_back_leaves_the_servers_own(state: Path) -> None:
    kept = Kept(record("a"))
    async with syncing(state) as sync:
        await run(sync, kept)
        sync.sandbox.faults.script(StatusFault(422), operation="update")
        kept.kept = [record("a", "Mine")]
        assert (await run(sync, kept)).counts == {Fate.REFUSED: 1}
        service = sync.service(ACME)
        await service.update((await ids(service))["Visit a"], title="Theirs")
        kept.kept = [record("a")]
        assert (await run(sync, kept)).counts == {Fate.PULLED: 1}
        assert kept.titles() == {"a": "Theirs"}


# What the server has.


@pytest.mark.parametrize("mode", [Mode.CHECK, Mode.TWO_WAY])
async def test_what_is_gone_before_it_was_seen_is_not_first_seen(state: Path, mode: Mode) -> None:
    async with syncing(state, write_response=WriteResponse.BARE_ID) as sync:
        await sync.run([record("a"), record("b"), record("c")])
        await sync.run([record("a", "Other"), record("b"), record("c")])
        service = sync.service(ACME)
        await service.delete((await ids(service))["Other"])
        kept = Kept(record("a", "Other"), record("b", "New"), record("c"))
        report = await run(sync, kept) if mode is Mode.TWO_WAY else await sync.run(kept.kept, mode=mode)
        gone = mode is Mode.TWO_WAY
        assert report.counts[Fate.PULLED if gone else Fate.CREATED] == 1
        assert await sync.titles() == (["New", "Visit c"] if gone else ["New", "Other", "Visit c"])


async def test_pages_that_shift_show_nothing_twice(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with syncing(state, paging=PreviewPaging.PAGE_NUMBERS, page_size=2) as sync:
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


async def test_what_came_from_the_server_is_known_again_without_a_state(state: Path, tmp_path: Path) -> None:
    async with syncing(state) as sync:
        service = sync.service(ACME)
        await service.create(record("x", "Theirs").appointment)
        kept = Kept(record("a"))
        assert (await run(sync, kept)).counts == {Fate.PULLED: 1, Fate.CREATED: 1}
        await service.update((await ids(service))["Theirs"], title="Theirs, later")
        sync.path = tmp_path / "other.db"
        report = await run(sync, kept, rules=ConflictRules(policy=Policy.REMOTE))
        assert report.counts == {Fate.PULLED: 1, Fate.UNCHANGED: 1}
        assert sorted(kept.titles().values()) == ["Theirs, later", "Visit a"] == await sync.titles()


async def test_more_gone_over_all_users_than_may_go_stops_the_tenant(state: Path) -> None:
    users = [Calendar("acme", "d-1", f"u-{number}") for number in range(6)]
    kept = Kept(*[record(f"k{number}", f"V{number}", calendar=user) for user in users for number in range(3)])
    async with syncing(state, body_format=BodyFormat.REFERENCE) as sync:
        await run(sync, kept, scope=SCOPE)
        for user in users:
            service = sync.service(user)
            there = await ids(service, start=SCOPE.start, end=SCOPE.end)
            for title in ("V0", "V1"):
                await service.delete(there[title])
        report = await run(sync, kept, scope=SCOPE, max_delete=MaxDelete(number=5))
        assert report.stopped(Stopped.GUARD) == ["acme"]
        assert report.counts[Fate.PULLED] == 4
        assert report.requests == 2 * (1 + 2) + 1  # the third calendar is looked at, and nothing behind it


async def test_an_emptied_calendar_is_believed_when_that_is_said(state: Path) -> None:
    kept = Kept(record("a"))
    async with syncing(state) as sync:
        await run(sync, kept)
        await sync.service(ACME).delete(next(iter((await ids(sync.service(ACME))).values())))
        assert (await run(sync, kept, allow_empty=True)).counts == {Fate.PULLED: 1}
        assert kept.titles() == {}


# What was decided.


async def test_a_dead_letter_is_over_when_its_key_comes_into_step(state: Path) -> None:
    async with syncing(state) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        refused = await sync.run([record("a")])
        assert (await sync.run([record("a")], retry_run=refused.run_id)).counts == {Fate.CREATED: 1}
        assert (await sync.run([], max_delete=ALL, allow_empty=True)).counts == {Fate.DELETED: 1}
        assert (await sync.run([record("a")])).counts == {Fate.CREATED: 1}


async def test_the_same_dead_letter_is_written_once(state: Path) -> None:
    async with syncing(state) as sync:
        for _ in range(3):
            report = await sync.run([unreadable("a"), unreadable()])
        async with sync.opened() as (_, opened):
            letters = [letter async for letter in read_dead_letters(opened)]
        assert [letter["run_id"] for letter in letters] == [report.run_id] * 2


async def test_to_try_again_deletes_nothing_else(state: Path) -> None:
    records = [record(f"k{number}") for number in range(20)]
    async with syncing(state) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        refused = await sync.run(records)
        there = await sync.titles()
        lost = next(each for each in records if each.appointment.title not in there)
        report = await sync.run([lost], retry_run=refused.run_id)
        assert report.counts[Fate.CREATED] == 1
        assert len(await sync.titles()) == 20


async def test_what_was_taken_over_is_not_forgotten_by_a_look_or_by_what_cannot_be_read(state: Path) -> None:
    kept = Kept(record("a"), record("b"))
    async with syncing(state) as sync:
        await run(sync, kept)
        service = sync.service(ACME)
        await service.update((await ids(service))["Visit a"], title="Theirs")
        kept.fails = True
        with pytest.raises(SourceError):
            await run(sync, kept)
        kept.fails = False
        await sync.run([unreadable("a"), record("b")])
        async with sync.opened() as (bulk_sync, _):
            assert [each async for each in bulk_sync.plan(Listed([record("b")]), SyncOptions(max_delete=ALL))]
        assert (await run(sync, kept)).counts == {}
        assert kept.titles() == {"a": "Theirs", "b": "Visit b"}


# Budgets.


async def test_looks_at_single_appointments_are_in_the_budget(state: Path) -> None:
    records = [record(f"k{number}") for number in range(30)]
    async with syncing(state) as sync:
        await sync.run(records)
        service = sync.service(ACME)
        for appointment_id in list((await ids(service)).values())[1:]:
            await service.delete(appointment_id)
        changed = [record("k0", "Other"), *records[1:]]
        report = await sync.run(changed, Budget(sync.clock, max_requests=5), mode=Mode.CHECK, max_delete=ALL)
        assert report.requests <= 5


async def test_one_calendar_that_fails_is_counted_once(state: Path) -> None:
    async with syncing(state) as sync:
        sync.sandbox.faults.script(DropBefore(), operation="create")
        sync.sandbox.faults.script(*[StatusFault(500)] * 200, operation="preview")
        report = await sync.run([record("a")])
        assert report.counts == {Fate.UNKNOWN: 1}
        assert report.tenants["acme"].calendars_failed <= 1
        assert report.requests < 60


async def test_rejected_credentials_need_nothing(state: Path) -> None:
    async with syncing(state) as sync:
        sync.sandbox.faults.script(*[StatusFault(401)] * 9, operation="token")
        report = await sync.run([record(key) for key in "abcd"])
        assert report.minimum <= report.requests
        assert report.counts == {Fate.NOT_STARTED: 4}


# All of it, at random.


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_goes_wrong_in_between_a_clean_run_brings_all_into_step(state: Path, seed: int) -> None:
    draw = random.Random(seed)
    two_way = seed % 3 == 2
    rates: dict[Any, float] = {DropAfter(): 0.08, DropBefore(): 0.05, StatusFault(500): 0.05, StatusFault(503): 0.03}
    options: dict[str, Any] = {"write_response": draw.choice([None, WriteResponse.BARE_ID, WriteResponse.APPOINTMENT])}
    async with syncing(state, fault_rates=FaultRates(rates, seed=seed), **options) as sync:
        kept = Kept()
        for generation in range(6):
            kept.kept = [
                each
                for key in "abcdefgh"
                if draw.random() < 0.8
                for each in [record(key, draw.choice(["Twin", f"Visit {key}, {draw.randrange(3)}"]))]
            ]
            mode = Mode.TWO_WAY if two_way else draw.choice([Mode.TRUST, Mode.CHECK])
            budget = Budget(sync.clock, max_requests=draw.choice([3, 8, 1_000]))
            task = asyncio.create_task(_any_run(sync, kept, mode, budget))
            if draw.random() < 0.4:
                await asyncio.sleep(draw.random() * 0.05)
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (report := task.result()) is not None:
                _check_accounts(report, generation)
        sync.sandbox.faults._rates = {}
        mode = Mode.TWO_WAY if two_way else Mode.TRUST
        report = await _any_run(sync, kept, mode, None)
        assert report is not None
        _check_accounts(report, 6)
        assert await sync.titles() == sorted(each.appointment.title for each in kept.kept)
        last = await _any_run(sync, kept, mode, None)
        assert last is not None
        assert last.requests == (1 if two_way else 0)
        assert last.tenants["acme"].in_sync == last.tenants["acme"].records


async def _any_run(sync: Syncing, kept: Kept, mode: Mode, budget: Budget | None) -> RunReport | None:
    plan = SyncOptions(mode=mode, max_delete=ALL, allow_empty=True)
    mirror = kept if mode is Mode.TWO_WAY else None
    async with sync.opened() as (bulk_sync, _):
        return await bulk_sync.run(Listed(list(kept.kept)), plan, budget, mirror=mirror)


def _check_accounts(report: RunReport, generation: int) -> None:
    for tenant in report.tenants.values():
        left = {
            fate: tenant.counts[fate]
            for fate in (Fate.CONFLICT, Fate.REFUSED, Fate.RETRYABLE, Fate.UNKNOWN, Fate.SKIPPED, Fate.NOT_STARTED)
        }
        # What is left may also be a delete, which no record stands for.
        assert tenant.records - tenant.in_sync <= sum(left.values()), (generation, left)
        assert tenant.minimum <= tenant.requests
