"""pyreqwest, a client in Rust, with orjson. Its sockets are in a thread of its own, outside the event loop."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import orjson
from pyreqwest.client import ClientBuilder
from pyreqwest.http import Url

from benchmarks.peers import CONNECTIONS, HEADERS, TENANT, TOKEN, Calls, Draft, Peer


@contextlib.asynccontextmanager
async def _open(base_url: str) -> AsyncIterator[Calls]:
    url = Url(f"{base_url}/{TENANT}/appointment")
    builder = (
        ClientBuilder()
        .default_headers({"Authorization": f"Bearer {TOKEN}", **HEADERS})
        .error_for_status()
        .max_connections(CONNECTIONS)
        .timeout(timedelta(minutes=5))  # aiohttp's default
        .no_proxy()
    )
    async with builder.build() as client:

        async def get(appointment_id: str) -> str:
            response = await client.get(url).query({"appointmentId": appointment_id}).build().send()
            title: str = orjson.loads(memoryview(await response.bytes()))["title"]
            return title

        async def create(draft: Draft) -> str:
            request = client.post(url).header("Content-Type", "application/json").body_bytes(orjson.dumps(draft.body()))
            response = await request.build().send()
            title: str = orjson.loads(memoryview(await response.bytes()))["title"]
            return title

        yield Calls(get=get, create=create)


PEER = Peer(name="pyreqwest + orjson", features={}, open=_open)
