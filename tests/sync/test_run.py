"""Runs that bring a server in sync with a source: what they send, and what they report."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from connector_async import ConnectorSession, DecodingError, Priority, priority
from connector_async.sandbox import BodyFormat, DropAfter, DropBefore, PutSemantics, StatusFault, WriteResponse
from connector_async.sync import (
    Budget,
    Calendar,
    ConflictRules,
    Fate,
    FencedError,
    GuardError,
    LocalRunner,
    MaxDelete,
    Mode,
    Policy,
    SourceProblem,
    Stopped,
    StopReason,
    SyncOptions,
    SyncSettings,
)
from connector_async.sync.applying.scheduler import Work
from connector_async.sync.state.journal import Journal
from tests.support.state_rows import execute
from tests.support.syncing import ACME, EVERYTHING, USER, ListSource, record, syncing

CALENDARS = {BodyFormat.GUIDE: ACME, BodyFormat.REFERENCE: USER}


@pytest.mark.parametrize("body_format", list(BodyFormat))
async def test_cold_start_creates_everything_and_the_next_run_sends_nothing(
    state_path: Path, body_format: BodyFormat
) -> None:
    calendar = CALENDARS[body_format]
    records = [record(f"k{number}", calendar=calendar, hour=number, description="x") for number in range(20)]
    async with syncing(state_path, body_format=body_format) as sync:
        first = await sync.run(records)
        assert first.counts == {Fate.CREATED: 20}
        assert (first.minimum, first.requests) == (20, 21)  # and one for the token
        assert await sync.titles(calendar) == sorted(f"Visit k{number}" for number in range(20))
        again = await sync.run(records)
        assert again.counts == {}
        assert (again.minimum, again.requests) == (0, 0)
        assert sync.requests() == {"create": 20, "preview": 1}


@pytest.mark.parametrize(
    "options", [{}, {"put": PutSemantics.REPLACE}, {"write_response": WriteResponse.ID_OBJECT}], ids=str
)
@pytest.mark.parametrize("body_format", list(BodyFormat))
async def test_changes_are_updated_and_removed_records_deleted(
    state_path: Path, body_format: BodyFormat, options: dict[str, Any]
) -> None:
    calendar = CALENDARS[body_format]
    before = [record(f"k{number}", calendar=calendar, description="old") for number in range(10)]
    after = [record("k0", "Other", calendar=calendar), *before[1:8], record("new", calendar=calendar)]
    async with syncing(state_path, body_format=body_format, **options) as sync:
        await sync.run(before)
        report = await sync.run(after)
        assert report.counts == {Fate.UPDATED: 1, Fate.DELETED: 2, Fate.CREATED: 1}
        assert report.minimum == report.requests == 4
        assert await sync.titles(calendar) == sorted(["Other", "Visit new", *(f"Visit k{n}" for n in range(1, 8))])
        updated = await sync.service(calendar).get((await sync.ids(calendar))["Other"])
        assert not updated.description
        assert (await sync.run(after)).counts == {}
        back = await sync.run([*after, before[9]])
        assert back.counts == {Fate.CREATED: 1}


async def test_twins_are_created_and_deleted_one_by_one(state_path: Path) -> None:
    twins = [record(key, "Visit") for key in ("a", "b", "c")]
    async with syncing(state_path) as sync:
        assert (await sync.run(twins)).counts == {Fate.CREATED: 3}
        assert await sync.titles() == ["Visit"] * 3
        assert (await sync.run(twins[:2])).counts == {Fate.DELETED: 1}
        assert await sync.titles() == ["Visit"] * 2


@pytest.mark.parametrize(
    ("body_format", "fault"),
    [
        (BodyFormat.GUIDE, DropAfter()),
        (BodyFormat.GUIDE, StatusFault(500)),
        (BodyFormat.REFERENCE, DropAfter()),
        (BodyFormat.REFERENCE, DropBefore()),
        (BodyFormat.REFERENCE, StatusFault(502)),
    ],
    ids=str,
)
async def test_lost_creates_are_resolved_by_one_preview(state_path: Path, body_format: BodyFormat, fault: Any) -> None:
    calendar = CALENDARS[body_format]
    records = [record(key, "Twin", calendar=calendar) for key in "abcd"] + [record("e", calendar=calendar)]
    async with syncing(state_path, body_format=body_format) as sync:
        sync.sandbox.faults.script(fault, fault, fault, operation="create")
        report = await sync.run(records)
        assert report.counts == {Fate.CREATED: 5}
        assert report.minimum == 5
        assert sync.sandbox.log.count(operation="preview") == 1
        assert await sync.titles(calendar) == ["Twin"] * 4 + ["Visit e"]
        assert (await sync.run(records)).counts == {}


async def test_create_lost_again_and_again_is_left_to_the_next_run(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(*[DropBefore()] * 20, operation="create")
        report = await sync.run([record("a")])
        assert report.counts == {Fate.UNKNOWN: 1}
        sync.sandbox.faults.clear()
        assert (await sync.run([record("a")])).counts == {Fate.CREATED: 1}
        assert await sync.titles() == ["Visit a"]


async def test_refused_record_is_a_dead_letter_and_not_sent_again_until_retried(state_path: Path) -> None:
    records = [record("a"), record("b")]
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        report = await sync.run(records)
        assert report.counts == {Fate.CREATED: 1, Fate.REFUSED: 1}
        assert report.dead_letters == 1
        sent = sync.sandbox.log.count()
        again = await sync.run(records)
        assert (again.counts, again.tenants["acme"].in_sync) == ({Fate.SKIPPED: 1}, 1)
        assert sync.sandbox.log.count() == sent
        await sync.run(records, retry_run="another")
        assert sync.sandbox.log.count() == sent
        assert (await sync.run(records, retry_run=report.run_id)).counts == {Fate.CREATED: 1}
        assert await sync.titles() == ["Visit a", "Visit b"]


async def test_transient_failures_are_retried_in_passes_and_then_by_the_next_run(state_path: Path) -> None:
    records = [record(key) for key in "abc"]
    async with syncing(state_path) as sync:
        await sync.run(records)
        changed = [record(key, f"Other {key}") for key in "abc"]
        sync.sandbox.faults.script(*[StatusFault(503)] * 5, operation="update")
        assert (await sync.run(changed)).counts == {Fate.UPDATED: 3}
        sync.sandbox.faults.script(*[StatusFault(503)] * 100, operation="delete")
        sync.settings["passes"] = 2
        report = await sync.run(changed[:2])
        assert report.counts == {Fate.RETRYABLE: 1}
        assert report.tenants["acme"].calendars_failed == 1
        sync.sandbox.faults.clear()
        assert (await sync.run(changed[:2])).counts == {Fate.DELETED: 1}


async def test_update_of_a_deleted_appointment_creates_it_again_or_gives_up(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("a"), record("b")])
        await sync.delete("Visit a", "Visit b")
        assert (await sync.run([record("a", "Other"), record("b")])).counts == {Fate.CREATED: 1}
        report = await sync.run([record("a", "Other"), record("b", "New")], rules=ConflictRules(policy=Policy.FAIL))
        assert report.counts == {Fate.REFUSED: 1}
        report = await sync.run([record("a", "Other")], max_delete=EVERYTHING)
        assert (report.counts, report.requests) == ({Fate.DELETED: 1}, 1)


async def test_rejected_credentials_stop_their_tenant_alone(state_path: Path) -> None:
    globex = Calendar("globex")
    records = [record(f"k{n}", calendar=calendar) for n in range(5) for calendar in (ACME, globex)]
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(*[StatusFault(401)] * 20, operation="create", tenant="globex")
        report = await sync.run(records)
        assert report.stopped(Stopped.CREDENTIALS) == ["globex"]
        assert report.tenants["acme"].counts[Fate.CREATED] == 5
        assert +report.tenants["globex"].counts == {Fate.NOT_STARTED: 5}
        sync.sandbox.faults.clear()
        assert (await sync.run(records)).counts == {Fate.CREATED: 5}
        assert len(await sync.titles(globex)) == 5


async def test_guard_stops_a_run_before_it_sends_anything(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(20)]
    async with syncing(state_path) as sync:
        await sync.run(records)
        sent = sync.sandbox.log.count()
        for left, limit in (
            (records[:9], MaxDelete(share=0.5)),
            (records[:19], MaxDelete(number=0)),
            ([], EVERYTHING),
        ):
            with pytest.raises(GuardError):
                await sync.run([*left, record("new")] if left else [], max_delete=limit)
        assert sync.sandbox.log.count() == sent
        assert (await sync.run([], max_delete=EVERYTHING, allow_empty=True)).counts == {Fate.DELETED: 20}


async def test_unreadable_record_protects_every_appointment_that_it_may_belong_to(state_path: Path) -> None:
    def problem(key: str | None, calendar: Calendar | None) -> SourceProblem:
        return SourceProblem(source="list", line=7, reason="title is missing", key=key, calendar=calendar)

    globex = Calendar("globex")
    records = [record(f"k{number}", calendar=calendar) for calendar in (ACME, globex) for number in range(3)]
    async with syncing(state_path) as sync:
        await sync.run(records)
        report = await sync.run([*records[:2], *records[3:5], problem("k2", ACME)])
        assert report.counts == {Fate.DELETED: 1, Fate.UNREADABLE: 1}
        report = await sync.run([*records[:1], *records[3:4], problem(None, ACME)])
        assert report.counts == {Fate.DELETED: 1, Fate.UNREADABLE: 1}
        assert len(await sync.titles(globex)) == 1
        report = await sync.run([records[0], record("k0", "Other", calendar=globex), problem(None, None)])
        assert report.counts == {Fate.UPDATED: 1, Fate.UNREADABLE: 1}
        assert len(await sync.titles()) == 3


async def test_records_with_the_same_key_are_problems(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("a"), record("b")])
        report = await sync.run([record("a", "One"), record("b", "Other"), record("a", "Two")])
        assert report.counts == {Fate.UPDATED: 1, Fate.UNREADABLE: 2}
        assert report.tenants["acme"].records == 1
        assert await sync.titles() == ["Other", "Visit a"]


async def test_run_resumes_one_that_its_limit_of_requests_has_ended(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(20)]
    async with syncing(state_path) as sync:
        sync.settings["concurrency"] = 3
        report = await sync.run(records, Budget(sync.clock, max_requests=8))
        assert report.reason is StopReason.REQUESTS
        assert report.requests <= 8
        assert report.counts[Fate.CREATED] + report.counts[Fate.NOT_STARTED] == 20
        rest = await sync.run(records)
        assert rest.counts == {Fate.CREATED: report.counts[Fate.NOT_STARTED]}
        assert len(await sync.titles()) == 20


async def test_large_tenant_does_not_starve_a_small_one(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(30)]
    records += [record(f"k{number}", calendar=Calendar("tiny")) for number in range(3)]
    async with syncing(state_path) as sync:
        sync.runner = LocalRunner(tenants_at_a_time=1, quantum=5)
        await sync.run(records)
        creates = [logged.tenant for logged in sync.sandbox.log.entries if logged.operation == "create"]
        assert creates.index("tiny") == 5
        assert creates[5:8] == ["tiny"] * 3


class RecordingRunner(LocalRunner):
    """Keeps the tenants that it gets."""

    async def run(self, tenant_ids: Iterable[str], work: Work) -> None:
        self.tenant_ids = sorted(tenant_ids)
        await super().run(self.tenant_ids, work)


async def test_only_tenants_with_work_are_worked_on_and_the_others_are_counted(state_path: Path) -> None:
    new, same, given_up = (Calendar(name) for name in ("new", "same", "given-up"))
    records = [record("a", calendar=same), record("b", calendar=same), record("b", calendar=given_up)]
    async with syncing(state_path) as sync:
        await sync.run([*records, record("lost", calendar=Calendar("lost"))])
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        await sync.run([*records, record("a", calendar=given_up), record("lost", calendar=Calendar("lost"))])
        runner = sync.runner = RecordingRunner()
        records += [record("a", calendar=given_up), record("a", calendar=new)]
        report = await sync.run(records, max_delete=EVERYTHING, allow_empty=True)
        assert runner.tenant_ids == ["lost", "new"]
    assert {tenant: (each.records, each.in_sync, +each.counts) for tenant, each in report.tenants.items()} == {
        "given-up": (2, 1, {Fate.SKIPPED: 1}),
        "lost": (0, 0, {Fate.DELETED: 1}),
        "new": (1, 1, {Fate.CREATED: 1}),
        "same": (2, 2, {}),
    }


async def test_first_look_at_a_write_without_a_response_body_is_no_change(state_path: Path) -> None:
    async with syncing(state_path, write_response=WriteResponse.EMPTY_204) as sync:
        with pytest.raises(DecodingError):
            await sync.service(ACME).create(record("x").appointment)
        report = await sync.run([record("a")])
        assert report.counts == {Fate.CREATED: 1}  # resolved by a preview, since the response has no id
        assert (await sync.run([record("a")], mode=Mode.CHECK)).counts == {}
        assert (await sync.run([record("a", "Other")], mode=Mode.CHECK)).counts == {Fate.UPDATED: 1}
        assert (await sync.run([record("a", "Third")], mode=Mode.CHECK)).counts == {Fate.UPDATED: 1}


async def test_plan_yields_what_a_run_would_do_and_sends_nothing(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("a"), record("b")])
        sent = sync.sandbox.log.count()
        async with sync.opened() as (bulk_sync, _):
            source = ListSource([record("a", "Other"), record("c")])
            planned = [operation async for operation in bulk_sync.plan(source, SyncOptions())]
        assert [(operation.kind.value, operation.key, operation.reason) for operation in planned] == [
            ("update", "a", "changed in the source"),
            ("delete", "b", "deleted in the source"),
            ("create", "c", "new in the source"),
        ]
        assert "Other" not in repr(planned)
        assert "Other" not in str([operation.as_json() for operation in planned])
        assert sync.sandbox.log.count() == sent


@pytest.mark.row("H15")
async def test_creates_with_undecodable_responses_are_not_sent_again(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(5)]
    async with syncing(state_path, write_response=WriteResponse.EMPTY_204) as sync:
        assert (await sync.run(records)).counts == {Fate.CREATED: 5}
        assert (await sync.run(records)).counts == {}
        assert sync.requests()["create"] == 5
        assert len(await sync.titles()) == 5


async def test_calls_of_a_run_and_of_a_plan_are_bulk_calls(state_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ConnectorSession.request
    seen: list[tuple[str, Priority]] = []

    async def noting(self: ConnectorSession, method: str, path: tuple[str, ...], **options: Any) -> Any:
        seen.append((method, priority.get()))
        return await request(self, method, path, **options)

    monkeypatch.setattr(ConnectorSession, "request", noting)
    async with syncing(state_path) as sync:
        await sync.run([record("a")], mode=Mode.CHECK)
        await sync.run([record("a", "Other")], mode=Mode.CHECK)
        async with sync.opened() as (bulk_sync, _):
            source = ListSource([record("a", "Third")])
            planned = [operation async for operation in bulk_sync.plan(source, SyncOptions(mode=Mode.CHECK))]
            assert priority.get() is Priority.INTERACTIVE
    assert len(planned) == 1
    assert [method for method, _ in seen if method == "GET"] == ["GET"] * 3
    assert {kind for _, kind in seen} == {Priority.BULK}


async def test_run_whose_state_was_taken_over_stops_at_once(state_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0
    record_pending_create = Journal.record_pending_create

    async def count_attempts(self: Journal, *args: Any) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            execute(state_path, "UPDATE tenants SET epoch = epoch + 1")
        await record_pending_create(self, *args)

    monkeypatch.setattr(Journal, "record_pending_create", count_attempts)
    async with syncing(state_path) as sync:
        with pytest.raises(FencedError):
            await sync.run([record(f"k{number}", hour=number) for number in range(20)])
        assert attempts <= SyncSettings().concurrency
        assert sync.requests() == {}
