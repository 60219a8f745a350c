"""The steps of the demo: a bulk sync of three tenants with a local server, through a crash, and in two-way mode."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Final

from rich.console import Console

from connector_async.sandbox import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    BodyFormat,
    DelayFault,
    LimitWindow,
    Sandbox,
    SandboxLimit,
)
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.formats import file_mirror, file_source
from connector_async.sync.planning.options import Mode, SyncOptions, SyncSettings
from connector_async.sync.report import RunReport
from connector_async.sync.state.inspection import read_status
from connector_async.wire import WireFormat

from .config_sources import PROJECT_FILE, read_settings
from .demo_records import TENANTS, compare, demo_scope, edit_on_server, edited, new_records, write
from .exit_codes import ExitCode
from .options import DisplayOptions
from .progress import SyncProgress
from .sync_report import print_report, report_exit_code, totals
from .sync_run import RUN_STATE, TenantServices, open_sync

# A hundred times the documented limit. With the documented one, the demo would take an hour.
_REQUESTS_PER_MINUTE: Final = 6_000
_LIMIT: Final = SandboxLimit(requests=_REQUESTS_PER_MINUTE, per=60.0, window=LimitWindow.SLIDING)
_GRACE: Final = 1.0  # seconds; the sandbox shows a create at once
_KILL_TIMEOUT: Final = 30.0  # seconds within which a run must reach the point where it is killed
_FILE: Final = "visits.csv"
_STEPS: Final = 5
_COLUMNS: Final = "tenant_id,records,created,updated,deleted,pulled,requests,waited"  # what 80 columns have room for
KILLED: Final = -9 if os.name == "posix" else 1
"""The exit code of a process that is killed."""
PROGRAM: Final = "from connector_async.cli.main import main; main()"
"""The command, for a process of its own."""


async def run_demo(console: Console, *, folder: Path, appointments: int, concurrency: int) -> bool:
    """Run the demo, and print each step and the report of each run.

    Args:
        console: Gets the steps and the reports. The progress is printed to the standard error stream.
        folder: An empty folder for the file and the state.
        appointments: How many appointments the file has at first.
        concurrency: How many operations of a tenant are in flight at a time.

    Returns:
        Whether each run succeeded, the last one had nothing to send, and the server has what the file has.
    """
    barrier = _Barrier()
    async with Sandbox(body_format=BodyFormat.REFERENCE, limit=_LIMIT, sleep=barrier.sleep) as sandbox:
        demo = _Demo(console, sandbox, barrier, folder, appointments, concurrency)
        try:
            return await demo.run()
        finally:
            barrier.release()
            (folder / PROJECT_FILE).unlink(missing_ok=True)


class _Barrier:
    """Holds requests in the server until they are released, so that a run is killed while they are in flight."""

    def __init__(self) -> None:
        self._released = asyncio.Event()
        self._all_held = asyncio.Event()
        self._held = 0

    async def sleep(self, _: float) -> None:
        """Replace the sleep of the sandbox, which a `DelayFault` calls."""
        self._held += 1
        if self._held == len(TENANTS):
            self._all_held.set()
        await self._released.wait()

    async def wait(self) -> None:
        """Wait until a request of each tenant is held."""
        await self._all_held.wait()

    def release(self) -> None:
        self._released.set()


class _Demo:
    def __init__(
        self, console: Console, sandbox: Sandbox, barrier: _Barrier, folder: Path, appointments: int, concurrency: int
    ) -> None:
        self._console = console
        self._sandbox = sandbox
        self._barrier = barrier
        self._folder = folder
        self._path = folder / _FILE
        self._state_path = self._path.with_suffix(RUN_STATE)
        self._count = appointments
        self._concurrency = concurrency
        self._scope = demo_scope(appointments)
        self._environment = demo_environment(sandbox, f"{_REQUESTS_PER_MINUTE}/60")
        (folder / PROJECT_FILE).touch(mode=0o600)  # ends the search for a project's file in the parent folders
        self._settings = read_settings({}, environment=self._environment, folder=folder)
        self._step = 0
        self._failures: list[str] = []

    async def run(self) -> bool:
        records = new_records(range(self._count))
        await write(self._path, records)
        self._say(
            f"The server listens on {self._sandbox.base_url}. Each tenant may send {_REQUESTS_PER_MINUTE:,} requests a "
            "minute: a hundred times the real limit."
        )
        self._start_step("The first run", f"The server is empty: the run creates everything that {_FILE} has.")
        await self._sync("The first run")
        await write(self._path, edited(records))
        async with aclosing(TenantServices(self._settings)) as services:
            changes = await edit_on_server(services, records, self._scope)
        self._start_step(
            "A run that is killed",
            f"About a third of the file is now changed, removed or added, and {changes} appointments on the server "
            "behind its back. A run in a process of its own starts to send the changes of the file, and is killed.",
        )
        await self._kill_run()
        self._start_step(
            "The run after the crash",
            "It looks at the server to find out which of the pending creates have happened, and sends the rest. "
            "Nothing is created twice.",
        )
        await self._sync("The run after the crash")
        self._start_step(
            "A two-way run", f"It writes to {_FILE} what was changed, removed or added on the server meanwhile."
        )
        await self._sync("A two-way run", Mode.TWO_WAY)
        self._start_step("A run with nothing to send", "Both sides are in sync, and the state knows: no request.")
        last = await self._sync("A run with nothing to send")
        if last.requests:
            self._failures.append(f"The last run sent {last.requests} requests, but had nothing to send.")
        await self._compare()
        return not self._failures

    async def _sync(self, title: str, mode: Mode = Mode.TRUST) -> RunReport:
        source, mirror = file_source(self._path), file_mirror(self._path)
        sync_settings = SyncSettings(wire_format=WireFormat.REFERENCE, concurrency=self._concurrency, grace=_GRACE)
        async with open_sync(self._state_path, self._settings, wait=0) as (state, services):
            progress = SyncProgress(Console(stderr=True), seconds_between_lines=1.0)
            sync = BulkSync(state, services, sync_settings, progress=progress)
            options = SyncOptions(mode=mode, scope=self._scope)
            report = await sync.run(source, options, mirror=mirror if mode is Mode.TWO_WAY else None)
        print_report(report, DisplayOptions(output="table", columns=_COLUMNS), state=self._state_path)
        self._say(totals(report, state=self._state_path.name), style="")
        if report_exit_code(report) is not ExitCode.DONE:
            self._failures.append(f"{title}: not everything was done.")
        return report

    async def _kill_run(self) -> None:
        for tenant in TENANTS:
            self._sandbox.faults.script(DelayFault(0), operation="create", tenant=tenant)
        before = self._count_writes()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, "sync", "run", _FILE, "--concurrency", str(self._concurrency)),
            cwd=self._folder,
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL,  # a killed progress bar would leave the cursor hidden
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await self._wait_until_held(process)
        finally:
            if process.returncode is None:
                process.kill()
            code = await process.wait()
            self._sandbox.faults.clear()
            self._barrier.release()
        writes = self._count_writes() - before
        if code != KILLED or not writes:
            self._failures.append(f"The run was not killed halfway: it ended with exit code {code}.")
        self._say(
            f"connector-async sync run {_FILE} ran in a process of its own and was killed after {writes} "
            f"writes. {await self._count_pending_creates()} creates are pending: the state does not know whether they "
            "happened, and the server does some of them only now."
        )

    async def _wait_until_held(self, process: asyncio.subprocess.Process) -> None:
        """Wait until a create of each tenant is held, or the process has ended."""
        tasks = [asyncio.ensure_future(self._barrier.wait()), asyncio.ensure_future(process.wait())]
        try:
            await asyncio.wait(tasks, timeout=_KILL_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _count_pending_creates(self) -> int:
        async with open_sync(self._state_path, self._settings, wait=0) as (state, _):
            return int((await read_status(state))["pending_creates"])

    async def _compare(self) -> None:
        self._console.print()
        self._console.rule("The server and the file")
        async with aclosing(TenantServices(self._settings)) as services:
            comparison = await compare(services, self._path, self._scope)
        if comparison.missing or comparison.surplus:
            self._failures.append(
                f"The server lacks {comparison.missing} of the file's {comparison.records} appointments, and has "
                f"{comparison.surplus} that the file lacks."
            )
        if limited := self._sandbox.log.count(status=429):
            self._failures.append(f"{limited} requests exceeded the rate limit.")
        for failure in self._failures:
            self._say(failure)
        if not self._failures:
            self._say(
                f"The server has exactly the {comparison.records} appointments of the file: none is missing, and none "
                "exists twice. No request exceeded the rate limit."
            )

    def _count_writes(self) -> int:
        log = self._sandbox.log
        return log.count(operation="create") + log.count(operation="update") + log.count(operation="delete")

    def _start_step(self, title: str, what_happens: str) -> None:
        self._step += 1
        self._console.print()
        self._console.rule(f"{self._step} of {_STEPS}: {title}")
        self._say(what_happens)

    def _say(self, message: str, style: str = "bold") -> None:
        self._console.print(message, style=style, highlight=False, markup=False)


def demo_environment(sandbox: Sandbox, rate_limit: str) -> Mapping[str, str]:
    """Return the environment of the runs, without any settings of the user."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    return inherited | {
        "XDG_CONFIG_HOME": os.devnull,
        "CONNECTOR_BASE_URL": sandbox.base_url,
        "CONNECTOR_CLIENT_ID": DEFAULT_CLIENT_ID,
        "CONNECTOR_CLIENT_SECRET": DEFAULT_CLIENT_SECRET,
        "CONNECTOR_FORMAT": "reference",
        "CONNECTOR_RATE_LIMIT": rate_limit,
    }
