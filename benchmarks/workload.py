"""The calls that are measured: 32 tasks, and a new id on every call.

A repeated id would let the URL caches do the client's work.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from benchmarks.peers import Calls, Draft
from benchmarks.rounds import Contestant
from benchmarks.server import TITLE

TASKS: Final = 32
TEN: Final = datetime(2024, 1, 15, 10, tzinfo=UTC)
ELEVEN: Final = datetime(2024, 1, 15, 11, tzinfo=UTC)
OPERATIONS: Final = ("get", "create")

_numbers = itertools.count()


def new_ids(count: int) -> Iterator[str]:
    """Yield so many ids that no call has had."""
    return (f"7c01f588-{number}" for number in itertools.islice(_numbers, count))


def new_drafts(count: int) -> Iterator[Draft]:
    """Yield so many drafts."""
    return (
        Draft(title=f"Visit {number}", start_time=TEN, end_time=ELEVEN, description="Quarterly review meeting")
        for number in range(count)
    )


async def in_tasks(call: Callable[[str], Awaitable[object]], ids: Iterable[str], tasks: int = TASKS) -> None:
    """Make a call for each id, so many at a time."""
    left = iter(ids)

    async def work() -> None:
        for appointment_id in left:
            await call(appointment_id)

    await asyncio.gather(*(work() for _ in range(tasks)))


def workload(calls: Calls, operation: str, tasks: int = TASKS) -> Contestant:
    """Return what makes calls of an operation, so many at a time."""

    async def get(count: int) -> None:
        await in_tasks(calls.get, new_ids(count), tasks)

    async def create(count: int) -> None:
        left = new_drafts(count)

        async def work() -> None:
            for draft in left:
                await calls.create(draft)

        await asyncio.gather(*(work() for _ in range(tasks)))

    return get if operation == "get" else create


async def check(calls: Calls) -> None:
    """Refuse a contestant that does not make the call, or does not read its answer."""
    assert [await calls.get(each) for each in new_ids(1)] == [TITLE]
    assert [await calls.create(each) for each in new_drafts(1)] == [TITLE]
