"""Which credentials a tenant has by the settings, and how their secrets are read."""

import os
import shlex
import sys
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


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


class SettingsFolder:
    """A folder with a project's file and a user's file, from which credentials are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        (folder / "user" / "connector-async").mkdir(parents=True)

    def project(self, content: str) -> None:
        (self.folder / "connector-async.toml").write_text(content)

    def user(self, content: str) -> None:
        (self.folder / "user" / "connector-async" / "config.toml").write_text(content)

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

    def error(self, tenant_id: str = "acme", **options: Any) -> str:
        with pytest.raises(SettingsError) as caught:
            self.credentials(tenant_id, **options)
        assert caught.value.__cause__ is None
        assert "hunter2" not in repr(caught.value)
        return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> SettingsFolder:
    return SettingsFolder(tmp_path)


def client(client_id: str, secret: str = "hunter2") -> ClientCredentials:
    return ClientCredentials(client_id, secret)


def token(provider: TokenProvider) -> str:
    assert isinstance(provider, StaticToken)
    return provider.cached_token("any", None).value.reveal()  # type: ignore[arg-type]  # it sends nothing


def test_credentials_come_from_the_environment(folder: SettingsFolder) -> None:
    assert folder.credentials(CLIENT_ID="me", CLIENT_SECRET="hunter2") == client("me")
    assert token(folder.credentials(TOKEN="hunter2")) == "hunter2"


def test_secret_is_the_first_line_of_a_file_relative_to_the_settings_file(folder: SettingsFolder) -> None:
    folder.secret("secret", "hunter2\r\nnot this\n")
    folder.project("client_id = 'me'\nclient_secret_file = 'secret'")
    assert folder.credentials() == client("me")
    assert folder.warnings == []
    folder.project("")
    assert folder.credentials(CLIENT_ID="me", CLIENT_SECRET_FILE="secret") == client("me")
    assert token(folder.credentials(TOKEN_FILE=str(folder.folder / "secret"))) == "hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_file_that_others_can_read_is_used_with_a_warning(folder: SettingsFolder, mode: int) -> None:
    folder.secret("secret", "hunter2", mode)
    assert token(folder.credentials(TOKEN_FILE="secret")) == "hunter2"
    assert folder.warnings == [
        "token_file (environment CONNECTOR_TOKEN_FILE): others can access the file; chmod 600 restricts it to you"
    ]


def test_secret_is_the_first_line_that_a_command_prints(folder: SettingsFolder) -> None:
    command = python("print('hunter2'); print('more')")
    assert folder.credentials(CLIENT_ID="me", CLIENT_SECRET_COMMAND=command) == client("me")
    assert token(folder.credentials(TOKEN_COMMAND=command)) == "hunter2"


def test_command_runs_without_a_shell_and_without_input(folder: SettingsFolder) -> None:
    code = "import sys; print(sys.argv[1] + sys.stdin.read())"
    reading, writing = os.pipe()
    os.write(writing, b"input")
    os.close(writing)
    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert token(folder.credentials(TOKEN_COMMAND=f"{python(code)} '$HOME;x'")) == "$HOME;x"
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reading)


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        ("no-such-program hunter2", "the command cannot be run: No such file or directory"),
        (python("import sys; print('hunter2', file=sys.stderr); sys.exit(3)"), "the command failed with exit code 3"),
        (python("print()"), "its first line must not be empty"),
        (python("print('hunter2\\x00')"), "its first line must be printable"),
        (python(r"import sys; sys.stdout.buffer.write(b'hunter2\xff')"), "its first line must be UTF-8"),
        (
            python("print('hun ter2')"),
            "token must be printable ASCII without spaces, and not empty: a header carries it",
        ),
    ],
)
def test_command_without_a_usable_secret_is_an_error_that_does_not_repeat_its_output(
    folder: SettingsFolder, capfd: pytest.CaptureFixture[str], command: str, rule: str
) -> None:
    assert folder.error(TOKEN_COMMAND=command) == f"token_command (environment CONNECTOR_TOKEN_COMMAND): {rule}"
    assert capfd.readouterr() == ("", "")


def test_command_that_takes_long_is_said_to_be_awaited(folder: SettingsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector_async.cli.secret_sources._PATIENCE", 0.01)
    command = python("import time; time.sleep(0.05); print('hunter2')")
    assert isinstance(folder.credentials(TOKEN_COMMAND=command), StaticToken)
    assert folder.warnings == ["waiting for token_command (environment CONNECTOR_TOKEN_COMMAND)"]


def test_command_that_takes_too_long_is_killed_even_if_its_child_runs_on(folder: SettingsFolder) -> None:
    # The child keeps the pipe open for 2 s. Only the command itself is awaited.
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(2)'])"
    started_at = datetime.now(UTC)
    assert folder.error(TOKEN_COMMAND=python(child), timeout=0.2).endswith("the command took longer than 0.2 s")
    assert datetime.now(UTC) - started_at < timedelta(seconds=1.5)


@pytest.mark.parametrize("content", ["", "\nhunter2"])
def test_file_with_an_empty_first_line_is_an_error(folder: SettingsFolder, content: str) -> None:
    folder.secret("secret", content)
    problem = "token_file (environment CONNECTOR_TOKEN_FILE): its first line must not be empty"
    assert folder.error(TOKEN_FILE="secret") == problem


def test_unreadable_file_is_an_error(folder: SettingsFolder) -> None:
    assert folder.error(TOKEN_FILE="missing").endswith("the file cannot be read: No such file or directory")
    assert folder.error(TOKEN_FILE=".").endswith("the file cannot be read: Is a directory")
    os.mkfifo(folder.folder / "pipe")
    assert "its first line" in folder.error(TOKEN_FILE="pipe")  # no writer, and no waiting for one
    assert folder.error(TOKEN_FILE="~no-such-user/x").endswith("the file cannot be read: not a path")


def test_table_of_a_tenant_wins_over_the_general_settings(folder: SettingsFolder) -> None:
    folder.secret("acme", "hunter2-acme")
    command = python("print('hunter2-globex')")
    folder.user(f"[tenants.globex]\nclient_id = 'globex-client'\nclient_secret_command = '''{command}'''\n")
    folder.project(
        "client_id = 'general'\n[tenants.acme]\nclient_id = 'acme-client'\nclient_secret_file = 'acme'\n"
        "[tenants.initech]\nclient_id = 'initech-client'\n[tenants.umbrella]\ntoken_file = 'acme'\n"
    )
    environment: dict[str, Any] = {"CLIENT_SECRET": "hunter2"}
    assert folder.credentials("acme", **environment) == client("acme-client", "hunter2-acme")
    assert folder.credentials("globex", **environment) == client("globex-client", "hunter2-globex")
    assert folder.credentials("initech", **environment) == client("initech-client")
    assert folder.credentials("other", **environment) == client("general")
    assert token(folder.credentials("umbrella", **environment)) == "hunter2-acme"


def test_table_of_a_tenant_in_the_project_wins_over_the_one_of_the_user(folder: SettingsFolder) -> None:
    folder.secret("secret", "hunter2")
    folder.user("[tenants.acme]\nclient_id = 'of the user'\n")
    folder.project("[tenants.acme]\nclient_id = 'of the project'\nclient_secret_file = 'secret'\n")
    assert folder.credentials() == client("of the project")


def test_first_layer_with_credentials_decides_between_token_and_client(folder: SettingsFolder) -> None:
    folder.secret("secret", "hunter2")
    folder.user("client_id = 'me'\nclient_secret_file = '../../secret'")
    assert token(folder.credentials(TOKEN="hunter2")) == "hunter2"
    folder.project("token_file = 'secret'")
    assert token(folder.credentials()) == "hunter2"
    assert folder.credentials(CLIENT_ID="other") == client("other")


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
def test_missing_or_contradictory_credentials_are_an_error(
    folder: SettingsFolder, environment: dict[str, str], rule: str
) -> None:
    assert folder.error(**environment).startswith(rule)


def test_secret_of_several_tenants_is_read_once(folder: SettingsFolder) -> None:
    counter = folder.folder / "count"
    code = f"print('hunter2'); open({str(counter)!r}, 'a').write('x')"
    secrets = SecretReader(folder.warnings.append)
    shared: dict[str, Any] = {"CLIENT_ID": "me", "CLIENT_SECRET_COMMAND": python(code)}
    assert {folder.credentials(tenant, secrets=secrets, **shared) for tenant in ("a", "b")} == {client("me")}
    assert counter.read_text() == "x"


def test_failing_command_runs_once_for_several_threads(folder: SettingsFolder) -> None:
    counter = folder.folder / "count"
    code = f"open({str(counter)!r}, 'a').write('x'); exit(1)"
    shared: dict[str, Any] = {"CLIENT_ID": "me", "CLIENT_SECRET_COMMAND": python(code)}
    secrets = SecretReader(folder.warnings.append)
    with ThreadPoolExecutor(4) as pool:
        errors = list(pool.map(lambda number: folder.error(f"t{number}", secrets=secrets, **shared), range(4)))
    assert len(set(errors)) == 1
    assert counter.read_text() == "x"
