"""One run at a time: a lock of the operating system, and a lease in the state that fences off a run that lost it.

The lock is released when its process ends, in whatever way. The lease covers what the lock cannot: a lock file that was
deleted or is on a network drive, and a state that is not a file.
"""

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
from .sqlite import read_lease_holder

_POLL: Final = 0.05  # seconds


class FileLock:
    """A lock that is held until it is released or its process ends. The file stays: deleting it would be a race."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)


async def acquire_lock(state: Path, *, wait: float, clock: Clock) -> FileLock:
    """Acquire the lock of a state that is a file.

    Args:
        state: The file.
        wait: The seconds to wait for a lock that is held.
        clock: The clock for the wait.

    Raises:
        StateBusyError: If the lock is still held after the wait.
        StateError: If the lock file cannot be opened.
    """
    path = beside(state, ".lock")
    deadline = Deadline(wait, clock)
    with file_errors(path):
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, PRIVATE)
        try:
            while not _try_lock(descriptor):
                if (remaining := deadline.remaining()) <= 0:
                    raise StateBusyError(_busy_message(state))
                await clock.sleep(min(_POLL, remaining))
        except BaseException:
            os.close(descriptor)
            raise
    return FileLock(descriptor)


async def take_lease(connection: AsyncConnection, *, owner: str, now: float, place: object) -> int:
    """Take the lease, also from another owner, and return its new epoch.

    Args:
        connection: A connection in a transaction that can write.
        owner: The new owner.
        now: The current time, in seconds since 1970 in UTC.
        place: The state, named in the message.

    Raises:
        StateError: If the state has no lease.
    """
    taken = update(leases).where(leases.c.name == LEASE).values(owner=owner, epoch=leases.c.epoch + 1, acquired_at=now)
    epoch = (await connection.execute(taken.returning(leases.c.epoch))).scalar_one_or_none()
    if epoch is None:
        raise StateError(f"{place}: the lease is missing")
    return int(epoch)


async def check_lease(connection: AsyncConnection, epoch: int, place: object) -> None:
    """Raise if the lease is no longer the one with that epoch.

    Args:
        connection: The connection in the transaction that is about to write.
        epoch: The epoch that `take_lease` returned.
        place: The state, named in the message.

    Raises:
        FencedError: If another owner has taken the lease.
    """
    query = select(leases.c.epoch, leases.c.owner).where(leases.c.name == LEASE).with_for_update(read=True)
    lease = (await connection.execute(query)).one_or_none()
    if lease is None:
        raise FencedError(f"{place}: the lease is missing")
    if lease.epoch != epoch:
        raise FencedError(f"{place}: {lease.owner} has taken over")


def _try_lock(descriptor: int) -> bool:
    import fcntl  # noqa: PLC0415 - POSIX only; the package can be imported on Windows

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy_message(state: Path) -> str:
    holder = read_lease_holder(state)
    if holder is None:
        return f"{state}: another run is using it"
    since = format_instant(datetime.fromtimestamp(holder[1], UTC))
    return f"{state}: another run is using it; the last to open it was {holder[0]}, at {since}"
