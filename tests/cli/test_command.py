import asyncio
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from connector_async import AppointmentService, ClientCredentials, ConnectorSession
from connector_async.cli import demo, demo_records, local
from connector_async.cli.main import main
from connector_async.protocol import VERSION
from connector_async.sync.formats import file_source
from tests.support.command_line import COMMAND


def run(*arguments: str, command: Sequence[str] = COMMAND) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_the_demo_ends_with_just_what_its_file_says_on_the_server() -> None:
    done = run("demo", "--appointments", "90")
    assert done.stderr == ""
    assert done.returncode == 0
    first, resumed, both_ways, last = re.findall(
        r"^run \S+: (.+); (\d+) requests sent, (\d+) needed", done.stdout, re.MULTILINE
    )
    assert first == ("90 created", "93", "90")  # and a token for each tenant
    assert " created" in resumed[0]
    # Beyond the needed ones a token for each tenant, and a preview for each calendar that has open creates.
    assert 3 + 3 <= int(resumed[1]) - int(resumed[2]) <= 3 + 9
    assert both_ways[0] == "27 pulled"
    assert last == ("nothing to do", "0", "0")
    shown = " ".join(done.stdout.split())
    killed = re.search(r"was killed by SIGKILL after (\d+) writes\. (\d+) creates are open", shown)
    assert killed is not None
    assert 0 < int(killed[1]) < 45
    assert int(killed[2]) >= 3
    assert "The server has just the 99 appointments that the file says" in shown


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
        f"import sys; from connector_async.cli.main import main; sys.argv = ['connector-async', *{arguments}]\n"
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
        main()


def test_a_module_of_our_own_that_is_missing_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "connector_async.cli.commands", None)
    with pytest.raises(ModuleNotFoundError, match=r"connector_async\.cli\.commands"):
        main()


async def demonstrate(monkeypatch: pytest.MonkeyPatch) -> tuple[bool, str]:
    monkeypatch.setattr(demo, "_GRACE", 0.05)
    console = Console(file=io.StringIO(), width=1000)
    agreed = await demo.run_demo(console, appointments=30, concurrency=2)
    assert isinstance(console.file, io.StringIO)
    return agreed, console.file.getvalue()


async def test_the_demo_fails_when_the_server_has_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def compare(services: Any, path: Path, scope: Any) -> Any:
        service = services(demo_records.CALENDARS[0])
        (first, second, *_) = await service.preview(scope.start, scope.end).collect()
        await service.delete(first.appointment_id)
        await service.update(second.appointment_id, title="Something else")
        return await demo_records.compare(services, path, scope)

    monkeypatch.setattr(demo, "compare", compare)
    agreed, shown = await demonstrate(monkeypatch)
    assert agreed is False
    assert "The server lacks 2 of the file's 38 appointments, and has 1 that the file has not." in shown


async def test_the_demo_fails_when_its_run_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_CODE", "")
    agreed, shown = await demonstrate(monkeypatch)
    assert agreed is False
    assert "The run was not killed in its middle: it ended with status 0." in shown


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        ("not a record\n", "Once more: not all was done."),
        ("{0}x{0}", "The last run sent 2 requests, and had nothing to send."),  # another record, under another key
    ],
    ids=["not done", "something to send"],
)
async def test_the_demo_fails_when_the_last_run_is_not_as_it_should_be(
    monkeypatch: pytest.MonkeyPatch, edit: str, complaint: str
) -> None:
    walks: list[Path] = []

    def source(path: Path) -> Any:
        walks.append(path)
        if len(walks) == 4:  # the last run's
            *lines, last = path.read_text().splitlines(keepends=True)
            path.write_text("".join([*lines, edit.format(last)]))
        return file_source(path)

    monkeypatch.setattr(demo, "file_source", source)
    agreed, shown = await demonstrate(monkeypatch)
    assert agreed is False
    assert complaint in shown


async def test_the_command_exits_with_1_when_the_demo_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(local, "run_demo", fail)
    with pytest.raises(SystemExit) as caught:
        await local.demo(appointments=2, concurrency=1)
    assert caught.value.code == 1
