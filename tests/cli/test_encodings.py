"""The commands where the terminal or the locale lacks characters."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import orjson
import pytest

from connector_async.cli.exit_codes import ExitCode
from tests.support.command_line import TIMES, CommandLine

TITLE = "Grüße ✓ 😀"
RUN = """
import json, sys
from connector_async.cli.commands import app
from connector_async.cli.main import run
sys.exit(str([code for arguments in json.loads(sys.argv[1]) if (code := run(app, arguments))] or "") or 0)
"""


def run(arguments: list[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        env={**os.environ, "COLUMNS": "80", **environment},
    )


ENVIRONMENTS = pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},  # what Python does not make UTF-8
    ],
    ids=lambda environment: " ".join(environment.values()),
)


@ENVIRONMENTS
def test_every_output_is_written_in_the_encoding(command: CommandLine, environment: Mapping[str, str]) -> None:
    command.create(TITLE)
    commands = [
        *[["preview", "--output", output] for output in ("table", "tsv", "csv", "yaml")],
        ["preview", "--query", "[].title"],
        ["create", "--title", TITLE, *TIMES, "--dry-run"],
        ["config", "show", "--output", "table"],
        ["--help"],
    ]
    done = run(["-c", RUN, json.dumps(commands)], environment)
    assert (done.returncode, done.stderr) == (0, b"connector-async: dry run: nothing was sent\n")
    assert done.stdout.count(b"Gr") == 6


@ENVIRONMENTS
def test_json_is_utf_8_in_every_encoding(command: CommandLine, environment: Mapping[str, str]) -> None:
    command.create(TITLE)
    done = run(["-m", "connector_async", "preview", "--json"], environment)
    assert orjson.loads(done.stdout)["title"] == TITLE


@ENVIRONMENTS
def test_error_is_one_line_in_every_encoding(command: CommandLine, environment: Mapping[str, str]) -> None:
    done = run(["-m", "connector_async", "preview", "--columns", TITLE], environment)
    assert (done.returncode, done.stderr.count(b"\n")) == (ExitCode.USAGE, 1)
    assert done.stderr.startswith(b"connector-async: --columns: 'Gr")


def test_title_that_the_locale_cannot_read_is_rejected(command: CommandLine) -> None:
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = run(["-m", "connector_async", "create", "--title", TITLE, *TIMES], environment)
    assert (done.returncode, done.stderr) == (
        ExitCode.USAGE,
        b"connector-async: --title must be encodable as UTF-8: it has a lone surrogate\n",
    )
