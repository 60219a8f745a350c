"""The formats of the output, what selects records and columns, and an output that cannot be written."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
import yaml

from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import Sandbox
from tests.support.command_line import COMMAND, TIMES, CommandLine

FULL = Path("/dev/full")
needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="the machine has no device that is always full")


def run_to(output: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own, with its standard output in a file."""
    with Path(output).open("wb") as file:
        return subprocess.run(
            [*COMMAND, *arguments],
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )


def titles_of(records: Sequence[dict[str, object]]) -> list[object]:
    return [record["title"] for record in records]


def test_each_format_has_every_record(command: CommandLine) -> None:
    titles = ["One, two", 'Quote " and\ttab', "Grüße\nsecond line"]
    for title in titles:
        command.create(title)
    assert titles_of(json.loads(command("preview", "--output", "json").out)) == titles
    assert titles_of(command("preview", "--output", "jsonl").records) == titles
    assert titles_of(yaml.safe_load(command("preview", "--output", "yaml").out)) == titles
    parsed = list(csv.DictReader(io.StringIO(command("preview", "--output", "csv").out, newline="")))
    assert [row["title"] for row in parsed] == ["One, two", r'Quote " and\ttab', "Grüße\nsecond line"]
    assert [row["title"] for row in command("preview").rows] == [
        "One, two",
        r'Quote " and\ttab',
        r"Grüße\nsecond line",
    ]


@pytest.mark.parametrize(("output", "expected"), [("json", "[]\n"), ("jsonl", ""), ("yaml", "[]\n"), ("table", "")])
def test_output_without_records_is_valid(command: CommandLine, output: str, expected: str) -> None:
    assert command("preview", "--output", output).out == expected


def test_columns_select_and_order_the_fields_in_every_format(command: CommandLine) -> None:
    command.create("Visit")
    assert command("preview", "--columns", "title,time_zone").out == "title\ttime_zone\nVisit\t\n"
    assert command("preview", "--columns", "title", "--json").records == [{"title": "Visit"}]


def test_limit_prints_the_first_records(command: CommandLine) -> None:
    for title in ("a", "b", "c"):
        command.create(title)
    assert [row["title"] for row in command("preview", "--limit", "2").rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "output", "expected"),
    [
        ("[].title", "tsv", "a\nb\n"),
        ("[].title", "json", '["a","b"]\n'),
        ("[?title=='b'].{name: title}", "csv", "name\nb\n"),
        ("length(@)", "table", "2\n"),
        ("[?title=='c']", "jsonl", ""),
    ],
)
def test_query_is_applied_to_the_array_of_all_records(
    command: CommandLine, query: str, output: str, expected: str
) -> None:
    for title in ("a", "b"):
        command.create(title)
    assert command("preview", "--query", query, "--output", output).out == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--columns", "title,titel"), "--columns: 'titel' is not a column; the columns are appointment_id, title,"),
        (("--query", "[?"), "--query must be a JMESPath expression: "),
        (("--limit", "0"), "--limit must be at least 1"),
        (("--columns", "title", "--query", "@"), "--columns must not be given together with --query"),
        (("--json", "--output", "csv"), "--json must not be given together with --output"),
    ],
)
def test_invalid_output_option_is_rejected_before_anything_is_sent(
    sandbox: Sandbox, command: CommandLine, options: Sequence[str], message: str
) -> None:
    rejected = command("create", "--title", "Visit", *TIMES, *options)
    assert (rejected.code, rejected.out) == (ExitCode.USAGE, "")
    assert message in rejected.err
    assert sandbox.log.count() == 0


def test_error_is_an_object_if_the_output_is_json(command: CommandLine) -> None:
    failed = command("get", "missing", "--output", "json")
    error = orjson.loads(failed.err)
    assert (failed.code, failed.out) == (ExitCode.OTHER, "")
    assert (error["error"], error["status"], error["attempts"]) == ("NotFoundError", 404, 1)
    assert error["problem"]["detail"] == "The appointment does not exist."
    assert orjson.loads(command("get", "--json").err)["exit_code"] == ExitCode.USAGE


def test_ids_are_not_broken_over_lines_on_a_narrow_terminal(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    appointment_id = command.create("A long title of many words")
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    shown = command("get", appointment_id, "--output", "table", "--columns", "appointment_id,title,start_time").out
    assert appointment_id in shown
    assert "2024-01-15T10:00:00Z" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_table_that_is_too_wide_for_the_terminal_has_a_line_for_each_field(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    appointment_id = command.create("A long title of many words")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.rstrip() for line in command("get", appointment_id, "--output", "table").out.splitlines()]
    assert lines[:4] == [
        f"appointment_id  {appointment_id}",
        "title           A long title of many words",
        "start_time      2024-01-15T10:00:00Z",
        "end_time        2024-01-15T11:00:00Z",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes a stream on POSIX only")
def test_closed_stream_is_reported_in_one_line(sandbox: Sandbox, command: CommandLine) -> None:
    def run_with(closed: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *arguments]
        return subprocess.run(shell, capture_output=True, text=True, check=False)

    created = run_with(">&-", "create", "--title", "Visit", *TIMES)
    assert created.returncode == ExitCode.OUTPUT
    (record,) = command("preview", "--json").records
    assert created.stderr.splitlines()[0] == f"connector-async: created {record['appointment_id']}"
    assert len(created.stderr.splitlines()) == 2
    asked = run_with("<&-", "delete", "a", "b")
    assert (asked.returncode, len(asked.stderr.splitlines())) == (ExitCode.USAGE, 1)


def test_character_that_the_encoding_lacks_is_escaped_after_a_create(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run_to(str(out), "create", "--title", "Grüße ✓", *TIMES, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
    assert rb"Gr\xfc\xdfe \u2713" in out.read_bytes()


@needs_full_device
@pytest.mark.parametrize("output", ["tsv", "json", "table"])
def test_id_is_on_the_standard_error_if_the_output_is_full_after_a_create(
    sandbox: Sandbox, command: CommandLine, output: str
) -> None:
    done = run_to(str(FULL), "create", "--title", "Visit", *TIMES, "--output", output)
    (created,) = command("preview", "--json").records
    assert done.returncode == ExitCode.OUTPUT
    assert done.stderr == (
        f"connector-async: created {created['appointment_id']}\n"
        "connector-async: the output cannot be written: No space left on device\n"
    )


@needs_full_device
def test_every_line_of_a_file_is_created_and_reported_although_the_output_is_full(
    sandbox: Sandbox, command: CommandLine, tmp_path: Path
) -> None:
    drafts = tmp_path / "drafts.jsonl"
    line = '{"title": "Visit", "start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00Z"}\n'
    drafts.write_text(line + "{}\n" + line)
    done = run_to(str(FULL), "create", "--from", str(drafts))
    ids = [record["appointment_id"] for record in command("preview", "--json").records]
    assert done.returncode == ExitCode.OUTPUT
    assert len(ids) == 2
    first, failed, third, message = done.stderr.splitlines()
    assert {first.split()[-1], third.split()[-1]} == set(ids)
    assert failed.startswith("connector-async: line 2: not created: ")
    assert message == "connector-async: the output cannot be written: No space left on device"


@needs_full_device
@pytest.mark.parametrize("arguments", [("--help",), ("config", "show"), ("preview", "--json")])
def test_output_that_cannot_be_written_is_one_line(command: CommandLine, arguments: Sequence[str]) -> None:
    command.create()
    done = run_to(str(FULL), *arguments)
    assert (done.returncode, done.stderr) == (
        ExitCode.OUTPUT,
        "connector-async: the output cannot be written: No space left on device\n",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe without a reader is another error on Windows")
def test_id_is_on_the_standard_error_if_the_reader_has_closed_the_pipe(sandbox: Sandbox, command: CommandLine) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed:
        done = subprocess.run(
            [*COMMAND, "create", "--title", "Visit", *TIMES],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    (created,) = command("preview", "--json").records
    assert done.returncode == ExitCode.OUTPUT
    assert done.stderr.startswith(f"connector-async: created {created['appointment_id']}\n")
