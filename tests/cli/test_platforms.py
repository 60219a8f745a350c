"""The commands on platforms without the modules of POSIX, and with packages missing."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from connector_async import Clock, _files
from connector_async.cli.exit_codes import ExitCode
from connector_async.cli.signals import stoppable
from connector_async.sync.budget import Budget
from tests.support.command_line import CommandLine

WITHOUT_POSIX = """
import asyncio, getpass, multiprocessing, pathlib, shutil, socket, subprocess, sys, tempfile, webbrowser
for name in ("fcntl", "termios", "pwd", "grp", "resource", "tty", "pty"):
    sys.modules[name] = None  # whoever imports it from now on fails, as on Windows
from connector_async.cli.commands import COMMANDS, app
for name in COMMANDS:
    app([*name.split(), "--help"], result_action="return_value")
"""


def test_help_of_each_command_needs_no_module_of_posix() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_POSIX], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


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
