"""Pulls: mirroring what the server has, and what has changed since the last pull."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from connector_async.sandbox import BodyFormat, PreviewPaging, SeedAppointment, StatusFault
from connector_async.sync import (
    Budget,
    Calendar,
    ChangeKind,
    Fate,
    MaxDelete,
    Mode,
    Pull,
    PullOptions,
    RunReport,
    SourceError,
    SourceRecord,
    State,
    StateError,
    Stopped,
    StopReason,
    file_mirror,
    file_source,
)
from connector_async.sync.formats import JsonLinesMirror, JsonLinesSource
from tests.support.syncing import ACME, SCOPE, TEN, USER, MemorySource, Syncing, record, syncing

GLOBEX = Calendar("globex")
USERS = [USER, Calendar("acme", "d-1", "u-2")]

Changes = list[tuple[ChangeKind, str]]


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return tmp_path / "mirror.jsonl"


async def pull(
    sync: Syncing, path: Path | None, *calendars: Calendar, budget: Budget | None = None, **options: Any
) -> tuple[Changes, RunReport]:
    async with await State.open(sync.path, owner="test") as state:
        mirror = None if path is None else JsonLinesMirror(path)
        pull_options = PullOptions(calendars=calendars or [ACME], **options)
        pulling = Pull(state, sync.service, pull_options, mirror=mirror, budget=budget)
        changes = [
            (change.kind, "" if change.appointment is None else change.appointment.title) async for change in pulling
        ]
        return changes, pulling.report


def mirrored(path: Path) -> list[str]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return sorted(orjson.loads(line)["title"] for line in lines)


async def fill(sync: Syncing, calendar: Calendar, *titles: str) -> None:
    for title in titles:
        await sync.service(calendar).create(record("x", title).appointment)


async def test_pull_mirrors_everything_and_yields_the_changes(state_path: Path, mirror: Path) -> None:
    async with syncing(state_path, paging=PreviewPaging.CURSOR, page_size=2) as sync:
        await fill(sync, ACME, "a", "b", "c")
        await fill(sync, GLOBEX, "d")
        changes, report = await pull(sync, mirror, ACME, GLOBEX)
        assert sorted(title for _, title in changes) == mirrored(mirror) == ["a", "b", "c", "d"]
        assert {kind for kind, _ in changes} == {ChangeKind.CREATED}
        assert report.counts == {Fate.PULLED: 4}
        assert report.minimum == report.requests == 3
        assert report.tenants["acme"].records == 3
        assert (await pull(sync, mirror, ACME, GLOBEX))[0] == []
        await sync.retitle("a", "A")
        await sync.delete("b")
        await fill(sync, ACME, "e")
        changes, report = await pull(sync, mirror, ACME, GLOBEX)
        assert sorted(changes, key=str) == [
            (ChangeKind.CREATED, "e"),
            (ChangeKind.DELETED, ""),
            (ChangeKind.UPDATED, "A"),
        ]
        assert mirrored(mirror) == ["A", "c", "d", "e"]
        assert report.minimum == report.requests == 4  # three pages, and a look at what is missing


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".ics"])
async def test_mirror_of_each_format_is_a_source_in_sync(state_path: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mirror{suffix}"
    async with syncing(state_path) as sync:
        await sync.run([record(key, description="x" if key == "a" else None) for key in "abc"])
        async with await State.open(tmp_path / "pulled.db", owner="test") as pulled:
            async for _ in Pull(pulled, sync.service, PullOptions(calendars=[ACME]), mirror=file_mirror(path)):
                pass
        records = [each async for each in file_source(path).records() if isinstance(each, SourceRecord)]
        assert sorted(each.appointment.title for each in records) == ["Visit a", "Visit b", "Visit c"]
        sync.path = tmp_path / "other.db"
        assert (await sync.run(records, mode=Mode.CHECK)).counts == {Fate.UNCHANGED: 3}


async def test_users_are_mirrored_within_the_scope(state_path: Path, mirror: Path) -> None:
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync:
        for calendar in USERS:
            await fill(sync, calendar, calendar.ad_id)
        far = record("x", "far", hour=24 * 100).appointment
        await sync.service(USERS[0]).create(far)
        assert (await pull(sync, mirror, *USERS, scope=SCOPE))[1].counts == {Fate.PULLED: 2}
        assert mirrored(mirror) == ["u-1", "u-2"]
        moved = (await sync.ids(USERS[0]))["u-1"]
        await sync.service(USERS[0]).update(moved, start_time=far.start_time, end_time=far.end_time)
        # It moves out of the scope: that is a change, and after that it is not looked for any more.
        options: dict[str, Any] = {"scope": SCOPE, "max_delete": MaxDelete(number=1)}
        await fill(sync, USERS[0], "new")
        changes, report = await pull(sync, mirror, *USERS, **options)
        assert sorted(changes, key=str) == [(ChangeKind.CREATED, "new"), (ChangeKind.MOVED, "u-1")]
        assert (await pull(sync, mirror, *USERS, **options))[1].requests == 2
        assert report.requests == 3


@pytest.mark.row("S13")
async def test_unreadable_calendar_keeps_its_old_records_in_the_mirror(state_path: Path, mirror: Path) -> None:
    async with syncing(state_path) as sync:
        await fill(sync, ACME, "a")
        await fill(sync, GLOBEX, "b")
        await pull(sync, mirror, ACME, GLOBEX)
        await fill(sync, ACME, "c")
        await sync.retitle("b", "B", GLOBEX)
        sync.sandbox.faults.script(*[StatusFault(500)] * 2, operation="preview", tenant="globex")
        changes, report = await pull(sync, mirror, ACME, GLOBEX)
        assert changes == [(ChangeKind.CREATED, "c")]
        assert report.tenants["globex"].calendars_failed == 1
        assert [reason.status for reason in report.tenants["globex"].reasons] == [500]
        assert mirrored(mirror) == ["a", "b", "c"]
        sync.sandbox.faults.script(StatusFault(401), StatusFault(401), operation="preview", tenant="globex")
        assert (await pull(sync, mirror, ACME, GLOBEX))[1].stopped(Stopped.CREDENTIALS) == ["globex"]
        budget = Budget(sync.clock, max_requests=1)
        assert (await pull(sync, mirror, ACME, GLOBEX, budget=budget))[1].reason is not None
        assert mirrored(mirror) == ["a", "b", "c"]
        assert (await pull(sync, mirror, ACME, GLOBEX))[0] == [(ChangeKind.UPDATED, "B")]
        assert mirrored(mirror) == ["B", "a", "c"]


@pytest.mark.row("S13")
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".ics"])
async def test_emptied_and_refused_calendars_do_not_block_the_others(
    state_path: Path, tmp_path: Path, suffix: str
) -> None:
    path, others = tmp_path / f"mirror{suffix}", [Calendar("empty"), Calendar("refused")]
    options = PullOptions(calendars=[ACME, *others])

    async def pulled(sync: Syncing, options: PullOptions) -> tuple[list[str], RunReport]:
        async with await State.open(sync.path, owner="test") as state:
            pulling = Pull(state, sync.service, options, mirror=file_mirror(path))
            async for _ in pulling:
                pass
        records = [each async for each in file_source(path).records() if isinstance(each, SourceRecord)]
        return sorted(each.appointment.title for each in records), pulling.report

    async with syncing(state_path) as sync:
        for calendar in options.calendars:
            await fill(sync, calendar, calendar.tenant_id)
        await pulled(sync, options)
        await sync.delete("empty", calendar=others[0])
        await fill(sync, ACME, "new")
        sync.sandbox.faults.script(StatusFault(403), operation="preview", tenant="refused")
        titles, report = await pulled(sync, options)
        assert titles == ["acme", "empty", "new", "refused"]
        assert report.stopped(Stopped.GUARD) == ["empty"]
        (reason,) = report.tenants["empty"].reasons
        assert reason.reason == "the server shows no appointment of tenant empty, but 1 are known"
        assert [reason.status for reason in report.tenants["refused"].reasons] == [403]
        assert report.tenants["refused"].calendars_refused == 1
        titles, report = await pulled(sync, attrs.evolve(options, allow_empty=True))
        assert (titles, report.tenants["empty"].reasons) == (["acme", "new", "refused"], [])


async def test_mirror_that_cannot_be_read_back_stays_as_it_was(state_path: Path) -> None:
    mirror = MemorySource()
    options = PullOptions(calendars=[ACME, GLOBEX])
    async with syncing(state_path) as sync:
        await fill(sync, ACME, "a")
        sync.sandbox.faults.script(StatusFault(403), operation="preview", tenant="globex")
        for rewrites in (0, 1):
            async with await State.open(sync.path, owner="test") as state:
                pulling = Pull(state, sync.service, options, mirror=mirror)
                assert not pulling.is_whole
                async for _ in pulling:
                    pass
            assert (mirror.rewrites, pulling.is_whole) == (rewrites, bool(rewrites))


async def test_record_of_an_unread_calendar_that_cannot_be_read_back_keeps_the_mirror(
    state_path: Path, mirror: Path
) -> None:
    class Damaged(JsonLinesMirror):
        def source(self) -> JsonLinesSource | None:
            mirror.write_text("damaged\n")
            return super().source()

    options = PullOptions(calendars=[ACME, GLOBEX])
    async with syncing(state_path) as sync, await State.open(state_path, owner="test") as state:
        await fill(sync, ACME, "a")
        sync.sandbox.faults.script(StatusFault(403), operation="preview", tenant="globex")
        async for _ in Pull(state, sync.service, options, mirror=Damaged(mirror)):
            pass
    assert await asyncio.to_thread(mirror.read_text) == "damaged\n"


async def test_sent_requests_count_in_the_budget_of_a_pull(state_path: Path) -> None:
    async with syncing(state_path, paging=PreviewPaging.CURSOR, page_size=1) as sync:
        await fill(sync, ACME, "a", "b", "c")
        budget = Budget(sync.clock, max_requests=3)
        _, report = await pull(sync, None, budget=budget)
        assert (report.requests, report.reason) == (3, None)
        with budget.operation() as may_start:
            assert not may_start
        assert budget.reason is StopReason.REQUESTS


async def test_empty_preview_and_too_much_missing_are_not_believed(state_path: Path, mirror: Path) -> None:
    async with syncing(state_path) as sync:
        await fill(sync, ACME, *"abcdefgh")
        await pull(sync, mirror)
        await sync.delete(*"abcdef")
        assert (await pull(sync, mirror))[1].stopped(Stopped.GUARD) == ["acme"]
        assert len(mirrored(mirror)) == 8
        assert len((await pull(sync, mirror, max_delete=MaxDelete(number=6)))[0]) == 6
        await sync.delete(*"gh")
        assert (await pull(sync, mirror, max_delete=MaxDelete(number=6)))[1].stopped(Stopped.GUARD) == ["acme"]
        assert len(mirrored(mirror)) == 2


async def test_changes_that_were_not_taken_are_yielded_again(state_path: Path, mirror: Path) -> None:
    async with syncing(state_path) as sync:
        await fill(sync, ACME, "a", "b")
        async with await State.open(sync.path, owner="test") as state:
            pulling = Pull(state, sync.service, PullOptions(calendars=[ACME]), mirror=JsonLinesMirror(mirror))
            async with aclosing(pulling.changes()) as changes:
                await anext(changes)
        assert mirrored(mirror) == []
        assert len((await pull(sync, mirror))[0]) == 2


async def test_appointment_that_no_record_can_hold_is_a_dead_letter(state_path: Path, mirror: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.sandbox.seed("acme", [SeedAppointment(title=" ", start=TEN, end=TEN)])
        await fill(sync, ACME, "a")
        assert (await pull(sync, mirror))[1].counts == {Fate.PULLED: 2, Fate.REFUSED: 1}
        assert mirrored(mirror) == ["a"]


async def test_mirror_that_cannot_be_written_is_an_error(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        with pytest.raises(SourceError, match="No such file or directory"):
            await pull(sync, tmp_path / "nowhere" / "mirror.jsonl")


async def test_state_of_pulls_is_not_shared_with_runs(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        await pull(sync, None)
        with pytest.raises(StateError, match="is a state of pulls: a run needs another one"):
            await sync.run([record("a")])
        sync.path = tmp_path / "other.db"
        await sync.run([record("a")])
        with pytest.raises(StateError, match="is a state of runs: a pull needs another one"):
            await pull(sync, None)
