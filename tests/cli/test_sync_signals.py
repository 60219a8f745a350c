"""Sync commands that a signal stops, that meet another run, or that have a tenant without credentials."""

import asyncio
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import orjson
import pytest

from connector_async import Clock
from connector_async.cli.exit_codes import ExitCode
from connector_async.cli.signals import stoppable
from connector_async.sandbox import DEFAULT_CLIENT_SECRET, Sandbox
from connector_async.sync.budget import Budget
from tests.support.cli_syncing import DESCRIPTION, HELD, TITLE, Gate, holding, row, started, titles, write_source
from tests.support.command_line import CommandLine

START = "2024-01-15T10:00:00Z"
SIGNALS = [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]


@pytest.fixture
def gate() -> Iterator[Gate]:
    with holding() as gate:
        yield gate


@pytest.fixture
def sandbox(gate: Gate) -> Sandbox:
    return gate.sandbox


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_source(tmp_path / "visits.jsonl", [row(f"k{number:02}") for number in range(20)])


def error_line(process: "Popen[str]") -> str:
    """Return the next message; development mode may have printed warnings of slow callbacks before it."""
    assert process.stderr is not None
    return next((line for line in process.stderr if line.startswith("connector-async: ")), "")


def ended(process: "Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    for personal in (TITLE, DESCRIPTION):
        assert personal not in out + err
    return process.returncode, out, err


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_signal_lets_operations_in_flight_end_and_the_next_run_resumes(
    gate: Gate, command: CommandLine, source: str, number: signal.Signals, code: ExitCode
) -> None:
    gate.sandbox.faults.script(HELD, HELD, operation="create")
    with started("sync", "run", source, "--json", "--concurrency", "2") as process:
        gate.wait_for(2)
        process.send_signal(number)
        assert error_line(process).startswith("connector-async: stopping after the operations in flight")
        gate.release()
        status, out, err = ended(process)
    assert (status, "cut off" in err) == (code, False)
    report = orjson.loads(out)
    assert (report["stopped"], report["counts"]) == ("signal", {"created": 2, "not_started": 18})
    assert len(titles(gate.sandbox)) == 2
    assert command("sync", "run", source, "--json").records[0]["counts"] == {"created": 18}
    assert len(titles(gate.sandbox)) == 20


@pytest.mark.parametrize("stop_timeout", ["60", "0.01"], ids=["second signal", "stop timeout"])
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_operations_that_were_cut_off_are_resolved_by_the_next_run(
    gate: Gate, command: CommandLine, source: str, number: signal.Signals, code: ExitCode, stop_timeout: str
) -> None:
    gate.sandbox.faults.script(HELD, HELD, operation="create")
    with started("sync", "run", source, "--stop-timeout", stop_timeout, "--concurrency", "2") as process:
        gate.wait_for(2)
        process.send_signal(number)
        error_line(process)
        if stop_timeout == "60":
            process.send_signal(signal.SIGTERM)
        status, out, err = ended(process)
    assert (status, out) == (code, "")
    assert "connector-async: cut off: operations in flight may have happened; the next run finds out\n" in err
    gate.release()  # the server performs the creates now
    gate.wait_until_done(2)
    assert command("sync", "status", "--json").records[0]["pending_creates"] == 2
    assert command("sync", "run", source, "--grace", "0", "--json").records[0]["counts"] == {"created": 20}
    assert len(titles(gate.sandbox)) == 20


def test_killed_run_is_resolved_by_the_next_run(gate: Gate, command: CommandLine, source: str) -> None:
    gate.sandbox.faults.script(HELD, operation="create")
    with started("sync", "run", source) as process:
        gate.wait_for(1)
        process.kill()
        process.wait(timeout=30)
    gate.release()
    gate.wait_until_done(1)
    assert command("sync", "run", source, "--grace", "0").code == ExitCode.DONE
    assert len(titles(gate.sandbox)) == 20


def test_stopped_pull_writes_what_it_has_read(gate: Gate, command: CommandLine, tmp_path: Path) -> None:
    gate.sandbox.faults.script(HELD, operation="preview")
    with started("sync", "pull", "--to", "mirror.csv") as process:
        gate.wait_for(1)
        process.send_signal(signal.SIGTERM)
        error_line(process)
        gate.release()
        status, _, err = ended(process)
    assert (status, "a signal stopped it" in err) == (ExitCode.TERMINATED, True)
    assert len((tmp_path / "mirror.csv").read_text().splitlines()) == 1 + len(titles(gate.sandbox))


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("create", "sync run visits.jsonl"),
        ("create", "sync apply plan.jsonl"),
        ("preview", "sync plan visits.jsonl --mode check"),
        ("preview", "sync check visits.jsonl"),
        ("preview", "sync pull --to mirror.csv"),
        ("create", "create --from drafts.jsonl"),
        ("preview", "preview"),
    ],
)
def test_two_interrupts_at_once_are_exit_code_130_without_a_traceback(
    gate: Gate, command: CommandLine, source: str, tmp_path: Path, operation: Any, arguments: str
) -> None:
    (tmp_path / "drafts.jsonl").write_bytes(orjson.dumps({"title": "x", "start_time": START, "end_time": START}))
    if "apply" in arguments:
        command("sync", "plan", source, "--out", "plan.jsonl")
    gate.sandbox.faults.script(HELD, operation=operation)
    with started(*arguments.split()) as process:
        gate.wait_for(1)
        process.send_signal(signal.SIGINT)
        assert error_line(process)  # two signals that wait to be handled would be one
        process.send_signal(signal.SIGINT)
        status, _, err = ended(process)
    assert status == ExitCode.INTERRUPTED
    assert "Traceback" not in err, err


def test_interrupts_while_modules_are_imported_are_exit_code_130_without_a_traceback() -> None:
    program = """
import signal, sys
from connector_async.cli.main import main
class Interrupting:
    def find_spec(self, name, *_):
        if name in {"connector_async.cli.commands", "connector_async.cli.sync"}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "sync", "status"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (ExitCode.INTERRUPTED, "")


def test_second_run_is_rejected_or_waits_and_status_works_meanwhile(
    gate: Gate, command: CommandLine, source: str
) -> None:
    gate.sandbox.faults.script(HELD, operation="create")
    with started("sync", "run", source) as process:
        gate.wait_for(1)
        status = command("sync", "status", "--json")
        assert [run["status"] for run in status.records[0]["runs"]] == ["running"]
        rejected = command("sync", "run", source)
        assert (rejected.code, rejected.out) == (ExitCode.RETRYABLE, "")
        assert "another run is using it" in rejected.err
        threading.Timer(0.05, gate.release).start()
        waited = command("sync", "run", source, "--wait", "30", "--exit-code")
        assert waited.code == ExitCode.NOTHING_TO_DO
        assert ended(process)[0] == ExitCode.DONE
    assert len(titles(gate.sandbox)) == 20


def write_secret(path: Path, secret: str) -> None:
    path.write_text(secret)
    path.chmod(0o600)


@pytest.mark.parametrize("fault", ["missing", "wrong"])
def test_tenant_without_valid_credentials_is_stopped_alone(
    gate: Gate, command: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str
) -> None:
    for name in ("CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"CONNECTOR_{name}")
    write_secret(tmp_path / "secret", DEFAULT_CLIENT_SECRET)
    write_secret(tmp_path / "wrong", "wrong")
    prints = shlex.join([sys.executable, "-c", f"print({DEFAULT_CLIENT_SECRET!r})"])
    (tmp_path / "connector-async.toml").write_text(
        'client_id = "sandbox"\n'
        '[tenants.acme]\nclient_secret_file = "secret"\n'
        f"[tenants.globex]\nclient_secret_command = '''{prints}'''\n"
        f'[tenants.initech]\nclient_secret_file = "{fault}"\n'
    )
    tenants = ("acme", "globex", "initech")
    rows = [row(f"k{number}", tenant) for tenant in tenants for number in range(3)]
    done = command("sync", "run", write_source(tmp_path / "three.jsonl", rows))
    assert done.code == ExitCode.CREDENTIALS
    assert [(row["tenant_id"], row["records"], row["stopped"]) for row in done.rows] == [
        ("acme", "3", ""),
        ("globex", "3", ""),
        ("initech", "3", "credentials"),
    ]
    assert [len(titles(gate.sandbox, tenant)) for tenant in tenants] == [3, 3, 0]
    warning = (
        "connector-async: tenant initech: client_secret_file (./connector-async.toml [tenants.initech]): the file "
    )
    assert done.err.count(warning) == (fault == "missing")
    write_secret(tmp_path / fault, DEFAULT_CLIENT_SECRET)
    assert command("sync", "run", str(tmp_path / "three.jsonl")).code == ExitCode.DONE


async def test_signal_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number, _ in SIGNALS]
    assert await stoppable(asyncio.sleep(0, "done"), Budget(Clock()), stop_timeout=1) == ("done", None)
    assert [signal.getsignal(number) for number, _ in SIGNALS] == before
    work = asyncio.ensure_future(stoppable(asyncio.sleep(60), Budget(Clock()), stop_timeout=1))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
