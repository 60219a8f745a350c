"""Thousands of calls through every kind of fault; then what the server has is held against what the client was told."""

import asyncio
import gc
import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from connector_async import (
    AppointmentService,
    CallRecord,
    ClientCredentials,
    Clock,
    ConnectorError,
    ConnectorSession,
    NewAppointment,
    OutcomeUnknownError,
    RateLimit,
    found_by_preview,
)
from connector_async.sandbox import (
    DelayFault,
    DropAfter,
    DropBefore,
    Fault,
    FaultRates,
    RevokedToken,
    Sandbox,
    SlowDrip,
    StatusFault,
    TruncatedResponse,
    WrongLength,
)
from connector_async.sandbox.models import PageSelection
from tests.support.services import resident_megabytes

CALLS = 20_000
TASKS = 50
TENANTS = 10
SEED = 20_240_115
SECONDS = 60
TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)

ONE_BY_ONE: list[Fault] = [
    *(StatusFault(code) for code in (408, 429, 500, 502, 503, 504)),
    DelayFault(0.005),
    DropBefore(),
    DropAfter(),
    TruncatedResponse(),
    WrongLength(),
    SlowDrip(interval=0.001, total=0.01),
    RevokedToken(),
]
FAULTS = dict.fromkeys(ONE_BY_ONE, 0.009) | {StatusFault(503, retry_after=1): 0.001}


class FastClock(Clock):
    """Runs a hundred times as fast as the machine's, so that waits are as long as they are in use."""

    SPEED = 100

    def monotonic(self) -> float:
        return time.monotonic() * self.SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.SPEED)


@attrs.define
class Journal:
    """What one task was told of its own appointments, which no other one touches."""

    titles: dict[str, set[str]] = attrs.field(factory=dict)
    """Id to what its title may be; more than one after a failed update that may have happened."""
    perhaps_deleted: set[str] = attrs.field(factory=set)
    deleted: set[str] = attrs.field(factory=set)
    unknown: set[str] = attrs.field(factory=set)
    """The titles of creates with an unknown outcome."""
    absent: set[str] = attrs.field(factory=set)
    """The titles of creates that have not happened."""
    outcomes: Counter[str] = attrs.field(factory=Counter)


class Task:
    def __init__(self, number: int, service: AppointmentService) -> None:
        self.number = number
        self.service = service
        self.random = random.Random(SEED + number)
        self.ledger = Journal()
        self.drawn = 0

    async def run(self, calls: int) -> None:
        for _ in range(calls):
            ids = [known for known in self.ledger.titles if known not in self.ledger.perhaps_deleted]
            operations = ["create"] * 6 + (["get"] * 6 + ["update"] * 4 + ["delete"] * 3 if ids else []) + ["preview"]
            operation = self.random.choice(operations)
            chosen = self.random.choice(ids) if ids else ""
            try:
                await getattr(self, operation)(chosen)
            except ConnectorError as error:
                self.ledger.outcomes[f"{operation} {type(error).__name__}"] += 1
            else:
                self.ledger.outcomes[operation] += 1

    def new_title(self) -> str:
        self.drawn += 1
        return f"{self.number}-{self.drawn}"

    async def create(self, _: str) -> None:
        title = self.new_title()
        start_time = TEN + timedelta(hours=self.drawn)
        new = NewAppointment(title=title, start_time=start_time, end_time=start_time + timedelta(minutes=30))
        verify = found_by_preview(grace=2) if self.random.random() < 0.5 else None
        try:
            created = await self.service.create(new, verify=verify)
        except OutcomeUnknownError:
            self.ledger.unknown.add(title)
            raise
        except ConnectorError:
            self.ledger.absent.add(title)
            raise
        self.ledger.titles[created.appointment_id] = {title}

    async def get(self, known: str) -> None:
        found = await self.service.get(known)
        assert found.title in self.ledger.titles[known]
        self.ledger.titles[known] = {found.title}

    async def update(self, known: str) -> None:
        title = self.new_title()
        try:
            await self.service.update(known, title=title, deadline=600)
        except ConnectorError as error:
            if error.sent:
                self.ledger.titles[known].add(title)
            raise
        self.ledger.titles[known] = {title}

    async def delete(self, known: str) -> None:
        try:
            await self.service.delete(known)
        except ConnectorError as error:
            if error.sent:
                self.ledger.perhaps_deleted.add(known)
            raise
        del self.ledger.titles[known]
        self.ledger.deleted.add(known)

    async def preview(self, _: str) -> None:
        found = {appointment.appointment_id async for appointment in self.service.preview()}
        assert set(self.ledger.titles) - self.ledger.perhaps_deleted <= found
        assert not self.ledger.deleted & found


async def stored_titles(sandbox: Sandbox) -> dict[str, str]:
    """Return id to title of everything that the server has."""
    storage = sandbox._require_running().storage
    return {
        appointment.appointment_id: appointment.title
        for number in range(TENANTS)
        for appointment in (await storage.list_without_user(f"tenant-{number}", PageSelection())).appointments
    }


def connections_in_use(session: ConnectorSession) -> int:
    current = session._shared.transport._current
    assert current is not None
    assert current.session.connector is not None
    return len(current.session.connector._acquired)


def left_behind() -> Counter[str]:
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, ConnectorError | CallRecord))


@pytest.mark.slow
async def test_nothing_is_lost_and_nothing_doubled_whatever_goes_wrong() -> None:
    begun_at, tasks_before, kept_before = time.monotonic(), asyncio.all_tasks(), left_behind()
    async with Sandbox(fault_rates=FaultRates(FAULTS, seed=SEED)) as sandbox:
        session = ConnectorSession(
            sandbox.base_url,
            tenant_id="tenant-0",
            auth=ClientCredentials("sandbox", "sandbox-secret", clock=FastClock()),
            rate_limit=RateLimit.unlimited(),
            clock=FastClock(),
        )
        services = [AppointmentService(session.for_tenant(f"tenant-{number}")) for number in range(TENANTS)]
        tasks = [Task(number, services[number % TENANTS]) for number in range(TASKS)]
        memory = resident_megabytes()
        await asyncio.gather(*(task.run(CALLS // TASKS) for task in tasks))
        memory = resident_megabytes() - memory
        in_use = connections_in_use(session)
        await session.aclose()
        stored = await stored_titles(sandbox)
        faults = {name: sandbox.log.count(fault=name) for name in {fault.name for fault in FAULTS}}
        requests = sandbox.log.count()
    del services, session
    outcomes = sum((task.ledger.outcomes for task in tasks), Counter[str]())
    unknown = {title for task in tasks for title in task.ledger.unknown}
    happened = unknown & set(stored.values())
    print(f"\n{outcomes.total()} calls, {requests} requests in {time.monotonic() - begun_at:.1f} s; faults: {faults}")
    print(f"outcomes: {dict(outcomes)}; unknown: {len(happened)} had happened, {len(unknown - happened)} had not")
    print(f"memory: {memory:+.1f} MB; connections in use: {in_use}")

    assert outcomes.total() == CALLS
    assert min(faults.values()) >= 100
    assert happened
    assert unknown - happened
    assert_told_the_truth(tasks, stored)
    assert in_use == 0
    assert asyncio.all_tasks() == tasks_before
    assert left_behind() == kept_before
    assert time.monotonic() - begun_at < SECONDS


def assert_told_the_truth(tasks: list[Task], stored: dict[str, str]) -> None:
    """Hold everything that the server has against the ledgers, and the ledgers against it."""
    unaccounted: dict[str, Any] = dict(stored)
    for task in tasks:
        ledger = task.ledger
        for known, titles in ledger.titles.items():
            title = unaccounted.pop(known, None)
            assert title in titles or (title is None and known in ledger.perhaps_deleted)
        assert not ledger.deleted & set(stored)
        assert not ledger.absent & set(stored.values())
    assert len(set(stored.values())) == len(stored)
    unknown = {title for task in tasks for title in task.ledger.unknown}
    assert set(unaccounted.values()) <= unknown
