"""The identity of a state: its id, and the one server that it belongs to, its target.

What a state knows holds for its target alone. With another one, unchanged records would not be sent, and ids would name
other appointments.
"""

from typing import Final, Self

import attrs
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from yarl import URL

from connector_async.session import ConnectorSession
from connector_async.sync.exceptions import TargetMismatchError
from connector_async.sync.records import Calendar

from .db.engine import State, Transaction
from .db.retrying import repeatable
from .schema import CALENDAR, cells, dead_letters, desired, failures, intents, items, pulled, serial, target

_OF_ONE_TARGET: Final = (items, intents, cells, pulled, failures)
"""The tables with rows that mean nothing to another server."""


def _normalized(base_url: str) -> str:
    try:
        url = URL(base_url)
        return str(url.with_user(None)).rstrip("/") if url.absolute else ""
    except ValueError:
        return ""


@attrs.frozen
class Target:
    """A server, and the wire format that it is talked to in. The string of it is safe in messages."""

    base_url: str = attrs.field(converter=_normalized)
    """Normalized: the host in lower case, and no default port, trailing slash or user information."""
    wire_format: str
    """The value of a `WireFormat`."""

    @classmethod
    def of(cls, session: ConnectorSession) -> Self:
        """Return the target of a session."""
        return cls(session.base_url, session.wire_format.value)

    def __str__(self) -> str:
        return f"{self.base_url} ({self.wire_format} format)"


@attrs.frozen
class Identity:
    """Which state it is, and to which server it belongs."""

    state_id: str
    """Copies of a state share it."""
    target: Target | None
    """`None` before the first run."""


@repeatable
async def read_identity(state: State) -> Identity:
    """Return the id and the target of a state.

    Raises:
        StateError: If the state cannot be read.
    """
    async with state.reading() as connection:
        return await _read(connection)


@repeatable
async def first_calendar(state: State, *, has_user: bool) -> Calendar | None:
    """Return any calendar of the source or of the state, with a user or without one; `None` if there is none."""
    async with state.reading() as connection:
        for table in (desired, items, intents):
            names = [table.c[name] for name in CALENDAR]
            query = select(*names).where((table.c.ad_id != "") == has_user).limit(1)
            if (row := (await connection.execute(query)).first()) is not None:
                return Calendar(*row)
    return None


@repeatable
async def bind(state: State, to: Target, *, now: float, rebind: bool = False) -> None:
    """Let a state belong to a target from now on, unless it belongs to another one.

    A state that knows no appointment belongs to no server yet. With another target, everything that was known is
    forgotten, except for the runs and the dead letters, which are resolved: they say nothing about that server.

    Args:
        state: The state.
        to: The target.
        now: Seconds since 1970, for what is resolved.
        rebind: Whether a state of another target is taken over.

    Raises:
        TargetMismatchError: If the state belongs to another target. Nothing was written.
        StateError: If the state cannot be written.
    """
    if (await read_identity(state)).target == to:
        return
    async with state.writing() as transaction:
        before = (await _read(transaction.connection, is_locked=True)).target
        if before is not None and not rebind and await _knows_appointments(transaction.connection):
            raise mismatch(state, before, to)
        if before is not None:
            await _forget(transaction, now)
        await transaction.connection.execute(update(target).values(attrs.asdict(to)))


def mismatch(state: State, ours: Target, other: object) -> TargetMismatchError:
    """Return the error for a state that belongs to a target, and is used with another one."""
    return TargetMismatchError(
        f"{state.location} belongs to {ours}, not to {other}: use another state, or let this one forget what it knows "
        "(rebind)"
    )


async def _read(connection: AsyncConnection, *, is_locked: bool = False) -> Identity:
    query = select(target).with_for_update() if is_locked else select(target)
    row = (await connection.execute(query)).one()
    if row.base_url is None:
        return Identity(row.state_id, None)
    return Identity(row.state_id, Target(row.base_url, row.wire_format or ""))


async def _knows_appointments(connection: AsyncConnection) -> bool:
    for table in (items, intents):
        if (await connection.execute(select(table.c.key).limit(1))).first() is not None:
            return True
    return False


async def _forget(transaction: Transaction, now: float) -> None:
    for table in _OF_ONE_TARGET:
        await transaction.connection.execute(delete(table))
    resolved = update(dead_letters).where(dead_letters.c.resolved_at.is_(None)).values(resolved_at=now)
    await transaction.connection.execute(resolved)
    await transaction.connection.execute(update(serial).values(number=serial.c.number + 1))
