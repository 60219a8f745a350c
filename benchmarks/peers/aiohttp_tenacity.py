"""aiohttp and orjson in a tenacity decorator, as many programs have it."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from benchmarks.peers import Calls, Draft, Peer, aiohttp_alone


@contextlib.asynccontextmanager
async def _open(base_url: str) -> AsyncIterator[Calls]:
    async with aiohttp_alone.PEER.open(base_url) as raw:
        retrying = retry(
            stop=stop_after_attempt(3),
            wait=wait_exponential_jitter(),
            retry=retry_if_exception_type((aiohttp.ClientError, TimeoutError)),
            reraise=True,
        )

        @retrying
        async def get(appointment_id: str) -> str:
            return await raw.get(appointment_id)

        @retrying
        async def create(draft: Draft) -> str:
            return await raw.create(draft)

        yield Calls(get=get, create=create)


PEER = Peer(name="raw aiohttp in tenacity", features={"retry": "yes"}, open=_open)
