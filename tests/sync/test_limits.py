"""The limits of a run hold while a source is read and inside previews; many unreadable records take linear work."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine, event

from connector_async import Appointment, AppointmentService, AsyncPager, Page, RetryPolicy
from connector_async.sandbox import BodyFormat, DropAfter, PreviewPaging
from connector_async.sync import (
    Budget,
    Fate,
    Mode,
    PullOptions,
    SourceProblem,
    SourceRecord,
    State,
    StopReason,
    SyncOptions,
)
from connector_async.sync.pull import Pull
from connector_async.sync.state import inspection
from tests.support.syncing import ACME, EVERYTHING, SCOPE, USER, record, syncing

PAGES: Final[dict[str, Any]] = {"paging": PreviewPaging.CURSOR, "page_size": 1}


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the statements that are executed on any database."""
    executed: list[str] = []

    def add(_c: object, _cursor: object, statement: str, *_: object) -> None:
        executed.append(statement)

    event.listen(Engine, "before_cursor_execute", add)
    try:
        yield executed
    finally:
        event.remove(Engine, "before_cursor_execute", add)


@pytest.mark.parametrize("window", [None, timedelta(days=30)], ids=["whole", "windows"])
async def test_limit_of_requests_ends_a_preview_between_its_pages(state_path: Path, window: timedelta | None) -> None:
    records = [record(f"k{number}", calendar=USER) for number in range(9)]
    changed = [*records, record("new", calendar=USER)]
    looks: dict[str, Any] = {"mode": Mode.CHECK, "scope": SCOPE, "window": window}
    async with syncing(state_path, body_format=BodyFormat.REFERENCE, **PAGES) as sync:
        await sync.run(records)
        report = await sync.run(changed, Budget(sync.clock, max_requests=4), **looks)
        assert (report.reason, report.requests) == (StopReason.REQUESTS, 4)
        assert report.counts == {Fate.NOT_STARTED: 1}
        assert (await sync.run(changed, Budget(sync.clock, max_requests=10), **looks)).counts == {Fate.CREATED: 1}


async def test_stop_ends_a_preview_whose_pages_never_end(state_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with syncing(state_path) as sync:
        await sync.run([record("a")])
        budget = Budget(sync.clock)
        pages = 0

        async def fetch(token: str | None) -> Page[Appointment]:
            nonlocal pages
            pages += 1
            if pages == 3:
                budget.stop()
            return Page(items=[], continuation_token=str(pages))

        class Endless(AppointmentService):
            def preview(self, *_: Any, **__: Any) -> AsyncPager[Appointment]:
                return AsyncPager(fetch)

        monkeypatch.setattr(sync, "service", lambda _: Endless(sync.session))
        report = await sync.run([record("a", "Other")], budget, mode=Mode.CHECK)
        assert (report.reason, pages) == (StopReason.SIGNAL, 3)
        assert report.counts == {Fate.NOT_STARTED: 1}


async def test_limit_of_requests_ends_a_preview_of_a_pull(state_path: Path) -> None:
    async with syncing(state_path, **PAGES) as sync:
        await sync.run([record(f"k{number}") for number in range(9)])
        async with await State.open(state_path.with_name("pulled.db"), owner="test") as state:
            pulling = Pull(
                state, sync.service, PullOptions(calendars=[ACME]), budget=Budget(sync.clock, max_requests=4)
            )
            assert [change async for change in pulling] == []
        assert (pulling.report.reason, pulling.report.requests) == (StopReason.REQUESTS, 4)


async def test_limit_of_requests_ends_a_preview_of_the_recovery(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(9)]
    async with syncing(state_path, **PAGES) as sync:
        sync.sandbox.faults.script(DropAfter(), operation="create")
        sync.settings["concurrency"] = 1
        sync.retry = RetryPolicy.none()
        await sync.run(records, Budget(sync.clock, max_requests=10))
        async with sync.opened() as (_, state):
            assert (await inspection.read_status(state))["pending_creates"] == 1
        report = await sync.run(records, Budget(sync.clock, max_requests=4))
        assert (report.reason, report.requests) == (StopReason.REQUESTS, 4)
        await sync.run(records)
        assert len(await sync.titles()) == 9


class StuckSource:
    """A source that stops the run, and then waits for ever."""

    name = "stuck"

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    async def records(self) -> AsyncIterator[SourceRecord]:
        yield record("a")
        self.budget.stop()
        await asyncio.Event().wait()


async def test_reading_that_waits_ends_with_the_run(state_path: Path) -> None:
    async with syncing(state_path) as sync, sync.opened() as (bulk_sync, _):
        budget = Budget(sync.clock)
        report = await asyncio.wait_for(bulk_sync.run(StuckSource(budget), SyncOptions(), budget), 10)
        assert (report.reason, report.counts, sync.requests()) == (StopReason.SIGNAL, {}, {})


class StoppedSource:
    """A source that stops the run after so many records, and counts those that are read."""

    name = "list"

    def __init__(self, budget: Budget, records: Iterable[SourceRecord], after: int) -> None:
        self.budget, self.items, self.after, self.read = budget, records, after, 0

    async def records(self) -> AsyncIterator[SourceRecord]:
        for each in self.items:
            self.read += 1
            if self.read == self.after:
                self.budget.stop()
            yield each


async def test_stop_ends_the_reading_of_a_source_and_nothing_is_deleted(state_path: Path) -> None:
    records = [record(f"k{number}") for number in range(3)]
    new = [record(f"n{number}") for number in range(5_000)]
    async with syncing(state_path) as sync:
        await sync.run(records)
        sent = sync.requests()
        budget = Budget(sync.clock)
        source = StoppedSource(budget, new, after=10)
        async with sync.opened() as (bulk_sync, _):
            report = await bulk_sync.run(source, SyncOptions(max_delete=EVERYTHING), budget)
        assert (report.reason, report.counts, sync.requests()) == (StopReason.SIGNAL, {}, sent)
        assert source.read < 500
        assert (await sync.run(records)).counts == {}


@pytest.mark.row("S12")
async def test_unreadable_records_are_written_with_few_statements_and_once(state_path: Path) -> None:
    problems = [SourceProblem(source="x", line=line, reason="bad", calendar=ACME) for line in range(3_000)]
    problems += [SourceProblem(source="x", line=1, reason="bad", key=f"k{line}") for line in range(3_000)]
    async with syncing(state_path) as sync:
        for _ in range(2):
            with statements() as executed:
                report = await sync.run(problems)
            assert report.counts == {Fate.UNREADABLE: 6_000}
            assert len(executed) < 200
        async with sync.opened() as (_, state):
            assert (await inspection.read_status(state))["dead_letters"] == 6_000
