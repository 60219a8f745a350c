"""Many calls, 32 at a time: `get_many` and `create_many` beside what programs write around raw aiohttp.

Under a rate limit the CPU does not matter. A second table shows which share of the allowed rate is reached.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import aiometer

from benchmarks import rounds, server
from benchmarks.peers import TENANT, Calls
from benchmarks.peers.aiohttp_alone import PEER as FLOOR
from benchmarks.peers.ours import PEER as OURS
from benchmarks.peers.ours import new_appointment, open_service
from benchmarks.tables import Settings, Table, by_size, compare
from benchmarks.workload import OPERATIONS, TASKS, call_of, check, in_tasks, new_inputs
from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectorSession,
    RateLimit,
    Status,
)
from connector_async.sandbox import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    LimitWindow,
    Sandbox,
    SandboxLimit,
    synthetic_seeds,
)

_ROUNDS_BY_ITEMS = {1_000: 24, 6_000: 8, 20_000: 4}
_LIMITED_ITEMS = 1_200

Call = Callable[[Any], Awaitable[object]]


async def gather(call: Call, inputs: Iterable[object]) -> None:
    """Make a call for each input in `asyncio.gather`, as many at a time as a semaphore allows."""
    semaphore = asyncio.Semaphore(TASKS)

    async def bounded(value: object) -> object:
        async with semaphore:
            return await call(value)

    await asyncio.gather(*(bounded(value) for value in inputs))


async def task_group(call: Call, inputs: Iterable[object]) -> None:
    """Make a call for each input in an `asyncio.TaskGroup`, as many at a time as a semaphore allows."""
    semaphore = asyncio.Semaphore(TASKS)

    async def bounded(value: object) -> None:
        async with semaphore:
            await call(value)

    async with asyncio.TaskGroup() as group:
        for value in inputs:
            group.create_task(bounded(value))


async def _aiometer(call: Call, inputs: Iterable[object]) -> None:
    async with aiometer.amap(call, list(inputs), max_at_once=TASKS) as results:
        async for _ in results:
            pass


async def exhaust(outcomes: AsyncIterator[object]) -> None:
    """Iterate over the outcomes of a bulk, and fail for one that is not done."""
    async for outcome in outcomes:
        assert getattr(outcome, "status", None) is Status.DONE, outcome


def many(appointments: AppointmentService, operation: str, count: int) -> Awaitable[None]:
    """Make calls with `get_many` or `create_many`."""
    inputs = new_inputs(operation, count)
    if operation == "get":
        return exhaust(aiter(appointments.get_many(inputs, concurrency=TASKS)))
    return exhaust(aiter(appointments.create_many(map(new_appointment, inputs), concurrency=TASKS)))


def _contestants(
    operation: str, raw: Calls, ours: Calls, appointments: AppointmentService
) -> dict[str, rounds.Contestant]:
    call, our_call = call_of(raw, operation), call_of(ours, operation)
    inputs = functools.partial(new_inputs, operation)
    return {
        "gather + semaphore, raw aiohttp": lambda count: gather(call, inputs(count)),
        "TaskGroup + semaphore, raw aiohttp": lambda count: task_group(call, inputs(count)),
        "tasks that share an iterator, raw aiohttp": lambda count: in_tasks(call, inputs(count)),
        "aiometer, raw aiohttp": lambda count: _aiometer(call, inputs(count)),
        f"{operation}_many": lambda count: many(appointments, operation, count),
        f"gather + semaphore, our {operation}": lambda count: gather(our_call, inputs(count)),
    }


async def _measure(base_url: str, settings: Settings) -> list[Table]:
    tables = []
    async with contextlib.AsyncExitStack() as stack:
        raw = await stack.enter_async_context(FLOOR.open(base_url))
        our_calls = await stack.enter_async_context(OURS.open(base_url))
        await check(raw)
        await check(our_calls)
        appointments = await stack.enter_async_context(open_service(base_url))
        for operation in OPERATIONS:
            contestants = _contestants(operation, raw, our_calls, appointments)
            by_items = {
                settings.size(items): await rounds.measure(
                    contestants,
                    floor=next(iter(contestants)),
                    rounds=settings.rounds_or(default),
                    calls=settings.size(items),
                )
                for items, default in _ROUNDS_BY_ITEMS.items()
            }
            *_, largest = by_items.values()
            ours = (f"{operation}_many", f"gather + semaphore, our {operation}")
            title = f"bulk {operation}, {TASKS} at a time"
            tables.append(compare(largest, name=f"bulk.{operation}", title=title, unit="item", ours=ours))
            tables.append(
                by_size(
                    by_items,
                    unit="items",
                    ours=ours[0],
                    name=f"bulk.{operation}_by_items",
                    title=f"{title}: µs of CPU of an item, by the number of items",
                )
            )
    return tables


async def _measure_rate(calls: int) -> Table:
    """Return the share of the allowed rate that `get_many` reaches on a server that counts in a sliding window."""
    allowed = SandboxLimit(requests=600, per=10.0, window=LimitWindow.SLIDING)
    auth = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    async with (
        Sandbox(limit=allowed) as sandbox,
        ConnectorSession(
            sandbox.base_url, tenant_id=TENANT, auth=auth, rate_limit=RateLimit(limit=600, per=10, burst=1)
        ) as session,
    ):
        (appointment_id,) = await sandbox.seed(TENANT, synthetic_seeds(1))
        start = time.perf_counter()
        await exhaust(aiter(AppointmentService(session).get_many([appointment_id] * calls, concurrency=TASKS)))
        seconds, requests = time.perf_counter() - start, sandbox.log.count()
        refused = sandbox.log.count(status=429)
    return Table(
        name="bulk.pace",
        title="get_many under a limit of 60 requests a second, counted by a sliding window",
        columns=["requests", "seconds", "share of the allowed rate", "refused"],
        rows=[[f"{requests:,}", f"{seconds:.1f}", f"{requests / seconds / 60:.3f}", str(refused)]],
        figures={"requests": requests, "seconds": seconds, "refused": refused},
    )


def measure(settings: Settings) -> list[Table]:
    """Return two tables for each operation, and the one of the allowed rate."""
    with server.running() as base_url:
        tables = asyncio.run(_measure(base_url, settings))
    return [*tables, asyncio.run(_measure_rate(settings.size(_LIMITED_ITEMS)))]
