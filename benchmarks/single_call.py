"""One `get` and one `create` with 32 tasks: `connector_async` beside its peers, in one process, on one server."""

import asyncio
from typing import Final

from benchmarks import server
from benchmarks.peer_tables import compare_peers
from benchmarks.peers import (
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
from benchmarks.tables import Settings, Table

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


def measure(settings: Settings) -> list[Table]:
    """Return a table for each of the two operations."""
    with server.running() as base_url:
        return asyncio.run(compare_peers(base_url, settings, PEERS, "single_call"))
