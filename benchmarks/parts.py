"""The cost of each part of our `get`: the whole, without one part at a time, and when one response of 100 is a 500."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import attrs

from benchmarks import rounds, server
from benchmarks.peers import TENANT, TOKEN
from benchmarks.peers.aiohttp_alone import PEER as FLOOR
from benchmarks.peers.ours import UNREACHABLE_LIMIT
from benchmarks.tables import Settings, Table, compare
from benchmarks.workload import in_tasks, new_ids
from connector_async import (
    AppointmentService,
    CallRecord,
    ClientCredentials,
    Clock,
    ConnectorSession,
    RetryPolicy,
    StaticToken,
)
from connector_async.appointments.calls import GetCall

_CALLS = 640
_ROUNDS = 30


class _ImpatientClock(Clock):
    async def sleep(self, seconds: float) -> None:
        """Return at once, because only CPU is measured."""


@attrs.frozen
class _NoLimiter:
    key: str

    def take(self) -> bool:
        return True

    async def acquire(self, _: object, **__: object) -> float:
        return 0.0


def _service(session: ConnectorSession, **options: Any) -> AppointmentService:
    return AppointmentService(session, retry=RetryPolicy(attempts=5), **options)


def _without_policy(service: AppointmentService) -> Callable[[str], Awaitable[object]]:
    """Return a call of the attempt alone: without policy, deadline and `last_call`."""

    def get(appointment_id: str) -> Awaitable[object]:
        return GetCall(service._context, appointment_id).attempt(None, CallRecord(operation="get"))  # noqa: SLF001

    return get


async def _measure(base_url: str, settings: Settings, *, faults: bool) -> Table:
    async with contextlib.AsyncExitStack() as stack:

        async def session(**options: Any) -> ConnectorSession:
            defaults = {"auth": ClientCredentials("id", "secret"), "rate_limit": UNREACHABLE_LIMIT}
            arguments: dict[str, Any] = {"tenant_id": TENANT, "clock": _ImpatientClock(), **defaults, **options}
            return await stack.enter_async_context(ConnectorSession(base_url, **arguments))

        whole = await session()
        raw = (await stack.enter_async_context(FLOOR.open(base_url))).get
        gets: dict[str, Callable[[str], Awaitable[object]]] = {
            FLOOR.name: _ignoring_errors(raw) if faults else raw,
            "get, everything on": _service(whole, deadline=30).get,
        }
        if not faults:
            unlimited = await session()
            tenant: Any = unlimited._tenant  # noqa: SLF001
            tenant.limiter = _NoLimiter(tenant.limiter.key)
            gets |= {
                "without the deadline": _service(whole).get,
                "without policy and deadline": _without_policy(_service(whole)),
                "without the limiter": _service(unlimited, deadline=30).get,
                "with a static token": _service(await session(auth=StaticToken(TOKEN)), deadline=30).get,
            }
        calls = settings.size(_CALLS)
        measurement = await rounds.measure(
            {name: _in_tasks(get) for name, get in gets.items()},
            floor=FLOOR.name,
            rounds=settings.rounds_or(_ROUNDS),
            calls=calls,
        )
    return compare(
        measurement,
        name="parts.faults" if faults else "parts.get",
        title="get when one response of a hundred is a 500" if faults else "get by its parts",
        unit="call",
        notes=["The floor takes a 500 as final; the client retries."] if faults else (),
    )


def _in_tasks(get: Callable[[str], Awaitable[object]]) -> rounds.Contestant:
    return lambda calls: in_tasks(get, new_ids(calls))


def _ignoring_errors(get: Callable[[str], Awaitable[object]]) -> Callable[[str], Awaitable[object]]:
    async def get_or_none(appointment_id: str) -> object:
        with contextlib.suppress(aiohttp.ClientResponseError):
            return await get(appointment_id)
        return None

    return get_or_none


def measure(settings: Settings) -> list[Table]:
    """Return the table of the parts, and the one of a server with faults."""
    tables = []
    for faults in (False, True):
        with server.running(faults=faults) as base_url:
            tables.append(asyncio.run(_measure(base_url, settings, faults=faults)))
    return tables
