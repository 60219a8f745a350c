"""Whether the server is the limit: its CPU beside the floor's, and what a client takes that does nothing."""

import asyncio
import functools
import time
from typing import Final

import aiohttp

from benchmarks import rounds, server
from benchmarks.peers.aiohttp_alone import PEER as FLOOR
from benchmarks.tables import Settings, Table
from benchmarks.workload import TASKS, workload

_CALLS = 3_200
_ROUNDS = 5
_REQUEST: Final = (
    b"GET /acme/appointment?appointmentId=7c01f588-1 HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
    b"Authorization: Bearer %s\r\ntenantId: acme\r\n\r\n" % (b"x" * 300)
)


class _Asking(asyncio.Protocol):
    """Writes a ready request as soon as anything of an answer is there: each answer comes in one piece."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_REQUEST)

    def data_received(self, _: bytes) -> None:
        self._left -= 1
        if self._left:
            self._transport.write(_REQUEST)
        else:
            self.done.set_result(None)
            self._transport.close()


async def _load(base_url: str, calls: int) -> None:
    host, _, port = base_url.removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: _Asking(calls // TASKS), host, int(port)) for _ in range(TASKS)]
    await asyncio.gather(*(protocol.done for _, protocol in opened))


async def _usage(session: aiohttp.ClientSession, base_url: str) -> float:
    async with session.get(f"{base_url}/usage") as response:
        return int(await response.read()) / 1e9


async def _measure(base_url: str, settings: Settings) -> Table:
    calls = max(TASKS, settings.size(_CALLS) // TASKS * TASKS)
    figures: dict[str, list[tuple[float, float, float]]] = {}
    async with FLOOR.open(base_url) as raw, aiohttp.ClientSession() as session:
        loads: dict[str, rounds.Contestant] = {
            FLOOR.name: workload(raw, "get"),
            "ready bytes over plain sockets": functools.partial(_load, base_url),
        }
        for load in loads.values():
            await load(calls)
        for _ in range(settings.rounds_or(_ROUNDS)):
            for name, load in loads.items():
                served_before = await _usage(session, base_url)
                wall, cpu = time.perf_counter(), time.process_time()
                await load(calls)
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                served = await _usage(session, base_url) - served_before
                figures.setdefault(name, []).append((cpu, wall, served))
    return _table(figures, calls)


def _table(figures: dict[str, list[tuple[float, float, float]]], calls: int) -> Table:
    rows, medians = [], {}
    for name, taken in figures.items():
        cpu, wall, served = (rounds.quartiles(values) for values in zip(*taken, strict=True))
        share = rounds.quartiles(served / wall for _, wall, served in taken)
        medians[name] = calls / wall.middle
        micro = 1e6 / calls
        rows.append(
            [
                name,
                f"{cpu.middle * micro:.1f}",
                f"{served.middle * micro:.1f}",
                f"{calls / wall.middle:,.0f}",
                str(share),
            ]
        )
    floor, ready = medians.values()
    return Table(
        name="limit.server",
        title=f"The server beside its clients: {len(taken)} rounds of {calls:,} calls",
        columns=["", "µs CPU of the client / call", "µs CPU of the server / call", "calls a second", "server busy"],
        rows=rows,
        notes=[f"The server answers {ready / floor:.1f} × as many calls as the fastest contestant makes."],
        warnings=()
        if ready > 1.2 * floor
        else ["LIMITED: the server is too slow to compare the wall time of clients by"],
        figures={
            name: [{"cpu": cpu, "wall": wall, "server": served} for cpu, wall, served in taken]
            for name, taken in figures.items()
        },
    )


def measure(settings: Settings) -> list[Table]:
    """Return the table of both loads."""
    with server.running() as base_url:
        return [asyncio.run(_measure(base_url, settings))]
