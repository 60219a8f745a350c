"""Updates and deletes with lost responses: whatever became of them, the source's last word reaches the server."""

from pathlib import Path
from typing import Any, Literal

import pytest

from connector_async import RetryPolicy
from connector_async.sandbox import DropAfter, DropBefore, StatusFault
from connector_async.sync import (
    Budget,
    ConflictRules,
    Fate,
    GuardError,
    MaxDelete,
    Mode,
    Policy,
    RunReport,
    SourceError,
    SourceRecord,
)
from tests.support.syncing import MemorySource, Syncing, record, syncing

Operation = Literal["update", "delete"]

LOOKING = [Mode.CHECK, Mode.TWO_WAY]
FAIL = ConflictRules(policy=Policy.FAIL)


class OneAttempt:
    """Runs that send everything once, so that what is lost stays lost."""

    def __init__(self, sync: Syncing, *records: SourceRecord, mode: Mode, rules: ConflictRules = FAIL) -> None:
        sync.settings["passes"] = 1
        sync.retry = RetryPolicy(attempts=1)
        self.sync = sync
        self.source = MemorySource(*records)
        self.mode = mode
        self.rules = rules

    async def run(self, *records: SourceRecord) -> RunReport:
        self.source.kept = list(records)
        if self.mode is Mode.TWO_WAY:
            return await self.sync.run_two_way(self.source, rules=self.rules)
        return await self.sync.run(records, mode=self.mode, rules=self.rules)

    async def lose(
        self, fault: DropAfter | DropBefore, *records: SourceRecord, operation: Operation = "update"
    ) -> None:
        self.sync.sandbox.faults.script(fault, operation=operation)
        assert (await self.run(*records)).counts[Fate.RETRYABLE] == 1


@pytest.mark.parametrize(
    ("mode", "policy"),
    [
        (Mode.CHECK, Policy.LOCAL),
        (Mode.CHECK, Policy.FAIL),
        (Mode.TWO_WAY, Policy.REMOTE),
        (Mode.TWO_WAY, Policy.NEWER),
        (Mode.TWO_WAY, Policy.FAIL),
    ],
)
async def test_two_lost_updates_are_no_conflict_when_the_first_shows(
    state_path: Path, mode: Mode, policy: Policy
) -> None:
    async with syncing(state_path) as sync:
        runs = OneAttempt(sync, mode=mode, rules=ConflictRules(policy=policy))
        await runs.run(record("a"))
        await runs.lose(DropAfter(), record("a", "One"))
        await runs.lose(DropBefore(), record("a", "Two"))
        assert (await runs.run(record("a", "Two"))).counts == {Fate.UPDATED: 1}
        assert (await sync.titles(), runs.source.titles()) == (["Two"], {"a": "Two"})


@pytest.mark.parametrize("mode", LOOKING)
async def test_lost_update_that_happened_is_taken_back_by_the_second_attempt(state_path: Path, mode: Mode) -> None:
    async with syncing(state_path) as sync:
        runs = OneAttempt(sync, mode=mode)
        await runs.run(record("a"))
        await runs.lose(DropAfter(), record("a", "New"))
        await runs.lose(DropBefore(), record("a"))
        assert (await runs.run(record("a"))).counts == {Fate.UPDATED: 1}
        assert (await sync.titles(), runs.source.titles()) == (["Visit a"], {"a": "Visit a"})


@pytest.mark.parametrize("mode", LOOKING)
async def test_lost_update_that_does_not_show_yet_is_taken_back(state_path: Path, mode: Mode) -> None:
    async with syncing(state_path) as sync:
        runs = OneAttempt(sync, mode=mode)
        await runs.run(record("a"))
        await runs.lose(DropBefore(), record("a", "New"))
        # The server may still execute it: the last request must be what the source has.
        assert (await runs.run(record("a"))).counts == {Fate.UPDATED: 1}
        assert sync.requests()["update"] == 2


@pytest.mark.parametrize("fault", [DropAfter(), DropBefore()])
async def test_record_is_back_after_a_lost_delete(state_path: Path, fault: DropAfter | DropBefore) -> None:
    async with syncing(state_path) as sync:
        runs = OneAttempt(sync, mode=Mode.TRUST)
        await runs.run(record("a"), record("z"))
        await runs.lose(fault, record("z"), operation="delete")
        has_happened = isinstance(fault, DropAfter)
        await runs.lose(DropBefore(), record("a"), record("z"))  # the result of this one is not known either
        report = await runs.run(record("a"), record("z"))
        assert report.counts == {Fate.CREATED if has_happened else Fate.UPDATED: 1}
        assert await sync.titles() == ["Visit a", "Visit z"]
        assert (await runs.run(record("a"), record("z"))).requests == 0


async def test_record_of_a_deleted_appointment_stays_out_of_sync_when_its_change_is_taken_back(
    state_path: Path,
) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("a"), record("z")])
        await sync.delete("Visit a")
        assert (await sync.run([record("a", "New"), record("z")], rules=FAIL)).counts == {Fate.REFUSED: 1}
        for fate in (Fate.REFUSED, Fate.SKIPPED):
            report = await sync.run([record("a"), record("z")], rules=FAIL)
            assert (report.counts, report.tenants["acme"].in_sync) == ({fate: 1}, 1)


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_pulled_change_is_a_conflict_when_the_source_changes_before_its_rewrite(
    state_path: Path, *, is_deleted: bool
) -> None:
    source = MemorySource(record("a"), record("b"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await (sync.delete("Visit a") if is_deleted else sync.retitle("Visit a", "Theirs"))
        source.fails = True
        with pytest.raises(SourceError):
            await sync.run_two_way(source)
        source.fails = False
        source.kept = [record("a", "Mine"), record("b")]
        assert (await sync.run_two_way(source, rules=FAIL)).counts == {Fate.CONFLICT: 1}
        assert await sync.titles() == (["Visit b"] if is_deleted else ["Theirs", "Visit b"])
        assert source.titles() == {"a": "Mine", "b": "Visit b"}


async def test_source_that_adopts_a_server_change_is_in_sync_without_a_look(state_path: Path) -> None:
    remote_wins = ConflictRules(policy=Policy.REMOTE)
    async with syncing(state_path) as sync:
        await sync.run([record("a"), record("z")])
        await sync.retitle("Visit a", "Theirs")
        await sync.run([record("a"), record("z", "Z")], mode=Mode.CHECK, rules=remote_wins)
        source = MemorySource(record("a", "Theirs"), record("z", "Z"))
        assert (await sync.run(source.kept)).counts == {Fate.UNCHANGED: 1}
        await sync.retitle("Theirs", "Theirs, later")
        assert (await sync.run_two_way(source)).counts == {Fate.PULLED: 1}
        assert source.titles()["a"] == "Theirs, later"


async def test_pending_creates_of_removed_records_count_as_deletes_for_the_guard(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(5)]
    async with syncing(state_path) as sync:
        await sync.titles()  # gets a token
        sync.settings["concurrency"] = len(records)
        sync.sandbox.faults.script(*[DropAfter()] * len(records), operation="create")
        await sync.run(records, Budget(sync.clock, max_requests=len(records)))
        assert len(await sync.titles()) == len(records)
        with pytest.raises(GuardError, match="no record of tenant acme, but the state has 5 of it"):
            await sync.run([])
        with pytest.raises(GuardError, match="would lose 4 of 4 appointments; the limit is 3"):
            await sync.run(records[:1], max_delete=MaxDelete(number=3))
        assert len(await sync.titles()) == len(records)
        report = await sync.run(records[:1], max_delete=MaxDelete(number=4))
        assert report.counts == {Fate.CREATED: 1, Fate.DELETED: 4}


async def test_calendar_with_an_unresolved_create_is_looked_at_in_the_same_run(state_path: Path) -> None:
    source = MemorySource(record("b"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        source.kept.append(record("a"))
        sync.sandbox.faults.script(DropAfter(), operation="create")
        lost = await sync.run_two_way(source, Budget(sync.clock, max_requests=2))
        assert lost.counts == {Fate.UNKNOWN: 1}
        sync.sandbox.faults.clear()
        await sync.retitle("Visit b", "Theirs")
        source.kept.append(record("n"))
        sync.sandbox.faults.script(StatusFault(500), StatusFault(500), operation="preview")
        assert (await sync.run_two_way(source)).counts == {Fate.CREATED: 2, Fate.PULLED: 1}
        assert source.titles() == {"b": "Theirs", "a": "Visit a", "n": "Visit n"}


@pytest.mark.parametrize(
    ("mode", "change", "status"),
    [
        (Mode.TRUST, "update", 422),
        (Mode.TRUST, "delete", 429),
        (Mode.CHECK, "update", 429),
        (Mode.CHECK, "delete", 422),
    ],
)
async def test_server_change_is_overwritten_after_a_failed_first_attempt(
    state_path: Path, mode: Mode, change: str, status: int
) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("a"), record("b")])
        await (sync.retitle("Visit a", "Theirs") if change == "update" else sync.delete("Visit a"))
        sync.retry = RetryPolicy(attempts=1)
        sync.settings["passes"] = 1
        sync.sandbox.faults.script(StatusFault(status, retry_after=0), operation="create")
        sync.sandbox.faults.script(StatusFault(status, retry_after=0), operation="update")
        records = [record("a"), record("b", "New")]  # a change, so that the calendar is looked at
        sync.settings["concurrency"] = 1
        report = await sync.run(records, mode=Mode.CHECK)
        sync.sandbox.faults.clear()
        left = Fate.REFUSED if status == 422 else Fate.RETRYABLE
        assert report.counts[left] >= 1
        retry: dict[str, Any] = {"retry_run": report.run_id} if status == 422 else {}
        again = await sync.run(records, mode=mode, **retry)
        assert left not in again.counts
        await sync.run(records, mode=mode)
        assert await sync.titles() == ["New", "Visit a"]
        assert (await sync.run(records, mode=mode)).counts == {}


async def test_one_sided_conflict_can_be_decided_by_a_retry(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("a"), record("b")])
        await sync.retitle("Visit a", "Theirs")
        records = [record("a"), record("b", "New")]
        report = await sync.run(records, mode=Mode.CHECK, rules=FAIL)
        assert report.counts == {Fate.CONFLICT: 1, Fate.UPDATED: 1}
        again = await sync.run(records, mode=Mode.CHECK, retry_run=report.run_id)
        assert again.counts == {Fate.UPDATED: 1}
        assert await sync.titles() == ["New", "Visit a"]


async def test_failed_run_is_not_resumed(state_path: Path) -> None:
    source = MemorySource(record("a"), record("b"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        for title in ("Visit a", "Visit b"):
            source.fails = True
            await sync.retitle(title, f"Theirs of {title}")
            with pytest.raises(SourceError):  # its only calendar is finished by then
                await sync.run_two_way(source)
        source.fails = False
        report = await sync.run_two_way(source)
        assert report.requests == 1
        assert source.titles() == {"a": "Theirs of Visit a", "b": "Theirs of Visit b"}
