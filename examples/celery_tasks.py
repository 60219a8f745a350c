"""Celery tasks on asyncio: each worker process has one event loop, whose connections last from task to task.

    export CELERY_BROKER_URL=amqp://127.0.0.1 CELERY_RESULT_BACKEND=redis://127.0.0.1
    celery --workdir examples --app celery_tasks worker --concurrency 2

The session is built before Celery forks: each child opens connections of its own. Use the pool `prefork` or `solo`,
since an event loop runs one task at a time.
"""

import asyncio
from typing import Any

from celery import Celery, Task
from celery.signals import worker_process_shutdown

from connector_async import (
    AppointmentService,
    ConnectFailedError,
    ConnectorSession,
    NewAppointment,
    RateLimit,
    ThrottledError,
)

PROCESSES = 2  # each has a rate limit of its own, and the API's 60 requests a minute are for all of them

app = Celery("celery_tasks")
app.conf.worker_concurrency = PROCESSES
session = ConnectorSession.from_env(rate_limit=RateLimit(limit=60 // PROCESSES))
runner = asyncio.Runner()  # makes its loop when the first task runs, which is after the fork


@worker_process_shutdown.connect
def close(**_: object) -> None:
    """Close what the process has opened."""
    runner.run(session.aclose())
    runner.close()


@app.task(bind=True, max_retries=5)
def book(self: "Task[Any, Any]", tenant_id: str, draft: dict[str, Any]) -> str:
    """Create an appointment, and return its id.

    A create that may have happened is not repeated: the task fails with `OutcomeUnknownError`.
    """
    appointments = AppointmentService(session.for_tenant(tenant_id))
    try:
        return runner.run(appointments.create(NewAppointment.from_dict(draft))).appointment_id
    except (ConnectFailedError, ThrottledError) as error:
        if error.sent:
            raise
        raise self.retry(exc=error, countdown=getattr(error, "retry_after", None) or 30) from None
