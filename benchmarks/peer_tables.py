"""The tables of the calls of several clients, in one process and on one server."""

import contextlib
import functools
from collections.abc import Mapping, Sequence

from benchmarks import rounds
from benchmarks.peers import FEATURES, Peer, ours
from benchmarks.tables import Settings, Table, compare
from benchmarks.workload import OPERATIONS, check, workload

_CALLS = 640
_ROUNDS = 20


def _feature(features: Mapping[str, Mapping[str, str]], feature: str, contestant: str) -> str:
    return features.get(contestant, {}).get(feature, "")


async def compare_peers(base_url: str, settings: Settings, peers: Sequence[Peer], module: str) -> list[Table]:
    """Return a table of the peers, the floor first, for each of the two operations."""
    features = {peer.name: peer.features for peer in peers}
    tables = []
    async with contextlib.AsyncExitStack() as stack:
        clients = {peer.name: await stack.enter_async_context(peer.open(base_url)) for peer in peers}
        for calls in clients.values():
            await check(calls)
        for operation in OPERATIONS:
            measurement = await rounds.measure(
                {name: workload(calls, operation) for name, calls in clients.items()},
                floor=peers[0].name,
                rounds=settings.rounds_or(_ROUNDS),
                calls=settings.size(_CALLS),
            )
            tables.append(
                compare(
                    measurement,
                    name=f"{module}.{operation}",
                    title=f"{operation}, 32 tasks",
                    unit="call",
                    ours=(ours.NAME,),
                    extra_columns={name: functools.partial(_feature, features, name) for name in FEATURES},
                )
            )
    return tables
