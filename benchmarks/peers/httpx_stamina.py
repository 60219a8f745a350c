"""httpx in stamina's decorator, with orjson."""

import contextlib
from collections.abc import AsyncIterator

import httpx
import orjson
import stamina

from benchmarks.peers import CONNECTIONS, HEADERS, TENANT, TOKEN, Calls, Draft, Peer


@contextlib.asynccontextmanager
async def _open(base_url: str) -> AsyncIterator[Calls]:
    url = httpx.URL(f"{base_url}/{TENANT}/appointment")
    retrying = stamina.retry(on=httpx.HTTPError, attempts=3, timeout=30.0)
    async with httpx.AsyncClient(
        headers={"Authorization": f"Bearer {TOKEN}", **HEADERS},
        limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        trust_env=False,
    ) as client:

        @retrying
        async def get(appointment_id: str) -> str:
            response = await client.get(url, params={"appointmentId": appointment_id})
            title: str = orjson.loads(response.raise_for_status().content)["title"]
            return title

        @retrying
        async def create(draft: Draft) -> str:
            body = orjson.dumps(draft.body())
            response = await client.post(url, content=body, headers={"Content-Type": "application/json"})
            title: str = orjson.loads(response.raise_for_status().content)["title"]
            return title

        yield Calls(get=get, create=create)


PEER = Peer(name="httpx + stamina", features={"retry": "yes", "deadline": "of the retries"}, open=_open)
