"""The steps of the demo with workers: several processes on one run, one of which is killed."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Final

import attrs
from rich.console import Console

from connector_async.sandbox import BodyFormat, DelayFault, LimitWindow, Sandbox, SandboxLimit
from connector_async.sync.distributed import enqueue, read_progress, read_shared_report
from connector_async.sync.distributed.procrastinate_queue import ProcrastinateQueue
from connector_async.sync.formats import file_source
from connector_async.sync.planning.options import SyncSettings
from connector_async.sync.records import Calendar
from connector_async.sync.report import Fate
from connector_async.sync.state import State
from connector_async.wire import WireFormat

from .config_sources import PROJECT_FILE, read_settings
from .demo_records import compare, demo_scope, new_records, write
from .demo_run import KILLED, PROGRAM, demo_environment
from .embedded_postgres import embedded_server
from .options import DisplayOptions
from .settings import Settings
from .sync_report import print_report
from .sync_run import TenantServices

# Nine times the documented limit. Workers that do not wait for each other, or for nothing, would exceed it.
_REQUESTS: Final = 36
_SECONDS: Final = 4
_LIMIT: Final = SandboxLimit(requests=_REQUESTS, per=_SECONDS, window=LimitWindow.SLIDING)
_REQUESTS_OF_WORKERS: Final = 26  # of all together. The rest is for requests that a busy machine delays and bunches.
_GRACE: Final = 1.0  # seconds; the sandbox shows a create at once
_LEASE: Final = 3.0  # seconds after which the tenants of a killed worker go to others
_TENANTS_OF_WORKER: Final = 2
_FIRST_CREATES: Final = 5  # of each tenant, before one of its creates is held
_START_TIMEOUT: Final = 60.0  # seconds within which all workers must have sent something
_FILE: Final = "visits.csv"
_STEPS: Final = 4
_COLUMNS: Final = "tenant_id,records,created,requests,waited"


async def run_workers_demo(
    console: Console, *, folder: Path, workers: int, appointments: int, concurrency: int
) -> bool:
    """Run the demo, and print each step and the report of the run.

    Args:
        console: Gets the steps and the report. The progress is printed to the standard error stream.
        folder: An empty folder for the file and the database.
        workers: How many processes work on the run.
        appointments: How many appointments the file has.
        concurrency: How many operations of a tenant are in flight at a time.

    Returns:
        Whether each worker ended as it should, and the server has what the file has.
    """
    gate = _Gate(workers * _TENANTS_OF_WORKER)
    async with (
        Sandbox(body_format=BodyFormat.REFERENCE, limit=_LIMIT, sleep=gate.sleep) as sandbox,
        embedded_server(folder / "postgres") as url,
    ):
        demo = _Demo(
            console=console,
            sandbox=sandbox,
            gate=gate,
            folder=folder,
            url=url,
            workers=workers,
            count=appointments,
            concurrency=concurrency,
        )
        try:
            return await demo.run()
        finally:
            gate.open()


class _Gate:
    """Holds creates in the server, so that a worker is killed while they are in flight."""

    def __init__(self, tenants: int) -> None:
        self._is_open = asyncio.Event()
        self._all_held = asyncio.Event()
        self._held: set[float] = set()
        self._tenants = tenants

    async def sleep(self, number: float) -> None:
        """Replace the sleep of the sandbox. The seconds of a `DelayFault` are the number of a tenant, or 0."""
        if not number:
            return
        self._held.add(number)
        if len(self._held) == self._tenants:
            self._all_held.set()
        await self._is_open.wait()

    async def wait(self) -> None:
        """Wait until a create of each tenant is held."""
        await self._all_held.wait()

    def open(self) -> None:
        self._is_open.set()


@attrs.define(kw_only=True)
class _Demo:
    console: Console
    sandbox: Sandbox
    gate: _Gate
    folder: Path
    url: str
    workers: int
    count: int
    concurrency: int
    _step: int = attrs.field(default=0, init=False)
    _failures: list[str] = attrs.field(factory=list, init=False)
    _path: Path = attrs.field(init=False)
    _calendars: list[Calendar] = attrs.field(init=False)
    _environment: Mapping[str, str] = attrs.field(init=False)
    _settings: Settings = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._path = self.folder / _FILE
        numbers = range(1, self.workers * _TENANTS_OF_WORKER + 1)
        self._calendars = [Calendar(f"clinic-{number:02}", "contoso", "ann") for number in numbers]
        self._environment = demo_environment(self.sandbox, f"{_REQUESTS_OF_WORKERS}/{_SECONDS}")
        (self.folder / PROJECT_FILE).touch(mode=0o600)  # ends the search for a project's file in the parent folders
        self._settings = read_settings({}, environment=self._environment, folder=self.folder)

    async def run(self) -> bool:
        await write(self._path, new_records(range(self.count), self._calendars))
        self._say(
            f"The server listens on {self.sandbox.base_url}. Each tenant may send {_REQUESTS} requests in any "
            f"{_SECONDS} seconds: nine times the real limit. The workers keep to {_REQUESTS_OF_WORKERS}, all together."
        )
        self._start_step(
            "The file becomes shares",
            f"{_FILE} is read into the state, which is in PostgreSQL, and each tenant becomes a share in a queue in "
            "the same database. Nothing is sent.",
        )
        run_id = await self._enqueue()
        self._start_step(
            f"{self.workers} workers",
            f"Each is a process of its own, and would be on a machine of its own: connector-async sync work "
            f"--concurrency {_TENANTS_OF_WORKER} --lease {_LEASE:g}",
        )
        self._hold_creates()
        processes = [await self._start_worker() for _ in range(self.workers)]
        try:
            if await self._wait_until_held(processes):
                await self._kill_first(processes)
                await self._watch(run_id, processes[1:])
            await self._stop(processes[1:])
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        await self._compare()
        return not self._failures

    async def _enqueue(self) -> str:
        settings = SyncSettings(wire_format=WireFormat.REFERENCE, concurrency=self.concurrency, grace=_GRACE)
        async with (
            aclosing(TenantServices(self._settings)) as services,
            ProcrastinateQueue(self.url) as queue,
        ):
            report = await enqueue(file_source(self._path), self.url, queue, services, settings=settings)
        self._say(
            f"{report.counts[Fate.NOT_STARTED]} creates of {len(report.tenants)} tenants are to be done.", style=""
        )
        return report.run_id

    def _hold_creates(self) -> None:
        """Let the first creates of each tenant pass, and hold those after them."""
        passing = min(_FIRST_CREATES, self.count // len(self._calendars) // 2)
        for number, calendar in enumerate(self._calendars, start=1):
            self.sandbox.faults.script(
                *[DelayFault(0)] * passing,
                *[DelayFault(number)] * self.concurrency,
                operation="create",
                tenant=calendar.tenant_id,
            )

    async def _start_worker(self) -> asyncio.subprocess.Process:
        options = ("--concurrency", str(_TENANTS_OF_WORKER), "--lease", f"{_LEASE:g}")
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, "sync", "work", *options),
            cwd=self.folder,
            env={**self._environment, "CONNECTOR_STATE": self.url},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def _wait_until_held(self, processes: Iterable[asyncio.subprocess.Process]) -> bool:
        """Wait until a create of each tenant is held, and return whether one is."""
        held = asyncio.ensure_future(self.gate.wait())
        tasks = [held, *(asyncio.ensure_future(process.wait()) for process in processes)]
        try:
            await asyncio.wait(tasks, timeout=_START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
            is_held = held.done()
        finally:
            for task in tasks:
                task.cancel()
        if is_held:
            self._say(
                f"All {self.workers} are working, each on {_TENANTS_OF_WORKER} tenants: {self._creates()} creates "
                "were sent, and some of each tenant are in flight.",
                style="",
            )
        else:
            self._failures.append("Not all workers have started to work.")
        return is_held

    async def _kill_first(self, processes: list[asyncio.subprocess.Process]) -> None:
        self._start_step("One is killed", "The first worker gets signal 9 in the middle of its creates.")
        first = processes[0]
        first.kill()
        if (code := await first.wait()) != KILLED:
            self._failures.append(f"A worker was not killed: it ended with exit code {code}.")
        self.sandbox.faults.clear()
        self.gate.open()
        self._say(
            "The state does not know whether its creates happened, and the server does some of them only now.", style=""
        )

    async def _watch(self, run_id: str, processes: list[asyncio.subprocess.Process]) -> None:
        self._start_step(
            "The others take over",
            f"{_LEASE:g} seconds later its leases expire, and its tenants go to the other workers. They look at the "
            "server to find out which creates have happened, and send the rest.",
        )
        async with await State.open(self.url, owner="demo", read_only=True) as state:
            console, printed_at = Console(stderr=True), 0.0
            while (progress := await read_progress(state, run_id)) is not None and progress.waiting:
                if all(process.returncode is not None for process in processes):
                    self._failures.append("All workers have ended before the run.")
                    return
                if time.monotonic() - printed_at >= 1.0:
                    printed_at = time.monotonic()
                    console.print(
                        f"sync: {progress.settled} of {progress.to_do} done; working: {progress.workers}",
                        highlight=False,
                    )
                await asyncio.sleep(0.1)
            report = await read_shared_report(state, run_id)
        assert report is not None  # noqa: S101 - it has progress
        print_report(report, DisplayOptions(output="table", columns=_COLUMNS), state=self._path)
        self._say(
            f"run {run_id}: {report.counts[Fate.CREATED]} created; {report.requests} requests sent, {report.minimum} "
            "needed",
            style="",
        )

    async def _stop(self, processes: Iterable[asyncio.subprocess.Process]) -> None:
        for process in processes:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        codes = {await process.wait() for process in processes}
        if codes != {0}:
            self._failures.append(f"The other workers ended with exit codes {sorted(codes)}.")

    async def _compare(self) -> None:
        self.console.print()
        self.console.rule("The server and the file")
        limited = self.sandbox.log.count(status=429)  # the comparison does not share the limit of the workers
        async with aclosing(TenantServices(self._settings)) as services:
            comparison = await compare(services, self._path, demo_scope(self.count), self._calendars)
        if comparison.missing or comparison.surplus:
            self._failures.append(
                f"The server lacks {comparison.missing} of the file's {comparison.records} appointments, and has "
                f"{comparison.surplus} that the file lacks."
            )
        if limited:
            self._failures.append(f"{limited} requests exceeded the rate limit.")
        for failure in self._failures:
            self._say(failure)
        if not self._failures:
            self._say(
                f"The server has exactly the {comparison.records} appointments of the file: 0 are missing, and 0 "
                "exist twice. No request exceeded the rate limit."
            )

    def _creates(self) -> int:
        return self.sandbox.log.count(operation="create")

    def _start_step(self, title: str, what_happens: str) -> None:
        self._step += 1
        self.console.print()
        self.console.rule(f"{self._step} of {_STEPS}: {title}")
        self._say(what_happens)

    def _say(self, message: str, style: str = "bold") -> None:
        self.console.print(message, style=style, highlight=False, markup=False)
