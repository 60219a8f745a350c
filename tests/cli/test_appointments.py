"""The commands on appointments against a real sandbox: what they print, where, and how they end."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async.cli import commands
from connector_async.cli.exit_codes import ExitCode, Tally, exit_code
from connector_async.exceptions import (
    AuthenticationError,
    ConnectFailedError,
    DeadlineExceededError,
    DecodingError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
)
from connector_async.models import Appointment
from connector_async.sandbox import BodyFormat, DropAfter, PutSemantics, Sandbox, StatusFault, WriteResponse
from connector_async.sync.exceptions import GuardError, StateBusyError, StateError
from connector_async.wire import WireFormat
from tests.support.command_line import COMMAND, TIMES, CommandLine, isolate, sandbox_environment, serving

TITLE = "Visit Secret"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serving() as served:
        yield served


@pytest.fixture
def command(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    isolate(monkeypatch, tmp_path, **sandbox_environment(sandbox, RATE_LIMIT="unlimited"))
    return CommandLine(capsys)


def drafts(*titles: str) -> str:
    fields = {"start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00Z"}
    return "".join(orjson.dumps({"title": title, **fields}).decode() + "\n" for title in titles)


def test_an_appointment_is_created_got_changed_shown_and_deleted(command: CommandLine) -> None:
    created = command("create", "--title", TITLE, *TIMES, "--description", "x", "--json")
    assert (created.code, created.err) == (0, "")
    (record,) = created.records
    appointment_id = record.pop("appointment_id")
    assert record == {
        "title": TITLE,
        "start_time": "2024-01-15T10:00:00Z",
        "end_time": "2024-01-15T11:00:00Z",
        "description": "x",
        "description_type": None,
        "time_zone": None,
        "extra": {},
    }
    assert command("get", appointment_id, "--json").out == created.out
    changed = command("update", appointment_id, "--title", "Moved", "--clear-description", "--json").records[0]
    assert (changed["title"], changed["description"]) == ("Moved", None)
    assert command("preview", "--json").records == [changed]
    assert command("preview", "--start", "2024-01-15T11:00:00Z", "--json").records == []
    assert command("delete", appointment_id, "--json").records == [{"appointment_id": appointment_id, "deleted": True}]
    assert command("preview").out == ""


def test_without_a_terminal_a_table_is_plain_and_whole(command: CommandLine) -> None:
    appointment_id = command.create("T" * 300 + "\x1b[31m\nnext")
    heading, line = command("get", appointment_id).out.splitlines()
    assert heading.split() == ["appointment_id", "title", "start_time", "end_time"]
    assert line.split() == [
        appointment_id,
        "T" * 300 + r"\x1b[31m\nnext",
        "2024-01-15T10:00:00Z",
        "2024-01-15T11:00:00Z",
    ]


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_has_styles_unless_no_color_is_set(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, no_color: str
) -> None:
    appointment_id = command.create()
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    shown = command("get", appointment_id).out
    assert "╭" in shown
    assert ("\x1b[" in shown) is not bool(no_color)


def test_several_ids_go_on_past_one_that_is_not_there(command: CommandLine) -> None:
    first, second = command.create(), command.create()
    got = command("get", first, "missing", second, "--json")
    assert got.code == ExitCode.DEAD_LETTERS
    assert [record["appointment_id"] for record in got.records] == [first, second]
    assert re.fullmatch(
        r"connector-async: missing: GET /acme/appointment answered 404 Not Found \(request id \S+\)\n", got.err
    )
    deleted = command("delete", first, "missing", second, "--json")
    assert (deleted.code, len(deleted.records)) == (ExitCode.DEAD_LETTERS, 2)
    assert command("delete", first, second).code == ExitCode.DEAD_LETTERS


def test_several_ids_that_are_all_there_are_done(command: CommandLine) -> None:
    ids = [command.create(), command.create()]
    assert command("get", *ids).code == 0
    assert command("delete", *ids).code == 0


def test_a_single_id_that_is_not_there_is_an_error_of_one_line_with_its_request_id(command: CommandLine) -> None:
    done = command("get", "missing")
    assert (done.code, done.out) == (ExitCode.OTHER, "")
    assert re.fullmatch(r"connector-async: GET /acme/appointment answered 404 Not Found \(request id \S+\)\n", done.err)


def test_a_create_without_an_answer_says_that_it_may_have_happened(sandbox: Sandbox, command: CommandLine) -> None:
    sandbox.faults.script(DropAfter(), operation="create")
    done = command("create", "--title", TITLE, *TIMES)
    assert (done.code, done.out) == (ExitCode.RETRYABLE, "")
    assert "it may have been created; look before you create it again" in done.err
    assert TITLE not in done.err
    assert len(command("preview", "--json").records) == 1


def test_lines_of_a_file_are_created_with_a_result_each(sandbox: Sandbox, command: CommandLine, tmp_path: Path) -> None:
    source = tmp_path / "drafts.jsonl"
    bad = '{"title": "Secret", "start_time": "2024-01-15", "end_time": "2024-01-15T11:00:00Z"}\nnot JSON\n\n[]\n'
    source.write_text(drafts("one") + bad + drafts("two").rstrip("\n"))
    done = command("create", "--from", str(source), "--json")
    assert (done.code, done.err) == (ExitCode.DEAD_LETTERS, "")
    assert [(record["line"], record["status"]) for record in done.records] == [
        (1, "done"),
        (2, "failed"),
        (3, "failed"),
        (5, "failed"),
        (6, "done"),
    ]
    assert [record.get("title") for record in done.records] == ["one", None, None, None, "two"]
    assert done.records[1]["error"].startswith("start_time must be as 2024-01-15T10:00:00Z")
    assert [record["error"] for record in done.records[2:4]] == ["not JSON", "must be a JSON object"]
    assert sandbox.log.count(operation="create") == 2
    shown = command("create", "--from", str(source)).out.splitlines()
    assert shown[0].split() == ["line", "status", "appointment_id", "error"]
    assert len(shown) == 6


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        ('"subject": "Secret"', "subject is not known; known are title, start_time"),
        ('"Secret subject": 1', "a field is not known"),
        ('"title": 5', "title must be a str"),
        ('"start_time": 5', "start_time must be a text"),
        ('"description_type": "Secret"', "description_type must be one of"),
        ('"end_time": "2024-01-14T11:00:00Z"', "end_time must not be before start_time"),
    ],
)
def test_a_line_that_breaks_a_rule_is_told_by_field_and_rule(
    command: CommandLine, tmp_path: Path, field: str, rule: str
) -> None:
    source = tmp_path / "drafts.jsonl"
    source.write_text(drafts("Visit").replace("}", f", {field}}}"))
    (record,) = command("create", "--from", str(source), "--json").records
    assert record["error"].startswith(rule)
    assert "Secret" not in record["error"]


def test_an_unknown_outcome_among_many_is_told_from_a_failure(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path
) -> None:
    source = tmp_path / "drafts.jsonl"
    source.write_text(drafts("one"))
    sandbox.faults.script(DropAfter(), operation="create")
    done = command("create", "--from", str(source), "--json")
    assert done.code == ExitCode.DEAD_LETTERS
    assert done.records[0]["status"] == "unknown"
    assert "it may have been created" in done.records[0]["error"]


@pytest.mark.row("H15")
def test_a_create_among_many_whose_response_cannot_be_decoded_is_unknown_with_its_id(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def undecodable(*_: object) -> Appointment:
        raise DecodingError("the body is not what the contract says", problems=["$.title: not a string"])

    monkeypatch.setattr(WireFormat, "structure_created", undecodable)
    (tmp_path / "drafts.jsonl").write_text(drafts("one"))
    done = command("create", "--from", "drafts.jsonl", "--json")
    (result,) = done.records
    assert (done.code, result["status"]) == (ExitCode.DEAD_LETTERS, "unknown")
    assert "it has happened" in result["error"]
    assert [record["appointment_id"] for record in command("preview", "--json").records] == [result["appointment_id"]]


@pytest.mark.parametrize(
    ("fault", "code"), [(StatusFault(403), ExitCode.CREDENTIALS), (StatusFault(400), ExitCode.OTHER)]
)
def test_the_status_tells_what_the_server_refused(
    sandbox: Sandbox, command: CommandLine, fault: StatusFault, code: ExitCode
) -> None:
    sandbox.faults.script(fault, operation="get")
    assert command("get", "1").code == code


def test_rejected_credentials_end_one_call_and_many_of_them(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONNECTOR_CLIENT_SECRET", "wrong-hunter2")
    command.secrets.append("wrong-hunter2")
    (tmp_path / "drafts.jsonl").write_text(drafts(*"abc"))
    for arguments in (["get", "1"], ["delete", "1", "2"], ["create", "--from", "drafts.jsonl"], ["auth", "check"]):
        assert command(*arguments).code == ExitCode.CREDENTIALS


def test_a_server_that_is_not_there_may_come_back(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_BASE_URL", "http://127.0.0.1:1")
    # The wait for the next attempt is not begun, since it would cross the deadline.
    for arguments in (["get", "1"], ["get", "1", "2"], ["preview"]):
        done = command(*arguments, "--deadline", "0.02")
        assert done.code == ExitCode.RETRYABLE, done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--title", TITLE], "start_time is missing"),
        (["create", "--title", "", *TIMES], "title must not be empty"),
        (["create", "--title", TITLE, "--start-time", "2024-01-15T10:00:00", "--end-time", "x"], "start_time must be"),
        (["create", "--title", TITLE, "--from", "-"], "--from must not be given beside --title"),
        (["create", "--from", "missing.jsonl"], "missing.jsonl cannot be read: No such file or directory"),
        (["create", "--from", "."], ". cannot be read: Is a directory"),
        (["create", "--title", *TITLE.split(), *TIMES], "quote a value that has spaces"),
        (["update", "1"], "an update must set at least one field"),
        (["update", "1", "--description", TITLE, "--clear-description"], "--clear-description must not be given"),
        (["get", ".."], "appointment_id must not be"),
        (["get"], "requires an argument"),
        (["preview", "--start", "yesterday"], "start must be as 2024-01-15T10:00:00Z"),
        (["preview", "--window", "7d"], "window must be None"),
        (["preview", "--ad-id", "a"], "ad_id and domain_id go together"),
        (["preview", "--format", "reference"], "user must be given"),
        (["preview", "--unheard-of"], "Unknown option: --unheard-of"),
        (["unheard-of"], "unheard-of"),
    ],
)
def test_a_bad_argument_is_one_line_and_status_2(command: CommandLine, arguments: list[str], message: str) -> None:
    done = command(*arguments)
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert done.err.startswith("connector-async: ")
    assert done.err.count("\n") == 1
    assert message in done.err
    assert "Secret" not in done.err


def test_the_reference_names_its_user_and_takes_windows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(body_format=BodyFormat.REFERENCE) as sandbox:
        further = {"FORMAT": "reference", "AD_ID": "a", "DOMAIN_ID": "d", "RATE_LIMIT": "unlimited"}
        isolate(monkeypatch, tmp_path, **sandbox_environment(sandbox, **further))
        command = CommandLine(capsys)
        described = ("--description", "x", "--description-type", "Html", "--time-zone", "Europe/Berlin")
        created = command("create", "--title", TITLE, *TIMES, *described, "--json")
        span = ("--start", "2024-01-01T00:00:00Z", "--end", "2024-02-01T00:00:00Z")
        (shown,) = command("preview", *span, "--window", "7d", "--json").records
        assert shown["appointment_id"] == created.records[0]["appointment_id"]
        assert (shown["description_type"], shown["time_zone"]) == ("Html", "Europe/Berlin")
        assert command("preview", *span, "--ad-id", "other", "--json").records == []


def test_an_update_can_read_first_and_be_answered_with_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(put=PutSemantics.REPLACE) as sandbox:
        isolate(monkeypatch, tmp_path, **sandbox_environment(sandbox, RATE_LIMIT="unlimited"))
        command = CommandLine(capsys)
        appointment_id = command.create()
        assert command("update", appointment_id, "--title", "Moved", "--read-first").code == 0
    with serving(write_response=WriteResponse.EMPTY_204) as sandbox:
        monkeypatch.setenv("CONNECTOR_BASE_URL", sandbox.base_url)
        assert command("create", "--title", TITLE, *TIMES).err.count("if it was a write, it has happened") == 1
        appointment_id = command("preview", "--json").records[0]["appointment_id"]
        done = command("update", appointment_id, "--title", "Moved", "--json")
        assert (done.code, done.records) == (0, [{"appointment_id": appointment_id}])


def test_the_help_of_a_command_is_its_docstring() -> None:
    for name, listed in commands.LISTED.items():
        documented = commands.app[name.partition(":")[2]].default_command.__doc__ or ""
        text, _, _ = documented.partition("Parameters\n")
        assert " ".join(text.split()) == " ".join(listed.split())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationError("x"), 4),
        (ForbiddenError("x"), 4),
        (ConnectFailedError("x"), 5),
        (RequestTimeoutError("x"), 5),
        (ServerError("x"), 5),
        (RateLimitedError("x"), 5),
        (DeadlineExceededError("x"), 5),
        (OutcomeUnknownError("x"), 5),
        (GuardError("x"), 6),
        (StateError("x"), 1),
        (StateBusyError("x"), 5),
        (NotFoundError("x"), 1),
        (InvalidRequestError("x"), 1),
        (DecodingError("x"), 1),
        (ValueError("x"), 2),
        (KeyboardInterrupt(), 130),
        (RuntimeError("x"), 1),
    ],
)
def test_each_error_has_its_status(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([], 0),
        ([None], 0),
        ([None, ExitCode.OTHER], 3),
        ([ExitCode.OTHER], 3),
        ([ExitCode.RETRYABLE, ExitCode.RETRYABLE], 5),
        ([None, ExitCode.RETRYABLE], 3),
        ([ExitCode.RETRYABLE, ExitCode.OTHER], 3),
        ([None, ExitCode.CREDENTIALS, ExitCode.OTHER], 4),
    ],
)
def test_many_have_one_status(failures: list[ExitCode | None], code: int) -> None:
    tally = Tally()
    for failure in failures:
        tally.add(failure)
    assert tally.exit_code() == code


def start(*arguments: str, through: Sequence[str] = (), **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*through, *COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Starts a program as a shell starts what a script has in the background: it ignores SIGINT."""


@pytest.mark.parametrize(
    ("number", "code", "through"),
    [(signal.SIGINT, 130, ()), (signal.SIGTERM, 143, ()), (signal.SIGTERM, 143, IN_BACKGROUND)],
)
def test_a_signal_ends_a_command_that_waits_for_its_input(
    command: CommandLine, number: signal.Signals, code: int, through: Sequence[str]
) -> None:
    with start("create", "--from", "-", "--json", through=through) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(drafts("one").encode())
        process.stdin.flush()
        assert orjson.loads(process.stdout.readline())["status"] == "done"
        process.send_signal(number)
        assert process.wait(timeout=30) == code
        assert process.stderr.read() == b"connector-async: interrupted; a write that was under way may have happened\n"


def test_a_pipe_that_is_closed_ends_it_quietly(command: CommandLine) -> None:
    command.create()
    for arguments in (["preview", "--json"], ["preview"]):
        with start(*arguments) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=30) == ExitCode.OTHER


def test_the_process_ends_with_the_status_of_its_command(command: CommandLine) -> None:
    done = subprocess.run([*COMMAND, "get", "missing"], capture_output=True, check=False, env=dict(os.environ))
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (ExitCode.OTHER, b"", 1)
    done = subprocess.run([*COMMAND, "get"], capture_output=True, check=False, env=dict(os.environ))
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (ExitCode.USAGE, b"", 1)
