"""CPU of one `get`: the typed service beside raw aiohttp and orjson, in one process, over the same loopback server.

Each call asks for a new id: a repeated one would let the URL cache do the client's work. With `--faults`, one answer of
a hundred is a 500, which the raw contestant raises and the service tries again.
"""

import argparse
import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import orjson
from yarl import URL

from benchmarks import rounds, server
from connector_async import (
    AppointmentService,
    CallRecord,
    ClientCredentials,
    Clock,
    ConnectorSession,
    RateLimit,
    RetryPolicy,
    StaticToken,
)

_TOKEN = "x" * 300  # as long as a JWT
_RAW = "raw aiohttp + orjson"
_NO_LIMIT_TO_REACH = RateLimit(limit=10**9, per=60, burst=10**6)


class _ImpatientClock(Clock):
    async def sleep(self, seconds: float) -> None:
        """Wait for nothing: what is measured is CPU."""


class _NoLimiter:
    async def acquire(self, _: object, **__: object) -> bool:
        return False


async def _in_tasks(call: Callable[[str], Awaitable[object]], ids: "itertools.count[int]", calls: int) -> None:
    numbers = iter(range(calls))

    async def work() -> None:
        for _ in numbers:
            await call(f"7c01f588-{next(ids)}")

    await asyncio.gather(*(work() for _ in range(32)))


@contextlib.asynccontextmanager
async def _raw(base_url: str) -> AsyncIterator[Callable[[str], Awaitable[object]]]:
    headers = {
        "Authorization": f"Bearer {_TOKEN}",
        "tenantId": "acme",
        "Accept": "application/json",
        "User-Agent": "benchmark/1.0",
    }
    url = URL(f"{base_url}/acme/appointment")
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def get(appointment_id: str) -> object:
            async with session.get(url.with_query({"appointmentId": appointment_id}), headers=headers) as response:
                body = await response.read()
                return orjson.loads(body) if response.status == 200 else None

        yield get


def _service(session: ConnectorSession, **options: Any) -> AppointmentService:
    return AppointmentService(session, retry=RetryPolicy(attempts=5), **options)


def _without_policy(service: AppointmentService) -> Callable[[str], Awaitable[object]]:
    """Return the attempt alone: no policy, no deadline, no record that anybody could read."""

    def get(appointment_id: str) -> Awaitable[object]:
        return service._attempts.get(appointment_id)(None, CallRecord(operation="get"))  # noqa: SLF001

    return get


async def measure(base_url: str, *, rounds_: int, calls: int, parts: bool) -> Mapping[str, rounds.Figures]:
    """Return the figures of every contestant; with `parts`, also those of the service without one part at a time."""
    ids = itertools.count()
    async with contextlib.AsyncExitStack() as stack:

        async def session(**options: Any) -> ConnectorSession:
            defaults = {"auth": ClientCredentials("id", "secret"), "rate_limit": _NO_LIMIT_TO_REACH}
            arguments: dict[str, Any] = {"tenant_id": "acme", "clock": _ImpatientClock(), **defaults, **options}
            return await stack.enter_async_context(ConnectorSession(base_url, **arguments))

        whole = await session()
        contestants = {
            _RAW: await stack.enter_async_context(_raw(base_url)),
            "get, everything on": _service(whole, deadline=30).get,
        }
        if parts:
            unlimited = await session()
            object.__setattr__(unlimited._tenant, "limiter", _NoLimiter())  # noqa: SLF001
            contestants |= {
                "without the deadline": _service(whole).get,
                "without policy and deadline": _without_policy(_service(whole)),
                "without the limiter": _service(unlimited, deadline=30).get,
                "with a static token": _service(await session(auth=StaticToken(_TOKEN)), deadline=30).get,
            }
        return await rounds.measure(
            {name: functools.partial(_in_tasks, call, ids, calls) for name, call in contestants.items()},
            rounds=rounds_,
            calls=calls,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--parts", action="store_true", help="also without one part at a time")
    parser.add_argument("--faults", action="store_true", help="one answer of a hundred is a 500")
    arguments = parser.parse_args()
    with server.running(faults=arguments.faults) as base_url:
        figures = asyncio.run(measure(base_url, rounds_=arguments.rounds, calls=arguments.calls, parts=arguments.parts))
    rounds.show("get, 32 tasks", figures, floor=_RAW)


if __name__ == "__main__":
    main()
