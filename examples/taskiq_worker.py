"""A taskiq worker with one session, and a program that asks it to move an appointment and waits for the result.

    export REDIS_URL=redis://127.0.0.1:6379
    taskiq worker --workers 1 --app-dir examples taskiq_worker:broker
    python examples/taskiq_worker.py acme 7d5f2a 2024-01-15T10:00:00Z 2024-01-15T10:30:00Z

The broker delivers a task again if its worker dies, so a task must be one that may run twice, as an update may. Each
worker process has a rate limit of its own: with two of them, halve the limit (`RateLimit(limit=30)`).
"""

import asyncio
import os
import sys
from datetime import datetime
from typing import Any

from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from connector_async import AppointmentService, ConnectorSession

REDIS_URL = os.environ["REDIS_URL"]
results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(REDIS_URL, result_ex_time=3600)
broker = RedisStreamBroker(REDIS_URL).with_result_backend(results)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_session(state: TaskiqState) -> None:
    """Open the session of the worker process."""
    state.session = ConnectorSession.from_env()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_session(state: TaskiqState) -> None:
    """Close it after the last task."""
    await state.session.aclose()


@broker.task(task_name="move")  # the name would be another one where this file is the program
async def move(tenant_id: str, appointment_id: str, start_time: datetime, end_time: datetime) -> None:
    """Move an appointment."""
    session: ConnectorSession = broker.state.session
    appointments = AppointmentService(session.for_tenant(tenant_id))
    await appointments.update(appointment_id, start_time=start_time, end_time=end_time)


async def main(tenant_id: str, appointment_id: str, start: str, end: str) -> None:
    """Ask for the move, and print what became of it."""
    await broker.startup()
    try:
        task = await move.kiq(tenant_id, appointment_id, datetime.fromisoformat(start), datetime.fromisoformat(end))
        result = await task.wait_result(timeout=60)
        print(repr(result.error) if result.is_err else "moved")
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
