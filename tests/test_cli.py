import asyncio
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import connector_async.cli
from connector_async import AppointmentService, AsyncPager, ClientCredentials, ConnectorSession, Page
from connector_async.cli import demo, local
from connector_async.protocol import VERSION

COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-c", "from connector_async.cli import main; main()"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_the_demo_counts_the_same_calls_on_both_sides() -> None:
    done = run("demo", "--appointments", "30")
    assert done.stderr == ""
    assert done.returncode == 0
    rows = re.findall(r"│ (\w+) +│ +(\d+) │ +(\d+) │", done.stdout)
    assert {operation: (int(client), int(server)) for operation, client, server in rows} == {
        "token": (2, 2),
        "create": (30, 30),
        "preview": (2, 2),
        "get": (30, 30),
        "update": (15, 15),
        "delete": (10, 10),
    }
    assert "The server logged just these calls." in done.stdout
    assert "It refused none of them for its limit." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--appointments", "1"], "--appointments"),
        (["demo", "--concurrency", "0"], "--concurrency"),
        (["sandbox", "--port", "70000"], "--port"),
        (["sandbox", "--token-lifetime", "0"], "--token-lifetime"),
        (["unheard-of"], "unheard-of"),
    ],
)
def test_a_bad_option_is_refused_by_name(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode != 0
    assert done.stdout == ""
    assert message in done.stderr


def test_the_command_tells_its_version_and_its_commands() -> None:
    assert run("--version").stdout.strip() == VERSION
    shown = run("--help").stdout
    assert "demo" in shown
    assert "sandbox" in shown


@pytest.mark.parametrize("arguments", [["--help"], ["sync", "--help"], ["state", "--help"]], ids=" ".join)
def test_the_help_loads_neither_the_client_nor_the_sandbox_nor_the_sync(arguments: list[str]) -> None:
    code = (
        f"import sys; from connector_async.cli import main; sys.argv = ['connector-async', *{arguments}]\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "heavy = ('aiohttp', 'cattrs', 'jwt', 'rich.markdown', 'rich.progress', 'sqlalchemy')\n"
        "sys.exit(str([name for name in heavy if name in sys.modules]) if set(heavy) & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_completion_is_installed(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, "--install-completion", "--shell", "bash"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (script,) = [path for path in tmp_path.rglob("*") if path.is_file() and "rc" not in path.name]
    assert "--read-first" in script.read_text()


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "sandbox", "--port", "0", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        yield process, (await process.stdout.readline()).decode().strip()
        assert await process.wait() == 0
    assert process.stderr is not None
    assert await process.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_sandbox_serves_until_a_signal_ends_it(number: signal.Signals) -> None:
    async with serving("--token-lifetime", "60") as (process, base_url):
        auth = ClientCredentials("sandbox", "sandbox-secret")
        async with ConnectorSession(base_url, tenant_id="acme", auth=auth) as session:
            assert [item async for item in AppointmentService(session).preview()] == []
        process.send_signal(number)


async def test_a_port_that_is_taken_is_a_clear_error() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = str(server.sockets[0].getsockname()[1])
        done = await asyncio.to_thread(run, "sandbox", "--port", port)
    assert done.returncode == 1
    assert done.stderr.startswith(f"connector-async sandbox: cannot listen on 127.0.0.1:{port}: ")
    assert done.stdout == ""


def test_a_host_that_is_no_name_is_a_clear_error() -> None:
    done = run("sandbox", "--port", "0", "--host", "a..b")
    assert done.returncode == 1
    assert done.stderr == "connector-async sandbox: cannot listen on a..b:0: not a host name\n"


def test_without_its_extra_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "connector_async.cli.commands", raising=False)
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    with pytest.raises(SystemExit, match=r"cyclopts is missing; install it with: pip install 'connector-async\[cli\]'"):
        connector_async.cli.main()


def test_a_module_of_our_own_that_is_missing_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "connector_async.cli.commands", raising=False)
    monkeypatch.setitem(sys.modules, "connector_async.cli.running", None)
    with pytest.raises(ModuleNotFoundError, match=r"connector_async\.cli\.running"):
        connector_async.cli.main()


async def demonstrate() -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=100)
    agreed = await demo.run_demo(console, appointments=4, concurrency=2)
    assert isinstance(console.file, io.StringIO)
    return agreed, console.file.getvalue()


async def test_the_demo_fails_when_the_server_counts_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    real = AppointmentService.get

    async def twice(self: AppointmentService, appointment_id: str) -> Any:
        await real(self, appointment_id)
        return await real(self, appointment_id)

    monkeypatch.setattr(AppointmentService, "get", twice)
    agreed, shown = await demonstrate()
    assert agreed is False
    assert "The counts differ." in shown


async def test_the_demo_fails_when_a_preview_does_not_show_all(monkeypatch: pytest.MonkeyPatch) -> None:
    real = AppointmentService.preview

    def short(self: AppointmentService) -> AsyncPager[Any]:
        async def fetch(_: str | None) -> Page[Any]:
            return Page(items=[item async for item in real(self)][1:])

        return AsyncPager(fetch)

    monkeypatch.setattr(AppointmentService, "preview", short)
    agreed, shown = await demonstrate()
    assert agreed is False
    assert "The previews do not show what was created." in shown


async def test_the_command_exits_with_1_when_the_demo_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(local, "run_demo", fail)
    with pytest.raises(SystemExit) as caught:
        await local.demo(appointments=2, concurrency=1)
    assert caught.value.code == 1
