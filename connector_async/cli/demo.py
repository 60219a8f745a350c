"""The demonstration: a bulk sync of three tenants with a local server, through a crash, and in both directions."""

import asyncio
import os
import signal
import sys
import tempfile
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
from connector_async.sync.bulk_sync import BulkSync, SyncSettings
from connector_async.sync.formats import file_mirror, file_source
from connector_async.sync.planning.options import SyncOptions
from connector_async.sync.planning.three_way import Mode
from connector_async.sync.report import RunReport
from connector_async.sync.state.inspection import status
from connector_async.wire import WireFormat

from .config_sources import PROJECT_FILE, read_settings
from .demo_records import (
    CALENDARS,
    TENANTS,
    compare,
    edit_on_server,
    edited,
    made_up,
    scope_of,
    write,
)
from .exit_codes import ExitCode
from .options import TABLE
from .sync_progress import SyncProgress
from .sync_report import exit_code_of, print_report
from .sync_run import opened
from .sync_sessions import TenantServices

# A hundred times what the API documents, so that the demonstration does not take an hour.
_REQUESTS_PER_MINUTE: Final = 6_000
_LIMIT: Final = SandboxLimit(requests=_REQUESTS_PER_MINUTE, per=60.0, window=LimitWindow.SLIDING)
_GRACE: Final = 1.0  # seconds; this server shows at once what it has done
_PATIENCE: Final = 30.0  # seconds until a run that is to be killed must have come to the middle
_FILE: Final = "visits.csv"
_CODE: Final = "from connector_async.cli.main import main; main()"


async def run_demo(console: Console, *, appointments: int, concurrency: int) -> bool:
    """Run it, and print what it does and the report of each run.

    Returns:
        Whether every run came to its end, the last one had nothing to send, and the server has what the file says.
    """
    held = _Held()
    with tempfile.TemporaryDirectory(prefix="connector-async-") as folder:
        async with Sandbox(body_format=BodyFormat.REFERENCE, limit=_LIMIT, sleep=held.sleep) as sandbox:
            demonstration = _Demonstration(console, sandbox, held, Path(folder), appointments, concurrency)
            try:
                return await demonstration.run()
            finally:
                held.release()


class _Held:
    """Requests that the server does not answer, nor do, until they are released: a crash shall come in between."""

    def __init__(self) -> None:
        self._released = asyncio.Event()
        self._full = asyncio.Event()
        self._count = 0

    async def sleep(self, _: float) -> None:
        self._count += 1
        if self._count == len(TENANTS):
            self._full.set()
        await self._released.wait()

    async def wait(self) -> None:
        await self._full.wait()

    def release(self) -> None:
        self._released.set()


class _Demonstration:
    def __init__(
        self, console: Console, sandbox: Sandbox, held: _Held, folder: Path, appointments: int, concurrency: int
    ) -> None:
        self._console = console
        self._sandbox = sandbox
        self._held = held
        self._folder = folder
        self._path = folder / _FILE
        self._count = appointments
        self._concurrency = concurrency
        self._scope = scope_of(appointments)
        self._environment = _environment(sandbox, folder)
        _write_private(folder / PROJECT_FILE)  # so that none of a folder above counts
        self._settings = read_settings({}, environment=self._environment, folder=folder)
        self._complaints: list[str] = []

    async def run(self) -> bool:
        records = made_up(range(self._count))
        await write(self._path, records)
        self._say(
            f"A server of the API listens on {self._sandbox.base_url}. {_FILE} has {self._count} appointments of "
            f"{len(TENANTS)} tenants with {len(CALENDARS) // len(TENANTS)} users each. Each tenant may send "
            f"{_REQUESTS_PER_MINUTE:,} requests a minute: a hundred times the real limit."
        )
        await self._sync("The first run")
        after = edited(records)
        await write(self._path, after)
        async with aclosing(TenantServices(self._settings)) as services:
            changes = await edit_on_server(services, records, self._scope)
        self._say(f"Of the file a half is changed, removed or added; and {changes} appointments on the server.")
        await self._kill_in_the_middle()
        await self._sync("The run after the crash")
        await self._sync("In both directions", Mode.TWO_WAY)
        last = await self._sync("Once more")
        if last.requests:
            self._complaints.append(f"The last run sent {last.requests} requests, and had nothing to send.")
        await self._compare()
        return not self._complaints

    async def _sync(self, title: str, mode: Mode = Mode.TRUST) -> RunReport:
        self._console.rule(title)
        source, mirror = file_source(self._path), file_mirror(self._path)
        how = SyncSettings(wire_format=WireFormat.REFERENCE, concurrency=self._concurrency, grace=_GRACE)
        async with opened(self._settings, wait=0) as it:
            progress = SyncProgress(self._console, between_lines=1.0)
            sync = BulkSync(it.state, it.services, how, progress=progress)
            plan = SyncOptions(mode=mode, scope=self._scope)
            report = await sync.run(source, plan, mirror=mirror if mode is Mode.TWO_WAY else None)
        print_report(report, TABLE)
        if exit_code_of(report, tells_nothing=False) is not ExitCode.DONE:
            self._complaints.append(f"{title}: not all was done.")
        return report

    async def _kill_in_the_middle(self) -> None:
        self._console.rule("A run that is killed")
        for tenant in TENANTS:
            self._sandbox.faults.script(DelayFault(0), operation="create", tenant=tenant)
        before = self._writes()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _CODE, "sync", "run", _FILE, "--concurrency", str(self._concurrency)),
            cwd=self._folder,
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL,  # a live view that is killed would leave the terminal without a cursor
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await self._watch(process)
        finally:
            if process.returncode is None:
                process.kill()
            code = await process.wait()
            self._sandbox.faults.clear()
            self._held.release()
        writes = self._writes() - before
        if code != -signal.SIGKILL or not writes:
            self._complaints.append(f"The run was not killed in its middle: it ended with status {code}.")
        self._say(
            f"connector-async sync run {_FILE}, in a process of its own, was killed by SIGKILL after {writes} writes. "
            f"{await self._open_creates()} creates are open: nothing tells whether they happened, and some of them "
            "happen only now."
        )

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Wait until a create of each tenant is held, or the process has ended."""
        waits = [asyncio.ensure_future(self._held.wait()), asyncio.ensure_future(process.wait())]
        try:
            await asyncio.wait(waits, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _open_creates(self) -> int:
        async with opened(self._settings, wait=0) as it:
            return int((await status(it.state))["open_creates"])

    async def _compare(self) -> None:
        self._console.rule("The server and the file")
        async with aclosing(TenantServices(self._settings)) as services:
            compared = await compare(services, self._path, self._scope)
        if compared.missing or compared.surplus:
            self._complaints.append(
                f"The server lacks {compared.missing} of the file's {compared.records} appointments, and has "
                f"{compared.surplus} that the file has not."
            )
        if refused := self._sandbox.log.count(status=429):
            self._complaints.append(f"The server refused {refused} requests for its limit.")
        for complaint in self._complaints:
            self._say(complaint)
        if not self._complaints:
            self._say(
                f"The server has just the {compared.records} appointments that the file says: none is missing, none is "
                "there twice. It refused no request for its limit."
            )

    def _writes(self) -> int:
        log = self._sandbox.log
        return log.count(operation="create") + log.count(operation="update") + log.count(operation="delete")

    def _say(self, text: str) -> None:
        self._console.print(text, style="bold", highlight=False, markup=False)


def _environment(sandbox: Sandbox, folder: Path) -> Mapping[str, str]:
    """Return the environment of the runs: nothing of the user's own settings is in it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    return inherited | {
        "XDG_CONFIG_HOME": os.devnull,
        "CONNECTOR_BASE_URL": sandbox.base_url,
        "CONNECTOR_CLIENT_ID": DEFAULT_CLIENT_ID,
        "CONNECTOR_CLIENT_SECRET": DEFAULT_CLIENT_SECRET,
        "CONNECTOR_STATE": str(folder / "state.db"),
        "CONNECTOR_FORMAT": "reference",
        "CONNECTOR_RATE_LIMIT": f"{_REQUESTS_PER_MINUTE}/60",
    }


def _write_private(path: Path) -> None:
    path.touch(mode=0o600)
