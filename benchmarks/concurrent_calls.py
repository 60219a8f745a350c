"""Ten thousand calls at the same time through one session: their CPU, time and memory, and whether all end right.

The connections are open before. The tasks start in one iteration of the event loop, and on a busy machine that may take
longer than the handshake of a connection may.
"""

import argparse
import asyncio
import contextlib
import functools
from typing import Final

from benchmarks import rounds, server
from benchmarks.bulk import Call
from benchmarks.peers import CONNECTIONS
from benchmarks.peers.aiohttp_alone import NAME as RAW
from benchmarks.peers.aiohttp_alone import open_calls as open_raw
from benchmarks.peers.ours import NAME as OURS
from benchmarks.peers.ours import open_calls as open_ours
from benchmarks.processes import peak_megabytes, run_python
from benchmarks.server import TITLE
from benchmarks.tables import Settings, Table
from benchmarks.workload import new_ids

_CALLS: Final = 10_000
_ROUNDS: Final = 5
_POOLS: Final = (CONNECTIONS, 1_000)
_OPENED: Final = {RAW: open_raw, OURS: open_ours}


async def at_once(get: Call, count: int) -> None:
    """Make `count` calls at the same time, and fail unless each returns its appointment."""
    titles = await asyncio.gather(*map(get, new_ids(count)))
    assert titles == [TITLE] * count


async def _measure(base_url: str, settings: Settings) -> Table:
    calls = settings.size(_CALLS)
    rows, warnings, all_figures = [], [], {}
    for connections in _POOLS:
        async with contextlib.AsyncExitStack() as stack:
            gets = {
                name: (await stack.enter_async_context(open_calls(base_url, connections=connections))).get
                for name, open_calls in _OPENED.items()
            }
            for get in gets.values():
                await at_once(get, connections)
            measurement = await rounds.measure(
                {name: functools.partial(at_once, get) for name, get in gets.items()},
                floor=RAW,
                rounds=settings.rounds_or(_ROUNDS),
                calls=calls,
            )
        figures = measurement.figures
        memory = {name: _megabytes(base_url, name, connections, calls) for name in _OPENED}
        rows.append(
            [f"{connections:,}"]
            + [f"{figures[name].cpu_per_call():.1f}" for name in _OPENED]
            + [str(figures[OURS].cpu_ratio(figures[RAW]))]
            + [f"{figures[name].wall_per_call() * calls / 1e6:.2f}" for name in _OPENED]
            + [f"{memory[name]:.1f}" for name in _OPENED]
        )
        warnings += [f"{connections:,} connections: {warning}" for warning in measurement.warnings()]
        all_figures[str(connections)] = {
            name: {"cpu": figures[name].cpu, "wall": figures[name].wall, "megabytes": memory[name]} for name in _OPENED
        }
    return Table(
        name="growth.concurrent",
        title=f"{calls:,} gets at the same time: {settings.rounds_or(_ROUNDS)} rounds",
        columns=[
            "connections",
            *(f"{name}: µs CPU / call" for name in _OPENED),
            "× (quartiles)",
            *(f"{name}: s in all" for name in _OPENED),
            *(f"{name}: MB more at the peak" for name in _OPENED),
        ],
        rows=rows,
        notes=[
            "All calls of all rounds returned their appointment. The connections were open before.",
            "The memory is that of a process of its own, without that of the connections.",
        ],
        warnings=warnings,
        figures=all_figures,
    )


def _megabytes(base_url: str, name: str, connections: int, calls: int) -> float:
    (megabytes,) = run_python(["-m", "benchmarks.concurrent_calls", base_url, name, str(connections), str(calls)])
    return megabytes


async def _growth(base_url: str, name: str, connections: int, calls: int) -> float:
    async with _OPENED[name](base_url, connections=connections) as opened:
        await at_once(opened.get, connections)
        before = peak_megabytes()
        await at_once(opened.get, calls)
        return peak_megabytes() - before


def measure(settings: Settings) -> list[Table]:
    """Return the table of each pool size."""
    with server.running() as base_url:
        return [asyncio.run(_measure(base_url, settings))]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url")
    parser.add_argument("name", choices=_OPENED)
    parser.add_argument("connections", type=int)
    parser.add_argument("calls", type=int)
    options = parser.parse_args()
    print(asyncio.run(_growth(options.base_url, options.name, options.connections, options.calls)))


if __name__ == "__main__":
    _main()
