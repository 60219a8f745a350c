"""The floor: aiohttp and orjson, and nothing else."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import orjson
from yarl import URL

from benchmarks.peers import CONNECTIONS, HEADERS, TENANT, TOKEN, Calls, Draft, Peer

NAME: Final = "raw aiohttp + orjson"


@contextlib.asynccontextmanager
async def open_calls(base_url: str, *, connections: int = CONNECTIONS) -> AsyncIterator[Calls]:
    """Open a session with a pool of so many connections."""
    url = URL(f"{base_url}/{TENANT}/appointment")
    # Headers of the session would be merged into those of each request, which costs more.
    headers = {"Authorization": f"Bearer {TOKEN}", **HEADERS}
    json_headers = {**headers, "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=connector) as session:

        async def get(appointment_id: str) -> str:
            async with session.get(url.with_query({"appointmentId": appointment_id}), headers=headers) as response:
                response.raise_for_status()
                title: str = orjson.loads(await response.read())["title"]
                return title

        async def create(draft: Draft) -> str:
            async with session.post(url, data=orjson.dumps(draft.body()), headers=json_headers) as response:
                response.raise_for_status()
                title: str = orjson.loads(await response.read())["title"]
                return title

        yield Calls(get=get, create=create)


PEER = Peer(name=NAME, features={}, open=open_calls)
