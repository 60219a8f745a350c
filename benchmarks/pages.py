"""Walking 100,000 previews in 100 pages with and without `prefetch`, and how much the process grows by.

Each walk runs in a process of its own, in turn. Between two pages the caller does nothing, or waits as long as the
server takes for a page, as one who stores what it has read does.
"""

import argparse
import asyncio
import time

from benchmarks import rounds, server
from benchmarks.processes import numbers_of, peak_megabytes
from benchmarks.tables import Settings, Table
from connector_async import AppointmentService, ConnectorSession, RateLimit, StaticToken

_ROUNDS = 3


async def _walk(base_url: str, prefetch: int, work: float) -> None:
    """Print the seconds of one walk, those of its CPU, and by how much the process grew from its first page on."""
    auth = StaticToken("x" * 300)
    async with ConnectorSession(base_url, tenant_id="acme", auth=auth, rate_limit=RateLimit.unlimited()) as session:
        pager = AppointmentService(session).preview(prefetch=prefetch)
        await pager.first()
        before, count = peak_megabytes(), 0
        began, cpu_began = time.perf_counter(), time.process_time()
        async for page in pager.pages():
            count += len(page.items)
            if work:
                await asyncio.sleep(work)
        assert count == server.PAGES * server.ITEMS
        print(time.perf_counter() - began, time.process_time() - cpu_began, peak_megabytes() - before)


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
                walks[prefetch, work].append(numbers_of(["-m", "benchmarks.pages", base_url, str(prefetch), str(work)]))
    table = Table(
        name="pages.walk",
        title=f"Walking {server.PAGES * server.ITEMS:,} previews in {server.PAGES} pages",
        columns=["", "seconds (quartiles)", "items a second", "µs CPU / item", "MB more at the peak"],
        rows=[_row(prefetch, work, taken) for (prefetch, work), taken in walks.items()],
        notes=[f"The server takes {server.DELAY * 1_000:.0f} ms for each page."],
        figures={f"prefetch={prefetch}, work={work}": taken for (prefetch, work), taken in walks.items()},
    )
    return [table]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url")
    parser.add_argument("prefetch", type=int)
    parser.add_argument("work", type=float)
    given = parser.parse_args()
    asyncio.run(_walk(given.base_url, given.prefetch, given.work))


if __name__ == "__main__":
    _main()
