"""The command `auth check`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connector_async.sandbox import DelayFault, Sandbox
from tests.support.command_line import CommandLine


def test_auth_check_shows_the_tenant_and_the_expiry_but_not_the_token(sandbox: Sandbox, command: CommandLine) -> None:
    done = command("auth", "check", "--json")
    assert (done.code, done.err) == (0, "")
    (record,) = done.records
    expires_at = datetime.fromisoformat(record.pop("expires_at"))
    assert abs(expires_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=30)
    assert record == {
        "tenant_id": "acme",
        "base_url": sandbox.base_url,
        "credentials": "client sandbox",
        "origin": "client_secret (environment CONNECTOR_CLIENT_SECRET)",
    }
    assert sandbox.log.count(operation="token") == 1
    assert "eyJ" not in command("auth", "check").out  # how every token of the sandbox starts


def test_auth_check_does_not_check_a_given_token(
    sandbox: Sandbox, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"CONNECTOR_{name}")
    monkeypatch.setenv("CONNECTOR_TOKEN", "hunter2")
    command.secrets.append("hunter2")
    (record,) = command("auth", "check", "--json").records
    assert (record["credentials"], record["expires_at"]) == ("token", None)
    assert sandbox.log.count(operation="token") == 0


def test_auth_check_ends_at_the_deadline(sandbox: Sandbox, command: CommandLine) -> None:
    command("auth", "check")
    sandbox.faults.script(DelayFault(1), operation="token")
    done = command("auth", "check", "--deadline", "0.05")
    assert (done.code, done.err) == (5, "connector-async: the deadline expired before a token was fetched\n")


def test_warning_is_printed_to_standard_error(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CONNECTOR_CLIENT_SECRET")
    (tmp_path / "secret").write_text("sandbox-secret\n")
    (tmp_path / "secret").chmod(0o644)
    (tmp_path / "connector-async.toml").write_text("[tenants.acme]\nclient_secret_file = 'secret'")
    done = command("auth", "check", "--json")
    assert (done.code, len(done.records)) == (0, 1)
    assert done.err.startswith(
        "connector-async: client_secret_file (./connector-async.toml [tenants.acme]): others can"
    )
