"""One sync as a mapped task of Airflow: a task reads the file into the state, and then one works on each tenant.

    export CONNECTOR_STATE=postgresql://sync@database/visits AIRFLOW__CORE__DAGS_FOLDER=$PWD/examples
    airflow dags test airflow_shares

All tasks keep the API's limit of each tenant together, in the database of the state. A task that fails is retried by
Airflow, and finds out what happened. With more than 1,024 tenants, raise Airflow's `max_map_length`.
"""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow.sdk import DAG, task

from connector_async import AppointmentService, ConnectorSession
from connector_async.rate_limit import PostgresRateLimitStore
from connector_async.sync import Calendar, file_source
from connector_async.sync.distributed import Share, enqueue, work_share

STATE: Final = os.environ["CONNECTOR_STATE"]
FILE: Final = os.environ.get("SOURCE", "visits.csv")
WAIT: Final = 60.0  # seconds that a task waits for a tenant that another one works on


class ShareList:
    """A queue for `enqueue`: Airflow takes the shares from it, and makes a task of each."""

    def __init__(self) -> None:
        self.shares: list[dict[str, Any]] = []

    async def put(self, share: Share) -> None:
        """Add a share."""
        self.shares.append(share.as_json())


async def _read() -> list[dict[str, Any]]:
    queue = ShareList()
    async with ConnectorSession.from_env() as session:
        await enqueue(file_source(FILE), STATE, queue, lambda calendar: _service(session, calendar), wait=WAIT)
    return queue.shares


async def _work(share: Share) -> None:
    async with PostgresRateLimitStore(STATE) as store, ConnectorSession.from_env(rate_limit_store=store) as session:
        while await work_share(STATE, share, lambda calendar: _service(session, calendar), wait=WAIT):
            pass


def _service(session: ConnectorSession, calendar: Calendar) -> AppointmentService:
    return AppointmentService(session.for_tenant(calendar.tenant_id), user=calendar.user)


def read() -> list[dict[str, Any]]:
    """Start a run of the file, and return the shares of its tenants. Nothing is sent to the API."""
    return asyncio.run(_read())


def work(share: dict[str, Any]) -> None:
    """Send what a share has to send. It is harmless to run it twice."""
    asyncio.run(_work(Share.from_json(share)))


with DAG(
    "airflow_shares",
    schedule="0 * * * *",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 20, "retry_delay": timedelta(minutes=1)},
):
    task(max_active_tis_per_dagrun=32)(work).expand(share=task(read)())
