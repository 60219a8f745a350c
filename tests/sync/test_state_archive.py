# ruff: noqa: ASYNC240 - a test may block
"""Copies of a state: backups, exports and imports, each of them atomic."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from connector_async.sync.exceptions import StateBusyError, StateError, StateVersionError
from connector_async.sync.state import State, backup, export_state, import_state
from connector_async.sync.state.schema import (
    cells,
    dead_letters,
    desired,
    intents,
    items,
    metadata,
    pulled,
    runs,
)
from tests.support.limits import largest_file

CALENDAR = {"tenant_id": "acme", "domain_id": "", "ad_id": ""}
SPAN = {"start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00.5Z"}
LETTER = CALENDAR | {"run_id": "r-1", "key": "k-1", "operation": "create", "error": "E", "reason": "why", "at": 1.25}
LETTER |= {"content_hash": ""}
ITEM = CALENDAR | SPAN | {"appointment_id": "a-1", "local_hash": "0", "run_id": "r-1"}
RUN = {
    "run_id": "r-1",
    "kind": "push",
    "mode": "plan",
    "lineage": "r-1",
    "conditions": "",
    "started_at": 1.5,
    "status": "done",
    "requests_sent": 2,
}
RUN |= {"requests_minimum": 1, "waited": 0.5, "counts": {"created": 1, "ü": [None]}}
INTENT = CALENDAR | SPAN | {"run_id": "r-1", "key": "k-1", "content_hash": "0", "summary_hash": "1", "sent_at": 2.0}
HEADER = {"format": "connector-async sync state", "version": 1, "revision": "0006", "rows": 1}
SERIAL = {"table": "serial", "row": {"number": 7}}


async def fill(state: State) -> None:
    async with state.writing() as transaction:
        connection = transaction.connection
        await connection.execute(insert(runs), [RUN])
        await connection.execute(
            insert(cells), [CALENDAR | {"window_start": "2024", "window_end": "2025", "done_run": "r-1"}]
        )
        await connection.execute(
            insert(items), [ITEM | {"key": f"k-{number:05}\n\u2028ü\0"} for number in reversed(range(2_500))]
        )
        await connection.execute(insert(intents), [INTENT])
        await connection.execute(insert(dead_letters), [LETTER, LETTER | {"status": 400, "request_id": "q-1"}])
        await connection.execute(insert(desired), [CALENDAR | {"key": "k-1", "body": b"personal", "copies": 1}])
        transaction.bump("acme")


async def contents(state: State) -> dict[str, list[tuple[Any, ...]]]:
    async with state.reading() as connection:
        return {
            name: sorted(map(tuple, (await connection.execute(select(table))).all()), key=repr)
            for name, table in metadata.tables.items()
            if name not in ("tenants", "serial", "desired", "pulled")
        }


def write_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def line(row: Any, table: object = "items") -> dict[str, Any]:
    return {"table": table, "row": row}


GOOD_ITEM = ITEM | {"key": "k-1"}


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with await State.open(tmp_path / "state.db", owner="first") as opened:
        await fill(opened)
        yield opened


@pytest.mark.sqlite
async def test_copy_replaces_only_a_regular_file_or_the_target_of_a_link(tmp_path: Path) -> None:
    copy, link, pipe, folder = (tmp_path / name for name in ("copy", "link", "pipe", "folder"))
    link.symlink_to(copy)
    os.mkfifo(pipe)
    folder.mkdir()
    async with await State.open(tmp_path / "state.db", owner="test") as state:
        await fill(state)
        for write in (partial(backup, tmp_path / "state.db"), partial(export_state, state)):
            for place in (pipe, folder):
                with pytest.raises(StateError, match=f"{place.name}: not a regular file"):
                    await write(place)
            with pytest.raises(StateError, match="No such file or directory"):
                await write(tmp_path / "none" / "copy")
            await write(link)
            assert (pipe.is_fifo(), link.is_symlink()) == (True, True)
            assert copy.stat().st_size > 1_000
            copy.unlink()


async def test_export_import_and_export_give_the_same_bytes(state: State, tmp_path: Path) -> None:
    exported, again, into = tmp_path / "state.jsonl", tmp_path / "again.jsonl", tmp_path / "into.db"
    assert await export_state(state, exported) == 2_507
    assert await import_state(exported, into) == 2_507
    async with await State.open(into, owner="second", read_only=True) as other:
        assert await contents(other) == await contents(state)
        assert await export_state(other, again) == 2_507
    lines = exported.read_bytes().splitlines()
    assert lines[4:-3] == sorted(lines[4:-3])  # the items, by their keys
    assert again.read_bytes() == exported.read_bytes()
    assert b"personal" not in exported.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in (exported, into) if path.exists()} == {0o600}
    assert json.loads(exported.read_bytes().partition(b"\n")[0]) == HEADER | {"rows": 2_507}


async def test_export_has_one_snapshot(state: State, tmp_path: Path) -> None:
    async def write() -> None:
        for number in range(20):
            async with state.writing() as transaction:
                await transaction.connection.execute(insert(items), [ITEM | {"key": f"new-{number}"}])
                transaction.bump("acme")

    writing = asyncio.create_task(write())
    for number in range(5):
        await export_state(state, tmp_path / f"{number}.jsonl")
        rows = [json.loads(line) for line in (tmp_path / f"{number}.jsonl").read_bytes().splitlines()]
        new = [row for row in rows[2:] if row["row"].get("key", "").startswith("new-")]
        assert rows[0]["rows"] == len(rows) - 1
        assert rows[1]["row"]["number"] == 1 + len(new)
    await writing


async def test_imported_state_can_be_written(state: State, tmp_path: Path) -> None:
    await export_state(state, tmp_path / "state.jsonl")
    await import_state(tmp_path / "state.jsonl", tmp_path / "into.db")
    async with await State.open(tmp_path / "into.db", owner="second") as other:
        async with other.writing() as transaction:
            await transaction.connection.execute(insert(intents), [INTENT | {"key": "k-2"}])
            transaction.bump("acme")
        assert await other.serial() == 2


@pytest.mark.sqlite
async def test_import_into_a_state_with_rows_is_rejected(state: State, tmp_path: Path) -> None:
    exported = tmp_path / "state.jsonl"
    await export_state(state, exported)
    with pytest.raises(StateBusyError):
        await import_state(exported, tmp_path / "state.db")
    before = await contents(state)
    await state.aclose()
    with pytest.raises(StateError, match="not empty"):
        await import_state(exported, tmp_path / "state.db")
    async with await State.open(tmp_path / "state.db", owner="second") as other:
        assert (await contents(other), await other.serial()) == (before, 1)


@pytest.mark.sqlite
async def test_import_into_a_state_with_staged_records_is_rejected(state: State, tmp_path: Path) -> None:
    await export_state(state, tmp_path / "state.jsonl")
    async with await State.open(tmp_path / "into.db", owner="second") as other, other.writing() as transaction:
        await transaction.connection.execute(insert(desired), [CALENDAR | {"key": "k-1", "copies": 1}])
    with pytest.raises(StateError, match="not empty"):
        await import_state(tmp_path / "state.jsonl", tmp_path / "into.db")
    assert (tmp_path / "into.db").exists()


async def test_export_is_imported_into_an_empty_state(tmp_path: Path) -> None:
    await (await State.open(tmp_path / "into.db", owner="second")).aclose()
    assert await import_state(write_lines(tmp_path / "x", HEADER, SERIAL), tmp_path / "into.db") == 1
    async with await State.open(tmp_path / "into.db", owner="second") as other:
        assert await other.serial() == 7


async def test_export_of_the_first_revision_is_imported(tmp_path: Path) -> None:
    row = LETTER | {"dead_letter_id": 1, "status": 400}
    letter = {"table": "dead_letters", "row": row}
    lines = write_lines(tmp_path / "x", HEADER | {"revision": "0001", "rows": 2}, SERIAL, letter)
    await import_state(lines, tmp_path / "into.db")
    async with await State.open(tmp_path / "into.db", owner="second") as other:
        assert (await contents(other))["dead_letters"][0][-3] is None


INVALID: dict[str, tuple[list[object], int]] = {
    "not JSON": (["{"], 3),
    "not an object": (["[]"], 3),
    "unknown table": ([line({}, "leases")], 3),
    "table not a string": ([line({}, ["items"])], 3),
    "row not an object": ([line([])], 3),
    "unknown member": ([line(GOOD_ITEM) | {"more": 1}], 3),
    "unknown column": ([line(GOOD_ITEM | {"more": 1})], 3),
    "missing column": ([line(ITEM)], 3),
    "number in a text column": ([line(GOOD_ITEM | {"key": 1})], 3),
    "bool in an integer column": ([line(RUN | {"requests_sent": True}, "runs")], 3),
    "integer out of range": ([line(RUN | {"requests_sent": 2**63}, "runs")], 3),
    "string in a double column": ([line(RUN | {"waited": "1"}, "runs")], 3),
    "null in a JSON column": ([line(RUN | {"counts": None}, "runs")], 3),
    "duplicate key": ([line(GOOD_ITEM), line(GOOD_ITEM)], 4),
    "after valid lines": ([*(line(ITEM | {"key": f"k-{number}"}) for number in range(20)), "{"], 23),
}


@pytest.mark.parametrize(("lines", "number"), INVALID.values(), ids=INVALID)
async def test_invalid_line_is_named_and_nothing_is_imported(tmp_path: Path, lines: list[object], number: int) -> None:
    exported = write_lines(tmp_path / "x", HEADER | {"rows": 1 + len(lines)}, SERIAL, *lines)
    with pytest.raises(StateError, match=f"{exported}, line {number}: "):
        await import_state(exported, tmp_path / "into.db")
    async with await State.open(tmp_path / "into.db", owner="second") as other:
        assert not any((await contents(other) | {"serial": [], "target": []}).values())
        assert await other.serial() == 0
    assert await import_state(write_lines(tmp_path / "x", HEADER, SERIAL), tmp_path / "into.db") == 1


@pytest.mark.parametrize(("rows", "lines"), [(2, [SERIAL]), (0, []), (2, [SERIAL, SERIAL]), (1, [line(GOOD_ITEM)])])
async def test_incomplete_file_is_not_imported(tmp_path: Path, rows: int, lines: list[object]) -> None:
    exported = write_lines(tmp_path / "x", HEADER | {"rows": rows}, *lines)
    with pytest.raises(StateError, match="incomplete, it ends after line"):
        await import_state(exported, tmp_path / "into.db")
    async with await State.open(tmp_path / "into.db", owner="second") as other:
        assert await other.serial() == 0


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ("", StateError),
        ("key,title", StateError),
        ({"format": "other"}, StateError),
        (HEADER | {"rows": None}, StateError),
        (HEADER | {"version": 2}, StateVersionError),
        (HEADER | {"revision": "9999"}, StateVersionError),
    ],
)
async def test_invalid_first_line_is_rejected(tmp_path: Path, header: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="line 1: ") as caught:
        await import_state(write_lines(tmp_path / "x", header), tmp_path / "into.db")
    assert type(caught.value) is error
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.sqlite
async def test_missing_file_or_folder_is_an_error(state: State, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="absent: No such file or directory"):
        await import_state(tmp_path / "absent", tmp_path / "into.db")
    with pytest.raises(StateError, match="No such file or directory"):
        await export_state(state, tmp_path / "absent" / "state.jsonl")
    with pytest.raises(StateError, match="there is no state"):
        await backup(tmp_path / "absent", tmp_path / "copy.db")


@pytest.mark.sqlite
async def test_failed_export_keeps_the_old_file(state: State, tmp_path: Path) -> None:
    exported = write_lines(tmp_path / "state.jsonl", "before")
    with largest_file(100_000), pytest.raises(StateError, match=r"state\.jsonl: File too large"):
        await export_state(state, exported)
    assert exported.read_text() == "before\n"
    assert list(tmp_path.glob(".*")) == []
    with pytest.raises(ValueError, match="itself"):
        await export_state(state, tmp_path / "state.db")


@pytest.mark.sqlite
async def test_backup_during_a_write_is_a_complete_state(state: State, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(b"old")
    before = await contents(state)
    async with state.writing() as transaction:
        transaction.bump("acme")  # not committed
        await backup(tmp_path / "state.db", copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.read_bytes()[18:20] == b"\1\1"  # the journal mode without a log beside the file
    assert [path.name for path in tmp_path.glob("*copy*")] == ["copy.db"]
    async with await State.open(copy, owner="second") as other:
        assert (await contents(other), await other.serial()) == (before, 1)
        async with other.reading() as connection:
            assert (await connection.execute(select(func.count()).select_from(desired))).scalar_one() == 1


@pytest.mark.sqlite
async def test_backup_to_an_impossible_place_is_rejected(state: State, tmp_path: Path) -> None:
    async with await State.open(tmp_path / "other.db", owner="second"):
        with pytest.raises(StateError, match="in use"):
            await backup(tmp_path / "state.db", tmp_path / "other.db")
    with pytest.raises(ValueError, match="itself"):
        await backup(tmp_path / "state.db", tmp_path / "state.db")
    with pytest.raises(ValueError, match="pg_dump"):
        await backup("postgresql://server/state", tmp_path / "copy.db")


@pytest.mark.sqlite
async def test_failed_backup_keeps_the_old_file(state: State, tmp_path: Path) -> None:
    copy = write_lines(tmp_path / "copy.db", "before")
    with largest_file(100_000), pytest.raises(StateError, match=r"copy\.db: "):
        await backup(tmp_path / "state.db", copy)
    assert copy.read_text() == "before\n"
    assert [path.name for path in tmp_path.glob("*copy*")] == ["copy.db"]


async def test_export_with_changes_to_write_back_is_rejected(state: State, tmp_path: Path) -> None:
    async with state.writing() as transaction:
        row = CALENDAR | SPAN | {"key": "k-1", "replaced_hash": "0", "content_hash": "1", "body": b"personal"}
        await transaction.upsert(pulled, [row])
    with pytest.raises(StateError, match="a two-way run must write changes back to the source first"):
        await export_state(state, tmp_path / "state.jsonl")
