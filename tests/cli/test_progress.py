"""What the progress of a sync shows on a terminal and elsewhere."""

import io
import sys
import types
from pathlib import Path

import pytest
from rich.console import Console

from connector_async import Outcome, Status
from connector_async.cli.config_sources import read_settings
from connector_async.cli.late_progress import LateProgress
from connector_async.cli.line_reader import count_lines
from connector_async.cli.options import DisplayOptions
from connector_async.cli.progress import SyncProgress, error_console
from connector_async.sync.report import Fate
from tests.conftest import ManualClock


def new_console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)


def shown_on(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def outcome(status: Status = Status.DONE, fate: Fate | None = None) -> Outcome[int, Fate]:
    return Outcome(index=0, input=1, status=status, result=fate)


def run(console: Console, clock: ManualClock, total: int | None) -> str:
    """Show 50 outcomes, 0.1 s apart, of which each tenth failed."""
    progress = SyncProgress(console, "create", seconds_between_lines=2, monotonic=clock.monotonic)
    progress.begin(total)
    for number in range(50):
        clock.now += 0.1
        progress.advance(outcome(Status.FAILED if number % 10 == 9 else Status.DONE))
    progress.end()
    return shown_on(console)


def test_without_a_terminal_a_line_is_printed_every_few_seconds(clock: ManualClock) -> None:
    assert run(new_console(terminal=False), clock, 80).splitlines() == [
        "create: 20 of 80, 2 failed, 10/s, 6 s left",
        "create: 40 of 80, 4 failed, 10/s, 4 s left",
        "create: 50 of 80, 5 failed, 10/s, 3 s left",
    ]


def test_without_a_total_no_time_left_is_shown(clock: ManualClock) -> None:
    assert run(new_console(terminal=False), clock, None).splitlines()[-1] == "create: 50, 5 failed, 10/s"


@pytest.mark.parametrize("terminal", [False, True])
def test_without_a_total_none_is_shown(clock: ManualClock, *, terminal: bool) -> None:
    shown = run(new_console(terminal=terminal), clock, None)
    assert "/?" not in shown
    assert "50" in shown


def test_last_line_can_be_left_out_where_there_was_none_before(clock: ManualClock) -> None:
    for seconds, lines in ((20, 0), (4, 2)):
        console = new_console(terminal=False)
        progress = SyncProgress(
            console, seconds_between_lines=seconds, always_prints_end=False, monotonic=clock.monotonic
        )
        progress.begin(2)
        clock.now += 5
        progress.advance(outcome())
        progress.end()
        assert shown_on(console).count("\n") == lines


def test_rate_counts_from_a_start_before_the_first_outcome(clock: ManualClock) -> None:
    console = new_console(terminal=False)
    progress = SyncProgress(console, monotonic=clock.monotonic, started_at=clock.now - 10)
    progress.begin(100)
    for _ in range(20):
        progress.advance(outcome())
    progress.end()
    assert shown_on(console) == "sync: 20 of 100, 0 failed, 2/s, 40 s left\n"


def test_without_an_outcome_no_time_left_is_shown(clock: ManualClock) -> None:
    console = new_console(terminal=False)
    progress = SyncProgress(console, "create", monotonic=clock.monotonic)
    progress.begin(5)
    progress.end()
    assert shown_on(console) == "create: 0 of 5, 0 failed, 0/s\n"


def test_outcomes_that_were_not_started_do_not_count_as_failed(clock: ManualClock) -> None:
    console = new_console(terminal=False)
    progress = SyncProgress(console, "create", monotonic=clock.monotonic)
    progress.begin(3)
    clock.now += 1
    for status in (Status.DONE, Status.UNKNOWN, Status.NOT_STARTED):
        progress.advance(outcome(status))
    progress.end()
    assert shown_on(console) == "create: 3 of 3, 1 failed, 1 not started, 2/s\n"


def test_description_is_not_interpreted_as_markup(clock: ManualClock) -> None:
    console = new_console(terminal=False)
    progress = SyncProgress(console, "create [red]", monotonic=clock.monotonic)
    progress.begin(None)
    progress.end()
    assert shown_on(console).startswith("create [red]: 0, ")


def test_operation_with_a_result_counts_by_its_fate(clock: ManualClock) -> None:
    console = new_console(terminal=False)
    progress = SyncProgress(console)
    progress.begin(None)
    for fate in Fate:
        progress.advance(outcome(Status.DONE, fate))
    progress.end()
    failed = {Fate.CONFLICT, Fate.REFUSED, Fate.RETRYABLE, Fate.UNKNOWN}
    assert shown_on(console).startswith(f"sync: {len(Fate)}, {len(failed)} failed, 1 not started, ")


def test_terminal_shows_a_bar(clock: ManualClock) -> None:
    shown = run(new_console(terminal=True), clock, 50)
    assert "50/50" in shown
    assert "5 failed, 10/s" in shown
    assert "━━━" in shown


def test_records_can_be_written_while_a_bar_is_shown(clock: ManualClock) -> None:
    standard_output = sys.stdout
    progress = SyncProgress(new_console(terminal=True), monotonic=clock.monotonic)
    progress.begin(5)
    try:
        assert sys.stdout is standard_output
    finally:
        progress.end()


@pytest.mark.parametrize(("terminal", "shown"), [(False, "create: 50 of 50, 5 failed, 10/s"), (True, "50/50")])
def test_total_that_was_too_small_grows_with_the_outcomes(clock: ManualClock, shown: str, *, terminal: bool) -> None:
    printed = run(new_console(terminal=terminal), clock, 30)
    assert shown in printed
    assert "50/30" not in printed
    assert "50 of 30" not in printed


def test_bar_can_end_before_the_first_outcome(clock: ManualClock) -> None:
    console = new_console(terminal=True)
    progress = SyncProgress(console, "create", monotonic=clock.monotonic)
    progress.begin(5)
    progress.end()
    assert "create" in shown_on(console)


def late_progress(*arguments: str, patience: float = 0) -> LateProgress:
    display = DisplayOptions(output="table")
    settings = read_settings({"log_level": "error"} if "-q" in arguments else {}, environment={}, folder=Path("/"))
    return LateProgress("create", settings, display, patience=patience)


@pytest.mark.parametrize(("arguments", "patience", "is_shown"), [((), 0, True), (("-q",), 0, False), ((), 1000, False)])
def test_progress_of_a_command_is_shown_after_a_while_unless_quiet(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    patience: float,
    *,
    is_shown: bool,
) -> None:
    monkeypatch.setitem(SyncProgress.__init__.__kwdefaults__ or {}, "seconds_between_lines", 0)
    progress = late_progress(*arguments, patience=patience)
    progress.begin(2)
    for status in (Status.DONE, Status.FAILED):
        progress.advance(outcome(status))
    progress.end()
    assert ("create: 2 of 2, 1 failed" in capsys.readouterr().err) is is_shown


def test_no_bar_is_drawn_where_records_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if the error stream were a terminal
    assert error_console().is_terminal
    monkeypatch.setattr("sys.stdout", types.SimpleNamespace(isatty=lambda: True))
    assert not error_console(may_draw=False).is_terminal
    assert error_console(may_draw=True).is_terminal
    assert not error_console(quiet=True).is_terminal


async def test_lines_of_a_file_are_counted(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"a\n\n  \nb")
    assert await count_lines(str(tmp_path / "lines")) == 2
    assert await count_lines(str(tmp_path)) is None
    assert await count_lines("-") is None
