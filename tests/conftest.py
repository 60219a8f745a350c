import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from connector_async import AppointmentService, ClientCredentials, Clock, ConnectorSession, NewAppointment
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything is installed, a test that is skipped has failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


class ManualClock(Clock):
    """Moves when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0


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
async def session(sandbox: Sandbox, credentials: ClientCredentials) -> AsyncIterator[ConnectorSession]:
    async with ConnectorSession(sandbox.base_url, tenant_id="acme", auth=credentials) as opened:
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
