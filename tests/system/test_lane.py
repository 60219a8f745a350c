"""A web service and a bulk job over one session for a day of virtual time: token renewals, penalties and a restart."""

import asyncio
import gc
import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import attrs
import pytest

from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectFailedError,
    ConnectorError,
    ConnectorSession,
    NewAppointment,
    RateLimit,
    Status,
    ThrottledError,
    TransportError,
    found_by_preview,
)
from connector_async.sandbox import DelayFault, DropAfter, DropBefore, LimitWindow, Sandbox, SandboxLimit, StatusFault
from tests.support.virtual_time import LoopClock, VirtualTimeLoop, now

HOUR = 3_600.0
DAY = 24 * HOUR
LIMIT = 120  # an hour: one request in 33 seconds
RECORDS = 2_300
WEB_DEADLINE = 120.0
OUTAGE = 300.0
SEED = 20_240_115
TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)


@attrs.frozen
class Footprint:
    """What a process holds while no request is in flight."""

    tasks: int
    descriptors: int
    objects: Counter[str]
    """Objects of the client, by type."""

    @classmethod
    def measure(cls) -> "Footprint":
        gc.collect()
        names = (f"{type(each).__module__}.{type(each).__name__}" for each in gc.get_objects())
        ours = (name for name in names if name.startswith("connector_async.") and ".sandbox" not in name)
        return cls(len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir())), Counter(ours))


class Lane:
    """One tenant of a server, a web service that makes single calls, and a job that creates records."""

    def __init__(self, sandbox: Sandbox, session: ConnectorSession) -> None:
        self.sandbox = sandbox
        self.session = session
        self.draw = random.Random(SEED)
        self.ids: list[str] = []
        self.outcomes: dict[str, Status] = {}
        """The last outcome of each record, by title."""
        self.web: Counter[str] = Counter()
        self.slowest = 0.0
        self.is_waiting = False
        """Whether I/O is pending outside of the session."""

    def is_busy(self) -> bool:
        return self.is_waiting or bool(self.connections_in_use())

    def connections_in_use(self) -> int:
        connector = self.connector()
        return 0 if connector is None else len(connector._acquired)

    def connector(self) -> aiohttp.BaseConnector | None:
        current = self.session._state.transport._current
        return None if current is None else current.session.connector

    async def serve(self) -> None:
        """Make a single call every few minutes, each with a service of its own."""
        while now() < DAY:
            await asyncio.sleep(self.draw.uniform(200, 400))
            if self.ids:
                await self.handle_request(self.draw.choice(self.ids))

    async def handle_request(self, appointment_id: str) -> None:
        service = AppointmentService(self.session.for_tenant("acme"), deadline=WEB_DEADLINE)
        started_at = now()
        try:
            found = await service.get(appointment_id)
        except ConnectorError as error:
            self.web[type(error).__name__] += 1
        else:
            assert found.appointment_id == appointment_id
            self.web["done"] += 1
        self.slowest = max(self.slowest, now() - started_at)

    async def create_all(self) -> None:
        """Create all records, and those that failed again until none is left."""
        service = AppointmentService(self.session)
        pending = [draft(number) for number in range(RECORDS)]
        while pending and now() < DAY:
            failed: list[NewAppointment] = []
            async for outcome in service.create_many(pending, concurrency=8, verify=found_by_preview(grace=1)):
                title = outcome.input.title
                assert self.outcomes.get(title) in (None, Status.FAILED)
                self.outcomes[title] = outcome.status
                if outcome.result is not None:
                    self.ids.append(outcome.result.appointment_id)
                elif outcome.status is Status.FAILED:
                    failed.append(outcome.input)
            pending = failed
            await asyncio.sleep(60)

    async def disturb(self) -> None:
        """Throttle, drop connections, revoke the token, and restart the server."""
        faults = self.sandbox.faults
        for hour in (3, 9, 17, 19):
            await until(hour * HOUR)
            faults.script(StatusFault(429, retry_after=120), DropAfter(), operation="create")
            faults.script(DropBefore(), StatusFault(503, retry_after=30), operation="get")
        await until(21 * HOUR)
        self.sandbox.revoke_tokens("acme")

    async def restart(self) -> None:
        await until(12 * HOUR)
        self.sandbox.faults.script(DelayFault(600), operation="create")
        await asyncio.sleep(60)  # so that a request is in flight
        with self.waiting_for_io():
            await self.sandbox.aclose()
        await asyncio.sleep(OUTAGE)
        with self.waiting_for_io():
            await self.sandbox.start()

    @contextmanager
    def waiting_for_io(self) -> Iterator[None]:
        self.is_waiting = True
        try:
            yield
        finally:
            self.is_waiting = False

    async def footprint(self, hour: float) -> Footprint:
        await until(hour * HOUR)
        while (connector := self.connector()) is None or connector._acquired or connector._conns:
            await asyncio.sleep(0.5)
        with self.waiting_for_io():
            await asyncio.sleep(0.02)  # until the server has closed them as well
        return Footprint.measure()


def draft(number: int) -> NewAppointment:
    start = TEN + timedelta(hours=number)
    return NewAppointment(title=f"Visit {number}", start_time=start, end_time=start + timedelta(minutes=30))


async def until(time: float) -> None:
    await asyncio.sleep(max(0.0, time - now()))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.slow
@pytest.mark.virtual_time
async def test_web_service_and_bulk_job_share_a_session_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, clock = asyncio.get_running_loop(), LoopClock(0.5)
    assert isinstance(loop, VirtualTimeLoop)
    for module in ("aiohttp.connector", "connector_async.session.pool"):
        monkeypatch.setattr(f"{module}.monotonic", loop.time)  # by which idle connections expire
    tasks_before = len(asyncio.all_tasks())
    sandbox = Sandbox(
        port=free_port(),
        database=tmp_path / "appointments.db",
        token_lifetime=3_600,
        limit=SandboxLimit(requests=LIMIT, per=HOUR, window=LimitWindow.SLIDING),
        now=clock.time,
        monotonic=loop.time,
    )
    await sandbox.start()
    session = ConnectorSession(
        sandbox.base_url,
        tenant_id="acme",
        auth=ClientCredentials("sandbox", "sandbox-secret", clock=clock),
        rate_limit=RateLimit(limit=LIMIT, per=HOUR),
        clock=clock,
    )
    lane = Lane(sandbox, session)
    loop.jump_unless(lane.is_busy)
    first, last, *_ = await asyncio.gather(
        lane.footprint(2), lane.footprint(20), lane.serve(), lane.create_all(), lane.disturb(), lane.restart()
    )
    stored = Counter([each.title async for each in AppointmentService(session, deadline=HOUR).preview()])
    with lane.waiting_for_io():
        await session.aclose()
        await sandbox.aclose()
    await asyncio.sleep(5)
    log = sandbox.log
    print(f"\n{log.count()} requests in {now() / HOUR:.1f} h, tokens: {log.count(operation='token')}, web: {lane.web}")
    print(f"records: {Counter(lane.outcomes.values())}, slowest web call: {lane.slowest:.0f} s")
    print(f"status 401: {log.count(status=401)}, 429: {log.count(status=429)}, none: {log.count(status=0)}")
    print(f"growth: {last.objects - first.objects}, descriptors: {first.descriptors} -> {last.descriptors}")

    assert lane.slowest <= WEB_DEADLINE + 1
    assert lane.web["done"] > 0.9 * lane.web.total()
    allowed = {"done", ThrottledError.__name__, ConnectFailedError.__name__, TransportError.__name__}
    assert lane.web.keys() <= allowed
    assert len(lane.outcomes) == RECORDS
    assert set(lane.outcomes.values()) <= {Status.DONE, Status.UNKNOWN}
    done = {title for title, status in lane.outcomes.items() if status is Status.DONE}
    assert done <= stored.keys() <= lane.outcomes.keys()
    assert set(stored.values()) == {1}
    assert log.count(status=429) == log.count(fault="status-429")
    assert log.count() < (LIMIT * DAY / HOUR) * 1.05
    assert 24 <= log.count(operation="token") <= 40
    assert log.count(status=401) <= 8
    # Eighteen hours of requests, tokens and faults lie between the two.
    assert last.tasks <= first.tasks
    assert last.descriptors <= first.descriptors + 2
    assert (last.objects - first.objects).total() < 50
    assert len(asyncio.all_tasks()) == tasks_before
