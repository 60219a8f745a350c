"""The pytest plugin: fixtures of a sandbox, a session and a service, and the marker `connector` with their options.

pytest loads it at each start. It imports nothing else before a fixture is used. All fixtures are synchronous, so they
work with pytest-asyncio in both modes, with anyio, and without either: the sandbox serves from a thread, and the
session opens its connections in the event loop that uses it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from connector_async.appointments import AppointmentService
    from connector_async.sandbox import Faults
    from connector_async.session import ConnectorSession

    from .fixture_options import FixtureOptions
    from .request_assertions import AssertRequests
    from .threaded_sandbox import ThreadedSandbox
    from .virtual_clock import VirtualClock

# ruff: noqa: PLC0415 - imports are in the fixtures that need them


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "connector(**options): arguments for the fixtures of connector_async: those of ConnectorSession (wire_format=, "
        "rate_limit=, …), of AppointmentService (user=, retry=) and of Sandbox (paging=, limit=, …)",
    )


@pytest.fixture
def virtual_clock() -> "VirtualClock":
    """Return the clock of `connector_session`, whose waits take no time; the sandbox reads it as well."""
    from connector_async.testing import VirtualClock

    return VirtualClock()


@pytest.fixture
def _connector_options(request: pytest.FixtureRequest, virtual_clock: "VirtualClock") -> "FixtureOptions":
    from connector_async.testing import FixtureOptions

    markers = [*request.node.iter_markers("connector")][::-1]  # the closest one takes precedence
    try:
        return FixtureOptions.of_markers([marker.kwargs for marker in markers], virtual_clock)
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def connector_sandbox(_connector_options: "FixtureOptions") -> "Iterator[ThreadedSandbox]":
    """Serve the API from a thread, on a free port of the loopback."""
    from connector_async.testing import ThreadedSandbox

    with ThreadedSandbox(**_connector_options.sandbox) as sandbox:
        yield sandbox


@pytest.fixture
def connector_session(
    connector_sandbox: "ThreadedSandbox", _connector_options: "FixtureOptions"
) -> "Iterator[ConnectorSession]":
    """Return a session of the tenant `acme` with the sandbox. It is closed at the end of the test."""
    from connector_async.testing.fixture_session import close_in_idle_loops, fixture_session

    session = fixture_session(connector_sandbox.base_url, **_connector_options.session)
    yield session
    close_in_idle_loops(session)


@pytest.fixture
def appointment_service(
    connector_session: "ConnectorSession", _connector_options: "FixtureOptions"
) -> "AppointmentService":
    """Return a service over `connector_session`."""
    from connector_async.appointments import AppointmentService

    return AppointmentService(connector_session, **_connector_options.service)


@pytest.fixture
def sandbox_faults(connector_sandbox: "ThreadedSandbox") -> "Faults":
    """Return the faults of the next requests: `sandbox_faults.script(StatusFault(503), operation="get")`."""
    return connector_sandbox.faults


@pytest.fixture
def assert_requests(connector_sandbox: "ThreadedSandbox") -> "AssertRequests":
    """Return a function that asserts what was sent: `assert_requests("POST /appointment", "GET /appointment")`."""
    from connector_async.testing import AssertRequests

    return AssertRequests(connector_sandbox.log)
