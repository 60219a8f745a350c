"""One run at a time for each tenant: leases in the state, which fence off a run that lost them, and a lock of a file.

The lock is of the operating system, and is released when its process ends, in whatever way. The leases cover what the
lock cannot: a lock file that was deleted or is on a network drive, and a state that is not a file.
"""

import os
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, bindparam, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from connector_async._clock import Clock, Deadline
from connector_async._timestamps import format_instant
from connector_async.sync.exceptions import FencedError, StateBusyError, StateError
from connector_async.sync.state.schema import tenants

from .errors import file_errors
from .permissions import PRIVATE, beside
from .sqlite import read_last_owner
from .upsert import upsert

_POLL: Final = 0.05  # seconds
_ROWS: Final = 1_000  # in one statement
_BOOT_CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""That of Linux, or else that of macOS. `time.monotonic` stands still there while the machine sleeps."""


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


class Leases:
    """The leases that one open state has taken.

    A lease is a row of `tenants`. Its epoch counts the takings: a transaction for a tenant checks that it is still the
    one of its own taking. On PostgreSQL a lease expires, so that the work of a process that was killed can be taken
    over, and is renewed by its holder. A state that is a file has a lock for that, and its leases can always be taken.

    Args:
        place: The state, named in messages.
        owner: The name of the run in the messages that others get.
        clock: The clock of a state that is a file. PostgreSQL has its own.
        duration: The seconds after which a lease expires; `None`: the lock keeps others out.
    """

    def __init__(self, place: object, *, owner: str, clock: Clock, duration: float | None) -> None:
        self._place = place
        self._owner = owner
        self._clock = clock
        self.duration: Final = duration
        self.holder: Final = secrets.token_hex(8)
        """Marks the leases of this open state."""
        self.epochs: dict[str, int] = {}
        """The epoch of each lease that was taken, by tenant."""
        self.were_taken = False
        """Whether `take` was called. It is not known whether a cancelled transaction was committed."""

    async def take(self, connection: AsyncConnection, tenant_ids: Iterable[str]) -> dict[str, int]:
        """Take the leases of some tenants, and return their epochs. They count once the transaction is committed.

        Raises:
            StateBusyError: If another run has one of them.
        """
        self.were_taken = True
        epochs: dict[str, int] = {}
        wanted = sorted(tenant_ids)
        now = await database_time(connection, self._clock)
        rights = {"owner": self._owner, "holder": self.holder, "acquired_at": now}
        rights["expires_at"] = now + (self.duration or 0.0)
        is_free = None if self.duration is None else (tenants.c.expires_at <= now) | (tenants.c.holder == self.holder)
        statement = upsert(connection.dialect.name, tenants, rights | {"epoch": tenants.c.epoch + 1}, where=is_free)
        for first in range(0, len(wanted), _ROWS):
            some = wanted[first : first + _ROWS]
            rows = [rights | {"tenant_id": tenant_id, "epoch": 1, "number": 0} for tenant_id in some]
            await connection.execute(statement, rows)
            for row in await connection.execute(_LEASES, {"tenant_ids": some}):
                if row.holder != self.holder:
                    raise StateBusyError(f"{self._place}: tenant {row.tenant_id} is in use{_by(row)}")
                epochs[row.tenant_id] = row.epoch
        return epochs

    async def check(self, connection: AsyncConnection, epochs: Mapping[str, int]) -> None:
        """Raise if one of some leases is no longer the one of its epoch.

        Raises:
            FencedError: If another run has taken it.
        """
        wanted = sorted(epochs)
        for first in range(0, len(wanted), _ROWS):
            some = wanted[first : first + _ROWS]
            found = {row.tenant_id: row for row in await connection.execute(_CHECK, {"tenant_ids": some})}
            self._compare(epochs, some, found)

    async def change(self, connection: AsyncConnection, epochs: Mapping[str, int]) -> None:
        """Increment the counters of changes of some tenants, and raise as `check` does."""
        wanted = sorted(epochs)
        for first in range(0, len(wanted), _ROWS):
            some = wanted[first : first + _ROWS]
            changed = {row.tenant_id: row for row in await connection.execute(_CHANGE, {"tenant_ids": some})}
            self._compare(epochs, some, changed)

    async def renew(self, connection: AsyncConnection) -> None:
        """Let the leases expire later."""
        expires_at = await database_time(connection, self._clock) + (self.duration or 0.0)
        mine = update(tenants).where(tenants.c.holder == self.holder)
        await connection.execute(mine.values(expires_at=expires_at))

    async def release(self, connection: AsyncConnection, tenant_ids: Sequence[str] | None = None) -> None:
        """Let others take the leases of some tenants, or all of them."""
        mine = update(tenants).where(tenants.c.holder == self.holder)
        if tenant_ids is not None:
            mine = mine.where(tenants.c.tenant_id.in_(tenant_ids))
        await connection.execute(mine.values(holder="", expires_at=0.0))

    def _compare(self, epochs: Mapping[str, int], wanted: Iterable[str], found: Mapping[str, Any]) -> None:
        for tenant_id in wanted:
            row = found.get(tenant_id)
            if row is None or row.epoch != epochs[tenant_id]:
                raise self._fenced(tenant_id, row)

    def _fenced(self, tenant_id: str, row: Row[Any] | None) -> FencedError:
        if row is None:
            return FencedError(f"{self._place}: the lease of tenant {tenant_id} is missing")
        return FencedError(f"{self._place}: {row.owner} has taken over tenant {tenant_id}")


class DatabaseClock(Clock):
    """The time of PostgreSQL's server. Between two measurements, it goes by a clock that is never set.

    The clocks of several machines are never quite the same, and may be set in the middle of a run.
    """

    def __init__(self) -> None:
        self._offset = super().time() - _since_boot()

    def time(self) -> float:
        """Return the seconds since 1970 in UTC, by the clock of the server."""
        return _since_boot() + self._offset

    async def measure(self, connection: AsyncConnection) -> None:
        """Find out by how much the two clocks differ now."""
        before = _since_boot()
        theirs = await database_time(connection, self)
        self._offset = theirs - (before + _since_boot()) / 2


def _since_boot() -> float:
    """Return the seconds of a clock that is never set, and that counts while the machine sleeps as well."""
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


async def database_time(connection: AsyncConnection, clock: Clock) -> float:
    """Return the time by the clock of the server, or by `clock` if the state is a file; seconds since 1970 in UTC."""
    if connection.dialect.name != "postgresql":
        return clock.time()
    return float((await connection.execute(_NOW)).scalar_one())


def _by(row: Row[Any]) -> str:
    since = format_instant(datetime.fromtimestamp(row.acquired_at, UTC))
    return f" by {row.owner}, since {since}"


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl  # noqa: PLC0415 - POSIX only; the package can be imported on Windows
    except ImportError:
        raise StateError("a file cannot be locked on this platform: use a state in PostgreSQL") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy_message(state: Path) -> str:
    holder = read_last_owner(state)
    if holder is None:
        return f"{state}: another run is using it"
    since = format_instant(datetime.fromtimestamp(holder[1], UTC))
    return f"{state}: another run is using it; the last to open it was {holder[0]}, at {since}"


_LEASES: Final = select(tenants).where(tenants.c.tenant_id.in_(bindparam("tenant_ids", expanding=True)))
_CHECK: Final = _LEASES.with_for_update(read=True)
_CHANGE: Final = (
    update(tenants)
    .where(tenants.c.tenant_id.in_(bindparam("tenant_ids", expanding=True)))
    .values(number=tenants.c.number + 1)
    .returning(tenants.c.tenant_id, tenants.c.epoch, tenants.c.owner)
)
_NOW: Final = text("SELECT extract(epoch FROM clock_timestamp())::float8")
