"""slack_sdk's client over a session that stays open, as its documentation advises, with its retry handlers."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from slack_sdk.http_retry.builtin_async_handlers import AsyncConnectionErrorRetryHandler, AsyncServerErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from benchmarks.peers import HEADERS, TENANT, TOKEN, Calls, Draft, Peer


@contextlib.asynccontextmanager
async def _open(base_url: str) -> AsyncIterator[Calls]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        client = AsyncWebClient(
            token=TOKEN,
            base_url=f"{base_url}/ok/{TENANT}/",  # it raises an error unless a response says "ok"
            session=session,
            headers=dict(HEADERS),
            retry_handlers=[
                AsyncConnectionErrorRetryHandler(max_retry_count=2),
                AsyncServerErrorRetryHandler(max_retry_count=2),
            ],
        )

        async def get(appointment_id: str) -> str:
            response = await client.api_call("appointment", http_verb="GET", params={"appointmentId": appointment_id})
            title: str = response["title"]
            return title

        async def create(draft: Draft) -> str:
            title: str = (await client.api_call("appointment", json=draft.body()))["title"]
            return title

        yield Calls(get=get, create=create)


PEER = Peer(name="slack_sdk AsyncWebClient", features={"auth": "static token", "retry": "yes"}, open=_open)
