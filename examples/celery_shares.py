"""One sync on all workers of Celery: a task works on one tenant's share of a run, and is delivered until it is done.

    export CELERY_BROKER_URL=amqp://127.0.0.1 CONNECTOR_STATE=postgresql://sync@database/visits
    celery --workdir examples --app celery_shares worker --concurrency 2
    python examples/celery_shares.py visits.csv

The workers keep the API's limit of each tenant together, in the database of the state. A worker that is killed loses
nothing: Celery delivers its task again (`acks_late`), and the next worker finds out what happened.
"""

import asyncio
import os
import sys
from typing import Any, Final

from celery import Celery, Task
from celery.signals import worker_process_shutdown

from connector_async import AppointmentService, ConnectorSession
from connector_async.rate_limit import PostgresRateLimitStore
from connector_async.sync import Calendar, StateError, file_source
from connector_async.sync.distributed import Share, enqueue, work_share

STATE: Final = os.environ["CONNECTOR_STATE"]
PAUSE: Final = float(os.environ.get("PAUSE", "5"))  # seconds until a share is delivered again

app = Celery("celery_shares")
store = PostgresRateLimitStore(STATE)
session = ConnectorSession.from_env(rate_limit_store=store)
runner = asyncio.Runner()  # makes its loop when the first task runs, which is after the fork


@worker_process_shutdown.connect
def close(**_: object) -> None:
    """Close what the process has opened."""
    runner.run(session.aclose())
    runner.run(store.aclose())
    runner.close()


def service(calendar: Calendar) -> AppointmentService:
    """Return the service of a calendar."""
    return AppointmentService(session.for_tenant(calendar.tenant_id), user=calendar.user)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=None)
def work(self: "Task[Any, Any]", share: dict[str, Any]) -> None:
    """Send what is left of a share. It is harmless if it is delivered twice."""
    try:
        has_more = runner.run(work_share(STATE, Share.from_json(share), service))
    except StateError as error:  # the database restarts
        raise self.retry(exc=error, countdown=PAUSE) from None
    if has_more:
        raise self.retry(countdown=PAUSE)


class CeleryQueue:
    """Puts shares into the queue of Celery."""

    async def put(self, share: Share) -> None:
        """Put a share."""
        await asyncio.to_thread(work.delay, share.as_json())


async def main(path: str) -> None:
    """Start a run of a file: its tenants with work become tasks. Nothing is sent to the API."""
    report = await enqueue(file_source(path), STATE, CeleryQueue(), service)
    print(report.run_id, {fate.value: number for fate, number in report.counts.items()}, *report.problems)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
