# ruff: noqa: ASYNC240 - a test may block
"""States with flipped bits: a clear error or the right result, and never an appointment twice."""

import random
import sqlite3
from collections import Counter
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connector_async.sandbox import StatusFault
from connector_async.sync import (
    Fate,
    State,
    StateDamagedError,
    StateError,
    StateVersionError,
    TargetMismatchError,
    explain_key,
    find_damage,
    read_dead_letters,
    read_status,
)
from tests.support.syncing import record, syncing

pytestmark = pytest.mark.sqlite

_FLIPS = 60
_RECORDS = [record(f"k{number}") for number in range(30)]


def flip(content: bytes, draw: random.Random) -> bytes:
    """Return the content with one flipped bit, in a byte that is not zero."""
    flipped = bytearray(content)
    place = draw.choice([place for place, byte in enumerate(content) if byte])
    flipped[place] ^= 1 << draw.randrange(8)
    return bytes(flipped)


async def read_everything(path: Path) -> None:
    async with await State.open(path, owner="test", read_only=True) as state:
        await read_status(state)
        await explain_key(state, "k3")
        async for _ in read_dead_letters(state):
            pass


async def ending(path: Path, work: Coroutine[Any, Any, object]) -> str:
    """Return how some work with a state has ended."""
    try:
        await work
    except StateError as error:
        assert str(error).startswith(str(path))
        rejected = isinstance(error, StateDamagedError | StateVersionError | TargetMismatchError)
        assert rejected or "or a damaged one" in str(error)
        return "rejected"
    return "done"


async def test_state_with_a_flipped_bit_is_rejected_or_does_no_harm(state_path: Path) -> None:
    draw = random.Random(5)
    endings: Counter[str] = Counter()
    async with syncing(state_path) as sync:
        sync.sandbox.faults.script(StatusFault(422), operation="create")
        assert (await sync.run(_RECORDS)).counts == {Fate.CREATED: 29, Fate.REFUSED: 1}
        intact = state_path.read_bytes()
        for _ in range(_FLIPS):
            for file in state_path.parent.iterdir():
                file.unlink()
            state_path.write_bytes(flip(intact, draw))
            reading = await ending(state_path, read_everything(state_path))
            endings[f"read: {reading}, run: {await ending(state_path, sync.run(_RECORDS))}"] += 1
            titles = await sync.titles()
            assert len(titles) == len(set(titles)) >= 29
    print(dict(endings))
    assert len(endings) >= 3


async def test_every_kind_of_damage_is_found(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run(_RECORDS)
    intact = state_path.read_bytes()
    assert await find_damage(state_path) == []
    for damage, problem in (
        ("UPDATE items SET local_hash = 's3' WHERE key = 'k1'", "1 impossible value in items.local_hash"),
        ("UPDATE items SET appointment_id = x'00'", "30 impossible values in items.appointment_id"),
        ("UPDATE items SET start_time = '2O24-01-15'", "30 impossible values in items.start_time"),
        ("UPDATE runs SET counts = '{'", "1 impossible value in runs.counts"),
        ("UPDATE runs SET started_at = 1e300", "1 impossible value in runs.started_at"),
        ("UPDATE runs SET mode = CAST(x'ff' AS TEXT)", "a string in runs is not UTF-8"),
    ):
        with closing(sqlite3.connect(state_path)) as connection, connection:
            connection.execute(damage)
        assert await find_damage(state_path) == [problem]
        state_path.write_bytes(intact)
    state_path.write_bytes(intact.replace(b"k17", b"k71", 1))
    assert "missing from index sqlite_autoindex_" in (await find_damage(state_path))[0]


async def test_run_rejects_a_damaged_state_and_says_what_to_do(state_path: Path) -> None:
    async with syncing(state_path) as sync:
        await sync.run(_RECORDS)
        with closing(sqlite3.connect(state_path)) as connection, connection:
            connection.execute("UPDATE items SET local_hash = 's3' WHERE key = 'k1'")
        sent = sync.sandbox.log.count()
        with pytest.raises(StateDamagedError, match=r"items\.local_hash; `connector-async state check` .* backup"):
            await sync.run(_RECORDS)
        assert sync.sandbox.log.count() == sent
