"""What the help, the topics and the manual page say, and that their examples are commands."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
from rich.console import Console

from connector_async.cli.command_list import COMMANDS, GROUPS
from connector_async.cli.commands import app
from connector_async.cli.examples import EXAMPLES
from connector_async.cli.exit_codes import ExitCode
from connector_async.cli.manual import manual_page
from connector_async.cli.overview import overview
from connector_async.cli.topics import TOPICS
from tests.support.command_line import CommandLine

REST = {"|", ">", "<"}


def test_each_command_has_two_examples_that_it_accepts() -> None:
    assert EXAMPLES.keys() == COMMANDS.keys()
    for name, examples in EXAMPLES.items():
        assert len(examples) == 2, name
        for example in examples:
            program, *words = shlex.split(example)
            words = words[: next((index for index, word in enumerate(words) if word in REST), len(words))]
            assert (program, " ".join(words).startswith(name)) == ("connector-async", True), example
            app.parse_args(words, exit_on_error=False, print_error=False)


def test_help_shows_the_examples_of_its_command(command: CommandLine) -> None:
    for name in ("get", "sync run"):
        assert f"Examples:\n  {EXAMPLES[name][0]}" in command(*name.split(), "--help").out
    assert "Exit codes" not in command("sync", "--help").out


def test_help_of_the_root_has_the_exit_codes_and_the_files(command: CommandLine) -> None:
    shown = command("--help").out
    assert all(f" {code.value}  " in shown for code in ExitCode)
    assert "~/.config/connector-async/config.toml" in shown


@pytest.mark.parametrize("width", [60, 80, 133])
@pytest.mark.parametrize("style", ["", "\x1b[36m"], ids=["piped", "terminal"])
def test_overview_is_what_the_parser_prints(
    width: int, style: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: bool(style))
    for arguments in ([], ["--help"], ["-h"], ["--version"], *([group] for group in GROUPS), ["sync", "--help"]):
        app(arguments, console=Console(), result_action="return_value")
        printed = lines_of(capsys.readouterr().out)
        shown = overview(arguments) or ""
        assert lines_of(shown) == printed
        assert arguments == ["--version"] or ("\x1b" in shown, style in shown) == (bool(style), True)


def lines_of(shown: str) -> list[str]:
    """Return the lines without styles and without the spaces that rich leaves where it breaks a line."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown.splitlines()]


@pytest.mark.parametrize(
    ("variable", "value"), [("COLUMNS", "59"), ("NO_COLOR", "1"), ("FORCE_COLOR", "1"), ("TERM", "dumb")]
)
def test_styles_and_narrow_terminals_are_left_to_the_parser(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert overview(["--help"]) is None
    assert overview(["--version"]) is not None


@pytest.mark.parametrize("arguments", [["get"], ["get", "--help"], ["sync", "run"], ["--help", "sync"], ["unknown"]])
def test_commands_are_left_to_the_parser(arguments: list[str]) -> None:
    assert overview(arguments) is None


def test_defaults_are_shown_in_one_style(command: CommandLine) -> None:
    command.secrets.clear()  # the help of the sandbox has its secret
    for name in COMMANDS:
        shown = " ".join(command(*name.split(), "--help").out.replace("│", " ").split())
        assert "the default is" not in shown.lower(), name
        assert "[default: False]" not in shown, name


def test_help_shows_each_option_once(command: CommandLine) -> None:
    command.secrets.clear()
    for name in COMMANDS:
        shown = re.findall(r"^│ (--[\w-]+)(?![\w,-])", command(*name.split(), "--help").out, re.MULTILINE)
        assert sorted(shown) == sorted(set(shown)), name


def test_help_of_a_worker_offers_what_it_accepts(command: CommandLine) -> None:
    for name in ("enqueue", "work"):
        shown = " ".join(command("sync", name, "--help").out.replace("│", " ").split())
        assert "two-way)" not in shown
        assert "The URL of a PostgreSQL database" in shown
        assert "The file of the state" not in shown
    assert "standard input" not in shown


def test_topic_is_printed(command: CommandLine) -> None:
    for name, text in TOPICS.items():
        assert command("help", name).out == f"{text}\n"
        assert all(len(line) < 80 for line in text.splitlines()), name


def test_help_of_a_command_is_that_of_its_option(command: CommandLine) -> None:
    assert command("help", "sync", "run").out == command("sync", "run", "--help").out
    assert command("help").out == command("--help").out


def test_unknown_topic_is_rejected(command: CommandLine) -> None:
    done = command("help", "nothing")
    assert (done.code, "TOPIC must be a command or one of settings, " in done.err) == (ExitCode.USAGE, True)


def test_manual_page_has_every_command_and_topic(command: CommandLine) -> None:
    page = command("help", "--man").out
    assert page == manual_page(app)
    for name in COMMANDS:
        assert f".SS connector\\-async {name}".replace("retry-", "retry\\-") in page
    assert ".SH EXIT STATUS" in page
    assert ".B \\-\\-base\\-url" in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_manual_page_is_valid_roff() -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-z"], input=manual_page(app), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_package_can_be_run_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "connector_async", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
