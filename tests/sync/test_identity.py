"""The server that a state belongs to, and the first look at each calendar."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async import AppointmentService
from connector_async.sandbox import BodyFormat, StatusFault
from connector_async.sync import (
    Budget,
    BulkSync,
    Calendar,
    Fate,
    LocalRunner,
    Mode,
    Pull,
    PullOptions,
    Scope,
    SourceError,
    SourceProblem,
    SourceRecord,
    State,
    SyncOptions,
    SyncSettings,
    TargetMismatchError,
    export_state,
    import_state,
)
from connector_async.sync.state.identity import Target, bind, read_identity
from connector_async.sync.state.journal import Journal
from tests.support.state_rows import execute
from tests.support.syncing import ACME, SCOPE, USER, ListSource, Syncing, record, syncing

GLOBEX = Calendar("globex")
RECORDS = [record(f"k{number}", hour=number) for number in range(6)]
HERE = Target("https://api.example.com/v1", "guide")


@pytest.mark.parametrize(
    "spelling",
    ["HTTPS://API.Example.com/v1", "https://api.example.com:443/v1/", "https://me:hunter2@api.example.com/v1"],
)
def test_spelling_of_a_url_makes_no_other_target(spelling: str) -> None:
    assert Target(spelling, "guide") == HERE
    assert str(Target(spelling, "guide")) == "https://api.example.com/v1 (guide format)"


@pytest.mark.parametrize(
    "other", ["http://api.example.com/v1", "https://api.example.com:8443/v1", "https://api.example.com/V1"]
)
def test_other_scheme_port_or_path_is_another_target(other: str) -> None:
    assert Target(other, "guide") != HERE


async def test_state_that_knows_no_appointment_belongs_to_nobody(state_path: Path) -> None:
    async with await State.open(state_path, owner="test") as state:
        there = Target("https://elsewhere.example.com", "reference")
        for target in (HERE, there):
            await bind(state, target, now=0.0)
            assert (await read_identity(state)).target == target


async def test_export_of_an_older_version_gets_a_new_id(state_path: Path, tmp_path: Path) -> None:
    exported = tmp_path / "state.jsonl"
    async with await State.open(state_path, owner="test") as state:
        await bind(state, HERE, now=0.0)
        before = await read_identity(state)
        await export_state(state, exported)
    await import_state(exported, tmp_path / "copy.db")
    head, *lines = exported.read_bytes().splitlines()
    older = [line for line in lines if b'"target"' not in line]
    head = orjson.dumps(orjson.loads(head) | {"rows": len(older)})
    exported.write_bytes(b"".join(line + b"\n" for line in (head, *older)))
    await import_state(exported, tmp_path / "older.db")
    async with await State.open(tmp_path / "copy.db", owner="test") as state:
        assert await read_identity(state) == before
    async with await State.open(tmp_path / "older.db", owner="test") as state:
        identity = await read_identity(state)
        assert (identity.target, identity.state_id != before.state_id) == (None, True)


@pytest.mark.row("S1")
async def test_services_of_several_servers_are_rejected_before_the_second_gets_a_request(state_path: Path) -> None:
    async with syncing(state_path) as sync, syncing(state_path) as elsewhere:

        def services(calendar: Calendar) -> AppointmentService:
            return (elsewhere if calendar == GLOBEX else sync).service(calendar)

        async with await State.open(state_path, owner="test") as state:
            bulk_sync = BulkSync(state, services, SyncSettings())
            records = [*RECORDS, record("k0", calendar=GLOBEX)]
            with pytest.raises(TargetMismatchError, match=rf"{sync.sandbox.base_url}.*{elsewhere.sandbox.base_url}"):
                await bulk_sync.run(ListSource(records), SyncOptions())
        async with await State.open(state_path.with_name("pull.db"), owner="test") as state:
            with pytest.raises(TargetMismatchError, match=f"not to {elsewhere.sandbox.base_url}"):
                async for _ in Pull(state, services, PullOptions(calendars=[ACME, GLOBEX])):
                    pass
        assert elsewhere.sandbox.log.count() == 0


async def test_rebinding_a_state_of_the_same_server_forgets_nothing(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run(RECORDS)
        assert (await sync.run(RECORDS, rebind=True)).requests == 0


async def test_source_that_cannot_be_read_rebinds_nothing(state_path: Path) -> None:
    class Unreadable(ListSource):
        async def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
            for each in self.items:
                yield each
            raise SourceError("list: gone")

    async with syncing(state_path) as sync, syncing(state_path) as elsewhere:
        await sync.run(RECORDS)
        async with elsewhere.opened() as (bulk_sync, _):
            with pytest.raises(SourceError, match="gone"):
                await bulk_sync.run(Unreadable([]), SyncOptions(rebind=True))
        assert (await sync.run(RECORDS)).requests == 0


async def test_plan_does_not_rebind(state_path: Path) -> None:
    async with syncing(state_path) as sync, sync.opened() as (bulk_sync, _):
        with pytest.raises(ValueError, match="rebind must be off in a plan"):
            await anext(bulk_sync.plan(ListSource(RECORDS), SyncOptions(rebind=True)))


@pytest.fixture
def lost(tmp_path: Path) -> Path:
    """Return the path of a state that takes the place of a lost one."""
    return tmp_path / "new.db"


async def run_without_its_state(sync: Syncing, lost: Path, *records: Any, **options: Any) -> Any:
    await sync.run(records)
    sync.path, sync.assume_empty = lost, False
    return await sync.run(records, **options)


@pytest.mark.row("S2")
@pytest.mark.parametrize("scope", [Scope(), SCOPE, Scope(start=SCOPE.end)], ids=["open", "around", "elsewhere"])
async def test_first_look_covers_all_records_whatever_the_scope(state_path: Path, lost: Path, scope: Scope) -> None:
    records = [record("first", calendar=USER), record("last", calendar=USER, hour=24 * 30)]
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:
        report = await run_without_its_state(sync, lost, *records, scope=scope)
        assert (report.counts, report.minimum, report.requests) == ({Fate.UNCHANGED: 2}, 1, 1)
        assert sync.requests() == {"create": 2, "preview": 1}


@pytest.mark.row("S2")
@pytest.mark.parametrize("mode", [Mode.TRUST, Mode.CHECK])
async def test_first_look_that_was_interrupted_is_repeated(
    state_path: Path, lost: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_synced = Journal.record_synced

    async def crash_after(self: Journal, *args: Any) -> None:
        await record_synced(self, *args)
        raise RuntimeError("killed")

    async with syncing(state_path) as sync:
        await sync.run(RECORDS)
        sync.path, sync.assume_empty, sync.runner = lost, False, LocalRunner(quantum=2)
        with monkeypatch.context() as patched:
            patched.setattr(Journal, "record_synced", crash_after)
            with pytest.raises(RuntimeError):
                await sync.run(RECORDS, mode=mode)
        assert (await sync.run(RECORDS)).counts == {Fate.UNCHANGED: 4}
        assert (await sync.run(RECORDS)).requests == 0
        assert sync.requests()["create"] == 6


@pytest.mark.row("S2")
async def test_saved_plan_that_was_applied_in_part_doubles_nothing(state_path: Path, lost: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run(RECORDS[:4])
        sync.path, sync.assume_empty, sync.runner = lost, False, LocalRunner(quantum=1)
        plan = await sync.save(lost.with_name("plan"), [record("a"), *RECORDS])
        async with sync.opened() as (bulk_sync, _):
            report = await bulk_sync.apply(plan, Budget(sync.clock, max_requests=1))
        assert report.counts[Fate.CREATED] == 1
        await sync.run([record("a"), *RECORDS])
        assert sorted(await sync.titles()) == sorted(["Visit a", *(f"Visit k{number}" for number in range(6))])


@pytest.mark.row("S2")
async def test_nothing_is_created_in_a_calendar_that_cannot_be_looked_at(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.assume_empty = False
        sync.settings["passes"] = 1
        sync.sandbox.faults.script(*[StatusFault(500)] * 2, operation="preview")
        assert (await sync.run(RECORDS)).counts == {Fate.RETRYABLE: 6}
        assert sync.requests() == {"preview": 2}
        assert (await sync.run(RECORDS)).counts == {Fate.CREATED: 6}


async def test_calendar_is_looked_at_once(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.assume_empty = False
        assert (await sync.run(RECORDS[:3])).minimum == 4
        assert (await sync.run(RECORDS)).minimum == 3
        assert sync.requests() == {"create": 6, "preview": 1}


async def test_calendar_with_items_of_an_older_version_counts_as_looked_at(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.assume_empty = False
        await sync.run(RECORDS[:3])
        execute(state_path, "DELETE FROM cells")
        assert (await sync.run(RECORDS)).minimum == 3
