"""A worker that runs for months: each minute it reminds of the appointments that start soon, once of each.

    TENANTS=acme,globex python examples/reminder_worker.py

A tenant whose calls fail is left for the next round, and the others are served. SIGTERM and SIGINT end it after the
round in progress.
"""

import asyncio
import logging
import os
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from connector_async import AppointmentService, ConnectorError, ConnectorSession

LEAD = timedelta(minutes=15)
logger = logging.getLogger("reminder_worker")


async def remind(session: ConnectorSession, tenant_id: str, reminded: set[str]) -> None:
    """Remind of the appointments of a tenant that start soon, and remember only those, so that memory stays bounded."""
    now = datetime.fromtimestamp(session.clock.time(), UTC)
    appointments = AppointmentService(session.for_tenant(tenant_id))
    try:
        found = await appointments.preview(now, now + LEAD).collect()
    except ConnectorError as error:  # after the retries: whatever it is, the next round tries again
        logger.warning("%s: %s", tenant_id, error)
        return
    soon = {one.appointment_id: one for one in found if one.start_time >= now}
    for appointment_id in soon.keys() - reminded:
        print(f"{tenant_id} {appointment_id} starts at {soon[appointment_id].start_time:%H:%M}", flush=True)
    reminded.clear()
    reminded.update(soon)


async def work(session: ConnectorSession, tenant_ids: list[str], interval: float, stop: asyncio.Event) -> None:
    """Serve all tenants at once, in rounds that start `interval` seconds apart, until `stop` is set."""
    loop = asyncio.get_running_loop()
    reminded: dict[str, set[str]] = {tenant_id: set() for tenant_id in tenant_ids}
    while not stop.is_set():
        next_round = loop.time() + interval
        async with asyncio.TaskGroup() as group:
            for tenant_id in tenant_ids:
                group.create_task(remind(session, tenant_id, reminded[tenant_id]))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), next_round - loop.time())


async def main() -> None:
    """Work until a signal comes."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    async with ConnectorSession.from_env(deadline=30) as session:
        await work(session, os.environ["TENANTS"].split(","), float(os.environ.get("INTERVAL", "60")), stop)


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(main())
