"""The bulk sync against the least that it needs, and beside what people do instead: requests and time.

The server is the sandbox with a rate limit, scaled up from the 60 per minute of the API to keep it short. Of a run the
least is one request for each operation and for each preview that its mode asks for.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from benchmarks.bulk import take_all
from benchmarks.processes import numbers_of
from benchmarks.sync_bench import SCOPE, Bench, bench, calendars_of, records_of
from benchmarks.tables import Settings, Table
from connector_async import Appointment, bulk
from connector_async.sandbox import DropAfter, FaultRates, StatusFault
from connector_async.sync.budget import Budget
from connector_async.sync.planning.options import Mode
from connector_async.sync.records import Calendar, SourceRecord
from connector_async.sync.report import RunReport

_TENANTS, _USERS, _ITEMS, _PER_MINUTE, _DOCUMENTED_PER_MINUTE = 4, 25, 10, 1_200, 60
_CHANGED_EACH = 50
_CONCURRENCY = 32
_FAULTS = FaultRates({StatusFault(500): 0.01, DropAfter(): 0.01})


@attrs.frozen
class Run:
    """One run of the sync, or of what is done instead."""

    name: str
    least: int
    """Requests that are needed."""
    sent: int
    seconds: float
    least_seconds: float
    """What the least takes at the allowed rate; `nan` when it is no time at all."""
    fates: str = ""

    def row(self) -> list[str]:
        """Return what the table shows."""
        efficiency = f"{self.least / self.sent:.3f}" if self.sent else "1.000"
        of_time = "" if math.isnan(self.least_seconds) else f"{self.least_seconds / self.seconds:.3f}"
        return [
            self.name,
            f"{self.least:,}",
            f"{self.sent:,}",
            efficiency,
            f"{self.seconds:.1f}",
            of_time,
            self.fates,
        ]


def _of_report(name: str, report: RunReport, per_minute: int = _PER_MINUTE) -> Run:
    slowest = max((tenant for tenant in report.tenants.values()), key=lambda tenant: tenant.requests, default=None)
    least = 0.0 if slowest is None else max(0, slowest.minimum - 1) / (per_minute - 1) * 60
    fates = ", ".join(f"{number} {fate.value}" for fate, number in report.counts.items())
    return Run(name, report.minimum, report.requests, report.elapsed, least if least > 1 else math.nan, fates)


async def _instead(one: Bench, name: str, changed: int, work: Callable[[], Awaitable[None]]) -> Run:
    sent, began = one.sandbox.log.count(), time.perf_counter()
    await work()
    least = max(0, changed / _TENANTS - 1) / (_PER_MINUTE - 1) * 60
    return Run(name, changed, one.sandbox.log.count() - sent, time.perf_counter() - began, least or math.nan)


async def _shown(one: Bench, calendar: Calendar) -> list[Appointment]:
    return await one.service(calendar).preview(SCOPE.start, SCOPE.end).collect()


def _in_turn(records: Sequence[SourceRecord]) -> list[SourceRecord]:
    """Return the records so that the tenants take turns, since each has a pace of its own."""
    return sorted(records, key=lambda record: (record.calendar.ad_id, record.key, record.calendar.tenant_id))


async def _put(one: Bench, record: SourceRecord, appointment_id: str) -> None:
    new = record.appointment
    await one.service(record.calendar).update(
        appointment_id,
        title=new.title,
        start_time=new.start_time,
        end_time=new.end_time,
        description=new.description,
    )


def _slot(record: SourceRecord) -> tuple[Calendar, datetime]:
    return record.calendar, record.appointment.start_time


async def _ids(one: Bench, calendars: Sequence[Calendar]) -> dict[tuple[Calendar, datetime], str]:
    """Return the ids by calendar and start, which is another one for each appointment."""
    found = {}

    async def look(calendar: Calendar) -> None:
        for appointment in await _shown(one, calendar):
            found[calendar, appointment.start_time] = appointment.appointment_id

    await _all(look, sorted(calendars, key=lambda calendar: (calendar.ad_id, calendar.tenant_id)))
    return found


async def _all(function: Callable[[Any], Awaitable[None]], inputs: Sequence[Any]) -> None:
    await take_all(aiter(bulk(function, inputs, concurrency=_CONCURRENCY)))


async def _put_everything(one: Bench, records: Sequence[SourceRecord], ids: Mapping[Any, str]) -> None:
    await _all(lambda record: _put(one, record, ids[_slot(record)]), _in_turn(records))


async def _preview_then_get(one: Bench, records: Sequence[SourceRecord], calendars: Sequence[Calendar]) -> None:
    ids = await _ids(one, calendars)

    async def compare(record: SourceRecord) -> None:
        there = await one.service(record.calendar).get(ids[_slot(record)])
        if there.title != record.appointment.title:
            await _put(one, record, there.appointment_id)

    await _all(compare, _in_turn(records))


async def _with_faults(calendars: Sequence[Calendar]) -> list[Run]:
    async with bench(_PER_MINUTE, _FAULTS) as one:
        cold = await one.run(records_of(calendars, _ITEMS), Mode.TRUST)
        half = await one.run(records_of(calendars, _ITEMS, changed_each=2), Mode.TRUST)
    return [
        _of_report("cold start, 1 % 5xx, 1 % lost", cold),
        _of_report("half changed, 1 % 5xx, 1 % lost", half),
    ]


async def _at_the_documented_pace(items: int) -> Run:
    async with bench(_DOCUMENTED_PER_MINUTE) as one:
        report = await one.run(records_of(calendars_of(_TENANTS, 1), items), Mode.TRUST)
    return _of_report(f"cold start of {_TENANTS} times {items}, 60 a minute", report, _DOCUMENTED_PER_MINUTE)


async def _efficiency(users: int, items_at_the_documented_pace: int) -> Table:
    calendars = calendars_of(_TENANTS, users)
    as_it_was = records_of(calendars, _ITEMS)
    changed = records_of(calendars, _ITEMS, changed_each=_CHANGED_EACH)
    count = -(-len(changed) // _CHANGED_EACH)
    async with bench(_PER_MINUTE) as one:
        runs = [_of_report("cold start", await one.run(as_it_was, Mode.TRUST))]
        modes = (Mode.TRUST, Mode.CHECK, Mode.TWO_WAY)
        runs += [_of_report(f"nothing changed, {mode.value}", await one.run(as_it_was, mode)) for mode in modes]
        for mode in modes:
            runs.append(_of_report(f"2 % changed, {mode.value}", await one.run(changed, mode)))
            await one.run(as_it_was, Mode.TRUST)
        ids = await _ids(one, calendars)
        name = "2 % changed, instead: PUT everything"
        runs.append(await _instead(one, name, count, lambda: _put_everything(one, changed, ids)))
        await _put_everything(one, as_it_was, ids)
        name = "2 % changed, instead: preview, then GET each"
        runs.append(await _instead(one, name, count, lambda: _preview_then_get(one, changed, calendars)))
        refused = one.sandbox.log.count(status=429)
    runs += await _with_faults(calendars)
    runs.append(await _at_the_documented_pace(items_at_the_documented_pace))
    return Table(
        name="sync.efficiency",
        title=f"Sync: {_TENANTS} tenants of {users} users with {_ITEMS} appointments, {_PER_MINUTE:,} a minute each",
        columns=["", "least", "sent", "least / sent", "seconds", "of the time", "items"],
        rows=[run.row() for run in runs],
        notes=[
            f"Refused for the limit: {refused}.",
            "Of the time: what the least takes at the allowed rate, over what was taken.",
        ],
        figures={run.name: attrs.asdict(run) for run in runs},
    )


async def _fairness(big: int, small: int, tenants: int, per_minute: int) -> Table:
    """Return how long each small tenant took, beside its least, when a big one is worked on at the same time."""
    calendars = [Calendar("big", "directory", f"user-{user}") for user in range(big)]
    calendars += [
        Calendar(f"small-{tenant:02}", "directory", f"user-{user}")
        for tenant in range(tenants)
        for user in range(small)
    ]
    async with bench(per_minute) as one:
        seconds = (small + 1) / (per_minute - 1) * 60
        budget = Budget(one.session.clock, max_duration=2 * seconds)
        report = await one.run(records_of(calendars, 1), Mode.TRUST, budget)
    least = small / (per_minute - 1) * 60  # the token goes ahead of them, and its turn is one of them
    ratios = sorted(tenant.elapsed / least for name, tenant in report.tenants.items() if name != "big")
    sent = report.tenants["big"].requests
    return Table(
        name="sync.fairness",
        title=f"Sync: a tenant of {big:,} users beside {tenants} of {small}, {per_minute} requests a minute each",
        columns=["a small tenant's time over its least: median", "worst", "requests of the big one meanwhile"],
        rows=[[f"{ratios[len(ratios) // 2]:.3f}", f"{ratios[-1]:.3f}", f"{sent:,}"]],
        figures={"ratios": ratios},
    )


def _memory(sizes: Sequence[int]) -> Table:
    found = {}
    for users in sizes:
        (found[users],) = numbers_of(["-m", "benchmarks.sync_planning", str(users)])
    return Table(
        name="sync.memory",
        title="Sync: MB at the peak of a cold start, the server in another process",
        columns=["users", "MB"],
        rows=[[f"{users:,}", f"{megabytes:.1f}"] for users, megabytes in found.items()],
        figures={str(users): megabytes for users, megabytes in found.items()},
    )


def measure(settings: Settings) -> list[Table]:
    """Return the tables of efficiency, fairness and memory; each is of one run, since a limit paces it."""
    return [
        asyncio.run(_efficiency(settings.size(_USERS), settings.size(60))),
        asyncio.run(_fairness(settings.size(1_000), 10, settings.size(99), _DOCUMENTED_PER_MINUTE)),
        _memory([settings.size(users) for users in (1_000, 10_000)]),
    ]
