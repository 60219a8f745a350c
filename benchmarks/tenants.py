"""How costs grow with the tenants: CPU of a get when each call is for another tenant, and bytes of a tenant.

Each call makes its session with `for_tenant` and its service anew, as a web service does. The tenants take turns, so
that none is among those used last when there are more of them than a session keeps: that is the worst case.
"""

import argparse
import asyncio
import contextlib
import gc
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

import aiohttp
import orjson
from yarl import URL

from benchmarks import rounds, server
from benchmarks.peers import CONNECTIONS, TENANT, TOKEN
from benchmarks.peers.aiohttp_alone import NAME as RAW
from benchmarks.peers.ours import NAME, UNREACHABLE_LIMIT
from benchmarks.processes import run_python
from benchmarks.server import TITLE
from benchmarks.tables import Band, Lines, Settings, Table
from benchmarks.workload import in_tasks, new_ids
from connector_async import AppointmentService, ClientCredentials, ConnectorSession, StaticToken, TokenProvider

TENANTS: Final = (1, 100, 10_000, 100_000)
_CALLS: Final = 1_000
_ROUNDS: Final = 16
_KEPT: Final = 10_000
"""The number of tenants when memory is measured: as many as a session keeps at least."""

Get = Callable[[str, str], Awaitable[str]]
"""Gets an appointment of a tenant, and returns its title. Both arguments are ids."""


@contextlib.asynccontextmanager
async def _raw(base_url: str) -> AsyncIterator[Get]:
    """Yield the get of a program that keeps the URL and the headers of each tenant in a dict without a bound."""
    kept: dict[str, tuple[URL, dict[str, str]]] = {}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=connector) as session:

        async def get(tenant_id: str, appointment_id: str) -> str:
            known = kept.get(tenant_id)
            if known is None:
                headers = {"Authorization": f"Bearer {TOKEN}", "tenantId": tenant_id, "Accept": "application/json"}
                known = kept[tenant_id] = (URL(f"{base_url}/{tenant_id}/appointment"), headers)
            url, headers = known
            async with session.get(url.with_query({"appointmentId": appointment_id}), headers=headers) as response:
                response.raise_for_status()
                title: str = orjson.loads(await response.read())["title"]
                return title

        yield get


@contextlib.asynccontextmanager
async def _ours(base_url: str, auth: TokenProvider) -> AsyncIterator[Get]:
    async with ConnectorSession(base_url, tenant_id=TENANT, auth=auth, rate_limit=UNREACHABLE_LIMIT) as session:

        async def get(tenant_id: str, appointment_id: str) -> str:
            return (await AppointmentService(session.for_tenant(tenant_id)).get(appointment_id)).title

        yield get


_OPENED: Final[Mapping[str, Callable[[str], AbstractAsyncContextManager[Get]]]] = {
    RAW: _raw,
    f"{NAME}, one token for all": lambda base_url: _ours(base_url, StaticToken(TOKEN)),
    f"{NAME}, a token fetched for each": lambda base_url: _ours(base_url, ClientCredentials("id", "secret")),
}
OURS: Final = tuple(_OPENED)[1:]


def _in_turn(get: Get, tenants: int) -> rounds.Contestant:
    turns = itertools.cycle(range(tenants))

    async def run(calls: int) -> None:
        await in_tasks(lambda appointment_id: get(f"tenant-{next(turns)}", appointment_id), new_ids(calls))

    return run


async def _by_tenants(base_url: str, settings: Settings) -> Table:
    sizes = sorted({settings.size(tenants) for tenants in TENANTS})
    contestants: dict[str, rounds.Contestant] = {}
    async with contextlib.AsyncExitStack() as stack:
        for name, open_get in _OPENED.items():
            for size in sizes:
                get = await stack.enter_async_context(open_get(base_url))
                assert await get("tenant-0", "7c01f588") == TITLE
                contestants[_key(name, size)] = _in_turn(get, size)
                await contestants[_key(name, size)](size)  # no tenant is new in the rounds
        measurement = await rounds.measure(
            contestants,
            floor=_key(RAW, sizes[0]),
            rounds=settings.rounds_or(_ROUNDS),
            calls=settings.size(_CALLS),
        )
    return _table(measurement, sizes)


def _key(name: str, tenants: int) -> str:
    return f"{name}: {tenants:,}"


def _table(measurement: rounds.Measurement, sizes: list[int]) -> Table:
    floor = measurement.figures[measurement.floor]
    ratios = {
        name: [(float(size), measurement.figures[_key(name, size)].cpu_ratio(floor)) for size in sizes]
        for name in _OPENED
    }
    rows = [
        [f"{size:,}", *(f"{measurement.figures[_key(name, size)].cpu_per_call():.1f}" for name in _OPENED)]
        + [str(ratios[name][row][1]) for name in OURS]
        for row, size in enumerate(sizes)
    ]
    points = {name: [(size, ratio.middle) for size, ratio in each] for name, each in ratios.items()}
    (_, of_one), *_ = points[OURS[0]]
    return Table(
        name="growth.tenants",
        title=f"µs of CPU of a get, each call for another tenant: {len(floor.cpu)} rounds of {floor.calls:,} calls",
        columns=["tenants", *_OPENED, *(f"{name}: × raw with one tenant" for name in OURS)],
        rows=rows,
        notes=["All rows are of the same rounds."],
        warnings=measurement.warnings(),
        figures={name: figures.cpu for name, figures in measurement.figures.items()},
        chart=Lines(
            title="CPU of a get, each call for another tenant",
            x_label="tenants",
            y_label="× raw aiohttp with one tenant",
            lines=points,
            ours=OURS,
            band=Band(label="aim: within 10 % of one tenant", lower=0.9 * of_one, upper=1.1 * of_one),
        ),
    )


async def _for_tenant_only(session: ConnectorSession, tenant_id: str) -> None:
    session.for_tenant(tenant_id)


async def _get(session: ConnectorSession, tenant_id: str) -> None:
    await AppointmentService(session.for_tenant(tenant_id)).get("7c01f588")


_KINDS: Final[Mapping[str, tuple[str, Callable[[ConnectorSession, str], Awaitable[None]], TokenProvider]]] = {
    "session": ("a session was made", _for_tenant_only, StaticToken(TOKEN)),
    "call": ("and it made a call, one token for all", _get, StaticToken(TOKEN)),
    "token": ("and it made a call, a token fetched for each", _get, ClientCredentials("id", "secret")),
}


async def bytes_of_tenant(base_url: str, kind: str, tenants: int) -> float:
    """Return the bytes that a session keeps for a tenant, on average."""
    _, use, auth = _KINDS[kind]
    async with ConnectorSession(base_url, tenant_id=TENANT, auth=auth, rate_limit=UNREACHABLE_LIMIT) as session:
        await use(session, TENANT)
        gc.collect()
        tracemalloc.start()
        for number in range(tenants):
            await use(session, f"tenant-{number}")
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return kept / tenants


def _memory(base_url: str, settings: Settings) -> Table:
    count = settings.size(_KEPT)
    kept = {kind: run_python(["-m", "benchmarks.tenants", base_url, kind, str(count)])[0] for kind in _KINDS}
    return Table(
        name="growth.tenant_memory",
        title=f"Bytes that a session keeps for a tenant, of {count:,} tenants",
        columns=["", "bytes"],
        rows=[[_KINDS[kind][0], f"{value:,.0f}"] for kind, value in kept.items()],
        notes=[f"The token has {len(TOKEN)} characters. By tracemalloc: what the allocator needs beside is left out."],
        figures=kept,
    )


def measure(settings: Settings) -> list[Table]:
    """Return the tables of the CPU and of the memory."""
    with server.running() as base_url:
        return [asyncio.run(_by_tenants(base_url, settings)), _memory(base_url, settings)]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url")
    parser.add_argument("kind", choices=_KINDS)
    parser.add_argument("tenants", type=int)
    options = parser.parse_args()
    print(asyncio.run(bytes_of_tenant(options.base_url, options.kind, options.tenants)))


if __name__ == "__main__":
    _main()
