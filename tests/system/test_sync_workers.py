"""Many processes that work on one run: whatever ends in the middle of it, the server has every record once."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector_async.sandbox import DelayFault, DropAfter, FaultRates, LimitWindow, SandboxLimit
from connector_async.sync import Fate
from tests.support.postgres import FLAVORS, PostgresServer
from tests.support.worker_processes import CLOCK_BACK, CLOCK_FORWARD, LEASE, Workers, workers_of

pytestmark = pytest.mark.slow

SLOW = FaultRates({DelayFault(0.05): 1.0})
"""The delay that lets a run of 600 creates last for some seconds."""
EXIT_BY_KILL = -signal.SIGKILL


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that the tests restart."""
    with PostgresServer.started(FLAVORS["pgserver"]) as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    name = f"test_workers_{os.getpid()}"
    yield server.create(name)
    server.drop(name)


async def check_all_created(workers: Workers) -> None:
    report = await workers.report()
    assert await workers.surplus() == {}
    assert report.counts == {Fate.CREATED: len(workers.records)}
    assert sum(tenant.in_sync for tenant in report.tenants.values()) == len(workers.records)


@pytest.mark.row("M3")
@pytest.mark.parametrize(("kills", "lost"), [(2, 0), (3, 24)])
async def test_workers_that_are_killed_lose_and_repeat_nothing(url: str, tmp_path: Path, kills: int, lost: int) -> None:
    async with workers_of(url, tmp_path, tenants=8, creates=75, fault_rates=SLOW) as workers:
        await workers.enqueue()
        workers.sandbox.faults.script(*[DropAfter()] * lost, operation="create")
        await workers.start(4, "--concurrency", "3")
        for number in range(kills):
            await workers.created(100 + 100 * number)
            workers.processes[number].kill()
        await check_all_created(workers)
        assert await workers.stop() == [0] * (4 - kills)
        assert [process.exitcode for process in workers.processes[:kills]] == [EXIT_BY_KILL] * kills


@pytest.mark.row("M3")
async def test_workers_that_are_stopped_leave_the_rest_to_others(url: str, tmp_path: Path) -> None:
    async with workers_of(url, tmp_path, tenants=8, creates=75, fault_rates=SLOW) as workers:
        await workers.enqueue()
        await workers.start(4, "--concurrency", "3")
        await workers.created(200)
        for process in workers.processes[:3]:
            process.terminate()
        await check_all_created(workers)
        await workers.stop()
        assert [process.exitcode for process in workers.processes] == [0] * 4
        assert workers.sandbox.log.count(operation="create") == 600


@pytest.mark.row("M3")
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_workers_survive_a_restart_of_the_database(
    server: PostgresServer, url: str, tmp_path: Path, mode: str
) -> None:
    async with workers_of(url, tmp_path, tenants=8, creates=75, fault_rates=SLOW) as workers:
        await workers.enqueue()
        await workers.start(4, "--concurrency", "3")
        await workers.created(200)
        await asyncio.to_thread(server.stop, mode)
        await asyncio.to_thread(server.start)
        await check_all_created(workers)
        assert await workers.stop() == [0] * 4


@pytest.mark.row("M4")
async def test_workers_stopped_for_longer_than_their_lease_send_at_most_one_create_twice(
    url: str, tmp_path: Path
) -> None:
    async with workers_of(url, tmp_path, tenants=8, creates=160, rate_limit="20/2") as workers:
        await workers.enqueue()
        await workers.start(3)
        for number in range(5):
            await workers.created(50 + 200 * number)
            stopped = workers.processes[number % 3].pid
            assert stopped is not None
            os.kill(stopped, signal.SIGSTOP)
            await asyncio.sleep(LEASE * 1.5)
            os.kill(stopped, signal.SIGCONT)
        report = await workers.report()
        surplus = await workers.surplus()
        assert all(number > 0 for number in surplus.values())
        assert surplus.total() <= 1
        assert report.counts[Fate.CREATED] >= len(workers.records) - surplus.total()
        assert sum(tenant.in_sync for tenant in report.tenants.values()) == len(workers.records)
        assert await workers.stop() == [0] * 3
        assert await workers.unreported() == {}
        assert len(workers.reported()) == surplus.total()


@pytest.mark.row("M3")
async def test_workers_whose_clocks_are_set_lose_and_repeat_nothing(url: str, tmp_path: Path) -> None:
    """The server does the last creates of a killed worker after others have its tenants, and before the grace period.

    By the clock of that worker, they were sent three hours before.
    """
    held = 0

    async def hold(seconds: float) -> None:
        nonlocal held
        held += 1
        await asyncio.sleep(seconds)

    options = {"limit": SandboxLimit(requests=36, per=4, window=LimitWindow.SLIDING), "sleep": hold}
    async with workers_of(url, tmp_path, tenants=4, creates=20, rate_limit="26/4", **options) as workers:
        await workers.enqueue(grace=4 * LEASE, concurrency=1)
        await workers.start(1, "--concurrency", "2")
        await workers.created(1)
        await workers.start(1, "--concurrency", "4")
        await workers.created(40)
        for tenant in range(4):
            workers.sandbox.faults.script(DelayFault(3 * LEASE), operation="create", tenant=f"tenant-{tenant}")
        for process, number in zip(workers.processes, (CLOCK_BACK, CLOCK_FORWARD), strict=True):
            assert process.pid is not None
            os.kill(process.pid, number)
        while held < 4:
            await asyncio.sleep(0.01)
        workers.processes[0].kill()
        async with asyncio.timeout(90):
            await check_all_created(workers)
        assert workers.sandbox.log.count(status=429) == 0
        assert await workers.stop() == [0]


@pytest.mark.row("M6")
async def test_more_tenants_than_the_database_has_connections_for_are_done(tmp_path: Path) -> None:
    with PostgresServer.started(FLAVORS["pgserver"], max_connections="25") as small:
        url = small.create("many")
        async with workers_of(url, tmp_path, tenants=200, creates=1) as workers:
            await workers.enqueue()
            await workers.start(6, "--concurrency", "8")
            await check_all_created(workers)
            assert await workers.stop() == [0] * 6
        assert "too many clients already" in small.log()
