# ruff: noqa: ASYNC240 - a test may block
"""The write-back of a two-way run: it is merged into the file as it is then, and loses nothing of either side."""

import asyncio
import os
import signal
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async import AppointmentService, ClientCredentials, ConnectorSession, RateLimit, RetryPolicy, _files
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, StatusFault
from connector_async.sync import (
    BulkSync,
    ConflictRules,
    Fate,
    MergingMirror,
    Mode,
    Policy,
    RecordChange,
    RecordId,
    RunReport,
    SourceError,
    SourceRecord,
    State,
    SyncOptions,
    SyncSettings,
    content_hash,
    file_mirror,
    file_source,
)
from connector_async.sync.applying import writeback
from connector_async.sync.formats import FileFormat
from connector_async.sync.records import ABSENT
from connector_async.sync.state.inspection import explain_key, read_lost_versions, read_status
from tests.support.state_rows import execute, location_of
from tests.support.sync_child import FORKS, LEASE
from tests.support.sync_files import read
from tests.support.syncing import ACME, EVERYTHING, SCOPE, MemorySource, Syncing, record, syncing

TIMES = ("2024-01-15T10:00:00Z", "2024-01-15T10:30:00Z")
EDITABLE: list[FileFormat] = ["csv", "jsonl"]


def rows(chosen: FileFormat, titles: Mapping[str, str]) -> bytes:
    """Return a file with records as `record` makes them."""
    if chosen == "csv":
        lines = ["key,tenant_id,title,start_time,end_time"]
        lines += [f"{key},acme,{title},{','.join(TIMES)}" for key, title in titles.items()]
        return "".join(f"{line}\r\n" for line in lines).encode()
    fields = [
        {"key": key, "tenant_id": "acme", "title": title, "start_time": TIMES[0], "end_time": TIMES[1]}
        for key, title in titles.items()
    ]
    return b"".join(orjson.dumps(each) + b"\n" for each in fields)


def visits(*keys: str) -> dict[str, str]:
    return {key: f"Visit {key}" for key in keys}


class Edited:
    """A mirror in a file that is edited just before changes are merged into it."""

    def __init__(
        self, mirror: MergingMirror, edit: Callable[[], object], after: Callable[[], object] = lambda: None
    ) -> None:
        self._mirror = mirror
        self._edit = edit
        self._after = after

    def writing(self) -> Any:
        return self._mirror.writing()

    async def merge(self, changes: Mapping[RecordId, RecordChange]) -> Collection[RecordId]:
        self._edit()
        taken = await self._mirror.merge(changes)
        self._after()
        return taken


class TwoWay:
    """Two-way runs over a file."""

    def __init__(self, sync: Syncing, path: Path) -> None:
        self.sync = sync
        self.path = path

    async def run(self, policy: Policy = Policy.LOCAL, *, edit: Callable[[], object] = lambda: None) -> RunReport:
        options = SyncOptions(mode=Mode.TWO_WAY, max_delete=EVERYTHING, rules=ConflictRules(policy=policy))
        async with self.sync.opened() as (bulk_sync, _):
            return await bulk_sync.run(file_source(self.path), options, mirror=Edited(file_mirror(self.path), edit))

    async def titles(self) -> dict[str, str]:
        """Return the titles in the file, by key, with one key for all that are new on the server."""
        items = await read(file_source(self.path))
        return {each.key.partition(":")[0]: each.appointment.title for each in items if isinstance(each, SourceRecord)}

    async def waiting(self) -> int:
        async with self.sync.opened() as (_, state):
            return int((await read_status(state))["awaiting_writeback"])


def added(lines: list[bytes]) -> list[bytes]:
    return [*lines, lines[-1].replace(b"Visit d", b"Visit n").replace(b'"d"', b'"n"').replace(b"d,acme", b"n,acme")]


def retitled(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b"Visit d", b"Mine") for line in lines]


EDITS: dict[Callable[[list[bytes]], list[bytes]], dict[str, str]] = {
    added: {"n": "Visit n"},
    retitled: {"d": "Mine"},
    lambda lines: lines[:-1]: {"d": ""},
    lambda lines: [*lines[:-2], lines[-1], lines[-2]]: {},
}
"""What somebody does with the lines of a file, and the titles that differ then."""


@pytest.mark.row("S5")
@pytest.mark.parametrize("moment", ["before the merge", "before the file is replaced"])
@pytest.mark.parametrize("policy", [Policy.LOCAL, Policy.REMOTE, Policy.NEWER, Policy.FAIL])
@pytest.mark.parametrize("chosen", EDITABLE)
async def test_edits_during_a_two_way_run_survive_beside_those_of_the_server(
    state_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: FileFormat, policy: Policy, moment: str
) -> None:
    path = tmp_path / f"source.{chosen}"
    for number, (change, expected) in enumerate(EDITS.items()):
        path.write_bytes(rows(chosen, visits(*"abcd")))
        async with syncing(state_path.with_name(f"{number}.db")) as sync:
            runs = TwoWay(sync, path)
            await runs.run()
            await sync.retitle("Visit a", "Theirs")
            await sync.delete("Visit b")
            await sync.service(ACME).create(record("x", "New").appointment)

            def edit(change: Callable[[list[bytes]], list[bytes]] = change) -> None:
                path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

            if moment == "before the merge":
                report = await runs.run(policy, edit=edit)
            else:
                with monkeypatch.context() as patch:
                    edit_at_first_fsync(patch, edit)
                    report = await runs.run(policy)
            assert report.counts == {Fate.PULLED: 3}
            wanted = {"a": "Theirs", "c": "Visit c", "d": "Visit d", "server": "New"} | expected
            wanted = {key: title for key, title in wanted.items() if title}
            assert await runs.titles() == wanted
            await runs.run(policy)
            assert await sync.titles() == sorted(wanted.values())
            assert (await runs.run(policy)).counts == {}


def edit_at_first_fsync(patch: pytest.MonkeyPatch, edit: Callable[[], object], times: int = 1) -> None:
    """Edit when the new file is on the disk, just before it replaces the old one."""
    fsync, left = _files.fsync_path, times

    def edits(path: Path) -> None:
        nonlocal left
        fsync(path)
        if left:
            left -= 1
            edit()

    patch.setattr(_files, "fsync_path", edits)


@pytest.mark.row("S5")
@pytest.mark.parametrize(("policy", "title"), [(Policy.LOCAL, "Mine"), (Policy.REMOTE, "Theirs"), (Policy.FAIL, None)])
async def test_record_that_both_sides_change_during_a_run_is_a_conflict_of_the_next(
    state_path: Path, tmp_path: Path, policy: Policy, title: str | None
) -> None:
    path = tmp_path / "source.csv"
    path.write_bytes(rows("csv", visits(*"ab")))
    async with syncing(state_path) as sync:
        runs = TwoWay(sync, path)
        await runs.run()
        await sync.retitle("Visit a", "Theirs")
        await runs.run(policy, edit=lambda: path.write_bytes(path.read_bytes().replace(b"Visit a", b"Mine")))
        assert (await runs.titles())["a"] == "Mine"
        await runs.run(policy)
        both = ((await runs.titles())["a"], (await sync.titles())[0])
        assert both == ((title, title) if title else ("Mine", "Theirs"))


async def test_file_that_changes_again_and_again_is_an_error_and_keeps_the_changes(
    state_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "source.jsonl"
    path.write_bytes(rows("jsonl", visits(*"ab")))
    async with syncing(state_path) as sync:
        runs = TwoWay(sync, path)
        await runs.run()
        await sync.retitle("Visit a", "Theirs")
        with monkeypatch.context() as patch:
            edit_at_first_fsync(patch, lambda: path.write_bytes(path.read_bytes() + b"\n"), times=99)
            with pytest.raises(SourceError, match="changed again and again"):
                await runs.run()
        assert (await runs.titles(), await runs.waiting()) == (visits(*"ab"), 1)
        assert (await runs.run()).counts == {}
        assert (await runs.titles())["a"] == "Theirs"
        assert sorted(each.name for each in tmp_path.iterdir() if "replacement" in each.name) == []


async def merged(path: Path, content: bytes, *changes: tuple[SourceRecord | None, SourceRecord | None]) -> bytes:
    """Merge changes, each from a record to a record, into a file with some content, and return what it has then."""
    path.write_bytes(content)
    by_id = {}
    for old, new in changes:
        each = old or new
        assert each is not None
        hashes = [ABSENT if side is None else content_hash(side.appointment) for side in (old, new)]
        by_id[each.calendar, each.key] = RecordChange(replaced_hash=hashes[0], content_hash=hashes[1], record=new)
    assert set(await file_mirror(path, tenant_id="acme").merge(by_id)) == set(by_id)
    return path.read_bytes()


async def test_csv_rows_that_stay_are_kept_byte_for_byte(tmp_path: Path) -> None:
    head = b'\xef\xbb\xbf\n"title",key,end_time,start_time,time_zone,modified\n\n'
    other = b'"Visit o", o ,"2024-01-15T10:30:00Z",2024-01-15T10:00:00Z,,\r\n"bad\xff",b,,,,\n'
    old = b'Visit a,"a",2024-01-15T11:30:00+01:00,"2024-01-15T10:00:00Z",Europe/Berlin,2024-01-01T00:00:00Z\n'
    gone = b'"Vis""it\r\n g",g,2024-01-15T10:30:00Z,2024-01-15T10:00:00Z,,\n'
    done = await merged(
        tmp_path / "rows.csv",
        head + old + other + gone + b"  \n" + other.replace(b" o ", b"p").rstrip(),
        (record("a"), record("a", "It's, theirs")),
        (record("g", 'Vis"it\r\n g'), None),
        (None, record("server:1", "New")),
    )
    new = b'"It\'s, theirs",' + old.removeprefix(b"Visit a,").replace(b"2024-01-01T00:00:00Z", b"")
    added = b"\nNew,server:1,2024-01-15T10:30:00Z,2024-01-15T10:00:00Z,,\n"
    assert done == head + new + other + b"  \n" + other.replace(b" o ", b"p").rstrip() + added


async def test_column_that_a_change_needs_is_added_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    content = rows("csv", visits("a", "o")) + b"cut off,acme\r\n"
    done = await merged(path, content, (record("a"), record("a", description="x,y")))
    header, first, other, bad = done.splitlines()
    assert (header[-12:], first[-7:], other[-2:], bad) == (b",description", b'Z,"x,y"', b"Z,", b"cut off,acme")
    found = [each for each in await read(file_source(path)) if isinstance(each, SourceRecord)]
    assert found == [record("a", description="x,y"), record("o")]


async def test_members_of_a_json_line_that_stay_are_kept_byte_for_byte(tmp_path: Path) -> None:
    old = (
        b' { "description" : "D\\u00e9",  "title": "Visit a", "key":"a",\t"modified":"2024-01-01T00:00:00Z",'
        b'"end_time": "2024-01-15T11:30:00+01:00", "start_time":"2024-01-15T10:00:00Z" } \r\n'
    )
    other = b'{"key": "o", "title":"\\u0056isit", "start_time":"x"}\r\n\r\nnot json\r\n'
    done = await merged(
        tmp_path / "rows.jsonl",
        old + other,
        (record("a", description="Dé"), record("a", "Theirs", description="New", description_type="Html")),
        (None, record("server:1", "New")),
    )
    new = old.replace(b'"Visit a"', b'"Theirs"').replace(b'"D\\u00e9"', b'"New"')
    new = new.replace(b'\t"modified":"2024-01-01T00:00:00Z",', b"").replace(
        b'Z" } ', b'Z", "description_type":"Html" } '
    )
    assert done.startswith(new + other)
    assert done.removeprefix(new + other).count(b"\r\n") == done.removeprefix(new + other).count(b"New") == 1


async def test_other_parts_of_a_calendar_are_kept_byte_for_byte(tmp_path: Path) -> None:
    event = b"BEGIN:VEVENT\nUID:%s\nSUMMARY:Visit %s\nDTSTART:20240115T100000Z\nDTEND:20240115T103000Z\nEND:VEVENT\n"
    head = b"BEGIN:VCALENDAR\nX-MINE:1\nBEGIN:VTODO\nUID:a\nEND:VTODO\n"
    other = event.replace(b"DTEND", b"X-ROOM:7\nDTEND") % (b"o", b"o")
    done = await merged(
        tmp_path / "rows.ics",
        head + event % (b"a", b"a") + other + b"END:VCALENDAR\n",
        (record("a"), None),
        (None, record("server:1", "New")),
    )
    assert done.startswith(head + other + b"BEGIN:VEVENT\n")
    assert done.endswith(b"END:VEVENT\nEND:VCALENDAR\n")
    assert b"UID:server:1" in done


async def test_mirror_that_would_not_find_the_records_is_rejected(state_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "missing.jsonl"
    async with syncing(state_path) as sync, sync.opened() as (bulk_sync, _):
        source = file_source(path, tenant_id="acme")
        with pytest.raises(ValueError, match="mirror must have the same tenant_id as source"):
            await bulk_sync.run(source, SyncOptions(mode=Mode.TWO_WAY), mirror=file_mirror(path))
        source = file_source(tmp_path / "mine.ics", expand=SCOPE)
        with pytest.raises(ValueError, match="mirror must have the same expand as source"):
            await bulk_sync.run(source, SyncOptions(mode=Mode.TWO_WAY), mirror=file_mirror(tmp_path / "mine.ics"))


@pytest.mark.parametrize("copies", [0, 2])
async def test_record_that_is_not_there_once_is_left_alone(tmp_path: Path, copies: int) -> None:
    path = tmp_path / "rows.jsonl"
    content = rows("jsonl", visits("a")) * copies + rows("jsonl", visits("o"))
    path.write_bytes(content)
    old, new = record("a"), record("a", "Theirs")
    change = RecordChange(
        replaced_hash=content_hash(old.appointment), content_hash=content_hash(new.appointment), record=new
    )
    assert not await file_mirror(path).merge({(ACME, "a"): change})
    assert path.read_bytes() == content


async def test_mode_group_and_owner_of_the_file_are_kept_behind_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "rows.jsonl", tmp_path / "link.jsonl"
    path.write_bytes(rows("jsonl", visits("a")))
    path.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    link.symlink_to(path.name)
    before = path.stat()
    change = RecordChange(replaced_hash=ABSENT, content_hash=content_hash(record("n").appointment), record=record("n"))
    assert await file_mirror(link).merge({(ACME, "n"): change})
    after = path.stat()
    assert (link.is_symlink(), before.st_ino == after.st_ino) == (True, False)
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o664, before.st_uid, before.st_gid)


@pytest.mark.parametrize("chosen", EDITABLE)
async def test_unreadable_rows_do_not_stop_a_two_way_run(state_path: Path, tmp_path: Path, chosen: FileFormat) -> None:
    path = tmp_path / f"source.{chosen}"
    path.write_bytes(rows(chosen, visits(*"abcd")))
    async with syncing(state_path) as sync:
        runs = TwoWay(sync, path)
        await runs.run()
        *lines, last = path.read_bytes().splitlines(keepends=True)
        bad = last.replace(TIMES[0].encode(), b"today"), lines[-1], lines[-1].replace(b"Visit c", b"Mine")
        path.write_bytes(b"".join([*lines[:-1], *bad]).replace(b"Visit a", b"Mine a"))
        await sync.retitle("Visit b", "Theirs b")
        await sync.retitle("Visit c", "Theirs c")
        await sync.delete("Visit d")
        report = await runs.run()
        assert report.counts == {Fate.UPDATED: 1, Fate.PULLED: 1, Fate.UNREADABLE: 3}
        assert await sync.titles() == ["Mine a", "Theirs b", "Theirs c"]
        assert path.read_bytes().endswith(b"".join(bad))
        assert (await runs.titles())["b"] == "Theirs b"


@pytest.mark.parametrize("chosen", EDITABLE)
async def test_appointment_that_may_be_of_an_unreadable_row_is_not_written_back(
    state_path: Path, tmp_path: Path, chosen: FileFormat
) -> None:
    path = tmp_path / f"source.{chosen}"
    path.write_bytes(rows(chosen, visits("a")))
    async with syncing(state_path) as sync:
        await sync.service(ACME).create(record("b").appointment)
        runs = TwoWay(sync, path)
        good = rows(chosen, visits("a", "b"))
        bad = good.splitlines(keepends=True)[-1].replace(TIMES[0].encode(), b"today")
        path.write_bytes(rows(chosen, visits("a")) + bad)
        assert (await runs.run()).counts == {Fate.CREATED: 1, Fate.UNREADABLE: 1}
        path.write_bytes(good)
        assert (await runs.run()).counts == {Fate.UNCHANGED: 1}
        assert (await sync.titles(), path.read_bytes()) == (["Visit a", "Visit b"], good)


async def lost_versions(sync: Syncing, key: str = "a") -> list[tuple[str, str | None, str]]:
    """Return the side, the title and the run of each version that is archived."""
    async with sync.opened() as (_, state):
        found = await read_lost_versions(state, key)
        explained = [row for row in await explain_key(state, key) if row["what"] == "archived"]
    assert [(row["side"], row["run_id"]) for row in explained] == [(each["side"], each["run_id"]) for each in found]
    assert not any("body" in row or "content" in row for row in explained)
    return [(each["side"], (each["content"] or {}).get("title"), each["run_id"]) for each in found]


@pytest.mark.parametrize(
    ("policy", "lost"),
    [(Policy.LOCAL, [("server", "Theirs")]), (Policy.REMOTE, [("source", "Mine")]), (Policy.FAIL, [])],
)
async def test_version_that_loses_a_conflict_is_archived(
    state_path: Path, tmp_path: Path, policy: Policy, lost: list[tuple[str, str]]
) -> None:
    path = tmp_path / "source.jsonl"
    path.write_bytes(rows("jsonl", visits("a", "b")))
    async with syncing(state_path) as sync:
        runs = TwoWay(sync, path)
        await runs.run()
        await sync.retitle("Visit a", "Theirs")
        path.write_bytes(path.read_bytes().replace(b"Visit a", b"Mine"))
        report = await runs.run(policy)
        assert await lost_versions(sync) == [(*each, report.run_id) for each in lost]


async def test_server_change_that_a_check_overwrites_is_archived_whole_and_once(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("a"), record("b")])
        await sync.service(ACME).update((await sync.ids())["Visit a"], title="Theirs", description="Long")
        sync.retry, sync.settings["passes"] = RetryPolicy(attempts=1), 1
        sync.sandbox.faults.script(StatusFault(500), operation="update")
        sync.settings["concurrency"] = 1
        changed = [record("a", "Mine"), record("b", "Mine b")]
        await sync.run(changed, mode=Mode.CHECK)
        report = await sync.run(changed, mode=Mode.CHECK)
        assert await lost_versions(sync) == [("server", "Theirs", report.run_id)]
        async with sync.opened() as (_, state):
            (version,) = await read_lost_versions(state, "a")
        assert (version["content"]["description"], version["content"]["start_time"]) == ("Long", TIMES[0])


async def test_server_change_that_a_saved_plan_overwrites_is_archived(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("a")])
        await sync.retitle("Visit a", "Theirs")
        saved = await sync.save(tmp_path / "plan", [record("a", "Mine")], mode=Mode.CHECK)
        async with sync.opened() as (bulk_sync, _):
            report = await bulk_sync.apply(saved)
        assert await lost_versions(sync) == [("server", "Theirs", report.run_id)]
        assert await sync.titles() == ["Mine"]


async def test_ten_versions_of_a_key_are_archived(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        for number in range(12):
            if number:
                await sync.retitle((await sync.titles())[0], f"Theirs {number:02}")
            await sync.run([record("a", f"Mine {number}")], mode=Mode.CHECK)
        assert [title for _, title, _ in await lost_versions(sync)] == [f"Theirs {each:02}" for each in range(2, 12)]


@pytest.mark.row("S15")
async def test_state_forgets_a_change_only_when_the_file_has_it_durably(
    state_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "source.csv"
    path.parent.mkdir()
    path.write_bytes(rows("csv", visits(*"ab")))
    seen: list[tuple[str, bool, int]] = []
    async with syncing(state_path) as sync:
        runs = TwoWay(sync, path)
        await runs.run()
        await sync.retitle("Visit a", "Theirs")
        fsync = os.fsync

        def observe(descriptor: int) -> None:
            kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
            fsync(descriptor)
            seen.append((kind, b"Theirs" in path.read_bytes(), count_pulled(state_path)))

        monkeypatch.setattr(os, "fsync", observe)
        await runs.run()
        assert seen == [("file", False, 1), ("folder", True, 1)]
        assert await runs.waiting() == 0


def count_pulled(state_path: Path) -> int:
    return int(execute(state_path, "SELECT count(*) FROM pulled")[0][0])


@pytest.mark.row("S15")
async def test_kill_between_the_file_and_the_state_neither_loses_nor_doubles(state_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "source.csv"
    path.write_bytes(rows("csv", visits(*"abc")))
    async with syncing(state_path) as sync:
        runs = TwoWay(sync, path)
        await runs.run()
        await sync.retitle("Visit a", "Theirs")
        await sync.delete("Visit b")
        await sync.service(ACME).create(record("x", "New").appointment)
        process = FORKS.Process(
            target=kill_after_replacement, args=(sync.sandbox.base_url, location_of(state_path), path)
        )
        await asyncio.to_thread(process.start)
        await asyncio.to_thread(process.join)
        assert process.exitcode == -signal.SIGKILL
        wanted = {"a": "Theirs", "c": "Visit c", "server": "New"}
        assert (await runs.titles(), await runs.waiting()) == (wanted, 3)
        content = path.read_bytes()
        assert (await runs.run()).counts == {}
        assert (path.read_bytes(), await runs.waiting()) == (content, 0)
        assert await sync.titles() == sorted(wanted.values())


def kill_after_replacement(base_url: str, state: str, path: Path) -> None:
    """Run in a process of its own, which kills itself when the file is replaced and durable."""

    async def main() -> None:
        auth = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        limit = RateLimit.unlimited()
        async with (
            ConnectorSession(base_url, tenant_id="acme", auth=auth, rate_limit=limit) as session,
            await State.open(state, owner="child", lease=LEASE) as opened,
        ):
            sync = BulkSync(opened, lambda _: AppointmentService(session), SyncSettings(grace=0.0))
            options = SyncOptions(mode=Mode.TWO_WAY, max_delete=EVERYTHING)
            mirror = Edited(file_mirror(path), lambda: None, lambda: os.kill(os.getpid(), signal.SIGKILL))
            await sync.run(file_source(path), options, mirror=mirror)

    asyncio.run(main())


async def test_changes_are_merged_page_by_page(
    state_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writeback, "_MERGED", 2)
    path = tmp_path / "source.csv"
    path.write_bytes(rows("csv", visits(*"abcde")))
    async with syncing(state_path) as sync:
        runs = TwoWay(sync, path)
        await runs.run()
        for key in "abcde":
            await sync.retitle(f"Visit {key}", f"Theirs {key}")
        await runs.run()
        assert (await runs.titles(), await runs.waiting()) == ({key: f"Theirs {key}" for key in "abcde"}, 0)


async def test_records_are_rewritten_page_by_page(state_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writeback, "_PAGE", 2)
    source = MemorySource(*[record(key) for key in "abcde"])
    async with syncing(state_path) as sync:
        await sync.run_two_way(source)
        await sync.retitle("Visit e", "Theirs")
        await sync.run_two_way(source)
    assert source.titles() == visits(*"abcd") | {"e": "Theirs"}
