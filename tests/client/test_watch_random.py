"""Random histories of a server, errors and crashes: the events of a watch are exactly the net changes."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from connector_async import (
    Appointment,
    AppointmentEvent,
    AsyncPager,
    Clock,
    Created,
    Deleted,
    NotFoundError,
    Page,
    TransportError,
    Updated,
    Watch,
)
from connector_async.appointments.watch import WatchScope

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
DAY = timedelta(days=1)
SCOPE = WatchScope(base_url="http://127.0.0.1", tenant_id="acme", wire_format="guide", start=TEN, end=TEN + DAY)
IDS = ["a", "b", "c", "d", "e", "F"]


class EndedError(Exception):
    """The watch waits for its next poll."""


class World:
    """A server that changes between requests, and a consumer that crashes and starts again with what it has saved."""

    def __init__(self, seed: int, *, is_transactional: bool) -> None:
        self.draw = random.Random(seed)
        self.is_transactional = is_transactional
        self.server: dict[str, Appointment] = {}
        self.mirror: dict[str, Appointment] = {}
        self.snapshot: str | None = None
        self.calm = False
        """Whether there are no more changes, errors and crashes."""

    def change(self) -> None:
        appointment_id = self.draw.choice(IDS)
        if appointment_id in self.server and self.draw.random() < 0.4:
            del self.server[appointment_id]
            return
        start = TEN + self.draw.choice([-3, 0, 0, 0, 1, 3]) * DAY  # sometimes out of the range
        description = self.draw.choice([None, "", "notes", "other"])
        self.server[appointment_id] = Appointment(
            appointment_id, self.draw.choice(["x", "y"]), start, start + DAY / 2, description
        )

    def disturb(self, error_rate: float = 0.15) -> None:
        """Change the server, or fail."""
        if self.calm:
            return
        if self.draw.random() < error_rate:
            raise TransportError("dropped")
        for _ in range(self.draw.randrange(3)):
            self.change()

    async def fetch(self, token: str | None) -> Page[Appointment]:
        """Return a page of two. Deletions and creations between two pages shift what the next one shows."""
        self.disturb()
        offset = int(token or 0)
        inside = sorted((each for each in self.server.values() if is_inside(each)), key=lambda each: each.title)
        following = str(offset + 2) if offset + 2 < len(inside) else None
        return Page(items=inside[offset : offset + 2], continuation_token=following)

    async def get(self, appointment_id: str) -> Appointment:
        self.disturb()
        if appointment_id not in self.server:
            raise NotFoundError("no such appointment", status=404)
        return self.server[appointment_id]

    async def sleep(self, _: float) -> None:
        self.disturb(0)
        if self.calm:
            raise EndedError

    def watch(self) -> Watch:
        return Watch(
            AsyncPager(self.fetch),
            self.get,
            SCOPE,
            snapshot=self.snapshot,
            initial="created",
            clock=Clock(),
            sleep=self.sleep,
        )

    def handle(self, event: AppointmentEvent) -> None:
        mirrored = self.mirror.get(event.appointment_id)
        if self.is_transactional:  # nothing comes twice
            assert (mirrored is None) == isinstance(event, Created)
            assert not isinstance(event, Updated) or event.changed
        if isinstance(event, Deleted):
            self.mirror.pop(event.appointment_id, None)
        elif is_inside(event.appointment):
            self.mirror[event.appointment_id] = event.appointment
        else:
            self.mirror.pop(event.appointment_id, None)

    async def consume(self, events: int) -> None:
        """Handle so many events, and then crash: sometimes before the last one is handled or saved."""
        watch = self.watch()
        async for event in watch:
            self.disturb(0)
            events -= 1
            crash = 1.0 if events else self.draw.random()
            if crash < 0.3:
                return
            if not self.is_transactional:
                self.snapshot = watch.snapshot
                if crash < 0.6:
                    return
            self.handle(event)
            if self.is_transactional:
                watch.acknowledge()
                self.snapshot = watch.snapshot
            if events == 0:
                return


def is_inside(appointment: Appointment) -> bool:
    return TEN <= appointment.start_time < TEN + DAY


def without_omissions(appointments: dict[str, Appointment]) -> dict[str, Any]:
    """A description that is not there equals an empty one."""
    return {key: attrs.evolve(each, description=each.description or None) for key, each in appointments.items()}


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32), is_transactional=st.booleans())
def test_mirror_of_the_events_is_what_the_server_has_after_errors_and_crashes(
    seed: int, *, is_transactional: bool
) -> None:
    async def run() -> None:
        world = World(seed, is_transactional=is_transactional)
        for _ in range(world.draw.randrange(1, 6)):
            await world.consume(world.draw.randrange(1, 6))
        world.calm = True
        watch = world.watch()
        try:
            async for event in watch:
                world.handle(event)
        except EndedError:
            pass
        assert without_omissions(world.mirror) == without_omissions(
            {key: each for key, each in world.server.items() if is_inside(each)}
        )

    asyncio.run(run())
