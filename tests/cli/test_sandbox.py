"""The command `sandbox`: its options, and the server that it starts."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connector_async.cli import commands, sandbox
from connector_async.cli.exit_codes import ExitCode
from connector_async.cli.sandbox import BehaviorOptions, FaultOptions, ListenOptions
from connector_async.sandbox import (
    BodyFormat,
    DropAfter,
    FaultRates,
    LimitWindow,
    PreviewPaging,
    PutSemantics,
    Sandbox,
    SandboxLimit,
    StatusFault,
    TokenResponse,
    UnknownId,
    WriteResponse,
)
from tests.support.command_line import COMMAND, CommandLine

CREDENTIALS = {"clientId": "sandbox", "clientSecret": "sandbox-secret"}


@asynccontextmanager
async def started(*arguments: str, number: signal.Signals = signal.SIGTERM) -> AsyncIterator[str]:
    """Yield the base URL that the command prints, and end it by a signal."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "sandbox", "--port", "0", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        yield (await process.stdout.readline()).decode().strip()
        process.send_signal(number)
        assert await process.wait() == 0
    assert process.stderr is not None
    assert await process.stderr.read() == b""


async def preview(session: aiohttp.ClientSession, tenant: str, **query: str) -> Any:
    async with session.post(f"/{tenant}/authentication/token", json=CREDENTIALS) as response:
        headers = {"Authorization": f"Bearer {(await response.json())['accessToken']}", "tenantId": tenant}
    async with session.get(f"/{tenant}/appointment/preview", headers=headers, params=query) as response:
        return await response.json()


def parsed(*arguments: str) -> tuple[ListenOptions, BehaviorOptions, FaultOptions]:
    """Return the options of a command line, without running the command."""
    _, bound, _ = commands.app.parse_args(["sandbox", *arguments], exit_on_error=False)
    bound.apply_defaults()
    listen, behavior, faults = bound.arguments.values()
    return listen, behavior, faults


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_sandbox_keeps_its_data_in_the_database_until_a_signal_and_over_a_restart(
    number: signal.Signals, tmp_path: Path
) -> None:
    database = str(tmp_path / "sandbox.db")
    seeds = ("--seed", "3", "--tenant", "acme", "--tenant", "globex", "--integer-ids", "--token-lifetime", "60")
    for options in (seeds, ()):
        async with (
            started("--database", database, *options, number=number) as base_url,
            aiohttp.ClientSession(base_url) as session,
        ):
            for tenant, count in (("acme", 3), ("globex", 3), ("other", 0)):
                assert len(await preview(session, tenant)) == count


async def test_preview_has_the_pages_of_the_options() -> None:
    options = ("--paging", "cursor", "--page-size", "2", "--seed", "3", "--tenant", "acme")
    async with started(*options) as base_url, aiohttp.ClientSession(base_url) as session:
        first = await preview(session, "acme")
        last = await preview(session, "acme", cursor=first["nextCursor"])
    assert (len(first["items"]), len(last["items"]), last["nextCursor"]) == (2, 1, None)


def test_every_option_reaches_the_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: dict[str, object] = {}
    monkeypatch.setattr(sandbox, "Sandbox", lambda **options: made.update(options))
    arguments = (
        f"--host ::1 --port 0 --database {tmp_path} --token-lifetime 60 --token-response token --format reference "
        "--put replace --write-response empty-204 --unknown-id empty --integer-ids --naive-times --paging page-numbers "
        "--page-size 7 --limit 5/0.5 "
        "--limit-window sliding --limit-status 503 --no-retry-after --fault drop-after=0.01 --fault status-503=0.02 "
        "--fault-seed 7"
    )
    sandbox._sandbox(*parsed(*arguments.split()))
    assert made == {
        "host": "::1",
        "port": 0,
        "database": tmp_path,
        "token_lifetime": 60,
        "token_response": TokenResponse.TOKEN,
        "body_format": BodyFormat.REFERENCE,
        "put": PutSemantics.REPLACE,
        "write_response": WriteResponse.EMPTY_204,
        "unknown_id": UnknownId.EMPTY,
        "integer_ids": True,
        "naive_times": True,
        "paging": PreviewPaging.PAGE_NUMBERS,
        "page_size": 7,
        "limit": SandboxLimit(requests=5, per=0.5, window=LimitWindow.SLIDING, status=503, retry_after=False),
        "fault_rates": FaultRates({DropAfter(): 0.01, StatusFault(503): 0.02}, seed=7),
    }


def test_sandbox_has_no_limit_no_faults_and_no_database_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, object] = {}
    monkeypatch.setattr(sandbox, "Sandbox", lambda **options: made.update(options))
    sandbox._sandbox(*parsed())
    assert (made["limit"], made["fault_rates"], "database" in made) == (None, None, False)


@pytest.mark.parametrize(
    "arguments",
    [
        "--port 70000",
        "--token-lifetime 0",
        "--seed -1",
        "--page-size 0",
        "--format other",
        "--limit 60",
        "--limit 0/60",
        "--limit-status 500",
        "--fault dropped=0.1",
        "--fault drop-after",
        "--fault drop-after=2",
        "--fault drop=0.1 --fault drop-after=0.1",
        "--fault drop-after=0.6 --fault drop-before=0.6",
        "--fault status-99=0.1",
    ],
)
def test_invalid_option_is_rejected_by_name(
    arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Sandbox, "start", None)  # it would not return
    done = CommandLine(capsys)("sandbox", *arguments.split())
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert f"for {arguments.split(maxsplit=1)[0]}." in done.err


@pytest.mark.parametrize("listen", [ListenOptions(seed=1), ListenOptions(tenant=("acme",))])
async def test_seed_and_tenant_must_be_given_together(listen: ListenOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "start", None)  # it would not return
    with pytest.raises(SystemExit, match="--seed and --tenant must be given together"):
        await sandbox.sandbox(listen)


async def test_unusable_database_is_reported(tmp_path: Path) -> None:
    database = tmp_path / "missing" / "sandbox.db"
    with pytest.raises(SystemExit, match=f"cannot use --database {database}: unable to open"):
        await sandbox.sandbox(ListenOptions(port=0, database=database))


async def test_port_in_use_is_reported() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SystemExit, match=rf"cannot listen on 127\.0\.0\.1:{port}: "):
            await sandbox.sandbox(ListenOptions(port=port))


async def test_invalid_host_name_is_reported() -> None:
    with pytest.raises(SystemExit, match=r"^connector-async sandbox: cannot listen on a\.\.b:0: not a host name$"):
        await sandbox.sandbox(ListenOptions(port=0, host="a..b"))
