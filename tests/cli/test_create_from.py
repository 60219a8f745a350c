"""`create --from` that is interrupted and resumed, dry runs, confirmations, and titles that look like options."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from connector_async.cli.exit_codes import ExitCode
from connector_async.cli.resume_file import ResumeFile
from connector_async.sandbox import DropAfter, Sandbox, StatusFault
from tests.support.command_line import COMMAND, TIMES, CommandLine

FIELDS = {"start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00Z"}


def write_drafts(path: Path, titles: Sequence[str]) -> str:
    path.write_bytes(b"".join(orjson.dumps({"title": title, **FIELDS}) + b"\n" for title in titles))
    return str(path)


def titles_on_server(command: CommandLine) -> list[str]:
    return sorted(record["title"] for record in command("preview", "--json").records)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_create_is_resumed_without_a_double(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path, number: signal.Signals
) -> None:
    titles = [f"Visit {index}" for index in range(300)]
    drafts, resume = write_drafts(tmp_path / "drafts.jsonl", titles), str(tmp_path / "resume.jsonl")
    arguments = ("create", "--from", drafts, "--resume", resume)
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        limit = time.monotonic() + 20
        while sandbox.log.count(operation="create") < 40 and time.monotonic() < limit:
            time.sleep(0.01)
        run.send_signal(number)
        assert run.stderr is not None
        message = run.stderr.read()
    if number is not signal.SIGKILL:
        assert run.returncode == 128 + number
        assert f"to resume, repeat the command with --resume {resume}" in message
    resumed = command(*arguments, "--json")
    on_server = titles_on_server(command)
    assert len(on_server) == len(set(on_server))
    # Those in flight at the signal are named, and not repeated.
    entries = [orjson.loads(line) for line in Path(resume).read_bytes().splitlines()]
    started = {entry["number"] for entry in entries if entry["status"] == "started"}
    ended = {entry["number"] for entry in entries if entry["status"] != "started"}
    assert len(started - ended) <= (16 if number is signal.SIGKILL else 0)
    assert {title for number, title in enumerate(titles, 1) if number in ended} <= set(on_server)
    assert started == set(range(1, 301))
    assert resumed.code == (ExitCode.DEAD_LETTERS if started - ended else ExitCode.DONE)
    assert ("may have been created before" in resumed.err) == bool(started - ended)
    assert "Visit" not in Path(resume).read_text()


def test_resumed_create_repeats_what_failed_and_not_what_may_have_happened(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path
) -> None:
    drafts, resume = write_drafts(tmp_path / "drafts.jsonl", ["a", "b", "c"]), str(tmp_path / "resume.jsonl")
    sandbox.faults.script(StatusFault(422), operation="create")
    sandbox.faults.script(DropAfter(), operation="create")
    first = command("create", "--from", drafts, "--resume", resume, "--json")
    assert sorted(record["status"] for record in first.records) == ["done", "failed", "unknown"]
    second = command("create", "--from", drafts, "--resume", resume, "--json")
    assert [record["status"] for record in second.records] == ["done"]
    assert second.code == ExitCode.DEAD_LETTERS
    assert "1 were created before" in second.err
    assert "may have been created before: look, and create them apart" in second.err
    assert titles_on_server(command) == ["a", "b", "c"]


def test_resume_file_of_other_drafts_is_rejected(sandbox: Sandbox, command: CommandLine, tmp_path: Path) -> None:
    resume = str(tmp_path / "resume.jsonl")
    command("create", "--from", write_drafts(tmp_path / "a.jsonl", ["a"]), "--resume", resume)
    other = command("create", "--from", write_drafts(tmp_path / "b.jsonl", ["b"]), "--resume", resume)
    assert (other.code, sandbox.log.count(operation="create")) == (ExitCode.USAGE, 1)
    assert "was written for another file: number 1 differs" in other.err
    Path(resume).write_text("[]\n")
    broken = command("create", "--from", str(tmp_path / "a.jsonl"), "--resume", resume)
    assert "line 1 of" in broken.err


def test_input_that_is_rejected_after_a_create_does_not_end_as_if_nothing_was_sent(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path
) -> None:
    drafts, resume = tmp_path / "drafts.jsonl", str(tmp_path / "resume.jsonl")
    sandbox.faults.script(StatusFault(422), operation="create")
    command("create", "--from", write_drafts(drafts, ["a", "b"]), "--resume", resume)
    done = command("create", "--from", write_drafts(drafts, ["a", "c"]), "--resume", resume, "--json")
    assert [record["title"] for record in done.records] == ["a"]
    assert done.code == ExitCode.OTHER
    assert (
        "was written for another file: number 2 differs; the inputs before it have a result"
        in done.err.splitlines()[-1]
    )
    assert titles_on_server(command) == ["a", "b"]


def test_resume_file_that_is_cut_in_its_last_line_is_resumed(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path
) -> None:
    resume = tmp_path / "resume.jsonl"
    arguments = ("create", "--from", write_drafts(tmp_path / "drafts.jsonl", ["a", "b"]), "--resume", str(resume))
    command(*arguments)
    started = resume.read_bytes().splitlines(keepends=True)[0]
    resume.write_bytes(resume.read_bytes() + started[:-20])
    for _ in range(2):  # the cut line is gone, rather than joined with the next one
        assert command(*arguments).code == ExitCode.DONE
    assert titles_on_server(command) == ["a", "b"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such lock")
def test_resume_file_that_another_command_uses_is_rejected(command: CommandLine, tmp_path: Path) -> None:
    resume = tmp_path / "resume.jsonl"
    with ResumeFile.opened(resume):
        result = command("create", "--from", write_drafts(tmp_path / "drafts.jsonl", ["a"]), "--resume", str(resume))
    assert (result.code, result.err) == (
        ExitCode.USAGE,
        f"connector-async: --resume: another command is using {resume}\n",
    )
    assert titles_on_server(command) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the size of files is limited on POSIX only")
def test_full_disk_loses_no_id_and_sends_nothing_that_is_not_remembered(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path
) -> None:
    titles = [f"Visit {index}" for index in range(30)]
    resume = tmp_path / "resume.jsonl"
    arguments = ("create", "--from", write_drafts(tmp_path / "drafts.jsonl", titles), "--resume", str(resume), "--json")
    limited = ["sh", "-c", 'ulimit -f 2; exec "$@"', "sh", *COMMAND, *arguments]
    run = subprocess.run(limited, capture_output=True, text=True, check=False)
    results = [orjson.loads(line) for line in run.stdout.splitlines()]
    done = sorted(result["title"] for result in results if result["status"] == "done")
    assert done
    assert done == titles_on_server(command)
    assert {str(resume) in result["error"] for result in results if result["status"] == "failed"} == {True}
    assert run.returncode == ExitCode.DEAD_LETTERS
    assert command(*arguments).code == ExitCode.DEAD_LETTERS  # some are known as started only
    assert titles_on_server(command) == sorted(titles)


def test_resume_file_that_is_not_a_regular_file_is_rejected(command: CommandLine, tmp_path: Path) -> None:
    drafts = write_drafts(tmp_path / "drafts.jsonl", ["a"])
    result = command("create", "--from", drafts, "--resume", os.devnull)
    assert result.code == ExitCode.OTHER
    assert f"{os.devnull}: must be a regular file" in result.err
    assert titles_on_server(command) == []


def test_dry_run_of_each_write_sends_nothing(sandbox: Sandbox, command: CommandLine, tmp_path: Path) -> None:
    drafts = write_drafts(tmp_path / "drafts.jsonl", ["a", ""])
    for arguments, shown in (
        (("create", "--title", "Visit", *TIMES), {"title": "Visit"}),
        (("create", "--from", drafts), {"status": "valid", "title": "a"}),
        (("update", "an-id", "--title", "Moved"), {"appointment_id": "an-id", "title": "Moved"}),
        (("delete", "an-id", "another"), {"appointment_id": "an-id", "deleted": False}),
    ):
        done = command(*arguments, "--dry-run", "--json")
        assert done.records[0].items() >= shown.items(), arguments
        assert done.err == "connector-async: dry run: nothing was sent\n"
    assert sandbox.log.count() == 0


def test_deleting_several_without_a_terminal_needs_yes(sandbox: Sandbox, command: CommandLine) -> None:
    ids = [command.create(), command.create()]
    rejected = command("delete", *ids)
    assert rejected.code == ExitCode.USAGE
    assert "--yes must be given to delete 2 appointments without a terminal to ask on" in rejected.err
    assert sandbox.log.count(operation="delete") == 0
    assert command("delete", *ids, "--yes").code == ExitCode.DONE


@pytest.mark.parametrize("title", ["- buy milk", "--version", "--help", "-h"])
def test_title_may_look_like_an_option(command: CommandLine, title: str) -> None:
    (created,) = command("create", "--title", title, *TIMES, "--json").records
    assert created["title"] == title


def test_second_signal_cancels_the_creates_in_flight_and_names_them(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"CONNECTOR_{name}")
    monkeypatch.setenv("CONNECTOR_TOKEN", "a-token")
    resume = str(tmp_path / "resume.jsonl")
    arguments = ("create", "--from", write_drafts(tmp_path / "drafts.jsonl", ["a", "b"]), "--resume", resume)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("CONNECTOR_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            assert run.stderr is not None
            connections = [server.accept()[0] for _ in range(2)]
            for connection in connections:
                assert connection.recv(1)  # the create was sent, and gets no response
            run.send_signal(signal.SIGINT)
            assert "a second signal cancels them" in run.stderr.readline()
            run.send_signal(signal.SIGINT)
            lines = run.stderr.read().splitlines()
        for connection in connections:
            connection.close()
    assert run.returncode == ExitCode.INTERRUPTED
    assert lines == [
        "connector-async: numbers 1, 2 may have been created",
        f"connector-async: to resume, repeat the command with --resume {resume}",
        "connector-async: interrupted",
    ]


def test_draft_that_waits_for_the_rate_limit_at_an_interrupt_is_not_said_to_be_sent(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path
) -> None:
    resume = str(tmp_path / "resume.jsonl")
    arguments = ("create", "--from", write_drafts(tmp_path / "drafts.jsonl", list("abcdef")), "--resume", resume)
    limited = [*COMMAND, *arguments, "--rate-limit", "2/60"]
    with subprocess.Popen(limited, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert "rate-limit slot" in run.stderr.readline()
        run.send_signal(signal.SIGINT)
        assert "a second signal cancels them" in run.stderr.readline()
        run.send_signal(signal.SIGINT)
        message = run.stderr.read()
    assert "may have been created" not in message
    assert command(*arguments).code == ExitCode.DONE
    assert titles_on_server(command) == list("abcdef")


def test_first_distinct_reasons_of_failures_are_printed_with_their_counts(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path
) -> None:
    drafts = write_drafts(tmp_path / "drafts.jsonl", ["", "", "a", *"x" * 8])
    for number in range(1, 7):
        sandbox.faults.script(StatusFault(430 + number), operation="create")
    done = command("create", "--from", drafts, "-q", "--json")
    assert done.code == ExitCode.DEAD_LETTERS
    reasons = done.err.splitlines()
    assert reasons[0].startswith("connector-async: 2 failed: title must not be blank")
    assert len(reasons) == 6
    assert reasons[-1] == "connector-async: 2 more reasons; the records have them all"


def test_members_that_are_ignored_are_counted(command: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "drafts.jsonl"
    path.write_bytes(orjson.dumps({"Subject": "a", "room": "4", **FIELDS}) + b"\n")
    done = command("create", "--from", str(path), "--map", "title=Subject", "--ignore-unknown")
    assert (done.code, done.err) == (ExitCode.DONE, "connector-async: ignored: room (1)\n")


def test_extra_is_sent_also_with_mapped_members(command: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "drafts.jsonl"
    path.write_bytes(orjson.dumps({"Subject": "a", "description": "", "extra": {"room": "4"}, **FIELDS}) + b"\n")
    arguments = ("create", "--from", str(path), "--map", "title=Subject", "--dry-run", "--json")
    (sent,) = command(*arguments).records
    assert (sent["title"], sent["description"], sent["extra"]) == ("a", "", {"room": "4"})
    path.write_bytes(orjson.dumps({"Subject": "a", "extra": "b", **FIELDS}) + b"\n")
    (sent,) = command(*arguments, "--map", "description=extra").records
    assert (sent["description"], sent["extra"]) == ("b", {})
    path.write_bytes(orjson.dumps({"Subject": ["a"], **FIELDS}) + b"\n")
    assert command(*arguments).records[0]["error"].startswith("title must be a str")


def test_mapped_line_of_another_calendar_is_not_sent(sandbox: Sandbox, command: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "drafts.jsonl"
    path.write_bytes(orjson.dumps({"Subject": "a", "tenant_id": "globex", **FIELDS}) + b"\n")
    (failed,) = command("create", "--from", str(path), "--map", "title=Subject", "--json").records
    assert failed["error"].startswith("the calendar must be that of --tenant-id")
    assert sandbox.log.count(operation="create") == 0


LOCAL = {"title": "a", "start_time": "2024-01-15 10:00", "end_time": "2024-01-16"}
SKIPPED = {"title": "a", "start_time": "2024-03-31T02:30", "end_time": "2024-03-31T04:30"}


def write_as(name: str, fields: dict[str, str]) -> str:
    """Write one draft as JSON Lines or CSV, by the suffix of the name."""
    content = f"{','.join(fields)}\n{','.join(fields.values())}\n".encode()
    Path(name).write_bytes(content if name.endswith(".csv") else orjson.dumps(fields))
    return name


@pytest.mark.parametrize("name", ["drafts.jsonl", "drafts.csv"])
def test_times_of_a_file_are_read_as_those_of_options(command: CommandLine, name: str) -> None:
    (created,) = command("create", "--from", write_as(name, LOCAL), "--assume-zone", "Europe/Berlin", "--json").records
    assert (created["start_time"], created["end_time"]) == ("2024-01-15T09:00:00Z", "2024-01-15T23:00:00Z")
    for zone in ({"time_zone": "Europe/Berlin"}, {"time_zone": "W. Europe Standard Time"}):
        (valid,) = command("create", "--from", write_as(name, LOCAL | zone), "--dry-run", "--json").records
        assert valid["start_time"] == "2024-01-15T09:00:00Z"


@pytest.mark.parametrize("name", ["drafts.jsonl", "drafts.csv"])
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            LOCAL,
            "start_time has no UTC offset, and a time_zone or --assume-zone is not given; accepted are 2024-01-15T10",
        ),
        (
            SKIPPED | {"time_zone": "Europe/Berlin"},
            "start_time does not exist in Europe/Berlin: the clocks skip it; 2024",
        ),
        (
            {**FIELDS, "title": "a", "end_time": "Secret"},
            "end_time is not a time; accepted are 2024-01-15T10:00Z; with",
        ),
        (
            {**FIELDS, "title": "a", "end_time": "tomorrow"},
            "end_time is not a time; accepted are 2024-01-15T10:00Z; with",
        ),
        ({**FIELDS, "title": "a", "end_time": "+7d"}, "end_time is not a time; accepted are 2024-01-15T10:00Z; with"),
    ],
)
def test_time_of_a_file_is_rejected_with_what_is_accepted(
    sandbox: Sandbox, command: CommandLine, name: str, fields: dict[str, str], error: str
) -> None:
    done = command("create", "--from", write_as(name, fields), "--json")
    assert done.records[0]["error"].startswith(error)
    assert "Secret" not in done.out + done.err
    assert sandbox.log.count(operation="create") == 0


def test_file_for_a_user_need_not_name_the_user(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_as("drafts.csv", {"title": "a", **FIELDS})
    reference = ("--format", "reference", "--ad-id", "ann", "--domain-id", "acme.example")
    (valid,) = command("create", "--from", name, *reference, "--dry-run", "--json").records
    assert valid["status"] == "valid"
