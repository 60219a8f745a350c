"""The commands for the file of a state: check, backup, export and import."""

from pathlib import Path

from connector_async.cli.exit_codes import ExitCode
from tests.support.cli_syncing import fill
from tests.support.command_line import CommandLine


def test_state_is_backed_up_exported_and_imported(command: CommandLine, source: Path, tmp_path: Path) -> None:
    name = fill(source, 2, "acme")
    command("sync", "run", name)
    assert command("state", "backup", "copy.db").code == ExitCode.DONE
    exported = command("state", "export", "state.jsonl")
    rows = len((tmp_path / "state.jsonl").read_text().splitlines()) - 1
    assert (exported.code, exported.err) == (ExitCode.DONE, f"connector-async: exported {rows} rows\n")
    imported = command("state", "import", "state.jsonl", "--state", "new.db")
    assert (imported.code, imported.err) == (ExitCode.DONE, f"connector-async: imported {rows} rows\n")
    assert command("state", "import", "state.jsonl").code == ExitCode.OTHER
    for state in ("copy.db", "new.db"):
        assert command("sync", "run", name, "--state", state, "--exit-code").code == ExitCode.NOTHING_TO_DO
    assert command("state", "backup", "visits.connector-sync.db").code == ExitCode.USAGE


def test_damage_is_shown_and_a_run_rejects_it(command: CommandLine, source: Path, tmp_path: Path) -> None:
    name, state = fill(source, 2, "acme"), tmp_path / "state.db"
    command("sync", "run", name, "--state", state.name)
    intact = command("state", "check", "--state", state.name)
    assert (intact.code, intact.err) == (ExitCode.DONE, "connector-async: the state is not damaged\n")
    state.write_bytes(state.read_bytes().replace(b"2024-01-1", b"2O24-01-1"))
    damaged = command("state", "check", "--state", state.name)
    assert damaged.code == ExitCode.OTHER
    assert "2 impossible values in items.start_time" in damaged.err
    run = command("sync", "run", name, "--state", state.name)
    assert run.code == ExitCode.OTHER
    assert "the state is damaged" in run.err
