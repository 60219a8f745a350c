"""What the help, the topics and the manual page say, and that their examples are commands."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.style import Style

from connector_async.cli.command_list import COMMANDS, GROUPS
from connector_async.cli.commands import app
from connector_async.cli.examples import EXAMPLES
from connector_async.cli.exit_codes import ExitCode
from connector_async.cli.help_pages import output_without_parser
from connector_async.cli.manual import manual_page
from connector_async.cli.topics import TOPICS
from tests.support import help_pages
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


def test_stored_pages_are_those_of_the_parser() -> None:
    stored = json.loads(help_pages.FILE.read_text(encoding="utf-8"))
    assert stored == help_pages.parser_pages(), "python -m tests.support.help_pages stores them anew"


@pytest.mark.parametrize(("width", "terminal"), [(72, "xterm"), (80, "xterm-256color"), (133, None)])
def test_page_is_printed_as_by_the_parser(
    width: int, terminal: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for cached in (Style.parse, Style._add):
        cached.cache_clear()  # a style keeps the escape sequence for the terminal that it was first printed on
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.delenv("COLORTERM", raising=False)
    monkeypatch.setenv("TERM", terminal or "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal is not None)
    for name in ("", *GROUPS, *COMMANDS):
        arguments = [*name.split(), "--help"]
        app(arguments, console=Console(), result_action="return_value")
        printed = capsys.readouterr().out
        assert ("\x1b" in printed) is (terminal is not None)
        assert list(styled(output_without_parser(arguments) or "")) == list(styled(printed)), name


def styled(shown: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each line without the spaces at its end, and the styles of its other characters."""
    for line in shown.splitlines():
        text, styles, style = "", [], ""
        for part in re.split(r"(\x1b\[[0-9;]*m)", line):
            if part.startswith("\x1b"):
                style = part.removesuffix("\x1b[0m")
            else:
                text += part
                styles += [style] * len(part.replace(" ", ""))
        yield text.rstrip(), styles


@pytest.mark.parametrize(
    ("arguments", "same"),
    [
        ([], ["--help"]),
        (["-h"], ["--help"]),
        (["help"], ["--help"]),
        (["sync"], ["sync", "--help"]),
        (["help", "sync", "run"], ["sync", "run", "-h"]),
        (["--version"], ["--version"]),
    ],
)
def test_help_without_the_parser_can_be_asked_for_in_each_way(
    arguments: list[str], same: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    app(same, result_action="return_value")
    printed = list(styled(capsys.readouterr().out))
    assert list(styled(output_without_parser(arguments) or "")) == printed


@pytest.mark.parametrize(
    ("variable", "value"), [("COLUMNS", "71"), ("NO_COLOR", "1"), ("FORCE_COLOR", "1"), ("TERM", "dumb")]
)
def test_styles_and_narrow_terminals_are_left_to_the_parser(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert output_without_parser(["--help"]) is None
    assert output_without_parser(["--version"]) is not None


@pytest.mark.parametrize("width", ["0", "²"])
@pytest.mark.parametrize("styling", [{}, {"NO_COLOR": "1"}], ids=["without the parser", "with the parser"])
def test_width_that_is_no_positive_number_is_ignored(width: str, styling: dict[str, str]) -> None:
    environment = os.environ | {"COLUMNS": width} | styling
    program = "from connector_async.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "sync", "--help"], env=environment, capture_output=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Usage: connector-async sync COMMAND" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        *(["get"], ["sync", "run"], ["--help", "sync"], ["unknown"], ["unknown", "--help"], ["sync run", "--help"]),
        *(["get", "1", "--help"], ["update", "--title", "--help"], ["help", "settings"], ["help", "--man"]),
    ],
)
def test_commands_are_left_to_the_parser(arguments: list[str]) -> None:
    assert output_without_parser(arguments) is None


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
