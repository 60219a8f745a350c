"""Random edits on both sides, and random faults: after some runs the server has every record once, and nothing else."""

import random
from collections import Counter
from pathlib import Path

import pytest

from connector_async import NewAppointment, RetryPolicy
from connector_async.sandbox import (
    BodyFormat,
    DropAfter,
    DropBefore,
    Fault,
    RevokedToken,
    StatusFault,
    TruncatedResponse,
    WrongLength,
)
from connector_async.sync import (
    Budget,
    Calendar,
    Fate,
    Mode,
    RunReport,
    SourceProblem,
    SourceRecord,
    SyncOptions,
    content_hash,
    read_status,
)
from tests.support.syncing import EVERYTHING, SCOPE, TEN, ListSource, MemorySource, Syncing, record, syncing

_FAULTS: list[Fault] = [*[DropAfter()] * 4, DropBefore(), TruncatedResponse(), WrongLength(), RevokedToken()]
_FAULTS += [StatusFault(500), StatusFault(503, retry_after=0), StatusFault(429, retry_after=0), StatusFault(422)]
_OUT_OF_SYNC = (Fate.CONFLICT, Fate.REFUSED, Fate.RETRYABLE, Fate.UNKNOWN, Fate.SKIPPED, Fate.NOT_STARTED)
_CALENDARS = {
    BodyFormat.GUIDE: [Calendar("acme"), Calendar("globex")],
    BodyFormat.REFERENCE: [Calendar("acme", "d", "u-1"), Calendar("acme", "d", "u-2")],
}


class World:
    """A source, a server, and someone who edits both at random."""

    def __init__(self, sync: Syncing, mode: Mode, calendars: list[Calendar], draw: random.Random) -> None:
        self.sync = sync
        self.mode = mode
        self.calendars = calendars
        self.draw = draw
        self.source: dict[tuple[Calendar, str], SourceRecord] = {}
        self.source_before: dict[tuple[Calendar, str], SourceRecord] = {}
        self.refused: list[str] = []
        sync.settings |= {"passes": draw.choice([1, 1, 2]), "concurrency": draw.choice([1, 4])}
        sync.retry = RetryPolicy(attempts=draw.choice([1, 1, 2]), wait_initial=0, wait_initial_throttled=0)

    def edit_source(self) -> None:
        """Add, change, remove and move records, some of them twins, or take back the last edit."""
        now = dict(self.source)
        if self.draw.random() < 0.3:
            self.source, self.source_before = self.source_before, now
            return
        self.source_before = now
        for _ in range(self.draw.randrange(1, 8)):
            places = list(self.source)
            place = self.draw.choice(places) if places and self.draw.random() < 0.6 else None
            old = None if place is None else self.source.pop(place)
            if self.draw.random() < 0.25:
                continue
            key = old.key if old is not None else f"k{self.draw.randrange(6)}"
            calendar = place[0] if place is not None and self.draw.random() < 0.7 else self.draw.choice(self.calendars)
            # Few titles, so that changes are taken back and records are twins.
            title = self.draw.choice(["Visit", "Visit again", "Another"])
            self.source[calendar, key] = record(key, title, calendar=calendar, hour=self.draw.randrange(2))

    async def edit_server(self) -> None:
        """Change and delete appointments, and create some where they are written back to the source."""
        if self.mode is Mode.TRUST or await self._has_pending_creates():
            return
        for _ in range(self.draw.randrange(3)):
            service = self.sync.service(self.draw.choice(self.calendars))
            appointments = await service.preview(SCOPE.start, SCOPE.end).collect()
            if appointments and self.draw.random() < 0.5:
                title = f"Theirs {self.draw.randrange(1_000)}"
                await service.update(self.draw.choice(appointments).appointment_id, title=title)
            elif appointments:
                await service.delete(self.draw.choice(appointments).appointment_id)
            elif self.mode is Mode.TWO_WAY:
                await service.create(NewAppointment(title="New", start_time=TEN, end_time=TEN))

    async def _has_pending_creates(self) -> bool:
        async with self.sync.opened() as (_, state):
            return bool((await read_status(state))["pending_creates"])

    def script_faults(self) -> None:
        """Let a few requests of each kind fail."""
        for operation in ("create", "update", "delete", "preview", "get"):
            faults = self.draw.choices(_FAULTS, k=self.draw.randrange(6))
            self.sync.sandbox.faults.script(*faults, operation=operation)

    def records(self) -> list[SourceRecord | SourceProblem]:
        """Return what the source yields, sometimes with a duplicate and an unreadable record."""
        records: list[SourceRecord | SourceProblem] = list(self.source.values())
        if self.mode is not Mode.TWO_WAY and records and self.draw.random() < 0.3:
            records.append(self.draw.choice(records))
            key, calendar = self.draw.choice([None, "k3"]), self.draw.choice([None, *self.calendars])
            records.append(SourceProblem(source="list", line=None, reason="unreadable", key=key, calendar=calendar))
        self.draw.shuffle(records)
        return records

    async def run(
        self, records: list[SourceRecord | SourceProblem], budget: Budget | None = None, *, retry_run: str | None = None
    ) -> RunReport:
        """Run once. In two-way mode, the source becomes what it was rewritten to."""
        options = SyncOptions(mode=self.mode, scope=SCOPE, max_delete=EVERYTHING, allow_empty=True, retry_run=retry_run)
        source = MemorySource(*(each for each in records if isinstance(each, SourceRecord)))
        async with self.sync.opened() as (bulk_sync, _):
            if self.mode is not Mode.TWO_WAY:
                report = await bulk_sync.run(ListSource(records), options, budget)
            else:
                report = await bulk_sync.run(source, options, budget, mirror=source)
                self.source = {(each.calendar, each.key): each for each in source.kept}
        if report.counts[Fate.REFUSED]:
            self.refused.append(report.run_id)
        return report

    async def server_contents(self) -> Counter[tuple[Calendar, str]]:
        return Counter(
            [
                (calendar, content_hash(appointment))
                for calendar in self.calendars
                async for appointment in self.sync.service(calendar).preview(SCOPE.start, SCOPE.end)
            ]
        )

    def source_contents(self) -> Counter[tuple[Calendar, str]]:
        return Counter((each.calendar, content_hash(each.appointment)) for each in self.source.values())

    async def retry_all(self) -> None:
        """Retry every run with dead letters."""
        for run_id in self.refused:
            await self.run(list(self.source.values()), retry_run=run_id)


def check_accounts(report: RunReport, records: list[SourceRecord | SourceProblem]) -> None:
    """Check that each record is in sync, or has a fate that says why it is not."""
    readable = Counter((each.calendar, each.key) for each in records if isinstance(each, SourceRecord))
    unreadable = {(each.calendar, each.key) for each in records if isinstance(each, SourceProblem)}
    expected = Counter(
        place[0].tenant_id for place, count in readable.items() if count == 1 and place not in unreadable
    )
    for tenant_id, tenant in report.tenants.items():
        assert tenant.records == expected[tenant_id]
        assert 0 <= tenant.in_sync <= tenant.records
        # Besides records that are out of sync, appointments that are still to be deleted are counted.
        assert sum(tenant.counts[fate] for fate in _OUT_OF_SYNC) >= tenant.records - tenant.in_sync
    assert all(count >= 0 for count in report.counts.values())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("body_format", [BodyFormat.GUIDE, BodyFormat.REFERENCE])
@pytest.mark.parametrize("mode", [Mode.TRUST, Mode.CHECK, Mode.TWO_WAY])
async def test_both_sides_are_equal_after_random_edits_and_faults(
    tmp_path: Path, mode: Mode, body_format: BodyFormat, seed: int
) -> None:
    draw = random.Random(f"{mode} {body_format} {seed}")
    async with syncing(tmp_path / "state.db", body_format=body_format) as sync:
        world = World(sync, mode, _CALENDARS[body_format], draw)
        if mode is Mode.TWO_WAY:  # a two-way sync looks at known calendars alone
            world.source = {(each, "first"): record("first", calendar=each) for each in world.calendars}
            await world.run(list(world.source.values()))
        for _ in range(draw.randrange(3, 7)):
            world.edit_source()
            await world.edit_server()
            world.script_faults()
            records = world.records()
            budget = Budget(sync.clock, max_requests=draw.randrange(1, 12)) if draw.random() < 0.25 else None
            retry_run = draw.choice(world.refused) if world.refused and draw.random() < 0.3 else None
            report = await world.run(records, budget, retry_run=retry_run)
            if mode is not Mode.TWO_WAY:
                check_accounts(report, records)
            sync.sandbox.faults.clear()
        await world.retry_all()
        for _ in range(2):
            if mode is Mode.CHECK:  # it looks only at calendars in which the source has changed something
                world.source |= {
                    (each, "last"): record("last", f"Visit {draw.random()}", calendar=each) for each in world.calendars
                }
            report = await world.run(list(world.source.values()))
        assert await world.server_contents() == world.source_contents()
        check_accounts(report, list(world.source.values()))
        assert [tenant.in_sync for tenant in report.tenants.values()] == [
            tenant.records for tenant in report.tenants.values()
        ]
        before = sync.requests() | {"preview": 0}
        assert (await world.run(list(world.source.values()))).counts == {}
        assert sync.requests() | {"preview": 0} == before
