"""One `get` and one `create` with 32 tasks: `connector_async` beside its peers, in one process, on one server."""

import asyncio
import contextlib
import functools
from collections.abc import Mapping
from typing import Final

from benchmarks import rounds, server
from benchmarks.peers import (
    FEATURES,
    aiohttp_alone,
    aiohttp_tenacity,
    azure,
    gcal,
    httpx_stamina,
    niquests_session,
    open_ai,
    ours,
    slack,
)
from benchmarks.tables import Settings, Table, compare
from benchmarks.workload import OPERATIONS, check, workload

PEERS: Final = (
    aiohttp_alone.PEER,
    ours.PEER,
    aiohttp_tenacity.PEER,
    gcal.PEER,
    slack.PEER,
    azure.PEER,
    open_ai.PEER,
    open_ai.PEER_ON_AIOHTTP,
    httpx_stamina.PEER,
    niquests_session.PEER,
)
"""All clients, the floor first. The dependency group `bench` installs each of them."""
_CALLS = 640
_ROUNDS = 20


def _feature(features: Mapping[str, Mapping[str, str]], feature: str, contestant: str) -> str:
    return features.get(contestant, {}).get(feature, "")


async def _measure(base_url: str, settings: Settings) -> list[Table]:
    features = {peer.name: peer.features for peer in PEERS}
    tables = []
    async with contextlib.AsyncExitStack() as stack:
        clients = {peer.name: await stack.enter_async_context(peer.open(base_url)) for peer in PEERS}
        for calls in clients.values():
            await check(calls)
        for operation in OPERATIONS:
            measurement = await rounds.measure(
                {name: workload(calls, operation) for name, calls in clients.items()},
                floor=PEERS[0].name,
                rounds=settings.rounds_or(_ROUNDS),
                calls=settings.size(_CALLS),
            )
            tables.append(
                compare(
                    measurement,
                    name=f"single_call.{operation}",
                    title=f"{operation}, 32 tasks",
                    unit="call",
                    ours=(ours.NAME,),
                    extra_columns={name: functools.partial(_feature, features, name) for name in FEATURES},
                )
            )
    return tables


def measure(settings: Settings) -> list[Table]:
    """Return a table for each of the two operations."""
    with server.running() as base_url:
        return asyncio.run(_measure(base_url, settings))
