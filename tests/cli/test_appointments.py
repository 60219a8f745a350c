"""The commands for appointments against a real sandbox: what they print, where, and their exit codes."""

import re
from pathlib import Path

import orjson
import pytest

from connector_async.cli.exit_codes import ExitCode
from connector_async.exceptions import DecodingError
from connector_async.models import Appointment
from connector_async.sandbox import BodyFormat, DropAfter, PutSemantics, Sandbox, StatusFault, WriteResponse
from connector_async.testing import ThreadedSandbox
from connector_async.wire import WireFormat
from tests.support.command_line import TIMES, CommandLine, isolate, sandbox_environment

TITLE = "Visit Secret"


def lines(*titles: str) -> str:
    """Return JSON Lines with an appointment for each title."""
    fields = {"start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00Z"}
    return "".join(orjson.dumps({"title": title, **fields}).decode() + "\n" for title in titles)


def test_appointment_is_created_read_updated_previewed_and_deleted(command: CommandLine) -> None:
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
    assert command("preview").rows == []


def test_table_without_a_terminal_is_plain_and_not_cut(command: CommandLine) -> None:
    appointment_id = command.create("T" * 300 + "\x1b[31m\nnext")
    heading, line = command("get", appointment_id, "--output", "table").out.splitlines()
    assert heading.split() == ["appointment_id", "title", "start_time", "end_time"]
    assert line.split() == [
        appointment_id,
        "T" * 300 + r"\x1b[31m\nnext",
        "2024-01-15T10:00:00Z",
        "2024-01-15T11:00:00Z",
    ]


@pytest.mark.parametrize("no_color", ["", "1"])
def test_table_on_a_terminal_has_styles_unless_no_color_is_set(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, no_color: str
) -> None:
    appointment_id = command.create()
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")  # where the table fits
    monkeypatch.setenv("NO_COLOR", no_color)
    shown = command("get", appointment_id, "--output", "table").out
    assert "╭" in shown
    assert ("\x1b[" in shown) is not bool(no_color)


def test_missing_appointment_does_not_stop_the_other_ids(command: CommandLine) -> None:
    first, second = command.create(), command.create()
    got = command("get", first, "missing", second, "--json")
    assert got.code == ExitCode.DEAD_LETTERS
    assert [record["appointment_id"] for record in got.records] == [first, second]
    assert re.fullmatch(
        r"connector-async: missing: GET /acme/appointment returned 404 Not Found: The .+ exist\. \(request id \S+\)\n",
        got.err,
    )
    deleted = command("delete", first, "missing", second, "--yes", "--json")
    assert (deleted.code, len(deleted.records)) == (ExitCode.DEAD_LETTERS, 2)
    assert command("delete", first, second, "--yes").code == ExitCode.DEAD_LETTERS


def test_command_with_several_existing_ids_exits_with_0(command: CommandLine) -> None:
    ids = [command.create(), command.create()]
    assert command("get", *ids).code == 0
    assert command("delete", *ids, "--yes").code == 0


def test_missing_appointment_is_one_line_with_the_request_id(command: CommandLine) -> None:
    done = command("get", "missing")
    assert (done.code, done.out) == (ExitCode.OTHER, "")
    assert re.fullmatch(
        r"connector-async: GET /acme/appointment returned 404 Not Found: The .+ exist\. \(request id \S+\)\n",
        done.err,
    )


def test_create_without_a_response_is_reported_as_possibly_done(sandbox: Sandbox, command: CommandLine) -> None:
    sandbox.faults.script(DropAfter(), operation="create")
    done = command("create", "--title", TITLE, *TIMES)
    assert (done.code, done.out) == (ExitCode.RETRYABLE, "")
    assert "the appointment may have been created; look before you create it again" in done.err
    assert TITLE not in done.err
    assert len(command("preview", "--json").records) == 1


def test_each_line_of_a_file_has_a_result(sandbox: Sandbox, command: CommandLine, tmp_path: Path) -> None:
    source = tmp_path / "drafts.jsonl"
    bad = '{"title": "Secret", "start_time": "2024-01-15", "end_time": "2024-01-15T11:00:00Z"}\nnot JSON\n\n[]\n'
    source.write_text(lines("one") + bad + lines("two").rstrip("\n"))
    done = command("create", "--from", str(source), "--json")
    assert (done.code, "Secret" in done.err) == (ExitCode.DEAD_LETTERS, False)
    assert done.err.count("1 failed: ") == 3
    assert [(record["line"], record["status"]) for record in done.records] == [
        (1, "done"),
        (2, "failed"),
        (3, "failed"),
        (5, "failed"),
        (6, "done"),
    ]
    assert [record.get("title") for record in done.records] == ["one", None, None, None, "two"]
    assert done.records[1]["error"].startswith("start_time has no UTC offset, and a time_zone or --assume-zone is not")
    assert [record["error"] for record in done.records[2:4]] == [
        "not JSON",
        "expected an object of the fields of NewAppointment, not list",
    ]
    assert sandbox.log.count(operation="create") == 2
    shown = command("create", "--from", str(source)).out.splitlines()
    assert shown[0].split("\t") == ["record", "line", "key", "status", "appointment_id", "error"]
    assert len(shown) == 6


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        ('"subject": "Secret"', "subject is not known"),
        ('"Secret subject": 1', "a field is not known"),
        ('"title": 5', "title must be a str"),
        ('"start_time": 5', "start_time must be an RFC 3339 date-time, not int"),
        ('"description_type": "Secret"', "description_type must be one of"),
        ('"end_time": "2024-01-14T11:00:00Z"', "end_time must not be before start_time"),
    ],
)
def test_invalid_line_is_reported_by_field_and_rule(
    command: CommandLine, tmp_path: Path, field: str, rule: str
) -> None:
    source = tmp_path / "drafts.jsonl"
    source.write_text(lines("Visit").replace("}", f", {field}}}"))
    (record,) = command("create", "--from", str(source), "--json").records
    assert record["error"].startswith(rule)
    assert "Secret" not in record["error"]


def test_unknown_outcome_of_a_line_differs_from_a_failure(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path
) -> None:
    source = tmp_path / "drafts.jsonl"
    source.write_text(lines("one"))
    sandbox.faults.script(DropAfter(), operation="create")
    done = command("create", "--from", str(source), "--json")
    assert done.code == ExitCode.DEAD_LETTERS
    assert done.records[0]["status"] == "unknown"
    assert "the appointment may have been created" in done.records[0]["error"]


@pytest.mark.row("H15")
def test_line_with_an_undecodable_response_is_unknown_and_has_its_id(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def undecodable(*_: object) -> Appointment:
        raise DecodingError("the body is not what the contract says", problems=["$.title: not a string"])

    monkeypatch.setattr(WireFormat, "structure_created", undecodable)
    (tmp_path / "drafts.jsonl").write_text(lines("one"))
    done = command("create", "--from", "drafts.jsonl", "--json")
    (result,) = done.records
    assert (done.code, result["status"]) == (ExitCode.DEAD_LETTERS, "unknown")
    assert "it has happened" in result["error"]
    assert [record["appointment_id"] for record in command("preview", "--json").records] == [result["appointment_id"]]


@pytest.mark.parametrize(
    ("fault", "code"), [(StatusFault(403), ExitCode.CREDENTIALS), (StatusFault(400), ExitCode.OTHER)]
)
def test_refusal_of_the_server_has_its_exit_code(
    sandbox: Sandbox, command: CommandLine, fault: StatusFault, code: ExitCode
) -> None:
    sandbox.faults.script(fault, operation="get")
    assert command("get", "1").code == code


def test_rejected_credentials_end_every_command(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONNECTOR_CLIENT_SECRET", "wrong-hunter2")
    command.secrets.append("wrong-hunter2")
    (tmp_path / "drafts.jsonl").write_text(lines(*"abc"))
    for arguments in (
        ["get", "1"],
        ["delete", "1", "2", "--yes"],
        ["create", "--from", "drafts.jsonl"],
        ["auth", "check"],
    ):
        assert command(*arguments).code == ExitCode.CREDENTIALS


def test_unreachable_server_is_a_transient_failure(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_BASE_URL", "http://127.0.0.1:1")
    # There is no second attempt: the backoff would end after the deadline.
    for arguments in (["get", "1"], ["get", "1", "2"], ["preview"]):
        done = command(*arguments, "--deadline", "0.02")
        assert done.code == ExitCode.RETRYABLE, done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--title", TITLE], "--start-time is missing"),
        (["create", "--title", "", *TIMES], "--title must not be blank"),
        (
            ["create", "--title", TITLE, *TIMES[:2], "--end-time", "2024-01-14T10:00:00Z"],
            "--end-time must not be before",
        ),
        (["create", "--title", TITLE, "--from", "-"], "--from must not be given together with --title"),
        (["create", "--from", "missing.jsonl"], "missing.jsonl cannot be read: No such file or directory"),
        (["create", "--from", "."], ". cannot be read: Is a directory"),
        (["update", "1"], "an update must set at least one field"),
        (["update", "1", "--description", TITLE, "--clear-description"], "--clear-description must not be given"),
        (
            ["update", "1", "--end-time", "2024-01-15T10:00:00"],
            "--end-time: '2024-01-15T10:00:00' has no UTC offset, and --time-zone is not given",
        ),
        (["get", ".."], "ID must not be"),
        (
            ["preview", "--start", "soon"],
            "--start: 'soon' is not a time; accepted are 2024-01-15T10:00Z; ",
        ),
        (["preview", "--window", "7d"], "--window is accepted only with --format reference"),
        (["preview", "--ad-id", "a"], "--ad-id and --domain-id are accepted only with --format reference"),
        (["preview", "--format", "reference"], "--ad-id and --domain-id are required with --format reference"),
        (["preview", "--tenant-id", " a"], "--tenant-id must not"),
        (["preview", "--base-url", "http://api.example"], "--base-url must be https"),
    ],
)
def test_invalid_argument_is_one_line_that_names_the_option(
    command: CommandLine, arguments: list[str], message: str
) -> None:
    done = command(*arguments)
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert done.err.startswith(f"connector-async: {message}")
    assert done.err.count("\n") == 1
    assert "Secret" not in done.err


def test_reference_format_has_users_and_windows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with ThreadedSandbox(body_format=BodyFormat.REFERENCE) as sandbox:
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


def test_update_reads_first_on_request_and_accepts_an_empty_response(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with ThreadedSandbox(put=PutSemantics.REPLACE) as sandbox:
        isolate(monkeypatch, tmp_path, **sandbox_environment(sandbox, RATE_LIMIT="unlimited"))
        command = CommandLine(capsys)
        appointment_id = command.create()
        assert command("update", appointment_id, "--title", "Moved", "--read-first").code == 0
    with ThreadedSandbox(write_response=WriteResponse.EMPTY_204) as sandbox:
        monkeypatch.setenv("CONNECTOR_BASE_URL", sandbox.base_url)
        assert command("create", "--title", TITLE, *TIMES).err.count("if it was a write, it has happened") == 1
        appointment_id = command("preview", "--json").records[0]["appointment_id"]
        done = command("update", appointment_id, "--title", "Moved", "--json")
        assert (done.code, done.records) == (0, [{"appointment_id": appointment_id}])
