"""What a run does with what has changed on the server: looked at where the mode says so, and never silently lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connector_async import AppointmentService, NewAppointment
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
    RecordWriter,
    RunReport,
    Scope,
    SourceError,
    SourceProblem,
    SourceRecord,
    Stopped,
    SyncOptions,
)
from connector_async.sync.formats import JsonLinesMirror, JsonLinesSource
from tests.support.syncing import ACME, TEN, Listed, Syncing, record, syncing

USER = Calendar("acme", "d-1", "u-1")
SCOPE = Scope(start=TEN - timedelta(days=10), end=TEN + timedelta(days=10))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


class Kept:
    """A source and its mirror, in memory."""

    name = "kept"

    def __init__(self, *records: SourceRecord) -> None:
        self.kept = list(records)
        self.writes = 0
        self.fails = False

    async def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        for each in self.kept:
            yield each

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[RecordWriter]:
        written: list[SourceRecord] = []

        class Writer:
            async def write(self, record: SourceRecord) -> None:
                written.append(record)

        yield Writer()
        if self.fails:
            raise SourceError("kept: No space left on device")
        self.kept = written
        self.writes += 1

    def titles(self) -> dict[str, str]:
        return {each.key: each.appointment.title for each in self.kept}


async def run(sync: Syncing, kept: Kept, **plan: Any) -> RunReport:
    async with sync.opened() as (bulk_sync, _):
        return await bulk_sync.run(kept, SyncOptions(mode=Mode.TWO_WAY, **plan), mirror=kept)


async def ids(service: AppointmentService, **span: Any) -> dict[str, str]:
    return {item.title: item.appointment_id async for item in service.preview(**span)}


@pytest.mark.parametrize(
    ("policy", "counts", "titles"),
    [
        (Policy.LOCAL, {Fate.UPDATED: 2}, ["Mine", "Other c", "Visit b"]),
        (Policy.REMOTE, {Fate.UNCHANGED: 1, Fate.UPDATED: 1}, ["Other c", "Theirs", "Visit b"]),
        (Policy.FAIL, {Fate.CONFLICT: 1, Fate.UPDATED: 1}, ["Other c", "Theirs", "Visit b"]),
        (Policy.NEWER, {Fate.CONFLICT: 1, Fate.UPDATED: 1}, ["Other c", "Theirs", "Visit b"]),
    ],
)
async def test_a_conflict_is_settled_by_the_policy(
    state: Path, policy: Policy, counts: dict[Fate, int], titles: list[str]
) -> None:
    async with syncing(state) as sync:
        await sync.run([record("a"), record("b"), record("c")])
        service = sync.service(ACME)
        await service.update((await ids(service))["Visit a"], title="Theirs")
        changed = [record("a", "Mine"), record("b"), record("c", "Other c")]
        report = await sync.run(changed, mode=Mode.CHECK, rules=ConflictRules(policy=policy))
        assert report.counts == counts
        assert report.minimum == report.requests == 1 + counts.get(Fate.UPDATED, 0)
        assert await sync.titles() == titles
        # What was decided stays so until one of them is changed again.
        given_up = {Fate.SKIPPED: 1} if Fate.CONFLICT in counts else {}
        assert (await sync.run(changed, mode=Mode.CHECK, rules=ConflictRules(policy=policy))).counts == given_up


async def test_a_calendar_in_which_the_source_changed_nothing_is_not_looked_at(state: Path) -> None:
    async with syncing(state, body_format=BodyFormat.REFERENCE) as sync:
        other = Calendar("acme", "d-1", "u-2")
        records = [record("a", calendar=USER), record("a", calendar=other)]
        await sync.run(records)
        changed = [records[0], record("a", "Other", calendar=other)]
        report = await sync.run(changed, mode=Mode.CHECK, scope=SCOPE)
        assert report.counts == {Fate.UPDATED: 1}
        assert report.minimum == report.requests == 2


async def test_a_callback_decides_each_conflict(state: Path) -> None:
    asked: list[Conflict] = []

    async def on_conflict(conflict: Conflict) -> Policy:
        asked.append(conflict)
        return Policy.LOCAL if conflict.key == "a" else Policy.REMOTE

    async with syncing(state) as sync:
        await sync.run([record("a"), record("b")])
        service = sync.service(ACME)
        for title, appointment_id in (await ids(service)).items():
            await service.update(appointment_id, title=f"Their {title}")
        report = await sync.run(
            [record("a", "Mine", modified=TEN), record("b", "Mine")],
            mode=Mode.CHECK,
            rules=ConflictRules(on_conflict=on_conflict),
        )
        assert report.counts == {Fate.UPDATED: 1, Fate.UNCHANGED: 1}
        assert [(conflict.key, conflict.local_modified) for conflict in asked] == [("a", TEN), ("b", None)]
        assert await sync.titles() == ["Mine", "Their Visit b"]


async def test_what_is_there_already_is_adopted_twin_by_twin(state: Path) -> None:
    async with syncing(state) as sync:
        service = sync.service(ACME)
        for _ in range(2):
            await service.create(record("x", "Twin").appointment)
        await service.create(record("x", "Foreign").appointment)
        report = await sync.run([record(key, "Twin") for key in "abc"], mode=Mode.CHECK)
        assert report.counts == {Fate.UNCHANGED: 2, Fate.CREATED: 1}
        assert await sync.titles() == ["Foreign", "Twin", "Twin", "Twin"]
        assert (await sync.run([record("a", "Twin")], max_delete=MaxDelete(number=2))).counts == {Fate.DELETED: 2}
        assert await sync.titles() == ["Foreign", "Twin"]


async def test_what_moved_out_of_the_time_is_no_delete(state: Path) -> None:
    async with syncing(state, body_format=BodyFormat.REFERENCE) as sync:
        records = [record(key, calendar=USER) for key in "abc"]
        await sync.run(records, scope=SCOPE)
        service = sync.service(USER)
        far = timedelta(days=300)
        there = await ids(service, start=TEN - far, end=TEN + far)
        await service.update(there["Visit a"], start_time=TEN + far / 2, end_time=TEN + far / 2)
        await service.delete(there["Visit b"])
        # The server moved one and deleted another, neither of which the preview shows.
        changed = [*records[:2], record("c", "Other", calendar=USER)]
        before = sync.sandbox.log.count()
        report = await sync.run(changed, mode=Mode.CHECK, scope=SCOPE)
        assert report.counts == {Fate.UPDATED: 2, Fate.CREATED: 1}
        assert report.requests == sync.sandbox.log.count() - before == 1 + 2 + 3
        assert await sync.titles(USER) == ["Other", "Visit a", "Visit b"]
        # In the source, one moved out of the time: that is a change, too; and one that is not in the time is not gone.
        moved = [record("a", calendar=USER, hour=24 * 100), *changed[1:]]
        assert (await sync.run(moved, scope=SCOPE)).counts == {Fate.UPDATED: 1}
        assert (await sync.run(moved[1:], scope=SCOPE)).counts == {}
        assert (await sync.run(moved[1:])).counts == {Fate.DELETED: 1}


async def test_two_ways_each_takes_what_the_other_has_changed(state: Path) -> None:
    kept = Kept(*[record(key) for key in "abcdef"])
    async with syncing(state) as sync:
        assert (await run(sync, kept)).counts == {Fate.CREATED: 6}
        assert kept.writes == 0
        service = sync.service(ACME)
        there = await ids(service)
        await service.update(there["Visit a"], title="Theirs a", description="x")
        await service.delete(there["Visit b"])
        new = NewAppointment(title="Theirs", start_time=TEN, end_time=TEN)
        new_id = (await service.create(new)).appointment_id
        kept.kept[2:4] = [record("c", "Mine c")]
        report = await run(sync, kept)
        assert report.counts == {Fate.PULLED: 3, Fate.UPDATED: 1, Fate.DELETED: 1}
        assert report.minimum == report.requests == 1 + 1 + 2  # the preview, a look at what is gone, the writes
        expected = {"a": "Theirs a", "c": "Mine c", "e": "Visit e", "f": "Visit f", f"server:{new_id}": "Theirs"}
        assert kept.titles() == expected
        assert await sync.titles() == sorted(expected.values())
        assert {each.key: each.appointment.description for each in kept.kept}["a"] == "x"
        report = await run(sync, kept)
        assert (report.counts, report.requests, kept.writes) == ({}, 1, 1)
        kept.kept = [each for each in kept.kept if each.key != f"server:{new_id}"]
        assert (await run(sync, kept)).counts == {Fate.DELETED: 1}


async def test_an_empty_preview_is_not_believed(state: Path) -> None:
    kept = Kept(*[record(key) for key in "abc"])
    async with syncing(state) as sync:
        await run(sync, kept)
        service = sync.service(ACME)
        for appointment_id in (await ids(service)).values():
            await service.delete(appointment_id)
        report = await run(sync, kept, max_delete=MaxDelete(number=100))
        assert report.stopped(Stopped.GUARD) == ["acme"]
        assert len(kept.titles()) == 3


async def test_more_gone_from_the_server_than_may_go_stops_its_tenant(state: Path) -> None:
    kept = Kept(*[record(key) for key in "abcdefgh"])
    async with syncing(state) as sync:
        await run(sync, kept)
        service = sync.service(ACME)
        for appointment_id in list((await ids(service)).values())[:6]:
            await service.delete(appointment_id)
        assert (await run(sync, kept)).stopped(Stopped.GUARD) == ["acme"]
        assert len(kept.titles()) == 8
        assert (await run(sync, kept, max_delete=MaxDelete(number=6))).counts == {Fate.PULLED: 6}
        assert len(kept.titles()) == 2


async def test_what_was_taken_over_survives_a_file_that_cannot_be_written(state: Path) -> None:
    kept = Kept(record("a"), record("b"), record("c"))
    async with syncing(state) as sync:
        await run(sync, kept)
        service = sync.service(ACME)
        there = await ids(service)
        await service.update(there["Visit a"], title="Theirs")
        await service.update(there["Visit b"], title="Theirs")
        await service.delete(there["Visit c"])
        kept.fails = True
        with pytest.raises(SourceError):
            await run(sync, kept)
        assert kept.titles() == {"a": "Visit a", "b": "Visit b", "c": "Visit c"}
        kept.fails = False
        kept.kept[1] = record("b", "Mine, later")
        # In another mode too, nothing of it is undone; and what was changed since is.
        assert (await sync.run(kept.kept)).counts == {Fate.UPDATED: 1}
        assert (await run(sync, kept)).counts == {}
        assert kept.titles() == {"a": "Theirs", "b": "Mine, later"}
        assert await sync.titles() == ["Mine, later", "Theirs"]


async def test_a_source_that_cannot_be_read_whole_is_not_written_anew(state: Path) -> None:
    async with syncing(state) as sync:
        with pytest.raises(SourceError, match="key occurs 2 times; the source cannot be rewritten"):
            await run(sync, Kept(record("a"), record("a")))
        async with sync.opened() as (bulk_sync, _):
            mirror: Mirror = Kept()
            with pytest.raises(ValueError, match=r"mirror must be given with .*, and only then"):
                await bulk_sync.run(Listed([]), SyncOptions(), mirror=mirror)
            with pytest.raises(ValueError, match="mirror must be given"):
                await bulk_sync.run(Listed([]), SyncOptions(mode=Mode.TWO_WAY))


async def test_two_ways_with_a_file(state: Path, tmp_path: Path) -> None:
    path = tmp_path / "source.jsonl"
    row = '{"key":"%s","title":"Visit","start_time":"2024-01-15T10:00:00Z","end_time":"2024-01-15T11:00:00Z"}\n'
    path.write_text("".join(row % key for key in "abc"))
    async with syncing(state) as sync, sync.opened() as (bulk_sync, _):
        source, mirror = JsonLinesSource(path, tenant_id="acme"), JsonLinesMirror(path)
        assert (await bulk_sync.run(source, SyncOptions(mode=Mode.TWO_WAY), mirror=mirror)).counts == {Fate.CREATED: 3}
        await sync.service(ACME).create(record("x", "Theirs").appointment)
        assert (await bulk_sync.run(source, SyncOptions(mode=Mode.TWO_WAY), mirror=mirror)).counts == {Fate.PULLED: 1}
        assert (await bulk_sync.run(source, SyncOptions(mode=Mode.TWO_WAY), mirror=mirror)).counts == {}
    assert path.read_text().count("\n") == 4


async def test_a_run_that_is_ended_early_goes_on_where_the_one_before_has_ended(state: Path) -> None:
    users = [Calendar("acme", "d-1", f"u-{number}") for number in range(6)]
    kept = Kept(*[record("k", calendar=user) for user in users])
    async with syncing(state, body_format=BodyFormat.REFERENCE) as sync:

        async def limited(max_requests: int | None = None) -> RunReport:
            budget = Budget(sync.clock, max_requests=max_requests)
            async with sync.opened() as (bulk_sync, _):
                return await bulk_sync.run(kept, SyncOptions(mode=Mode.TWO_WAY, scope=SCOPE), budget, mirror=kept)

        await limited()
        assert [(await limited(2)).requests for _ in range(2)] == [2, 2]
        # The next one looks at the two that are left, and at the one that has changed since; then all begins anew.
        kept.kept[0] = record("k", "Mine", calendar=users[0])
        report = await limited()
        assert (report.reason, report.counts, report.requests) == (None, {Fate.UPDATED: 1}, 2 + 1 + 1)
        assert (await limited()).requests == 6
