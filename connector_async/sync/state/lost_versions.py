"""The archive of the versions that lost a conflict. They are written before they are overwritten.

The last `KEPT` versions of each key are kept. They are personal data.
"""

from collections.abc import Sequence
from typing import Final, Literal

import attrs
from sqlalchemy import delete, insert, select

from connector_async.sync.records import Calendar

from .db.engine import Transaction
from .reader import in_calendar
from .schema import archived

KEPT: Final = 10
"""How many versions of one key are kept, of both sides together."""


@attrs.frozen(kw_only=True)
class LostVersion:
    """The version of one side that is overwritten with that of the other."""

    calendar: Calendar
    key: str
    side: Literal["source", "server"]
    content_hash: str
    """The hash of its content, or `ABSENT`."""
    body: bytes | None = attrs.field(repr=False)
    """The record or the appointment as JSON; `None`: that side had deleted it."""


async def write_lost_versions(
    transaction: Transaction, versions: Sequence[LostVersion], *, run_id: str, at: float
) -> None:
    """Archive some versions, and forget the oldest ones of their keys.

    A version that is archived already, as after a crash, is archived once, as of now.

    Args:
        transaction: The transaction to write in.
        versions: The versions.
        run_id: The run.
        at: The time, in seconds since 1970 in UTC.
    """
    connection = transaction.connection
    for version in versions:
        of_key = in_calendar(archived, version.calendar) & (archived.c.key == version.key)
        same = (archived.c.side == version.side) & (archived.c.content_hash == version.content_hash)
        await connection.execute(delete(archived).where(of_key, same))
        row = attrs.asdict(version.calendar) | {"key": version.key, "side": version.side, "body": version.body}
        row |= {"content_hash": version.content_hash, "run_id": run_id, "at": at}
        await connection.execute(insert(archived).values(row))
        newest = select(archived.c.archived_id).where(of_key).order_by(archived.c.archived_id.desc())
        oldest = (await connection.execute(newest.offset(KEPT))).scalars().all()
        if oldest:
            await connection.execute(delete(archived).where(archived.c.archived_id.in_(oldest)))
