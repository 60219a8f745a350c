"""The cost of the sync without its requests: the CPU of a plan, and the memory of a cold start."""

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import peak_megabytes
from benchmarks.sync_setup import GRACE, calendars_of, open_setup, record_of, records_of, services, session_for
from connector_async import RateLimit, WireFormat
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.formats import IterableSource
from connector_async.sync.planning.options import SyncOptions, SyncSettings
from connector_async.sync.records import SourceRecord, content_hash
from connector_async.sync.report import Fate
from connector_async.sync.state import State
from connector_async.sync.state.journal import Journal, SyncedPair


async def plan_seconds(items: int) -> float:
    """Return the seconds of CPU of a plan over `items` unchanged items, with what makes the records."""
    calendars = calendars_of(10, min(100, max(1, items // 10)))
    items_each = items // len(calendars)
    async with open_setup(None) as setup:
        journal = Journal(setup.state, "benchmark", setup.session.clock)
        for calendar in calendars:
            await journal.record_synced(
                calendar, [_synced_pair(record) for record in records_of([calendar], items_each)]
            )
        source = (record_of(calendar, number) for calendar in calendars for number in range(items_each))
        sync = BulkSync(setup.state, setup.service, SyncSettings(wire_format=WireFormat.REFERENCE))
        start = time.process_time()
        planned = [operation async for operation in sync.plan(IterableSource(source), SyncOptions())]
        seconds = time.process_time() - start
        assert planned == []
    return seconds


@contextlib.contextmanager
def _running_sandbox() -> Iterator[str]:
    command = [sys.executable, "-c", "from connector_async.cli.main import main; main()", "sandbox", "--port", "0"]
    with subprocess.Popen([*command, "--format", "reference"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def print_peak(users: int) -> None:
    """Print the peak memory in MB of this process after a cold start; the server runs in another process."""
    with _running_sandbox() as base_url, tempfile.TemporaryDirectory() as folder:
        async with (
            session_for(base_url, RateLimit.unlimited()) as session,
            await State.open(Path(folder) / "state.db", owner="benchmark") as state,
        ):
            how = SyncSettings(wire_format=WireFormat.REFERENCE, grace=GRACE, concurrency=8)
            source = (record_of(calendar, 0) for calendar in calendars_of(10, users // 10))
            report = await BulkSync(state, services(session), how).run(IterableSource(source), SyncOptions())
            assert report.counts == {Fate.CREATED: users}
    print(peak_megabytes())


def _synced_pair(record: SourceRecord) -> SyncedPair:
    content = content_hash(record.appointment)
    return SyncedPair(
        key=record.key, appointment_id=record.key, local_hash=content, remote_hash=content,
        start_time="2024-01-15T10:00:00Z", end_time="2024-01-15T10:30:00Z",
    )  # fmt: skip


def _main() -> None:
    parser = argparse.ArgumentParser(description="Print the peak memory of a cold start.")
    parser.add_argument("users", type=int, help="users of the cold start")
    asyncio.run(print_peak(parser.parse_args().users))


if __name__ == "__main__":
    _main()
