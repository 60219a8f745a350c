"""The ways to call this API with 32 tasks: by hand on several clients, with a generated client, and with ours."""

import asyncio
import shutil
from typing import Final

from benchmarks import server
from benchmarks.peer_tables import compare_peers
from benchmarks.peers import (
    aiohttp_alone,
    aiohttp_retry_client,
    aiohttp_tenacity,
    aiosonic_client,
    generated,
    kiota,
    ours,
    pyreqwest_client,
)
from benchmarks.tables import Settings, Table

PEERS: Final = (
    aiohttp_alone.PEER,
    ours.PEER,
    aiohttp_tenacity.PEER,
    aiohttp_retry_client.PEER,
    aiosonic_client.PEER,
    pyreqwest_client.PEER,
    kiota.PEER,
    generated.OPENAPI_PYTHON_CLIENT,
    *([generated.OPENAPI_GENERATOR] if shutil.which("java") else []),
)
"""All clients, the floor first. The dependency group `bench` has the generators; Java is not in it."""


def measure(settings: Settings) -> list[Table]:
    """Return a table for each of the two operations."""
    with server.running() as base_url:
        return asyncio.run(compare_peers(base_url, settings, PEERS, "clients"))
