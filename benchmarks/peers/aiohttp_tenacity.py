"""aiohttp and orjson inside a tenacity decorator: what people write."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from benchmarks.peers import aiohttp_alone
from benchmarks.peers.peer import Calls, Draft, Peer


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


PEER = Peer(name="raw aiohttp in tenacity", gives={"retry": "yes"}, open=_open)
