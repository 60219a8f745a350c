"""A run by shares with Celery, with cron and with Airflow."""

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock, call

import pytest

from connector_async import AppointmentService
from connector_async.sandbox import DelayFault, Sandbox
from connector_async.sync import Fate, State
from connector_async.testing import ThreadedSandbox
from tests.support.command_line import sandbox_environment
from tests.support.example_process import running
from tests.support.fake_redis import fake_redis
from tests.support.postgres import PostgresServer
from tests.support.worker_processes import workers_of

HEADER = "key,tenant_id,title,start_time,end_time\n"
ROW = "v-{0},{1},Visit {0},2024-01-15T10:00:00Z,2024-01-15T10:30:00Z\n"
TENANTS = ("acme", "globex")


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = f"test_shares_{os.getpid()}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "visits.csv"
    path.write_text(HEADER + "".join(ROW.format(number, tenant) for tenant in TENANTS for number in range(3)))
    return path


async def titles(appointments: AppointmentService) -> dict[str, list[str]]:
    services = {tenant: AppointmentService(appointments.session.for_tenant(tenant)) for tenant in TENANTS}
    return {tenant: sorted([found.title async for found in each.preview()]) for tenant, each in services.items()}


async def test_celery_delivers_a_share_until_it_is_done(
    sandbox: Sandbox, appointments: AppointmentService, url: str, source: Path
) -> None:
    ignored = ("-W", "ignore:You're running the worker with superuser", "-W", "ignore:Call to deprecated setex")
    worker = (*ignored, "-m", "celery", "--app", "celery_shares", "worker", "--loglevel", "INFO", "--concurrency", "2")
    with fake_redis() as broker:
        environment = {"CELERY_BROKER_URL": broker, "CONNECTOR_STATE": url, "PAUSE": "0.1"}
        async with running(sandbox, "celery_shares.py", str(source), environment=environment) as program:
            assert await program.ended() == 0, program.err
        assert "'not_started': 6" in program.out[0]
        async with await State.open(url, owner="test") as state:
            await state.lease(["acme"])
            async with running(sandbox, *worker, environment=environment) as process:
                await process.line("retry: Retry in")
                await process.line("succeeded")
                assert sandbox.log.count(operation="create", tenant="acme") == 0
                await state.release()
                while sum("succeeded" in line for line in process.err) < len(TENANTS):
                    await asyncio.sleep(0.01)
                process.terminate()
                assert await process.ended() == 0
    assert await titles(appointments) == {tenant: ["Visit 0", "Visit 1", "Visit 2"] for tenant in TENANTS}
    assert sandbox.log.count(operation="create") == 6
    assert "Warning" not in "".join(process.err)


async def test_two_workers_that_cron_starts_share_a_run_and_end_with_it(url: str, tmp_path: Path) -> None:
    all_tenants = asyncio.Barrier(4)  # each of two workers has two

    async def wait_for_all(_: float) -> None:
        await all_tenants.wait()

    async with workers_of(url, tmp_path, tenants=4, creates=3, sleep=wait_for_all) as workers:
        for tenant in range(4):
            workers.sandbox.faults.script(DelayFault(1), operation="create", tenant=f"tenant-{tenant}")
        await workers.enqueue()
        await workers.start(2, "--once", "--concurrency", "2")
        async with asyncio.timeout(60):
            assert (await workers.report()).counts == {Fate.CREATED: 12}
        for process in workers.processes:
            await asyncio.to_thread(process.join, 30)
        assert [process.exitcode for process in workers.processes] == [0, 0]
        assert await workers.surplus() == {}


def test_airflow_maps_a_task_over_the_shares_of_a_run(url: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = MagicMock()  # Airflow is not installed
    monkeypatch.setitem(sys.modules, "airflow", sdk)
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    monkeypatch.setenv("CONNECTOR_STATE", url)
    monkeypatch.setenv("SOURCE", str(source))
    with ThreadedSandbox() as sandbox:
        for name, value in sandbox_environment(sandbox).items():
            monkeypatch.setenv(f"CONNECTOR_{name}", value)
        example = importlib.import_module("airflow_shares")
        monkeypatch.delitem(sys.modules, "airflow_shares")
        mapped = sdk.task.return_value
        assert mapped.call_args_list[0] == call(example.work)
        assert sdk.task.call_args_list[-1] == call(example.read)
        mapped.return_value.expand.assert_called_once_with(share=mapped.return_value)
        shares = json.loads(json.dumps(example.read()))  # as Airflow hands them over
        assert [share["tenant_id"] for share in shares] == list(TENANTS)
        assert sandbox.log.count(operation="create") == 0
        for share in [*shares, shares[0]]:
            example.work(share | {"quantum": 1})  # needs more than one slice of work
        assert sandbox.log.count(operation="create") == 6
