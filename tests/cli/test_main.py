"""The command as a process: help, usage errors, signals, closed pipes, and missing packages."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async._version import VERSION
from connector_async.cli.command_list import COMMANDS, GROUPS
from connector_async.cli.commands import app
from connector_async.cli.exit_codes import ExitCode
from connector_async.cli.main import main
from connector_async.cli.messages import name_options
from connector_async.sandbox import DelayFault, Sandbox, SandboxOperation
from tests.support.command_line import COMMAND, TIMES, CommandLine

UNNEEDED = ("aiohttp", "attr", "cyclopts", "datetime", "inspect", "pathlib", "rich", "subprocess")
"""Modules that take long to import. With `attr`, other ones of this package would be imported."""
UNNEEDED_BY_COMMANDS = (
    *("aiohttp", "asyncio", "cattrs", "cyclopts.completion", "docutils", "email", "jwt", "logging", "orjson"),
    *("rich.markdown", "rich.progress", "sqlalchemy", "ssl", "tzlocal", "zoneinfo"),
    *("connector_async.protocol", "connector_async.cli.options", "connector_async.cli.completion"),
)
"""The same for the parser, and a command that needs no session."""
IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Starts a program with SIGINT ignored, as the shell of a script starts background jobs."""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def start(*arguments: str, through: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*through, *COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_version_is_printed() -> None:
    assert run("--version").stdout.strip() == VERSION


def test_help_lists_every_command(command: CommandLine) -> None:
    for group in ("", "auth", "config", "sync", "state"):
        shown = command(*group.split(), "--help").out
        names = [name.removeprefix(f"{group} ") for name in COMMANDS if name.rpartition(" ")[0] == group]
        assert names
        assert [name for name in names if f" {name} " not in shown] == []


def test_help_of_a_command_is_the_docstring_of_its_function() -> None:
    for name, (_, listed) in COMMANDS.items():
        command = app
        for word in name.split():
            command = command[word]
        assert " ".join((command.default_command.__doc__ or "").split()) == " ".join(listed.split())


@pytest.mark.parametrize(
    ("commands", "heavy", "environment"),
    [
        pytest.param(
            [[], ["--version"], *([*name.split(), "--help"] for name in ("", *GROUPS, *COMMANDS))],
            UNNEEDED,
            {},
            id="pages",
        ),
        pytest.param([["demo", "--help"]], UNNEEDED_BY_COMMANDS, {"NO_COLOR": "1"}, id="parser"),
    ],
)
def test_help_and_version_import_what_they_need_alone(
    commands: list[list[str]], heavy: Sequence[str], environment: dict[str, str]
) -> None:
    code = (
        "import sys; from connector_async.cli.main import main\n"
        f"for arguments in {commands}:\n"
        "    sys.argv = ['connector-async', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as ended: assert not ended.code\n"
        f"    imported = [name for name in {heavy} if name in sys.modules]\n"
        "    if imported: sys.exit(f'{arguments}: {imported}')\n"
    )
    # Without `site`, whose hooks import other modules, as that of coverage does.
    environment = os.environ | environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_completion_is_installed(tmp_path: Path) -> None:
    done = run("--install-completion", "--shell", "bash", HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    (script,) = [path for path in tmp_path.rglob("*") if path.is_file() and "rc" not in path.name]
    assert "--read-first" in script.read_text()


def test_missing_package_is_reported_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "connector_async.cli.commands", raising=False)
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    monkeypatch.setattr(sys, "argv", ["connector-async", "get"])
    with pytest.raises(SystemExit, match=r"cyclopts is missing; install it with: pip install 'connector-async\[cli\]'"):
        main()


def test_missing_module_of_the_package_is_not_reported_as_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "connector_async.cli.commands", None)
    monkeypatch.setattr(sys, "argv", ["connector-async", "get"])
    with pytest.raises(ModuleNotFoundError, match=r"connector_async\.cli\.commands"):
        main()


def test_process_ends_with_the_exit_code_of_its_command(command: CommandLine) -> None:
    for arguments, code in ((["get", "missing"], ExitCode.OTHER), (["get"], ExitCode.USAGE)):
        done = run(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)


@pytest.mark.parametrize(
    ("number", "code", "through"),
    [(signal.SIGINT, 130, ()), (signal.SIGTERM, 143, ()), (signal.SIGTERM, 143, IN_BACKGROUND)],
)
def test_signal_ends_a_command_that_waits_for_its_input(
    command: CommandLine, number: signal.Signals, code: int, through: Sequence[str]
) -> None:
    line = {"title": "one", "start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00Z"}
    with start("create", "--from", "-", "--json", through=through) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(orjson.dumps(line) + b"\n")
        process.stdin.flush()
        assert orjson.loads(process.stdout.readline())["status"] == "done"
        process.send_signal(number)
        assert process.wait(timeout=30) == code
        stopping, interrupted = process.stderr.read().splitlines()
        assert stopping.startswith(b"connector-async: stopping after the operations in flight")
        assert interrupted == b"connector-async: interrupted"


@pytest.mark.parametrize(
    ("arguments", "operation", "message"),
    [
        (("update", "an-id", "--title", "a"), "update", "interrupted; a write in flight may have happened"),
        (("api", "post", "/appointment", "--json", "{}"), "create", "interrupted; a write in flight may have happened"),
        (("update", "an-id", "--title", "a"), "token", "interrupted"),
        (("api", "GET", "/appointment/preview"), "preview", "interrupted"),
        (("delete", "an-id"), "delete", "interrupted; a write in flight may have happened"),
    ],
)
def test_interrupt_says_whether_a_write_was_in_flight(
    sandbox: Sandbox, command: CommandLine, arguments: Sequence[str], operation: SandboxOperation, message: str
) -> None:
    sandbox.faults.script(DelayFault(20), operation=operation)
    with start(*arguments, "--debug-http") as process:
        assert process.stderr is not None
        sent = re.compile("> [A-Z]+ .*/token$" if operation == "token" else r"> [A-Z]+ (?!.*/token$)")
        while not sent.search(line := process.stderr.readline().decode().rstrip()):
            assert line
        process.send_signal(signal.SIGINT)
        lines = process.stderr.read().decode().splitlines()
        assert process.wait(timeout=30) == ExitCode.INTERRUPTED
    assert lines[-1] == f"connector-async: {message}"


def test_closed_pipe_ends_the_command_without_a_message(command: CommandLine) -> None:
    command.create()
    for arguments in (["preview", "--json"], ["preview"]):
        with start(*arguments) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=30) == ExitCode.OTHER


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--title", "Secret", "visit", *TIMES], "too many arguments; quote a value that contains spaces"),
        (["get"], "requires an argument"),
        (["get", "1", "--client-secret=Secret"], "Unknown option: --client-secret."),
        (["get", "1", "--token=Secret"], "Unknown option: --token."),
        (["unheard-of"], "unheard-of"),
        (["-q", "get", "1"], "options stand after the command: connector-async get ... -q"),
        (["--profile", "test", "get", "1"], "options stand after the command: connector-async get ... --profile"),
        (["--token=Secret", "get"], "options stand after the command: connector-async get ... --token"),
        (["sync", "-q", "run", "x"], "options stand after the command: connector-async sync run ... -q"),
        (["--verison"], 'Unknown command "--verison".'),
        (["--token=Secret"], 'Unknown command "--token".'),
    ],
)
def test_usage_error_is_one_line_without_values(command: CommandLine, arguments: list[str], message: str) -> None:
    done = command(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (ExitCode.USAGE, "", 1)
    assert done.err.startswith("connector-async: ")
    assert message in done.err
    assert "Secret" not in done.err


def test_errors_name_options_instead_of_arguments() -> None:
    options: dict[str, Any] = {
        name: f"--{name.replace('_', '-')}" for name in ("start", "end", "start_time", "end_time", "tenant_id")
    }
    for message, shown in (
        ("end_time must not be before start_time", "--end-time must not be before --start-time"),
        ("end must not be before start", "--end must not be before --start"),
        ("start and end must be given", "--start and --end must be given"),
        ("tenant_id must not start or end with a space", "--tenant-id must not start or end with a space"),
        ("visits.csv:2: tenant_id is missing", "visits.csv:2: tenant_id is missing"),
        ("start.csv: No such file or directory", "start.csv: No such file or directory"),
        ("start cannot be read: Is a directory", "start cannot be read: Is a directory"),
        ("endless", "endless"),
        ("", ""),
    ):
        assert name_options(message, options) == shown
