"""Runs commands in the process of the test."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from connector_async.cli.commands import app
from connector_async.cli.main import run
from connector_async.sandbox import DEFAULT_CLIENT_SECRET, Sandbox

# In development mode asyncio logs callbacks of more than 0.1 s, and on a busy machine any callback may take that long.
_NOT_SLOW = "import logging; logging.getLogger('asyncio').addFilter(lambda line: 'Executing %s' not in line.msg)"


def in_development_mode(program: str) -> list[str]:
    """Return the command that runs a Python program in development mode, with warnings as errors."""
    return [sys.executable, "-X", "dev", "-W", "error", "-c", f"{_NOT_SLOW}\n{program}"]


COMMAND = in_development_mode("from connector_async.cli.main import main; main()")
PERSONAL = "Hunter's"
"""A part of the personal data in the sources of the sync tests, which no command prints."""
TIMES = ("--start-time", "2024-01-15T10:00:00Z", "--end-time", "2024-01-15T12:00:00+01:00")


@attrs.frozen
class Done:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[Any]:
        return [orjson.loads(line) for line in self.out.splitlines()]

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of tab-separated values, by column."""
        heading, *lines = self.out.splitlines()
        return [dict(zip(heading.split("\t"), line.split("\t"), strict=True)) for line in lines]


class CommandLine:
    """Runs commands, and fails if one prints a secret."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.secrets = [DEFAULT_CLIENT_SECRET, PERSONAL]

    def __call__(self, *arguments: str) -> Done:
        code = run(app, arguments)
        captured = self._capsys.readouterr()
        for secret in self.secrets:
            assert secret not in captured.out
            assert secret not in captured.err
        return Done(code, captured.out, captured.err)

    def create(self, title: str = "Visit") -> str:
        """Create an appointment with the command, and return its id."""
        (record,) = self("create", "--title", title, *TIMES, "--json").records
        return str(record["appointment_id"])


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path, **environment: str) -> None:
    """Remove the settings of the machine, work in `folder`, and set `CONNECTOR_` variables."""
    for name in [name for name in os.environ if name.startswith("CONNECTOR_")]:
        monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.chdir(folder)
    for name, value in environment.items():
        monkeypatch.setenv(f"CONNECTOR_{name}", value)


def sandbox_environment(sandbox: Sandbox, **further: str) -> Mapping[str, str]:
    """Return the variables, without `CONNECTOR_`, of the settings that connect to a sandbox."""
    return {
        "BASE_URL": sandbox.base_url,
        "TENANT_ID": "acme",
        "CLIENT_ID": "sandbox",
        "CLIENT_SECRET": DEFAULT_CLIENT_SECRET,
        **further,
    }
