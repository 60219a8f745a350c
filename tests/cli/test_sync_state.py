"""What the commands of the bulk sync leave behind: dead letters, limits, mirrors, states, and how they tell of it."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from connector_async.cli import commands
from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import DropBefore, Sandbox, StatusFault
from tests.support.cli_syncing import DESCRIPTION, TITLE, fill, sent, titles
from tests.support.command_line import CommandLine, isolate, sandbox_environment, serving


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serving() as served:
        yield served


@pytest.fixture
def command(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    isolate(monkeypatch, tmp_path, **sandbox_environment(sandbox, RATE_LIMIT="unlimited"))
    command = CommandLine(capsys)
    command.secrets += [TITLE, DESCRIPTION]
    return command


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "visits.jsonl"


def test_dead_letters_are_written_and_tried_again(
    command: CommandLine, source: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    name, letters = fill(source, 3, "acme"), tmp_path / "letters.jsonl"
    source.write_text(source.read_text() + f'{{"key": "bad", "tenant_id": "acme", "title": "{TITLE}"}}\n')
    sandbox.faults.script(StatusFault(422), operation="create")
    done = command("sync", "run", name, "--dead-letters", str(letters))
    assert (done.code, letters.stat().st_mode & 0o777) == (ExitCode.DEAD_LETTERS, 0o600)
    read, refused = map(orjson.loads, letters.read_bytes().splitlines())
    assert (read["operation"], read["key"], read["reason"]) == ("read", "bad", f"{name}:4: start_time is missing")
    assert (refused["operation"], refused["error"], refused["status"]) == ("create", "InvalidRequestError", 422)
    assert TITLE not in letters.read_text()
    told = command("sync", "explain", refused["key"])
    assert [line.split()[0] for line in told.out.splitlines()] == ["what", "in", "dead"]
    assert "InvalidRequestError" in told.out
    assert command("sync", "explain", refused["key"], "--json").records[1]["what"] == "dead letter"
    source.write_text("".join(source.read_text().splitlines(keepends=True)[:3]))
    assert command("sync", "run", name, "--exit-code").code == ExitCode.DEAD_LETTERS  # it is still given up
    unheard = command("sync", "retry-failed", "unheard-of", name)
    assert (unheard.code, "unheard-of has given nothing up" in unheard.err) == (ExitCode.USAGE, True)
    again = command("sync", "retry-failed", read["run_id"], name, "--dead-letters", str(letters), "--json")
    assert (again.code, again.records[0]["counts"], letters.read_bytes()) == (ExitCode.DONE, {"created": 1}, b"")


@pytest.mark.parametrize("begin", [("run", "source.jsonl"), ("pull", "--to", "mirror.csv")], ids=lambda each: each[0])
@pytest.mark.parametrize(("place", "reason"), [("none/letters", "No such file or dir"), (".", "not a regular file")])
def test_where_dead_letters_cannot_be_written_is_told_before_anything_is_sent(
    command: CommandLine, sandbox: Sandbox, source: Path, begin: tuple[str, ...], place: str, reason: str
) -> None:
    fill(source, 1, "acme")
    refused = command("sync", *begin, "--dead-letters", place)
    assert (refused.code, refused.out) == (ExitCode.OTHER, "")
    assert refused.err.startswith(f"connector-async: {place}: {reason}")
    assert sent(sandbox) == {}


@pytest.mark.parametrize(
    "begin",
    [("run", "source.jsonl"), ("plan", "source.jsonl"), ("check", "source.jsonl"), ("pull", "--to", "mirror.csv")],
    ids=lambda each: each[0],
)
def test_with_the_guide_there_are_no_windows(
    command: CommandLine, sandbox: Sandbox, source: Path, begin: tuple[str, ...]
) -> None:
    fill(source, 1, "acme")
    refused = command("sync", *begin, "--window", "7d")
    told = "connector-async: --window must be left out: with the guide, the server is asked for no time\n"
    assert (refused.code, refused.out, refused.err) == (ExitCode.USAGE, "", told)
    assert sent(sandbox) == {}


@pytest.mark.parametrize("limit", [("--max-requests", "5"), ("--max-duration", "0.000001")], ids=lambda limit: limit[0])
def test_a_limit_ends_it_and_the_next_run_goes_on(command: CommandLine, source: Path, limit: tuple[str, str]) -> None:
    name = fill(source)
    ended = command("sync", "run", name, *limit)
    assert ended.code == ExitCode.LIMIT_REACHED
    assert "not started; " in ended.out
    assert ended.out.endswith(f"the limit of {'requests' if 'requests' in limit[0] else 'time'} was reached\n")
    assert command("sync", "run", name).code == ExitCode.DONE
    assert command("sync", "run", name, "--exit-code").code == ExitCode.NOTHING_TO_DO


def test_what_is_left_open_may_pass(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 1, "acme")
    sandbox.faults.script(*[DropBefore()] * 9, operation="create")
    done = command("sync", "run", name, "--grace", "0", "--passes", "1")
    assert (done.code, ": 1 unknown; " in done.out) == (ExitCode.RETRYABLE, True)
    assert ", 5 failed, " in done.err  # attempts
    sandbox.faults.clear()
    assert command("sync", "status", "--json").records[0]["open_creates"] == 1
    assert command("sync", "run", name, "--grace", "0").code == ExitCode.DONE
    assert titles(sandbox) == [f"{TITLE} k0"]


def test_a_pull_mirrors_what_the_server_has(command: CommandLine, source: Path, tmp_path: Path) -> None:
    command("sync", "run", fill(source, 3))
    lines, table = tmp_path / "calendars.jsonl", tmp_path / "calendars.csv"
    lines.write_text('{"tenant_id": "acme"}\n\n{"tenant_id": "globex"}\n')
    table.write_text("tenant_id\nacme\nglobex\n")
    place = ("--to", "mirror.csv", "--state", "pull.db")
    for calendars, counts in ((lines, {"pulled": 6}), (table, {})):
        done = command("sync", "pull", *place, "--calendars", str(calendars), "--json")
        assert (done.code, done.records[0]["counts"]) == (ExitCode.DONE, counts)
        assert len((tmp_path / "mirror.csv").read_text().splitlines()) == 7
    other = command("sync", "pull", "--to", "mirror.csv")
    assert (other.code, "is for pulls alone" in other.err) == (ExitCode.OTHER, True)
    assert command("sync", "pull", *place, "--exit-code").code == ExitCode.NOTHING_TO_DO
    assert command("sync", "pull", *place, "--to-format", "pdf").code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.jsonl", b"{}\nnot JSON\n", "c.jsonl:2: must be a JSON object"),
        ("c.jsonl", b'{"tenant": "acme"}\n', "c.jsonl:1: known are tenant_id, ad_id and domain_id alone"),
        ("c.csv", b"tenant_id,ad_id\nacme,u-1\n", "c.csv:2: domain_id is missing"),
        ("c.csv", b"tenant_id\nacme,more\n", "c.csv:2: "),
        ("c.csv", b"tenant_id,ad_id,domain_id\nacme,u-1,d-1\n", "c.csv:2: ad_id and domain_id must be missing"),
        ("c.csv", b'tenant_id\n"acme"s\n', "c.csv:2: must be a JSON object, or a row of CSV"),
        ("c.csv", b"tenant_id\n" + b"x" * 200_000, "c.csv:2: must be a JSON object, or a row of CSV"),
        ("c.csv", b"tenant_id\n", "calendars must name one at least: a mirror of none would be emptied"),
        ("c.csv", b"\xff\n", "c.csv: not UTF-8"),
        ("none.csv", None, "none.csv: No such file or directory"),
    ],
)
def test_a_bad_list_of_calendars_is_told_by_its_line(
    command: CommandLine, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = command("sync", "pull", "--to", "m.csv", "--calendars", name)
    assert done.code == (ExitCode.OTHER if message.endswith(("UTF-8", "directory")) else ExitCode.USAGE)
    assert done.err.startswith(f"connector-async: {message}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "none.jsonl"), ExitCode.OTHER, "none.jsonl: No such file or directory"),
        (("plan", "none.jsonl"), ExitCode.OTHER, "none.jsonl: No such file or directory"),
        (("apply", "none.jsonl"), ExitCode.OTHER, "none.jsonl: No such file or directory"),
        (("run", "empty.jsonl", "--state", "none/state.db"), ExitCode.OTHER, "No such file or directory"),
        (("run", "empty.jsonl", "--max-delete", "some"), ExitCode.USAGE, "max_delete must be a number, or a share"),
        (("run", "empty.jsonl", "--start", "today"), ExitCode.USAGE, "start must be as 2024-01-15T10:00:00Z"),
        (("run", "empty.jsonl", "--passes", "0"), ExitCode.USAGE, "passes must be"),
        (("run", "empty.jsonl", "--max-requests", "0"), ExitCode.USAGE, "max_requests must be"),
        (("run", "empty.jsonl", "--stop-timeout", "-1"), ExitCode.USAGE, "stop_timeout must be"),
        (("run", "empty.jsonl", "--wait", "-1"), ExitCode.USAGE, "wait must be"),
        (("run", "empty.jsonl", "--base-url", "http://elsewhere"), ExitCode.USAGE, "base_url must"),
        (("status",), ExitCode.OTHER, "connector-async.db"),
        (("explain", "k"), ExitCode.OTHER, "connector-async.db"),
    ],
    ids=str,
)
def test_what_cannot_begin_is_told_in_one_line(
    command: CommandLine, tmp_path: Path, arguments: tuple[str, ...], code: ExitCode, message: str
) -> None:
    (tmp_path / "empty.jsonl").touch()
    done = command("sync", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert message in done.err


def test_a_state_is_copied_exported_and_made_anew(command: CommandLine, source: Path, tmp_path: Path) -> None:
    name = fill(source, 2, "acme")
    command("sync", "run", name)
    assert command("state", "backup", "copy.db").code == ExitCode.DONE
    exported = command("state", "export", "state.jsonl")
    rows = len((tmp_path / "state.jsonl").read_text().splitlines()) - 1
    assert (exported.code, exported.err) == (ExitCode.DONE, f"connector-async: {rows} rows\n")
    assert command("state", "import", "state.jsonl", "--state", "new.db").err == exported.err
    assert command("state", "import", "state.jsonl").code == ExitCode.OTHER
    for state in ("copy.db", "new.db"):
        assert command("sync", "run", name, "--state", state, "--exit-code").code == ExitCode.NOTHING_TO_DO
    assert command("state", "backup", "connector-async.db").code == ExitCode.USAGE


def test_a_status_tells_the_latest_runs(command: CommandLine, source: Path) -> None:
    command("sync", "run", fill(source, 2, "acme"))
    counts, figures, heading, line = command("sync", "status").out.splitlines()
    assert dict(zip(counts.split(), figures.split(), strict=True))["items"] == "2"
    assert heading.split()[:4] == ["run_id", "kind", "mode", "status"]
    assert line.split()[1:4] == ["run", "trust", "ended"]
    assert line.rstrip().endswith("2 created")
    unknown = command("sync", "explain", "unheard-of")
    assert (unknown.code, unknown.err) == (ExitCode.OTHER, "connector-async: nothing is known of that key\n")


def test_the_help_of_each_command_is_its_docstring() -> None:
    for name, below in commands.LISTED_BELOW.items():
        for word, (_, listed) in below.items():
            documented = commands.app[name][word].default_command.__doc__ or ""
            text, _, _ = documented.partition("Parameters\n")
            assert " ".join(text.split()) == " ".join(listed.split())
