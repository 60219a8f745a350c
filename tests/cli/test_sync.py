"""The sync commands against a real sandbox: what they send and print, and their exit codes."""

import os
from pathlib import Path
from subprocess import PIPE, Popen

import orjson
import pytest

from connector_async._timestamps import parse_instant
from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import BodyFormat, DropBefore, Sandbox, StatusFault
from connector_async.testing import ThreadedSandbox
from tests.support.cli_syncing import (
    TENANTS,
    TITLE,
    count_writes,
    delete_on_server,
    fill,
    row,
    titles,
    write_source,
)
from tests.support.command_line import COMMAND, CommandLine, isolate, sandbox_environment

CHANGES = "kind\ttenant_id\tad_id\tkey\treason\n"
"""The header of a plan and a check."""


def test_run_prints_the_counts_of_each_tenant_and_the_totals(command: CommandLine, source: Path) -> None:
    done = command("sync", "run", fill(source), "--assume-empty")
    assert done.code == ExitCode.DONE
    figures = ("tenant_id", "records", "created", "deleted", "requests", "minimum")
    assert [[row[name] for name in figures] for row in done.rows] == [
        [tenant, "4", "4", "0", "5", "4"] for tenant in TENANTS
    ]
    progress, totals = done.err.splitlines()
    assert progress.startswith("sync: 12 of 12, 0 failed, ")
    assert ": 12 created; 15 requests sent, 12 needed; waited 0.0 s, took " in totals
    source.write_text("".join(source.read_text().splitlines(keepends=True)[1:]))
    assert "1 deleted" in command("sync", "run", str(source)).err
    last = command("sync", "run", str(source), "--json", "--exit-code")
    assert last.code == ExitCode.NOTHING_TO_DO
    (report,) = last.records
    assert (report["requests"], report["minimum"], report["counts"]) == (0, 0, {})
    assert {name: tenant["records"] for name, tenant in report["tenants"].items()} == {
        "acme": 3,
        "globex": 4,
        "initech": 4,
    }
    assert command("sync", "run", str(source)).code == ExitCode.DONE


def test_record_without_a_tenant_belongs_to_the_tenant_of_the_settings(
    command: CommandLine, source: Path, sandbox: Sandbox
) -> None:
    source.with_suffix(".txt").write_bytes(orjson.dumps({**row("a"), "tenant_id": None}))
    name = str(source.with_suffix(".txt"))
    assert command("sync", "run", name).code == ExitCode.USAGE
    assert command("sync", "run", name, "--source-format", "jsonl", "--tenant-id", "hooli").code == ExitCode.DONE
    assert sandbox.log.count(operation="create", tenant="hooli") == 1


def test_state_is_where_the_settings_say(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path
) -> None:
    name = fill(source)
    command("sync", "run", name)
    assert (tmp_path / "visits.connector-sync.db").is_file()
    (tmp_path / "sub").mkdir()
    (tmp_path / "connector-async.toml").write_text('state = "sub/state.db"')
    command("sync", "run", name)
    assert (tmp_path / "sub" / "state.db").is_file()
    command("sync", "run", name, "--state", "other.db")
    assert (tmp_path / "other.db").is_file()
    monkeypatch.chdir(tmp_path / "sub")
    assert command("sync", "run", name, "--exit-code").code == ExitCode.NOTHING_TO_DO  # relative to the settings file


def test_plan_is_printed_saved_applied_and_then_stale(
    command: CommandLine, source: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    name, out = fill(source, 2, "acme"), str(tmp_path / "plan.jsonl")
    planned = command("sync", "plan", name, "--out", out, "--exit-code")
    assert planned.code == ExitCode.CHANGES_PENDING
    assert planned.out == f"{CHANGES}create\tacme\t\tk0\tnew in the source\ncreate\tacme\t\tk1\tnew in the source\n"
    state = tmp_path / "visits.connector-sync.db"
    assert planned.err == f"connector-async: 2 changes to make\nconnector-async: state {state}\n"
    assert count_writes(sandbox) == {}
    as_json = command("sync", "plan", name, "--json")
    assert [(operation["kind"], operation["key"]) for operation in as_json.records] == [
        ("create", "k0"),
        ("create", "k1"),
    ]
    assert as_json.code == ExitCode.DONE
    assert Path(out).stat().st_mode & 0o777 == 0o600
    assert command("sync", "apply", out, "--json").records[0]["counts"] == {"created": 2}
    stale = command("sync", "apply", out)
    assert (stale.code, stale.out) == (ExitCode.OTHER, "")
    assert stale.err.endswith(
        f"connector-async: {out}: the state has changed since this plan was made; make a new one\n"
    )
    assert count_writes(sandbox) == {"create": 2}
    assert command("sync", "plan", name, "--exit-code").code == ExitCode.DONE
    rejected = command("sync", "plan", name, "--out", out, "--mode", "two-way")
    assert (rejected.code, "two-way plan cannot be saved" in rejected.err) == (ExitCode.USAGE, True)


def test_check_compares_both_sides_and_changes_nothing(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 3)
    command("sync", "run", name)
    assert command("sync", "check", name, "--exit-code").out == CHANGES
    delete_on_server(sandbox, "globex", "k0")
    source.write_text(source.read_text().replace(f"{TITLE} k1", "Moved", 1))
    before = count_writes(sandbox)
    checked = command("sync", "check", name, "--exit-code")
    assert checked.code == ExitCode.CHANGES_PENDING
    assert (
        checked.out
        == f"{CHANGES}update\tacme\t\tk1\tchanged in the source\npull\tglobex\t\tk0\tdeleted on the server\n"
    )
    assert command("sync", "check", name).code == ExitCode.DONE
    assert count_writes(sandbox) == before


@pytest.mark.row("S3")
@pytest.mark.parametrize("arguments", [("plan",), ("plan", "--mode", "two-way"), ("check",)], ids=" ".join)
def test_dry_run_lists_the_records_that_cannot_be_read(
    command: CommandLine, source: Path, sandbox: Sandbox, arguments: tuple[str, ...]
) -> None:
    name, (subcommand, *options) = fill(source, 3, "acme"), arguments
    command("sync", "run", name)
    before = count_writes(sandbox)
    lines = source.read_text().splitlines(keepends=True)
    lines[0] = lines[0].replace("T10:30", "T09:30")  # the end before the start
    lines[1] = lines[1].replace(f"{TITLE} k1", "Moved")
    lines += [f'{{"title": "{TITLE}"\n', lines[2]]
    source.write_text("".join(lines))
    done = command("sync", subcommand, name, *options, "--exit-code")
    assert done.code == ExitCode.DEAD_LETTERS
    assert done.out == f"{CHANGES}update\tacme\t\tk1\tchanged in the source\n"
    first, second, third, *last = done.err.splitlines()
    assert first.startswith(f"connector-async: {name}:1: end_time ")
    assert second.startswith(f"connector-async: {name}:4: ")
    assert third == f"connector-async: {name}: key k2 occurs 2 times"
    total = "4 differences" if subcommand == "check" else "1 change to make"
    state = f"state {source.with_suffix('.connector-sync.db')}"
    assert last == [f"connector-async: {message}" for message in (total, "3 records could not be read", state)]
    assert count_writes(sandbox) == before


@pytest.mark.row("S3")
def test_plan_of_a_source_without_a_readable_record_is_not_a_success(command: CommandLine, source: Path) -> None:
    name = write_source(source, [row(f"k{number}", end_time="today") for number in range(5)])
    planned = command("sync", "plan", name)
    assert (planned.code, planned.out, planned.err.count("end_time: not an RFC 3339 date-time")) == (3, CHANGES, 5)


def test_untracked_appointment_in_sync_is_not_a_change(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name, unknown = fill(source, 1, "acme"), ("--state", "other.db", "--exit-code")
    command("sync", "run", name)
    checked = command("sync", "check", name, *unknown)
    assert (checked.code, checked.out) == (ExitCode.DONE, CHANGES)
    planned = command("sync", "plan", name, "--mode", "check", *unknown)
    assert (planned.code, planned.out) == (ExitCode.DONE, f"{CHANGES}agree\tacme\t\tk0\tnew in the source\n")
    state = source.with_name("other.db")
    assert planned.err == f"connector-async: 0 changes to make\nconnector-async: state {state}\n"
    assert checked.err == f"connector-async: 0 differences\nconnector-async: state {state}\n"


def test_two_way_mode_rewrites_the_source(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 3)
    command("sync", "run", name)
    delete_on_server(sandbox, "globex", "k0")
    two_way = ("sync", "run", name, "--mode", "two-way", "--grace", "0")
    done = command(*two_way, "--json")
    assert (done.code, done.records[0]["counts"]["pulled"]) == (ExitCode.DONE, 1)
    assert len(source.read_text().splitlines()) == 8
    delete_on_server(sandbox, "acme")
    stopped = command(*two_way)
    assert stopped.code == ExitCode.GUARD
    assert [row["stopped"] for row in stopped.rows] == ["guard", "", ""]


def test_two_way_run_with_an_unreadable_record_ends_with_dead_letters(
    command: CommandLine, source: Path, sandbox: Sandbox
) -> None:
    name = fill(source, 3, "acme")
    command("sync", "run", name)
    bad = source.read_bytes().splitlines(keepends=True)[0].replace(b"T10:30", b"T09:30")
    source.write_bytes(bad + b"".join(source.read_bytes().splitlines(keepends=True)[1:]))
    delete_on_server(sandbox, "acme", "k0", "k1")
    done = command("sync", "run", name, "--mode", "two-way", "--grace", "0", "--max-delete", "100%", "--json")
    assert (done.code, done.records[0]["counts"]) == (ExitCode.DEAD_LETTERS, {"pulled": 1, "unreadable": 1})
    assert source.read_bytes().splitlines(keepends=True)[0] == bad
    assert len(source.read_bytes().splitlines()) == 2


def test_version_that_lost_a_conflict_is_explained_and_printed_on_request(
    command: CommandLine, source: Path, sandbox: Sandbox
) -> None:
    name = fill(source, 2, "acme")
    command("sync", "run", name)
    delete_on_server(sandbox, "acme", "k0")
    write_source(source, [row("k0", title="Moved", description="Long"), row("k1")])
    command("sync", "run", name, "--mode", "two-way", "--conflict", "remote", "--grace", "0")
    explained = command("sync", "explain", "k0", "--json")
    assert [(each["what"], each["side"]) for each in explained.records if "side" in each] == [("archived", "source")]
    assert "Moved" not in explained.out + command("sync", "explain", "k0").out
    (version,) = command("sync", "explain", "k0", "--archived").records
    assert (version["side"], version["content"]["title"]) == ("source", "Moved")
    nothing = command("sync", "explain", "k1", "--archived")
    assert (nothing.code, nothing.out) == (ExitCode.OTHER, "")


@pytest.mark.parametrize(
    ("policy", "counts", "code"),
    [
        ("local", {"created": 1}, ExitCode.DONE),
        ("remote", {"unchanged": 1}, ExitCode.NOTHING_TO_DO),
        ("fail", {"conflict": 1}, ExitCode.DEAD_LETTERS),
    ],
)
def test_conflict_option_decides_a_conflict(
    command: CommandLine, source: Path, sandbox: Sandbox, policy: str, counts: dict[str, int], code: ExitCode
) -> None:
    name = fill(source, 2, "acme")
    command("sync", "run", name)
    delete_on_server(sandbox, "acme", "k0")
    write_source(source, [row("k0", title="Moved"), row("k1")])
    options = ("--mode", "check", "--conflict", policy, "--grace", "0", "--json", "--exit-code")
    done = command("sync", "run", name, *options)
    assert (done.code, done.records[0]["counts"]) == (code, counts)


def test_reference_format_has_users_and_needs_both_ends_to_look_at_the_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, source: Path
) -> None:
    command = CommandLine(capsys)
    with ThreadedSandbox(body_format=BodyFormat.REFERENCE) as sandbox:
        settings = sandbox_environment(sandbox, RATE_LIMIT="unlimited", FORMAT="reference")
        isolate(monkeypatch, source.parent, **settings)
        name = write_source(source, [row("a", ad_id=user, domain_id="d-1") for user in ("u-1", "u-2")])
        assert command("sync", "plan", name).out.splitlines()[1] == "create\tacme\tu-1\ta\tnew in the source"
        assert command("sync", "run", name).code == ExitCode.DONE
        rejected = command("sync", "run", name, "--mode", "check", "--start", "2024-01-01T00:00:00Z")
        assert (rejected.code, "--start and --end are required" in rejected.err) == (ExitCode.USAGE, True)
        span = ("--start", "2024-01-01T00:00:00Z", "--end", "2024-02-01T00:00:00Z", "--window", "7d")
        done = command("sync", "run", name, "--mode", "two-way", *span, "--json")
        assert (done.code, done.records[0]["minimum"]) == (ExitCode.DONE, 10)
        user = ("--ad-id", "u-2", "--domain-id", "d-1")
        pulled = command("sync", "pull", "--to", "m.csv", "--state", "pull.db", *user, *span, "--json")
        assert (pulled.code, pulled.records[0]["counts"]) == (ExitCode.DONE, {"pulled": 1})
        assert pulled.records[0]["minimum"] == 5  # windows


def test_run_spreads_its_requests_by_the_rate_limit(command: CommandLine, source: Path) -> None:
    done = command("sync", "run", fill(source, 3, "acme"), "--rate-limit", "6000/60", "--json")
    assert done.records[0]["waited"] > 0


def test_update_reads_first_on_request(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    for title, options, reads in (("One", (), 0), ("Two", (), 0), ("Three", ("--read-first",), 1)):
        command("sync", "run", write_source(source, [row("k0", title=title)]), *options)
        assert sandbox.log.count(operation="get") == reads


def test_appointment_outside_of_the_time_range_is_not_deleted(command: CommandLine, source: Path) -> None:
    name = fill(source, 2, "acme")
    command("sync", "run", name)
    write_source(source, [row("k0")])
    later = ("--start", "2024-01-16T00:00:00Z")
    assert command("sync", "run", name, *later, "--exit-code").code == ExitCode.NOTHING_TO_DO
    assert "1 deleted" in command("sync", "run", name, "--end", "2024-01-16T00:00:00Z").err


def test_guard_stops_a_run_that_would_delete_too_much(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 8)
    command("sync", "run", name)
    fill(source, 1)
    rejected = command("sync", "run", name)
    assert (rejected.code, rejected.out) == (ExitCode.GUARD, "")
    assert rejected.err == "connector-async: tenant acme would lose 7 of 8 appointments; the limit is 10%,100\n"
    assert command("sync", "plan", name).code == ExitCode.GUARD
    assert command("sync", "check", name).code == ExitCode.DONE  # it deletes nothing
    assert command("sync", "run", name, "--max-delete", "20").code == ExitCode.GUARD
    assert count_writes(sandbox) == {"create": 24}
    assert command("sync", "run", name, "--max-delete", "21").code == ExitCode.DONE
    fill(source, 1, "globex")
    assert command("sync", "run", name, "--max-delete", "100%").code == ExitCode.GUARD
    assert command("sync", "run", name, "--max-delete", "100%", "--allow-empty").code == ExitCode.DONE
    assert count_writes(sandbox) == {"create": 24, "delete": 23}


def test_dead_letters_are_written_explained_and_retried(
    command: CommandLine, source: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    name, letters = fill(source, 3, "acme"), tmp_path / "letters.jsonl"
    source.write_text(source.read_text() + f'{{"key": "bad", "tenant_id": "acme", "title": "{TITLE}"}}\n')
    sandbox.faults.script(StatusFault(422), operation="create")
    done = command("sync", "run", name, "--dead-letters", str(letters))
    assert (done.code, letters.stat().st_mode & 0o777) == (ExitCode.DEAD_LETTERS, 0o600)
    unreadable, refused = map(orjson.loads, letters.read_bytes().splitlines())
    assert (unreadable["operation"], unreadable["key"], unreadable["reason"]) == (
        "read",
        "bad",
        f"{name}:4: start_time is missing",
    )
    assert (refused["operation"], refused["error"], refused["status"]) == ("create", "InvalidRequestError", 422)
    assert TITLE not in letters.read_text()
    explained = command("sync", "explain", refused["key"])
    assert [line.split()[0] for line in explained.out.splitlines()] == ["what", "in", "dead"]
    assert "InvalidRequestError" in explained.out
    assert command("sync", "explain", refused["key"], "--json").records[1]["what"] == "dead letter"
    source.write_text("".join(source.read_text().splitlines(keepends=True)[:3]))
    assert command("sync", "run", name, "--exit-code").code == ExitCode.DEAD_LETTERS  # the record is still given up
    unknown = command("sync", "retry-failed", "unheard-of", name)
    assert (unknown.code, "RUN must be a run that gave records up" in unknown.err) == (ExitCode.USAGE, True)
    again = command("sync", "retry-failed", unreadable["run_id"], name, "--dead-letters", str(letters), "--json")
    assert (again.code, again.records[0]["counts"], letters.read_bytes()) == (ExitCode.DONE, {"created": 1}, b"")


@pytest.mark.parametrize(
    "arguments", [("run", "visits.jsonl"), ("pull", "--to", "mirror.csv")], ids=lambda arguments: arguments[0]
)
@pytest.mark.parametrize(("path", "reason"), [("none/letters", "No such file or dir"), (".", "not a regular file")])
def test_unwritable_file_of_dead_letters_is_reported_before_anything_is_sent(
    command: CommandLine, sandbox: Sandbox, source: Path, arguments: tuple[str, ...], path: str, reason: str
) -> None:
    fill(source, 1, "acme")
    rejected = command("sync", *arguments, "--dead-letters", path)
    assert (rejected.code, rejected.out) == (ExitCode.OTHER, "")
    assert rejected.err.startswith(f"connector-async: {path}: {reason}")
    assert count_writes(sandbox) == {}


@pytest.mark.parametrize(
    "arguments",
    [("run", "source.jsonl"), ("pull", "--to", "mirror.csv")],
    ids=lambda arguments: arguments[0],
)
def test_window_is_rejected_with_the_guide(
    command: CommandLine, sandbox: Sandbox, source: Path, arguments: tuple[str, ...]
) -> None:
    fill(source, 1, "acme")
    rejected = command("sync", *arguments, "--window", "7d")
    message = "connector-async: --window is accepted only with --format reference\n"
    assert (rejected.code, rejected.out, rejected.err) == (ExitCode.USAGE, "", message)
    assert count_writes(sandbox) == {}


@pytest.mark.parametrize("limit", [("--max-requests", "5"), ("--max-duration", "0.000001")], ids=lambda limit: limit[0])
def test_limit_stops_a_run_and_the_next_run_resumes(command: CommandLine, source: Path, limit: tuple[str, str]) -> None:
    name = fill(source)
    ended = command("sync", "run", name, *limit)
    assert ended.code == ExitCode.LIMIT_REACHED
    assert ("not started" if "requests" in limit[0] else "nothing started") in ended.err
    assert f"; the {'request' if 'requests' in limit[0] else 'time'} limit was reached; state " in ended.err
    assert command("sync", "run", name).code == ExitCode.DONE
    assert command("sync", "run", name, "--exit-code").code == ExitCode.NOTHING_TO_DO


def test_pending_create_is_a_transient_failure_that_the_next_run_resolves(
    command: CommandLine, source: Path, sandbox: Sandbox
) -> None:
    name = fill(source, 1, "acme")
    sandbox.faults.script(*[DropBefore()] * 9, operation="create")
    done = command("sync", "run", name, "--grace", "0", "--passes", "1")
    assert (done.code, ": 1 unknown; " in done.err) == (ExitCode.RETRYABLE, True)
    assert ", 5 failed, " in done.err  # attempts
    sandbox.faults.clear()
    assert command("sync", "status", "--json").records[0]["pending_creates"] == 1
    assert command("sync", "run", name, "--grace", "0").code == ExitCode.DONE
    assert titles(sandbox) == [f"{TITLE} k0"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "none.jsonl"), ExitCode.OTHER, "none.jsonl: No such file or directory"),
        (("plan", "none.jsonl"), ExitCode.OTHER, "none.jsonl: No such file or directory"),
        (("apply", "none.jsonl"), ExitCode.OTHER, "none.jsonl: No such file or directory"),
        (("run", "empty.jsonl", "--state", "none/state.db"), ExitCode.OTHER, "No such file or directory"),
        (("run", "empty.jsonl", "--max-delete", "some"), ExitCode.USAGE, "--max-delete must be a number"),
        (
            ("run", "empty.jsonl", "--start", "soon"),
            ExitCode.USAGE,
            "--start: 'soon' is not a time; ",
        ),
        (("run", "empty.jsonl", "--passes", "0"), ExitCode.USAGE, "--passes must be"),
        (("run", "empty.jsonl", "--max-requests", "0"), ExitCode.USAGE, "--max-requests must be"),
        (("run", "empty.jsonl", "--stop-timeout", "-1"), ExitCode.USAGE, "--stop-timeout must be"),
        (("run", "empty.jsonl", "--wait", "-1"), ExitCode.USAGE, "--wait must be"),
        (("run", "empty.jsonl", "--base-url", "http://elsewhere"), ExitCode.USAGE, "--base-url must"),
        (("status",), ExitCode.USAGE, "--state must name the state: this folder has no *.connector-sync.db"),
        (("explain", "k"), ExitCode.USAGE, "--state must name the state: this folder has no *.connector-sync.db"),
        (("status", "--state", "none.db"), ExitCode.OTHER, "none.db: there is no state"),
    ],
    ids=str,
)
def test_command_that_cannot_start_is_one_line(
    command: CommandLine, tmp_path: Path, arguments: tuple[str, ...], code: ExitCode, message: str
) -> None:
    (tmp_path / "empty.jsonl").touch()
    done = command("sync", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert message in done.err


@pytest.mark.row("S12")
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "pipe"),
        ("plan", "pipe"),
        ("check", "pipe"),
        ("apply", "pipe"),
        ("run", "/dev/stdin"),
        ("pull", "--to", "x.csv", "--calendars", "pipe"),
        ("status", "--state", "pipe"),
        ("explain", "key", "--state", "pipe"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("command")
def test_pipe_is_rejected_before_anything_is_read(sandbox: Sandbox, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    os.mkfifo(tmp_path / "pipe")
    options = ("--source-format", "csv") if arguments[0] in {"run", "plan", "check"} else ()
    with Popen([*COMMAND, "sync", *arguments, *options], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.wait(timeout=20) == ExitCode.OTHER  # stdin stays open, and the pipe has no writer
            assert process.stderr.read().endswith(
                f"{arguments[-1]}: must be a regular file, not a folder, a pipe or a device\n"
            )
        finally:
            process.kill()
    assert count_writes(sandbox) == {}


@pytest.mark.row("S3")
def test_status_counts_resolved_dead_letters_apart(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 3, "acme")
    sandbox.faults.script(StatusFault(422), StatusFault(422), operation="create")
    command("sync", "run", name)
    (status,) = command("sync", "status", "--json").records
    assert (status["dead_letters"], status["resolved_dead_letters"]) == (2, 0)
    sandbox.faults.script(StatusFault(422), operation="create")
    command("sync", "retry-failed", status["runs"][0]["run_id"], name)
    (status,) = command("sync", "status", "--json").records
    assert status["dead_letters"] == 1
    assert status["resolved_dead_letters"] >= 1
    shown = command("sync", "status").err
    assert f" 1 dead letters, {status['resolved_dead_letters']} resolved dead letters" in shown


@pytest.mark.row("S3")
def test_times_in_json_are_date_times_and_conditions_are_json(
    command: CommandLine, source: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    name, letters = fill(source, 2, "acme"), tmp_path / "letters.jsonl"
    sandbox.faults.script(StatusFault(422), operation="create")
    options = ("--start", "2024-01-01T00:00:00Z", "--dead-letters", str(letters))
    command("sync", "run", name, *options)
    (refused,) = map(orjson.loads, letters.read_bytes().splitlines())
    command("sync", "retry-failed", refused["run_id"], name)
    delete_on_server(sandbox, "acme")
    (status,) = command("sync", "status", "--json").records
    explained = command("sync", "explain", refused["key"], "--json").records
    assert {row["what"] for row in explained} >= {"synced", "in the source", "dead letter"}
    times = [
        value
        for row in [refused, *explained, *status["runs"]]
        for column, value in row.items()
        if (column == "at" or column.endswith("_at")) and value is not None
    ]
    assert len(times) >= 7
    assert all(parse_instant(time).year >= 2024 for time in times)
    nothing = {"start": None, "end": None, "window": None, "retry_run": None}
    assert [run["conditions"] for run in status["runs"]] == [
        nothing | {"retry_run": refused["run_id"]},
        nothing | {"start": "2024-01-01T00:00:00.000000Z"},
    ]


def test_status_shows_the_counts_and_the_latest_runs(command: CommandLine, source: Path) -> None:
    command("sync", "run", fill(source, 2, "acme"))
    shown = command("sync", "status")
    assert shown.err == f"connector-async: state {source.with_suffix('.connector-sync.db')}: 2 items\n"
    (run,) = shown.rows
    assert [run[name] for name in ("kind", "mode", "status", "counts")] == ["run", "trust", "ended", "2 created"]
    unknown = command("sync", "explain", "unheard-of")
    state, message = unknown.err.splitlines()
    assert state == f"connector-async: state {source.with_suffix('.connector-sync.db')}"
    assert (unknown.code, message) == (ExitCode.OTHER, "connector-async: nothing is known about this key")
