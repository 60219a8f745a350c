"""What grows with what: the CPU of a call with the tasks, the memory of a bulk and the time of a plan with the items.

Memory is measured over calls that do nothing, each size in a process of its own.
"""

import argparse
import asyncio
import contextlib
from collections.abc import Callable

from benchmarks import rounds, server
from benchmarks.bulk import take_all
from benchmarks.peers.aiohttp_alone import PEER as FLOOR
from benchmarks.peers.ours import PEER as OURS
from benchmarks.processes import numbers_of, peak_megabytes
from benchmarks.sync_planning import plan_seconds
from benchmarks.tables import Lines, Settings, Table
from benchmarks.workload import TASKS, workload
from connector_async import bulk

_TASKS = (1, 10, 100, 1_000)
_CALLS = 2_000
_ROUNDS = 8
_ITEMS = (1_000, 10_000, 100_000, 1_000_000)


async def _nothing(_: int) -> None:
    await asyncio.sleep(0)


async def _gather(count: int) -> None:
    free = asyncio.Semaphore(TASKS)

    async def bounded(value: int) -> None:
        async with free:
            await _nothing(value)

    await asyncio.gather(*(bounded(value) for value in range(count)))


async def _task_group(count: int) -> None:
    free = asyncio.Semaphore(TASKS)

    async def bounded(value: int) -> None:
        async with free:
            await _nothing(value)

    async with asyncio.TaskGroup() as group:
        for value in range(count):
            group.create_task(bounded(value))


async def _bulk(count: int) -> None:
    await take_all(aiter(bulk(_nothing, range(count), concurrency=TASKS)))


_KINDS = {"bulk": _bulk, "gather + semaphore": _gather, "TaskGroup + semaphore": _task_group}


async def _calls(base_url: str, settings: Settings) -> Table:
    peers = (FLOOR, OURS)
    points: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in peers}
    rows, warnings, figures = [], [], {}
    calls = settings.size(_CALLS)
    async with contextlib.AsyncExitStack() as stack:
        opened = {peer.name: await stack.enter_async_context(peer.open(base_url)) for peer in peers}
        floor, ours = opened
        for tasks in _TASKS:
            measured = await rounds.measure(
                {name: workload(each, "get", tasks) for name, each in opened.items()},
                floor=floor,
                rounds=settings.rounds_or(_ROUNDS),
                calls=calls,
            )
            found = measured.figures
            for name in opened:
                points[name].append((tasks, found[name].cpu_per_call()))
            costs = (f"{found[name].cpu_per_call():.1f}" for name in opened)
            rows.append([f"{tasks:,}", *costs, str(found[ours].cpu_over(found[floor])), str(measured.noise())])
            warnings += [f"{tasks:,} tasks: {warning}" for warning in measured.warnings()]
            figures[str(tasks)] = {name: each.cpu for name, each in found.items()}
    return Table(
        name="growth.tasks",
        title=f"µs of CPU for one get, by the tasks that call: {settings.rounds_or(_ROUNDS)} rounds of {calls:,} calls",
        columns=["tasks", *opened, "× (quartiles)", "the floor over itself"],
        rows=rows,
        notes=["Both have 100 connections at most: of 1,000 tasks, 900 wait for one."],
        warnings=warnings,
        figures=figures,
        chart=Lines(title="CPU of a get", x_label="tasks", y_label="µs", lines=points, ours=(OURS.name,)),
    )


def _by_items(
    settings: Settings, kinds: tuple[str, ...], measure_one: Callable[[str, int], float], **texts: str
) -> Table:
    sizes = [settings.size(items) for items in _ITEMS]
    found = {kind: [(float(size), measure_one(kind, size)) for size in sizes] for kind in kinds}
    return Table(
        name=texts["name"],
        title=texts["title"],
        columns=["items", *kinds],
        rows=[[f"{size:,}", *(f"{found[kind][row][1]:,.2f}" for kind in kinds)] for row, size in enumerate(sizes)],
        notes=[texts["note"]],
        figures=found,
        chart=Lines(
            title=texts["chart"], x_label="items", y_label=texts["y_label"], lines=found, ours=("bulk", "plan")
        ),
    )


def _megabytes(kind: str, count: int) -> float:
    (grown,) = numbers_of(["-m", "benchmarks.growth", kind, str(count)])
    return grown


def _plan_seconds(_: str, items: int) -> float:
    return asyncio.run(plan_seconds(items))


def measure(settings: Settings) -> list[Table]:
    """Return the three tables."""
    with server.running() as base_url:
        calls = asyncio.run(_calls(base_url, settings))
    memory = _by_items(
        settings,
        tuple(_KINDS),
        _megabytes,
        name="growth.memory",
        title="MB that a process grows by over the items of a bulk",
        note="The calls do nothing; 32 at a time; outcomes are taken and forgotten.",
        chart="Memory of a bulk",
        y_label="MB",
    )
    plan = _by_items(
        settings,
        ("plan",),
        _plan_seconds,
        name="growth.plan",
        title="Seconds that the sync's plan takes over items that have not changed",
        note="All are in step in the state, in SQLite on disk; nothing is sent.",
        chart="Time of a plan without a change",
        y_label="seconds",
    )
    return [calls, memory, plan]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=_KINDS)
    parser.add_argument("count", type=int)
    given = parser.parse_args()
    asyncio.run(_nothing(0))
    before = peak_megabytes()
    asyncio.run(_KINDS[given.kind](given.count))
    print(max(0.0, peak_megabytes() - before))


if __name__ == "__main__":
    _main()
