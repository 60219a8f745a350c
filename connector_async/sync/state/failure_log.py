"""The latest failure of each key, calendar and tenant in the state, and the distinct reasons of a run."""

from collections.abc import Sequence
from typing import Any, Final

import attrs
from sqlalchemy import and_, bindparam, delete, func, select, union_all

from connector_async.sync.failures import Failure
from connector_async.sync.records import Calendar
from connector_async.sync.report import Reason

from .db.engine import State, Transaction
from .db.retrying import repeatable
from .schema import KEY, dead_letters, failures

_DELETE: Final = delete(failures).where(and_(*(failures.c[name] == bindparam(f"at_{name}") for name in KEY)))


async def write_failure(
    transaction: Transaction, calendar: Calendar, failure: Failure, *, run_id: str, at: float
) -> None:
    """Record a failure in place of the one before it."""
    row = attrs.asdict(failure) | attrs.asdict(calendar) | {"run_id": run_id, "at": at}
    await transaction.upsert(failures, [row])


async def delete_failures(transaction: Transaction, parameters: Sequence[dict[str, Any]]) -> None:
    """Remove the failures of keys, each given by its columns with the prefix `at_`."""
    if parameters:
        await transaction.connection.execute(_DELETE, list(parameters))


async def delete_other_failures(transaction: Transaction, tenant_id: str, run_id: str) -> None:
    """Remove the failures of a tenant that are not of a run."""
    others = delete(failures).where(failures.c.tenant_id == tenant_id, failures.c.run_id != run_id)
    await transaction.connection.execute(others)


@repeatable
async def tenants_with_failures(state: State, tenant_id: str | None = None) -> frozenset[str]:
    """Return the tenants with a failure: all of them, or a given one if it has one."""
    query = select(failures.c.tenant_id).distinct()
    if tenant_id is not None:
        query = query.where(failures.c.tenant_id == tenant_id)
    async with state.reading() as connection:
        return frozenset((await connection.execute(query)).scalars())


@repeatable
async def read_reasons(state: State, tenant_id: str, run_id: str, *, limit: int) -> list[Reason]:
    """Return the distinct reasons for the failures and the new dead letters of a tenant in a run, most frequent first.

    The dead letters of unreadable records are left out.
    """
    columns = ("error", "status", "reason")
    failed = select(*(failures.c[name] for name in columns))
    failed = failed.where(failures.c.tenant_id == tenant_id, failures.c.run_id == run_id)
    given_up = select(*(dead_letters.c[name] for name in columns)).where(
        dead_letters.c.tenant_id == tenant_id,
        dead_letters.c.run_id == run_id,
        dead_letters.c.operation != "read",
        dead_letters.c.resolved_at.is_(None),
    )
    both = union_all(failed, given_up).subquery()
    names = [both.c[name] for name in columns]
    count = func.count().label("count")
    query = select(*names, count).group_by(*names).order_by(count.desc(), both.c.reason).limit(limit)
    async with state.reading() as connection:
        return [Reason(**row) for row in (await connection.execute(query)).mappings()]
