"""Log lines: only listed fields, whatever the server sends."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectorError,
    ConnectorSession,
    NewAppointment,
    RetryPolicy,
    StaticToken,
)
from connector_async.sandbox import DropBefore, Sandbox, StatusFault
from connector_async.sync.planning.options import Mode
from tests.conftest import ManualClock
from tests.support.hostile import HostileServer, http
from tests.support.services import FOUND, open_service
from tests.support.syncing import record, syncing

FIELDS = {
    "retry": {"operation", "tenant", "attempt", "wait", "error", "request_id"},
    "penalty": {"key", "seconds"},
    "token": {"tenant", "lifetime"},
    "renewal": {"tenant", "retry_in", "error"},
    "skipped": {"operation", "tenant", "count", "request_id"},
}


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    records = [record for record in caplog.records if record.name.startswith("connector_async")]
    assert all(record.name == "connector_async" for record in records)
    assert all(isinstance(record.args, dict) and set(record.args) in FIELDS.values() for record in records)
    return [(record.levelname, record.getMessage()) for record in records]


async def test_retry_is_logged_in_one_line(caplog: pytest.LogCaptureFixture, clock: ManualClock) -> None:
    caplog.set_level(logging.DEBUG)
    async with HostileServer(http(503, X_Request_Id="r-1"), http(503, X_Request_Id="r-2"), FOUND) as server:
        await open_service(server, clock=clock).get("123")
    assert lines(caplog) == [
        (
            "INFO",
            "get for tenant acme: attempt 1 failed (ServerError 503, request r-1), the next follows in 2.000 s",
        ),
        (
            "INFO",
            "get for tenant acme: attempt 2 failed (ServerError 503, request r-2), the next follows in 4.000 s",
        ),
    ]


async def test_last_failure_is_raised_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with HostileServer(http(500)) as server:
        with pytest.raises(ConnectorError):
            await open_service(server, retry=RetryPolicy.none()).get("123")
    assert lines(caplog) == []


async def test_penalty_is_logged_in_one_line(caplog: pytest.LogCaptureFixture, clock: ManualClock) -> None:
    async with HostileServer(http(429, Retry_After="5"), FOUND) as server:
        service = open_service(server, clock=clock, tenant_id="a b")
        await service.get("123")
        assert [line for line in lines(caplog) if line[0] == "WARNING"] == [
            ("WARNING", f"{server.base_url}/a%20b is throttled: nothing is sent for 5.500 s")
        ]


async def test_new_token_and_failed_renewal_are_logged_in_one_line_each(
    caplog: pytest.LogCaptureFixture, session: ConnectorSession, sandbox: Sandbox, clock: ManualClock
) -> None:
    caplog.set_level(logging.INFO, "connector_async")
    await session.request("GET", ("appointment", "preview"))
    sandbox.faults.script(StatusFault(503), operation="token")
    clock.now += 3_590
    for _ in range(3):
        await session.request("GET", ("appointment", "preview"))
    sandbox.faults.script(DropBefore(), operation="token")
    assert lines(caplog) == [
        ("INFO", "tenant acme has a new token for 3600 s"),
        (
            "WARNING",
            "tenant acme: the token was not renewed (ServerError 503), the old one stays in use; the next attempt is "
            "in 60 s or later",
        ),
    ]


@pytest.mark.parametrize("hostile", ["Jane Doe", "a" * 129, "%(operation)s", "{}", "é", "a;b"])
async def test_string_that_does_not_look_like_a_request_id_is_not_logged(
    hostile: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with HostileServer(http(500, X_Request_Id=hostile), FOUND) as server:
        await open_service(server).get("123")
    ((_, line),) = lines(caplog)
    assert "request unknown" in line
    assert hostile not in line


async def test_no_line_has_personal_data_or_secrets(
    caplog: pytest.LogCaptureFixture, draft: NewAppointment, clock: ManualClock
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = b'{"title":"Meeting with Client","traceId":"Meeting with Client","token":"hunter2","secret":"hunter3"}'
    responses = [http(status, echo) for status in (429, 503, 429)]
    async with HostileServer(http(200, b'{"token":"hunter2"}'), *responses) as server:
        service = open_service(server, clock=clock, auth=ClientCredentials("id", "hunter3"))
        for _ in range(2):
            with pytest.raises(ConnectorError):
                await service.create(draft)
    assert lines(caplog)
    for hidden in ("hunter", draft.title, "Meeting", str(draft.description)):
        assert hidden not in caplog.text


SILENT = """
import asyncio, sys
from connector_async import AppointmentService, ConnectorSession, RetryPolicy, StaticToken

async def main():
    policy = RetryPolicy(wait_initial=0, wait_initial_throttled=0.01, on_retry=lambda retry: 1 / 0)
    async with ConnectorSession(sys.argv[1], tenant_id="acme", auth=StaticToken("t")) as session:
        await AppointmentService(session, retry=policy).get("1")

asyncio.run(main())
"""


async def test_nothing_is_printed_unless_the_application_configures_logging() -> None:
    async with HostileServer(http(429), FOUND) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SILENT, server.base_url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert await process.communicate() == (b"", b"")
        assert process.returncode == 0
        assert len(server.requests) == 2


async def test_no_debug_line_of_a_library_has_data_of_a_sync(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    records = [record("k-1", "Hunter's visit", description="Hunter's secrets")]
    async with syncing(tmp_path / "state.db") as sync:
        for mode in (Mode.TRUST, Mode.CHECK):
            await sync.run(records, mode=mode)
            await sync.run([record("k-1", "Hunter's second visit")], mode=mode)
    assert "alembic.runtime.migration" in {line.name for line in caplog.records}  # lines of libraries are captured
    assert not [line.name for line in caplog.records if "Hunter" in line.getMessage()]


async def test_line_names_the_tenant_of_a_child_session(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "connector_async")
    async with HostileServer(http(500), FOUND) as server:
        session = open_service(server).session.for_tenant("globex", StaticToken("t"))
        await AppointmentService(session).get("1")
    assert [line for _, line in lines(caplog) if line.startswith("get for tenant globex: attempt 1 failed")]
