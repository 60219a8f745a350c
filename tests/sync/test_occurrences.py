"""Runs over a calendar with recurring events: an occurrence that leaves the time range is not a deleted one."""

from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from connector_async.sandbox import DropAfter, DropBefore
from connector_async.sync import Fate, Mode, RunReport, Scope, SyncOptions, file_mirror, file_source
from tests.support.syncing import ACME, EVERYTHING, Syncing, syncing

DAILY = "RRULE:FREQ=DAILY;COUNT=6"


def january(first: int, end: int) -> Scope:
    return Scope(start=datetime(2024, 1, first, tzinfo=UTC), end=datetime(2024, 1, end, tzinfo=UTC))


@attrs.frozen
class CalendarRuns:
    """Runs over a calendar with one daily event, which starts on 15 January."""

    sync: Syncing
    path: Path

    def write(self, *lines: str, title: str = "Visit", further: str = "") -> None:
        event = ["BEGIN:VEVENT", "UID:a", f"SUMMARY:{title}", "DTSTART:20240115T100000Z", "DURATION:PT1H", *lines]
        self.path.write_text("\n".join(["BEGIN:VCALENDAR", *event, "END:VEVENT", further, "END:VCALENDAR", ""]))

    async def run(self, expand: Scope, mode: Mode = Mode.TRUST) -> RunReport:
        source = file_source(self.path, tenant_id="acme", expand=expand)
        mirror = file_mirror(self.path, tenant_id="acme", expand=expand) if mode is Mode.TWO_WAY else None
        options = SyncOptions(mode=mode, max_delete=EVERYTHING, allow_empty=True, assume_empty=True)
        async with self.sync.opened() as (bulk_sync, _):
            return await bulk_sync.run(source, options, mirror=mirror)

    async def days(self) -> list[int]:
        """Return the days of January on which the server has appointments."""
        return sorted([each.start_time.day async for each in self.sync.service(ACME).preview()])


@pytest.mark.parametrize("mode", Mode)
async def test_occurrence_that_leaves_the_range_stays_on_the_server(
    state_path: Path, tmp_path: Path, mode: Mode
) -> None:
    async with syncing(state_path) as sync:
        runs = CalendarRuns(sync, tmp_path / "mine.ics")
        runs.write(DAILY)
        assert (await runs.run(january(15, 18))).counts == {Fate.CREATED: 3}
        content = runs.path.read_bytes()
        report = await runs.run(january(17, 19), mode)
        assert report.counts == {Fate.CREATED: 1}
        assert report.expanded == january(17, 19)
        assert (await runs.days(), runs.path.read_bytes()) == ([15, 16, 17, 18], content)


async def test_occurrence_that_leaves_the_source_is_deleted_within_the_range(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        runs = CalendarRuns(sync, tmp_path / "mine.ics")
        runs.write(DAILY)
        await runs.run(january(15, 21))
        runs.write("RRULE:FREQ=DAILY;COUNT=4")
        assert (await runs.run(january(16, 21))).counts == {Fate.DELETED: 2}
        runs.write("STATUS:CANCELLED", DAILY)
        assert (await runs.run(january(16, 21))).counts == {Fate.DELETED: 3}
        assert await runs.days() == [15]


async def test_key_that_only_looks_like_an_occurrence_is_deleted_without_recurring_events(
    state_path: Path, tmp_path: Path
) -> None:
    async with syncing(state_path) as sync:
        runs = CalendarRuns(sync, tmp_path / "mine.ics")
        runs.write(further="BEGIN:VEVENT\nUID:b/20240116\nSUMMARY:Visit\nDTSTART:20240116T100000Z\nEND:VEVENT")
        await runs.run(january(1, 31))
        runs.write()
        source = file_source(runs.path, tenant_id="acme")
        async with sync.opened() as (bulk_sync, _):
            report = await bulk_sync.run(source, SyncOptions(max_delete=EVERYTHING))
        assert report.counts == {Fate.DELETED: 1}
        assert report.expanded is None


@pytest.mark.parametrize(
    "fault", ["RRULE:FREQ=SECONDLY", "RRULE FREQ=DAILY", f"{DAILY}\nRDATE:soon", f"{DAILY}\nRECURRENCE-ID:soon"]
)
async def test_occurrences_of_a_recurring_event_that_cannot_be_read_stay_on_the_server(
    state_path: Path, tmp_path: Path, fault: str
) -> None:
    async with syncing(state_path) as sync:
        runs = CalendarRuns(sync, tmp_path / "mine.ics")
        other = "BEGIN:VEVENT\nUID:b/1\nSUMMARY:Visit\nDTSTART:20240120T100000Z\nEND:VEVENT"
        runs.write(DAILY, further=other)
        await runs.run(january(15, 18))
        runs.write(fault)
        # Another appointment of the tenant is deleted.
        assert (await runs.run(january(15, 18))).counts == {Fate.UNREADABLE: 1, Fate.DELETED: 1}
        assert await runs.days() == [15, 16, 17]


async def test_pending_create_of_an_occurrence_is_not_undone_when_its_series_cannot_be_read(
    state_path: Path, tmp_path: Path
) -> None:
    async with syncing(state_path) as sync:
        runs = CalendarRuns(sync, tmp_path / "mine.ics")
        runs.write(DAILY)
        sync.sandbox.faults.script(DropAfter(), operation="create")  # it happens, and the response is lost
        sync.sandbox.faults.script(*[DropBefore()] * 40, operation="preview")
        sync.settings["passes"] = 1
        report = await runs.run(january(15, 17))
        assert report.counts == {Fate.CREATED: 1, Fate.UNKNOWN: 1}
        sync.sandbox.faults.clear()
        runs.write("RRULE:FREQ=SECONDLY")
        await runs.run(january(15, 17))
        assert await runs.days() == [15, 16]


async def test_occurrence_that_was_moved_out_of_the_range_is_updated(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        runs = CalendarRuns(sync, tmp_path / "mine.ics")
        runs.write(DAILY)
        await runs.run(january(15, 18))
        moved = (
            "BEGIN:VEVENT\nUID:a\nSUMMARY:Visit\nRECURRENCE-ID:20240116T100000Z\nDTSTART:20240130T100000Z\nEND:VEVENT"
        )
        runs.write(DAILY, further=moved)
        assert (await runs.run(january(15, 18))).counts == {Fate.UPDATED: 1}
        assert await runs.days() == [15, 17, 30]


async def test_changes_of_occurrences_on_the_server_are_written_back(state_path: Path, tmp_path: Path) -> None:
    async with syncing(state_path) as sync:
        runs = CalendarRuns(sync, tmp_path / "mine.ics")
        runs.write(DAILY)
        await runs.run(january(15, 18))
        of_day = {each.start_time.day: each.appointment_id async for each in sync.service(ACME).preview()}
        await sync.service(ACME).update(of_day[16], title="Changed")
        await sync.service(ACME).delete(of_day[17])
        assert (await runs.run(january(15, 18), Mode.TWO_WAY)).counts == {Fate.PULLED: 2}
        assert "EXDATE:20240117T100000Z\n" in runs.path.read_text()
        assert (await runs.run(january(15, 18), Mode.TWO_WAY)).counts == {}
        assert await sync.titles() == ["Changed", "Visit"]
