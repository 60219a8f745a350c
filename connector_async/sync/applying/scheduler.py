"""Who works on which tenant when. It knows nothing of what the work is."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import attrs

from connector_async._checks import check_int


@attrs.frozen(kw_only=True)
class Job:
    """A share of one tenant's work."""

    tenant_id: str
    quantum: int
    """How many operations it has at most, before others have their turn."""


Work = Callable[[Job], Awaitable[bool]]
"""Does a share of a tenant's work, and tells whether there is more. One tenant's shares never overlap."""


class Runner(Protocol):
    """Has the work of all tenants done, none of them starving another."""

    async def run(self, tenant_ids: Iterable[str], work: Work) -> None:
        """Return when no tenant has work left.

        Raises:
            Exception: What `work` raised; no other share is begun then, and those under way are cancelled.
        """
        ...


class LocalRunner:
    """Works on several tenants at a time in this process, on each for a quantum in turn.

    A tenant waits for its pace nearly all the time, so that as many as there are can be worked on at once; those beyond
    have their turns by the quantum.

    Args:
        tenants_at_a_time: How many tenants are worked on at once.
        quantum: How many operations of a tenant are made before the next one has its turn.

    Raises:
        ValueError: An argument is not above zero.
        TypeError: An argument is no int.
    """

    def __init__(self, *, tenants_at_a_time: int = 128, quantum: int = 100) -> None:
        check_int("tenants_at_a_time", tenants_at_a_time)
        check_int("quantum", quantum)
        self._tenants_at_a_time = tenants_at_a_time
        self._quantum = quantum

    async def run(self, tenant_ids: Iterable[str], work: Work) -> None:
        """See `Runner.run`."""
        waiting = deque(tenant_ids)

        async def worker() -> None:
            while waiting:
                tenant_id = waiting.popleft()
                if await work(Job(tenant_id=tenant_id, quantum=self._quantum)):
                    waiting.append(tenant_id)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._tenants_at_a_time, len(waiting))):
                    group.create_task(worker(), name="connector_async sync")
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
