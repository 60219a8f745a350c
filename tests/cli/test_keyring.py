"""The real package `keyring` with a backend of the tests: each command is a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import DEFAULT_CLIENT_SECRET
from tests.support import file_keyring
from tests.support.command_line import CommandLine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def secrets(command: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the file of the keyring; the environment has no credentials."""
    for name in ("CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"CONNECTOR_{name}")
    path = tmp_path / "keyring.json"
    path.write_text("{}")
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.support.file_keyring.FileKeyring")
    monkeypatch.setenv(file_keyring.FILE_VARIABLE, str(path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return path


def run(*arguments: str, answers: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "connector_async", *arguments]
    done = subprocess.run(
        command, input="".join(f"{answer}\n" for answer in answers), capture_output=True, text=True, check=False
    )
    assert DEFAULT_CLIENT_SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def log_in(*options: str) -> "subprocess.CompletedProcess[str]":
    return run("auth", "login", *options, answers=("sandbox", DEFAULT_CLIENT_SECRET))


def settings_file() -> Path:
    return Path(os.environ["HOME"], ".config", "connector-async", "config.toml")


def test_login_stores_the_secret_in_the_keyring_and_commands_read_it(secrets: Path) -> None:
    assert log_in().returncode == ExitCode.DONE
    assert json.loads(secrets.read_text()) == {"connector-async default": DEFAULT_CLIENT_SECRET}
    assert settings_file().read_text() == 'client_id = "sandbox"\nclient_secret_keyring = "default"\n'
    assert run("preview").returncode == ExitCode.DONE
    secrets.write_text("{}")
    emptied = run("preview")
    assert (emptied.returncode, "the keyring has no such secret" in emptied.stderr) == (ExitCode.USAGE, True)
    secrets.unlink()
    assert "the keyring cannot be read" in run("preview").stderr


@pytest.mark.parametrize("backend", ["tests.support.file_keyring.FileKeyring", "keyring.backends.fail.Keyring"])
def test_login_stores_the_secret_in_a_file_if_the_keyring_does_not_work(
    secrets: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    secrets.unlink()
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    assert log_in().returncode == ExitCode.DONE
    assert settings_file().with_name("secrets").joinpath("default").read_text() == f"{DEFAULT_CLIENT_SECRET}\n"
    assert run("preview").returncode == ExitCode.DONE


def test_backend_that_cannot_be_loaded_is_named(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_in().returncode == ExitCode.DONE
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "missing_module.Keyring")
    reason = "the keyring cannot be loaded: ModuleNotFoundError: No module named 'missing_module'"
    for done in (run("preview"), log_in()):
        assert (done.returncode, reason in done.stderr) == (ExitCode.USAGE, True)
    assert log_in("--no-keyring").returncode == ExitCode.DONE
