"""One `get` and one `create` with 32 tasks: `connector_async` beside its peers, in one process, on one server."""

import asyncio
import contextlib
import functools
from collections.abc import Mapping, Sequence

from benchmarks import rounds, server
from benchmarks.peers import GIVES, Peer
from benchmarks.peers.all_peers import ALL
from benchmarks.peers.ours import PEER as OURS
from benchmarks.tables import Settings, Table, compared
from benchmarks.workload import OPERATIONS, check, workload

_CALLS = 640
_ROUNDS = 20


def _says(gives: Mapping[str, Mapping[str, str]], what: str, who: str) -> str:
    return gives[who].get(what, "") if who in gives else ""


async def _measure(base_url: str, peers: Sequence[Peer], settings: Settings) -> list[Table]:
    gives = {peer.name: peer.gives for peer in peers}
    calls = settings.size(_CALLS)
    tables = []
    async with contextlib.AsyncExitStack() as stack:
        opened = {peer.name: await stack.enter_async_context(peer.open(base_url)) for peer in peers}
        for contestant in opened.values():
            await check(contestant)
        for operation in OPERATIONS:
            measured = await rounds.measure(
                {name: workload(contestant, operation) for name, contestant in opened.items()},
                floor=peers[0].name,
                rounds=settings.rounds_or(_ROUNDS),
                calls=calls,
            )
            tables.append(
                compared(
                    measured,
                    name=f"single_call.{operation}",
                    title=f"{operation}, 32 tasks",
                    each="call",
                    ours=(OURS.name,),
                    more={what: functools.partial(_says, gives, what) for what in GIVES},
                )
            )
    return tables


def measure(settings: Settings) -> list[Table]:
    """Return a table for each of the two operations."""
    with server.running() as base_url:
        return asyncio.run(_measure(base_url, ALL, settings))
