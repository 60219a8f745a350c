"""Random edits on both sides of a server with random habits: in the end each record has one appointment, no more."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest

from connector_async import RateLimit
from connector_async.sync import Mode, read_status
from tests.support.calendar_server import NORMALIZATIONS, CalendarServer, Habits
from tests.support.server_runs import ServerRuns, SteadyClock
from tests.support.syncing import TEN, MemorySource, record

_LATER = 60  # seconds: longer than the grace period


class World:
    """A source, a server, and someone who edits both at random."""

    def __init__(self, runs: ServerRuns, mode: Mode, draw: random.Random) -> None:
        self.runs = runs
        self.server = runs.server
        self.mode = mode
        self.draw = draw
        self.source = MemorySource()

    def edit_source(self) -> None:
        """Add, change and remove records, some of them twins."""
        for _ in range(self.draw.randrange(1, 5)):
            key = f"k{self.draw.randrange(6)}"
            kept = [each for each in self.source.kept if each.key != key]
            if self.draw.random() < 0.8:
                title = self.draw.choice(["Visit of Anna", "Visit of Anna B", f"Visit of {key} "])
                description = self.draw.choice(["About\nAnna", f"About {key}"])
                kept.append(record(key, title, hour=self.draw.randrange(2), description=description))
            self.source.kept = kept

    async def edit_server(self) -> None:
        """Change, delete and create an appointment."""
        async with self.runs.opened() as (_, state):
            if (await read_status(state))["pending_creates"]:
                return
        stored = self.server.stored.setdefault("acme", {})
        if stored and self.draw.random() < 0.4:
            self.draw.choice(list(stored.values()))["title"] = f"Theirs {self.draw.randrange(1_000)}"
        if len(stored) > 2 and self.draw.random() < 0.2:
            del stored[self.draw.choice(list(stored))]
        if self.mode is Mode.TWO_WAY and self.draw.random() < 0.2:
            times = {"startTime": TEN.isoformat(), "endTime": TEN.replace(minute=30).isoformat()}
            self.server.add(title=f"Their own {self.draw.randrange(1_000)}", description="About them", **times)
        self.server._remember()

    async def run(self) -> dict[Any, int]:
        clock = self.runs.clock
        assert isinstance(clock, SteadyClock)
        clock.now += self.draw.choice([1, 5, _LATER])
        return dict((await self.runs.run(self.source, mode=self.mode)).counts)

    def contents(self) -> tuple[Counter[Any], Counter[Any]]:
        """Return what the source and the server have, both as the server would store it."""
        normalize = NORMALIZATIONS.get(self.server.habits.normalize, lambda fields: fields)
        sources = [
            {
                "title": each.appointment.title,
                "description": each.appointment.description,
                "startTime": each.appointment.start_time.isoformat(),
                "endTime": each.appointment.end_time.isoformat(),
            }
            for each in self.source.kept
        ]
        servers = self.server.stored.get("acme", {}).values()
        return _counted(map(normalize, sources)), _counted(map(normalize, servers))


def _counted(each: Any) -> Counter[Any]:
    return Counter((fields["title"], fields["description"], fields["startTime"][:16]) for fields in each)


def draw_habits(draw: random.Random) -> Habits:
    return Habits(
        normalize=draw.choice(["", *NORMALIZATIONS]),
        echo=draw.random() < 0.5,
        preview_description=draw.random() < 0.5,
        lag=draw.choice([0, 8]),
        upper_ids_in_previews=draw.random() < 0.3,
        new_id_on_update=draw.random() < 0.3,
    )


@pytest.mark.row("S6", "S7", "S10", "S11")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("mode", [Mode.CHECK, Mode.TWO_WAY])
async def test_each_record_has_one_appointment_at_a_server_with_habits(tmp_path: Path, mode: Mode, seed: int) -> None:
    draw, clock = random.Random(f"{mode} {seed}"), SteadyClock()
    async with CalendarServer(draw_habits(draw), clock=clock.monotonic) as server:
        world = World(ServerRuns(server, tmp_path / "state.db", clock, rate_limit=RateLimit.unlimited()), mode, draw)
        for _ in range(6):
            world.edit_source()
            server.habits.lose_creates = draw.choice([0, 0, 1, 2])
            await world.run()
            server.habits.lose_creates = 0
            await world.edit_server()
        for number in range(3):
            clock.now += _LATER
            if mode is Mode.CHECK:  # it looks only at calendars in which the source has changed something
                others = [each for each in world.source.kept if each.key != "last"]
                world.source.kept = [*others, record("last", f"Visit {number}", description="x")]
            counts = await world.run()
        ours, theirs = world.contents()
        assert theirs == ours, attrs.asdict(server.habits)
        if mode is Mode.TWO_WAY:
            before = server.writes()
            assert (counts, await world.run(), server.writes()) == ({}, {}, before)
