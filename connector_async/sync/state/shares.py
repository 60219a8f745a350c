"""The runs whose tenants are worked on by several processes: what each tenant still has to do, and what became of it.

A share is waiting until its tenant is done, until it fails permanently, or until another source is staged for the
tenant, which supersedes it: the records that it was to work on are no longer in the state.
"""

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
from sqlalchemy import Row, and_, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from connector_async.sync.exceptions import StateDamagedError
from connector_async.sync.failures import Failure
from connector_async.sync.records import ABSENT, Calendar
from connector_async.sync.report import Fate, RunReport, Stopped, TenantReport

from .db.engine import State, Transaction
from .db.errors import DAMAGED_VALUE, value_errors
from .db.lease import database_time
from .db.retrying import repeatable
from .failure_log import write_failure
from .reader import REPLACED_PREFIX, parse_hashes
from .schema import STATE, dead_letters, failures, items, runs, shared_runs, shares, tenants
from .stored_report import report_from_stored, stored_report

_ROWS_PER_WRITE: Final = 500


class ShareStatus(enum.Enum):
    """How far a share is."""

    WAITING = "waiting"
    """Something is left to do."""
    DONE = "done"
    """Nothing is left to do in this run."""
    SUPERSEDED = "superseded"
    """Another source was staged for the tenant before it was done."""
    FAILED = "failed"
    """An error ended the work before the tenant was done."""


@attrs.frozen(kw_only=True)
class StoredShare:
    """The share of one tenant in a run."""

    tenant_id: str
    status: ShareStatus
    withheld: bool
    """Whether the tenant keeps every appointment, since one of its records could not be read."""
    ambiguous: bool
    """Whether a record that cannot be read may be of an appointment that the state does not know."""
    idle: int
    """How many of the last slices of work had no result."""
    to_do: int
    """How many keys were out of sync at the start."""
    report: TenantReport
    """What became of the tenant so far. Before the work, all keys that are out of sync are not started."""


@attrs.frozen(kw_only=True)
class SharedProgress:
    """How far a run is."""

    run_id: str
    started_at: float
    """Seconds since 1970 in UTC."""
    tenants: int
    """How many tenants have a share."""
    waiting: int
    """How many of them are not done."""
    superseded: int
    """How many of them lost their records to another source before they were done."""
    failed: int
    """How many of them an error ended before they were done."""
    to_do: int
    """How many keys were out of sync at the start."""
    settled: int
    """How many keys are in sync or given up since."""
    workers: int
    """How many processes hold the lease of a tenant now."""


async def supersede(transaction: Transaction, of_tenants: ColumnElement[bool]) -> None:
    """Record that the waiting shares of some tenants have lost their records to another source."""
    lost = update(shares).where(of_tenants, shares.c.status == ShareStatus.WAITING.value)
    await transaction.connection.execute(lost.values(status=ShareStatus.SUPERSEDED.value))


async def record_shares(
    state: State,
    run_id: str,
    stored: Sequence[StoredShare],
    *,
    options: Mapping[str, Any],
    unreadable: int,
    problems: Sequence[str],
) -> None:
    """Record a run with its shares. The state must have the leases of their tenants.

    Args:
        state: The state.
        run_id: The run.
        stored: The shares.
        options: JSON values with all that a process needs to know of the run.
        unreadable: How many records could not be read.
        problems: The first of these records.
    """
    run = {"run_id": run_id, "options": {**options, "problems": problems}, "unreadable": unreadable, "is_queued": 0}

    @repeatable
    async def write_run() -> None:
        async with state.writing() as transaction:
            await transaction.upsert(shared_runs, [run])

    @repeatable
    async def write(some: Sequence[StoredShare]) -> None:
        async with state.writing(*(share.tenant_id for share in some)) as transaction:
            await transaction.upsert(shares, [_row(run_id, share) for share in some])

    for first in range(0, len(stored), _ROWS_PER_WRITE):
        await write(stored[first : first + _ROWS_PER_WRITE])
    await write_run()  # last: a run without all of its shares is not a shared run


@repeatable
async def record_queued(state: State, run_id: str) -> None:
    """Record that each share of a run was put into the queue."""
    async with state.writing() as transaction:
        await transaction.connection.execute(
            update(shared_runs).where(shared_runs.c.run_id == run_id).values(is_queued=1)
        )


@repeatable
async def unqueued_runs(state: State) -> list[str]:
    """Return the runs whose shares were perhaps not all put into the queue."""
    query = select(shared_runs.c.run_id).where(shared_runs.c.is_queued == 0).order_by(shared_runs.c.run_id)
    async with state.reading() as connection:
        return list((await connection.execute(query)).scalars())


@repeatable
async def waiting_tenants(state: State, run_id: str) -> list[str]:
    """Return the tenants of a run with a waiting share."""
    query = select(shares.c.tenant_id).where(shares.c.run_id == run_id, _IS_WAITING).order_by(shares.c.tenant_id)
    async with state.reading() as connection:
        return list((await connection.execute(query)).scalars())


@repeatable
async def waiting_shares(state: State) -> list[tuple[str, str]]:
    """Return the runs and the tenants of all waiting shares."""
    query = select(shares.c.run_id, shares.c.tenant_id).join(shared_runs, shared_runs.c.run_id == shares.c.run_id)
    async with state.reading() as connection:
        rows = await connection.execute(query.where(_IS_WAITING).order_by(shares.c.run_id, shares.c.tenant_id))
        return [(row.run_id, row.tenant_id) for row in rows]


@repeatable
async def has_share(state: State, run_id: str, tenant_id: str) -> bool:
    """Return whether the state has a share of a tenant in a run."""
    query = (
        select(shares.c.status)
        .join(shared_runs, shared_runs.c.run_id == shares.c.run_id)
        .where(shares.c.run_id == run_id, shares.c.tenant_id == tenant_id)
    )
    async with state.reading() as connection:
        return (await connection.execute(query)).first() is not None


@repeatable
async def read_shared_options(state: State, run_id: str) -> Any:
    """Return the options of a run as they were recorded; `None` if the state has no such run."""
    query = select(shared_runs.c.options).where(shared_runs.c.run_id == run_id)
    async with state.reading() as connection:
        with value_errors(state.location):
            return (await connection.execute(query)).scalar_one_or_none()


class _NotWaitingError(Exception):
    """Ends the transaction that would take a lease for nothing."""


async def lease_share(
    state: State, run_id: str, tenant_id: str, *, replace_damaged: bool = False
) -> StoredShare | None:
    """Take the lease of a tenant, and return its share in a run; `None`, without the lease, if it is not waiting.

    Args:
        state: The state.
        run_id: The run.
        tenant_id: The tenant.
        replace_damaged: Whether a share that cannot be read is returned without what became of it so far.

    Raises:
        StateBusyError: If another run works on the tenant.
        StateDamagedError: If the share cannot be read. The lease was not taken.
    """
    query = select(shares).where(shares.c.run_id == run_id, shares.c.tenant_id == tenant_id, _IS_WAITING)
    found: StoredShare | None = None

    async def read(transaction: Transaction) -> None:
        nonlocal found
        try:
            with value_errors(state.location):
                row = (await transaction.connection.execute(query)).first()
                found = None if row is None else _share(row)
        except StateDamagedError:
            if not replace_damaged:
                raise
            found = _unreadable_share(tenant_id)
        if found is None:
            raise _NotWaitingError

    try:
        await state.lease([tenant_id], read)
    except _NotWaitingError:
        return None
    return found


async def write_share(state: State, run_id: str, share: StoredShare, failure: Failure | None = None) -> None:
    """Record how far a share is, perhaps with a failure of its whole tenant, and release the lease of the tenant.

    Raises:
        FencedError: If another run has taken over the tenant. Nothing was written.
    """
    row, at = _row(run_id, share), state.clock.time()

    async def write(transaction: Transaction) -> None:
        await transaction.upsert(shares, [row])
        if failure is not None:
            await write_failure(transaction, Calendar(share.tenant_id), failure, run_id=run_id, at=at)
        await transaction.release(share.tenant_id)

    await state.write(write)


@repeatable
async def read_shared_report(state: State, run_id: str) -> RunReport | None:
    """Return the report of a run by shares as it is now; `None` if the state has no such run.

    A tenant that is not done yet has what its last slice of work has reported. Before that, all of its keys that are
    out of sync are `Fate.NOT_STARTED`. The report of a tenant that cannot be read is empty, with `Stopped.ERROR`.

    Raises:
        StateError: If the state cannot be read.
    """
    async with state.reading() as connection:
        with value_errors(state.location):
            run = (await connection.execute(select(shared_runs).where(shared_runs.c.run_id == run_id))).first()
            if run is None:
                return None
            report = RunReport(run_id=run_id, unreadable=run.unreadable, problems=list(run.options["problems"]))
            query = select(shares.c.tenant_id, shares.c.report).where(shares.c.run_id == run_id)
            rows = (await connection.execute(query.order_by(shares.c.tenant_id))).all()
    for row in rows:
        try:
            report.tenants[row.tenant_id] = report_from_stored(row.report)
        except DAMAGED_VALUE:
            report.tenants[row.tenant_id] = TenantReport(stopped=Stopped.ERROR)
    return report


@repeatable
async def ending_of(state: State, run_id: str) -> tuple[str, float] | None:
    """Return the status that a run ends with, and when it started, if none of its shares is waiting any more.

    `None`: something is left to do, or the end is recorded already.
    """
    unfinished = select(shares.c.tenant_id).where(shares.c.run_id == run_id, _IS_WAITING).limit(1)
    unusual = [ShareStatus.FAILED.value, ShareStatus.SUPERSEDED.value]
    statuses = select(shares.c.status).where(shares.c.run_id == run_id, shares.c.status.in_(unusual)).distinct()
    running = select(runs.c.started_at).where(runs.c.run_id == run_id, runs.c.status == "running")
    async with state.reading() as connection:
        started_at = (await connection.execute(running)).scalar_one_or_none()
        if started_at is None or (await connection.execute(unfinished)).first() is not None:
            return None
        found = set((await connection.execute(statuses)).scalars())
    return next((status for status in unusual if status in found), "ended"), started_at


@repeatable
async def read_progress(state: State, run_id: str | None = None) -> SharedProgress | None:
    """Return how far a run by shares is, or the latest one; `None` if the state has no such run.

    Raises:
        StateError: If the state cannot be read.
    """
    run = select(runs.c.run_id, runs.c.started_at).join(shared_runs, shared_runs.c.run_id == runs.c.run_id)
    run = run.order_by(runs.c.started_at.desc()).limit(1)
    if run_id is not None:
        run = run.where(runs.c.run_id == run_id)
    holders = select(func.count(tenants.c.holder.distinct()))
    holders = holders.where(tenants.c.holder != "", tenants.c.tenant_id != STATE)
    async with state.reading() as connection:
        if (row := (await connection.execute(run)).first()) is None:
            return None
        by_status = select(shares.c.status, func.count(), func.sum(shares.c.to_do)).where(shares.c.run_id == row.run_id)
        found = {each[0]: each for each in map(tuple, await connection.execute(by_status.group_by(shares.c.status)))}
        of_run = [
            select(func.count()).select_from(table).where(table.c.run_id == row.run_id, *conditions)
            for table, conditions in (
                (items, [~items.c.key.startswith(REPLACED_PREFIX, autoescape=True)]),
                (dead_letters, [_IS_GIVEN_UP]),
            )
        ]
        settled = sum([(await connection.execute(query)).scalar_one() for query in of_run])
        now = await database_time(connection, state.clock)
        workers = (await connection.execute(holders.where(tenants.c.expires_at > now))).scalar_one()
    counts = {status: int(found[status.value][1]) if status.value in found else 0 for status in ShareStatus}
    return SharedProgress(
        run_id=row.run_id,
        started_at=row.started_at,
        tenants=sum(counts.values()),
        waiting=counts[ShareStatus.WAITING],
        superseded=counts[ShareStatus.SUPERSEDED],
        failed=counts[ShareStatus.FAILED],
        to_do=sum(int(each[2]) for each in found.values()),
        settled=settled,
        workers=workers,
    )


@attrs.frozen(kw_only=True)
class FailedShare:
    """Why the share of a tenant in a run has failed."""

    run_id: str
    tenant_id: str
    error: str
    """The class name of the error."""
    reason: str
    """The message of the error, without personal data."""


@repeatable
async def read_failed_shares(state: State, run_id: str | None = None) -> list[FailedShare]:
    """Return the shares that have failed, of a run or of all, and why. A tenant that was done since has no failure.

    Raises:
        StateError: If the state cannot be read.
    """
    of_tenant = and_(
        failures.c.run_id == shares.c.run_id,
        failures.c.tenant_id == shares.c.tenant_id,
        *(failures.c[name] == "" for name in ("domain_id", "ad_id", "key")),
    )
    query = select(shares.c.run_id, shares.c.tenant_id, failures.c.error, failures.c.reason)
    query = query.join(failures, of_tenant).where(shares.c.status == ShareStatus.FAILED.value)
    if run_id is not None:
        query = query.where(shares.c.run_id == run_id)
    async with state.reading() as connection:
        rows = await connection.execute(query.order_by(shares.c.run_id, shares.c.tenant_id))
        return [FailedShare(**row) for row in rows.mappings()]


@repeatable
async def count_settled(state: State, run_id: str, tenant_id: str) -> Counter[Fate]:
    """Return how many keys of a tenant a run has settled, as the state shows it, also if their worker was killed.

    An update of an appointment that was created within the hour counts as a create, since the state cannot tell them
    apart.
    """
    settled = select(items.c.deleted_at, items.c.written_at, items.c.replaced_hashes, runs.c.started_at)
    settled = settled.join(runs, runs.c.run_id == items.c.run_id).where(
        items.c.run_id == run_id,
        items.c.tenant_id == tenant_id,
        ~items.c.key.startswith(REPLACED_PREFIX, autoescape=True),
    )
    given_up = select(dead_letters.c.operation, func.count()).where(
        dead_letters.c.run_id == run_id, dead_letters.c.tenant_id == tenant_id, _IS_GIVEN_UP
    )
    counts: Counter[Fate] = Counter()
    async with state.reading() as connection:
        with value_errors(state.location):
            for row in await connection.execute(settled):
                counts[_fate(row)] += 1
        for operation, number in map(tuple, await connection.execute(given_up.group_by(dead_letters.c.operation))):
            counts[Fate.CONFLICT if operation == "conflict" else Fate.REFUSED] += number
    return counts


def _fate(row: Any) -> Fate:
    if row.deleted_at is not None:
        return Fate.DELETED
    if row.written_at is None or row.written_at < row.started_at:
        return Fate.UNCHANGED
    return Fate.CREATED if ABSENT in parse_hashes(row.replaced_hashes) else Fate.UPDATED


def _row(run_id: str, share: StoredShare) -> dict[str, Any]:
    return attrs.asdict(share, recurse=False) | {
        "run_id": run_id,
        "status": share.status.value,
        "withheld": int(share.withheld),
        "ambiguous": int(share.ambiguous),
        "report": stored_report(share.report),
    }


def _share(row: Row[Any]) -> StoredShare:
    """Return the share of a row; raises one of `DAMAGED_VALUE` if it is damaged."""
    return StoredShare(
        tenant_id=row.tenant_id,
        status=ShareStatus(row.status),
        withheld=bool(row.withheld),
        ambiguous=bool(row.ambiguous),
        idle=row.idle,
        to_do=row.to_do,
        report=report_from_stored(row.report),
    )


def _unreadable_share(tenant_id: str) -> StoredShare:
    return StoredShare(
        tenant_id=tenant_id,
        status=ShareStatus.WAITING,
        withheld=True,
        ambiguous=True,
        idle=0,
        to_do=0,
        report=TenantReport(),
    )


_IS_WAITING: Final = shares.c.status == ShareStatus.WAITING.value
_IS_GIVEN_UP: Final = and_(dead_letters.c.operation != "read", dead_letters.c.resolved_at.is_(None))
