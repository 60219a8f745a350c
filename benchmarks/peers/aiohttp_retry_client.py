"""aiohttp_retry's client, with orjson.

By default it repeats a create after a 5xx. `methods` stops that, but not that it repeats one after a connection error.
"""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import orjson
from aiohttp_retry import ExponentialRetry, RetryClient
from yarl import URL

from benchmarks.peers import HEADERS, TENANT, TOKEN, Calls, Draft, Peer


@contextlib.asynccontextmanager
async def _open(base_url: str) -> AsyncIterator[Calls]:
    url = URL(f"{base_url}/{TENANT}/appointment")
    headers = {"Authorization": f"Bearer {TOKEN}", **HEADERS}
    json_headers = {**headers, "Content-Type": "application/json"}
    options = ExponentialRetry(attempts=3, methods={"GET", "PUT", "DELETE"}, exceptions={aiohttp.ClientError})
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        client = RetryClient(session, retry_options=options)

        async def get(appointment_id: str) -> str:
            async with client.get(url.with_query({"appointmentId": appointment_id}), headers=headers) as response:
                response.raise_for_status()
                title: str = orjson.loads(await response.read())["title"]
                return title

        async def create(draft: Draft) -> str:
            async with client.post(url, data=orjson.dumps(draft.body()), headers=json_headers) as response:
                response.raise_for_status()
                title: str = orjson.loads(await response.read())["title"]
                return title

        yield Calls(get=get, create=create)


PEER = Peer(name="aiohttp-retry", features={"retry": "yes"}, open=_open)
