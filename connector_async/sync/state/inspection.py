"""What a state tells when nobody works with it: runs, dead letters, open creates, and the story of one key."""

from collections.abc import AsyncGenerator
from typing import Any

from sqlalchemy import RowMapping, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from . import State
from .schema import dead_letters, desired, intents, items, pulled, runs


async def read_status(state: State, *, limit: int = 10) -> dict[str, Any]:
    """Return how many of what there are, and the latest runs, the latest first, as JSON can say it.

    Args:
        state: May be opened to look only, while a run works with it.
        limit: How many runs.

    Raises:
        StateError: The state cannot be read.
    """
    async with state.reading() as connection:
        latest = select(runs).order_by(runs.c.started_at.desc()).limit(limit)
        return {
            "items": await _count(connection, items, items.c.deleted_at.is_(None)),
            "deleted": await _count(connection, items, items.c.deleted_at.is_not(None)),
            "open_creates": await _count(connection, intents),
            "dead_letters": await _count(connection, dead_letters),
            "not_in_the_file_yet": await _count(connection, pulled),
            "runs": [_plain(row) for row in (await connection.execute(latest)).mappings()],
        }


async def read_dead_letters(state: State, run_id: str | None = None) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the dead letters of a run, or of all, the oldest first, as JSON can say them; no personal data.

    Raises:
        StateError: The state cannot be read.
    """
    query = select(dead_letters).order_by(dead_letters.c.dead_letter_id)
    if run_id is not None:
        query = query.where(dead_letters.c.run_id == run_id)
    async with state.reading() as connection:
        for row in (await connection.execute(query)).mappings():
            yield _plain(row)


async def explain_key(state: State, key: str) -> list[dict[str, Any]]:
    """Return all that is known of a key, in whatever calendar, as JSON can say it; no personal data.

    Each has `what`: `in step`, `deleted`, `in the source`, `open create`, `taken over` or `dead letter`.

    Raises:
        StateError: The state cannot be read.
    """
    story: list[dict[str, Any]] = []
    async with state.reading() as connection:
        for table, what in (
            (items, "in step"),
            (desired, "in the source"),
            (intents, "open create"),
            (pulled, "taken over"),
            (dead_letters, "dead letter"),
        ):
            columns = [column for column in table.c if column.name != "body"]
            rows = (await connection.execute(select(*columns).where(table.c.key == key))).mappings()
            story += [{"what": "deleted" if row.get("deleted_at") else what} | _plain(row) for row in rows]
    return story


def _plain(row: RowMapping) -> dict[str, Any]:
    # The names of columns are of a subclass of str, which orjson takes for no key.
    return {str(name): value for name, value in row.items()}


async def _count(connection: AsyncConnection, table: Any, *conditions: Any) -> int:
    query = select(func.count()).select_from(table).where(*conditions)
    return int((await connection.execute(query)).scalar_one())
