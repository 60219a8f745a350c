"""How costs grow: CPU of a call with the tasks and the tenants; memory of a bulk and time of a plan with the items.

Memory is measured with calls that do nothing, and each size in a process of its own.
"""

import argparse
import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

from benchmarks import concurrent_calls, rounds, server, tenants
from benchmarks.bulk import exhaust, gather, task_group
from benchmarks.peers.aiohttp_alone import PEER as FLOOR
from benchmarks.peers.ours import PEER as OURS
from benchmarks.processes import peak_megabytes, run_python
from benchmarks.sync_resources import plan_seconds
from benchmarks.tables import Band, Lines, Settings, Table, by_size
from benchmarks.workload import TASKS, workload
from connector_async import bulk

_TASKS = (1, 10, 100, 1_000)
_CALLS = 2_000
_ROUNDS = 8
_ITEMS = (1_000, 10_000, 100_000, 1_000_000)


async def _do_nothing(_: int) -> None:
    await asyncio.sleep(0)


async def _bulk(count: int) -> None:
    await exhaust(aiter(bulk(_do_nothing, range(count), concurrency=TASKS)))


_KINDS: Final[dict[str, Callable[[int], Coroutine[Any, Any, None]]]] = {
    "bulk": _bulk,
    "gather + semaphore": lambda count: gather(_do_nothing, range(count)),
    "TaskGroup + semaphore": lambda count: task_group(_do_nothing, range(count)),
}


async def _by_tasks(base_url: str, settings: Settings) -> Table:
    count = settings.size(_CALLS)
    async with contextlib.AsyncExitStack() as stack:
        clients = {peer.name: await stack.enter_async_context(peer.open(base_url)) for peer in (FLOOR, OURS)}
        by_tasks = {
            tasks: await rounds.measure(
                {name: workload(calls, "get", tasks) for name, calls in clients.items()},
                floor=FLOOR.name,
                rounds=settings.rounds_or(_ROUNDS),
                calls=count,
            )
            for tasks in _TASKS
        }
    ratios = [
        (float(tasks), each.figures[OURS.name].cpu_ratio(each.figures[FLOOR.name]).middle)
        for tasks, each in by_tasks.items()
    ]
    (_, of_one), *_ = ratios
    return by_size(
        by_tasks,
        unit="tasks",
        ours=OURS.name,
        name="growth.tasks",
        title=f"µs of CPU of a get, by the number of tasks: rounds of {count:,} calls",
        notes=["Both have at most 100 connections: of 1,000 tasks, 900 wait for one."],
        chart=Lines(
            title="CPU of a get, by the number of tasks",
            x_label="tasks",
            y_label="× raw aiohttp with as many tasks",
            lines={OURS.name: ratios, FLOOR.name: [(tasks, 1.0) for tasks, _ in ratios]},
            ours=(OURS.name,),
            band=Band(label="aim: within 10 % of one task", lower=0.9 * of_one, upper=1.1 * of_one),
        ),
    )


def _by_items(
    settings: Settings, kinds: tuple[str, ...], measure_one: Callable[[str, int], float], **labels: str
) -> Table:
    sizes = [settings.size(items) for items in _ITEMS]
    points = {kind: [(float(size), measure_one(kind, size)) for size in sizes] for kind in kinds}
    return Table(
        name=labels["name"],
        title=labels["title"],
        columns=["items", *kinds],
        rows=[[f"{size:,}", *(f"{points[kind][row][1]:,.2f}" for kind in kinds)] for row, size in enumerate(sizes)],
        notes=[labels["note"]],
        figures=points,
        chart=Lines(
            title=labels["chart"], x_label="items", y_label=labels["y_label"], lines=points, ours=("bulk", "plan")
        ),
    )


def _megabytes(kind: str, count: int) -> float:
    (megabytes,) = run_python(["-m", "benchmarks.growth", kind, str(count)])
    return megabytes


def _plan_seconds(_: str, items: int) -> float:
    return asyncio.run(plan_seconds(items))


def measure(settings: Settings) -> list[Table]:
    """Return the tables of the tasks, the tenants, concurrent calls, the memory of a bulk, and the time of a plan."""
    with server.running() as base_url:
        by_tasks = asyncio.run(_by_tasks(base_url, settings))
    memory = _by_items(
        settings,
        tuple(_KINDS),
        _megabytes,
        name="growth.memory",
        title="Growth of the process in MB, by the items of a bulk",
        note="The calls do nothing, 32 at a time, and the outcomes are discarded.",
        chart="Memory of a bulk",
        y_label="MB",
    )
    plan = _by_items(
        settings,
        ("plan",),
        _plan_seconds,
        name="growth.plan",
        title="Seconds of CPU of a sync plan, by the items, all unchanged",
        note="All are in sync in the state, in SQLite on disk; nothing is sent.",
        chart="CPU of a plan without a change",
        y_label="seconds",
    )
    return [by_tasks, *tenants.measure(settings), *concurrent_calls.measure(settings), memory, plan]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=_KINDS)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    asyncio.run(_do_nothing(0))
    before = peak_megabytes()
    asyncio.run(_KINDS[options.kind](options.count))
    print(max(0.0, peak_megabytes() - before))


if __name__ == "__main__":
    _main()
