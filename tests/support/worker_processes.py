"""Processes of `sync work` for tests, which can be killed, and the run that they work on.

The processes are forked from one that has imported the command line.
"""

import asyncio
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import attrs
import procrastinate.utils

from connector_async import AppointmentService, RetryPolicy
from connector_async.cli.commands import app
from connector_async.cli.main import run
from connector_async.sandbox import Sandbox
from connector_async.sync import (
    Calendar,
    RunReport,
    SourceRecord,
    State,
    StateError,
    SyncOptions,
    SyncSettings,
)
from connector_async.sync import distributed as shared
from connector_async.sync.distributed.procrastinate_queue import ProcrastinateQueue
from tests.support.command_line import sandbox_environment
from tests.support.sync_child import FORKS
from tests.support.syncing import ListSource, Syncing, record, syncing

LEASE = 2.0
"""Seconds after which the tenants of a worker that was killed go to others."""


CLOCK_FORWARD, CLOCK_BACK = signal.SIGUSR1, signal.SIGUSR2
"""The signals that set the clock of a process by three hours."""


def _let_clock_be_set() -> None:
    machine_time, utc_now, ahead = time.time, procrastinate.utils.utcnow, timedelta()

    def set_clock(number: int, _: object) -> None:
        nonlocal ahead
        ahead += timedelta(hours=3 if number == CLOCK_FORWARD else -3)

    time.time = lambda: machine_time() + ahead.total_seconds()
    procrastinate.utils.utcnow = lambda: utc_now() + ahead
    for number in (CLOCK_FORWARD, CLOCK_BACK):
        signal.signal(number, set_clock)


def _work(environment: Mapping[str, str], arguments: list[str], messages: Path) -> None:
    _let_clock_be_set()
    os.dup2(os.open(messages, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    for name in [name for name in os.environ if name.startswith("CONNECTOR_")]:
        del os.environ[name]
    os.environ |= {f"CONNECTOR_{name}": value for name, value in environment.items()}
    raise SystemExit(int(run(app, arguments)))


@attrs.define
class Workers:
    """A run of creates for some tenants, and the processes that work on it."""

    url: str
    sync: Syncing
    records: list[SourceRecord]
    environment: Mapping[str, str]
    messages: Path
    """The file with what the processes have written to the standard error stream."""
    run_id: str = ""
    processes: list[ForkServerProcess] = attrs.field(factory=list)

    @property
    def sandbox(self) -> Sandbox:
        return self.sync.sandbox

    async def enqueue(self, *, grace: float = 0.3, quantum: int = 1_000, concurrency: int = 4) -> RunReport:
        async with ProcrastinateQueue(self.url) as queue:
            report = await shared.enqueue(
                ListSource(self.records),
                self.url,
                queue,
                self.sync.service,
                options=SyncOptions(assume_empty=True),
                settings=SyncSettings(grace=grace, pause=0.1, passes=9, concurrency=concurrency),
                quantum=quantum,
            )
        self.run_id = report.run_id
        return report

    async def start(self, count: int, *further: str) -> None:
        """Start processes."""
        arguments = ["sync", "work", "--state", self.url, "--lease", f"{LEASE:g}", *further]
        for _ in range(count):
            process = FORKS.Process(target=_work, args=(self.environment, arguments, self.messages))
            self.processes.append(process)
            await asyncio.to_thread(process.start)

    async def created(self, count: int) -> None:
        """Wait until the server has received so many creates."""
        while self.sandbox.log.count(operation="create") < count:
            assert any(process.exitcode is None for process in self.processes)
            await asyncio.sleep(0.01)

    async def report(self) -> RunReport:
        """Wait until no share is waiting, and return the report of the run."""
        while True:
            try:
                async with await State.open(self.url, owner="test", read_only=True) as state:
                    while (progress := await shared.read_progress(state, self.run_id)) is None or progress.waiting:
                        await asyncio.sleep(0.05)
                    report = await shared.read_shared_report(state, self.run_id)
                    assert report is not None
                    return report
            except StateError:  # the database restarts
                await asyncio.sleep(0.05)

    async def unreported(self) -> Counter[tuple[str, str]]:
        """Return the surplus on the server of which no process has written that it may be one."""
        surplus, reported = await self.surplus(), self.reported()
        for tenant_id in {tenant_id for tenant_id, _ in surplus}:
            async for item in self._service(tenant_id).preview():
                if item.appointment_id in reported:
                    surplus[tenant_id, item.title] -= 1
        return +surplus

    def reported(self) -> list[str]:
        """Return the appointments that may exist twice, according to the warnings of the processes."""
        return re.findall(r"appointment (\S+) was created, but another process", self.messages.read_text())

    async def surplus(self) -> Counter[tuple[str, str]]:
        """Return what the server has more often than the source, and less often with a negative number."""
        found: Counter[tuple[str, str]] = Counter()
        for tenant_id in {each.calendar.tenant_id for each in self.records}:
            found.update([(tenant_id, item.title) async for item in self._service(tenant_id).preview()])
        found.subtract((each.calendar.tenant_id, each.appointment.title) for each in self.records)
        return Counter({name: number for name, number in found.items() if number})

    def _service(self, tenant_id: str) -> AppointmentService:
        session = self.sync.session.for_tenant(tenant_id)
        return AppointmentService(session, retry=RetryPolicy(attempts=9, wait_initial=0.01))

    def running(self) -> list[ForkServerProcess]:
        return [process for process in self.processes if process.exitcode is None]

    async def stop(self) -> list[int | None]:
        """Stop the processes that are left with SIGTERM, and return their exit codes."""
        left = self.running()
        for process in left:
            process.terminate()
        for process in left:
            await asyncio.to_thread(process.join, 30)
        return [process.exitcode for process in left]

    def kill(self) -> None:
        for process in self.running():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGCONT)
            process.kill()
            process.join()


@asynccontextmanager
async def workers_of(
    url: str,
    folder: Path,
    *,
    tenants: int,
    creates: int,
    rate_limit: str = "unlimited",
    **sandbox_options: Any,
) -> AsyncIterator[Workers]:
    """Serve a sandbox, and start a run with so many creates for each tenant."""
    records = [
        record(f"k{number}", f"Visit {number}", calendar=Calendar(f"tenant-{tenant}"))
        for number in range(creates)
        for tenant in range(tenants)
    ]
    async with syncing(folder / "unused.db", **sandbox_options) as sync:
        environment = sandbox_environment(sync.sandbox, RATE_LIMIT=rate_limit)
        workers = Workers(url, sync, records, environment, folder / "messages")
        try:
            yield workers
        finally:
            workers.kill()
