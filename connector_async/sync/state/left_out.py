"""The keys that no plan has an operation for although they are not in sync: given up, or pending."""

import enum
from collections.abc import AsyncGenerator
from typing import Any, Final

import attrs
from sqlalchemy import Select, Table, and_, exists, literal, or_, select
from sqlalchemy.sql.elements import ColumnElement

from connector_async.sync.records import ABSENT, Calendar

from .db.engine import State
from .db.retrying import repeatable
from .reader import READ_OPERATIONS
from .schema import KEY, dead_letters, desired, intents, items

_UNKNOWN_RESULT: Final = "a create with an unknown result; a run finds out"


class LeftOutKind(enum.Enum):
    """Why a key has no operation."""

    GIVEN_UP = "given_up"
    """It has a dead letter for what the source has now."""
    PENDING = "pending"
    """It has a pending create."""


@attrs.frozen(kw_only=True)
class LeftOut:
    """A key that is not in sync and has no operation."""

    kind: LeftOutKind
    calendar: Calendar
    key: str
    reason: str
    """Why it was given up, without personal data."""


async def read_left_out(state: State, *, with_conflicts: bool) -> AsyncGenerator[LeftOut, None]:
    """Yield the keys that a plan of the staged source leaves out, ordered by calendar and key, for its tenants.

    Args:
        state: The state that the plan was made with, and that has still leased its tenants.
        with_conflicts: Whether conflicts that were given up are included. A plan that looks at the server has an
            operation for each.

    Raises:
        StateError: If the state cannot be read.
    """
    order = [dead_letters.c[name] for name in KEY]
    given_up = select(*order, dead_letters.c.reason).where(
        dead_letters.c.operation.not_in((*READ_OPERATIONS, *(() if with_conflicts else ("conflict",)))),
        dead_letters.c.resolved_at.is_(None),
        state.is_leased(dead_letters.c.tenant_id),
        or_(
            exists().where(_has_key_of(desired), desired.c.content_hash == dead_letters.c.content_hash),
            and_(
                dead_letters.c.content_hash == ABSENT,
                exists().where(_has_key_of(items), items.c.deleted_at.is_(None)),
                ~exists().where(_has_key_of(desired)),
            ),
        ),
    )
    key_of_intent = [intents.c[name] for name in KEY]
    pending = select(*key_of_intent, literal(_UNKNOWN_RESULT)).where(state.is_leased(intents.c.tenant_id))
    for kind, query in (
        (LeftOutKind.GIVEN_UP, given_up.order_by(*order)),
        (LeftOutKind.PENDING, pending.order_by(*key_of_intent)),
    ):
        for *calendar, key, reason in await _rows(state, query):
            yield LeftOut(kind=kind, calendar=Calendar(*calendar), key=key, reason=reason)


@repeatable
async def _rows(state: State, query: Select[Any]) -> list[tuple[Any, ...]]:
    async with state.reading() as connection:
        return [tuple(row) for row in await connection.execute(query)]


def _has_key_of(table: Table) -> ColumnElement[bool]:
    return and_(*(table.c[name] == dead_letters.c[name] for name in KEY))
