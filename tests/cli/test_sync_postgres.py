"""The sync commands with a state in PostgreSQL: `--state` and `CONNECTOR_STATE` take a URL."""

import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import Sandbox
from tests.support.cli_syncing import fill
from tests.support.command_line import CommandLine
from tests.support.postgres import PostgresServer


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = f"test_cli_{os.getpid()}"
    yield postgres.create(name)
    postgres.drop(name)


def test_state_is_in_the_database_of_a_url(
    command: CommandLine, source: Path, sandbox: Sandbox, url: str, tmp_path: Path
) -> None:
    name = fill(source)
    assert "12 created" in command("sync", "run", name, "--state", url).err
    assert not list(tmp_path.glob("*.db*"))
    done = command("sync", "run", name, "--state", url, "--exit-code", "--json")
    assert done.code == ExitCode.NOTHING_TO_DO
    assert str(done.records[0]["state"]).startswith("postgresql://")
    status = command("sync", "status", "--state", url, "--json")
    assert status.records[0]["items"] == 12
    key = orjson.loads(source.read_bytes().splitlines()[0])["key"]
    assert command("sync", "explain", key, "--state", url).code == ExitCode.DONE


def test_plan_of_a_database_is_applied_to_it(command: CommandLine, source: Path, url: str) -> None:
    name = fill(source)
    assert command("sync", "plan", name, "--out", "plan.jsonl", "--state", url).code == ExitCode.DONE
    unnamed = command("sync", "apply", "plan.jsonl")
    assert (unnamed.code, "--state must name it" in unnamed.err) == (ExitCode.OTHER, True)
    assert "12 created" in command("sync", "apply", "plan.jsonl", "--state", url).err


def test_commands_for_files_are_rejected(command: CommandLine, url: str) -> None:
    rejected = command("state", "backup", "copy.db", "--state", url)
    assert (rejected.code, "pg_dump" in rejected.err) == (ExitCode.USAGE, True)


def test_password_is_accepted_in_the_environment_alone_and_never_shown(
    command: CommandLine, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = "postgresql://me:hunter2@127.0.0.1:9/state"
    rejected = command("sync", "status", "--state", secret)
    assert (rejected.code, rejected.err) == (
        ExitCode.USAGE,
        "connector-async: --state must not have a password: use CONNECTOR_STATE, PGPASSWORD or a password file\n",
    )
    settings = tmp_path / "connector-async.toml"
    settings.write_text(f'state = "{secret}"')
    rejected = command("sync", "status")
    assert (rejected.code, "hunter2" in rejected.err) == (ExitCode.USAGE, False)
    settings.unlink()
    monkeypatch.setenv("CONNECTOR_STATE", secret)
    failed = command("sync", "run", fill(source))
    assert failed.code == ExitCode.RETRYABLE
    assert "postgresql://me:***@127.0.0.1:9/state" in failed.err
    assert "Connection refused" in failed.err
    shown = command("config", "show")
    assert "postgresql://me:***@127.0.0.1:9/state" in shown.out
    assert "hunter2" not in failed.err + failed.out + shown.out


@pytest.mark.parametrize("value", ["mysql://me@host/state", "postgresql://host:port/state", "sqlite:///state.db"])
def test_invalid_url_is_rejected(command: CommandLine, value: str) -> None:
    rejected = command("sync", "status", "--state", value)
    assert (rejected.code, rejected.err) == (
        ExitCode.USAGE,
        "connector-async: --state must be the path of a file, or a URL such as postgresql://user@host/database\n",
    )
