"""Tokens from the output of a command, which runs as a real process."""

import asyncio
import json
import os
import shlex
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop

from connector_async import ConnectorSession, RateLimit, TokenFromCommand, TokenUnavailableError
from connector_async.sandbox import Sandbox
from tests.conftest import ManualClock
from tests.support.exposure import exposed


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def printing(output: object) -> list[str]:
    return ["echo", output if isinstance(output, str) else json.dumps(output)]


def session_of(command: list[str], clock: ManualClock | None = None, **options: Any) -> ConnectorSession:
    """Return a session that sends nothing: its tokens are fetched by `fetch_token`."""
    auth = TokenFromCommand(command, clock=clock, **options)
    return ConnectorSession("https://api.example", tenant_id="acme", auth=auth)


async def value_of(session: ConnectorSession) -> str:
    return (await session.fetch_token()).value.reveal()


def content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def write(path: Path, text: str) -> None:
    path.write_text(text)


async def pid_in(path: Path) -> int:
    """Return the process id that a script writes."""
    async with asyncio.timeout(5):
        while not content(path).endswith("\n"):
            await asyncio.sleep(0.001)
    return int(content(path))


async def wait_until_reaped(pid: int) -> None:
    """Wait until there is no such process: one that has ended is there until it is reaped."""
    async with asyncio.timeout(5):
        while is_known(pid):
            await asyncio.sleep(0.001)


def is_known(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def wait_until_dead(pid: int) -> None:
    """Wait until a process has ended. Nobody reaps an orphan in a container without an init."""
    async with asyncio.timeout(5):
        while not is_dead(pid):
            await asyncio.sleep(0.001)


def is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_command_runs_once_more_for_callers_with_a_revoked_token(
    sandbox: Sandbox, session: ConnectorSession, tmp_path: Path
) -> None:
    stored = tmp_path / "token"
    first = await session.fetch_token()
    write(stored, first.value.reveal())
    log = tmp_path / "log"
    auth = TokenFromCommand(shell(f"cat {shlex.quote(str(stored))}; echo run >> {shlex.quote(str(log))}"))
    async with ConnectorSession(
        sandbox.base_url, tenant_id="acme", auth=auth, rate_limit=RateLimit.unlimited()
    ) as used:
        await used.request("GET", ("appointment", "preview"))
        sandbox.revoke_tokens("acme")
        session._sender.auth.invalidate("acme", first)
        write(stored, (await session.fetch_token()).value.reveal())
        await asyncio.gather(*(used.request("GET", ("appointment", "preview")) for _ in range(20)))
    assert content(log).splitlines() == ["run", "run"]
    assert sandbox.log.count(operation="preview", status=200) == 21


async def test_command_gets_the_tenant_and_the_base_url_and_no_standard_input() -> None:
    session = session_of(shell('cat; echo "$CONNECTOR_TENANT_ID@$CONNECTOR_BASE_URL"'))
    assert await value_of(session) == "acme@https://api.example"
    assert await value_of(session.for_tenant("globex")) == "globex@https://api.example"


@pytest.mark.parametrize(
    ("output", "lifetime"),
    [
        ("hunter2", None),
        ({"token": "hunter2"}, None),
        ({"accessToken": "hunter2", "expiresIn": 600, "status": "ok"}, 600),
        ({"access_token": "hunter2", "expires_in": 600, "token_type": "Bearer"}, 600),
        (
            {
                "apiVersion": "client.authentication.k8s.io/v1",
                "kind": "ExecCredential",
                "status": {"token": "hunter2", "expirationTimestamp": "2023-11-14T22:23:20Z"},
            },
            600,
        ),
    ],
)
async def test_token_and_its_lifetime_are_read_from_the_output(
    clock: ManualClock, output: object, lifetime: float | None
) -> None:
    assert datetime.fromtimestamp(clock.time(), UTC).isoformat() == "2023-11-14T22:13:20+00:00"
    token = await session_of(printing(output), clock).fetch_token()
    assert token.value.reveal() == "hunter2"
    assert token.expires_at == (None if lifetime is None else clock.now + lifetime)


async def test_token_with_a_lifetime_is_renewed_in_the_background(clock: ManualClock, tmp_path: Path) -> None:
    stored = tmp_path / "token"
    write(stored, '{"token": "first", "expiresIn": 100}')
    session = session_of(["cat", str(stored)], clock)
    assert await value_of(session) == "first"
    write(stored, '{"token": "second", "expiresIn": 100}')
    clock.now += 90
    assert await value_of(session) == "first"
    async with asyncio.timeout(5):
        while await value_of(session) != "second":
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (shell("echo hunter2 >&2; echo hunter2; exit 3"), "the command sh failed with exit code 3"),
        (shell("kill -9 $$"), "the command sh failed with exit code -9"),
        (["/nonexistent/program", "hunter2"], "the command /nonexistent/program cannot be run: No such file"),
        (["true"], "the output of true must be a token"),
        (printing("hunter2 hunter2"), "the output of echo must be a token"),
        (printing("{hunter2}"), "wrote an object that is not JSON: not JSON at line 1 column 2"),
        (printing({"password": "hunter2"}), "wrote an object without a string token"),
        (printing({"token": "hunter2\n"}), "the output of echo must be a token"),
        (printing({"token": "hunter2", "expiresIn": 0}), "no lifetime above zero: the token has expired"),
        (printing({"token": "hunter2", "expirationTimestamp": "2020-01-01T00:00:00Z"}), "the token has expired"),
        (printing({"token": "hunter2", "expirationTimestamp": "tomorrow"}), "not an RFC 3339 date-time"),
        (printing({"token": "hunter2", "expirationTimestamp": 1}), "not an RFC 3339 date-time"),
        (["yes", "hunter2"], "the command yes wrote more than 64 KiB"),
    ],
)
async def test_command_without_a_token_is_an_error_that_shows_no_output(command: list[str], rule: str) -> None:
    with pytest.raises(TokenUnavailableError, match=rule) as caught:
        await session_of(command).fetch_token()
    assert caught.value.sent is False
    assert exposed(caught.value, "hunter2") == []


async def test_failed_command_runs_again_after_five_seconds(clock: ManualClock, tmp_path: Path) -> None:
    log = tmp_path / "log"
    session = session_of(shell(f"echo run >> {shlex.quote(str(log))}; exit 1"), clock)
    for seconds in (0, 4.9, 0.1):
        clock.now += seconds
        with pytest.raises(TokenUnavailableError):
            await session.fetch_token()
    assert content(log).splitlines() == ["run", "run"]


@pytest.mark.virtual_time
async def test_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    own, child = tmp_path / "own", tmp_path / "child"
    script = f"echo $$ > {shlex.quote(str(own))}; sleep 1000 & echo $! > {shlex.quote(str(child))}; wait"
    with pytest.raises(TokenUnavailableError, match=r"TokenFromCommand\(\['sh', …\]\) had no token within 20 s"):
        await session_of(shell(script), timeout=20).fetch_token()
    await wait_until_reaped(await pid_in(own))
    await wait_until_dead(await pid_in(child))


@pytest.mark.virtual_time
async def test_child_that_keeps_the_pipe_open_does_not_hold_up_the_error(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"setsid sleep 1000 & echo $! > {shlex.quote(str(child))}; exec yes"
    with pytest.raises(TokenUnavailableError, match="more than 64 KiB"):
        await session_of(shell(script)).fetch_token()
    os.kill(await pid_in(child), 9)


async def test_closing_the_session_kills_and_reaps_the_command(tmp_path: Path) -> None:
    own = tmp_path / "own"
    session = session_of(shell(f"echo $$ > {shlex.quote(str(own))}; exec sleep 1000"))
    caller = asyncio.create_task(session.fetch_token())
    pid = await pid_in(own)
    await session.aclose()
    with pytest.raises(RuntimeError, match="the session was closed"):
        await caller
    await wait_until_reaped(pid)


async def test_command_that_closed_its_output_is_killed_too(tmp_path: Path) -> None:
    own = tmp_path / "own"
    session = session_of(shell(f"exec >&-; echo $$ > {shlex.quote(str(own))}; exec sleep 1000"))
    caller = asyncio.create_task(session.fetch_token())
    pid = await pid_in(own)
    await asyncio.sleep(0.02)
    await session.aclose()
    await asyncio.wait([caller])
    await wait_until_reaped(pid)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_event_loops_in_threads_run_the_command_and_share_its_token(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    session = session_of(shell(f"echo run >> {shlex.quote(str(log))}; echo t"))
    values: list[str] = []

    def use() -> None:
        values.append(run(value_of(session)))

    for _ in range(2):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(10)
    assert values == ["t", "t"]
    assert content(log).splitlines() == ["run"]


@pytest.mark.parametrize(
    ("build", "error", "rule"),
    [
        (lambda: TokenFromCommand("vault read"), TypeError, "command must be a sequence of str, not str"),
        (lambda: TokenFromCommand(["vault", 5]), TypeError, "command must be a sequence of str, not of int"),  # type: ignore[list-item]
        (lambda: TokenFromCommand([]), ValueError, "command must start with a program"),
        (lambda: TokenFromCommand(["", "read"]), ValueError, "command must start with a program"),
        (lambda: TokenFromCommand(["vault", "hunter2\0"]), ValueError, "command must not have a null character"),
        (lambda: TokenFromCommand(["vault"], timeout=0), ValueError, "timeout must be above zero"),
    ],
)
def test_invalid_argument_is_rejected_by_name(build: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule) as caught:
        build()
    assert exposed(caught.value, "hunter2") == []


def test_providers_are_compared_by_value_and_hide_their_arguments() -> None:
    provider = TokenFromCommand(["vault", "--pin", "hunter2"])
    assert repr(provider) == "TokenFromCommand(['vault', …])"
    assert provider == TokenFromCommand(("vault", "--pin", "hunter2"))
    assert provider != TokenFromCommand(["vault", "--pin", "hunter3"])
