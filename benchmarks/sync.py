"""The bulk sync beside the minimum that it needs and beside simpler approaches: requests and time.

The server is the sandbox with a rate limit, higher than the API's 60 per minute to keep the measurement short. The
minimum of a run is one request for each operation and for each preview that its mode requires.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from benchmarks.bulk import exhaust
from benchmarks.processes import run_python
from benchmarks.sync_setup import SCOPE, SyncSetup, calendars_of, open_setup, records_of
from benchmarks.tables import Settings, Table
from connector_async import bulk
from connector_async.sandbox import DropAfter, FaultRates, StatusFault
from connector_async.sync.budget import Budget
from connector_async.sync.planning.options import Mode
from connector_async.sync.records import Calendar, SourceRecord
from connector_async.sync.report import RunReport

_TENANTS, _USERS, _ITEMS, _PER_MINUTE, _DOCUMENTED_PER_MINUTE = 4, 25, 10, 1_200, 60
_CHANGED_EACH = 50
_CONCURRENCY = 32
_FAULTS = FaultRates({StatusFault(500): 0.01, DropAfter(): 0.01})

Ids = Mapping[tuple[Calendar, datetime], str]
"""Calendar and start, which no two appointments of a calendar share, to the appointment's id."""


@attrs.frozen
class Run:
    """One run of the sync, or of a simpler approach."""

    name: str
    minimum: int
    """The requests that are needed."""
    sent: int
    seconds: float
    minimum_seconds: float
    """The time that the minimum takes at the allowed rate; `nan` if that is next to nothing."""
    outcomes: str = ""

    def row(self) -> list[str]:
        """Return the cells of the table."""
        return [
            self.name,
            f"{self.minimum:,}",
            f"{self.sent:,}",
            f"{self.minimum / self.sent:.3f}" if self.sent else "1.000",
            f"{self.seconds:.1f}",
            "" if math.isnan(self.minimum_seconds) else f"{self.minimum_seconds / self.seconds:.3f}",
            self.outcomes,
        ]


def _sync_run(name: str, report: RunReport, per_minute: int = _PER_MINUTE) -> Run:
    slowest = max((tenant for tenant in report.tenants.values()), key=lambda tenant: tenant.requests, default=None)
    seconds = 0.0 if slowest is None else max(0, slowest.minimum - 1) / (per_minute - 1) * 60
    outcomes = ", ".join(f"{number} {fate.value}" for fate, number in report.counts.items())
    return Run(name, report.minimum, report.requests, report.elapsed, seconds if seconds > 1 else math.nan, outcomes)


async def _other_run(setup: SyncSetup, name: str, changed: int, work: Callable[[], Awaitable[None]]) -> Run:
    sent, start = setup.sandbox.log.count(), time.perf_counter()
    await work()
    minimum_seconds = max(0, changed / _TENANTS - 1) / (_PER_MINUTE - 1) * 60
    return Run(
        name,
        changed,
        setup.sandbox.log.count() - sent,
        time.perf_counter() - start,
        minimum_seconds or math.nan,
    )


async def _run_all(function: Callable[[Any], Awaitable[None]], inputs: Sequence[Any]) -> None:
    await exhaust(aiter(bulk(function, inputs, concurrency=_CONCURRENCY)))


def _interleave_tenants(records: Sequence[SourceRecord]) -> list[SourceRecord]:
    """Return the records so that the tenants take turns, because each has its own rate limit."""
    return sorted(records, key=lambda record: (record.calendar.ad_id, record.key, record.calendar.tenant_id))


async def _preview_ids(setup: SyncSetup, calendars: Sequence[Calendar]) -> Ids:
    ids = {}

    async def preview(calendar: Calendar) -> None:
        async for appointment in setup.service(calendar).preview(SCOPE.start, SCOPE.end):
            ids[calendar, appointment.start_time] = appointment.appointment_id

    await _run_all(preview, sorted(calendars, key=lambda calendar: (calendar.ad_id, calendar.tenant_id)))
    return ids


def _id(ids: Ids, record: SourceRecord) -> str:
    return ids[record.calendar, record.appointment.start_time]


async def _put(setup: SyncSetup, record: SourceRecord, appointment_id: str) -> None:
    new = record.appointment
    await setup.service(record.calendar).update(
        appointment_id,
        title=new.title,
        start_time=new.start_time,
        end_time=new.end_time,
        description=new.description,
    )


async def _put_everything(setup: SyncSetup, records: Sequence[SourceRecord], ids: Ids) -> None:
    await _run_all(lambda record: _put(setup, record, _id(ids, record)), _interleave_tenants(records))


async def _preview_then_get(setup: SyncSetup, records: Sequence[SourceRecord], calendars: Sequence[Calendar]) -> None:
    ids = await _preview_ids(setup, calendars)

    async def compare(record: SourceRecord) -> None:
        current = await setup.service(record.calendar).get(_id(ids, record))
        if current.title != record.appointment.title:
            await _put(setup, record, current.appointment_id)

    await _run_all(compare, _interleave_tenants(records))


async def _runs_with_faults(calendars: Sequence[Calendar]) -> list[Run]:
    async with open_setup(_PER_MINUTE, _FAULTS) as setup:
        cold = await setup.run(records_of(calendars, _ITEMS), Mode.TRUST)
        half = await setup.run(records_of(calendars, _ITEMS, changed_each=2), Mode.TRUST)
    return [
        _sync_run("cold start, 1 % 5xx, 1 % lost", cold),
        _sync_run("half changed, 1 % 5xx, 1 % lost", half),
    ]


async def _run_at_the_documented_rate(items: int) -> Run:
    async with open_setup(_DOCUMENTED_PER_MINUTE) as setup:
        report = await setup.run(records_of(calendars_of(_TENANTS, 1), items), Mode.TRUST)
    return _sync_run(f"cold start of {_TENANTS} times {items}, 60 a minute", report, _DOCUMENTED_PER_MINUTE)


async def _efficiency(users: int, items_at_the_documented_rate: int) -> Table:
    calendars = calendars_of(_TENANTS, users)
    original = records_of(calendars, _ITEMS)
    changed = records_of(calendars, _ITEMS, changed_each=_CHANGED_EACH)
    count = -(-len(changed) // _CHANGED_EACH)
    async with open_setup(_PER_MINUTE) as setup:
        runs = [_sync_run("cold start", await setup.run(original, Mode.TRUST))]
        modes = (Mode.TRUST, Mode.CHECK, Mode.TWO_WAY)
        runs += [_sync_run(f"nothing changed, {mode.value}", await setup.run(original, mode)) for mode in modes]
        for mode in modes:
            runs.append(_sync_run(f"2 % changed, {mode.value}", await setup.run(changed, mode)))
            await setup.run(original, Mode.TRUST)
        ids = await _preview_ids(setup, calendars)
        name = "2 % changed, instead: PUT everything"
        runs.append(await _other_run(setup, name, count, lambda: _put_everything(setup, changed, ids)))
        await _put_everything(setup, original, ids)
        name = "2 % changed, instead: preview, then GET each"
        runs.append(await _other_run(setup, name, count, lambda: _preview_then_get(setup, changed, calendars)))
        refused = setup.sandbox.log.count(status=429)
    runs += await _runs_with_faults(calendars)
    runs.append(await _run_at_the_documented_rate(items_at_the_documented_rate))
    return Table(
        name="sync.efficiency",
        title=f"Sync: {_TENANTS} tenants of {users} users with {_ITEMS} appointments, {_PER_MINUTE:,} a minute each",
        columns=["", "minimum", "sent", "minimum / sent", "seconds", "minimum time / time", "items"],
        rows=[run.row() for run in runs],
        notes=[
            f"Requests refused by the rate limit: {refused}.",
            "Minimum time: that of the minimum of requests at the allowed rate.",
        ],
        figures={run.name: attrs.asdict(run) for run in runs},
    )


async def _fairness(big: int, small: int, tenants: int, per_minute: int) -> Table:
    """Return how long each small tenant takes beside a big one, relative to the minimum."""
    calendars = [Calendar("big", "directory", f"user-{user}") for user in range(big)]
    calendars += [
        Calendar(f"small-{tenant:02}", "directory", f"user-{user}")
        for tenant in range(tenants)
        for user in range(small)
    ]
    async with open_setup(per_minute) as setup:
        seconds = (small + 1) / (per_minute - 1) * 60
        budget = Budget(setup.session.clock, max_duration=2 * seconds)
        report = await setup.run(records_of(calendars, 1), Mode.TRUST, budget)
    minimum = small / (per_minute - 1) * 60  # the token request goes first and takes one of the slots
    ratios = sorted(tenant.elapsed / minimum for name, tenant in report.tenants.items() if name != "big")
    sent = report.tenants["big"].requests
    return Table(
        name="sync.fairness",
        title=f"Sync: a tenant of {big:,} users beside {tenants} of {small}, {per_minute} requests a minute each",
        columns=["a small tenant's time / its minimum: median", "worst", "requests of the big tenant meanwhile"],
        rows=[[f"{ratios[len(ratios) // 2]:.3f}", f"{ratios[-1]:.3f}", f"{sent:,}"]],
        figures={"ratios": ratios},
    )


def _memory(sizes: Sequence[int]) -> Table:
    peaks = {}
    for users in sizes:
        (peaks[users],) = run_python(["-m", "benchmarks.sync_resources", str(users)])
    return Table(
        name="sync.memory",
        title="Sync: MB at the peak of a cold start, the server in another process",
        columns=["users", "MB"],
        rows=[[f"{users:,}", f"{megabytes:.1f}"] for users, megabytes in peaks.items()],
        figures={str(users): megabytes for users, megabytes in peaks.items()},
    )


def measure(settings: Settings) -> list[Table]:
    """Return the tables of efficiency, fairness and memory. Each is from one run, because the limit sets its time."""
    return [
        asyncio.run(_efficiency(settings.size(_USERS), settings.size(60))),
        asyncio.run(_fairness(settings.size(1_000), 10, settings.size(99), _DOCUMENTED_PER_MINUTE)),
        _memory([settings.size(users) for users in (1_000, 10_000)]),
    ]
