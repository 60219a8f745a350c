"""connector_async with everything on: a fetched token, a rate limit, a retry policy, a deadline, typed models."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from benchmarks.peers import CONNECTIONS, TENANT, Calls, Draft, Peer
from connector_async import (
    AppointmentService,
    ClientCredentials,
    ConnectorSession,
    NewAppointment,
    RateLimit,
    RetryPolicy,
)

NAME: Final = "connector_async"
UNREACHABLE_LIMIT: Final = RateLimit(limit=10**9, per=60, burst=10**6)


@contextlib.asynccontextmanager
async def open_service(base_url: str, *, connections: int = CONNECTIONS) -> AsyncIterator[AppointmentService]:
    """Open a session with a pool of so many connections, and return its service."""
    auth = ClientCredentials("id", "secret")
    async with ConnectorSession(
        base_url, tenant_id=TENANT, auth=auth, rate_limit=UNREACHABLE_LIMIT, pool_size=connections
    ) as session:
        yield AppointmentService(session, retry=RetryPolicy(attempts=3), deadline=30)


def new_appointment(draft: Draft) -> NewAppointment:
    """Return our object for a draft."""
    return NewAppointment(
        title=draft.title, start_time=draft.start_time, end_time=draft.end_time, description=draft.description
    )


@contextlib.asynccontextmanager
async def open_calls(base_url: str, *, connections: int = CONNECTIONS) -> AsyncIterator[Calls]:
    """Open a session with a pool of so many connections, and return the calls of its service."""
    async with open_service(base_url, connections=connections) as appointments:

        async def get(appointment_id: str) -> str:
            return (await appointments.get(appointment_id)).title

        async def create(draft: Draft) -> str:
            return (await appointments.create(new_appointment(draft))).title

        yield Calls(get=get, create=create)


PEER = Peer(
    name=NAME,
    features={
        "typed result": "checked",
        "auth": "fetched, renewed",
        "retry": "yes",
        "deadline": "over all",
        "rate limit": "yes",
    },
    open=open_calls,
)
