"""A process of several that share the rate limit of a tenant: it reads until its input ends, and prints when."""

import asyncio
import contextlib
import sys
import time

from connector_async import AppointmentService, ClientCredentials, ConnectorSession, NotFoundError, RateLimit
from connector_async.rate_limit import PostgresRateLimitStore
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET

_TASKS = 4


async def main(base_url: str, store_url: str, requests: int, per: float) -> None:
    async with (
        PostgresRateLimitStore(store_url) as store,
        ConnectorSession(
            base_url,
            tenant_id="acme",
            auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
            rate_limit=RateLimit(limit=requests, per=per, burst=1),
            rate_limit_store=store,
        ) as session,
    ):
        appointments = AppointmentService(session)

        async def work() -> None:
            while True:
                with contextlib.suppress(NotFoundError):
                    await appointments.get("123")
                print(time.monotonic(), flush=True)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for _ in range(_TASKS)]
            await asyncio.to_thread(sys.stdin.read)
            for task in tasks:
                task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
