"""niquests' asynchronous session with its retries. It parses JSON with orjson if that is installed."""

import contextlib
from collections.abc import AsyncIterator

import niquests

from benchmarks.peers import CONNECTIONS, HEADERS, TENANT, TOKEN, Calls, Draft, Peer


@contextlib.asynccontextmanager
async def _open(base_url: str) -> AsyncIterator[Calls]:
    url = f"{base_url}/{TENANT}/appointment"
    async with niquests.AsyncSession(
        headers={"Authorization": f"Bearer {TOKEN}", **HEADERS},
        retries=2,
        pool_connections=CONNECTIONS,
        pool_maxsize=CONNECTIONS,
        allow_incoming_cookies=False,
        disable_http2=True,
        disable_http3=True,
    ) as session:
        session.trust_env = False

        async def get(appointment_id: str) -> str:
            response = await session.get(url, params={"appointmentId": appointment_id})
            title: str = response.raise_for_status().json()["title"]
            return title

        async def create(draft: Draft) -> str:
            response = await session.post(url, json=draft.body())
            title: str = response.raise_for_status().json()["title"]
            return title

        yield Calls(get=get, create=create)


PEER = Peer(name="niquests AsyncSession", features={"retry": "yes"}, open=_open)
