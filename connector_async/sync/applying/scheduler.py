"""The scheduler: which tenant is worked on when. It does not know what the work is."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import attrs

from connector_async._checks import check_int


@attrs.frozen(kw_only=True)
class Slice:
    """A slice of one tenant's work."""

    tenant_id: str
    quantum: int
    """How many operations the slice has at most, before other tenants get their turn."""


Work = Callable[[Slice], Awaitable[bool]]
"""Works on one slice, and returns whether more is left. The slices of one tenant never overlap."""


class Runner(Protocol):
    """Works on all tenants, so that none waits for another to be finished."""

    async def run(self, tenant_ids: Iterable[str], work: Work) -> None:
        """Return when no tenant has work left.

        Raises:
            Exception: What `work` raised. No other slice starts after that, and those in flight are cancelled.
        """
        ...


class LocalRunner:
    """Works on several tenants at a time in this process, on each for a slice in turn.

    A tenant's work is nearly always waiting for a rate-limit slot, so all tenants can be worked on at once. Those above
    the limit get their turn slice by slice.

    Args:
        tenants_at_a_time: How many tenants are worked on at once.
        quantum: How many operations of a tenant are in one slice.

    Raises:
        ValueError: If an argument is not above zero.
        TypeError: If an argument is not an int.
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
                if await work(Slice(tenant_id=tenant_id, quantum=self._quantum)):
                    waiting.append(tenant_id)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._tenants_at_a_time, len(waiting))):
                    group.create_task(worker(), name="connector_async sync")
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
