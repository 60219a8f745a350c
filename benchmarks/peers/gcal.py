"""The auth layer of gcal_sync: a token from the user's coroutine, its own errors, the JSON of the response."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from gcal_sync.auth import AbstractAuth

from benchmarks.peers import HEADERS, TENANT, TOKEN, Calls, Draft, Peer


class _Auth(AbstractAuth):
    async def async_get_access_token(self) -> str:
        return TOKEN


@contextlib.asynccontextmanager
async def _open(base_url: str) -> AsyncIterator[Calls]:
    # The layer sets the headers of a request itself; others have to be those of the session.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), headers=HEADERS) as session:
        auth = _Auth(session, host=base_url)
        path = f"{TENANT}/appointment"

        async def get(appointment_id: str) -> str:
            title: str = (await auth.get_json(path, params={"appointmentId": appointment_id}))["title"]
            return title

        async def create(draft: Draft) -> str:
            title: str = (await auth.post_json(path, json=draft.body()))["title"]
            return title

        yield Calls(get=get, create=create)


PEER = Peer(name="gcal_sync auth layer", features={"auth": "yours, asked each time"}, open=_open)
