"""A state and a saved plan belong to one server, and what exists already is never created once more."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import orjson
import pytest

from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import Sandbox, StatusFault
from connector_async.testing import ThreadedSandbox
from tests.support.cli_syncing import (
    HELD,
    TITLE,
    count_writes,
    delete_on_server,
    fill,
    holding,
    row,
    started,
    titles,
    write_source,
)
from tests.support.command_line import CommandLine

CALENDARS = ("--calendars", "calendars.csv")


@pytest.fixture
def other() -> Iterator[Sandbox]:
    """Serve another API."""
    with ThreadedSandbox() as other:
        yield other


def keys(sandbox: Sandbox, tenant_id: str = "acme") -> list[str]:
    return [title.removeprefix(f"{TITLE} ") for title in titles(sandbox, tenant_id)]


@pytest.mark.row("S1")
@pytest.mark.parametrize("arguments", [("run",), ("plan",), ("check",)], ids=" ".join)
def test_state_of_another_server_is_rejected_although_nothing_has_changed(
    command: CommandLine, source: Path, sandbox: Sandbox, other: Sandbox, arguments: tuple[str, ...]
) -> None:
    name = fill(source, 3, "acme")
    command("sync", "run", name)
    rejected = command("sync", *arguments, name, "--base-url", other.base_url)
    assert (rejected.code, rejected.out) == (ExitCode.OTHER, "")
    state = source.with_suffix(".connector-sync.db")
    assert rejected.err.startswith(
        f"connector-async: {state} belongs to {sandbox.base_url} (guide format), not to {other.base_url} (guide format)"
    )
    assert other.log.count() == 0
    assert len(command("sync", "status", "--json").records[0]["runs"]) == 1
    assert command("sync", "run", name, "--base-url", f"{sandbox.base_url}/", "--exit-code").code == 9


@pytest.mark.row("S1")
def test_state_of_another_format_is_rejected(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 3, "acme")
    command("sync", "run", name)
    sent = sandbox.log.count()
    rejected = command("sync", "run", name, "--format", "reference")
    assert rejected.code == ExitCode.OTHER
    assert "(guide format), not to a server with the reference format" in rejected.err
    assert sandbox.log.count() == sent


@pytest.mark.row("S1")
def test_rebound_state_brings_an_empty_server_in_sync(
    command: CommandLine, source: Path, sandbox: Sandbox, other: Sandbox
) -> None:
    name, there = fill(source, 3, "acme"), ("--base-url", other.base_url)
    command("sync", "run", name)
    assert command("sync", "run", name, *there, "--rebind").code == ExitCode.DONE
    assert keys(other) == keys(sandbox) == ["k0", "k1", "k2"]
    assert command("sync", "run", name, *there, "--exit-code").code == ExitCode.NOTHING_TO_DO
    assert command("sync", "run", name).code == ExitCode.OTHER


@contextmanager
def calendar_server() -> Iterator[str]:
    """Run a server that counts its ids from 1, and yield its base URL."""
    command = [sys.executable, "-m", "tests.support.calendar_server", "{}"]
    with Popen(command, stdout=PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.row("S1")
def test_ids_that_mean_other_appointments_on_another_server_harm_nothing(command: CommandLine, source: Path) -> None:
    with calendar_server() as here, calendar_server() as there:
        name = fill(source, 4, "acme")
        theirs = write_source(source.with_name("theirs.jsonl"), [row(key) for key in ("x", "y", "k2", "z")])
        assert command("sync", "run", name, "--base-url", here).code == ExitCode.DONE
        assert command("sync", "run", theirs, "--base-url", there).code == ExitCode.DONE
        write_source(source, [row("k0", title="Changed"), *(row(f"k{number}") for number in (1, 2, 4))])
        rejected = command("sync", "run", name, "--base-url", there)
        assert (rejected.code, here in rejected.err, there in rejected.err) == (ExitCode.OTHER, True, True)
        done = command("sync", "run", name, "--base-url", there, "--rebind", "--json")
        assert (done.code, done.records[0]["counts"]) == (ExitCode.DONE, {"created": 3, "unchanged": 1})
        checked = command("sync", "check", theirs, "--base-url", there, "--exit-code")
        assert [row["kind"] for row in checked.rows] == ["pull"] * 3  # what is new beside theirs


@pytest.mark.row("S1")
def test_what_another_server_has_refused_is_sent_to_this_one(
    command: CommandLine, source: Path, sandbox: Sandbox, other: Sandbox
) -> None:
    name, there = fill(source, 3, "acme"), ("--base-url", other.base_url)
    sandbox.faults.script(StatusFault(422), operation="create")
    assert command("sync", "run", name).code == ExitCode.DEAD_LETTERS
    assert command("sync", "run", name, *there, "--rebind").code == ExitCode.DONE
    assert keys(other) == ["k0", "k1", "k2"]


@pytest.mark.row("S1")
def test_pull_rejects_the_state_of_another_server(
    command: CommandLine, source: Path, sandbox: Sandbox, other: Sandbox, tmp_path: Path
) -> None:
    command("sync", "run", fill(source, 3, "acme"))
    (tmp_path / "calendars.csv").write_text("tenant_id\nacme\n")
    pull = ("sync", "pull", "--to", "mirror.csv", *CALENDARS)
    assert command(*pull).code == ExitCode.DONE
    assert (tmp_path / "mirror.connector-pull.db").is_file()
    rejected = command(*pull, "--base-url", other.base_url)
    assert rejected.code == ExitCode.OTHER
    assert f"mirror.connector-pull.db belongs to {sandbox.base_url}" in rejected.err
    assert other.log.count() == 0
    rebound = command(*pull, "--base-url", other.base_url, "--rebind")
    assert (rebound.code, len((tmp_path / "mirror.csv").read_text().splitlines())) == (ExitCode.DONE, 1)


@pytest.mark.row("S1")
def test_plan_of_staging_is_not_applied_to_production(
    command: CommandLine, source: Path, sandbox: Sandbox, other: Sandbox, tmp_path: Path
) -> None:
    staging, production = ("--state", "staging.db"), ("--state", "production.db", "--base-url", other.base_url)
    name = fill(source, 6, "acme")
    command("sync", "run", name, *staging)
    command("sync", "run", name, *production)
    fill(source, 3, "acme")
    assert command("sync", "plan", name, "--out", "plan", "--max-delete", "100%", *staging).code == ExitCode.DONE
    before = other.log.count()
    with_production = command("sync", "apply", "plan", *production)
    assert (with_production.code, with_production.out) == (ExitCode.OTHER, "")
    assert "plan: this plan was made with the state " in with_production.err
    for named in ("staging.db", "production.db"):
        assert str(tmp_path / named) in with_production.err
    at_production = command("sync", "apply", "plan", "--base-url", other.base_url)
    assert at_production.code == ExitCode.OTHER
    assert f"plan: this plan was made for {sandbox.base_url} (guide format), not {other.base_url}" in at_production.err
    assert (other.log.count(), len(keys(other))) == (before, 6)
    assert command("sync", "apply", "plan").code == ExitCode.DONE  # with the state that the plan names
    assert keys(sandbox) == ["k0", "k1", "k2"]


def test_plan_with_a_moved_state_needs_its_place(command: CommandLine, source: Path, tmp_path: Path) -> None:
    command("sync", "plan", fill(source, 2, "acme"), "--out", "plan")
    state = source.with_suffix(".connector-sync.db")
    state.rename(tmp_path / "moved.db")
    rejected = command("sync", "apply", "plan")
    assert (rejected.code, f"{state}: there is no state, but the plan" in rejected.err) == (ExitCode.OTHER, True)
    assert not state.exists()
    assert command("sync", "apply", "plan", "--state", "moved.db").code == ExitCode.DONE


def test_backup_and_export_of_a_state_keep_its_plans(command: CommandLine, source: Path) -> None:
    command("sync", "plan", fill(source, 2, "acme"), "--out", "plan")
    command("state", "backup", "copy.db")
    command("state", "export", "state.jsonl")
    command("state", "import", "state.jsonl", "--state", "imported.db")
    for state in ("copy.db", "imported.db"):
        assert command("sync", "apply", "plan", "--state", state).code == ExitCode.DONE


@pytest.mark.row("S2")
def test_same_command_from_another_folder_uses_the_same_state(
    command: CommandLine, source: Path, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("sync", "run", fill(source, 3, "acme"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = command("sync", "run", "../visits.jsonl", "--exit-code", "--json")
    assert again.code == ExitCode.NOTHING_TO_DO
    assert again.records[0]["state"] == str(tmp_path / "visits.connector-sync.db")
    assert list(Path().iterdir()) == []
    assert count_writes(sandbox) == {"create": 3}


@pytest.mark.row("S2")
def test_lost_state_doubles_nothing(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name, lost = fill(source, 3), ("--state", "new.db")
    command("sync", "run", name)
    planned = command("sync", "plan", name, "--exit-code", *lost)
    assert (planned.code, planned.out.count("agree\t")) == (ExitCode.DONE, 9)
    write_source(source, [*map(orjson.loads, source.read_bytes().splitlines()), row("new")])
    done = command("sync", "run", name, "--json", *lost)
    (report,) = done.records
    assert (done.code, report["counts"]) == (ExitCode.DONE, {"unchanged": 9, "created": 1})
    assert (report["requests"], report["minimum"]) == (7, 4)  # three tokens, three previews and one create
    assert count_writes(sandbox) == {"create": 10}
    assert command("sync", "run", name, "--exit-code", *lost).code == ExitCode.NOTHING_TO_DO


@pytest.mark.row("S2")
def test_empty_calendars_are_assumed_on_request_alone(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 3, "acme")
    assert command("sync", "run", name, "--assume-empty", "--json").records[0]["minimum"] == 3
    assert sandbox.log.count(operation="preview") == 0
    delete_on_server(sandbox, "acme")
    command("sync", "run", name, "--assume-empty", "--state", "new.db")
    assert keys(sandbox) == ["k0", "k1", "k2"]


@pytest.mark.row("S2")
def test_first_run_that_is_killed_doubles_nothing_with_its_state_or_without(
    command: CommandLine, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding() as gate:
        monkeypatch.setenv("CONNECTOR_BASE_URL", gate.sandbox.base_url)
        name = fill(source, 8, "acme")
        command("sync", "run", fill(source.with_name("first.jsonl"), 3, "acme"))
        gate.sandbox.faults.script(HELD, HELD, operation="create")
        with started("sync", "run", name, "--concurrency", "2") as process:
            gate.wait_for(2)
            process.kill()
            process.wait()
        gate.release()
        gate.wait_until_done(2)
        for options in ((), ("--state", "new.db")):
            assert command("sync", "run", name, "--grace", "0.1", *options).code == ExitCode.DONE
            assert keys(gate.sandbox) == [f"k{number}" for number in range(8)]


def test_state_of_the_folder_is_taken_if_it_is_the_only_one(command: CommandLine, source: Path, tmp_path: Path) -> None:
    command("sync", "run", fill(source, 1, "acme"))
    state = tmp_path / "visits.connector-sync.db"
    (status,) = command("sync", "status", "--json").records
    (explained, *_) = command("sync", "explain", "k0", "--json").records
    assert status["state"] == explained["state"] == str(state)
    (tmp_path / "mirror.connector-pull.db").touch()
    for arguments in (("sync", "status"), ("sync", "explain", "k0"), ("state", "backup", "copy.db")):
        rejected = command(*arguments)
        assert (rejected.code, rejected.err) == (
            ExitCode.USAGE,
            "connector-async: --state must name the state: this folder has mirror.connector-pull.db, "
            "visits.connector-sync.db\n",
        )


@pytest.mark.parametrize("subcommand", ["run", "plan", "check"])
def test_missing_source_leaves_no_state_behind(command: CommandLine, tmp_path: Path, subcommand: str) -> None:
    assert command("sync", subcommand, "none.csv").code == ExitCode.OTHER
    assert list(tmp_path.iterdir()) == []


def test_every_report_names_the_state(command: CommandLine, source: Path) -> None:
    name, state = fill(source, 2, "acme"), str(source.with_suffix(".connector-sync.db"))
    planned = command("sync", "plan", name, "--json")
    assert {operation["state"] for operation in planned.records} == {state}
    for done in (planned, command("sync", "check", name), command("sync", "plan", name)):
        assert done.err.endswith(f"connector-async: state {state}\n")
    assert command("sync", "run", name).err.endswith(f"; state {state}\n")
    for arguments in (("status",), ("explain", "k0")):
        assert command("sync", *arguments).err.startswith(f"connector-async: state {state}")
