"""The commands of the bulk sync against a real server: what they send, print, and end with."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import BodyFormat, Sandbox
from tests.support.cli_syncing import DESCRIPTION, TENANTS, TITLE, delete_there, fill, row, sent, write_source
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


def test_a_run_prints_what_became_of_each_tenants_records_and_the_totals(command: CommandLine, source: Path) -> None:
    done = command("sync", "run", fill(source))
    assert done.code == ExitCode.DONE
    heading, *rows, totals = done.out.splitlines()
    assert heading.split() == ["tenant_id", "records", "created", "requests", "minimum", "waited", "elapsed"]
    assert [line.split()[:5] for line in rows] == [[tenant, "4", "4", "5", "4"] for tenant in TENANTS]
    assert ": 12 created; 15 requests sent, 12 needed; waited 0.0 s, took " in totals
    assert done.err == "sync: 12 of 12, 0 failed, " + done.err.rpartition(" ")[2]
    source.write_text("".join(source.read_text().splitlines(keepends=True)[1:]))
    assert "1 deleted" in command("sync", "run", str(source)).out
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


def test_a_record_without_a_tenant_is_of_the_settings(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    source.with_suffix(".txt").write_bytes(orjson.dumps({**row("a"), "tenant_id": None}))
    name = str(source.with_suffix(".txt"))
    assert command("sync", "run", name).code == ExitCode.USAGE
    assert command("sync", "run", name, "--source-format", "jsonl", "--tenant-id", "hooli").code == ExitCode.DONE
    assert sandbox.log.count(operation="create", tenant="hooli") == 1


def test_the_state_is_where_the_settings_say(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path
) -> None:
    name = fill(source)
    command("sync", "run", name)
    assert (tmp_path / "connector-async.db").is_file()
    (tmp_path / "sub").mkdir()
    (tmp_path / "connector-async.toml").write_text('state = "sub/state.db"')
    command("sync", "run", name)
    assert (tmp_path / "sub" / "state.db").is_file()
    command("sync", "run", name, "--state", "other.db")
    assert (tmp_path / "other.db").is_file()
    monkeypatch.chdir(tmp_path / "sub")
    assert command("sync", "run", name, "--exit-code").code == ExitCode.NOTHING_TO_DO  # beside the file that says so
    refused = command("sync", "run", name, "--state", "postgresql://me:hunter2@host/db")
    assert (refused.code, refused.err) == (ExitCode.USAGE, "connector-async: flag --state: state must be a file\n")


def test_a_plan_is_printed_saved_applied_and_then_stale(
    command: CommandLine, source: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    name, out = fill(source, 2, "acme"), str(tmp_path / "plan.jsonl")
    planned = command("sync", "plan", name, "--out", out, "--exit-code")
    assert planned.code == ExitCode.CHANGES_PENDING
    assert planned.out == "create\tacme\t\tk0\tnew in the source\ncreate\tacme\t\tk1\tnew in the source\n"
    assert planned.err == "connector-async: 2 changes to be made\n"
    assert sent(sandbox) == {}
    as_json = command("sync", "plan", name, "--json")
    assert [(each["kind"], each["key"]) for each in as_json.records] == [("create", "k0"), ("create", "k1")]
    assert as_json.code == ExitCode.DONE
    assert Path(out).stat().st_mode & 0o777 == 0o600
    assert command("sync", "apply", out, "--json").records[0]["counts"] == {"created": 2}
    stale = command("sync", "apply", out)
    assert (stale.code, stale.out) == (ExitCode.OTHER, "")
    assert stale.err.endswith(
        f"connector-async: {out}: the state has changed since this plan was made; make a new one\n"
    )
    assert sent(sandbox) == {"create": 2}
    assert command("sync", "plan", name, "--exit-code").code == ExitCode.DONE
    refused = command("sync", "plan", name, "--out", out, "--mode", "two-way")
    assert (refused.code, "two ways cannot be saved" in refused.err) == (ExitCode.USAGE, True)


def test_a_check_looks_at_both_sides_and_changes_nothing(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 3)
    command("sync", "run", name)
    assert command("sync", "check", name, "--exit-code").out == ""
    delete_there(sandbox, "globex", "k0")
    source.write_text(source.read_text().replace(f"{TITLE} k1", "Moved", 1))
    before = sent(sandbox)
    found = command("sync", "check", name, "--exit-code")
    assert found.code == ExitCode.CHANGES_PENDING
    assert found.out == "update\tacme\t\tk1\tchanged in the source\npull\tglobex\t\tk0\tgone from the server\n"
    assert command("sync", "check", name).code == ExitCode.DONE
    assert sent(sandbox) == before


def test_what_is_in_step_and_not_known_yet_is_no_change(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name, unknown = fill(source, 1, "acme"), ("--state", "other.db", "--exit-code")
    command("sync", "run", name)
    checked = command("sync", "check", name, *unknown)
    assert (checked.code, checked.out) == (ExitCode.DONE, "")
    planned = command("sync", "plan", name, "--mode", "check", *unknown)
    assert (planned.code, planned.out) == (ExitCode.DONE, "agree\tacme\t\tk0\tnew in the source\n")
    assert planned.err == checked.err == "connector-async: 0 changes to be made\n"


def test_two_ways_write_the_source_anew(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 3)
    command("sync", "run", name)
    delete_there(sandbox, "globex", "k0")
    done = command("sync", "run", name, "--mode", "two-way", "--json")
    assert (done.code, done.records[0]["counts"]["pulled"]) == (ExitCode.DONE, 1)
    assert len(source.read_text().splitlines()) == 8
    delete_there(sandbox, "acme")
    stopped = command("sync", "run", name, "--mode", "two-way")
    assert stopped.code == ExitCode.GUARD
    assert [line.split()[-1] for line in stopped.out.splitlines()[:2]] == ["stopped", "guard"]


@pytest.mark.parametrize(
    ("policy", "counts", "code"),
    [
        ("local", {"created": 1}, ExitCode.DONE),
        ("remote", {"unchanged": 1}, ExitCode.NOTHING_TO_DO),
        ("fail", {"conflict": 1}, ExitCode.DEAD_LETTERS),
    ],
)
def test_a_conflict_is_settled_as_told(
    command: CommandLine, source: Path, sandbox: Sandbox, policy: str, counts: dict[str, int], code: ExitCode
) -> None:
    name = fill(source, 2, "acme")
    command("sync", "run", name)
    delete_there(sandbox, "acme", "k0")
    write_source(source, [row("k0", title="Moved"), row("k1")])
    done = command("sync", "run", name, "--mode", "check", "--conflict", policy, "--json", "--exit-code")
    assert (done.code, done.records[0]["counts"]) == (code, counts)


def test_the_reference_has_users_and_wants_both_ends_to_look(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, source: Path
) -> None:
    command = CommandLine(capsys)
    with serving(body_format=BodyFormat.REFERENCE) as sandbox:
        settings = sandbox_environment(sandbox, RATE_LIMIT="unlimited", FORMAT="reference")
        isolate(monkeypatch, source.parent, **settings)
        name = write_source(source, [row("a", ad_id=user, domain_id="d-1") for user in ("u-1", "u-2")])
        assert command("sync", "plan", name).out.splitlines()[0] == "create\tacme\tu-1\ta\tnew in the source"
        assert command("sync", "run", name).code == ExitCode.DONE
        refused = command("sync", "run", name, "--mode", "check", "--start", "2024-01-01T00:00:00Z")
        assert (refused.code, "--start and --end must be given" in refused.err) == (ExitCode.USAGE, True)
        span = ("--start", "2024-01-01T00:00:00Z", "--end", "2024-02-01T00:00:00Z", "--window", "7d")
        done = command("sync", "run", name, "--mode", "two-way", *span, "--json")
        assert (done.code, done.records[0]["minimum"]) == (ExitCode.DONE, 10)
        user = ("--ad-id", "u-2", "--domain-id", "d-1")
        pulled = command("sync", "pull", "--to", "m.csv", "--state", "pull.db", *user, *span, "--json")
        assert (pulled.code, pulled.records[0]["counts"]) == (ExitCode.DONE, {"pulled": 1})
        assert pulled.records[0]["minimum"] == 5  # windows


def test_nothing_goes_at_once_that_the_pace_would_spread(command: CommandLine, source: Path) -> None:
    done = command("sync", "run", fill(source, 3, "acme"), "--rate-limit", "6000/60", "--json")
    assert done.records[0]["waited"] > 0


def test_an_update_reads_first_when_told(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    for title, options, reads in (("One", (), 0), ("Two", (), 0), ("Three", ("--read-first",), 1)):
        command("sync", "run", write_source(source, [row("k0", title=title)]), *options)
        assert sandbox.log.count(operation="get") == reads


def test_what_is_outside_of_the_time_is_not_gone(command: CommandLine, source: Path) -> None:
    name = fill(source, 2, "acme")
    command("sync", "run", name)
    write_source(source, [row("k0")])
    later = ("--start", "2024-01-16T00:00:00Z")
    assert command("sync", "run", name, *later, "--exit-code").code == ExitCode.NOTHING_TO_DO
    assert "1 deleted" in command("sync", "run", name, "--end", "2024-01-16T00:00:00Z").out


def test_the_guard_keeps_it_from_deleting(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 8)
    command("sync", "run", name)
    fill(source, 1)
    refused = command("sync", "run", name)
    assert (refused.code, refused.out) == (ExitCode.GUARD, "")
    assert refused.err == "connector-async: tenant acme would lose 7 of 8 appointments; 50% may go\n"
    for command_ in ("plan", "check"):
        assert command("sync", command_, name).code == ExitCode.GUARD
    assert command("sync", "run", name, "--max-delete", "20").code == ExitCode.GUARD
    assert sent(sandbox) == {"create": 24}
    assert command("sync", "run", name, "--max-delete", "21").code == ExitCode.DONE
    fill(source, 1, "globex")
    assert command("sync", "run", name, "--max-delete", "100%").code == ExitCode.GUARD
    assert command("sync", "run", name, "--max-delete", "100%", "--allow-empty").code == ExitCode.DONE
    assert sent(sandbox) == {"create": 24, "delete": 23}
