"""Whether the server is the limit: its CPU beside that of the fastest client, and of one that writes ready bytes."""

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


class _ReadyRequests(asyncio.Protocol):
    """Writes the same request again as soon as data arrives: each response arrives in one piece."""

    def __init__(self, count: int) -> None:
        self._remaining = count
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_REQUEST)

    def data_received(self, _: bytes) -> None:
        self._remaining -= 1
        if self._remaining:
            self._transport.write(_REQUEST)
        else:
            self.done.set_result(None)
            self._transport.close()


async def _send_ready_requests(base_url: str, calls: int) -> None:
    host, _, port = base_url.removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    connections = [
        await loop.create_connection(lambda: _ReadyRequests(calls // TASKS), host, int(port)) for _ in range(TASKS)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in connections))


async def _server_cpu(session: aiohttp.ClientSession, base_url: str) -> float:
    """Return the seconds of CPU that the server has used."""
    async with session.get(f"{base_url}/usage") as response:
        return int(await response.read()) / 1e9


async def _measure(base_url: str, settings: Settings) -> Table:
    calls = max(TASKS, settings.size(_CALLS) // TASKS * TASKS)
    figures: dict[str, list[tuple[float, float, float]]] = {}
    async with FLOOR.open(base_url) as raw, aiohttp.ClientSession() as session:
        loads: dict[str, rounds.Contestant] = {
            FLOOR.name: workload(raw, "get"),
            "ready bytes over plain sockets": functools.partial(_send_ready_requests, base_url),
        }
        for load in loads.values():
            await load(calls)
        for _ in range(settings.rounds_or(_ROUNDS)):
            for name, load in loads.items():
                server_start = await _server_cpu(session, base_url)
                wall_start, cpu_start = time.perf_counter(), time.process_time()
                await load(calls)
                cpu, wall = time.process_time() - cpu_start, time.perf_counter() - wall_start
                server_cpu = await _server_cpu(session, base_url) - server_start
                figures.setdefault(name, []).append((cpu, wall, server_cpu))
    return _table(figures, calls)


def _table(figures: dict[str, list[tuple[float, float, float]]], calls: int) -> Table:
    rows, speeds = [], []
    for name, measured in figures.items():
        cpu, wall, server_cpu = (rounds.quartiles(values) for values in zip(*measured, strict=True))
        busy = rounds.quartiles(server / wall for _, wall, server in measured)
        speeds.append(calls / wall.middle)
        rows.append(
            [
                name,
                f"{cpu.middle / calls * 1e6:.1f}",
                f"{server_cpu.middle / calls * 1e6:.1f}",
                f"{calls / wall.middle:,.0f}",
                str(busy),
            ]
        )
    floor, ready = speeds
    return Table(
        name="limit.server",
        title=f"The server beside its clients: {len(measured)} rounds of {calls:,} calls",
        columns=["", "µs CPU of the client / call", "µs CPU of the server / call", "calls a second", "server busy"],
        rows=rows,
        notes=[f"The server can handle {ready / floor:.1f} × as many calls as the fastest client makes."],
        warnings=()
        if ready > 1.2 * floor
        else ["LIMITED: the server is too slow for comparing the wall time of clients"],
        figures={
            name: [{"cpu": cpu, "wall": wall, "server": server} for cpu, wall, server in measured]
            for name, measured in figures.items()
        },
    )


def measure(settings: Settings) -> list[Table]:
    """Return the table of both clients."""
    with server.running() as base_url:
        return [asyncio.run(_measure(base_url, settings))]
