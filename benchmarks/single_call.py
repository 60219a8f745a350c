"""CPU of one `get`: the typed service beside raw aiohttp and orjson, in one process, over the same loopback server.

Each call asks for a new id: a repeated one would let the URL cache do the client's work.
"""

import argparse
import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable

import aiohttp
import orjson
from yarl import URL

from benchmarks import rounds, server
from connector_async import AppointmentService, ConnectorSession, StaticToken

_TOKEN = "x" * 300  # as long as a JWT


async def _in_tasks(call: Callable[[str], Awaitable[object]], ids: "itertools.count[int]", calls: int) -> None:
    numbers = iter(range(calls))

    async def work() -> None:
        for _ in numbers:
            await call(f"7c01f588-{next(ids)}")

    await asyncio.gather(*(work() for _ in range(32)))


async def measure(base_url: str, *, rounds_: int, calls: int) -> dict[str, rounds.Figures]:
    """Return the figures of every contestant."""
    ids = itertools.count()
    headers = {
        "Authorization": f"Bearer {_TOKEN}",
        "tenantId": "acme",
        "Accept": "application/json",
        "User-Agent": "benchmark/1.0",
    }
    url = URL(f"{base_url}/acme/appointment")
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as raw,
        ConnectorSession(base_url, tenant_id="acme", auth=StaticToken(_TOKEN)) as session,
    ):
        appointments = AppointmentService(session)

        async def get_raw(appointment_id: str) -> object:
            async with raw.get(url.with_query({"appointmentId": appointment_id}), headers=headers) as response:
                return orjson.loads(await response.read())

        contestants = {
            "raw aiohttp + orjson": functools.partial(_in_tasks, get_raw, ids, calls),
            "AppointmentService.get": functools.partial(_in_tasks, appointments.get, ids, calls),
        }
        return await rounds.measure(contestants, rounds=rounds_, calls=calls)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=1000)
    arguments = parser.parse_args()
    with server.running() as base_url:
        figures = asyncio.run(measure(base_url, rounds_=arguments.rounds, calls=arguments.calls))
    rounds.show("get, 32 tasks", figures, floor="raw aiohttp + orjson")


if __name__ == "__main__":
    main()
