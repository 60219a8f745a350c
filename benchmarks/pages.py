"""Walking a preview of many pages with and without `prefetch`: items per second, and how much the process grows by.

Each walk runs in a process of its own, in turn. Between two pages the caller does nothing, or waits as long as the
server takes for a page, as one who stores what it has read does.
"""

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import server
from connector_async import AppointmentService, ConnectorSession, RateLimit, StaticToken


def peak_megabytes() -> float:
    """Return the most memory that this process has had."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1_000


async def _walk(base_url: str, prefetch: int, work: float) -> None:
    """Print the seconds of one walk, and by how many megabytes the process grew from its first page on."""
    auth = StaticToken("x" * 300)
    async with ConnectorSession(base_url, tenant_id="acme", auth=auth, rate_limit=RateLimit.unlimited()) as session:
        pager = AppointmentService(session).preview(prefetch=prefetch)
        await pager.first()
        before, begun_at, count = peak_megabytes(), time.perf_counter(), 0
        async for page in pager.pages():
            count += len(page.items)
            if work:
                await asyncio.sleep(work)
        assert count == server.PAGES * server.ITEMS
        print(time.perf_counter() - begun_at, peak_megabytes() - before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--walk", nargs=3, metavar=("BASE_URL", "PREFETCH", "WORK"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.walk:
        base_url, prefetch, work = arguments.walk
        asyncio.run(_walk(base_url, int(prefetch), float(work)))
        return
    count = server.PAGES * server.ITEMS
    contestants = [(prefetch, work) for work in (0.0, server.DELAY) for prefetch in (0, 1)]
    walks: dict[tuple[int, float], list[tuple[float, float]]] = {contestant: [] for contestant in contestants}
    with server.running() as base_url:
        for _ in range(arguments.rounds):
            for prefetch, work in contestants:
                command = [sys.executable, "-m", "benchmarks.pages", "--walk", base_url, str(prefetch), str(work)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                seconds, megabytes = map(float, done.stdout.split())
                walks[prefetch, work].append((seconds, megabytes))
    print(f"{count:,} items in {server.PAGES} pages, the server takes {server.DELAY * 1_000:.0f} ms for each")
    for (prefetch, work), figures in walks.items():
        seconds = statistics.median(each for each, _ in figures)
        megabytes = statistics.median(each for _, each in figures)
        caller = f"prefetch={prefetch}, the caller waits {work * 1_000:.0f} ms a page"
        print(f"{caller:44}{count / seconds:10,.0f} items a second{megabytes:8.1f} MB more at the peak")


if __name__ == "__main__":
    main()
