"""The commands of a sync on many machines: enqueue and work."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Group, Parameter

from connector_async._checks import check_int, check_seconds
from connector_async._clock import Clock
from connector_async.exceptions import RateLimitStoreError
from connector_async.rate_limit import RateLimitStore
from connector_async.sync.budget import Budget
from connector_async.sync.distributed import QUANTUM, Share, ShareWorker
from connector_async.sync.distributed import enqueue as start_run
from connector_async.sync.exceptions import StateUnavailableError, TargetMismatchError
from connector_async.sync.planning.options import Mode
from connector_async.sync.report import RunReport
from connector_async.sync.state import State
from connector_async.sync.state.db.engine import LEASE_SECONDS
from connector_async.sync.state.db.location import Location
from connector_async.sync.state.db.retrying import repeatable

from .config_sources import read_settings
from .connect import selected_format
from .exit_codes import ExitCode
from .messages import error_message, print_message
from .options import DEFAULT_CONNECTION, DEFAULT_DISPLAY, ConnectionOptions, DisplayOptions
from .settings import Settings, SettingsError, assumed_zone
from .signals import stoppable
from .source_options import DEFAULT_SOURCE, SourceFile, SourceOptions
from .standard_input import is_standard_input, opened_source
from .sync_options import (
    PerformanceOptions,
    RunOptions,
    ScheduledPerformanceOptions,
    SharedRunOptions,
    SharedStateOptions,
)
from .sync_report import REPORT_COLUMNS, print_report
from .sync_run import TenantServices

if TYPE_CHECKING:
    from connector_async.rate_limit import PostgresRateLimitStore

_STATE: Final = SharedStateOptions()
_RUN: Final = SharedRunOptions()
_PERFORMANCE: Final = PerformanceOptions()
_SCHEDULED: Final = ScheduledPerformanceOptions()
_WORK: Final = Group("Work", sort_key=0.5)

_NEEDED: Final = (
    "--state must be the URL of a PostgreSQL database, such as postgresql://user@host/database; without one, "
    "--embedded-postgres starts a server on this machine"
)

_Quantum = Annotated[
    int, Parameter(help="Requests of a tenant after which a worker turns to other tenants that are waiting.")
]


async def enqueue(
    source: SourceFile,
    /,
    *,
    quantum: _Quantum = QUANTUM,
    options: SharedRunOptions = _RUN,
    source_options: SourceOptions = DEFAULT_SOURCE,
    performance: PerformanceOptions = _PERFORMANCE,
    state: SharedStateOptions = _STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Start a run for the workers of sync work: read a file into the state, check the guard, and end.

    It sends nothing. The state is a PostgreSQL database. Another file for the same tenants supersedes what is left.
    """
    display.check(REPORT_COLUMNS)
    starter = _Starter(source, quantum, options, source_options, performance, connection, wait=state.wait)
    async with _database(state, connection) as url:
        report = await starter.start(url)
        print_report(report, display, state=Location.parse(url))
    return ExitCode.DEAD_LETTERS if report.unreadable else ExitCode.DONE


async def work(
    source: Annotated[
        Path | None,
        Parameter(
            name="SOURCE",
            allow_leading_hyphen=True,
            help="The file to enqueue with --cron; its name ends in .jsonl, .ndjson, .csv or .ics.",
        ),
    ] = None,
    /,
    *,
    concurrency: Annotated[
        int,
        Parameter(group=_WORK, help="Tenants that are worked on at a time; most of them wait for their rate limit."),
    ] = 64,
    once: Annotated[bool, Parameter(group=_WORK, negative="", help="End when the queue is empty.")] = False,
    cron: Annotated[
        str | None,
        Parameter(
            group=_WORK,
            help="Enqueue SOURCE on this schedule: minute, hour, day of the month, month, day of the week, such as "
            "'0 * * * *' for each hour. Of the workers with the same SOURCE, one does so.",
        ),
    ] = None,
    lease: Annotated[
        float,
        Parameter(group=_WORK, help="Seconds after which the tenants of a worker that was killed go to others."),
    ] = LEASE_SECONDS,
    stop_timeout: Annotated[
        float, Parameter(group=_WORK, help="Seconds that operations in flight get to end after SIGINT or SIGTERM.")
    ] = 30.0,
    quantum: _Quantum = QUANTUM,
    options: SharedRunOptions = _RUN,
    source_options: SourceOptions = DEFAULT_SOURCE,
    performance: ScheduledPerformanceOptions = _SCHEDULED,
    state: SharedStateOptions = _STATE,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> ExitCode:
    """Work on the runs that sync enqueue has started, beside any number of other workers on any machine.

    The workers keep the rate limit of each tenant together. SIGTERM or SIGINT ends the operations in flight, and leaves
    the rest to the others. The exit code is 3 if a tenant could not be synced because of a permanent error, which
    ends its part of the run; sync explain shows the reason.
    """
    check_int("concurrency", concurrency)
    check_seconds("stop_timeout", stop_timeout)
    check_seconds("lease", lease, above_zero=True)
    if (source is None) is not (cron is None):
        raise ValueError("--cron must be given with SOURCE, and SOURCE with --cron")
    if once and cron is not None:
        raise ValueError("--once must not be given with --cron, which goes on for ever")
    of_a_run = (quantum, options, source_options, performance)
    if source is None and of_a_run != (QUANTUM, _RUN, DEFAULT_SOURCE, _SCHEDULED):
        raise ValueError("the options of a run must be given to sync enqueue, or with SOURCE and --cron")
    starter = None
    if source is not None:
        if is_standard_input(source):
            raise ValueError("SOURCE must be a file with --cron: standard input is read once")
        starter = _Starter(source, quantum, options, source_options, performance, connection, wait=state.wait)
    settings = read_settings(connection.as_settings())
    budget = Budget(Clock())  # without limits: a signal stops it
    async with _database(state, connection) as url:
        working = _work(
            url, settings, budget, concurrency=concurrency, once=once, lease=lease, cron=cron, starter=starter
        )
        try:
            failed, code = await stoppable(working, budget, stop_timeout=stop_timeout)
        except TargetMismatchError as error:
            raise SettingsError(f"--base-url and --format must be those of the run: {error}") from None
    if failed is None:
        print_message("cut off: operations in flight may have happened; the next worker finds out")
        return code or ExitCode.OTHER
    return ExitCode.DEAD_LETTERS if failed else ExitCode.DONE


async def _work(
    url: str,
    settings: Settings,
    budget: Budget,
    *,
    concurrency: int,
    once: bool,
    lease: float,
    cron: str | None,
    starter: "_Starter | None",
) -> int:
    """Work until the budget is stopped, or the queue is empty with `once`, and return how many shares failed."""
    queue = _queue(url)  # first: it names the extra that is missing
    from connector_async.rate_limit import PostgresRateLimitStore  # noqa: PLC0415 - they need psycopg
    from connector_async.sync.distributed.procrastinate_connection import conninfo  # noqa: PLC0415

    if starter is not None and cron is not None:
        periodic = starter
        queue.add_schedule(cron, str(periodic.source), lambda: periodic.start(url))
    is_working = asyncio.Event()

    async def run() -> None:
        async with (
            PostgresRateLimitStore(conninfo(Location.parse(url)), pool_size=1) as store,
            aclosing(_services(settings, store)) as services,
            await _open(url, lease) as state,
            queue,
        ):
            await _connect(state, store)
            is_working.set()
            print_message(f"working on {state.location}")
            shares = ShareWorker(state, services)
            await queue.work(shares, concurrency=concurrency, once=once, lease=lease, on_failure=_print_failure)

    running = asyncio.create_task(run(), name="connector_async work")
    stopping = asyncio.create_task(budget.stopped(), name="connector_async stop")
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not running.done() and is_working.is_set():
            queue.stop()
        elif not running.done():  # it waits for the database
            running.cancel()
        await asyncio.wait([running])
    except asyncio.CancelledError:
        running.cancel()
        await asyncio.wait([running])
        raise
    finally:
        stopping.cancel()
    if not running.cancelled():
        running.result()
    return int(queue.failed)


@asynccontextmanager
async def _database(state: SharedStateOptions, connection: ConnectionOptions) -> AsyncIterator[str]:
    """Yield the URL of the state, while its server runs if it has one of this machine.

    Raises:
        ValueError: If the options and the settings name no PostgreSQL database, or two.
    """
    settings = read_settings(connection.as_settings() | state.as_settings())
    async with state.located(settings, default=Path) as location:  # no path is a database
        if not isinstance(location, str):
            raise SettingsError(_NEEDED)
        yield location


def _services(settings: Settings, store: RateLimitStore) -> TenantServices:
    return TenantServices(settings, rate_limit_store=store)


@repeatable
async def _open(url: str, lease: float) -> State:
    """Open the state, also if the database is just being started, or has no free connection."""
    return await State.open(url, owner=f"worker {os.getpid()} on {socket.gethostname()}", lease=lease)


async def _connect(state: State, store: "PostgresRateLimitStore") -> None:
    """Take the connections that the work needs. A worker without them would keep others from its tenants."""
    await state.serial()
    while True:
        try:
            await store.delete_idle_keys()
        except RateLimitStoreError:
            print_message("the database has no connection for this worker; it waits")
        else:
            return


def _print_failure(share: Share | None, error: Exception) -> None:
    what = "the schedule" if share is None else f"tenant {share.tenant_id} of run {share.run_id}"
    retried = "; it is retried" if isinstance(error, StateUnavailableError) else ""
    print_message(f"{what}: {error_message(error)}{retried}")


def _queue(url: str) -> Any:
    """Return the queue of a state.

    Raises:
        SystemExit: If procrastinate is not installed.
    """
    try:
        from connector_async.sync.distributed.procrastinate_queue import ProcrastinateQueue  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"connector-async: {error.name} is missing; install it with: pip install 'connector-async[distributed]'"
        ) from None
    for name in ("procrastinate", "psycopg.pool"):  # they would write to the standard error stream as they like
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    return ProcrastinateQueue(url)


class _Starter:
    """Starts runs of a file."""

    def __init__(
        self,
        source: Path,
        quantum: int,
        options: RunOptions,
        source_options: SourceOptions,
        performance: PerformanceOptions,
        connection: ConnectionOptions,
        *,
        wait: float,
    ) -> None:
        check_int("quantum", quantum)
        self.source = source
        self._quantum = quantum
        self._wait = wait
        self._source_options = source_options
        self._settings = read_settings(connection.as_settings() | source_options.as_settings())
        wire_format = selected_format(self._settings)
        self._sync_options = options.sync_options(Mode(options.mode), wire_format, assumed_zone(self._settings))
        self._sync_settings = performance.sync_settings(wire_format)

    async def start(self, url: str) -> RunReport:
        """Start a run, and return its report."""
        async with (
            opened_source(self.source, self._source_options, self._settings) as (records, _),
            aclosing(TenantServices(self._settings)) as services,
            _queue(url) as queue,
        ):
            report = await start_run(
                records,
                url,
                queue,
                services,
                options=self._sync_options,
                settings=self._sync_settings,
                quantum=self._quantum,
                wait=self._wait,
            )
        counts = ", ".join(f"{number} {fate.value.replace('_', ' ')}" for fate, number in report.counts.items())
        print_message(f"run {report.run_id}: {counts or 'nothing to do'}; {len(report.tenants)} tenants")
        return report
