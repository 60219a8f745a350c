"""Runs that several processes share: operations a second, requests, connections and memory for 1, 2 and 4 workers."""

import asyncio
import contextlib
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.shared_limit import postgres_server
from benchmarks.tables import Settings, Table
from connector_async import AppointmentService, ClientCredentials, ConnectorSession, RateLimit
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from connector_async.sync import Calendar, IterableSource, SourceRecord, State, SyncOptions
from connector_async.sync.distributed import enqueue, read_progress, read_shared_report
from connector_async.sync.distributed.procrastinate_queue import ProcrastinateQueue
from connector_async.sync.records import record_from_row

_ROUNDS: Final = 1
_WORKERS: Final = (1, 2, 4)
_TENANTS: Final = 8
_CREATES: Final = 250  # of each of these tenants
_MANY_TENANTS: Final = 5_000  # with one create each
_SERVER_CONNECTIONS: Final = 97  # of a default PostgreSQL, without those for superusers
_COMMAND: Final = "from connector_async.cli.main import main; main()"


def _records(tenants: int, creates: int) -> list[SourceRecord]:
    return [
        record_from_row(
            {
                "key": f"k{number}",
                "tenant_id": f"tenant-{tenant}",
                "title": f"Visit {number}",
                "start_time": "2024-01-15T10:00:00Z",
                "end_time": "2024-01-15T10:30:00Z",
                "description": "",
            }
        )
        for tenant in range(tenants)
        for number in range(creates)
    ]


@contextlib.asynccontextmanager
async def _sandbox() -> AsyncIterator[str]:
    """Start a sandbox in a process of its own, and yield its base URL."""
    arguments = ["-c", _COMMAND, "sandbox", "--port", "0"]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        found = re.search(rb"http://\S+", await process.stdout.readline())
        assert found is not None
        yield found[0].decode()
    finally:
        process.terminate()
        await process.communicate()


async def _enqueue(base_url: str, url: str, records: Sequence[SourceRecord]) -> tuple[str, float]:
    """Start a run, and return its id and how long that took."""
    auth = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    async with ConnectorSession(base_url, tenant_id="t", auth=auth, rate_limit=RateLimit.unlimited()) as session:

        def service(calendar: Calendar) -> AppointmentService:
            return AppointmentService(session.for_tenant(calendar.tenant_id))

        start = time.monotonic()
        async with ProcrastinateQueue(url) as queue:
            report = await enqueue(IterableSource(records), url, queue, service, options=SyncOptions(assume_empty=True))
        return report.run_id, time.monotonic() - start


def _megabytes(pid: int) -> float:
    match = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1_000


async def _work(server: str, name: str, records: Sequence[SourceRecord], workers: int) -> dict[str, float]:
    """Let workers do a run, and return its figures."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
        url = server.replace("/postgres?", f"/{name}?")
        async with _sandbox() as base_url:
            run_id, enqueuing = await _enqueue(base_url, url, records)
            environment = {
                "CONNECTOR_BASE_URL": base_url,
                "CONNECTOR_CLIENT_ID": DEFAULT_CLIENT_ID,
                "CONNECTOR_CLIENT_SECRET": DEFAULT_CLIENT_SECRET,
                "CONNECTOR_RATE_LIMIT": "unlimited",
                "CONNECTOR_STATE": url,
                "CONNECTOR_LOG_LEVEL": "error",
            }
            processes = [
                await asyncio.create_subprocess_exec(
                    sys.executable, "-c", _COMMAND, "sync", "work", env={**os.environ, **environment}
                )
                for _ in range(workers)
            ]
            try:
                return await _watch(url, run_id, connection, name, processes) | {"enqueuing": enqueuing}
            finally:
                for process in processes:
                    with contextlib.suppress(ProcessLookupError):
                        process.terminate()
                for process in processes:
                    await process.wait()


async def _watch(
    url: str,
    run_id: str,
    connection: "psycopg.Connection[tuple[object, ...]]",
    name: str,
    processes: Sequence[asyncio.subprocess.Process],
) -> dict[str, float]:
    start, settled, connections = 0.0, 0, 0
    async with await State.open(url, owner="benchmark", read_only=True) as state:
        while (progress := await read_progress(state, run_id)) is None or progress.waiting:
            if not start and progress is not None and progress.settled:
                start, settled = time.monotonic(), progress.settled
            rows = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name != 'benchmark'", [name]
            ).fetchone()
            connections = max(connections, int(str(rows[0])) - 1 if rows else 0)  # without the one of this process
            await asyncio.sleep(0.1)
        seconds = time.monotonic() - start if start else 1.0
        report = await read_shared_report(state, run_id)
    assert report is not None
    return {
        "rate": (progress.to_do - settled) / seconds,
        "requests": report.requests,
        "minimum": report.minimum,
        "connections": connections / len(processes),
        "megabytes": statistics.mean(_megabytes(process.pid) for process in processes),
    }


def measure(settings: Settings) -> list[Table]:
    """Return the table of runs with few tenants and with many."""
    rows: list[Sequence[str]] = []
    measured: dict[str, list[dict[str, float]]] = {}
    most = 0.0
    few = _records(_TENANTS, settings.size(_CREATES))
    many = _records(settings.size(_MANY_TENANTS), 1)
    with postgres_server() as server:
        cases = [(workers, few) for workers in _WORKERS] + [(workers, many) for workers in (1, 4)]
        for number, (workers, records) in enumerate(cases):
            tenants = len({each.calendar.tenant_id for each in records})
            title = f"{tenants:,} tenants × {len(records) // tenants}, {workers} worker{'s' * (workers > 1)}"
            rounds = [
                asyncio.run(_work(server, f"workers_{number}_{again}", records, workers))
                for again in range(settings.rounds_or(_ROUNDS))
            ]
            measured[title] = rounds
            median = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
            most = max(most, median["connections"])
            rows.append(
                [
                    title,
                    f"{median['rate']:,.0f}",
                    f"{median['requests']:,.0f} of {median['minimum']:,.0f}",
                    f"{median['enqueuing']:,.1f}",
                    f"{median['connections']:.1f}",
                    f"{median['megabytes']:.0f}",
                ]
            )
    return [
        Table(
            name="workers.runs",
            title="Runs that several processes share",
            columns=[
                "",
                "creates a second",
                "requests sent of needed",
                "s to enqueue",
                "connections of a worker",
                "MB of a worker",
            ],
            rows=rows,
            notes=[
                "Workers, the sandbox, PostgreSQL and the measurement share the cores. A request for a token of each "
                "tenant and worker is not needed. A default PostgreSQL has connections for "
                f"{_SERVER_CONNECTIONS // max(most, 1):.0f} workers.",
            ],
            figures=measured,
        )
    ]
