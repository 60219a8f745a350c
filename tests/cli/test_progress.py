"""What is shown of a bulk that goes on, on a terminal and elsewhere."""

import io

import pytest
from rich.console import Console

from connector_async import Outcome, Status
from connector_async.cli.progress import BulkProgress
from connector_async.cli.sync_progress import SyncProgress
from connector_async.sync.report import Fate
from tests.conftest import ManualClock


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)


def written(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def outcome(status: Status = Status.DONE) -> Outcome[int, int]:
    return Outcome(index=0, input=1, status=status)


def run(on: Console, clock: ManualClock, total: int | None, pace: float = 100) -> str:
    progress = BulkProgress(on, "create", pace=pace, monotonic=clock.monotonic)
    progress.begin(total)
    for number in range(50):
        clock.now += 0.1
        progress.advance(outcome(Status.FAILED if number % 10 == 9 else Status.DONE))
    progress.end()
    return written(on)


def test_without_a_terminal_a_line_is_written_now_and_then(clock: ManualClock) -> None:
    assert run(console(terminal=False), clock, 80).splitlines() == [
        "create: 20 of 80, 2 failed, 10/s, 6 s left",
        "create: 40 of 80, 4 failed, 10/s, 4 s left",
        "create: 50 of 80, 5 failed, 10/s, 3 s left",
    ]


def test_the_time_that_is_left_is_that_of_the_rate_limit_when_a_burst_went_faster(clock: ManualClock) -> None:
    assert (
        run(console(terminal=False), clock, 80, pace=2).splitlines()[-1]
        == "create: 50 of 80, 5 failed, 10/s, 15 s left"
    )


def test_without_a_total_there_is_no_time_left_to_tell(clock: ManualClock) -> None:
    assert run(console(terminal=False), clock, None).splitlines()[-1] == "create: 50, 5 failed, 10/s"


def test_what_was_not_started_has_not_failed_and_a_description_is_no_markup(clock: ManualClock) -> None:
    on = console(terminal=False)
    progress = BulkProgress(on, "create [red]", pace=1, monotonic=clock.monotonic)
    progress.begin(3)
    clock.now += 1
    for status in (Status.DONE, Status.UNKNOWN, Status.NOT_STARTED):
        progress.advance(outcome(status))
    progress.end()
    assert written(on) == "create [red]: 3 of 3, 1 failed, 1 not started, 2/s\n"


def test_on_a_terminal_there_is_a_bar(clock: ManualClock) -> None:
    shown = run(console(terminal=True), clock, 50)
    assert "50/50" in shown
    assert "5 failed, 10/s" in shown
    assert "━━━" in shown


def test_at_a_pace_of_nothing_there_is_no_time_left_to_tell(clock: ManualClock) -> None:
    assert run(console(terminal=False), clock, 80, pace=0).splitlines()[-1] == "create: 50 of 80, 5 failed, 10/s"


@pytest.mark.parametrize(("terminal", "shown"), [(False, "create: 50 of 50, 5 failed, 10/s"), (True, "50/50")])
def test_a_total_that_was_too_small_grows_with_the_outcomes(clock: ManualClock, shown: str, *, terminal: bool) -> None:
    written_lines = run(console(terminal=terminal), clock, 30)
    assert shown in written_lines
    assert "50/30" not in written_lines
    assert "50 of 30" not in written_lines


@pytest.mark.parametrize("terminal", [False, True])
def test_an_end_before_the_first_outcome_is_no_mistake(clock: ManualClock, *, terminal: bool) -> None:
    on = console(terminal=terminal)
    progress = BulkProgress(on, "create", pace=1, monotonic=clock.monotonic)
    progress.begin(5)
    progress.end()
    assert "create" in written(on)


def test_an_operation_of_a_sync_that_ended_may_have_failed(clock: ManualClock) -> None:
    on = console(terminal=False)
    progress = SyncProgress(on)
    progress.begin(None)
    for fate in Fate:
        progress.advance(Outcome(index=0, input=1, status=Status.DONE, result=fate))
    progress.end()
    failed = {Fate.CONFLICT, Fate.REFUSED, Fate.RETRYABLE, Fate.UNKNOWN}
    assert written(on).startswith(f"sync: {len(Fate)}, {len(failed)} failed, 1 not started, ")


def test_lines_are_as_far_apart_as_told(clock: ManualClock) -> None:
    on = console(terminal=False)
    progress = BulkProgress(on, "sync", pace=1, between_lines=10, monotonic=clock.monotonic)
    progress.begin(None)
    for _ in range(21):
        clock.now += 1
        progress.advance(outcome())
    assert [line.split(",")[0] for line in written(on).splitlines()] == ["sync: 10", "sync: 20"]
