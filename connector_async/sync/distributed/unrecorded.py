"""Creates that happened after their process had lost its lease, so that it could not record them."""

import asyncio
from contextlib import suppress
from typing import Final

from connector_async._clock import Clock, Deadline
from connector_async.sync.applying.executor import UnrecordedCreate, warn_of
from connector_async.sync.exceptions import StateError
from connector_async.sync.state import State
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.reader import StateReader

_FIRST_PAUSE: Final = 0.05  # seconds; each is twice as long as the one before
_LONGEST_PAUSE: Final = 10.0  # seconds
_LONGEST: Final = 3_600.0  # seconds
_LAST_LOOK: Final = 5.0  # seconds


class UnrecordedCreates:
    """Warns of creates that may exist twice, once another process has looked at the server and not found them.

    Such a create is still pending in the state. The process that has taken the tenant over resolves it after the grace
    period, and mostly finds it. If this process ends before that, and after an hour, it warns as well.

    Args:
        state: The open state.
        clock: The clock to wait by.
    """

    def __init__(self, state: State, clock: Clock) -> None:
        self._journal = Journal(state, "", clock)
        self._reader = StateReader(state)
        self._clock = clock
        self._watching: set[asyncio.Task[None]] = set()
        self._is_ending = asyncio.Event()

    def add(self, create: UnrecordedCreate) -> None:
        """Watch what becomes of a create."""
        task = asyncio.create_task(self._watch(create), name="connector_async unrecorded create")
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def finish(self) -> None:
        """Look at the state a last time, and warn of what is not known by then."""
        self._is_ending.set()
        if self._watching:
            _, late = await asyncio.wait(self._watching, timeout=_LAST_LOOK)
            for task in late:
                task.cancel()

    async def _watch(self, create: UnrecordedCreate) -> None:
        was_found = False
        try:
            with suppress(StateError, RuntimeError):  # the state cannot be read any more, or is closed
                was_found = await self._was_found(create)
        finally:
            if not was_found:
                warn_of(create)

    async def _was_found(self, create: UnrecordedCreate) -> bool:
        deadline, pause = Deadline(_LONGEST, self._clock), _FIRST_PAUSE
        while deadline.remaining() > 0 and not self._is_ending.is_set() and await self._is_pending(create):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_ending.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return await self._journal.has_appointment(create.calendar, create.appointment_id)

    async def _is_pending(self, create: UnrecordedCreate) -> bool:
        """Return whether a create is still pending. One that is sent again is not: its appointment was not found."""
        pending = await self._reader.pending_creates(create.calendar)
        return any((each.key, each.sent_at) == (create.key, create.sent_at) for each in pending)
