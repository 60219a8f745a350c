"""The demo, and that it notices each way to fail."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from connector_async.cli import demo, demo_records
from connector_async.cli.exit_codes import ExitCode
from connector_async.sync.formats import file_source
from tests.support.command_line import CommandLine


async def run_demo(monkeypatch: pytest.MonkeyPatch) -> tuple[bool, str]:
    monkeypatch.setattr(demo, "_GRACE", 0.05)
    console = Console(file=io.StringIO(), width=1000)
    succeeded = await demo.run_demo(console, appointments=30, concurrency=2)
    assert isinstance(console.file, io.StringIO)
    return succeeded, console.file.getvalue()


def test_demo_ends_with_the_appointments_of_its_file_on_the_server(capfd: pytest.CaptureFixture[str]) -> None:
    done = CommandLine(capfd)("demo", "--appointments", "90")
    assert (done.code, done.err) == (ExitCode.DONE, "")
    first, resumed, two_way, last = re.findall(
        r"^run \S+: (.+); (\d+) requests sent, (\d+) needed", done.out, re.MULTILINE
    )
    assert first == ("90 created", "102", "99")  # nine calendars are looked at first; and a token for each tenant
    assert " created" in resumed[0]
    # Beyond the needed requests: a token for each tenant, and a preview for each calendar with pending creates.
    assert 3 + 3 <= int(resumed[1]) - int(resumed[2]) <= 3 + 9
    assert two_way[0] == "27 pulled"
    assert last == ("nothing to do", "0", "0")
    shown = " ".join(done.out.split())
    killed = re.search(r"was killed by SIGKILL after (\d+) writes\. (\d+) creates are pending", shown)
    assert killed is not None
    assert 0 < int(killed[1]) < 45
    assert int(killed[2]) >= 3
    assert "The server has exactly the 99 appointments of the file" in shown


async def test_demo_fails_if_the_server_differs_from_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    async def compare(services: Any, path: Path, scope: Any) -> Any:
        service = services(demo_records.CALENDARS[0])
        (first, second, *_) = await service.preview(scope.start, scope.end).collect()
        await service.delete(first.appointment_id)
        await service.update(second.appointment_id, title="Something else")
        return await demo_records.compare(services, path, scope)

    monkeypatch.setattr(demo, "compare", compare)
    succeeded, shown = await run_demo(monkeypatch)
    assert succeeded is False
    assert "The server lacks 2 of the file's 38 appointments, and has 1 that the file lacks." in shown


async def test_demo_fails_if_its_run_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_PROGRAM", "")
    succeeded, shown = await run_demo(monkeypatch)
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
    monkeypatch: pytest.MonkeyPatch, edit: str, failure: str
) -> None:
    paths: list[Path] = []

    def source(path: Path) -> Any:
        paths.append(path)
        if len(paths) == 4:  # the last run
            *lines, last = path.read_text().splitlines(keepends=True)
            path.write_text("".join([*lines, edit.format(last)]))
        return file_source(path)

    monkeypatch.setattr(demo, "file_source", source)
    succeeded, shown = await run_demo(monkeypatch)
    assert succeeded is False
    assert failure in shown


async def test_failed_demo_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(demo, "run_demo", fail)
    assert await demo.demo() == ExitCode.OTHER


@pytest.mark.parametrize("arguments", [("--appointments", "1"), ("--concurrency", "0")])
def test_invalid_option_is_rejected_by_name(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    done = CommandLine(capsys)("demo", *arguments)
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert f"for {arguments[0]}." in done.err
