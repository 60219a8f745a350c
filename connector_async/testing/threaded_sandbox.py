"""A sandbox in a thread of its own, for tests of any kind: synchronous ones, and those of every async plugin."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from connector_async.sandbox import Sandbox, SeedAppointment

T = TypeVar("T")


class ThreadedSandbox(Sandbox):
    """A `Sandbox` with the same arguments that serves from a thread with its own event loop.

    Use it as a context manager. `revoke_tokens` may be called, and `seed` awaited, in any thread and any event loop.
    """

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="connector_async sandbox", daemon=True)
        self._thread.start()
        try:
            self._run(self.start())
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(self.aclose())
        finally:
            self._end_thread()

    def revoke_tokens(self, tenant: str) -> None:
        """Revoke every token that was issued for the tenant so far; see `Sandbox.revoke_tokens`."""

        async def revoke() -> None:
            super(ThreadedSandbox, self).revoke_tokens(tenant)

        self._run(revoke())

    async def seed(self, tenant: str, appointments: Sequence[SeedAppointment]) -> list[str]:
        """Store appointments of the tenant and return their ids in the same order; see `Sandbox.seed`."""
        seeding = super().seed(tenant, appointments)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(seeding, self._loop))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
