"""A run by shares: any process works on any share, and every record is accounted for as in one process."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector_async import AppointmentService, ConnectorSession, StaticToken, WireFormat
from connector_async.sandbox import BodyFormat, DelayFault, Sandbox, StatusFault
from connector_async.sync import (
    Budget,
    BulkSync,
    Calendar,
    ConflictRules,
    Fate,
    FencedError,
    GuardError,
    MaxDelete,
    Mode,
    Policy,
    RunReport,
    SourceProblem,
    State,
    StateBusyError,
    StateDamagedError,
    StateError,
    StateVersionError,
    Stopped,
    SyncOptions,
    SyncSettings,
    TargetMismatchError,
    explain_key,
    read_status,
)
from connector_async.sync.applying.executor import OperationExecutor
from connector_async.sync.distributed import (
    Share,
    ShareResult,
    ShareWorker,
    read_progress,
    read_shared_report,
    requeue,
    work_share,
)
from connector_async.sync.distributed.share import add_report
from connector_async.sync.distributed.stored_options import RunSettings
from connector_async.sync.report import TenantReport
from connector_async.sync.state.identity import Target
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.schema import shared_runs, shares
from connector_async.sync.state.shares import waiting_tenants
from tests.support.postgres import PostgresServer
from tests.support.sharing import Sharing
from tests.support.syncing import ACME, EVERYTHING, SCOPE, ListSource, record, syncing

GLOBEX = Calendar("globex")
RECORDS = [record(key, calendar=calendar) for calendar in (ACME, GLOBEX) for key in "abc"]


@pytest.fixture
async def sharing(state_path: Path) -> AsyncIterator[Sharing]:
    async with syncing(state_path) as sync:
        yield Sharing(sync)


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = f"test_distributed_{os.getpid()}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.fixture
async def shared(url: str, state_path: Path) -> AsyncIterator[Sharing]:
    """A state that several can open."""
    async with syncing(state_path) as sync:
        sync.location = url
        yield Sharing(sync)


def _raise_after_two(execute: Callable[..., Awaitable[Fate]]) -> Callable[..., Awaitable[Fate]]:
    """Return a function that calls another one twice, and raises then."""
    left = iter((True, True))

    async def executed(*arguments: Any) -> Fate:
        if not next(left, False):
            raise StateError("the disk is full")
        return await execute(*arguments)

    return executed


async def report_of(sharing: Sharing, run_id: str) -> RunReport:
    async with sharing.opened() as state:
        return await report_of_open(state, run_id)


async def report_of_open(state: State, run_id: str) -> RunReport:
    report = await read_shared_report(state, run_id)
    assert report is not None
    return report


async def status_of(sharing: Sharing, run_id: str) -> str:
    async with sharing.opened() as state:
        (run,) = [run for run in (await read_status(state))["runs"] if run["run_id"] == run_id]
    return str(run["status"])


def test_share_survives_json() -> None:
    share = Share(run_id="r-1", tenant_id="acme", quantum=7)
    assert Share.from_json(share.as_json() | {"more": 1}) == share


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"run_id": "r", "tenant_id": "acme"}, "a share must have quantum"),
        ({"run_id": "r", "tenant_id": "", "quantum": 1}, "tenant_id"),
        ({"run_id": "", "tenant_id": "acme", "quantum": 1}, "run_id"),
        ({"run_id": "r", "tenant_id": "acme", "quantum": 0}, "quantum"),
    ],
)
def test_invalid_share_is_rejected(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Share.from_json(fields)


def test_share_of_something_else_than_an_object_is_rejected() -> None:
    with pytest.raises(TypeError, match="fields must be a Mapping"):
        Share.from_json([])  # type: ignore[arg-type]


async def test_enqueue_puts_a_share_for_each_tenant_with_work(sharing: Sharing) -> None:
    report = await sharing.enqueue(RECORDS)
    assert [(share.run_id, share.tenant_id) for share in sharing.queue.shares()] == [
        (report.run_id, "acme"),
        (report.run_id, "globex"),
    ]
    assert report.counts == {Fate.NOT_STARTED: 6}
    assert sharing.sync.requests() == {}
    assert await status_of(sharing, report.run_id) == "running"


async def test_every_record_of_a_run_by_shares_is_accounted_for(sharing: Sharing) -> None:
    run_id = (await sharing.enqueue(RECORDS)).run_id
    assert await sharing.drain() == [ShareResult.DONE] * 2
    report = await report_of(sharing, run_id)
    assert report.counts == {Fate.CREATED: 6}
    assert {name: (each.records, each.in_sync) for name, each in report.tenants.items()} == {
        "acme": (3, 3),
        "globex": (3, 3),
    }
    assert report.requests == 8  # and a token of each tenant
    assert report.minimum == 6
    async with sharing.opened() as state:
        (run,) = (await read_status(state))["runs"]
        assert [row["what"] for row in await explain_key(state, "a")] == ["synced", "synced"] + ["in the source"] * 2
    assert (run["status"], run["counts"], run["requests_sent"]) == ("ended", {"created": 6}, 8)


async def test_share_of_one_create_takes_few_transactions(sharing: Sharing, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()

    def counted(name: str) -> None:
        enter = getattr(State, name)

        def entered(*arguments: Any) -> Any:
            counts[name] += 1
            return enter(*arguments)

        monkeypatch.setattr(State, name, entered)

    await sharing.enqueue(RECORDS[:1])
    async with sharing.opened() as state:
        counted("reading")
        counted("_write")
        assert await ShareWorker(state, sharing.sync.service).work(sharing.queue.take()) is ShareResult.DONE
        # The lease, the pending create, the created appointment, and the result with the end of the lease.
        assert counts["_write"] == 4
        assert counts["reading"] <= 13


async def test_run_without_work_ends_at_once(sharing: Sharing) -> None:
    await sharing.enqueue(RECORDS)
    await sharing.drain()
    run_id = (await sharing.enqueue(RECORDS)).run_id
    assert sharing.queue.shares() == []
    assert await status_of(sharing, run_id) == "ended"
    assert (await report_of(sharing, run_id)).counts == {}


async def test_share_ends_after_its_quantum_and_the_next_delivery_goes_on(sharing: Sharing) -> None:
    records = [record(f"k{number}") for number in range(10)]
    run_id = (await sharing.enqueue(records, quantum=4)).run_id
    results = await sharing.drain()
    assert results == [ShareResult.MORE] * (len(results) - 1) + [ShareResult.DONE]
    assert len(results) >= 3
    assert sharing.sync.requests() == {"create": 10}
    report = await report_of(sharing, run_id)
    assert (report.counts, report.minimum) == ({Fate.CREATED: 10}, 10)
    assert sum(report.tenants["acme"].timeline.requests) == report.requests


async def test_report_of_an_unfinished_run_says_what_is_left(sharing: Sharing) -> None:
    run_id = (await sharing.enqueue([record(f"k{number}") for number in range(10)], quantum=4)).run_id
    async with sharing.opened() as state:
        assert await ShareWorker(state, sharing.sync.service).work(sharing.queue.take()) is ShareResult.MORE
        progress = await read_progress(state)
    report = await report_of(sharing, run_id)
    assert report.counts.total() == 10
    assert report.counts[Fate.NOT_STARTED] == 10 - report.counts[Fate.CREATED] > 0
    assert progress is not None
    assert (progress.tenants, progress.waiting, progress.to_do) == (1, 1, 10)
    assert progress.settled == report.counts[Fate.CREATED]


async def test_share_that_is_delivered_again_after_its_end_is_done(sharing: Sharing) -> None:
    await sharing.enqueue(RECORDS)
    share = sharing.queue.shares()[0]
    await sharing.drain()
    await sharing.queue.put(share)
    assert await sharing.drain() == [ShareResult.DONE]
    assert sharing.sync.requests() == {"create": 6}


async def test_share_of_a_deleted_run_is_unknown(sharing: Sharing) -> None:
    await sharing.enqueue(RECORDS)
    await sharing.queue.put(attrs.evolve(sharing.queue.take(), run_id="another"))
    assert (await sharing.drain())[-1] is ShareResult.UNKNOWN
    assert not ShareResult.UNKNOWN.has_more


async def test_work_share_says_whether_more_is_left(sharing: Sharing) -> None:
    await sharing.enqueue([record(f"k{number}") for number in range(5)], quantum=4)
    share = sharing.queue.take()
    assert await work_share(sharing.place, share, sharing.sync.service)
    assert not await work_share(sharing.place, share, sharing.sync.service)
    assert not await work_share(sharing.place, share, sharing.sync.service)
    assert sharing.sync.requests() == {"create": 5}


async def test_share_delivered_twice_at_once_in_one_process_is_busy(sharing: Sharing) -> None:
    await sharing.enqueue([record(f"k{number}") for number in range(5)])
    share = sharing.queue.take()
    async with sharing.opened() as state:
        worker = ShareWorker(state, sharing.sync.service)
        results = await asyncio.gather(worker.work(share), worker.work(share))
    assert list(results) == [ShareResult.DONE, ShareResult.BUSY]
    assert sharing.sync.requests() == {"create": 5}


async def test_share_of_a_tenant_that_another_process_works_on_is_busy(shared: Sharing) -> None:
    await shared.enqueue(RECORDS)
    share = shared.queue.take()
    async with await State.open(shared.place, owner="other") as other:
        await other.lease(["acme"])
        assert await work_share(shared.place, share, shared.sync.service)
        async with await State.open(shared.place, owner="worker") as state:
            assert await ShareWorker(state, shared.sync.service).work(share) is ShareResult.BUSY
    assert ShareResult.BUSY.has_more
    assert shared.sync.requests() == {}
    assert not await work_share(shared.place, share, shared.sync.service)


async def test_shares_of_two_processes_are_worked_on_at_once(shared: Sharing) -> None:
    run_id = (await shared.enqueue(RECORDS)).run_id
    deliveries = shared.queue.shares() * 2
    results = await asyncio.gather(
        *(work_share(shared.place, share, shared.sync.service, wait=20) for share in deliveries)
    )
    assert results == [False] * 4
    assert shared.sync.requests() == {"create": 6}
    assert (await report_of(shared, run_id)).counts == {Fate.CREATED: 6}
    assert await status_of(shared, run_id) == "ended"


async def test_enqueue_is_rejected_while_a_share_is_worked_on(shared: Sharing) -> None:
    await shared.enqueue(RECORDS)
    async with await State.open(shared.place, owner="other") as other:
        await other.lease(["acme"])
        with pytest.raises(StateBusyError, match="other"):
            await shared.enqueue(RECORDS)
    assert len(shared.queue.messages) == 2


async def test_process_that_lost_its_lease_leaves_the_share_to_the_other(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(*_: object) -> None:
        raise FencedError("state: other has taken over tenant acme")

    await sharing.enqueue(RECORDS)
    share = sharing.queue.take()
    async with sharing.opened() as state:
        worker = ShareWorker(state, sharing.sync.service)
        with monkeypatch.context() as patch:
            patch.setattr(OperationExecutor, "execute", lose)
            assert await worker.work(share) is ShareResult.BUSY
        assert await worker.work(share) is ShareResult.DONE


async def lose_a_create(sharing: Sharing, worker: ShareWorker) -> str:
    """Create an appointment whose process has lost its lease meanwhile, and return its id."""

    async def lose(*_: object) -> bool:
        raise FencedError("state: other has taken over tenant acme")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "record_written", lose)
        assert await worker.work(sharing.queue.take()) is ShareResult.BUSY
    (created,) = [item async for item in sharing.sync.service(ACME).preview()]
    return created.appointment_id


@pytest.mark.row("M4")
async def test_create_that_another_process_sends_as_well_is_reported(
    sharing: Sharing, caplog: pytest.LogCaptureFixture
) -> None:
    await sharing.enqueue(RECORDS[:1])
    async with sharing.opened() as state:
        appointment_id = await lose_a_create(sharing, ShareWorker(state, sharing.sync.service))
        await asyncio.sleep(0.02)
        assert "but another process" not in caplog.text  # it may still find the appointment
        await Journal(state, "other", state.clock).drop_pending_creates(ACME, ["a"])
        async with asyncio.timeout(10):
            while "but another process" not in caplog.text:
                await asyncio.sleep(0.01)
    assert f"tenant acme: appointment {appointment_id} was created, but another process" in caplog.text


async def test_create_that_another_process_finds_later_is_not_reported(
    sharing: Sharing, caplog: pytest.LogCaptureFixture
) -> None:
    await sharing.enqueue(RECORDS[:1])
    share = sharing.queue.shares()[0]
    async with sharing.opened() as state:
        worker = ShareWorker(state, sharing.sync.service)
        await lose_a_create(sharing, worker)
        assert await worker.work(share) is ShareResult.DONE
        async with asyncio.timeout(10):
            while worker._unrecorded._watching:
                await asyncio.sleep(0.01)
    assert "but another process" not in caplog.text
    assert sharing.sync.requests() == {"create": 1, "preview": 2}


@pytest.mark.parametrize("is_found", [False, True])
async def test_process_that_ends_looks_a_last_time_for_its_creates(
    sharing: Sharing, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, is_found: bool
) -> None:
    monkeypatch.setattr("connector_async.sync.distributed.unrecorded._FIRST_PAUSE", 60.0)
    await sharing.enqueue(RECORDS[:1])
    share = sharing.queue.shares()[0]
    async with sharing.opened() as state:
        worker = ShareWorker(state, sharing.sync.service)
        appointment_id = await lose_a_create(sharing, worker)
        await asyncio.sleep(0.02)
        if is_found:
            assert await ShareWorker(state, sharing.sync.service).work(share) is ShareResult.DONE
        await worker.finish()
    warning = f"tenant acme: appointment {appointment_id} was created, but another process"
    assert (warning in caplog.text) is not is_found


async def test_create_is_reported_if_its_process_is_cut_off(sharing: Sharing, caplog: pytest.LogCaptureFixture) -> None:
    await sharing.enqueue(RECORDS[:1])
    async with sharing.opened() as state:
        worker = ShareWorker(state, sharing.sync.service)
        appointment_id = await lose_a_create(sharing, worker)
        await asyncio.sleep(0.01)
        (watching,) = worker._unrecorded._watching
        watching.cancel()  # as the end of the event loop does
        await asyncio.wait([watching])
    assert f"tenant acme: appointment {appointment_id} was created, but another process" in caplog.text


async def test_create_that_another_process_has_found_is_not_reported(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record_written = Journal.record_written

    async def lose(*arguments: Any) -> bool:
        await record_written(*arguments)
        raise FencedError("state: other has taken over tenant acme")

    await sharing.enqueue(RECORDS[:1])
    async with sharing.opened() as state:
        monkeypatch.setattr(Journal, "record_written", lose)
        assert await ShareWorker(state, sharing.sync.service).work(sharing.queue.take()) is ShareResult.BUSY
    assert "but another process" not in caplog.text


async def test_source_that_is_staged_meanwhile_supersedes_the_shares(sharing: Sharing) -> None:
    first = (await sharing.enqueue(RECORDS)).run_id
    second = (await sharing.enqueue([*RECORDS[:3], record("d", calendar=GLOBEX)], allow_empty=True)).run_id
    assert await sharing.drain() == [ShareResult.DONE] * 4
    assert sharing.sync.requests() == {"create": 4}
    assert (await report_of(sharing, first)).counts == {Fate.NOT_STARTED: 6}
    assert (await report_of(sharing, second)).counts == {Fate.CREATED: 4}
    assert [await status_of(sharing, run_id) for run_id in (first, second)] == ["superseded", "ended"]
    async with sharing.opened() as state:
        progress = await read_progress(state, first)
    assert progress is not None
    assert (progress.waiting, progress.superseded) == (0, 2)


async def test_source_without_a_tenant_supersedes_its_share(sharing: Sharing) -> None:
    first = (await sharing.enqueue(RECORDS)).run_id
    await sharing.enqueue(RECORDS[:3])
    await sharing.drain()
    assert sharing.sync.requests() == {"create": 3}
    assert (await report_of(sharing, first)).counts == {Fate.NOT_STARTED: 6}
    assert await status_of(sharing, first) == "superseded"


async def test_ordinary_run_supersedes_the_shares_of_its_tenants(sharing: Sharing) -> None:
    run_id = (await sharing.enqueue(RECORDS)).run_id
    await sharing.sync.run(RECORDS, tenants=frozenset({"acme"}))
    assert await sharing.drain() == [ShareResult.DONE] * 2
    assert sharing.sync.requests() == {"create": 6}
    assert (await report_of(sharing, run_id)).counts == {Fate.NOT_STARTED: 3, Fate.CREATED: 3}


async def test_share_superseded_before_its_lease_was_taken_sends_nothing(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sharing.enqueue(RECORDS)
    share = sharing.queue.take()
    lease = State.lease

    async def lease_too_late(self: State, tenant_ids: list[str], *then: Any) -> None:
        monkeypatch.undo()
        await BulkSync(self, sharing.sync.service, SyncSettings())._stage(
            ListSource(RECORDS), SyncOptions(), Budget(self.clock), forget=True
        )
        await self.release()
        await lease(self, tenant_ids, *then)

    async with sharing.opened() as state:
        monkeypatch.setattr(State, "lease", lease_too_late)
        assert await ShareWorker(state, sharing.sync.service).work(share) is ShareResult.DONE
    assert sharing.sync.requests() == {}


async def test_unreadable_record_protects_its_tenant_in_every_process(sharing: Sharing) -> None:
    await sharing.enqueue(RECORDS)
    await sharing.drain()
    problem = SourceProblem(source="file", line=2, reason="no key", calendar=ACME)
    report = await sharing.enqueue([record("a", "New"), problem, record("a", calendar=GLOBEX)], max_delete=EVERYTHING)
    assert (report.unreadable, report.problems) == (1, ["file:2: no key"])
    await sharing.drain()
    assert sharing.sync.requests() == {"create": 6, "update": 1, "delete": 2}
    assert await sharing.sync.titles() == ["New", "Visit b", "Visit c"]
    assert (await report_of(sharing, report.run_id)).counts == {Fate.UPDATED: 1, Fate.DELETED: 2, Fate.UNREADABLE: 1}


async def test_guard_stops_the_run_before_any_share(sharing: Sharing) -> None:
    await sharing.enqueue(RECORDS)
    await sharing.drain()
    with pytest.raises(GuardError):
        await sharing.enqueue(RECORDS[:1])
    assert sharing.queue.shares() == []
    async with sharing.opened() as state:
        assert (await read_status(state))["runs"][0]["status"] == "failed"


async def test_failures_are_in_the_report_of_the_whole_run(sharing: Sharing) -> None:
    sharing.settings = SyncSettings(grace=0.0, pause=0.0, passes=1)
    sharing.sync.sandbox.faults.script(*[StatusFault(422)] * 1, operation="create")
    sharing.sync.sandbox.faults.script(*[StatusFault(503)] * 2, operation="create")
    run_id = (await sharing.enqueue(RECORDS[:3])).run_id
    await sharing.drain()
    report = await report_of(sharing, run_id)
    assert report.counts.total() == 3
    assert report.counts[Fate.REFUSED] == 1
    async with sharing.opened() as state:
        status = await read_status(state)
    assert status["dead_letters"] == 1
    assert status["runs"][0]["counts"]["refused"] == 1


async def test_refusals_are_counted_once_over_several_slices(sharing: Sharing) -> None:
    await sharing.enqueue(RECORDS[:3])
    await sharing.drain()
    for key in "abc":
        await sharing.sync.retitle(f"Visit {key}", f"Theirs {key}")
    changed = [record(key, f"Ours {key}") for key in "abc"] + [record(f"n{number}") for number in range(9)]
    run_id = (
        await sharing.enqueue(changed, quantum=5, mode=Mode.CHECK, rules=ConflictRules(policy=Policy.FAIL))
    ).run_id
    assert len(await sharing.drain()) > 1
    assert (await report_of(sharing, run_id)).counts == {Fate.CONFLICT: 3, Fate.CREATED: 9}


async def test_quantum_that_does_not_suffice_for_any_result_is_doubled(sharing: Sharing) -> None:
    run_id = (await sharing.enqueue(RECORDS[:1], quantum=1, assume_empty=False)).run_id
    await sharing.drain()
    assert (await report_of(sharing, run_id)).counts == {Fate.CREATED: 1}


async def test_share_whose_quantum_brings_nothing_ends_after_some_deliveries(sharing: Sharing) -> None:
    sharing.settings = SyncSettings(grace=0.0, pause=0.0, passes=2)
    sharing.sync.sandbox.faults.script(*[StatusFault(500)] * 200, operation="preview")
    run_id = (await sharing.enqueue(RECORDS[:3], quantum=1, assume_empty=False)).run_id
    assert await sharing.drain() == [ShareResult.MORE, ShareResult.DONE]
    report = await report_of(sharing, run_id)
    assert report.counts.total() == 3
    assert report.counts[Fate.CREATED] == 0


async def test_stopped_worker_ends_its_shares_early_and_starts_none(sharing: Sharing) -> None:
    run_id = (await sharing.enqueue([record(f"k{number}") for number in range(50)] + RECORDS[3:])).run_id
    sharing.sync.sandbox.faults.script(*[DelayFault(0.02)] * 100, operation="create")
    async with sharing.opened() as state:
        worker = ShareWorker(state, sharing.sync.service)
        working = asyncio.create_task(worker.work(sharing.queue.take()))
        while not sharing.sync.sandbox.log.count(operation="create"):
            await asyncio.sleep(0.005)
        worker.stop()
        assert await working is ShareResult.MORE
        assert await worker.work(sharing.queue.take()) is ShareResult.MORE
    report = await report_of(sharing, run_id)
    assert 0 < report.counts[Fate.CREATED] < 50
    assert report.counts.total() == 53


async def test_work_of_a_killed_process_is_counted_by_the_next(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sharing.enqueue([record(key) for key in "cdef"])
    await sharing.drain()
    changed = [record("a"), record("b"), record("c", "New"), *[record(key) for key in "ef"]]
    run_id = (await sharing.enqueue(changed, max_delete=EVERYTHING)).run_id
    share = sharing.queue.take()

    async def die(*_: object, **__: object) -> None:
        raise RuntimeError

    async with sharing.opened() as state:
        with monkeypatch.context() as patch:
            patch.setattr(ShareWorker, "_finish", die)
            with pytest.raises(RuntimeError):
                await ShareWorker(state, sharing.sync.service).work(share)
    sent = sharing.sync.requests()
    await sharing.queue.put(share)
    assert await sharing.drain() == [ShareResult.DONE]
    assert sharing.sync.requests() == sent
    report = await report_of(sharing, run_id)
    assert report.counts[Fate.DELETED] == 1
    assert report.counts[Fate.CREATED] + report.counts[Fate.UPDATED] == 3
    assert report.counts.total() == 4


async def test_run_whose_worker_was_killed_before_it_recorded_the_end_ends_later(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = (await sharing.enqueue(RECORDS[:3])).run_id
    share = sharing.queue.take()

    async def die(*_: object) -> None:
        raise RuntimeError

    async with sharing.opened() as state:
        with monkeypatch.context() as patch:
            patch.setattr("connector_async.sync.distributed.share.end_shared_run", die)
            with pytest.raises(RuntimeError):
                await ShareWorker(state, sharing.sync.service).work(share)
    assert await status_of(sharing, run_id) == "running"
    await sharing.queue.put(share)
    await sharing.drain()
    assert await status_of(sharing, run_id) == "ended"


async def test_share_that_is_given_up_ends_its_run_with_the_reason(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = (await sharing.enqueue(RECORDS)).run_id
    share = sharing.queue.take()
    async with sharing.opened() as state:
        worker = ShareWorker(state, sharing.sync.service)
        with monkeypatch.context() as patch:
            patch.setattr(OperationExecutor, "execute", _raise_after_two(OperationExecutor.execute))
            with pytest.raises(StateError):
                await worker.work(share)
        await worker.give_up(share, StateError("the disk is full"))
        await worker.give_up(share, StateError("again"))  # it is not waiting any more
        assert await worker.work(share) is ShareResult.DONE
    await sharing.drain()
    assert await status_of(sharing, run_id) == "failed"
    report = await report_of(sharing, run_id)
    assert report.stopped(Stopped.ERROR) == ["acme"]
    assert report.tenants["acme"].counts == {Fate.CREATED: 2, Fate.NOT_STARTED: 1}
    async with sharing.opened() as state:
        (failure,) = [row for row in await explain_key(state, "c") if row["what"] == "failure"]
        assert (failure["tenant_id"], failure["error"], failure["reason"]) == ("acme", "StateError", "the disk is full")
    await sharing.enqueue(RECORDS)  # the next run does what is left
    await sharing.drain()
    assert sharing.sync.requests() == {"create": 6}
    async with sharing.opened() as state:
        assert (await read_status(state))["failures"] == 0


async def test_share_that_cannot_be_read_is_given_up_and_keeps_no_one_from_its_tenant(sharing: Sharing) -> None:
    run_id = (await sharing.enqueue(RECORDS)).run_id
    share = sharing.queue.take()
    async with sharing.opened() as state:
        async with state.writing() as transaction:
            damaged = shares.update().where(shares.c.tenant_id == "acme")
            await transaction.connection.execute(damaged.values(report={"counts": {"created": "many"}}))
        worker = ShareWorker(state, sharing.sync.service)
        with pytest.raises(StateDamagedError) as caught:
            await worker.work(share)
        assert not state.has_lease("acme")
        assert (await report_of_open(state, run_id)).stopped(Stopped.ERROR) == ["acme"]
        assert await worker.give_up(share, caught.value)
        assert not await worker.give_up(share, caught.value)  # it is not waiting any more
        assert await worker.work(share) is ShareResult.DONE
    await sharing.drain()
    assert await status_of(sharing, run_id) == "failed"
    assert (await report_of(sharing, run_id)).counts == {Fate.CREATED: 3}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StateDamagedError("the state is damaged"), "failed"),
        (StateError("the state took longer than 5 s for a write"), "ended"),
    ],
)
async def test_share_that_is_delivered_again_has_failed_only_after_a_permanent_failure(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch, error: StateError, status: str
) -> None:
    async def fail(*_: object) -> Fate:
        raise error

    await sharing.enqueue(RECORDS[:3])
    share = sharing.queue.take()
    with monkeypatch.context() as patch:
        patch.setattr(OperationExecutor, "execute", fail)
        with pytest.raises(type(error)):
            await work_share(sharing.place, share, sharing.sync.service)
    assert not await work_share(sharing.place, share, sharing.sync.service)
    assert await status_of(sharing, share.run_id) == status


async def test_services_of_another_server_are_rejected_before_a_tenant_is_taken(sharing: Sharing) -> None:
    await sharing.enqueue(RECORDS)
    share = sharing.queue.take()
    async with Sandbox() as elsewhere, sharing.opened() as state:
        session = ConnectorSession(elsewhere.base_url, tenant_id="acme", auth=StaticToken("token"))
        async with session:
            worker = ShareWorker(state, lambda calendar: AppointmentService(session, user=calendar.user))
            with pytest.raises(
                TargetMismatchError, match=f"for {sharing.sync.sandbox.base_url} .*{elsewhere.base_url}"
            ):
                await worker.work(share)
        assert not state.has_lease("acme")
        assert elsewhere.log.count() == 0
    assert await sharing.drain() == [ShareResult.DONE]
    assert sharing.sync.requests() == {"create": 3}


@pytest.mark.parametrize("ours", WireFormat)
async def test_services_of_another_wire_format_are_rejected_by_name(state_path: Path, ours: WireFormat) -> None:
    theirs = next(each for each in WireFormat if each is not ours)
    body_format = BodyFormat.REFERENCE if theirs.carries_user else BodyFormat.GUIDE
    async with syncing(state_path, body_format=body_format) as sync:
        sharing = Sharing(sync, settings=SyncSettings(wire_format=theirs, grace=0.0, pause=0.0))
        calendar = Calendar("acme", "contoso", "ann") if theirs.carries_user else ACME
        await sharing.enqueue([record("a", calendar=calendar)], scope=SCOPE)
        share = sharing.queue.take()
        session = ConnectorSession(sync.sandbox.base_url, tenant_id="acme", auth=StaticToken("token"), wire_format=ours)
        async with session, sharing.opened() as state:
            worker = ShareWorker(state, lambda calendar: AppointmentService(session, user=calendar.user))
            with pytest.raises(TargetMismatchError, match=rf"{theirs.value} format\), not for .*{ours.value} format"):
                await worker.work(share)
        await sharing.queue.put(share)
        assert await sharing.drain() == [ShareResult.DONE]


async def test_reason_of_an_error_of_a_program_is_not_recorded(sharing: Sharing) -> None:
    await sharing.enqueue(RECORDS[:1])
    async with sharing.opened() as state:
        await ShareWorker(state, sharing.sync.service).give_up(sharing.queue.take(), ValueError("Visit of Jane"))
        (failure,) = [row for row in await explain_key(state, "a") if row["what"] == "failure"]
    assert failure["error"] == "ValueError"
    assert "Jane" not in failure["reason"]


async def test_share_is_not_given_up_while_it_is_worked_on(sharing: Sharing) -> None:
    await sharing.enqueue([record(f"k{number}") for number in range(5)])
    share = sharing.queue.take()
    async with sharing.opened() as state:
        worker = ShareWorker(state, sharing.sync.service)
        working = asyncio.create_task(worker.work(share))
        while not state.has_lease("acme"):
            await asyncio.sleep(0.001)
        with pytest.raises(StateBusyError, match="this process works on tenant acme"):
            await worker.give_up(share, StateError("wrong"))
        assert await working is ShareResult.DONE


async def test_options_of_another_version_are_reported(sharing: Sharing) -> None:
    await sharing.enqueue(RECORDS[:1])
    async with sharing.opened() as state:
        async with state.writing() as transaction:
            await transaction.connection.execute(shared_runs.update().values(options={"problems": [], "mode": "new"}))
        with pytest.raises(StateVersionError, match="another version of connector_async has started run"):
            await ShareWorker(state, sharing.sync.service).work(sharing.queue.take())


async def test_shares_that_an_enqueue_could_not_put_are_put_later(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Share) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(type(sharing.queue), "put", staticmethod(refuse))
        with pytest.raises(ConnectionError):
            await sharing.enqueue(RECORDS)
    async with sharing.opened() as state:
        assert await requeue(state, sharing.queue) == 1
        assert await requeue(state, sharing.queue) == 0
        assert await waiting_tenants(state, sharing.queue.shares()[0].run_id) == ["acme", "globex"]
    assert await sharing.drain() == [ShareResult.DONE] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": Mode.TWO_WAY}, "two-way"),
        ({"rebind": True}, "rebind"),
        ({"rules": ConflictRules(on_conflict=lambda _: None)}, "on_conflict"),  # type: ignore[arg-type,return-value]
        ({"window": timedelta(days=1)}, "window"),
    ],
)
async def test_options_that_shares_cannot_have_are_rejected(
    sharing: Sharing, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await sharing.enqueue(RECORDS, **options)
    async with sharing.opened() as state:
        assert (await read_status(state))["runs"] == []


async def test_a_state_without_runs_by_shares_has_no_progress(sharing: Sharing) -> None:
    async with sharing.opened() as state:
        assert await read_progress(state) is None
        assert await read_shared_report(state, "r") is None


async def test_failure_of_an_earlier_run_is_forgotten_when_its_tenant_is_done(sharing: Sharing) -> None:
    sharing.settings = SyncSettings(grace=0.0, pause=0.0, passes=1)
    await sharing.enqueue(RECORDS[:1])
    await sharing.drain()
    sharing.sync.sandbox.faults.script(*[StatusFault(500)] * 2, operation="preview")
    await sharing.enqueue([record("a", "New")], mode=Mode.CHECK)
    await sharing.drain()
    async with sharing.opened() as state:
        assert (await read_status(state))["failures"] == 1
    await sharing.enqueue(RECORDS[:1])  # nothing to do, but the failure
    await sharing.drain()
    async with sharing.opened() as state:
        assert (await read_status(state))["failures"] == 0


def test_options_of_a_run_survive_json() -> None:
    options = SyncOptions(
        mode=Mode.CHECK,
        rules=ConflictRules(policy=Policy.REMOTE, modified_field="changed"),
        scope=SCOPE,
        window=timedelta(hours=5),
        max_delete=MaxDelete(number=3, share=0.5),
        allow_empty=True,
        retry_run="r-0",
        assume_empty=True,
    )
    settings = SyncSettings(wire_format=WireFormat.REFERENCE, concurrency=2, grace=1.0, passes=4, read_first=True)
    target = Target("http://127.0.0.1:8080", "reference")
    run = RunSettings(options=options, settings=settings, target=target, expanded=SCOPE)
    assert RunSettings.from_json(run.as_json()) == run
    plain = RunSettings(options=SyncOptions(), settings=SyncSettings())
    assert RunSettings.from_json(plain.as_json()) == plain


def test_times_of_requests_of_several_slices_are_added() -> None:
    total, later = TenantReport(), TenantReport()
    add_report(total, TenantReport())
    assert total.timeline.started_at is None
    later.timeline.started_at = 100.0
    later.timeline.add(2.0, 3)
    add_report(total, later)
    later.timeline.started_at = 104.0
    add_report(total, later)
    assert total.timeline.requests == [0, 0, 3, 0, 0, 0, 3]
