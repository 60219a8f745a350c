"""Which layer decides a setting, how its origin is shown, and which settings are rejected."""

import os
from pathlib import Path
from typing import Any

import pytest

from connector_async import RateLimit, WireFormat
from connector_async.cli.config_sources import read_settings, user_file
from connector_async.cli.connect import open_session
from connector_async.cli.settings import SETTINGS, Settings, SettingsError, parse_rate_limit, split_command
from tests.support.command_line import CommandLine, isolate

TENANT = "tenant_id"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a project, beside the folder of the user's file."""
    project = tmp_path / "project"
    project.mkdir()
    user = tmp_path / "xdg" / "connector-async"
    user.mkdir(parents=True)
    return project


def read(folder: Path, options: dict[str, Any] | None = None, **environment: str) -> Settings:
    variables = {f"CONNECTOR_{name}": value for name, value in environment.items()}
    return read_settings(
        options or {}, environment={"XDG_CONFIG_HOME": str(folder.parent / "xdg"), **variables}, folder=folder
    )


def write_project(folder: Path, content: str) -> Path:
    (folder / "connector-async.toml").write_text(content)
    return folder / "connector-async.toml"


def write_user(folder: Path, content: str) -> Path:
    path = folder.parent / "xdg" / "connector-async" / "config.toml"
    path.write_text(content)
    return path


def test_option_wins_over_environment_project_user_and_default(folder: Path) -> None:
    user = write_user(folder, 'tenant_id = "user"\nformat = "reference"\n')
    write_project(folder, 'tenant_id = "project"\n')
    layers = [
        (read(folder, {TENANT: "option"}, TENANT_ID="variable"), "option", "option --tenant-id"),
        (read(folder, {TENANT: None}, TENANT_ID="variable"), "variable", "environment CONNECTOR_TENANT_ID"),
        (read(folder, TENANT_ID=""), "project", "./connector-async.toml"),
    ]
    for settings, value, origin in layers:
        assert (settings.get(TENANT), settings.values[TENANT].origin) == (value, origin)
        assert (settings.get("format"), settings.values["format"].origin) == ("reference", str(user))
        assert (settings.get("rate_limit"), settings.values["rate_limit"].origin) == ("60/60", "default")
    (folder / "connector-async.toml").unlink()
    assert read(folder).get(TENANT) == "user"
    user.unlink()
    assert (read(folder).get(TENANT), read(folder).get("format")) == (None, "guide")


def test_project_file_is_the_one_of_the_nearest_parent(folder: Path) -> None:
    below = folder / "a" / "b"
    below.mkdir(parents=True)
    path = write_project(folder, 'tenant_id = "project"')
    assert read_settings({}, environment={"HOME": "/"}, folder=below).values[TENANT].origin == str(path)
    write_project(below.parent, 'base_url = "https://api.example"')
    assert read_settings({}, environment={"HOME": "/"}, folder=below).get(TENANT) is None


def test_user_file_is_in_the_xdg_folder() -> None:
    assert user_file({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == Path("/x/connector-async/config.toml")
    for environment in ({"HOME": "/h"}, {"XDG_CONFIG_HOME": "relative", "HOME": "/h"}):
        assert user_file(environment) == Path("/h/.config/connector-async/config.toml")
    assert user_file({}).is_absolute()


def test_every_setting_has_an_environment_variable(folder: Path) -> None:
    values: dict[str, Any] = {setting.name: "x" for setting in SETTINGS} | {
        "base_url": "https://api.example",
        "format": "reference",
        "rate_limit": "5/1",
        "deadline": "2.5",
        "allow_http": "yes",
        "assume_zone": "Europe/Berlin",
        "log_level": "debug",
        "debug_http": "yes",
    }
    settings = read(folder, **{name.upper(): value for name, value in values.items()})
    for name, value in values.items():
        expected = {"deadline": 2.5, "allow_http": True, "debug_http": True}.get(name, value)
        assert (settings.get(name), settings.values[name].origin) == (expected, f"environment CONNECTOR_{name.upper()}")


def test_file_has_numbers_and_booleans_of_toml(folder: Path) -> None:
    write_project(folder, "deadline = 5\nallow_http = true")
    settings = read(folder)
    assert (settings.get("deadline"), settings.get("allow_http")) == (5.0, True)
    assert read(folder, ALLOW_HTTP="0").get("allow_http") is False


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("base-url = 'https://api.example'", "base-url is unknown; accepted are base_url, tenant_id"),
        ("tenant_id = 5", "tenant_id must be a string"),
        ("tenant_id = ''", "tenant_id must not be empty"),
        ("base_url = 'ftp://hunter2'", "base_url must be an absolute http or https URL"),
        ("format = 'hunter2'", "format must be guide or reference"),
        ("rate_limit = 'hunter2'", "rate_limit must be REQUESTS/SECONDS"),
        ("deadline = '5'", "deadline must be a number"),
        ("deadline = true", "deadline must be a number"),
        ("deadline = 0", "deadline must be above zero"),
        ("allow_http = 'yes'", "allow_http must be true or false"),
        ("assume_zone = 'hunter2'", "assume_zone must be the IANA or Windows name of a time zone"),
        ("client_secret = 'hunter2'", "client_secret must not be in a file: use client_secret_file or"),
        ("token_command = '\"hunter2'", "token_command must be a program and its arguments"),
        ("tenants = 5", "tenants must hold tables such as [tenants.acme]"),
        ("[tenants]\nacme = 5", "tenants.acme must be a table"),
        ("[tenants.' acme']", "[tenants]: tenant_id must not"),
        ("[tenants.acme]\nbase_url = 'hunter2'", "[tenants.acme] base_url is unknown; accepted are client_id"),
        ("[tenants.acme]\nclient_secret = 'hunter2'", "[tenants.acme] client_secret must not be in a file"),
        ("hunter2", "not TOML"),
    ],
)
def test_invalid_file_is_rejected_with_file_name_and_rule(folder: Path, content: str, rule: str) -> None:
    write_project(folder, content)
    with pytest.raises(SettingsError) as caught:
        read(folder, {TENANT: "a", "base_url": "https://api.example"})  # even where another layer decides
    assert str(caught.value).startswith(f"./connector-async.toml: {rule}")
    assert "hunter2" not in repr(caught.value)
    (folder / "connector-async.toml").unlink()
    user = write_user(folder, content)
    with pytest.raises(SettingsError) as caught:
        read(folder)
    assert str(caught.value).startswith(f"{user}: {rule}")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("DEADLINE", "hunter2", "deadline must be a number"),
        ("DEADLINE", "inf", "deadline must be a number"),
        ("DEADLINE", "-1", "deadline must be"),
        ("ALLOW_HTTP", "hunter2", "allow_http must be true or false"),
        ("TOKEN", "hunter2\n", "token must be printable"),
    ],
)
def test_invalid_variable_is_rejected_by_name(folder: Path, name: str, value: str, rule: str) -> None:
    variables: dict[str, Any] = {name: value}
    with pytest.raises(SettingsError) as caught:
        read(folder, **variables)
    assert str(caught.value).startswith(f"environment CONNECTOR_{name}: {rule}")
    assert "hunter2" not in repr(caught.value)


def test_unreadable_file_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(folder, "").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"^\./connector-async\.toml: not TOML: not UTF-8$"):
        read(folder)

    def deny(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", deny)
    with pytest.raises(SettingsError, match=r"^\./connector-async\.toml: cannot be read: Permission denied$"):
        read(folder)


def test_project_file_that_others_could_have_written_is_rejected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_project(folder, "")
    path.chmod(0o666)
    with pytest.raises(SettingsError, match="must belong to you or to root, and must not be writable by everybody"):
        read(folder)
    path.chmod(0o644)
    real = Path.stat

    def foreign(self: Path, **options: Any) -> os.stat_result:
        fields = list(real(self, **options))
        fields[4] = os.geteuid() + 1  # st_uid
        return os.stat_result(fields)

    monkeypatch.setattr(Path, "stat", foreign)
    with pytest.raises(SettingsError, match="must belong to you or to root"):
        read(folder)


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        ("60/60", RateLimit()),
        ("5/0.5", RateLimit(limit=5, per=0.5, burst=4)),
        ("2/1", RateLimit(limit=2, per=1, burst=1)),
        ("unlimited", RateLimit.unlimited()),
    ],
)
def test_rate_limit_is_requests_over_seconds(value: str, limit: RateLimit) -> None:
    assert parse_rate_limit(value) == limit
    assert parse_rate_limit(value, burst=1).burst == 1


@pytest.mark.parametrize("value", ["", "60", "60/", "1/60", "60/0", "a/b", "60/60/60", "60/nan"])
def test_invalid_rate_limit_is_rejected(value: str) -> None:
    with pytest.raises(ValueError, match="rate_limit must be REQUESTS/SECONDS"):
        parse_rate_limit(value)


async def test_session_has_the_options_of_the_settings(folder: Path) -> None:
    options = {"base_url": "http://api.example/v1", "allow_http": True, "format": "reference", "deadline": 7.0}
    settings = read(folder, options, TOKEN="hunter2", ASSUME_ZONE="Europe/Berlin")
    async with open_session(settings, "acme") as session:
        assert session.base_url == "http://api.example/v1"
        assert (session.wire_format, session.deadline) == (WireFormat.REFERENCE, 7.0)
        assert str(session.assume_zone) == "Europe/Berlin"
        assert session.tenant_id == "acme"
    with pytest.raises(SettingsError, match="--base-url is missing; CONNECTOR_BASE_URL, or base_url in"):
        open_session(read(folder), "acme")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> CommandLine:
    isolate(monkeypatch, folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder.parent / "xdg"))
    command = CommandLine(capsys)
    command.secrets.append("hunter2")
    return command


def test_config_show_prints_each_setting_with_its_origin_and_without_secrets(
    command: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(folder, 'client_id = "me"\n[tenants.acme]\nclient_secret_command = "echo hunter2"\n')
    user = write_user(folder, "[tenants.acme]\nclient_id = 'acme-client'\nclient_secret_file = 'secret'\n")
    monkeypatch.setenv("CONNECTOR_CLIENT_SECRET", "hunter2")
    done = command("config", "show", "--deadline", "5", "--json")
    assert (done.code, done.err) == (0, "")
    shown = {record["setting"]: (record["value"], record["origin"]) for record in done.records}
    assert list(shown)[: len(SETTINGS)] == [setting.name for setting in SETTINGS]
    assert shown["deadline"] == (5.0, "option --deadline")
    assert shown["client_id"] == ("me", "./connector-async.toml")
    assert shown["client_secret"] == ("***", "environment CONNECTOR_CLIENT_SECRET")
    assert shown["token"] == (None, "default")
    assert shown["tenants.acme.client_id"] == ("acme-client", f"{user} [tenants.acme]")
    assert shown["tenants.acme.client_secret_file"] == ("secret", f"{user} [tenants.acme]")
    assert shown["tenants.acme.client_secret_command"] == ("echo ***", "./connector-async.toml [tenants.acme]")
    table = command("config", "show").out.splitlines()
    assert table[0].split() == ["setting", "value", "origin"]
    assert ["client_secret", "***", "environment", "CONNECTOR_CLIENT_SECRET"] in [line.split() for line in table]


@pytest.mark.parametrize("arguments", [["config", "show"], ["get", "1"], ["auth", "check"], ["sync", "status"]])
def test_invalid_setting_is_a_usage_error_of_every_command(
    command: CommandLine, folder: Path, arguments: list[str]
) -> None:
    write_project(folder, 'client_secret = "hunter2"')
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("connector-async: ./connector-async.toml: client_secret must not be in a file")


@pytest.mark.parametrize("option", ["--rate-limit", "--base-url", "--format", "--deadline", "--assume-zone"])
def test_invalid_option_is_rejected_by_name(command: CommandLine, option: str) -> None:
    done = command("config", "show", option, "0")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"{option} must" in done.err or f"for {option}." in done.err


@pytest.mark.parametrize(
    ("command", "windows", "words"),
    [
        (r'"C:\Program Files\vault.exe" get C:\new', True, [r"C:\Program Files\vault.exe", "get", r"C:\new"]),
        (r"vault get a\ b 'c # d'", False, ["vault", "get", "a b", "c # d"]),
    ],
)
def test_command_is_split_as_on_its_platform(command: str, *, windows: bool, words: list[str]) -> None:
    assert split_command(command, windows=windows) == words
