"""The demo, and that it notices each way to fail."""

import asyncio
import io
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from connector_async.cli import demo, demo_records, demo_run, demo_workers
from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import RequestLog
from connector_async.sync.formats import file_source
from tests.support.command_line import CommandLine
from tests.support.postgres import PostgresServer


async def run_demo(monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[bool, str]:
    monkeypatch.setattr(demo_run, "_GRACE", 0.05)
    console = Console(file=io.StringIO(), width=1000)
    succeeded = await demo_run.run_demo(console, folder=folder, appointments=30, concurrency=2)
    assert isinstance(console.file, io.StringIO)
    return succeeded, console.file.getvalue()


def test_demo_ends_with_the_appointments_of_its_file_on_the_server(capfd: pytest.CaptureFixture[str]) -> None:
    done = CommandLine(capfd)("demo", "--appointments", "90")
    assert done.code == ExitCode.DONE
    assert {line.partition(":")[0] for line in done.err.splitlines()} == {"sync"}
    assert max(map(len, done.out.splitlines())) <= 80
    shown = " ".join(done.out.split())
    first, resumed, two_way, last = re.findall(r" run \d\S+: (.+?); (\d+) requests sent, (\d+) needed", shown)
    assert first == ("90 created", "102", "99")  # nine calendars are looked at first; and a token for each tenant
    assert " created" in resumed[0]
    # Beyond the needed requests: a token for each tenant, and a preview for each calendar with pending creates.
    assert 3 + 3 <= int(resumed[1]) - int(resumed[2]) <= 3 + 9
    assert two_way[0] == "27 pulled"
    assert last == ("nothing to do", "0", "0")
    killed = re.search(r"was killed after (\d+) writes\. (\d+) creates are pending", shown)
    assert killed is not None
    assert 0 < int(killed[1]) < 45
    assert int(killed[2]) >= 3
    assert "The server has exactly the 99 appointments of the file" in shown


def test_demo_says_what_it_is_before_it_loads_its_packages(tmp_path: Path) -> None:
    program = (
        "import sys; from connector_async.cli import demo; "
        "demo._introduce(30, __import__('pathlib').Path('folder'), is_kept=False); "
        "print([name for name in ('aiohttp', 'rich', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, *_, loaded = done.stdout.splitlines()
    assert (first, loaded) == ("A bulk sync, from its first run through a crash to the last difference.", "[]")
    shown = " ".join(done.stdout.split())
    assert "The files are in folder. They are removed at the end; --keep DIR keeps them." in shown
    for column in demo_run._COLUMNS.split(",")[1:]:
        assert f"\n  {column} " in done.stdout


@pytest.mark.parametrize("is_kept", [True, False])
async def test_files_are_removed_unless_they_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, is_kept: bool
) -> None:
    folders: list[Path] = []

    async def write_file(_: object, *, folder: Path, **__: object) -> bool:
        folders.append(folder)
        (folder / "visits.csv").touch()
        return True

    monkeypatch.setattr(demo_run, "run_demo", write_file)
    kept = tmp_path / "new" / "folder"
    assert await demo.demo(keep=kept if is_kept else None) == ExitCode.DONE
    (folder,) = folders
    assert folder.exists() is is_kept
    shown = capsys.readouterr().out
    assert f"The files are in {folder}." in " ".join(shown.split())
    assert (f"  connector-async sync status --state {kept / 'visits.connector-sync.db'}\n" in shown) is is_kept


@pytest.mark.parametrize("name", ["file", "folder"])
def test_files_are_not_kept_where_something_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "theirs").touch()
    (tmp_path / "file").touch()
    done = CommandLine(capsys)("demo", "--keep", str(tmp_path / name))
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert done.err == "connector-async: --keep must be a new or empty folder\n"


async def test_demo_fails_if_the_server_differs_from_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def compare(services: Any, path: Path, scope: Any) -> Any:
        service = services(demo_records.CALENDARS[0])
        (first, second, *_) = await service.preview(scope.start, scope.end).collect()
        await service.delete(first.appointment_id)
        await service.update(second.appointment_id, title="Something else")
        return await demo_records.compare(services, path, scope)

    monkeypatch.setattr(demo_run, "compare", compare)
    succeeded, shown = await run_demo(monkeypatch, tmp_path)
    assert succeeded is False
    assert "The server lacks 2 of the file's 38 appointments, and has 1 that the file lacks." in shown


async def test_demo_fails_if_its_run_is_not_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_run, "PROGRAM", "")
    succeeded, shown = await run_demo(monkeypatch, tmp_path)
    assert succeeded is False
    assert "The run was not killed halfway: it ended with exit code 0." in shown


@pytest.mark.parametrize(
    ("edit", "failure"),
    [
        ("not a record\n", "A run with nothing to send: not everything was done."),
        ("{0}x{0}", "The last run sent 2 requests, but had nothing to send."),  # another record, under another key
    ],
    ids=["not done", "something to send"],
)
async def test_demo_fails_if_the_last_run_has_something_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, edit: str, failure: str
) -> None:
    paths: list[Path] = []

    def source(path: Path) -> Any:
        paths.append(path)
        if len(paths) == 4:  # the last run
            *lines, last = path.read_text().splitlines(keepends=True)
            path.write_text("".join([*lines, edit.format(last)]))
        return file_source(path)

    monkeypatch.setattr(demo_run, "file_source", source)
    succeeded, shown = await run_demo(monkeypatch, tmp_path)
    assert succeeded is False
    assert failure in shown


async def test_failed_demo_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(demo_run, "run_demo", fail)
    assert await demo.demo() == ExitCode.OTHER


@pytest.mark.parametrize("arguments", [("--appointments", "1"), ("--concurrency", "0"), ("--workers", "1")])
def test_invalid_option_is_rejected_by_name(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    done = CommandLine(capsys)("demo", *arguments)
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert f"for {arguments[0]}." in done.err


@pytest.mark.slow
def test_demo_with_workers_survives_the_kill_of_one(capfd: pytest.CaptureFixture[str]) -> None:
    done = CommandLine(capfd)("demo", "--workers", "2", "--appointments", "60")
    shown = " ".join(done.out.split())
    assert done.code == ExitCode.DONE, shown
    assert {line.partition(":")[0] for line in done.err.splitlines()} == {"sync"}
    assert max(map(len, done.out.splitlines())) <= 80
    assert "60 creates of 4 tenants are to be done." in shown
    assert re.search(r"run \d\S+: 60 created; \d+ requests sent, \d+ needed", shown)
    assert (
        "The server has exactly the 60 appointments of the file: 0 are missing, and 0 exist twice. No request exceeded "
        "the rate limit."
    ) in shown


@pytest.fixture
def run_with_workers(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[], Awaitable[tuple[bool, str]]]]:
    """Run the demo of two workers with a database of the tests."""
    name = f"test_demo_{os.getpid()}"
    url = postgres.create(name)

    @asynccontextmanager
    async def embedded_server(_: object) -> AsyncIterator[str]:
        yield url

    monkeypatch.setattr(demo_workers, "embedded_server", embedded_server)

    async def run() -> tuple[bool, str]:
        console = Console(file=io.StringIO(), width=1000)
        succeeded = await demo_workers.run_workers_demo(
            console, folder=tmp_path, workers=2, appointments=30, concurrency=2
        )
        assert isinstance(console.file, io.StringIO)
        return succeeded, console.file.getvalue()

    yield run
    postgres.drop(name)


async def test_demo_with_workers_fails_if_they_do_not_start(
    run_with_workers: Callable[[], Awaitable[tuple[bool, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(_: object, **conditions: object) -> int:
        return 2 if conditions == {"status": 429} else 0

    monkeypatch.setattr(demo_workers, "PROGRAM", "raise SystemExit(3)")
    monkeypatch.setattr(RequestLog, "count", count)
    succeeded, shown = await run_with_workers()
    assert succeeded is False
    assert "Not all workers have started to work.\n" in shown
    assert "The other workers ended with exit codes [" in shown
    assert "The server lacks 30 of the file's 30 appointments, and has 0 that the file lacks.\n" in shown
    assert "2 requests exceeded the rate limit.\n" in shown


async def test_demo_with_workers_fails_if_no_worker_is_left(
    run_with_workers: Callable[[], Awaitable[tuple[bool, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_first = demo_workers._Demo._kill_first

    async def kill_all(self: Any, processes: list[asyncio.subprocess.Process]) -> None:
        for process in processes[1:]:
            process.kill()
            await process.wait()
        await kill_first(self, processes)

    monkeypatch.setattr(demo_workers._Demo, "_kill_first", kill_all)
    monkeypatch.setattr(demo_workers, "KILLED", 0)
    succeeded, shown = await run_with_workers()
    assert succeeded is False
    assert "A worker was not killed: it ended with exit code -9.\n" in shown
    assert "All workers have ended before the run.\n" in shown


def test_demo_with_workers_says_what_it_is_before_it_loads_its_packages() -> None:
    program = (
        "import sys; from connector_async.cli import demo; "
        "demo._introduce_workers(4, 300, __import__('pathlib').Path('folder')); "
        "print([name for name in ('aiohttp', 'rich', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, *_, loaded = done.stdout.splitlines()
    assert (first, loaded) == ("A bulk sync by 4 processes, as on 4 machines. One of them is killed.", "[]")
    for column in demo_workers._COLUMNS.split(",")[1:]:
        assert f"\n  {column} " in done.stdout


def test_packages_that_workers_need_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "procrastinate" else object())
    with pytest.raises(
        SystemExit, match=r"--workers needs procrastinate: pip install 'connector-async\[distributed\]'"
    ):
        CommandLine(capsys)("demo", "--workers", "2")


def test_files_of_workers_are_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = CommandLine(capsys)("demo", "--workers", "2", "--keep", str(tmp_path / "folder"))
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert "--keep must not be given with --workers" in done.err
