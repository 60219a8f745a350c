"""What a command says about its waits, its retries and its requests, and what -q, -v and --debug-http change."""

import asyncio
import logging

import pytest

from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectFailedError,
    ConnectorSession,
    OutgoingRequest,
    RateLimit,
    Response,
    RetryPolicy,
    _log,
)
from connector_async.cli.activity import Activity, stop_watching
from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import DEFAULT_CLIENT_SECRET, DelayFault, Sandbox, SandboxOperation, StatusFault
from connector_async.testing import VirtualClock
from tests.support.command_line import CommandLine

SLOW = RateLimit(limit=3, per=24, burst=1)  # a slot in 12 seconds


async def told(
    activity: Activity, sandbox: Sandbox, capsys: pytest.CaptureFixture[str], *, rate_limit: RateLimit
) -> list[str]:
    """Return what is said while a session makes a call."""
    activity.start()
    auth = ClientCredentials("sandbox", DEFAULT_CLIENT_SECRET)
    try:
        async with ConnectorSession(
            sandbox.base_url,
            tenant_id="acme",
            auth=auth,
            rate_limit=rate_limit,
            telemetry=activity,
            clock=VirtualClock(),
        ) as session:
            appointments = AppointmentService(session, retry=RetryPolicy(wait_initial=0))
            assert [found async for found in appointments.preview()] == []
    finally:
        stop_watching()
    return capsys.readouterr().err.splitlines()


@pytest.mark.virtual_time
async def test_wait_for_a_slot_is_said_after_a_second_and_not_again_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    activity = Activity(logging.WARNING, seconds_between=30)
    activity.start()
    said = []
    try:
        for _ in range(4):
            _log.slot_wait(key="https://api.example/a%20b", seconds=12)
            await asyncio.sleep(0.9)
            said.append(capsys.readouterr().err)
            await asyncio.sleep(11.1)
            said.append(capsys.readouterr().err)
    finally:
        stop_watching()
    line = "connector-async: waiting 12 s for a rate-limit slot of a b\n"
    assert said == ["", line, "", "", "", "", "", line]


async def test_request_that_waits_for_its_slot_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    async with Sandbox() as sandbox:
        lines = await told(Activity(logging.WARNING, patience=0), sandbox, capsys, rate_limit=SLOW)
    assert "connector-async: waiting 12 s for a rate-limit slot of acme" in lines


@pytest.mark.virtual_time
async def test_wait_for_a_retry_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    activity = Activity(logging.WARNING)
    activity.start()
    try:
        error = ConnectFailedError("no connection")
        _log.retry(operation="get", tenant="acme", attempt=1, wait=30, error=error)
        await asyncio.sleep(2)
    finally:
        stop_watching()
    assert capsys.readouterr().err == "connector-async: waiting 30 s for attempt 2 for acme after ConnectFailedError\n"


async def test_quiet_says_no_wait(capsys: pytest.CaptureFixture[str]) -> None:
    async with Sandbox() as sandbox:
        assert await told(Activity(logging.ERROR, patience=0), sandbox, capsys, rate_limit=SLOW) == []


@pytest.mark.parametrize(
    ("operation", "message"), [("token", "waiting for a token of acme"), ("preview", "waiting for the response to GET")]
)
async def test_slow_response_is_said(
    capsys: pytest.CaptureFixture[str], operation: SandboxOperation, message: str
) -> None:
    async with Sandbox() as sandbox:
        sandbox.faults.script(DelayFault(0.05), operation=operation)
        lines = await told(Activity(logging.WARNING, patience=0.01), sandbox, capsys, rate_limit=RateLimit.unlimited())
    assert f"connector-async: {message}" in lines


@pytest.mark.virtual_time
async def test_wait_at_the_usual_pace_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    activity = Activity(logging.WARNING)
    activity.start()
    try:
        _log.slot_wait(key="https://api.example/acme", seconds=60 / 59)
        await asyncio.sleep(5)
    finally:
        stop_watching()
    assert capsys.readouterr().err == ""


@pytest.mark.virtual_time
async def test_response_that_comes_within_a_second_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    async def respond(_: OutgoingRequest) -> Response:
        await asyncio.sleep(0.9)
        return Response(status=200, headers={}, body=b"")

    request = OutgoingRequest(
        method="GET",
        url="https://api.example/acme/appointment",
        template=None,
        tenant_id="acme",
        operation="get",
        attempt=1,
        headers={},
    )
    await Activity(logging.WARNING).request(request, respond)
    await asyncio.sleep(5)
    assert capsys.readouterr().err == ""


def test_verbose_prints_tokens_and_retries_and_twice_each_request(sandbox: Sandbox, command: CommandLine) -> None:
    assert command("preview").err == ""
    once = command("preview", "-v").err
    assert "tenant acme has a new token for 3600 s" in once
    assert "GET" not in once
    twice = command("preview", "-vv").err
    assert "GET /acme/appointment/preview: 200 OK in" in twice
    assert "POST /acme/authentication/token: 200 OK in" in twice
    assert command("preview", "--log-level", "debug").err.count("\n") == twice.count("\n")
    assert not [one for one in logging.getLogger("connector_async").handlers if isinstance(one, Activity)]


def test_penalty_is_printed_only_with_verbose(sandbox: Sandbox, command: CommandLine) -> None:
    for arguments, is_said in (((), False), (("-v",), True)):
        sandbox.faults.script(StatusFault(429, retry_after=0), operation="preview")
        assert ("is throttled" in command("preview", *arguments).err) is is_said


def test_debug_http_prints_headers_and_status_without_secrets_and_bodies(
    sandbox: Sandbox, command: CommandLine
) -> None:
    headers = ("--header", "X-Api-Key: hunter2", "--header", "X-Trace: 7")
    query = ("--query", "access_token=hunter2", "--query", "page=1")
    done = command("api", "GET", "/appointment/preview", *headers, *query, "--debug-http", "-q")
    lines = done.err.splitlines()
    assert "connector-async: > GET /acme/appointment/preview?access_token=***&page=1" in lines
    assert "connector-async: > X-Api-Key: ***" in lines
    assert "connector-async: > X-Trace: 7" in lines
    assert any(line.startswith("connector-async: < 200 OK in ") for line in lines)
    assert any(line.startswith("connector-async: < Content-Type: application/json") for line in lines)
    assert "hunter2" not in done.err
    assert "eyJ" not in done.err  # how every token of the sandbox starts
    assert "client_secret" not in done.err.lower()


def test_options_of_the_level_exclude_each_other(command: CommandLine) -> None:
    done = command("preview", "-q", "-v")
    assert (done.code, done.err) == (
        ExitCode.USAGE,
        "connector-async: -v, -q and --log-level must not be given together\n",
    )


def test_connection_error_is_in_plain_words_with_the_number_of_attempts(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONNECTOR_BASE_URL", "http://127.0.0.1:9")
    done = command("preview", "--deadline", "20")
    assert done.code == ExitCode.RETRYABLE
    assert done.err.endswith("no connection to 127.0.0.1:9: Connection refused (3 attempts)\n")
    assert "ssl:" not in done.err
    assert "Errno" not in done.err


def test_deadline_error_has_the_error_of_the_last_attempt(sandbox: Sandbox, command: CommandLine) -> None:
    sandbox.faults.script(StatusFault(503, retry_after=60), operation="get")
    done = command("get", "an-id", "--deadline", "1")
    assert done.code == ExitCode.RETRYABLE
    assert "; the last attempt: " in done.err
    assert "503" in done.err


def test_level_that_does_not_exist_is_rejected(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_LOG_LEVEL", "loud")
    assert "log_level must be debug, info, warning or error" in command("preview").err
