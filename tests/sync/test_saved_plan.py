"""Saved plans: applied once, completely, and only while the state is as it was."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import update

from connector_async.sandbox import BodyFormat, DropAfter, StatusFault
from connector_async.sync import Budget, Calendar, Fate, SavedPlan, SourceError, StalePlanError
from connector_async.sync.state.identity import read_identity
from connector_async.sync.state.schema import serial
from tests.support.syncing import EVERYTHING, record, syncing


async def test_saved_plan_executes_no_operation_twice(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("z")])
        plan = await sync.save(tmp_path / "plan", [record("a"), record("b"), record("z", "Other")])
        sync.sandbox.faults.script(StatusFault(503), StatusFault(503), operation="update")
        async with sync.opened() as (bulk_sync, _):
            report = await bulk_sync.apply(plan)
        assert report.counts == {Fate.CREATED: 2, Fate.UPDATED: 1}
        assert (report.tenants["acme"].records, report.tenants["acme"].in_sync) == (3, 3)
        assert await sync.titles() == ["Other", "Visit a", "Visit b"]


async def test_operations_beyond_the_budget_are_accounted_for(state_path: Path, tmp_path: Path) -> None:
    records = [record(f"k{number:02}") for number in range(50)]
    async with syncing(state_path) as sync:
        plan = await sync.save(tmp_path / "plan", records)
        async with sync.opened() as (bulk_sync, _):
            report = await bulk_sync.apply(plan, Budget(sync.clock, max_requests=10))
        assert report.counts.total() == 50
        assert report.counts[Fate.CREATED] == report.tenants["acme"].in_sync > 0


async def test_plan_is_stale_after_any_write(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        plan = await sync.save(tmp_path / "plan", [record("a")])
        sync.sandbox.faults.script(DropAfter(), operation="create")
        await sync.run([record("a")], Budget(sync.clock, max_requests=2))
        async with sync.opened() as (bulk_sync, _):
            with pytest.raises(StalePlanError, match="the state has changed"):
                await bulk_sync.apply(plan)


GLOBEX = Calendar("globex")


async def test_plan_survives_changes_of_other_tenants(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("z"), record("z", calendar=GLOBEX)])
        plan = await sync.save(tmp_path / "plan", [record("a")], tenants=frozenset({"acme"}))
        await sync.run([record("b", calendar=GLOBEX)], tenants=frozenset({"globex"}), max_delete=EVERYTHING)
        async with sync.opened() as (bulk_sync, _):
            await bulk_sync.apply(plan)
        assert await sync.titles() == ["Visit a"]


async def test_plan_is_stale_after_a_change_of_the_whole_state(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("z")])
        plan = await sync.save(tmp_path / "plan", [record("a")])
        async with sync.opened() as (bulk_sync, state):
            async with state.writing() as transaction:
                await transaction.connection.execute(update(serial).values(number=serial.c.number + 1))
            with pytest.raises(StalePlanError, match="the state has changed"):
                await bulk_sync.apply(plan)


@pytest.mark.parametrize("changed", [False, True])
async def test_plan_without_the_counters_of_tenants_is_stale_after_a_change_of_any(
    state_path: Path,
    tmp_path: Path,
    changed: bool,  # noqa: FBT001
) -> None:
    async with syncing(state_path) as sync:
        await sync.save(tmp_path / "plan", [record("a")], tenants=frozenset({"acme"}))
        head, *lines = (tmp_path / "plan").read_bytes().splitlines(keepends=True)
        old = {name: value for name, value in orjson.loads(head).items() if not name.endswith("_serials")}
        (tmp_path / "plan").write_bytes(b"".join([orjson.dumps(old), b"\n", *lines]))
        plan = SavedPlan.open(tmp_path / "plan")
        if changed:
            await sync.run([record("b", calendar=GLOBEX)], tenants=frozenset({"globex"}))
        async with sync.opened() as (bulk_sync, _):
            if changed:
                with pytest.raises(StalePlanError, match="the state has changed"):
                    await bulk_sync.apply(plan)
            else:
                assert (await bulk_sync.apply(plan)).counts == {Fate.CREATED: 1}


LINE: dict[str, Any] = {
    "tenant_id": "acme",
    "domain_id": "",
    "ad_id": "",
    "kind": "update",
    "key": "a",
    "reason": "changed in the source",
    "base": ["0", "1", []],
    "local": "543b241200473c0628ded0efd088e487",
    "remote": None,
    "appointment_id": "a-1",
    "start_time": "",
    "end_time": "",
}
LINE["record"] = {
    "key": "a",
    "tenant_id": "acme",
    "title": "Visit",
    "start_time": "2024-01-15T10:00:00Z",
    "end_time": "2024-01-15T11:00:00Z",
}
HEAD: dict[str, Any] = {
    "connector_async_plan": 3,
    "state_id": "1a2b",
    "state": "/state.db",
    "base_url": "http://localhost",
    "wire_format": "guide",
    "serial": 1,
    "state_serial": 0,
    "tenant_serials": {"acme": 1},
    "mode": "trust",
    "policy": "local",
}


def write_plan(path: Path, head: dict[str, Any], *lines: bytes) -> Path:
    end = orjson.dumps({"operations": len(lines)})
    path.write_bytes(b"\n".join([orjson.dumps(head), *lines, end]) + b"\n")
    return path


def test_valid_plan_is_opened(tmp_path: Path) -> None:
    path = write_plan(tmp_path / "plan", HEAD, orjson.dumps(LINE))
    assert SavedPlan.open(path).tenants() == ["acme"]


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        SavedPlan.open(tmp_path / "nothing")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"x",
        b"{}",
        orjson.dumps(HEAD | {"connector_async_plan": 2}),
        *[
            orjson.dumps(HEAD | change)
            for change in (
                {"serial": "1"},
                {"state_serial": None},
                {"tenant_serials": {"acme": "1"}},
                {"tenant_serials": 1},
                {"mode": "two-way"},
                {"policy": "mine"},
            )
        ],
        *[orjson.dumps(HEAD | {name: 1}) for name in ("state_id", "state", "base_url", "wire_format")],
    ],
)
def test_invalid_head_is_rejected(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "plan").write_bytes(head + b"\n" + orjson.dumps(LINE) + b"\n")
    with pytest.raises(SourceError, match="not a plan of this version"):
        SavedPlan.open(tmp_path / "plan")


@pytest.mark.parametrize(
    "changes",
    [
        {"ad_id": "u"},
        {"kind": "replace"},
        {"key": None},
        {"reason": 1},
        {"base": ["0"]},
        {"base": 7},
        {"end_time": 1},
        {"appointment_id": None},
        {"record": None},
        {"record": []},
        {"record": {"title": "Visit"}},
        {"record": LINE["record"] | {"title": "Another visit"}},
        {"record": LINE["record"] | {"key": "b"}},
        {"record": LINE["record"] | {"tenant_id": "globex"}},
    ],
    ids=repr,
)
def test_invalid_operation_is_rejected_before_anything_is_sent(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write_plan(tmp_path / "plan", HEAD, orjson.dumps(LINE), orjson.dumps(LINE | changes), orjson.dumps(LINE))
    with pytest.raises(SourceError, match=r"plan:3: not an operation of a plan$"):
        SavedPlan.open(path)


@pytest.mark.row("S12")
async def test_plan_that_was_cut_anywhere_is_rejected(state_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan"
    async with syncing(state_path) as sync:
        await sync.save(path, [record("a"), record("b"), record("c")])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=r"the plan is incomplete|not a plan of this version"):
            SavedPlan.open(path)
    path.write_bytes(whole)
    assert SavedPlan.open(path).tenants() == ["acme"]


INCOMPLETE = {
    "no number": b"",
    "number too large": b'{"operations":2}\n',
    "number too small": b'{"operations":0}\n',
    "no integer": b'{"operations":true}\n',
    "number twice": b'{"operations":1}\n{"operations":1}\n',
    "operation after the number": b'{"operations":1}\n' + orjson.dumps(LINE) + b"\n",
    "line end missing": b'{"operations":1}',
}


@pytest.mark.row("S12")
@pytest.mark.parametrize("end", INCOMPLETE.values(), ids=INCOMPLETE)
def test_plan_without_the_number_of_its_operations_as_the_last_line_is_rejected(tmp_path: Path, end: bytes) -> None:
    (tmp_path / "plan").write_bytes(orjson.dumps(HEAD) + b"\n" + orjson.dumps(LINE) + b"\n" + end)
    with pytest.raises(SourceError, match=r"plan: the plan is incomplete: its last line must be"):
        SavedPlan.open(tmp_path / "plan")


@pytest.mark.row("S12")
async def test_plan_without_operations_is_complete(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        plan = await sync.save(tmp_path / "plan", [])
    assert plan.tenants() == []
    assert (tmp_path / "plan").read_bytes().endswith(b'\n{"operations":0}\n')


@pytest.mark.parametrize("line", [orjson.dumps(LINE)[:-9], b"[]", b"null", b""])
def test_incomplete_line_is_rejected(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(SourceError, match=r"plan:2: not an operation of a plan$"):
        SavedPlan.open(write_plan(tmp_path / "plan", HEAD, line))


def test_calendar_with_scattered_operations_is_rejected(tmp_path: Path) -> None:
    other = LINE | {"tenant_id": "globex", "record": LINE["record"] | {"tenant_id": "globex"}}
    lines = map(orjson.dumps, (LINE, LINE | {"kind": "create"}, other, other, LINE))
    with pytest.raises(SourceError, match=r"plan:6: the operations of a calendar must stand together$"):
        SavedPlan.open(write_plan(tmp_path / "plan", HEAD, *lines))


async def test_plan_for_another_wire_format_is_rejected_before_anything_is_sent(
    state_path: Path, tmp_path: Path
) -> None:
    async with syncing(state_path, body_format=BodyFormat.REFERENCE) as sync, sync.opened() as (bulk_sync, state):
        identity = await read_identity(state)
        head = HEAD | {"serial": await state.serial(), "state_id": identity.state_id}
        plan = SavedPlan.open(write_plan(tmp_path / "plan", head, orjson.dumps(LINE)))
        with pytest.raises(SourceError, match="plan: a plan for another wire format: ad_id and domain_id must be"):
            await bulk_sync.apply(plan)
        assert sync.requests() == {}
