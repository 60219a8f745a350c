"""Walking 100,000 previews in 100 pages, with and without `prefetch`: time, CPU and growth of the process.

Each walk runs in a process of its own. Between two pages the caller does nothing, or it waits as long as the server
takes for a page, like a program that stores each page.
"""

import argparse
import asyncio
import time

from benchmarks import rounds, server
from benchmarks.processes import peak_megabytes, run_python
from benchmarks.tables import Settings, Table
from connector_async import AppointmentService, ConnectorSession, RateLimit, StaticToken

_ROUNDS = 3


async def _walk(base_url: str, prefetch: int, work: float) -> None:
    """Print the seconds of one walk, its seconds of CPU, and the growth of the process in MB after its first page."""
    auth = StaticToken("x" * 300)
    async with ConnectorSession(base_url, tenant_id="acme", auth=auth, rate_limit=RateLimit.unlimited()) as session:
        pager = AppointmentService(session).preview(prefetch=prefetch)
        await pager.first()
        before, count = peak_megabytes(), 0
        start, cpu_start = time.perf_counter(), time.process_time()
        async for page in pager.pages():
            count += len(page.items)
            if work:
                await asyncio.sleep(work)
        assert count == server.PAGES * server.ITEMS
        print(time.perf_counter() - start, time.process_time() - cpu_start, peak_megabytes() - before)


def _row(prefetch: int, work: float, walks: list[list[float]]) -> list[str]:
    items = server.PAGES * server.ITEMS
    seconds, cpu, megabytes = (rounds.quartiles(values) for values in zip(*walks, strict=True))
    caller = f"the caller waits {work * 1_000:.0f} ms a page" if work else "the caller does nothing"
    return [
        f"prefetch={prefetch}, {caller}",
        str(seconds),
        f"{items / seconds.middle:,.0f}",
        f"{cpu.middle / items * 1e6:.2f}",
        f"{megabytes.middle:.1f}",
    ]


def measure(settings: Settings) -> list[Table]:
    """Return the table of the walks."""
    contestants = [(prefetch, work) for work in (0.0, server.DELAY) for prefetch in (0, 1)]
    walks: dict[tuple[int, float], list[list[float]]] = {contestant: [] for contestant in contestants}
    with server.running() as base_url:
        for _ in range(settings.rounds_or(_ROUNDS)):
            for prefetch, work in contestants:
                walks[prefetch, work].append(run_python(["-m", "benchmarks.pages", base_url, str(prefetch), str(work)]))
    table = Table(
        name="pages.walk",
        title=f"Walking {server.PAGES * server.ITEMS:,} previews in {server.PAGES} pages",
        columns=["", "seconds (quartiles)", "items a second", "µs CPU / item", "MB more at the peak"],
        rows=[_row(prefetch, work, results) for (prefetch, work), results in walks.items()],
        notes=[f"The server takes {server.DELAY * 1_000:.0f} ms for each page."],
        figures={f"prefetch={prefetch}, work={work}": results for (prefetch, work), results in walks.items()},
    )
    return [table]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url")
    parser.add_argument("prefetch", type=int)
    parser.add_argument("work", type=float)
    options = parser.parse_args()
    asyncio.run(_walk(options.base_url, options.prefetch, options.work))


if __name__ == "__main__":
    _main()
