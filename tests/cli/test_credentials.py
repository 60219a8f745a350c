"""Whose credentials a tenant's are, and where their secrets are read."""

import os
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector_async import ClientCredentials, StaticToken, TokenProvider
from connector_async.cli.config_sources import read_settings
from connector_async.cli.credentials import credentials_for
from connector_async.cli.secret_sources import SecretReader
from connector_async.cli.settings import SettingsError
from connector_async.sandbox import DelayFault, Sandbox
from tests.support.command_line import CommandLine, isolate, sandbox_environment, serving


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


class ListenOptions:
    """A folder with a project's file and the user's, and the environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        (folder / "user" / "connector-async").mkdir(parents=True)

    def project(self, text: str) -> None:
        (self.folder / "connector-async.toml").write_text(text)

    def user(self, text: str) -> None:
        (self.folder / "user" / "connector-async" / "config.toml").write_text(text)

    def secret(self, name: str, content: str | bytes, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def credentials(
        self, tenant_id: str = "acme", *, secrets: SecretReader | None = None, timeout: float = 10, **environment: str
    ) -> TokenProvider:
        variables = {f"CONNECTOR_{name}": value for name, value in environment.items()}
        user = {"XDG_CONFIG_HOME": str(self.folder / "user")}
        settings = read_settings({}, environment=user | variables, folder=self.folder)
        return credentials_for(tenant_id, settings, secrets or SecretReader(self.warnings.append, timeout=timeout))

    def refused(self, tenant_id: str = "acme", **options: Any) -> str:
        with pytest.raises(SettingsError) as caught:
            self.credentials(tenant_id, **options)
        assert caught.value.__cause__ is None
        assert "hunter2" not in repr(caught.value)
        return str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> ListenOptions:
    return ListenOptions(tmp_path)


def client(client_id: str, secret: str = "hunter2") -> ClientCredentials:
    return ClientCredentials(client_id, secret)


def token_of(provider: TokenProvider) -> str:
    assert isinstance(provider, StaticToken)
    return provider.cached_token("any", None).value.reveal()  # type: ignore[arg-type]  # it sends nothing


def test_the_environment_says_them(place: ListenOptions) -> None:
    assert place.credentials(CLIENT_ID="me", CLIENT_SECRET="hunter2") == client("me")
    assert token_of(place.credentials(TOKEN="hunter2")) == "hunter2"


def test_a_file_is_beside_the_file_that_names_it_and_its_first_line_counts(place: ListenOptions) -> None:
    place.secret("secret", "hunter2\r\nnot this\n")
    place.project("client_id = 'me'\nclient_secret_file = 'secret'")
    assert place.credentials() == client("me")
    assert place.warnings == []
    place.project("")
    assert place.credentials(CLIENT_ID="me", CLIENT_SECRET_FILE="secret") == client("me")
    assert token_of(place.credentials(TOKEN_FILE=str(place.folder / "secret"))) == "hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_can_read_is_used_with_a_warning(place: ListenOptions, mode: int) -> None:
    place.secret("secret", "hunter2", mode)
    assert token_of(place.credentials(TOKEN_FILE="secret")) == "hunter2"
    assert place.warnings == [
        "token_file (environment CONNECTOR_TOKEN_FILE): others may read the file; chmod 600 keeps it to you"
    ]


def test_a_command_prints_it_in_its_first_line(place: ListenOptions) -> None:
    command = python("print('hunter2'); print('more')")
    assert place.credentials(CLIENT_ID="me", CLIENT_SECRET_COMMAND=command) == client("me")
    assert token_of(place.credentials(TOKEN_COMMAND=command)) == "hunter2"


def test_a_command_is_run_by_no_shell_and_reads_no_input(place: ListenOptions) -> None:
    code = "import sys; print(sys.argv[1] + sys.stdin.read())"
    reading, writing = os.pipe()
    os.write(writing, b"input")
    os.close(writing)
    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert token_of(place.credentials(TOKEN_COMMAND=f"{python(code)} '$HOME;x'")) == "$HOME;x"
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reading)


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        ("no-such-program-of-anybody hunter2", "the command cannot be run: No such file or directory"),
        (python("import sys; print('hunter2', file=sys.stderr); sys.exit(3)"), "the command failed with status 3"),
        (python("print()"), "its first line must not be empty"),
        (python("print('hunter2\\x00')"), "its first line must be printable"),
        (python(r"import sys; sys.stdout.buffer.write(b'hunter2\xff')"), "its first line must be UTF-8"),
        (
            python("print('hun ter2')"),
            "token must be printable ASCII without spaces, and not empty: a header carries it",
        ),
    ],
)
def test_a_command_that_gives_none_is_an_error_without_what_it_said(
    place: ListenOptions, capfd: pytest.CaptureFixture[str], command: str, rule: str
) -> None:
    assert place.refused(TOKEN_COMMAND=command) == f"token_command (environment CONNECTOR_TOKEN_COMMAND): {rule}"
    assert capfd.readouterr() == ("", "")


def test_a_command_that_takes_too_long_is_ended_even_if_its_child_is_not(place: ListenOptions) -> None:
    # The child keeps the pipe open, and ends by itself soon after: its parent is waited for, it is not.
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(2)'])"
    began = datetime.now(UTC)
    assert place.refused(TOKEN_COMMAND=python(child), timeout=0.2).endswith("the command took longer than 0.2 s")
    assert datetime.now(UTC) - began < timedelta(seconds=1.5)


@pytest.mark.parametrize(
    ("content", "rule"), [("", "its first line must not be empty"), ("\nhunter2", "its first line must not be empty")]
)
def test_a_file_without_one_is_an_error(place: ListenOptions, content: str, rule: str) -> None:
    place.secret("secret", content)
    assert place.refused(TOKEN_FILE="secret") == f"token_file (environment CONNECTOR_TOKEN_FILE): {rule}"


def test_a_file_that_cannot_be_read_is_an_error(place: ListenOptions) -> None:
    assert place.refused(TOKEN_FILE="missing").endswith("the file cannot be read: No such file or directory")
    assert place.refused(TOKEN_FILE=".").endswith("the file cannot be read: Is a directory")
    assert place.refused(TOKEN_FILE="~nobody-of-this-name/x").endswith("the file cannot be read: not a path")


def test_a_tenants_table_comes_before_the_general_ones(place: ListenOptions) -> None:
    place.secret("acme", "hunter2-acme")
    command = python("print('hunter2-globex')")
    place.user(f"[tenants.globex]\nclient_id = 'globex-client'\nclient_secret_command = '''{command}'''\n")
    place.project(
        "client_id = 'general'\n[tenants.acme]\nclient_id = 'acme-client'\nclient_secret_file = 'acme'\n"
        "[tenants.initech]\nclient_id = 'initech-client'\n[tenants.umbrella]\ntoken_file = 'acme'\n"
    )
    environment: dict[str, Any] = {"CLIENT_SECRET": "hunter2"}
    assert place.credentials("acme", **environment) == client("acme-client", "hunter2-acme")
    assert place.credentials("globex", **environment) == client("globex-client", "hunter2-globex")
    assert place.credentials("initech", **environment) == client("initech-client")
    assert place.credentials("other", **environment) == client("general")
    assert token_of(place.credentials("umbrella", **environment)) == "hunter2-acme"


def test_the_projects_table_of_a_tenant_comes_before_the_users(place: ListenOptions) -> None:
    place.secret("secret", "hunter2")
    place.user("[tenants.acme]\nclient_id = 'of the user'\n")
    place.project("[tenants.acme]\nclient_id = 'of the project'\nclient_secret_file = 'secret'\n")
    assert place.credentials() == client("of the project")


def test_the_first_layer_that_names_credentials_says_of_which_kind_they_are(place: ListenOptions) -> None:
    place.secret("secret", "hunter2")
    place.user("client_id = 'me'\nclient_secret_file = '../../secret'")
    assert token_of(place.credentials(TOKEN="hunter2")) == "hunter2"
    place.project("token_file = 'secret'")
    assert token_of(place.credentials()) == "hunter2"
    assert place.credentials(CLIENT_ID="other") == client("other")


@pytest.mark.parametrize(
    ("environment", "rule"),
    [
        ({}, "there are no credentials for the tenant acme: set client_id"),
        ({"CLIENT_ID": "me"}, "client_secret must be set with a client_id"),
        ({"CLIENT_SECRET": "hunter2"}, "client_id must be set with a client_secret"),
        (
            {"TOKEN": "hunter2", "CLIENT_ID": "me"},
            "token (environment CONNECTOR_TOKEN) must not be set beside client_id or client_secret",
        ),
        (
            {"TOKEN": "hunter2", "TOKEN_FILE": "x"},
            "token (environment CONNECTOR_TOKEN) must not be set beside token_file (environment CONNECTOR_TOKEN_FILE)",
        ),
    ],
)
def test_too_few_and_too_many_are_refused(place: ListenOptions, environment: dict[str, str], rule: str) -> None:
    assert place.refused(**environment).startswith(rule)


def test_what_several_tenants_share_is_read_once(place: ListenOptions) -> None:
    counter = place.folder / "count"
    code = f"print('hunter2'); open({str(counter)!r}, 'a').write('x')"
    secrets = SecretReader(place.warnings.append)
    shared: dict[str, Any] = {"CLIENT_ID": "me", "CLIENT_SECRET_COMMAND": python(code)}
    assert {place.credentials(tenant, secrets=secrets, **shared) for tenant in ("a", "b")} == {client("me")}
    assert counter.read_text() == "x"


def test_what_several_threads_ask_for_at_once_is_read_once_also_when_there_is_none(place: ListenOptions) -> None:
    counter = place.folder / "count"
    code = f"open({str(counter)!r}, 'a').write('x'); exit(1)"
    shared: dict[str, Any] = {"CLIENT_ID": "me", "CLIENT_SECRET_COMMAND": python(code)}
    secrets = SecretReader(place.warnings.append)
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda number: place.refused(f"t{number}", secrets=secrets, **shared), range(4)))
    assert len(set(told)) == 1
    assert counter.read_text() == "x"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serving() as served:
        yield served


@pytest.fixture
def command(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    isolate(monkeypatch, tmp_path, **sandbox_environment(sandbox))
    return CommandLine(capsys)


def test_auth_check_tells_the_tenant_and_the_end_and_not_the_token(sandbox: Sandbox, command: CommandLine) -> None:
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
    assert "eyJ" not in command("auth", "check").out  # how each of the sandbox's tokens begins


def test_auth_check_takes_a_token_that_is_given_as_it_is(
    sandbox: Sandbox, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"CONNECTOR_{name}")
    monkeypatch.setenv("CONNECTOR_TOKEN", "hunter2")
    command.secrets.append("hunter2")
    (record,) = command("auth", "check", "--json").records
    assert (record["credentials"], record["expires_at"]) == ("token", None)
    assert sandbox.log.count(operation="token") == 0


def test_auth_check_keeps_to_the_deadline(sandbox: Sandbox, command: CommandLine) -> None:
    command("auth", "check")
    sandbox.faults.script(DelayFault(1), operation="token")
    done = command("auth", "check", "--deadline", "0.05")
    assert (done.code, done.err) == (5, "connector-async: the deadline came before a token was had\n")


def test_a_warning_is_told_beside_the_data(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CONNECTOR_CLIENT_SECRET")
    (tmp_path / "secret").write_text("sandbox-secret\n")
    (tmp_path / "secret").chmod(0o644)
    (tmp_path / "connector-async.toml").write_text("[tenants.acme]\nclient_secret_file = 'secret'")
    done = command("auth", "check", "--json")
    assert (done.code, len(done.records)) == (0, 1)
    assert done.err.startswith("connector-async: client_secret_file (./connector-async.toml [tenants.acme]): others")
