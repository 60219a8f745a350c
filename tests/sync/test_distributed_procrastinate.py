"""The queue by procrastinate: nothing that ends a worker, or its connection, loses a share."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from procrastinate import PsycopgConnector, exceptions, jobs, sql

from connector_async.sync import (
    Calendar,
    Fate,
    State,
    StateDamagedError,
    StateError,
    StateUnavailableError,
    StateVersionError,
    Stopped,
    TargetMismatchError,
    read_status,
)
from connector_async.sync.distributed import Share, ShareResult, ShareWorker, read_progress, read_shared_report
from connector_async.sync.distributed import procrastinate_connection as connections
from connector_async.sync.distributed.procrastinate_queue import ProcrastinateQueue, _Retries
from connector_async.sync.state.db.location import Location
from connector_async.sync.state.shares import read_failed_shares
from tests.support.postgres import PostgresServer
from tests.support.sharing import Sharing
from tests.support.syncing import ACME, record, syncing

GLOBEX = Calendar("globex")
RECORDS = [record(key, calendar=calendar) for calendar in (ACME, GLOBEX) for key in "abc"]
SHARE = Share(run_id="r", tenant_id="acme")
PAUSED = """
    SELECT status::text, scheduled_at > now() AND scheduled_at < now() + interval '1 minute' FROM procrastinate_jobs
"""
"""Whether a job is due in less than a minute, by the clock of the database."""


class Database:
    def __init__(self, server: PostgresServer, name: str) -> None:
        self._server = server
        self._name = name
        self.url = server.create(name)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        return self._server.execute(statement, self._name)

    def statuses(self) -> list[object]:
        return [row[0] for row in self.execute("SELECT status::text FROM procrastinate_jobs ORDER BY id")]


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    name = f"test_procrastinate_{os.getpid()}"
    yield Database(postgres, name)
    postgres.drop(name)


@pytest.fixture
async def queue(database: Database) -> AsyncIterator[ProcrastinateQueue]:
    async with ProcrastinateQueue(database.url) as queue:
        yield queue


@pytest.fixture
async def sharing(database: Database, queue: ProcrastinateQueue, state_path: Path) -> AsyncIterator[Sharing]:
    async with syncing(state_path) as sync:
        sync.location = database.url
        yield Sharing(sync, queue=queue)  # type: ignore[arg-type]


async def work(sharing: Sharing, queue: ProcrastinateQueue, **options: Any) -> None:
    async with sharing.opened() as state:
        await queue.work(ShareWorker(state, sharing.sync.service), once=True, **options)


async def check_all_created(sharing: Sharing, run_id: str) -> None:
    assert sharing.sync.requests() == {"create": 6}
    async with sharing.opened() as state:
        report = await read_shared_report(state, run_id)
    assert report is not None
    assert report.counts == {Fate.CREATED: 6}


async def test_work_does_every_share_and_leaves_no_job(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue
) -> None:
    run_id = (await sharing.enqueue(RECORDS, quantum=2)).run_id
    await work(sharing, queue)
    await check_all_created(sharing, run_id)
    assert database.statuses() == []


async def test_share_that_is_waiting_is_not_put_twice(database: Database, queue: ProcrastinateQueue) -> None:
    await queue.put(SHARE)
    await queue.put(SHARE)
    assert database.statuses() == ["todo"]


async def test_processes_that_start_at_once_create_the_tables_once(database: Database) -> None:
    async def opened() -> None:
        async with ProcrastinateQueue(database.url):
            pass

    await asyncio.gather(*(opened() for _ in range(4)))
    assert database.statuses() == []


async def test_tables_of_another_version_of_procrastinate_are_rejected(
    database: Database, queue: ProcrastinateQueue
) -> None:
    ((comment,),) = database.execute("SELECT obj_description('procrastinate_jobs'::regclass)")
    older = re.sub(r"migration .*", "migration 03.00.00_01_older", str(comment))
    database.execute(f"COMMENT ON TABLE procrastinate_jobs IS '{older}'")
    with pytest.raises(StateVersionError, match=r"migration 03\.00\.00_01_older, but procrastinate 3\.\d+.* needs"):
        async with ProcrastinateQueue(database.url):
            pass
    database.execute("COMMENT ON TABLE procrastinate_jobs IS NULL")  # of an application, or by hand
    async with ProcrastinateQueue(database.url):
        pass


async def test_states_in_two_schemas_of_a_database_have_queues_of_their_own(database: Database) -> None:
    database.execute("CREATE SCHEMA first")
    database.execute("CREATE SCHEMA second")
    for path in ("first", "second%2Cfirst"):
        async with ProcrastinateQueue(f"{database.url}&options=-csearch_path%3D{path}") as queue:
            await queue.put(SHARE)
    assert database.execute("SELECT count(*) FROM first.procrastinate_jobs") == [(1,)]
    assert database.execute("SELECT count(*) FROM second.procrastinate_jobs") == [(1,)]


async def test_share_of_a_worker_without_heartbeat_is_delivered_again(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue
) -> None:
    run_id = (await sharing.enqueue(RECORDS)).run_id
    manager = queue._app.job_manager
    dead = await manager.register_worker()
    assert await manager.fetch_job(queues=None, worker_id=dead) is not None
    database.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")
    await work(sharing, queue, lease=0.3)
    await check_all_created(sharing, run_id)


async def test_share_that_a_worker_fetched_and_never_got_is_delivered_again(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue
) -> None:
    await sharing.enqueue(RECORDS[:3])
    manager = queue._app.job_manager
    own = await manager.register_worker()
    job = await manager.fetch_job(queues=None, worker_id=own)
    assert job is not None
    queue._worker_ids.add(own)
    lost = await queue._rescue(set(), 30.0)
    assert (lost, database.statuses()) == ({job.id}, ["doing"])
    await queue._rescue(lost, 30.0)
    assert database.statuses() == ["todo"]


@pytest.mark.parametrize(
    "statement", ["DELETE FROM procrastinate_jobs", "UPDATE procrastinate_jobs SET status = 'aborted'"]
)
async def test_share_that_is_not_in_the_queue_any_more_is_put_again(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue, statement: str
) -> None:
    run_id = (await sharing.enqueue(RECORDS)).run_id
    database.execute(statement)
    await work(sharing, queue)
    await check_all_created(sharing, run_id)


async def test_share_of_a_busy_tenant_is_delivered_again_later(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> ShareResult:
        queue.stop()
        return ShareResult.BUSY

    await sharing.enqueue(RECORDS[:3])
    monkeypatch.setattr(ShareWorker, "work", busy)
    await work(sharing, queue)
    assert database.execute(PAUSED) == [("todo", True)]


async def test_clock_of_the_machine_does_not_decide_when_a_share_is_due(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> ShareResult:
        queue.stop()
        raise StateUnavailableError("the server has crashed")

    monkeypatch.setattr("procrastinate.utils.utcnow", lambda: datetime.now(UTC) + timedelta(hours=3))
    await sharing.enqueue(RECORDS[:3])
    with monkeypatch.context() as patch:
        patch.setattr(ShareWorker, "work", fail)
        await work(sharing, queue, on_failure=lambda *_: None)
    assert database.execute(PAUSED) == [("todo", True)]
    manager = queue._app.job_manager
    database.execute("UPDATE procrastinate_jobs SET scheduled_at = NULL")
    job = await manager.fetch_job(queues=None, worker_id=await manager.register_worker())
    assert job is not None
    await queue._deliver_again(job)
    assert database.execute("SELECT status::text, scheduled_at < now() FROM procrastinate_jobs") == [("todo", True)]


@pytest.mark.parametrize(
    "damage",
    [
        """UPDATE shares SET report = '{"counts": []}' WHERE tenant_id = 'acme'""",
        "UPDATE desired SET body = 'no JSON' WHERE tenant_id = 'acme'",
    ],
    ids=["share", "record"],
)
async def test_tenant_whose_state_is_damaged_ends_as_failed_and_the_others_are_done(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue, damage: str
) -> None:
    run_id = (await sharing.enqueue(RECORDS)).run_id
    database.execute(damage)
    failures: list[Exception] = []
    async with asyncio.timeout(30):
        await work(sharing, queue, on_failure=lambda _, error: failures.append(error))
    assert (len(failures), queue.failed, database.statuses()) == (1, 1, [])
    assert sharing.sync.sandbox.log.count(operation="create", tenant="globex") == 3
    async with sharing.opened() as state:
        report, (failed,) = await read_shared_report(state, run_id), await read_failed_shares(state, run_id)
        (run,) = (await read_status(state))["runs"]
    assert report is not None
    assert report.stopped(Stopped.ERROR) == ["acme"]
    assert report.tenants["globex"].counts == {Fate.CREATED: 3}
    assert run["status"] == "failed"
    assert (failed.run_id, failed.tenant_id, failed.error) == (run_id, "acme", type(failures[0]).__name__)


async def test_worker_that_cannot_record_a_failure_ends_and_leaves_the_share_to_others(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> ShareResult:
        raise StateDamagedError("damaged")

    async def refuse(*_: object) -> bool:
        raise StateError("the disk of the server is full")

    run_id = (await sharing.enqueue(RECORDS)).run_id
    with monkeypatch.context() as patch:
        patch.setattr(ShareWorker, "work", fail)
        patch.setattr(ShareWorker, "give_up", refuse)
        with pytest.raises(StateError, match="the disk of the server is full"):
            await work(sharing, queue, on_failure=lambda *_: None)
    database.execute("UPDATE procrastinate_jobs SET scheduled_at = NULL")
    async with ProcrastinateQueue(database.url) as other:
        await work(sharing, other)
    await check_all_created(sharing, run_id)


async def test_failure_that_cannot_be_recorded_for_the_moment_is_recorded_later(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> ShareResult:
        queue.stop()
        raise StateDamagedError("damaged")

    async def refuse(*_: object) -> bool:
        raise StateUnavailableError("the server has crashed")

    await sharing.enqueue(RECORDS[:3])
    monkeypatch.setattr(ShareWorker, "work", fail)
    monkeypatch.setattr(ShareWorker, "give_up", refuse)
    await work(sharing, queue, on_failure=lambda *_: None)
    assert database.execute(PAUSED) == [("todo", True)]


async def test_permanent_failure_is_reported_and_ends_its_share(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> ShareResult:
        raise ValueError("wrong")

    failures: list[tuple[Share | None, Exception]] = []
    run_id = (await sharing.enqueue(RECORDS[:3])).run_id
    monkeypatch.setattr(ShareWorker, "work", fail)
    await work(sharing, queue, on_failure=lambda share, error: failures.append((share, error)))
    ((share, error),) = failures
    assert share is not None
    assert (share.tenant_id, str(error)) == ("acme", "wrong")
    assert database.statuses() == []
    async with sharing.opened() as state:
        progress = await read_progress(state, run_id)
    assert progress is not None
    assert (progress.waiting, progress.failed, queue.failed) == (0, 1, 1)


async def test_failed_share_of_a_busy_tenant_is_ended_later(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> ShareResult:
        queue.stop()
        raise ValueError("wrong")

    await sharing.enqueue(RECORDS[:3])
    monkeypatch.setattr(ShareWorker, "work", fail)
    async with await State.open(database.url, owner="other") as other:
        await other.lease(["acme"])
        async with await State.open(database.url, owner="worker") as state:
            await queue.work(ShareWorker(state, sharing.sync.service), on_failure=lambda *_: None)
    assert database.execute(PAUSED) == [("todo", True)]


async def test_worker_for_another_server_ends_and_leaves_the_shares_to_others(
    database: Database, sharing: Sharing, queue: ProcrastinateQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mismatch(*_: object) -> ShareResult:
        raise TargetMismatchError("the state belongs to another server")

    run_id = (await sharing.enqueue(RECORDS)).run_id
    with monkeypatch.context() as patch:
        patch.setattr(ShareWorker, "work", mismatch)
        with pytest.raises(TargetMismatchError):
            await work(sharing, queue)
    assert database.statuses() == ["todo"] * 2
    async with ProcrastinateQueue(database.url) as other:
        await work(sharing, other)
    await check_all_created(sharing, run_id)


@pytest.mark.parametrize(
    ("error", "attempts", "is_retried"),
    [
        (StateUnavailableError("gone"), 0, True),
        (StateError("slow"), 19, True),
        (StateError("slow"), 20, False),
        (StateVersionError("newer"), 0, True),
        (StateDamagedError("damaged"), 0, False),
        (ValueError("wrong"), 0, False),
    ],
)
async def test_share_is_delivered_again_if_the_state_may_work_later(
    queue: ProcrastinateQueue, error: Exception, attempts: int, *, is_retried: bool
) -> None:
    await queue.put(SHARE)
    (job,) = await queue._app.job_manager.list_jobs_async()
    job = job.evolve(attempts=attempts)
    retries = _Retries(lambda _: datetime.now(UTC))
    assert (retries.get_retry_decision(exception=error, job=job) is not None) is is_retried


async def test_cancelled_work_cancels_its_shares(
    sharing: Sharing, queue: ProcrastinateQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(*_: object) -> ShareResult:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return ShareResult.DONE

    await sharing.enqueue(RECORDS[:3])
    monkeypatch.setattr(ShareWorker, "work", hang)
    working = asyncio.create_task(work(sharing, queue))
    await started.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()


async def test_stop_before_the_work_ends_it_at_once(sharing: Sharing, queue: ProcrastinateQueue) -> None:
    await sharing.enqueue(RECORDS)
    queue.stop()
    await work(sharing, queue)
    assert sharing.sync.requests() == {}


async def test_job_that_another_worker_has_finished_is_no_error(queue: ProcrastinateQueue) -> None:
    await queue.put(SHARE)
    (job,) = await queue._app.job_manager.list_jobs_async()
    for _ in range(2):
        await queue._app.job_manager.finish_job(job, status=jobs.Status.SUCCEEDED, delete_job=True)


async def test_fetch_without_a_connection_finds_no_job(
    queue: ProcrastinateQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> dict[str, Any]:
        raise exceptions.ConnectorException from cause

    connector = queue._app.connector
    cause: Exception = psycopg.OperationalError("too many clients")
    monkeypatch.setattr(PsycopgConnector, "execute_query_one_async", refuse)
    assert await connector.execute_query_one_async(sql.queries["fetch_job"]) == {"id": None}
    cause = psycopg.ProgrammingError("no such function")
    with pytest.raises(exceptions.ConnectorException):
        await connector.execute_query_one_async(sql.queries["fetch_job"])


async def test_database_that_does_not_respond_is_reported_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(connections, "_LONGEST", 0.0)
    with pytest.raises(StateUnavailableError, match="the queue does not respond") as caught:
        async with ProcrastinateQueue(f"postgresql://user:secret@/db?host={tmp_path}"):
            pass
    assert "secret" not in str(caught.value)


def test_password_is_passed_on() -> None:
    assert connections.conninfo(Location.parse("postgresql://u:p@h/d")) == "postgresql://u:p@h/d"


@pytest.mark.sqlite
def test_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="url must start with postgresql://"):
        ProcrastinateQueue(str(tmp_path / "state.db"))


def test_schedules_are_checked() -> None:
    queue = ProcrastinateQueue("postgresql://u@h/d")
    queue.add_schedule("0 * * * *", "visits.csv", asyncio.Event().wait)
    with pytest.raises(ValueError, match="a schedule of this name already"):
        queue.add_schedule("0 * * * *", "visits.csv", asyncio.Event().wait)
    with pytest.raises(ValueError, match="cron must be five fields"):
        queue.add_schedule("hourly", "others.csv", asyncio.Event().wait)
