"""Plans that are saved, and applied later: once, by the state that they were made for, and whole."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async.sandbox import BodyFormat, DropAfter, StatusFault
from connector_async.sync.budget import Budget
from connector_async.sync.exceptions import SourceError, StalePlanError
from connector_async.sync.planning.saved_plan import SavedPlan
from connector_async.sync.report import Fate
from tests.support.syncing import record, saved, syncing


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


async def test_a_saved_plan_does_nothing_twice(state: Path, tmp_path: Path) -> None:
    async with syncing(state) as sync:
        await sync.run([record("z")])
        plan = await saved(sync, tmp_path / "plan", [record("a"), record("b"), record("z", "Other")])
        sync.sandbox.faults.script(StatusFault(503), StatusFault(503), operation="update")
        async with sync.opened() as (bulk_sync, _):
            report = await bulk_sync.apply(plan)
        assert report.counts == {Fate.CREATED: 2, Fate.UPDATED: 1}
        assert (report.tenants["acme"].records, report.tenants["acme"].in_sync) == (3, 3)
        assert await sync.titles() == ["Other", "Visit a", "Visit b"]


async def test_a_saved_plan_accounts_for_what_it_does_not_come_to(state: Path, tmp_path: Path) -> None:
    records = [record(f"k{number:02}") for number in range(50)]
    async with syncing(state) as sync:
        plan = await saved(sync, tmp_path / "plan", records)
        async with sync.opened() as (bulk_sync, _):
            report = await bulk_sync.apply(plan, Budget(sync.clock, max_requests=10))
        assert report.counts.total() == 50
        assert report.counts[Fate.CREATED] == report.tenants["acme"].in_sync > 0


async def test_a_plan_is_stale_when_anything_was_begun_since(state: Path, tmp_path: Path) -> None:
    async with syncing(state) as sync:
        plan = await saved(sync, tmp_path / "plan", [record("a")])
        sync.sandbox.faults.script(DropAfter(), operation="create")
        await sync.run([record("a")], Budget(sync.clock, max_requests=2))
        async with sync.opened() as (bulk_sync, _):
            with pytest.raises(StalePlanError, match="the state has changed"):
                await bulk_sync.apply(plan)


@pytest.mark.parametrize("content", [b"", b"{}\n", b'{"connector_async_plan":2}\n', b"x\n"])
def test_what_is_no_plan_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan").write_bytes(content)
    with pytest.raises(SourceError, match="not a plan of this version"):
        SavedPlan.open(tmp_path / "plan")
    with pytest.raises(SourceError, match="No such file"):
        SavedPlan.open(tmp_path / "nothing")


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
HEAD = {"connector_async_plan": 1, "serial": 1, "mode": "trust", "policy": "local"}


def write_plan(path: Path, head: dict[str, Any], *lines: bytes) -> Path:
    path.write_bytes(b"\n".join([orjson.dumps(head), *lines]) + b"\n")
    return path


def test_a_whole_line_is_an_operation(tmp_path: Path) -> None:
    path = write_plan(tmp_path / "plan", HEAD, orjson.dumps(LINE))
    assert SavedPlan.open(path).tenants() == ["acme"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant_id": ""},
        {"ad_id": "u"},
        {"kind": "replace"},
        {"key": None},
        {"reason": 1},
        {"base": ["0"]},
        {"base": 7},
        {"local": None},
        {"end_time": 1},
        {"appointment_id": None},
        {"record": None},
        {"record": {"title": "Visit"}},
        {"record": LINE["record"] | {"title": "Another visit"}},
        {"record": LINE["record"] | {"key": "b"}},
        {"record": LINE["record"] | {"tenant_id": "globex"}},
        {"record": LINE["record"] | {"start_time": "today"}},
    ],
    ids=repr,
)
def test_a_line_that_is_no_operation_is_told_before_anything_is_sent(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write_plan(tmp_path / "plan", HEAD, orjson.dumps(LINE), orjson.dumps(LINE | changes), orjson.dumps(LINE))
    with pytest.raises(SourceError, match=r"plan:3: not an operation of a plan$"):
        SavedPlan.open(path)


@pytest.mark.parametrize("line", [orjson.dumps(LINE)[:-9], b"[]", b"7", b"null", b""])
def test_a_line_that_was_cut_is_told(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(SourceError, match=r"plan:2: not an operation of a plan$"):
        SavedPlan.open(write_plan(tmp_path / "plan", HEAD, line))


def test_operations_of_a_calendar_that_are_apart_are_told(tmp_path: Path) -> None:
    other = LINE | {"tenant_id": "globex", "record": LINE["record"] | {"tenant_id": "globex"}}
    lines = map(orjson.dumps, (LINE, LINE | {"kind": "create"}, other, other, LINE))
    with pytest.raises(SourceError, match=r"plan:6: the operations of a calendar must stand together$"):
        SavedPlan.open(write_plan(tmp_path / "plan", HEAD, *lines))


@pytest.mark.parametrize("changes", [{"serial": "1"}, {"mode": "two-way"}, {"policy": "mine"}], ids=repr)
def test_a_head_that_no_plan_has_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="not a plan of this version"):
        SavedPlan.open(write_plan(tmp_path / "plan", HEAD | changes, orjson.dumps(LINE)))


async def test_a_plan_for_another_wire_format_is_refused_before_anything_is_sent(state: Path, tmp_path: Path) -> None:
    async with syncing(state, body_format=BodyFormat.REFERENCE) as sync, sync.opened() as (bulk_sync, opened):
        head = HEAD | {"serial": await opened.serial()}
        plan = SavedPlan.open(write_plan(tmp_path / "plan", head, orjson.dumps(LINE)))
        with pytest.raises(SourceError, match="plan: not a plan for this: ad_id and domain_id must be given"):
            await bulk_sync.apply(plan)
        assert sync.writes() == {}
