"""Instructions that a call or an item takes, as callgrind counts them: they repeat to 1 %, also on a busy machine.

Each case runs under callgrind, once to warm up and once to be counted. The guard compares the ratio of a case to its
floor with the one in `instructions.json`: another build of Python has other numbers for everything.
"""

import argparse
import asyncio
import gc
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import orjson

from benchmarks import bulk, server
from benchmarks.peers import Peer, aiohttp_alone, ours
from benchmarks.previews import body_of, dump_by_hand, load_by_hand
from benchmarks.rounds import Contestant
from benchmarks.sync_setup import calendars_of, open_setup, records_of
from benchmarks.tables import Settings, Table
from benchmarks.workload import TASKS, call_of, new_inputs, workload
from connector_async import Appointment, WireFormat
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.formats import IterableSource
from connector_async.sync.planning.options import SyncOptions, SyncSettings

BASELINE: Final = Path(__file__).with_name("instructions.json")
"""The ratio of each case to its floor."""
MARGIN: Final = 0.03
"""How much a ratio may grow, as a part of it."""

_CALLS, _ITEMS = 384, 300

Run = Callable[[str], Coroutine[None, None, int]]
"""Runs a case against the server of a URL, the counted part in `_counted`. Returns the number of calls or items."""


@attrs.frozen
class Case:
    """What is counted, and the floor with which it is compared."""

    unit: str
    run: Run
    floor: Run
    floor_name: str


@contextmanager
def _counted() -> Iterator[None]:
    """Count the instructions of the block: callgrind dumps its counters when the C function `getppid` is entered."""
    gc.collect()  # of what was made since `gc.freeze`
    os.getppid()
    yield
    os.getppid()


async def _count_calls(contestant: Contestant, *, warm_up: int) -> int:
    await contestant(warm_up)
    with _counted():
        await contestant(_CALLS)
    return _CALLS


def _calls(peer: Peer, operation: str) -> Run:
    async def run(base_url: str) -> int:
        async with peer.open(base_url) as calls:
            return await _count_calls(workload(calls, operation, tasks=1), warm_up=1)

    return run


def _case_of_calls(operation: str) -> Case:
    return Case("call", _calls(ours.PEER, operation), _calls(aiohttp_alone.PEER, operation), aiohttp_alone.PEER.name)


def _case_of_many(operation: str) -> Case:
    async def many(base_url: str) -> int:
        async with ours.open_service(base_url) as appointments:
            return await _count_calls(lambda count: bulk.many(appointments, operation, count), warm_up=TASKS)

    async def floor(base_url: str) -> int:
        async with aiohttp_alone.PEER.open(base_url) as calls:
            call = call_of(calls, operation)
            return await _count_calls(lambda count: bulk.gather(call, new_inputs(operation, count)), warm_up=TASKS)

    return Case("item", many, floor, f"gather + semaphore, {aiohttp_alone.PEER.name}")


def _decoding(decode: Callable[[bytes], object]) -> Run:
    async def run(_: str) -> int:
        body = body_of(_ITEMS)
        with _counted():
            decode(body)
        return _ITEMS

    return run


def _encoding(encode: Callable[[Any], bytes]) -> Run:
    async def run(_: str) -> int:
        appointments = load_by_hand(body_of(_ITEMS))
        with _counted():
            for appointment in appointments:
                encode(appointment)
        return _ITEMS

    return run


async def _plan(_: str) -> int:
    async with open_setup(None) as setup:
        sync = BulkSync(setup.state, setup.service, SyncSettings(wire_format=WireFormat.REFERENCE))
        records = records_of(calendars_of(1, 1), _ITEMS)
        with _counted():
            assert (
                len([each async for each in sync.plan(IterableSource(records), SyncOptions(assume_empty=True))])
                == _ITEMS
            )
    return _ITEMS


async def _insert(_: str) -> int:
    records = records_of(calendars_of(1, 1), _ITEMS)
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE record (key TEXT PRIMARY KEY, appointment BLOB)")
        with _counted():
            rows = [(record.key, orjson.dumps(record.appointment.to_dict())) for record in records]
            database.executemany("INSERT INTO record VALUES (?, ?)", rows)
    return _ITEMS


CASES: Final[Mapping[str, Case]] = {
    "get": _case_of_calls("get"),
    "create": _case_of_calls("create"),
    "get_many": _case_of_many("get"),
    "create_many": _case_of_many("create"),
    "decoding": Case(
        "preview",
        _decoding(lambda body: WireFormat.GUIDE.structure(body, list[Appointment])),
        _decoding(load_by_hand),
        "by hand, without checks",
    ),
    "encoding": Case("preview", _encoding(WireFormat.GUIDE.unstructure), _encoding(dump_by_hand), "by hand"),
    "planning": Case("record", _plan, _insert, "JSON into one table"),
}


def _run_each(base_url: str, names: Iterable[str]) -> None:
    """Run the cases and their floors, each twice in a process of its own, and print its id and the number of items."""
    gc.freeze()
    for name in names:
        for run in (CASES[name].run, CASES[name].floor):
            if process := os.fork():
                assert os.waitpid(process, 0)[1] == 0, name
                continue
            asyncio.run(run(base_url))
            print(os.getpid(), asyncio.run(run(base_url)), flush=True)
            os._exit(0)


def count(names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the instructions of some cases and of their floors, for one call or item.

    Each runs in a process of its own, because the interpreter adapts its bytecode to the types that pass through it: in
    one process, a case would change the cost of those after it by 3 %.

    Raises:
        FileNotFoundError: If valgrind is not installed.
    """
    with server.running() as base_url, tempfile.TemporaryDirectory() as folder:
        options = ["--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={folder}/%p", "--quiet"]
        done = subprocess.run(
            ["valgrind", *options, sys.executable, "-m", "benchmarks.instructions", "--run", base_url, *names],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )
        # Each run dumps the counters at its start and at its end: the fourth dump has those of the second run.
        lines = map(str.split, done.stdout.splitlines())
        per_item = iter([_total(Path(folder, f"{process}.4")) / int(number) for process, number in lines])
    return {name: (next(per_item), next(per_item)) for name in names}


def _total(dump: Path) -> int:
    found = re.search(r"^summary: (\d+)", dump.read_text(), re.MULTILINE)
    assert found is not None, dump
    return int(found[1])


def measure(_: Settings) -> list[Table]:
    """Return a table of all cases."""
    counts = count(list(CASES))
    rows = [
        [name, f"{ours_:,.0f}", f"{floor:,.0f}", f"{ours_ / floor:.3f}", CASES[name].floor_name]
        for name, (ours_, floor) in counts.items()
    ]
    return [
        Table(
            name="instructions.all",
            title="Instructions of one call, item, preview or record",
            columns=["", "connector_async", "floor", "ratio", "the floor"],
            rows=rows,
            figures={name: list(pair) for name, pair in counts.items()},
        )
    ]


def grown(ratios: Mapping[str, float], baseline: Mapping[str, float]) -> list[str]:
    """Return a line for each ratio that exceeds the one of the baseline by more than `MARGIN`, or is not in it."""
    return [
        f"{name}: {ratio:.3f} times the instructions of its floor, {known:.3f} before"
        for name, ratio in ratios.items()
        if not ratio <= (known := baseline.get(name, 0.0)) * (1 + MARGIN)
    ]


def _guard(*, writes: bool) -> None:
    (table,) = measure(Settings())
    print(table)
    ratios = {name: round(ours_ / floor, 3) for name, (ours_, floor) in table.figures.items()}
    if writes:
        BASELINE.write_text(json.dumps(ratios, indent=1) + "\n", encoding="utf-8")
    elif lines := grown(ratios, json.loads(BASELINE.read_text(encoding="utf-8"))):
        sys.exit("\n".join(lines))


def main() -> None:
    """Count, and compare with the baseline or replace it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"replace {BASELINE.name}")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run is None:
        _guard(writes=options.write)
    else:
        _run_each(options.run[0], options.run[1:])


if __name__ == "__main__":
    main()
