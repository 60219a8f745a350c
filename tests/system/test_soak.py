"""Thousands of calls through every kind of fault. Then the appointments of the server are compared with the results."""

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

CALLS = 10_000
TASKS = 50
TENANTS = 10
SEED = 20_240_115
SECONDS = 60
TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)

EQUALLY_FREQUENT: list[Fault] = [
    *(StatusFault(code) for code in (408, 429, 500, 502, 503, 504)),
    DelayFault(0.005),
    DropBefore(),
    DropAfter(),
    TruncatedResponse(),
    WrongLength(),
    SlowDrip(interval=0.001, total=0.01),
    RevokedToken(),
]
FAULTS = dict.fromkeys(EQUALLY_FREQUENT, 0.009) | {StatusFault(503, retry_after=1): 0.001}


class FastClock(Clock):
    """A clock that runs a hundred times as fast as the machine's, so that waits can have their usual length."""

    SPEED = 100

    def monotonic(self) -> float:
        return time.monotonic() * self.SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.SPEED)


@attrs.define
class Journal:
    """The results of one task's calls. No other task touches its appointments."""

    titles: dict[str, set[str]] = attrs.field(factory=dict)
    """Possible titles by appointment id. There are several after a failed update that may have happened."""
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
        self.journal = Journal()
        self.title_count = 0

    async def run(self, calls: int) -> None:
        for _ in range(calls):
            ids = [id_ for id_ in self.journal.titles if id_ not in self.journal.perhaps_deleted]
            operations = ["create"] * 6 + (["get"] * 6 + ["update"] * 4 + ["delete"] * 3 if ids else []) + ["preview"]
            operation = self.random.choice(operations)
            chosen = self.random.choice(ids) if ids else ""
            try:
                await getattr(self, operation)(chosen)
            except ConnectorError as error:
                self.journal.outcomes[f"{operation} {type(error).__name__}"] += 1
            else:
                self.journal.outcomes[operation] += 1

    def new_title(self) -> str:
        self.title_count += 1
        return f"{self.number}-{self.title_count}"

    async def create(self, _: str) -> None:
        title = self.new_title()
        start_time = TEN + timedelta(hours=self.title_count)
        new = NewAppointment(title=title, start_time=start_time, end_time=start_time + timedelta(minutes=30))
        verify = found_by_preview(grace=2) if self.random.random() < 0.5 else None
        try:
            created = await self.service.create(new, verify=verify)
        except OutcomeUnknownError:
            self.journal.unknown.add(title)
            raise
        except ConnectorError:
            self.journal.absent.add(title)
            raise
        self.journal.titles[created.appointment_id] = {title}

    async def get(self, appointment_id: str) -> None:
        found = await self.service.get(appointment_id)
        assert found.title in self.journal.titles[appointment_id]
        self.journal.titles[appointment_id] = {found.title}

    async def update(self, appointment_id: str) -> None:
        title = self.new_title()
        try:
            await self.service.update(appointment_id, title=title, deadline=600)
        except ConnectorError as error:
            if error.sent:
                self.journal.titles[appointment_id].add(title)
            raise
        self.journal.titles[appointment_id] = {title}

    async def delete(self, appointment_id: str) -> None:
        try:
            await self.service.delete(appointment_id)
        except ConnectorError as error:
            if error.sent:
                self.journal.perhaps_deleted.add(appointment_id)
            raise
        del self.journal.titles[appointment_id]
        self.journal.deleted.add(appointment_id)

    async def preview(self, _: str) -> None:
        found = {appointment.appointment_id async for appointment in self.service.preview()}
        assert set(self.journal.titles) - self.journal.perhaps_deleted <= found
        assert not self.journal.deleted & found


async def stored_titles(sandbox: Sandbox) -> dict[str, str]:
    """Return the titles of all appointments of the server, by id."""
    storage = sandbox._require_running().storage
    return {
        appointment.appointment_id: appointment.title
        for number in range(TENANTS)
        for appointment in (await storage.list_without_user(f"tenant-{number}", PageSelection())).appointments
    }


def connections_in_use(session: ConnectorSession) -> int:
    current = session._state.transport._current
    assert current is not None
    assert current.session.connector is not None
    return len(current.session.connector._acquired)


def objects_alive() -> Counter[str]:
    gc.collect()
    alive = (value for value in gc.get_objects() if isinstance(value, ConnectorError | CallRecord))
    return Counter(type(value).__name__ for value in alive)


@pytest.mark.slow
async def test_no_fault_loses_or_duplicates_an_appointment() -> None:
    started_at, tasks_before, alive_before = time.monotonic(), asyncio.all_tasks(), objects_alive()
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
    outcomes = sum((task.journal.outcomes for task in tasks), Counter[str]())
    unknown = {title for task in tasks for title in task.journal.unknown}
    happened = unknown & set(stored.values())
    print(f"\n{outcomes.total()} calls, {requests} requests in {time.monotonic() - started_at:.1f} s; faults: {faults}")
    print(f"outcomes: {dict(outcomes)}; unknown: {len(happened)} had happened, {len(unknown - happened)} had not")
    print(f"memory: {memory:+.1f} MB; connections in use: {in_use}")

    assert outcomes.total() == CALLS
    assert min(faults.values()) >= 50
    assert happened
    assert unknown - happened
    assert_results_match(tasks, stored)
    assert in_use == 0
    assert asyncio.all_tasks() == tasks_before
    assert objects_alive() == alive_before
    assert time.monotonic() - started_at < SECONDS


def assert_results_match(tasks: list[Task], stored: dict[str, str]) -> None:
    """Assert that the journals account for every appointment of the server, and the server for every entry of them."""
    unaccounted: dict[str, Any] = dict(stored)
    for task in tasks:
        journal = task.journal
        for appointment_id, titles in journal.titles.items():
            title = unaccounted.pop(appointment_id, None)
            assert title in titles or (title is None and appointment_id in journal.perhaps_deleted)
        assert not journal.deleted & set(stored)
        assert not journal.absent & set(stored.values())
    assert len(set(stored.values())) == len(stored)
    unknown = {title for task in tasks for title in task.journal.unknown}
    assert set(unaccounted.values()) <= unknown
