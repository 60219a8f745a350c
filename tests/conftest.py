import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import uvloop

from connector_async import (
    AppointmentService,
    ClientCredentials,
    Clock,
    ConnectorSession,
    NewAppointment,
    RateLimit,
)
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox
from connector_async.sync.state.db.location import Location
from tests.support.acceptance import tests_of_rows
from tests.support.postgres import FLAVORS, PostgresServer, StateDatabases, UnavailableError
from tests.support.virtual_time import VirtualTimeLoop

# Tests share the cores with each other: an example that takes long has not failed.
hypothesis.settings.register_profile("shared-cores", deadline=None)
hypothesis.settings.load_profile("shared-cores")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--event-loop", choices=["asyncio", "uvloop"], default="asyncio", help="the event loop that the tests run on"
    )
    parser.addoption(
        "--state-backend",
        choices=["sqlite", *FLAVORS],
        default="sqlite",
        help="the database that the states of the tests are in",
    )
    parser.addoption(
        "--rows", action="store_true", help="print the tests that hold each row of the acceptance table, and run none"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--rows"):
        config.option.dist = "no"  # with pytest-xdist, only its workers collect tests
    # A shell starts its background jobs with SIGINT ignored, and the programs under test would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    if not session.config.getoption("--rows"):
        return None
    for row, tests in tests_of_rows(session.items).items():
        for test in tests:
            print(f"{row:<4}{test}")
    return True


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    if config.getoption("--event-loop") == "uvloop":
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped a test, because everything is installed there.

    The workers of pytest-xdist have no terminal reporter: the controller decides for all of them.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


class ManualClock(Clock):
    """A clock that stands still until a test sets `now` or something sleeps. Its random number is always `draw`."""

    def __init__(self, draw: float = 1.0) -> None:
        self.now = 1_000.0
        self.draw = draw
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(0)
        self.now += seconds

    def random(self) -> float:
        return self.draw


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests about SQLite's files if the states are in another database."""
    if config.getoption("--state-backend") == "sqlite":
        return
    about_files = [item for item in items if item.get_closest_marker("sqlite")]
    config.hook.pytest_deselected(items=about_files)
    items[:] = [item for item in items if item not in set(about_files)]


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of the flavor that the option names, or else of the package."""
    name = request.config.getoption("--state-backend")
    flavor = FLAVORS["pgserver" if name == "sqlite" else name]
    try:
        with PostgresServer.started(flavor) as server:
            yield server
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def state_databases(postgres: PostgresServer) -> Iterator[StateDatabases]:
    """Databases that are dropped at the end of the test."""
    databases = StateDatabases(postgres)
    yield databases
    databases.drop()


@pytest.fixture(autouse=True)
def state_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the state that a path names in a database of the backend that the option names."""
    if request.config.getoption("--state-backend") != "sqlite":
        databases: StateDatabases = request.getfixturevalue("state_databases")

        def of_file(cls: type[Location], name: str) -> Location:
            return cls.parse(databases.url_for(str(Path(name).resolve())))

        monkeypatch.setattr(Location, "_of_file", classmethod(of_file))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def credentials(clock: ManualClock) -> ClientCredentials:
    return ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, clock=clock)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as server:
        yield server


@pytest.fixture
async def session(
    sandbox: Sandbox, credentials: ClientCredentials, clock: ManualClock
) -> AsyncIterator[ConnectorSession]:
    async with ConnectorSession(
        sandbox.base_url, tenant_id="acme", auth=credentials, rate_limit=RateLimit.unlimited(), clock=clock
    ) as opened:
        yield opened


@pytest.fixture
def appointments(session: ConnectorSession) -> AppointmentService:
    return AppointmentService(session)


@pytest.fixture
def draft() -> NewAppointment:
    return NewAppointment(
        title="Meeting with Client",
        start_time=datetime(2024, 1, 15, 10, tzinfo=UTC),
        end_time=datetime(2024, 1, 15, 11, tzinfo=UTC),
        description="Quarterly review meeting",
    )
