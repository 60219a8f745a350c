"""One run at a time: a lock of the operating system, and a lease in the state that fences a run which lost it.

The lock is free again as soon as its process ends, however that ends. The lease is for what the lock cannot see: one
whose file was deleted or put on a drive of the network, and a state without a file.
"""

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from connector_async._clock import Clock, Deadline
from connector_async._timestamps import format_instant
from connector_async.sync.exceptions import FencedError, StateBusyError, StateError
from connector_async.sync.state.schema import LEASE, leases

from .errors import file_errors
from .permissions import PRIVATE, beside
from .sqlite import holder_of

_POLL: Final = 0.05  # seconds


class FileLock:
    """A lock that is held until it is released or the process has ended. Its file stays, as deleting it would race."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next one have it."""
        os.close(self._descriptor)


async def acquire_lock(state: Path, *, wait: float, clock: Clock) -> FileLock:
    """Take the lock of a state that is a file.

    Args:
        state: The file.
        wait: Seconds to wait for one that is held.
        clock: By which to wait.

    Raises:
        StateBusyError: It is still held.
        StateError: The file of the lock cannot be opened.
    """
    path = beside(state, ".lock")
    deadline = Deadline(wait, clock)
    with file_errors(path):
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE)
        try:
            while not _try_lock(descriptor):
                if (remaining := deadline.remaining()) <= 0:
                    raise StateBusyError(_busy(state))
                await clock.sleep(min(_POLL, remaining))
        except BaseException:
            os.close(descriptor)
            raise
    return FileLock(descriptor)


async def take_lease(connection: AsyncConnection, *, owner: str, now: float, place: object) -> int:
    """Take the lease from whoever has it, and return its new epoch.

    Args:
        connection: In a transaction that may write.
        owner: Who takes it.
        now: The moment.
        place: The state, to name in the message.

    Raises:
        StateError: There is no lease to take.
    """
    taken = update(leases).where(leases.c.name == LEASE).values(owner=owner, epoch=leases.c.epoch + 1, acquired_at=now)
    epoch = (await connection.execute(taken.returning(leases.c.epoch))).scalar_one_or_none()
    if epoch is None:
        raise StateError(f"{place}: the lease has gone")
    return int(epoch)


async def check_lease(connection: AsyncConnection, epoch: int, place: object) -> None:
    """Refuse to go on when the lease is no longer of that epoch.

    Args:
        connection: In the transaction that is about to write.
        epoch: As `take_lease` returned it.
        place: The state, to name in the message.

    Raises:
        FencedError: Another one has taken it.
    """
    row = select(leases.c.epoch, leases.c.owner).where(leases.c.name == LEASE).with_for_update(read=True)
    found = (await connection.execute(row)).one_or_none()
    if found is None:
        raise FencedError(f"{place}: the lease has gone")
    if found.epoch != epoch:
        raise FencedError(f"{place}: {found.owner} has taken over")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(state: Path) -> str:
    holder = holder_of(state, LEASE)
    if holder is None:
        return f"{state}: another run works with it"
    since = format_instant(datetime.fromtimestamp(holder[1], UTC))
    return f"{state}: another run works with it; the last that took it was {holder[0]}, at {since}"
