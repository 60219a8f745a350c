"""A simulation of one run of 10,000 tenants on 1 to 100 machines, from costs that were measured on one.

All tenants in work progress at the same speed: that of their rate limit, or their part of what the workers or the
databases carry. So a clock of progress is enough, and each tenant is one event, or one for each quantum.
"""

import heapq
import itertools
import math
import random
from collections.abc import Sequence
from typing import Final

import attrs

from benchmarks.tables import Lines, Settings, Table
from connector_async.sync.distributed import QUANTUM

_MACHINES: Final = (1, 2, 5, 10, 20, 50, 100)
_TENANTS: Final = 10_000
_MEAN: Final = 100  # creates of a tenant
_SPREAD: Final = 1.0  # of the logarithm of the creates: the largest of 10,000 tenants has some 2,700
_SERVER_CONNECTIONS: Final = 97  # of a default PostgreSQL, without those for superusers


@attrs.frozen(kw_only=True)
class Costs:
    """What was measured; benchmarks/README.md says where."""

    limit: float = 1.0
    """Requests a second of a tenant, as the API documents them."""
    worker: float = 290.0
    """Requests a second of a worker with its commits, on a core that it shares with the server and PostgreSQL."""
    connections: int = 5
    """Connections of a worker."""
    slots: float = 2_015.0
    """Rate-limit slots a second of PostgreSQL."""
    slots_of_redis: float = 5_448.0
    """Rate-limit slots a second of Redis."""
    trips: int = 2
    """Slots that a request asks for: it waits for its slot, and asks again when that comes."""
    commits: float = 6_900.0
    """Commits a second of PostgreSQL for 64 connections, which wait for the disk together."""
    commits_of_request: float = 2.0
    """Commits of a create: before and after it. What group commit saves is left out."""
    commits_of_tenant: float = 24.0
    """Transactions of a share, from the queue to its report."""


@attrs.frozen(kw_only=True)
class Setup:
    """How the workers are set up."""

    name: str
    concurrency: int = 64
    databases: int = 1
    """How many the tenants are divided among, by a hash."""
    server_connections: int = _SERVER_CONNECTIONS
    has_redis: bool = False
    """Whether the rate limits are in Redis instead of PostgreSQL."""


SETUPS: Final = (
    Setup(name="as it comes"),
    Setup(name="--concurrency 512", concurrency=512),
    Setup(name="and limits in Redis, 500 connections", concurrency=512, has_redis=True, server_connections=500),
    Setup(name="16 databases, without Redis", concurrency=512, databases=16),
)


@attrs.frozen
class Result:
    """A simulated run."""

    seconds: float
    bound: str
    """What limited it for most of the time."""
    workers: int
    """How many workers had connections."""


def sizes(tenants: int) -> list[int]:
    """Return the creates of each tenant: many are small, and few are large."""
    draw = random.Random(1)
    middle = math.log(_MEAN) - _SPREAD**2 / 2
    return [max(1, round(draw.lognormvariate(middle, _SPREAD))) for _ in range(tenants)]


def simulate(creates: Sequence[int], machines: int, setup: Setup, costs: Costs) -> Result:
    """Simulate a run with a worker on each machine."""
    workers = min(machines, setup.databases * (setup.server_connections // costs.connections))
    bounds = _capacities(workers, setup, costs, sum(creates) / len(creates))
    waiting = list(reversed(creates))
    order = itertools.count()
    working: list[tuple[float, int, int]] = []  # the progress at which a quantum ends, and what is left after it
    progress, seconds = 0.0, 0.0
    times: dict[str, float] = {}
    while waiting or working:
        while waiting and len(working) < workers * setup.concurrency:
            left = waiting.pop()
            part = min(left, QUANTUM)
            heapq.heappush(working, (progress + part, next(order), left - part))
        by_limit = "tenants in work" if waiting else "rate limit"
        speeds = {by_limit: costs.limit} | {name: capacity / len(working) for name, capacity in bounds.items()}
        bound = min(speeds, key=lambda name: speeds[name])
        end, _, left = heapq.heappop(working)
        duration = (end - progress) / speeds[bound]
        progress, seconds = end, seconds + duration
        times[bound] = times.get(bound, 0.0) + duration
        if left:
            waiting.insert(0, left)
    return Result(seconds, max(times, key=lambda name: times[name]), workers)


def _capacities(workers: int, setup: Setup, costs: Costs, mean: float) -> dict[str, float]:
    """Return the requests a second that each part of a setup carries."""
    seconds_of_commits = (costs.commits_of_request + costs.commits_of_tenant / mean) / costs.commits
    capacities = {"workers": workers * costs.worker}
    if setup.has_redis:
        return capacities | {
            "Redis": costs.slots_of_redis / costs.trips,
            "database": setup.databases / seconds_of_commits,
        }
    return capacities | {"database": setup.databases / (costs.trips / costs.slots + seconds_of_commits)}


def _carried(setup: Setup, costs: Costs) -> float:
    """Return the requests a second that everything but the workers carries."""
    capacities = _capacities(0, setup, costs, _MEAN)
    del capacities["workers"]
    return min(capacities.values())


def measure(settings: Settings) -> list[Table]:
    """Return the table of the simulated runs. Nothing is measured."""
    creates, costs = sizes(settings.size(_TENANTS)), Costs()
    results = {setup.name: [simulate(creates, machines, setup, costs) for machines in _MACHINES] for setup in SETUPS}
    floor = max(creates) / costs.limit
    rows = [
        [f"{machines}", *(_cell(each[index], machines) for each in results.values())]
        for index, machines in enumerate(_MACHINES)
    ]
    lines = {
        name: [(machines, result.seconds / 3_600) for machines, result in zip(_MACHINES, each, strict=True)]
        for name, each in results.items()
    }
    return [
        Table(
            name="scale.machines",
            title=f"A simulated run of {len(creates):,} tenants with {sum(creates):,} creates",
            columns=["machines", *(f"hours, {setup.name}" for setup in SETUPS)],
            rows=rows,
            notes=[
                f"In brackets: what limits it for most of the time. The largest tenant alone takes {floor / 3_600:.2f} "
                "hours at its rate limit.",
                f"All tenants together may send {costs.limit * len(creates):,.0f} requests a second. The stores carry "
                + ", ".join(f"{_carried(setup, costs):,.0f} ({setup.name})" for setup in SETUPS)
                + ".",
            ],
            figures={name: [attrs.asdict(result) for result in each] for name, each in results.items()},
            chart=Lines(
                title=f"A run of {len(creates):,} tenants, simulated",
                x_label="machines",
                y_label="hours",
                lines=lines,
                ours=[SETUPS[0].name],
            ),
        )
    ]


def _cell(result: Result, machines: int) -> str:
    idle = f"; {machines - result.workers} have no connection" if result.workers < machines else ""
    return f"{result.seconds / 3_600:.2f} ({result.bound}{idle})"
