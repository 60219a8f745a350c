"""The measured calls: 32 tasks, and a new id for each call, because a repeated id would be served from URL caches."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from benchmarks.peers import Calls, Draft
from benchmarks.rounds import Contestant
from benchmarks.server import TITLE

TASKS: Final = 32
TEN: Final = datetime(2024, 1, 15, 10, tzinfo=UTC)
ELEVEN: Final = datetime(2024, 1, 15, 11, tzinfo=UTC)
OPERATIONS: Final = ("get", "create")

_numbers = itertools.count()


def new_ids(count: int) -> Iterator[str]:
    """Return `count` ids that no call has used."""
    return (f"7c01f588-{number}" for number in itertools.islice(_numbers, count))


def new_drafts(count: int) -> Iterator[Draft]:
    """Return `count` drafts."""
    return (
        Draft(title=f"Visit {number}", start_time=TEN, end_time=ELEVEN, description="Quarterly review meeting")
        for number in range(count)
    )


def new_inputs(operation: str, count: int) -> Iterator[Any]:
    """Return what `count` calls of an operation get."""
    return new_ids(count) if operation == "get" else new_drafts(count)


def call_of(calls: Calls, operation: str) -> Callable[[Any], Awaitable[str]]:
    """Return the call of an operation."""
    return calls.get if operation == "get" else calls.create


async def in_tasks(call: Callable[[Any], Awaitable[object]], inputs: Iterable[object], tasks: int = TASKS) -> None:
    """Make a call for each input, in `tasks` tasks that share one iterator."""
    remaining = iter(inputs)

    async def work() -> None:
        for value in remaining:
            await call(value)

    await asyncio.gather(*(work() for _ in range(tasks)))


def workload(calls: Calls, operation: str, tasks: int = TASKS) -> Contestant:
    """Return a contestant that calls an operation in `tasks` tasks."""
    return lambda count: in_tasks(call_of(calls, operation), new_inputs(operation, count), tasks)


async def check(calls: Calls) -> None:
    """Fail for a contestant that does not make the call or does not read its response."""
    assert [await calls.get(appointment_id) for appointment_id in new_ids(1)] == [TITLE]
    assert [await calls.create(draft) for draft in new_drafts(1)] == [TITLE]
