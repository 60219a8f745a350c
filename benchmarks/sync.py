"""The bulk sync against the least that it needs: requests and time, one big tenant among small ones, memory, planning.

The server is the sandbox with a rate limit, scaled up from the 60 per minute of the API to keep it short; `--pace` runs
one at the real pace. Of a run the least is one request for each operation and for each preview that its mode asks for.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs

from benchmarks.pages import peak_megabytes
from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectorSession,
    NewAppointment,
    RateLimit,
    WireFormat,
)
from connector_async.sandbox import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    BodyFormat,
    DropAfter,
    FaultRates,
    LimitWindow,
    Sandbox,
    SandboxLimit,
    StatusFault,
)
from connector_async.sync.budget import Budget
from connector_async.sync.decision import Mode
from connector_async.sync.differences import Scope
from connector_async.sync.formats import IterableSource
from connector_async.sync.job import BulkSync, Settings
from connector_async.sync.ledger import InStep, Ledger
from connector_async.sync.plan import Plan
from connector_async.sync.records import Calendar, SourceRecord, content_hash
from connector_async.sync.report import RunReport
from connector_async.sync.state import State

_TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
_SCOPE = Scope(start=_TEN - timedelta(days=1), end=_TEN + timedelta(days=60))
_GRACE = 1.0


def _calendars(tenants: int, users: int) -> list[Calendar]:
    return [
        Calendar(f"tenant-{tenant}", "directory", f"user-{user}") for tenant in range(tenants) for user in range(users)
    ]


def _record(calendar: Calendar, number: int, generation: int) -> SourceRecord:
    start = _TEN + timedelta(hours=number)
    new = NewAppointment(
        title=f"Visit {number}, {generation}", start_time=start, end_time=start + timedelta(minutes=30), description="x"
    )
    return SourceRecord(key=f"k{number}", calendar=calendar, appointment=new)


def _records(calendars: Iterable[Calendar], items: int, *, changed_each: int = 0) -> list[SourceRecord]:
    """Return the items of each calendar; each `changed_each`-th is not as it was, with 0 none."""
    records = [(calendar, number) for calendar in calendars for number in range(items)]
    return [
        _record(calendar, number, int(changed_each > 0 and index % changed_each == 0))
        for index, (calendar, number) in enumerate(records)
    ]


@attrs.define
class Bench:
    """A server, a session and a state."""

    sandbox: Sandbox
    session: ConnectorSession
    state: State
    grace: float = _GRACE

    def service(self, calendar: Calendar) -> AppointmentService:
        return AppointmentService(self.session.for_tenant(calendar.tenant_id), user=calendar.user)

    async def run(self, records: Sequence[SourceRecord], mode: Mode, budget: Budget | None = None) -> RunReport:
        sync = BulkSync(self.state, self.service, Settings(carries_user=True, grace=self.grace, pause=0.1))
        scope = Scope() if mode is Mode.TRUST else _SCOPE
        mirror = _Nowhere() if mode is Mode.TWO_WAY else None
        return await sync.run(IterableSource(records), Plan(mode=mode, scope=scope), budget, mirror=mirror)


class _Nowhere:
    @asynccontextmanager
    async def writing(self) -> AsyncIterator["_Nowhere"]:
        yield self

    async def write(self, record: SourceRecord) -> None:
        """Forget it."""


@asynccontextmanager
async def bench(per_minute: int | None, faults: FaultRates | None = None) -> AsyncIterator[Bench]:
    """Start all, with so many requests a minute for each tenant; `None`: any number."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        limit = None
        pace = RateLimit.unlimited()
        if per_minute is not None:
            limit = SandboxLimit(requests=per_minute, per=60.0, window=LimitWindow.SLIDING)
            pace = RateLimit(limit=per_minute, per=60, burst=1)
        sandbox = await stack.enter_async_context(
            Sandbox(body_format=BodyFormat.REFERENCE, limit=limit, fault_rates=faults)
        )
        session = ConnectorSession(
            sandbox.base_url,
            tenant_id="tenant-0",
            auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
            wire_format=WireFormat.REFERENCE,
            rate_limit=pace,
        )
        await stack.enter_async_context(session)
        state = await stack.enter_async_context(await State.open(Path(folder) / "state.db", owner="benchmark"))
        yield Bench(sandbox, session, state)


def _show(name: str, report: RunReport, per_minute: int) -> None:
    slowest = max((tenant for tenant in report.tenants.values()), key=lambda tenant: tenant.requests, default=None)
    least = 0.0 if slowest is None else max(0, slowest.minimum - 1) / (per_minute - 1) * 60
    share = least / slowest.elapsed if slowest is not None and slowest.elapsed and least > 1 else float("nan")
    efficiency = report.minimum / report.requests if report.requests else 1.0
    counts = ", ".join(f"{number} {fate.value}" for fate, number in report.counts.items())
    print(
        f"{name:34}{report.minimum:8}{report.requests:8}{efficiency:9.3f}{report.elapsed:9.1f} s{share:9.3f}   {counts}"
    )


async def efficiency(tenants: int, users: int, items: int, per_minute: int) -> None:
    """Print the requests and the time of each kind of run, beside the least."""
    calendars = _calendars(tenants, users)
    print(
        f"{tenants} tenants of {users} users with {items} appointments each, {per_minute:,} requests a minute a tenant"
    )
    print(f"{'':34}{'least':>8}{'sent':>8}{'share':>9}{'took':>11}{'of time':>9}")
    async with bench(per_minute) as one:
        _show("cold start", await one.run(_records(calendars, items), Mode.TRUST), per_minute)
        for mode in (Mode.TRUST, Mode.CHECK, Mode.TWO_WAY):
            _show(f"nothing changed, {mode.value}", await one.run(_records(calendars, items), mode), per_minute)
        for mode in (Mode.TRUST, Mode.CHECK, Mode.TWO_WAY):
            changed = _records(calendars, items, changed_each=50)
            _show(f"2 % changed, {mode.value}", await one.run(changed, mode), per_minute)
            await one.run(_records(calendars, items), Mode.TRUST)
        refused = one.sandbox.log.count(status=429)
    for rate in (0.01,):
        faults = FaultRates({StatusFault(500): rate, DropAfter(): rate})
        async with bench(per_minute, faults) as one:
            _show("cold start, 1 % 5xx, 1 % lost", await one.run(_records(calendars, items), Mode.TRUST), per_minute)
            changed = _records(calendars, items, changed_each=2)
            _show("half changed, 1 % 5xx, 1 % lost", await one.run(changed, Mode.TRUST), per_minute)
    everything = tenants * users * items
    print(f"{'2 % changed, PUT everything':34}{everything // 50:8}{everything:8}{0.02:9.3f}")
    print(
        f"{'2 % changed, preview, GET each':34}{everything // 50:8}{everything + len(calendars) + everything // 50:8}"
    )
    print(f"refused for the limit: {refused}")


async def fairness(big: int, small: int, tenants: int, per_minute: int) -> None:
    """Print how long each small tenant took, beside its least, when a big one is worked on at the same time."""
    calendars = [Calendar("big", "directory", f"user-{user}") for user in range(big)]
    calendars += [
        Calendar(f"small-{tenant:02}", "directory", f"user-{user}")
        for tenant in range(tenants)
        for user in range(small)
    ]
    async with bench(per_minute) as one:
        seconds = (small + 1) / (per_minute - 1) * 60
        budget = Budget(one.session.clock, max_duration=2 * seconds)
        report = await one.run(_records(calendars, 1), Mode.TRUST, budget)
    least = small / (per_minute - 1) * 60  # the token goes ahead of them, and its turn is one of them
    ratios = sorted(tenant.elapsed / least for name, tenant in report.tenants.items() if name != "big")
    print(f"one tenant of {big:,} users beside {tenants} of {small}, {per_minute} requests a minute a tenant:")
    print(f"a small tenant's time over its least: median {ratios[len(ratios) // 2]:.3f}, worst {ratios[-1]:.3f}")
    print(f"meanwhile {report.tenants['big'].requests} requests of the big one")


async def memory(users: int) -> None:
    """Print the peak of the process after a cold start of so many users."""
    async with bench(None) as one:
        await one.run([_record(calendar, 0, 0) for calendar in _calendars(1, 10)], Mode.TRUST)
        sync = BulkSync(one.state, one.service, Settings(carries_user=True, grace=_GRACE, concurrency=8))
        source = (_record(calendar, 0, 1) for calendar in _calendars(10, users // 10))
        await sync.run(IterableSource(source), Plan())
    print(f"{peak_megabytes():.1f}")


async def planning(items: int) -> None:
    """Print the seconds that a plan takes when nothing has changed."""
    calendars = _calendars(10, 100)
    async with bench(None) as one:
        ledger = Ledger(one.state, "benchmark", one.session.clock)
        for calendar in calendars:
            records = _records([calendar], items // len(calendars))
            await ledger.in_step(calendar, [_as_in_step(record) for record in records])
        source = (_record(calendar, number, 0) for calendar in calendars for number in range(items // len(calendars)))
        sync = BulkSync(one.state, one.service, Settings(carries_user=True))
        begun_at = time.perf_counter()
        planned = [operation async for operation in sync.plan(IterableSource(source), Plan())]
        seconds = time.perf_counter() - begun_at
        assert planned == []
    print(f"{items:,} items planned without a change: {seconds:.1f} s, {seconds / items * 1e6:.1f} µs an item")


def _as_in_step(record: SourceRecord) -> InStep:
    content = content_hash(record.appointment)
    return InStep(
        key=record.key, appointment_id=record.key, local_hash=content, remote_hash=content,
        start_time="2024-01-15T10:00:00Z", end_time="2024-01-15T10:30:00Z",
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["efficiency", "fairness", "memory", "planning"])
    parser.add_argument("--pace", action="store_true", help="one cold start at the API's real pace, two minutes")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        asyncio.run(memory(arguments.peak))
    elif arguments.pace:
        asyncio.run(efficiency(2, 12, 10, 60))
    else:
        if arguments.only in {None, "efficiency"}:
            asyncio.run(efficiency(4, 25, 10, 1_200))
        if arguments.only in {None, "fairness"}:
            asyncio.run(fairness(1_000, 10, 99, 120))
        if arguments.only in {None, "planning"}:
            asyncio.run(planning(100_000))
        if arguments.only in {None, "memory"}:
            for users in (1_000, 10_000):
                command = [sys.executable, "-m", "benchmarks.sync", "--peak", str(users)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                print(f"{users:,} users: {done.stdout.strip()} MB at the peak")


if __name__ == "__main__":
    main()
