"""Changes and deletes whose answers were lost: whatever became of them, the source's last word is the server's."""

from pathlib import Path
from typing import Any, Literal

import pytest

from connector_async import RetryPolicy
from connector_async.sandbox import DropAfter, DropBefore, StatusFault
from connector_async.sync.budget import Budget
from connector_async.sync.exceptions import GuardError, SourceError
from connector_async.sync.guard import MaxDelete
from connector_async.sync.planning.operations import ConflictRules
from connector_async.sync.planning.options import SyncOptions
from connector_async.sync.planning.three_way import Mode, Policy
from connector_async.sync.records import SourceRecord
from connector_async.sync.report import Fate, RunReport
from tests.support.syncing import ACME, Syncing, record, syncing
from tests.sync.test_modes import Kept, ids, run

Operation = Literal["update", "delete"]

LOOKING = [Mode.CHECK, Mode.TWO_WAY]
FAIL = ConflictRules(policy=Policy.FAIL)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


class OneAttempt:
    """Runs that try everything once, so that what is lost stays lost."""

    def __init__(self, sync: Syncing, *records: SourceRecord, mode: Mode, rules: ConflictRules = FAIL) -> None:
        sync.settings["passes"] = 1
        sync.retry = RetryPolicy(attempts=1)
        self.sync = sync
        self.kept = Kept(*records)
        self.mode = mode
        self.rules = rules

    async def run(self, *records: SourceRecord) -> RunReport:
        self.kept.kept = list(records)
        if self.mode is Mode.TWO_WAY:
            return await run(self.sync, self.kept, rules=self.rules)
        return await self.sync.run(records, mode=self.mode, rules=self.rules)

    async def lose(
        self, fault: DropAfter | DropBefore, *records: SourceRecord, operation: Operation = "update"
    ) -> None:
        self.sync.sandbox.faults.script(fault, operation=operation)
        assert (await self.run(*records)).counts[Fate.RETRYABLE] == 1


@pytest.mark.parametrize("mode", LOOKING)
@pytest.mark.parametrize("policy", [Policy.LOCAL, Policy.REMOTE, Policy.NEWER, Policy.FAIL])
async def test_two_lost_changes_of_which_the_first_has_happened_are_no_conflict(
    state: Path, mode: Mode, policy: Policy
) -> None:
    async with syncing(state) as sync:
        runs = OneAttempt(sync, mode=mode, rules=ConflictRules(policy=policy))
        await runs.run(record("a"))
        await runs.lose(DropAfter(), record("a", "One"))
        await runs.lose(DropBefore(), record("a", "Two"))
        assert (await runs.run(record("a", "Two"))).counts == {Fate.UPDATED: 1}
        assert (await sync.titles(), runs.kept.titles()) == (["Two"], {"a": "Two"})


@pytest.mark.parametrize("mode", LOOKING)
async def test_a_change_that_happened_is_taken_back_when_taking_it_back_was_lost(state: Path, mode: Mode) -> None:
    async with syncing(state) as sync:
        runs = OneAttempt(sync, mode=mode)
        await runs.run(record("a"))
        await runs.lose(DropAfter(), record("a", "New"))
        await runs.lose(DropBefore(), record("a"))
        assert (await runs.run(record("a"))).counts == {Fate.UPDATED: 1}
        assert (await sync.titles(), runs.kept.titles()) == (["Visit a"], {"a": "Visit a"})


@pytest.mark.parametrize("mode", LOOKING)
async def test_a_change_that_does_not_show_yet_is_taken_back_all_the_same(state: Path, mode: Mode) -> None:
    async with syncing(state) as sync:
        runs = OneAttempt(sync, mode=mode)
        await runs.run(record("a"))
        await runs.lose(DropBefore(), record("a", "New"))
        # The server may come to it later: the last that it is sent is to be what the source says.
        assert (await runs.run(record("a"))).counts == {Fate.UPDATED: 1}
        assert sync.writes()["update"] == 2


@pytest.mark.parametrize("fault", [DropAfter(), DropBefore()])
async def test_a_delete_that_was_lost_is_no_bar_to_what_is_back(state: Path, fault: DropAfter | DropBefore) -> None:
    async with syncing(state) as sync:
        runs = OneAttempt(sync, mode=Mode.TRUST)
        await runs.run(record("a"), record("z"))
        await runs.lose(fault, record("z"), operation="delete")
        has_happened = isinstance(fault, DropAfter)
        await runs.lose(DropBefore(), record("a"), record("z"))  # it is not known either what became of the next
        report = await runs.run(record("a"), record("z"))
        assert report.counts == {Fate.CREATED if has_happened else Fate.UPDATED: 1}
        assert await sync.titles() == ["Visit a", "Visit z"]
        assert (await runs.run(record("a"), record("z"))).requests == 0


async def test_what_is_not_there_to_be_changed_is_not_in_step_when_the_change_is_taken_back(state: Path) -> None:
    async with syncing(state) as sync:
        await sync.run([record("a"), record("z")])
        await sync.service(ACME).delete((await ids(sync.service(ACME)))["Visit a"])
        assert (await sync.run([record("a", "New"), record("z")], rules=FAIL)).counts == {Fate.REFUSED: 1}
        for fate in (Fate.REFUSED, Fate.SKIPPED):
            report = await sync.run([record("a"), record("z")], rules=FAIL)
            assert (report.counts, report.tenants["acme"].in_sync) == ({fate: 1}, 1)


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_what_was_pulled_and_not_written_is_a_conflict_when_the_source_changes_it(
    state: Path, *, is_deleted: bool
) -> None:
    kept = Kept(record("a"), record("b"))
    async with syncing(state) as sync:
        await run(sync, kept)
        service = sync.service(ACME)
        theirs = (await ids(service))["Visit a"]
        await (service.delete(theirs) if is_deleted else service.update(theirs, title="Theirs"))
        kept.fails = True
        with pytest.raises(SourceError):
            await run(sync, kept)
        kept.fails = False
        kept.kept = [record("a", "Mine"), record("b")]
        assert (await run(sync, kept, rules=FAIL)).counts == {Fate.CONFLICT: 1}
        assert await sync.titles() == (["Visit b"] if is_deleted else ["Theirs", "Visit b"])
        assert kept.titles() == {"a": "Mine", "b": "Visit b"}


async def test_what_the_server_had_is_remembered_when_the_source_comes_to_say_the_same(state: Path) -> None:
    remote_wins = ConflictRules(policy=Policy.REMOTE)
    async with syncing(state) as sync:
        await sync.run([record("a"), record("z")])
        service = sync.service(ACME)
        theirs = (await ids(service))["Visit a"]
        await service.update(theirs, title="Theirs")
        await sync.run([record("a"), record("z", "Z")], mode=Mode.CHECK, rules=remote_wins)
        kept = Kept(record("a", "Theirs"), record("z", "Z"))
        assert (await sync.run(kept.kept)).counts == {Fate.UNCHANGED: 1}  # without a look
        await service.update(theirs, title="Theirs, later")
        assert (await run(sync, kept)).counts == {Fate.PULLED: 1}
        assert kept.titles()["a"] == "Theirs, later"


async def test_creates_that_are_open_and_not_wanted_any_more_are_deletes_to_the_guard(state: Path) -> None:
    records = [record(f"k{number}") for number in range(5)]
    async with syncing(state) as sync:
        await sync.titles()  # which gets a token
        sync.settings["concurrency"] = len(records)
        sync.sandbox.faults.script(*[DropAfter()] * len(records), operation="create")
        await sync.run(records, Budget(sync.clock, max_requests=len(records)))
        assert len(await sync.titles()) == len(records)
        with pytest.raises(GuardError, match="no record of tenant acme, of which 5 appointments are known"):
            await sync.run([])
        with pytest.raises(GuardError, match="would lose 4 of 4 appointments; 3 may go"):
            await sync.run(records[:1], max_delete=MaxDelete(number=3))
        assert len(await sync.titles()) == len(records)
        report = await sync.run(records[:1], max_delete=MaxDelete(number=4))
        assert report.counts == {Fate.CREATED: 1, Fate.DELETED: 4}


async def test_a_calendar_that_could_not_be_settled_is_looked_at_all_the_same(state: Path) -> None:
    kept = Kept(record("b"))
    async with syncing(state) as sync:
        await run(sync, kept)
        kept.kept.append(record("a"))
        sync.sandbox.faults.script(DropAfter(), operation="create")
        async with sync.opened() as (bulk_sync, _):
            plan = SyncOptions(mode=Mode.TWO_WAY)
            report = await bulk_sync.run(kept, plan, Budget(sync.clock, max_requests=2), mirror=kept)
            assert report.counts == {Fate.UNKNOWN: 1}
        sync.sandbox.faults.clear()
        service = sync.service(ACME)
        await service.update((await ids(service))["Visit b"], title="Theirs")
        kept.kept.append(record("n"))
        sync.sandbox.faults.script(StatusFault(500), StatusFault(500), operation="preview")
        assert (await run(sync, kept)).counts == {Fate.CREATED: 2, Fate.PULLED: 1}
        assert kept.titles() == {"b": "Theirs", "a": "Visit a", "n": "Visit n"}


@pytest.mark.parametrize("mode", [Mode.TRUST, Mode.CHECK])
@pytest.mark.parametrize("change", ["update", "delete"])
@pytest.mark.parametrize("refusal", [422, 429])
async def test_what_the_server_alone_has_changed_is_tried_again_after_a_refusal(
    state: Path, mode: Mode, change: str, refusal: int
) -> None:
    async with syncing(state) as sync:
        await sync.run([record("a"), record("b")])
        service = sync.service(ACME)
        theirs = (await ids(service))["Visit a"]
        await (service.update(theirs, title="Theirs") if change == "update" else service.delete(theirs))
        sync.retry = RetryPolicy(attempts=1)
        sync.settings["passes"] = 1
        sync.sandbox.faults.script(StatusFault(refusal, retry_after=0), operation="create")
        sync.sandbox.faults.script(StatusFault(refusal, retry_after=0), operation="update")
        records = [record("a"), record("b", "New")]  # so that the calendar is looked at
        sync.settings["concurrency"] = 1
        report = await sync.run(records, mode=Mode.CHECK)
        sync.sandbox.faults.clear()
        left = Fate.REFUSED if refusal == 422 else Fate.RETRYABLE
        assert report.counts[left] >= 1
        retry: dict[str, Any] = {"retry_run": report.run_id} if refusal == 422 else {}
        again = await sync.run(records, mode=mode, **retry)
        assert left not in again.counts
        await sync.run(records, mode=mode)
        assert await sync.titles() == ["New", "Visit a"]
        assert (await sync.run(records, mode=mode)).counts == {}


async def test_a_conflict_that_the_server_alone_has_made_can_be_decided_later(state: Path) -> None:
    async with syncing(state) as sync:
        await sync.run([record("a"), record("b")])
        service = sync.service(ACME)
        await service.update((await ids(service))["Visit a"], title="Theirs")
        records = [record("a"), record("b", "New")]
        report = await sync.run(records, mode=Mode.CHECK, rules=FAIL)
        assert report.counts == {Fate.CONFLICT: 1, Fate.UPDATED: 1}
        again = await sync.run(records, mode=Mode.CHECK, retry_run=report.run_id)
        assert again.counts == {Fate.UPDATED: 1}
        assert await sync.titles() == ["New", "Visit a"]


async def test_a_run_that_failed_is_not_gone_on_with(state: Path) -> None:
    kept = Kept(record("a"), record("b"))
    async with syncing(state) as sync:
        await run(sync, kept)
        service = sync.service(ACME)
        there = await ids(service)
        for title in ("Visit a", "Visit b"):
            kept.fails = True
            await service.update(there[title], title=f"Theirs of {title}")
            with pytest.raises(SourceError):  # its one calendar is finished by then
                await run(sync, kept)
        kept.fails = False
        report = await run(sync, kept)
        assert report.requests == 1
        assert kept.titles() == {"a": "Theirs of Visit a", "b": "Theirs of Visit b"}
