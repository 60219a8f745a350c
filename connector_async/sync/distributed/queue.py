"""`Queue`: what brings shares to the processes that work on them; and the start of a run by shares."""

import os
import socket
from collections.abc import Iterable
from typing import Protocol

from sqlalchemy import func, select

from connector_async._checks import check_int
from connector_async._clock import Clock
from connector_async.sync.bulk_sync import BulkSync
from connector_async.sync.formats import Source
from connector_async.sync.planning.options import Services, SyncOptions, SyncSettings
from connector_async.sync.planning.planner import CalendarPlanner, PlanningContext
from connector_async.sync.report import Fate, RunReport, TenantReport
from connector_async.sync.state import State
from connector_async.sync.state.db.retrying import repeatable
from connector_async.sync.state.failure_log import tenants_with_failures
from connector_async.sync.state.journal import Journal
from connector_async.sync.state.schema import intents
from connector_async.sync.state.shares import (
    ShareStatus,
    StoredShare,
    read_shared_report,
    record_queued,
    record_shares,
    unqueued_runs,
    waiting_tenants,
)

from .share import QUANTUM, Share, end_shared_run
from .stored_options import RunSettings


class Queue(Protocol):
    """Brings shares to the processes that work on them, each at least once. Duplicates are harmless."""

    async def put(self, share: Share) -> None:
        """Put a share into the queue, durably.

        Raises:
            Exception: If that is not sure. `requeue` puts the share once more.
        """
        ...


async def enqueue(
    source: Source,
    state_url: str,
    queue: Queue,
    services: Services,
    *,
    options: SyncOptions | None = None,
    settings: SyncSettings | None = None,
    quantum: int = QUANTUM,
    wait: float = 0.0,
    clock: Clock | None = None,
) -> RunReport:
    """Start a run by shares: stage a source in the state, check the guard, and put a share for each tenant with work.

    The leases of the tenants are held only so long. The run ends when no share is waiting any more. If another source
    is staged for a tenant before, the tenant's share is superseded, and what was left of it is `Fate.NOT_STARTED`.

    Args:
        source: The records that the server should have.
        state_url: The URL of the state. It is opened for this call alone.
        queue: Gets the shares.
        services: Returns the service of a calendar; see `BulkSync`. Nothing is sent.
        options: What to look at, who wins, and what may be deleted; neither two-way, nor with `rebind` or
            `on_conflict`.
        settings: How the run works, in each process.
        quantum: How many requests a share has at most before others get their turn.
        wait: Seconds to wait for tenants that others work on.
        clock: The clock for the times in the state; `None` for that of the state.

    Returns:
        The report of the run as it is before its first request; `read_shared_report` returns it later.

    Raises:
        ValueError: If an argument breaks its rule, or the options ask for what the wire format or such a run cannot do.
        SourceError: If the source cannot be read at all.
        GuardError: If more would be deleted than allowed.
        StateBusyError: If another run works on one of the tenants, and the wait is over.
        StateError: If the state cannot be used, or belongs to another server.
    """
    check_int("quantum", quantum)
    options, settings = options or SyncOptions(), settings or SyncSettings()
    if options.rules.on_conflict is not None:
        raise ValueError("on_conflict must be None in a run by shares: other processes cannot call it")
    owner = f"enqueue by process {os.getpid()} on {socket.gethostname()}"
    async with await State.open(state_url, owner=owner, clock=clock, wait=wait) as state:
        journal = Journal.for_new_run(state, state.clock)
        report = RunReport(run_id=journal.run_id)
        sync = BulkSync(state, services, settings)
        context = await sync.stage_source(source, options, journal, report)
        run = RunSettings(options=options, settings=settings, target=sync.target, expanded=context.expanded)
        stored = await _shares(state, context, report.tenants)
        await record_shares(
            state,
            journal.run_id,
            stored,
            options=run.as_json(),
            unreadable=report.unreadable,
            problems=report.problems,
        )
        await state.release()
        await _put(state, queue, journal.run_id, quantum)
        return await read_shared_report(state, journal.run_id) or report


async def requeue(state: State, queue: Queue, *, quantum: int = QUANTUM) -> int:
    """Put the shares of runs whose `enqueue` was killed before it had put all of them; return the number of runs.

    Raises:
        StateError: If the state cannot be used.
    """
    run_ids = await unqueued_runs(state)
    for run_id in run_ids:
        await _put(state, queue, run_id, quantum)
    return len(run_ids)


async def _put(state: State, queue: Queue, run_id: str, quantum: int) -> None:
    for tenant_id in await waiting_tenants(state, run_id):
        await queue.put(Share(run_id=run_id, tenant_id=tenant_id, quantum=quantum))
    await record_queued(state, run_id)
    await end_shared_run(state, run_id, state.clock)  # one without any work


async def _shares(state: State, context: PlanningContext, tenants: Iterable[str]) -> list[StoredShare]:
    """Return the shares of a run. Those of tenants without work are done."""
    pending, failed = await _pending_creates(state), await tenants_with_failures(state)
    withheld, ambiguous = set(context.withheld), set(context.ambiguous)
    shares = []
    for tenant_id in tenants:
        progress = await CalendarPlanner(tenant_id, context).progress()
        counts = {
            Fate.NOT_STARTED: progress.to_do,
            Fate.SKIPPED: progress.skipped,
            Fate.UNKNOWN: pending.get(tenant_id, 0),
        }
        if context.options.retry_run is not None:
            counts[Fate.NOT_STARTED] += counts.pop(Fate.SKIPPED)
        report = TenantReport(records=progress.records, in_sync=progress.in_sync)
        report.counts.update({fate: number for fate, number in counts.items() if number})
        has_work = progress.to_do or tenant_id in pending or tenant_id in failed
        shares.append(
            StoredShare(
                tenant_id=tenant_id,
                status=ShareStatus.WAITING if has_work else ShareStatus.DONE,
                withheld=tenant_id in withheld,
                ambiguous=tenant_id in ambiguous,
                idle=0,
                to_do=progress.to_do,
                report=report,
            )
        )
    return shares


@repeatable
async def _pending_creates(state: State) -> dict[str, int]:
    query = select(intents.c.tenant_id, func.count()).group_by(intents.c.tenant_id)
    async with state.reading() as connection:
        return {row[0]: row[1] for row in await connection.execute(query)}
