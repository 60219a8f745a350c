"""The command `sync pull`: what it mirrors, and how it rejects a list of calendars."""

from pathlib import Path

import pytest

from connector_async.cli.exit_codes import ExitCode
from tests.support.cli_syncing import fill
from tests.support.command_line import CommandLine


def test_pull_mirrors_the_calendars_of_a_list(command: CommandLine, source: Path, tmp_path: Path) -> None:
    command("sync", "run", fill(source, 3))
    lines, table = tmp_path / "calendars.jsonl", tmp_path / "calendars.csv"
    lines.write_text('{"tenant_id": "acme"}\n\n{"tenant_id": "globex"}\n')
    table.write_text("tenant_id\nacme\nglobex\n")
    options = ("--to", "mirror.csv", "--state", "pull.db")
    for calendars, counts in ((lines, {"pulled": 6}), (table, {})):
        done = command("sync", "pull", *options, "--calendars", str(calendars), "--json")
        assert (done.code, done.records[0]["counts"]) == (ExitCode.DONE, counts)
        assert len((tmp_path / "mirror.csv").read_text().splitlines()) == 7
    state = str(tmp_path / "visits.connector-sync.db")
    other = command("sync", "pull", "--to", "mirror.csv", "--state", state)
    assert other.code == ExitCode.OTHER
    assert f"{state} is a state of runs: a pull needs another one" in other.err
    assert command("sync", "pull", *options, "--exit-code").code == ExitCode.NOTHING_TO_DO
    assert command("sync", "pull", *options, "--to-format", "pdf").code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.jsonl", b"{}\nnot JSON\n", "c.jsonl:2: must be a JSON object"),
        ("c.jsonl", b'{"tenant": "acme"}\n', "c.jsonl:1: only tenant_id, ad_id and domain_id are accepted"),
        ("c.csv", b"tenant_id,ad_id\nacme,u-1\n", "c.csv:2: domain_id is missing"),
        ("c.csv", b"tenant_id\nacme,more\n", "c.csv:2: "),
        ("c.csv", b"tenant_id,ad_id,domain_id\nacme,u-1,d-1\n", "c.csv:2: ad_id and domain_id must be missing"),
        ("c.csv", b'tenant_id\n"acme"s\n', "c.csv:2: must be a JSON object or a valid row of CSV"),
        ("c.csv", b"tenant_id\n" + b"x" * 200_000, "c.csv:2: must be a JSON object or a valid row of CSV"),
        (
            "c.csv",
            b"tenant_id\n",
            "--calendars must not be empty: a mirror without calendars would lose all its records",
        ),
        ("c.csv", b"\xff\n", "c.csv: not UTF-8"),
        ("none.csv", None, "none.csv: No such file or directory"),
    ],
)
def test_invalid_list_of_calendars_is_reported_by_line(
    command: CommandLine, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = command("sync", "pull", "--to", "m.csv", "--calendars", name)
    assert done.code == (ExitCode.OTHER if message.endswith(("UTF-8", "directory")) else ExitCode.USAGE)
    assert done.err.startswith(f"connector-async: {message}")
    assert done.err.count("\n") == 1
