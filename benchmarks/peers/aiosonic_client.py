"""aiosonic's client with orjson. It reads responses with asyncio's streams."""

import contextlib
from collections.abc import AsyncIterator

import aiosonic
import orjson
from aiosonic.pools import PoolConfig
from aiosonic.timeout import Timeouts

from benchmarks.peers import CONNECTIONS, HEADERS, TENANT, TOKEN, Calls, Draft, Peer


@contextlib.asynccontextmanager
async def _open(base_url: str) -> AsyncIterator[Calls]:
    url = f"{base_url}/{TENANT}/appointment"
    headers = {"Authorization": f"Bearer {TOKEN}", **HEADERS}
    json_headers = {**headers, "Content-Type": "application/json"}
    connector = aiosonic.TCPConnector(
        # By default it opens a new connection after a thousand requests.
        pool_configs={":default": PoolConfig(size=CONNECTIONS, max_conn_requests=None)},
        # Of its timeouts only the one over the whole request, which aiohttp has, too. Each of them is a task.
        timeouts=Timeouts(sock_read=None, request_timeout=300),
    )
    async with contextlib.aclosing(aiosonic.HTTPClient(connector)) as client:  # it would leave that connector open

        async def get(appointment_id: str) -> str:
            response = await client.get(url, params={"appointmentId": appointment_id}, headers=headers)
            title: str = orjson.loads(await response.raise_for_status().content())["title"]
            return title

        async def create(draft: Draft) -> str:
            response = await client.post(url, data=orjson.dumps(draft.body()), headers=json_headers)
            title: str = orjson.loads(await response.raise_for_status().content())["title"]
            return title

        yield Calls(get=get, create=create)


PEER = Peer(name="aiosonic + orjson", features={}, open=_open)
