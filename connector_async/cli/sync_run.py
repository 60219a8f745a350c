"""Opens what a sync works with, and runs it: signals stop it gracefully, and its report is printed."""

import asyncio
import os
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from connector_async.appointments import AppointmentService
from connector_async.auth import Token, TokenProvider, TokenSend
from connector_async.exceptions import AuthenticationError
from connector_async.rate_limit import RateLimitStore
from connector_async.sync.budget import Budget
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.formats import MergingMirror, Source, expanded_range, file_mirror
from connector_async.sync.records import Calendar
from connector_async.sync.report import RunReport
from connector_async.sync.state import State

from .config_sources import read_settings
from .connect import is_quiet, open_session, selected_format
from .credentials import credentials_for
from .exit_codes import ExitCode
from .messages import print_message
from .options import DisplayOptions
from .progress import SyncProgress, error_console
from .secret_sources import SecretReader
from .settings import Settings, SettingsError, assumed_zone, parse_rate_limit
from .signals import stoppable
from .source_options import SourceOptions
from .sync_options import LimitOptions, LockedStateOptions, PerformanceOptions, StateOptions
from .sync_report import print_report, report_exit_code, totals, write_dead_letters

RUN_STATE: Final = ".connector-sync.db"
"""How the state of runs is called after its source, instead of the suffix of that."""
PULL_STATE: Final = ".connector-pull.db"
"""How the state of pulls is called after the mirror."""


async def run_sync(
    start: Callable[[BulkSync, State, Budget], Coroutine[Any, Any, RunReport]],
    path: str | Path,
    *,
    settings: Settings,
    state: LockedStateOptions,
    performance: PerformanceOptions,
    limits: LimitOptions,
    display: DisplayOptions,
) -> ExitCode:
    """Open the state and the sessions, run a sync, print its report, and return the exit code.

    Args:
        start: Returns the run of the given sync. It spends the given budget.
        path: The path or the URL of the state.
        settings: Describe the server and the credentials.
        state: How long to wait for the state.
        performance: How the run sends its requests.
        limits: When the run stops early, and what it reports.
        display: How the report is printed.

    Raises:
        ValueError: If an option or a setting is invalid.
        SyncError: If the run cannot start or cannot continue.
    """
    budget = limits.budget()
    sync_settings = performance.sync_settings(selected_format(settings))
    async with open_sync(path, settings, wait=state.wait) as (opened_state, services):
        sync = BulkSync(
            opened_state, services, sync_settings, progress=SyncProgress(error_console(quiet=is_quiet(settings)))
        )
        return await finish_run(start(sync, opened_state, budget), budget, opened_state, limits, display)


async def finish_run(
    run: Coroutine[Any, Any, RunReport], budget: Budget, state: State, limits: LimitOptions, display: DisplayOptions
) -> ExitCode:
    """Await a run, which signals can stop; then print its report, and return the exit code.

    Raises:
        SyncError: If the run cannot start or cannot continue.
    """
    report, signal_code = await stoppable(run, budget, stop_timeout=limits.stop_timeout)
    if report is None:
        print_message("cut off: operations in flight may have happened; the next run finds out")
        return signal_code or ExitCode.OTHER
    print_report(report, display, state=state.location)
    print_message(totals(report, state=state.location))
    if limits.dead_letters is not None:
        await write_dead_letters(state, report.run_id, limits.dead_letters)
    return signal_code or report_exit_code(report, reports_nothing_to_do=limits.exit_code)


@asynccontextmanager
async def open_sync(
    path: str | Path, settings: Settings, *, wait: float
) -> AsyncIterator[tuple[State, "TenantServices"]]:
    """Open the state and the sessions. No other run can work with the state meanwhile.

    Args:
        path: The path or the URL of the state.
        settings: Describe the server and the credentials.
        wait: Seconds to wait while another run works with the state.

    Raises:
        ValueError: If a setting is invalid or missing.
        StateBusyError: If another run works with the state.
        StateError: If the state cannot be opened.
    """
    async with aclosing(TenantServices(settings)) as services:
        owner = f"process {os.getpid()} on {socket.gethostname()}"
        async with await State.open(path, owner=owner, wait=wait) as state:
            yield state, services


def only_state() -> Path:
    """Return the path of the only state in the current folder.

    Raises:
        SettingsError: If there is none or more than one.
    """
    found = sorted(path.name for suffix in (RUN_STATE, PULL_STATE) for path in Path().glob(f"*{suffix}"))
    if len(found) == 1:
        return Path(found[0])
    reason = f"this folder has {', '.join(found)}" if found else f"this folder has no *{RUN_STATE} or *{PULL_STATE}"
    raise SettingsError(f"--state must name the state: {reason}")


@asynccontextmanager
async def opened_to_read(options: StateOptions, owner: str) -> AsyncIterator[State]:
    """Yield the state that the options or the settings name, or else the only one in the current folder.

    It is opened for reading only, also while a run works with it.

    Args:
        options: Where the state is.
        owner: The name of the command.

    Raises:
        SettingsError: If nothing says where the state is, or there is none.
        StateError: If the state cannot be opened.
    """
    settings = read_settings(options.as_settings())
    async with (
        options.located(settings, only_state, creates=False) as location,
        await State.open(location, owner=owner, read_only=True) as state,
    ):
        yield state


def open_mirror(path: Path, source: Source, options: SourceOptions, settings: Settings) -> MergingMirror:
    """Return the mirror that writes to the file of a source.

    Args:
        path: The file.
        source: The source, which the mirror reads the file like.
        options: Describe the source.
        settings: Describe the source.

    Raises:
        ValueError: If an option or a setting is invalid, or the format is not known.
    """
    return file_mirror(
        path,
        format=options.source_format,
        tenant_id=settings.get("tenant_id"),
        assume_zone=assumed_zone(settings),
        expand=expanded_range(source),
        ignore_unknown=settings.get("ignore_unknown"),
    )


class TenantServices:
    """Returns the service for a calendar. All services share their connections; each tenant has its own rate limit.

    Args:
        settings: Describe the server and the credentials of each tenant.
        rate_limit_store: Keeps the rate limits and the retry quotas, if other processes share them.

    Raises:
        ValueError: If a setting is invalid or missing.
    """

    def __init__(self, settings: Settings, *, rate_limit_store: RateLimitStore | None = None) -> None:
        self._session = open_session(
            settings,
            settings.get("tenant_id") or "sync",  # a session needs a tenant; only those of the source send requests
            auth=TenantCredentials(settings, print_message),
            # The steady rate is the limit less the burst, so the smallest burst is the fastest for a long run.
            rate_limit=parse_rate_limit(settings.get("rate_limit"), burst=1),
            rate_limit_store=rate_limit_store,
        )

    def __call__(self, calendar: Calendar) -> AppointmentService:
        """Return the service for a calendar."""
        return AppointmentService(self._session.for_tenant(calendar.tenant_id), user=calendar.user)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.aclose()


class TenantCredentials:
    """A `TokenProvider` with the credentials of each tenant, which are read when they are first needed.

    Args:
        settings: Say where the credentials are.
        warn: Called with a message about each tenant without usable credentials, and each file that others can read.
    """

    def __init__(self, settings: Settings, warn: Callable[[str], None]) -> None:
        self._settings = settings
        self._warn = warn
        self._secrets = SecretReader(warn)
        self._providers: dict[str, TokenProvider | None] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def token(self, tenant: str, send: TokenSend) -> Token:
        """Return a token for the tenant.

        Raises:
            AuthenticationError: If the tenant has no usable credentials, or they were rejected. It stops only the work
                of this tenant.
            ConnectorError: If the token request failed.
        """
        async with self._locks[tenant]:
            if tenant not in self._providers:
                self._providers[tenant] = await asyncio.to_thread(self._read, tenant)
        provider = self._providers[tenant]
        if provider is None:
            raise AuthenticationError(f"there are no usable credentials for the tenant {tenant}")
        return await provider.token(tenant, send)

    def invalidate(self, tenant: str, token: Token) -> None:
        """Forget a token that the server rejected."""
        provider = self._providers.get(tenant)
        if provider is not None:
            provider.invalidate(tenant, token)

    def _read(self, tenant: str) -> TokenProvider | None:
        try:
            return credentials_for(tenant, self._settings, self._secrets)
        except SettingsError as error:
            self._warn(f"tenant {tenant}: {error}")
            return None
