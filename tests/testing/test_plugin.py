"""The pytest plugin, in small projects that are run with each of the async plugins."""

import os
import subprocess
import sys
import tomllib
from ast import literal_eval
from importlib import import_module
from pathlib import Path

import pytest

import connector_async

ROOT = Path(connector_async.__file__).parents[1]
ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")
RUNNERS = {
    "auto": ("[]", (*ASYNCIO, "-o", "asyncio_mode=auto")),
    "strict": ("pytest.mark.asyncio", (*ASYNCIO, "-o", "asyncio_mode=strict")),
    "one loop for a module": ("pytest.mark.asyncio(loop_scope='module')", ASYNCIO),
    "anyio": ("pytest.mark.anyio", ("-p", "anyio.pytest_plugin")),
}
CONFTEST = """
import threading

import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    started = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    # pycares, which resolves names for aiohttp, has one thread in each process.
    left = [thread for thread in started if "_run_safe_shutdown_loop" not in thread.name]
    for thread in left:  # aiosqlite's thread ends shortly after its connection
        thread.join(timeout=5)
    assert [thread.name for thread in left if thread.is_alive()] == []
"""
TESTS = """
import asyncio
from datetime import UTC, datetime

import pytest

from connector_async import AppointmentService, NewAppointment, NotFoundError, RateLimit, WireFormat
from connector_async.sandbox import PreviewPaging, SandboxLimit, StatusFault, synthetic_seeds

DRAFT = NewAppointment(
    title="Visit", start_time=datetime(2024, 1, 15, 10, tzinfo=UTC), end_time=datetime(2024, 1, 15, 11, tzinfo=UTC)
)
in_a_loop = MARKS


@pytest.fixture
async def created(appointment_service):
    return await appointment_service.create(DRAFT)


class TestInALoop:
    pytestmark = in_a_loop

    async def test_faults_and_waits(self, appointment_service, sandbox_faults, virtual_clock, assert_requests):
        created = await appointment_service.create(DRAFT)
        sandbox_faults.script(StatusFault(503, retry_after=30), operation="get")
        assert await appointment_service.get(created.appointment_id) == created
        assert_requests("POST /appointment", "GET /appointment 503", "GET /appointment 200")
        assert virtual_clock.elapsed >= 30

    @pytest.mark.connector(wire_format=WireFormat.REFERENCE, paging=PreviewPaging.CURSOR, page_size=2)
    async def test_options(self, appointment_service, connector_sandbox, assert_requests):
        await connector_sandbox.seed("acme", synthetic_seeds(3))
        connector_sandbox.revoke_tokens("acme")
        everything = appointment_service.preview(datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
        assert len(await everything.collect()) == 3
        assert_requests(counts={"GET /appointment/preview": 2})

    @pytest.mark.connector(limit=SandboxLimit(requests=15, per=10), rate_limit=RateLimit(60, burst=1))
    async def test_rate_limits_of_client_and_sandbox(self, appointment_service, virtual_clock, assert_requests):
        async def get():
            with pytest.raises(NotFoundError):
                await appointment_service.get("404")

        await asyncio.gather(*(get() for _ in range(30)))
        assert_requests(counts={"GET /appointment 404": 30})
        assert virtual_clock.elapsed >= 29


def test_without_a_loop(connector_session, assert_requests):
    async def create():
        await AppointmentService(connector_session).create(DRAFT)

    asyncio.run(create())
    asyncio.run(create())
    assert_requests("POST /appointment", "POST /appointment")
"""
MARKERS = """
import pytest

from connector_async import Clock

pytestmark = pytest.mark.connector(tenant_id="globex", deadline=5)


@pytest.mark.connector(tenant_id="initech")
def test_closest_marker_takes_precedence(connector_session, appointment_service):
    assert (connector_session.tenant_id, connector_session.deadline, appointment_service.deadline) == ("initech", 5, 5)


@pytest.mark.connector(pagesize=2)
def test_unknown_option(appointment_service): ...


@pytest.mark.connector("reference")
def test_positional_argument(connector_sandbox): ...


@pytest.mark.connector(wire_format="reference")
def test_string_instead_of_a_wire_format(connector_sandbox): ...


@pytest.mark.connector(clock=Clock())
def test_clock_beside_the_fixture(connector_session): ...


class TestRealTime:
    @pytest.fixture
    def virtual_clock(self):
        return Clock()

    def test_another_clock_replaces_the_virtual_one(self, connector_session):
        assert type(connector_session.clock) is Clock


def test_difference(assert_requests):
    assert_requests("GET /appointment")
"""
WITHOUT_JWT = """
import sys

sys.modules["jwt"] = None


def test_sandbox(connector_sandbox): ...
"""


def run(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a project with the plugin, with warnings as errors."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_project.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "connector_async.testing.plugin", *options]
    return subprocess.run(
        [*command, "-W", "error", "--strict-markers", "-p", "no:cacheprovider", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("runner", RUNNERS)
def test_fixtures_work_with_every_async_plugin_and_leave_nothing_open(runner: str, tmp_path: Path) -> None:
    marks, options = RUNNERS[runner]
    done = run(tmp_path, TESTS.replace("MARKS", marks), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_marker_has_the_options_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, MARKERS, "-q", "--tb=short")
    assert "1 failed, 2 passed, 4 errors" in done.stdout
    assert "the marker connector has no option pagesize" in done.stdout
    assert "the marker connector takes keyword arguments only" in done.stdout
    assert "wire_format must be a WireFormat, not str" in done.stdout
    assert "the marker connector has no option clock" in done.stdout
    assert "- GET /appointment" in done.stdout


def test_missing_package_is_named_with_the_extra(tmp_path: Path) -> None:
    done = run(tmp_path, WITHOUT_JWT, "-q")
    assert "needs jwt: pip install 'connector-async[testing]'" in done.stdout


def test_loading_the_plugin_imports_no_package_besides_pytest() -> None:
    code = "import sys, pytest; loaded = {*sys.modules}; import connector_async.testing.plugin; "
    code += "print({*sys.modules} - loaded)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {name for name in literal_eval(done.stdout) if name.partition(".")[0] not in sys.stdlib_module_names}
    assert packages == {"connector_async", "connector_async.testing", "connector_async.testing.plugin"}


def test_entry_point_of_the_project_is_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (module,) = project["entry-points"]["pytest11"].values()
    assert import_module(module).pytest_configure


def test_names_of_the_package_are_importable_and_others_are_not() -> None:
    testing = import_module("connector_async.testing")
    assert testing.__all__ == sorted(testing.__all__)
    for name in testing.__all__:
        assert getattr(testing, name).__name__ == name
    assert set(testing.__all__) <= set(dir(testing))
    with pytest.raises(AttributeError, match="has no attribute 'Unknown'"):
        _ = testing.Unknown
