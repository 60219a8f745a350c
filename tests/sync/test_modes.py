"""What each mode does with changes on the server. They are never lost silently."""

from datetime import timedelta
from pathlib import Path

import pytest

from connector_async import NewAppointment
from connector_async.sandbox import BodyFormat
from connector_async.sync import (
    Budget,
    Calendar,
    Conflict,
    ConflictRules,
    Fate,
    MaxDelete,
    Mirror,
    Mode,
    Policy,
    RunReport,
    SourceError,
    Stopped,
    SyncOptions,
)
from connector_async.sync.formats import JsonLinesMirror, JsonLinesSource
from tests.support.syncing import ACME, SCOPE, TEN, USER, ListSource, MemorySource, record, syncing


@pytest.mark.parametrize(
    ("policy", "counts", "titles"),
    [
        (Policy.LOCAL, {Fate.UPDATED: 2}, ["Mine", "Other c", "Visit b"]),
        (Policy.REMOTE, {Fate.UNCHANGED: 1, Fate.UPDATED: 1}, ["Other c", "Theirs", "Visit b"]),
        (Policy.FAIL, {Fate.CONFLICT: 1, Fate.UPDATED: 1}, ["Other c", "Theirs", "Visit b"]),
        (Policy.NEWER, {Fate.CONFLICT: 1, Fate.UPDATED: 1}, ["Other c", "Theirs", "Visit b"]),
    ],
)
async def test_policy_decides_a_conflict_until_a_side_changes_again(
    state_path: Path, policy: Policy, counts: dict[Fate, int], titles: list[str]
) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("a"), record("b"), record("c")])
        await sync.retitle("Visit a", "Theirs")
        changed = [record("a", "Mine"), record("b"), record("c", "Other c")]
        report = await sync.run(changed, mode=Mode.CHECK, rules=ConflictRules(policy=policy))
        assert report.counts == counts
        assert report.minimum == report.requests == 1 + counts.get(Fate.UPDATED, 0)
        assert await sync.titles() == titles
        given_up = {Fate.SKIPPED: 1} if Fate.CONFLICT in counts else {}
        assert (await sync.run(changed, mode=Mode.CHECK, rules=ConflictRules(policy=policy))).counts == given_up


async def test_check_reads_only_calendars_that_the_source_has_changed(state_path: Path) -> None:
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:
        other = Calendar("acme", "d-1", "u-2")
        records = [record("a", calendar=USER), record("a", calendar=other)]
        await sync.run(records)
        changed = [records[0], record("a", "Other", calendar=other)]
        report = await sync.run(changed, mode=Mode.CHECK, scope=SCOPE)
        assert report.counts == {Fate.UPDATED: 1}
        assert report.minimum == report.requests == 2


async def test_callback_decides_each_conflict(state_path: Path) -> None:
    asked: list[Conflict] = []

    async def on_conflict(conflict: Conflict) -> Policy:
        asked.append(conflict)
        return Policy.LOCAL if conflict.key == "a" else Policy.REMOTE

    async with syncing(state_path) as sync:
        await sync.run([record("a"), record("b")])
        for title in await sync.titles():
            await sync.retitle(title, f"Their {title}")
        report = await sync.run(
            [record("a", "Mine", modified=TEN), record("b", "Mine")],
            mode=Mode.CHECK,
            rules=ConflictRules(on_conflict=on_conflict),
        )
        assert report.counts == {Fate.UPDATED: 1, Fate.UNCHANGED: 1}
        assert [(conflict.key, conflict.local_modified) for conflict in asked] == [("a", TEN), ("b", None)]
        assert await sync.titles() == ["Mine", "Their Visit b"]


async def test_existing_appointments_are_adopted_twin_by_twin(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        service = sync.service(ACME)
        for _ in range(2):
            await service.create(record("x", "Twin").appointment)
        await service.create(record("x", "Foreign").appointment)
        report = await sync.run([record(key, "Twin") for key in "abc"], mode=Mode.CHECK)
        assert report.counts == {Fate.UNCHANGED: 2, Fate.CREATED: 1}
        assert await sync.titles() == ["Foreign", "Twin", "Twin", "Twin"]
        assert (await sync.run([record("a", "Twin")], max_delete=MaxDelete(number=2))).counts == {Fate.DELETED: 2}
        assert await sync.titles() == ["Foreign", "Twin"]


async def test_appointment_moved_out_of_the_scope_is_not_taken_for_deleted(state_path: Path) -> None:
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:
        records = [record(key, calendar=USER) for key in "abc"]
        await sync.run(records, scope=SCOPE)
        far = TEN + timedelta(days=150)
        await sync.service(USER).update((await sync.ids(USER))["Visit a"], start_time=far, end_time=far)
        await sync.delete("Visit b", calendar=USER)
        # The preview shows neither the one that was moved nor the one that was deleted.
        changed = [*records[:2], record("c", "Other", calendar=USER)]
        before = sync.sandbox.log.count()
        report = await sync.run(changed, mode=Mode.CHECK, scope=SCOPE)
        assert report.counts == {Fate.UPDATED: 2, Fate.CREATED: 1}
        assert report.requests == sync.sandbox.log.count() - before == 1 + 2 + 3
        assert await sync.titles(USER) == ["Other", "Visit a", "Visit b"]
        # A record that moves out of the scope has changed; an appointment outside of it is not deleted.
        moved = [record("a", calendar=USER, hour=24 * 100), *changed[1:]]
        assert (await sync.run(moved, scope=SCOPE)).counts == {Fate.UPDATED: 1}
        assert (await sync.run(moved[1:], scope=SCOPE)).counts == {}
        assert (await sync.run(moved[1:])).counts == {Fate.DELETED: 1}


async def test_two_way_sync_exchanges_the_changes_of_both_sides(state_path: Path) -> None:
    source = MemorySource(*[record(key) for key in "abcdef"])
    async with syncing(state_path) as sync:
        assert (await sync.run_two_way(source)).counts == {Fate.CREATED: 6}
        assert source.rewrites == 0
        service = sync.service(ACME)
        await service.update((await sync.ids())["Visit a"], title="Theirs a", description="x")
        await sync.delete("Visit b")
        new = NewAppointment(title="Theirs", start_time=TEN, end_time=TEN)
        new_id = (await service.create(new)).appointment_id
        source.kept[2:4] = [record("c", "Mine c")]
        report = await sync.run_two_way(source)
        assert report.counts == {Fate.PULLED: 3, Fate.UPDATED: 1, Fate.DELETED: 1}
        assert report.minimum == report.requests == 1 + 1 + 2  # the preview, a look at what is missing, the writes
        expected = {"a": "Theirs a", "c": "Mine c", "e": "Visit e", "f": "Visit f", f"server:{new_id}": "Theirs"}
        assert source.titles() == expected
        assert await sync.titles() == sorted(expected.values())
        assert {each.key: each.appointment.description for each in source.kept}["a"] == "x"
        report = await sync.run_two_way(source)
        assert (report.counts, report.requests, source.rewrites) == ({}, 1, 1)
        source.kept = [each for each in source.kept if each.key != f"server:{new_id}"]
        assert (await sync.run_two_way(source)).counts == {Fate.DELETED: 1}


async def test_empty_preview_stops_its_tenant(state_path: Path) -> None:
    source = MemorySource(*[record(key) for key in "abc"])
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.delete(*await sync.titles())
        report = await sync.run_two_way(source, max_delete=MaxDelete(number=100))
        assert report.stopped(Stopped.GUARD) == ["acme"]
        assert len(source.titles()) == 3


async def test_too_much_missing_on_the_server_stops_its_tenant(state_path: Path) -> None:
    source = MemorySource(*[record(key) for key in "abcdefgh"])
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.delete(*(await sync.titles())[:6])
        assert (await sync.run_two_way(source)).stopped(Stopped.GUARD) == ["acme"]
        assert len(source.titles()) == 8
        assert (await sync.run_two_way(source, max_delete=MaxDelete(number=6))).counts == {Fate.PULLED: 6}
        assert len(source.titles()) == 2


async def test_pulled_changes_survive_a_failed_rewrite_of_the_source(state_path: Path) -> None:
    source = MemorySource(record("a"), record("b"), record("c"))
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.retitle("Visit a", "Theirs")
        await sync.retitle("Visit b", "Theirs, too")
        await sync.delete("Visit c")
        source.fails = True
        with pytest.raises(SourceError):
            await sync.run_two_way(source)
        assert source.titles() == {"a": "Visit a", "b": "Visit b", "c": "Visit c"}
        source.fails = False
        source.kept[1] = record("b", "Mine, later")
        # A run in another mode undoes nothing of it, and sends what has been changed since.
        assert (await sync.run(source.kept)).counts == {Fate.UPDATED: 1}
        assert (await sync.run_two_way(source)).counts == {}
        assert source.titles() == {"a": "Theirs", "b": "Mine, later"}
        assert await sync.titles() == ["Mine, later", "Theirs"]


async def test_source_with_problems_is_not_rewritten(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        with pytest.raises(SourceError, match=r"key . occurs 2 times; the source cannot be rewritten"):
            await sync.run_two_way(MemorySource(record("a"), record("a")))


async def test_mirror_is_given_in_two_way_mode_and_only_there(state_path: Path) -> None:
    async with syncing(state_path) as sync, sync.opened() as (bulk_sync, _):
        mirror: Mirror = MemorySource()
        with pytest.raises(ValueError, match=r"mirror must be given with .*, and only then"):
            await bulk_sync.run(ListSource([]), SyncOptions(), mirror=mirror)
        with pytest.raises(ValueError, match="mirror must be given"):
            await bulk_sync.run(ListSource([]), SyncOptions(mode=Mode.TWO_WAY))


async def test_two_way_sync_rewrites_a_file(state_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "source.jsonl"
    row = '{"key":"%s","title":"Visit","start_time":"2024-01-15T10:00:00Z","end_time":"2024-01-15T11:00:00Z"}\n'
    path.write_text("".join(row % key for key in "abc"))
    two_way = SyncOptions(mode=Mode.TWO_WAY)
    async with syncing(state_path) as sync, sync.opened() as (bulk_sync, _):
        source = JsonLinesSource(path, tenant_id="acme")
        mirror = JsonLinesMirror(path, tenant_id="acme")
        assert (await bulk_sync.run(source, two_way, mirror=mirror)).counts == {Fate.CREATED: 3}
        await sync.service(ACME).create(record("x", "Theirs").appointment)
        assert (await bulk_sync.run(source, two_way, mirror=mirror)).counts == {Fate.PULLED: 1}
        assert (await bulk_sync.run(source, two_way, mirror=mirror)).counts == {}
    assert path.read_text().count("\n") == 4


async def test_run_resumes_one_that_a_limit_has_ended(state_path: Path) -> None:
    users = [Calendar("acme", "d-1", f"u-{number}") for number in range(6)]
    source = MemorySource(*[record("k", calendar=user) for user in users])
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:

        async def limited(max_requests: int | None = None) -> RunReport:
            return await sync.run_two_way(source, Budget(sync.clock, max_requests=max_requests), scope=SCOPE)

        await limited()
        assert [(await limited(2)).requests for _ in range(2)] == [2, 2]
        # The next run looks at the two calendars that are left, and at the one that has changed since.
        source.kept[0] = record("k", "Mine", calendar=users[0])
        report = await limited()
        assert (report.reason, report.counts, report.requests) == (None, {Fate.UPDATED: 1}, 2 + 1 + 1)
        # Then all calendars are looked at again.
        assert (await limited()).requests == 6
