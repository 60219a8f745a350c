"""Profiles, and the commands that write settings: configure, auth login, auth status, config path and config set."""

import io
import stat
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from connector_async.cli import configure
from connector_async.cli.config_sources import user_file
from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import DEFAULT_CLIENT_SECRET, Sandbox
from tests.support.command_line import CommandLine, isolate


@pytest.fixture
def command(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    """Return the command line in an empty folder, without any setting and without a keyring."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.setitem(sys.modules, "keyring", None)
    return CommandLine(capsys)


@pytest.fixture
def user(command: CommandLine, tmp_path: Path) -> Path:
    """Return the path of the user's file, which does not exist."""
    return user_file({"HOME": str(tmp_path / "home")})


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_configure_asks_tests_and_writes_private_files(
    sandbox: Sandbox, command: CommandLine, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, sandbox.base_url, "acme", "", "sandbox", DEFAULT_CLIENT_SECRET)
    done = command("configure")
    assert (done.code, done.out) == (ExitCode.DONE, "")
    assert done.err.endswith(f"the credentials work; {user} was written\n")
    assert sandbox.log.count(operation="token") == 1
    assert DEFAULT_CLIENT_SECRET not in user.read_text()
    secret = user.parent / "secrets" / "default"
    assert secret.read_text() == f"{DEFAULT_CLIENT_SECRET}\n"
    assert (mode_of(user), mode_of(secret), mode_of(secret.parent)) == (0o600, 0o600, 0o700)
    assert command("preview").code == ExitCode.DONE


def test_credentials_that_do_not_work_are_not_stored(
    sandbox: Sandbox, command: CommandLine, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, sandbox.base_url, "acme", "guide", "sandbox", "hunter2")
    command.secrets.append("hunter2")
    assert command("configure").code == ExitCode.CREDENTIALS
    assert not user.exists()


def test_missing_answer_is_rejected(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "")
    done = command("configure")
    assert (done.code, "an answer is needed: the url of the api" in done.err) == (ExitCode.USAGE, True)


def test_secret_is_typed_without_an_echo_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def getpass(question: str, stream: Any) -> str:
        asked.append(question)
        return "typed"

    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("getpass.getpass", getpass)
    assert (configure._ask_secret(), asked) == ("typed", ["The client secret: "])


def test_profile_is_a_whole_server_that_the_environment_does_not_mix_with(
    sandbox: Sandbox, command: CommandLine, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(user, '# mine\nassume_zone = "UTC"\n[tenants.acme]\nclient_id = "production"\nclient_secret_file = "none"\n')
    monkeypatch.setenv("CONNECTOR_BASE_URL", "http://127.0.0.1:9")
    answer(monkeypatch, sandbox.base_url, "acme", "guide", "sandbox", DEFAULT_CLIENT_SECRET)
    assert command("configure", "--profile", "test").code == ExitCode.DONE
    assert user.read_text().startswith("# mine\n")
    for arguments in (("--profile", "test"), ()):
        assert command("preview", *arguments).code == ExitCode.DONE
        monkeypatch.setenv("CONNECTOR_PROFILE", "test")
    shown = {row["setting"]: row for row in command("config", "show", "--json").records}
    assert shown["base_url"]["value"] == sandbox.base_url
    assert shown["base_url"]["origin"] == f"{user} [profiles.test]"
    assert shown["assume_zone"]["value"] == "UTC"
    assert "tenants.acme.client_id" not in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "there is no profile 'test'; connector-async configure makes one"),
        ("[profiles.prod]\n", "there is no profile 'test'; the profiles are prod"),
        ("profiles = 1\n", "profiles must hold tables such as [profiles.test]"),
        ("[profiles]\ntest = 1\n", "profiles.test must be a table"),
        ("[profiles.test]\nunknown = 1\n", "[profiles.test]: unknown is unknown"),
        ("[profiles.test]\nclient_secret = 'hunter2'\n", "must not be in a file"),
        ("profile = 'test'\n", "profile must not be in a file: use --profile or CONNECTOR_PROFILE"),
    ],
)
def test_profile_that_cannot_be_used_is_rejected(command: CommandLine, user: Path, content: str, message: str) -> None:
    write(user, content)
    done = command("preview", "--profile", "test")
    assert done.code == ExitCode.USAGE
    assert message in done.err
    assert "hunter2" not in done.err


def test_profile_name_that_is_no_table_is_rejected(command: CommandLine) -> None:
    done = command("configure", "--profile", "a/b")
    assert (done.code, "--profile must have letters" in done.err) == (ExitCode.USAGE, True)


def test_login_replaces_the_credentials_of_the_settings(
    sandbox: Sandbox, command: CommandLine, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(user, f'base_url = "{sandbox.base_url}"\ntenant_id = "acme"\nclient_secret_command = "false"\n')
    answer(monkeypatch, "sandbox", DEFAULT_CLIENT_SECRET)
    assert command("auth", "login").code == ExitCode.DONE
    (row,) = command("auth", "status", "--json").records
    assert row == {
        "tenant_id": "acme",
        "base_url": sandbox.base_url,
        "credentials": "client sandbox",
        "origin": f"client_secret_file ({user})",
    }
    assert command("auth", "check").code == ExitCode.DONE


class Keyring(types.ModuleType):
    """A keyring in memory."""

    class errors:  # noqa: N801 - named as in the package
        class KeyringError(Exception):
            pass

    def __init__(self, *, priority: float = 1, works: bool = True) -> None:
        super().__init__("keyring")
        self.passwords: dict[tuple[str, str], str] = {}
        self.priority = priority
        self.works = works

    def get_keyring(self) -> "Keyring":
        return self

    def set_password(self, service: str, user: str, password: str) -> None:
        if not self.works:
            raise self.errors.KeyringError
        self.passwords[service, user] = password

    def get_password(self, service: str, user: str) -> str | None:
        if not self.works:
            raise self.errors.KeyringError
        return self.passwords.get((service, user))


def test_secret_goes_to_the_keyring_where_there_is_one(
    sandbox: Sandbox, command: CommandLine, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    answer(monkeypatch, sandbox.base_url, "acme", "guide", "sandbox", DEFAULT_CLIENT_SECRET)
    assert command("configure", "--profile", "test").code == ExitCode.DONE
    assert keyring.passwords == {("connector-async", "test"): DEFAULT_CLIENT_SECRET}
    assert not (user.parent / "secrets").exists()
    assert command("auth", "check", "--profile", "test").code == ExitCode.DONE
    keyring.passwords.clear()
    assert "the keyring has no such secret" in command("auth", "check", "--profile", "test").err
    keyring.works = False
    assert "the keyring cannot be read" in command("auth", "check", "--profile", "test").err
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert "pip install 'connector-async[keyring]'" in command("auth", "check", "--profile", "test").err


@pytest.mark.parametrize("keyring", [Keyring(priority=0), Keyring(works=False)], ids=["no backend", "locked"])
def test_secret_goes_to_a_file_where_the_keyring_does_not_work(
    sandbox: Sandbox, command: CommandLine, user: Path, monkeypatch: pytest.MonkeyPatch, keyring: Keyring
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    answer(monkeypatch, sandbox.base_url, "acme", "guide", "sandbox", DEFAULT_CLIENT_SECRET)
    assert command("configure").code == ExitCode.DONE
    assert mode_of(user.parent / "secrets" / "default") == 0o600


def test_setting_is_set_and_removed_without_touching_the_rest(command: CommandLine, user: Path) -> None:
    write(user, '# comment\nformat = "guide"  # why\n')
    assert command("config", "set", "deadline", "2.5").code == ExitCode.DONE
    assert user.read_text() == '# comment\nformat = "guide"  # why\ndeadline = 2.5\n'
    assert command("config", "set", "allow_http", "yes", "--profile", "test").code == ExitCode.DONE
    assert "[profiles.test]\nallow_http = true\n" in user.read_text()
    assert command("config", "set", "format", "").code == ExitCode.DONE
    assert "format" not in user.read_text()


def test_setting_of_the_project_is_set(command: CommandLine, tmp_path: Path) -> None:
    assert command("config", "set", "tenant_id", "globex", "--project").code == ExitCode.DONE
    assert (tmp_path / "connector-async.toml").read_text() == 'tenant_id = "globex"\n'
    rows = {row["file"]: row for row in command("config", "path", "--json").records}
    assert rows["project"] == {"file": "project", "path": str(tmp_path / "connector-async.toml"), "exists": True}
    assert rows["user"]["exists"] is False


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("deadline", "-1", "deadline"),
        ("unheard_of", "1", "NAME must be one of base_url, "),
        ("client_secret", "hunter2", "client_secret must not be in a file: use connector-async auth login"),
    ],
)
def test_invalid_setting_is_not_written(command: CommandLine, user: Path, name: str, value: str, message: str) -> None:
    done = command("config", "set", "--", name, value)
    assert done.code == ExitCode.USAGE
    assert message in done.err
    assert "hunter2" not in done.err
    assert not user.exists()


def test_file_that_is_not_toml_is_not_overwritten(command: CommandLine, user: Path) -> None:
    write(user, "= nonsense")
    assert "not TOML; nothing was written" in command("config", "set", "deadline", "1").err
    assert user.read_text() == "= nonsense"


def test_map_of_a_file_is_rejected_in_the_words_of_a_file(command: CommandLine, user: Path) -> None:
    write(user, "[source]\nmap = { title = 'a\"b' }\n")
    assert "map must be a table such as { title =" in command("config", "show").err


def test_invalid_value_is_blamed_on_what_was_typed_and_not_on_the_file(command: CommandLine, user: Path) -> None:
    for name, value, rule in (
        ("deadline", "soon", "deadline must be a number"),
        ("assume_zone", "Europe/Nowhere", "assume_zone must be the IANA or Windows name of a time zone"),
    ):
        assert command("config", "set", name, value, "--profile", "test").err == f"connector-async: VALUE: {rule}\n"
    assert not user.exists()
