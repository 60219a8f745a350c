"""The commands on platforms without the modules of POSIX, and with packages missing."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from connector_async import Clock, _files
from connector_async.cli.exit_codes import ExitCode
from connector_async.cli.signals import stoppable
from connector_async.sandbox import DEFAULT_CLIENT_SECRET
from connector_async.sync.budget import Budget
from tests.support.command_line import CommandLine

WITHOUT_POSIX = """
import asyncio, getpass, json, multiprocessing, os, pathlib, pkgutil, shutil, socket
import subprocess, sys, tempfile, webbrowser
import aiohttp, keyring, sqlalchemy
from importlib import import_module
for name in ("fcntl", "termios", "pwd", "grp", "resource", "tty", "pty"):
    sys.modules[name] = None  # whoever imports it from now on fails, as on Windows
for name in ("geteuid", "getuid", "chown", "fchmod", "fork", "killpg", "set_blocking", "O_NONBLOCK", "O_CLOEXEC"):
    delattr(os, name)

def unsupported(*_):
    raise NotImplementedError

asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = unsupported
"""
"""Takes away what Python lacks on Windows, except from the modules that are loaded before."""
IMPORT_ALL = """
import connector_async
for module in pkgutil.walk_packages(connector_async.__path__, "connector_async."):
    if not module.name.endswith(("__main__", ".migrations.env")):  # the second one is run by Alembic
        import_module(module.name)
from connector_async.cli.command_list import COMMANDS
from connector_async.cli.commands import app
for name in COMMANDS:
    app([*name.split(), "--help"], result_action="return_value")
"""
RUN = """
from connector_async.cli.commands import app
from connector_async.cli.main import run
for arguments in json.loads(sys.argv[1]):
    code = run(app, arguments)
    print(code, arguments, flush=True)
    if code:
        sys.exit(code)
"""


def run_without_posix(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT_POSIX + program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_modules_and_the_help_of_each_command_need_no_module_of_posix() -> None:
    done = run_without_posix(IMPORT_ALL)
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_need_nothing_of_posix(command: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    appointment_id = command.create()
    monkeypatch.delenv("CONNECTOR_CLIENT_SECRET")
    for name, content in (
        ("secret", DEFAULT_CLIENT_SECRET),
        ("connector-async.toml", 'client_secret_file = "secret"'),
        ("drafts.jsonl", '{"title": "a", "start_time": "2024-01-15T10:00Z", "end_time": "2024-01-15T11:00Z"}'),
        ("visits.csv", "key,title,start_time,end_time\n1,a,2024-01-15T10:00:00Z,2024-01-15T11:00:00Z\n"),
    ):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o666)  # as Windows shows the mode of each file
    arguments = [
        ["get", appointment_id],
        ["preview", "--output", "table"],
        ["update", appointment_id, "--title", "Moved"],
        ["create", "--from", "drafts.jsonl"],
        ["delete", appointment_id],
        ["api", "GET", "/appointment/preview"],
        ["auth", "status"],
        ["auth", "check"],
        ["config", "show"],
        ["config", "set", "deadline", "5"],
        ["source", "check", "visits.csv"],
        ["help", "--man"],
    ]
    done = run_without_posix(RUN, orjson.dumps(arguments).decode())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "others can access" not in done.stderr
    assert "Traceback" not in done.stderr


def test_state_in_a_file_is_rejected_where_files_cannot_be_locked(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_text("key,title,start_time,end_time\n")
    done = run_without_posix(RUN, orjson.dumps([["sync", "run", "visits.csv"]]).decode())
    assert (done.returncode, done.stderr) == (
        ExitCode.OTHER,
        "connector-async: a file cannot be locked on this platform: use a state in PostgreSQL\n",
    )


def test_sandbox_serves_until_it_is_interrupted_without_signal_handlers_of_the_loop() -> None:
    program = WITHOUT_POSIX + RUN
    arguments = [sys.executable, "-c", program, '[["sandbox", "--port", "0"]]']
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (ExitCode.INTERRUPTED, "connector-async: interrupted\n")


async def test_first_signal_stops_a_run_where_the_loop_has_no_signal_handlers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unsupported(*_: object) -> bool:
        raise NotImplementedError

    loop, budget = asyncio.get_running_loop(), Budget(Clock())
    monkeypatch.setattr(loop, "add_signal_handler", unsupported)
    monkeypatch.setattr(loop, "remove_signal_handler", unsupported)
    before = signal.getsignal(signal.SIGINT)

    async def run() -> str:
        signal.raise_signal(signal.SIGINT)
        await budget.stopped()
        return "ended"

    assert await stoppable(run(), budget, stop_timeout=5) == ("ended", ExitCode.INTERRUPTED)
    assert "stopping after the operations in flight" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_folders_are_not_flushed_on_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[tuple[Path, int]] = []
    monkeypatch.setattr(_files, "_IS_WINDOWS", True)
    real_open = os.open

    def spy(path: Path, flags: int, *more: int) -> int:
        opened.append((path, flags & os.O_RDWR))
        return real_open(path, flags, *more)

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "open", spy)
    _files.fsync_path(tmp_path / "file")
    _files.fsync_path(tmp_path)
    assert opened == [(tmp_path / "file", os.O_RDWR)]


async def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:

        async def run() -> str:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(0.01)  # for a handler that the loop would call
            return "ended"

        assert await stoppable(run(), Budget(Clock()), stop_timeout=5) == ("ended", None)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("program", "missing", "message"),
    [
        ("import connector_async.sandbox", "jwt", "connector_async.sandbox needs jwt"),
        ("from connector_async.sync import State", "sqlalchemy", "connector_async.sync.State needs sqlalchemy"),
        ("import connector_async.otel", "opentelemetry", "connector_async.otel needs OpenTelemetry"),
        ("from connector_async.testing import ThreadedSandbox", "jwt", "connector_async.testing.ThreadedSandbox needs"),
    ],
)
def test_missing_package_is_named_with_its_extra(program: str, missing: str, message: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\ntry: {program}\nexcept ImportError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(message)
    extra = program.removeprefix("from ").removeprefix("import ").split()[0].split(".")[1]
    assert done.stdout.endswith(f"pip install 'connector-async[{extra}]'\n")


def test_command_whose_package_is_missing_says_so(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jmespath", None)
    done = command("config", "show", "--query", "[]")
    assert done.err == "connector-async: jmespath is missing; install it with: pip install 'connector-async[cli]'\n"
