"""Mirroring what the server has, and what has changed since."""

from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async.sandbox import BodyFormat, PreviewPaging, StatusFault
from connector_async.sync import (
    Budget,
    Calendar,
    ChangeKind,
    Fate,
    MaxDelete,
    Pull,
    PullOptions,
    RunReport,
    SourceError,
    SourceRecord,
    State,
    StateError,
    Stopped,
    file_mirror,
    file_source,
)
from connector_async.sync.formats import JsonLinesMirror
from tests.support.syncing import ACME, TEN, Syncing, record, syncing
from tests.sync.test_modes import SCOPE, ids

GLOBEX = Calendar("globex")
USERS = [Calendar("acme", "d-1", "u-1"), Calendar("acme", "d-1", "u-2")]

Changes = list[tuple[ChangeKind, str]]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return tmp_path / "mirror.jsonl"


async def pull(
    sync: Syncing, path: Path | None, *calendars: Calendar, budget: Budget | None = None, **plan: Any
) -> tuple[Changes, RunReport]:
    async with await State.open(sync.path, owner="test") as state:
        mirror = None if path is None else JsonLinesMirror(path)
        plan_ = PullOptions(calendars=calendars or [ACME], **plan)
        pulling = Pull(state, sync.service, plan_, mirror=mirror, budget=budget)
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


async def test_a_pull_mirrors_all_and_tells_what_has_changed(state: Path, mirror: Path) -> None:
    async with syncing(state, paging=PreviewPaging.CURSOR, page_size=2) as sync:
        await fill(sync, ACME, "a", "b", "c")
        await fill(sync, GLOBEX, "d")
        changes, report = await pull(sync, mirror, ACME, GLOBEX)
        assert sorted(title for _, title in changes) == mirrored(mirror) == ["a", "b", "c", "d"]
        assert {kind for kind, _ in changes} == {ChangeKind.CREATED}
        assert report.counts == {Fate.PULLED: 4}
        assert report.minimum == report.requests == 3
        assert report.tenants["acme"].records == 3
        assert (await pull(sync, mirror, ACME, GLOBEX))[0] == []
        there = await ids(sync.service(ACME))
        await sync.service(ACME).update(there["a"], title="A")
        await sync.service(ACME).delete(there["b"])
        await fill(sync, ACME, "e")
        changes, report = await pull(sync, mirror, ACME, GLOBEX)
        assert sorted(changes, key=str) == [
            (ChangeKind.CREATED, "e"),
            (ChangeKind.DELETED, ""),
            (ChangeKind.UPDATED, "A"),
        ]
        assert mirrored(mirror) == ["A", "c", "d", "e"]
        assert report.minimum == report.requests == 4  # three pages, and a look at what is gone


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".ics"])
async def test_a_mirror_of_each_format_is_a_source_that_is_in_step(state: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mirror{suffix}"
    async with syncing(state) as sync:
        await sync.run([record(key, description="x" if key == "a" else None) for key in "abc"])
        async with await State.open(tmp_path / "pulled.db", owner="test") as pulled:
            async for _ in Pull(pulled, sync.service, PullOptions(calendars=[ACME]), mirror=file_mirror(path)):
                pass
        records = [each async for each in file_source(path).records() if isinstance(each, SourceRecord)]
        assert sorted(each.appointment.title for each in records) == ["Visit a", "Visit b", "Visit c"]
        sync.path = tmp_path / "other.db"
        from connector_async.sync import Mode  # noqa: PLC0415

        assert (await sync.run(records, mode=Mode.CHECK)).counts == {Fate.UNCHANGED: 3}


async def test_users_are_mirrored_within_the_time(state: Path, mirror: Path) -> None:
    async with syncing(state, body_format=BodyFormat.REFERENCE) as sync:
        for calendar in USERS:
            await fill(sync, calendar, calendar.ad_id)
        await sync.service(USERS[0]).create(record("x", "far", hour=24 * 100).appointment)
        assert (await pull(sync, mirror, *USERS, scope=SCOPE))[1].counts == {Fate.PULLED: 2}
        assert mirrored(mirror) == ["u-1", "u-2"]
        there = await ids(sync.service(USERS[0]), start=SCOPE.start, end=SCOPE.end)
        later = record("x", hour=24 * 100).appointment
        await sync.service(USERS[0]).update(there["u-1"], start_time=later.start_time, end_time=later.end_time)
        # It moved out of the time: that is a change, and then it is not looked for any more.
        plan: dict[str, Any] = {"scope": SCOPE, "max_delete": MaxDelete(number=1)}
        await fill(sync, USERS[0], "new")
        changes, report = await pull(sync, mirror, *USERS, **plan)
        assert sorted(changes, key=str) == [(ChangeKind.CREATED, "new"), (ChangeKind.MOVED, "u-1")]
        assert (await pull(sync, mirror, *USERS, **plan))[1].requests == 2
        assert report.requests == 3


async def test_what_cannot_be_looked_at_leaves_the_mirror_as_it_was(state: Path, mirror: Path) -> None:
    async with syncing(state) as sync:
        await fill(sync, ACME, "a")
        await fill(sync, GLOBEX, "b")
        await pull(sync, mirror, ACME, GLOBEX)
        await fill(sync, ACME, "c")
        sync.sandbox.faults.script(*[StatusFault(500)] * 2, operation="preview", tenant="globex")
        changes, report = await pull(sync, mirror, ACME, GLOBEX)
        assert changes == [(ChangeKind.CREATED, "c")]
        assert report.tenants["globex"].calendars_failed == 1
        assert mirrored(mirror) == ["a", "b"]
        sync.sandbox.faults.script(StatusFault(401), StatusFault(401), operation="preview", tenant="globex")
        assert (await pull(sync, mirror, ACME, GLOBEX))[1].stopped(Stopped.CREDENTIALS) == ["globex"]
        budget = Budget(sync.clock, max_requests=1)
        assert (await pull(sync, mirror, ACME, GLOBEX, budget=budget))[1].reason is not None
        assert mirrored(mirror) == ["a", "b"]
        assert await pull(sync, mirror, ACME, GLOBEX)
        assert mirrored(mirror) == ["a", "b", "c"]


async def test_an_empty_preview_and_too_much_that_is_gone_are_not_believed(state: Path, mirror: Path) -> None:
    async with syncing(state) as sync:
        await fill(sync, ACME, *"abcdefgh")
        await pull(sync, mirror)
        there = list((await ids(sync.service(ACME))).values())
        for appointment_id in there[:6]:
            await sync.service(ACME).delete(appointment_id)
        assert (await pull(sync, mirror))[1].stopped(Stopped.GUARD) == ["acme"]
        assert len(mirrored(mirror)) == 8
        assert len((await pull(sync, mirror, max_delete=MaxDelete(number=6)))[0]) == 6
        for appointment_id in there[6:]:
            await sync.service(ACME).delete(appointment_id)
        assert (await pull(sync, mirror, max_delete=MaxDelete(number=6)))[1].stopped(Stopped.GUARD) == ["acme"]
        assert len(mirrored(mirror)) == 2


async def test_changes_that_were_not_taken_come_again(state: Path, mirror: Path) -> None:
    async with syncing(state) as sync:
        await fill(sync, ACME, "a", "b")
        async with await State.open(sync.path, owner="test") as opened:
            pulling = Pull(opened, sync.service, PullOptions(calendars=[ACME]), mirror=JsonLinesMirror(mirror))
            async with aclosing(pulling.changes()) as changes:
                await anext(changes)
        assert mirrored(mirror) == []
        assert len((await pull(sync, mirror))[0]) == 2


async def test_what_no_record_can_say_is_a_dead_letter(state: Path, mirror: Path) -> None:
    from connector_async.sandbox import SeedAppointment  # noqa: PLC0415

    async with syncing(state) as sync:
        await sync.sandbox.seed("acme", [SeedAppointment(title=" ", start=TEN, end=TEN)])
        await fill(sync, ACME, "a")
        assert (await pull(sync, mirror))[1].counts == {Fate.PULLED: 2, Fate.REFUSED: 1}
        assert mirrored(mirror) == ["a"]


async def test_a_mirror_that_cannot_be_written_is_told(state: Path, tmp_path: Path) -> None:
    async with syncing(state) as sync:
        with pytest.raises(SourceError, match="No such file or directory"):
            await pull(sync, tmp_path / "nowhere" / "mirror.jsonl")


async def test_a_state_of_pulls_is_for_pulls_alone(state: Path, tmp_path: Path) -> None:
    async with syncing(state) as sync:
        await pull(sync, None)
        with pytest.raises(StateError, match="a pull and a run cannot share a state"):
            await sync.run([record("a")])
        sync.path = tmp_path / "other.db"
        await sync.run([record("a")])
        with pytest.raises(StateError, match="a pull and a run cannot share a state"):
            await pull(sync, None)
