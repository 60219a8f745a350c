"""Which layer decides a setting, where that is told, and what is refused."""

import os
from pathlib import Path
from typing import Any

import pytest

from connector_async import RateLimit, WireFormat
from connector_async.cli.config_sources import read_settings, user_file
from connector_async.cli.connect import open_session
from connector_async.cli.settings import SETTINGS, Settings, SettingsError, rate_limit_of
from tests.support.command_line import CommandLine, isolate

TENANT = "tenant_id"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a project, beside which there is the user's file."""
    project = tmp_path / "project"
    project.mkdir()
    user = tmp_path / "xdg" / "connector-async"
    user.mkdir(parents=True)
    return project


def read(folder: Path, flags: dict[str, Any] | None = None, **environment: str) -> Settings:
    variables = {f"CONNECTOR_{name}": value for name, value in environment.items()}
    return read_settings(
        flags or {}, environment={"XDG_CONFIG_HOME": str(folder.parent / "xdg"), **variables}, folder=folder
    )


def write_project(folder: Path, text: str) -> Path:
    (folder / "connector-async.toml").write_text(text)
    return folder / "connector-async.toml"


def write_user(folder: Path, text: str) -> Path:
    path = folder.parent / "xdg" / "connector-async" / "config.toml"
    path.write_text(text)
    return path


def test_flags_come_before_the_environment_the_projects_file_the_users_and_the_default(folder: Path) -> None:
    user = write_user(folder, 'tenant_id = "user"\nformat = "reference"\n')
    write_project(folder, 'tenant_id = "project"\n')
    layers = [
        (read(folder, {TENANT: "flag"}, TENANT_ID="variable"), "flag", "flag --tenant-id"),
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


def test_the_projects_file_is_the_nearest_parents(folder: Path) -> None:
    below = folder / "a" / "b"
    below.mkdir(parents=True)
    path = write_project(folder, 'tenant_id = "project"')
    assert read_settings({}, environment={"HOME": "/"}, folder=below).values[TENANT].origin == str(path)
    write_project(below.parent, 'base_url = "https://api.example"')
    assert read_settings({}, environment={"HOME": "/"}, folder=below).get(TENANT) is None


def test_the_users_file_is_where_xdg_says() -> None:
    assert user_file({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == Path("/x/connector-async/config.toml")
    for environment in ({"HOME": "/h"}, {"XDG_CONFIG_HOME": "relative", "HOME": "/h"}):
        assert user_file(environment) == Path("/h/.config/connector-async/config.toml")
    assert user_file({}).is_absolute()


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_each_setting_has_a_variable(folder: Path, name: str) -> None:
    texts = {
        "base_url": "https://api.example",
        "format": "reference",
        "rate_limit": "5/1",
        "deadline": "2.5",
        "allow_http": "yes",
        "assume_zone": "Europe/Berlin",
    }
    variables: dict[str, Any] = {name.upper(): texts.get(name, "x")}
    settings = read(folder, **variables)
    value = {"deadline": 2.5, "allow_http": True}.get(name, texts.get(name, "x"))
    assert settings.get(name) == value
    assert settings.values[name].origin == f"environment CONNECTOR_{name.upper()}"


def test_a_file_writes_numbers_and_booleans_as_toml_does(folder: Path) -> None:
    write_project(folder, "deadline = 5\nallow_http = true")
    settings = read(folder)
    assert (settings.get("deadline"), settings.get("allow_http")) == (5.0, True)
    assert read(folder, ALLOW_HTTP="0").get("allow_http") is False


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("base-url = 'https://api.example'", "base-url is not known; known are base_url, tenant_id"),
        ("tenant_id = 5", "tenant_id must be a text"),
        ("tenant_id = ''", "tenant_id must not be empty"),
        ("base_url = 'ftp://hunter2'", "base_url must be an absolute http or https URL"),
        ("format = 'hunter2'", "format must be guide or reference"),
        ("rate_limit = 60", "rate_limit must be a text"),
        ("rate_limit = 'hunter2'", "rate_limit must be REQUESTS/SECONDS"),
        ("deadline = '5'", "deadline must be a number"),
        ("deadline = true", "deadline must be a number"),
        ("deadline = 0", "deadline must be"),
        ("allow_http = 'yes'", "allow_http must be true or false"),
        ("allow_http = 1", "allow_http must be true or false"),
        ("assume_zone = 'hunter2'", "assume_zone must be the IANA or Windows name of a time zone"),
        ("client_secret = 'hunter2'", "client_secret must not stand in a file: use client_secret_file or"),
        ("token = 'hunter2'", "token must not stand in a file: use token_file or token_command"),
        ("token_command = '\"hunter2'", "token_command must be a program and its arguments"),
        ("tenants = 5", "tenants must be a table of tables"),
        ("[tenants]\nacme = 5", "tenants.acme must be a table"),
        ("[tenants.' acme']", "[tenants]: tenant_id must not start or end with a space"),
        ("[tenants.acme]\nbase_url = 'hunter2'", "[tenants.acme] base_url is not known; known are client_id"),
        ("[tenants.acme]\nclient_id = 5", "[tenants.acme] client_id must be a text"),
        ("[tenants.acme]\nclient_secret = 'hunter2'", "[tenants.acme] client_secret must not stand in a file"),
        ("hunter2", "not TOML"),
    ],
)
def test_what_a_file_may_not_say_is_refused_by_file_key_and_rule(folder: Path, text: str, rule: str) -> None:
    write_project(folder, text)
    with pytest.raises(SettingsError) as caught:
        read(folder, {TENANT: "a", "base_url": "https://api.example"})  # also where another layer decides
    assert str(caught.value).startswith(f"./connector-async.toml: {rule}")
    assert "hunter2" not in repr(caught.value)
    (folder / "connector-async.toml").unlink()
    user = write_user(folder, text)
    with pytest.raises(SettingsError) as caught:
        read(folder)
    assert str(caught.value).startswith(f"{user}: {rule}")


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("DEADLINE", "hunter2", "deadline must be a number"),
        ("DEADLINE", "inf", "deadline must be a number"),
        ("DEADLINE", "-1", "deadline must be"),
        ("ALLOW_HTTP", "hunter2", "allow_http must be true or false"),
        ("TOKEN", "hunter2\n", "token must be printable"),
    ],
)
def test_what_a_variable_may_not_say_is_refused_by_its_name(folder: Path, name: str, text: str, rule: str) -> None:
    variables: dict[str, Any] = {name: text}
    with pytest.raises(SettingsError) as caught:
        read(folder, **variables)
    assert str(caught.value).startswith(f"environment CONNECTOR_{name}: {rule}")
    assert "hunter2" not in repr(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(folder, "").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"^\./connector-async\.toml: not TOML: it is not UTF-8$"):
        read(folder)

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SettingsError, match=r"^\./connector-async\.toml: cannot be read: Permission denied$"):
        read(folder)


def test_a_projects_file_that_others_could_have_put_there_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_project(folder, "")
    path.chmod(0o666)
    with pytest.raises(SettingsError, match="must belong to you or to root, and not be writable by everybody"):
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
    ("text", "limit"),
    [
        ("60/60", RateLimit()),
        ("5/0.5", RateLimit(limit=5, per=0.5, burst=4)),
        ("2/1", RateLimit(limit=2, per=1, burst=1)),
        ("unlimited", RateLimit.unlimited()),
    ],
)
def test_a_rate_limit_is_requests_over_seconds(text: str, limit: RateLimit) -> None:
    assert rate_limit_of(text) == limit
    assert rate_limit_of(text, burst=1).burst == 1


@pytest.mark.parametrize("text", ["", "60", "60/", "/60", "1/60", "0/60", "60/0", "a/b", "60/60/60", "60/nan"])
def test_a_rate_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate_limit must be REQUESTS/SECONDS"):
        rate_limit_of(text)


async def test_a_session_is_opened_as_the_settings_say(folder: Path) -> None:
    flags = {"base_url": "http://api.example/v1", "allow_http": True, "format": "reference", "deadline": 7.0}
    settings = read(folder, flags, TOKEN="hunter2", ASSUME_ZONE="Europe/Berlin")
    async with open_session(settings, "acme") as session:
        assert session.base_url == "http://api.example/v1"
        assert (session.wire_format, session.deadline) == (WireFormat.REFERENCE, 7.0)
        assert str(session.assume_zone) == "Europe/Berlin"
        assert session.tenant_id == "acme"
    with pytest.raises(SettingsError, match="base_url must be set: by --base-url, CONNECTOR_BASE_URL, or base_url in"):
        open_session(read(folder), "acme")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> CommandLine:
    isolate(monkeypatch, folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder.parent / "xdg"))
    command = CommandLine(capsys)
    command.secrets.append("hunter2")
    return command


def test_config_show_prints_each_setting_with_its_origin_and_no_secret(
    command: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(folder, 'client_id = "me"\n[tenants.acme]\nclient_secret_command = "echo hunter2"\n')
    user = write_user(folder, "[tenants.acme]\nclient_id = 'acme-client'\nclient_secret_file = 'secret'\n")
    monkeypatch.setenv("CONNECTOR_CLIENT_SECRET", "hunter2")
    done = command("config", "show", "--deadline", "5", "--json")
    assert (done.code, done.err) == (0, "")
    shown = {record["setting"]: (record["value"], record["origin"]) for record in done.records}
    assert list(shown)[: len(SETTINGS)] == [setting.name for setting in SETTINGS]
    assert shown["deadline"] == (5.0, "flag --deadline")
    assert shown["client_id"] == ("me", "./connector-async.toml")
    assert shown["client_secret"] == ("***", "environment CONNECTOR_CLIENT_SECRET")
    assert shown["token"] == (None, "default")
    assert shown["tenants.acme.client_id"] == ("acme-client", f"{user} [tenants.acme]")
    assert shown["tenants.acme.client_secret_file"] == ("secret", f"{user} [tenants.acme]")
    assert shown["tenants.acme.client_secret_command"] == ("echo ***", "./connector-async.toml [tenants.acme]")
    table = command("config", "show").out.splitlines()
    assert table[0].split() == ["setting", "value", "origin"]
    assert ["client_secret", "***", "environment", "CONNECTOR_CLIENT_SECRET"] in [line.split() for line in table]


@pytest.mark.parametrize(
    "arguments", [["config", "show"], ["get", "1"], ["auth", "check"], ["preview", "--deadline", "5"]]
)
def test_a_bad_setting_is_a_usage_error_of_each_command(
    command: CommandLine, folder: Path, arguments: list[str]
) -> None:
    write_project(folder, 'client_secret = "hunter2"')
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("connector-async: ./connector-async.toml: client_secret must not stand in a file")


def test_a_secret_is_no_option(command: CommandLine) -> None:
    for name in ("--client-secret", "--token"):
        done = command("get", "1", f"{name}=hunter2")
        assert (done.code, done.err.split(".")[0]) == (2, f"connector-async: Unknown option: {name}")


def test_a_flag_that_breaks_a_rule_is_named(command: CommandLine) -> None:
    for flag, value in (("--rate-limit", "x"), ("--base-url", "x"), ("--format", "x"), ("--deadline", "0")):
        done = command("config", "show", flag, value)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert flag in done.err
