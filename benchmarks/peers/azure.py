"""azure-core's pipeline on aiohttp, with the policies of an Azure client except logs, traces and proxies."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
from azure.core import AsyncPipelineClient
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncRetryPolicy,
    ContentDecodePolicy,
    HeadersPolicy,
    RequestIdPolicy,
    UserAgentPolicy,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest

from benchmarks.peers import HEADERS, TENANT, TOKEN, Calls, Draft, Peer


class _Credential:
    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(TOKEN, int(time.time()) + 3_600)

    async def close(self) -> None:
        """Close nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


def _policies() -> list[Any]:
    return [
        RequestIdPolicy(),
        HeadersPolicy(dict(HEADERS)),
        UserAgentPolicy("benchmark/1.0"),
        ContentDecodePolicy(),
        AsyncRetryPolicy(retry_total=2, timeout=30),
        AsyncBearerTokenCredentialPolicy(_Credential(), "scope", enforce_https=False),
    ]


@contextlib.asynccontextmanager
async def _open(base_url: str) -> AsyncIterator[Calls]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session:
        transport = AioHttpTransport(session=session, session_owner=False)
        client = AsyncPipelineClient[HttpRequest, AsyncHttpResponse](
            base_url, policies=_policies(), transport=transport
        )
        async with client:

            async def send(request: HttpRequest) -> str:
                # The bearer policy rejects http unless each call allows it.
                response = await client.send_request(request, enforce_https=False)
                response.raise_for_status()
                title: str = response.json()["title"]
                return title

            async def get(appointment_id: str) -> str:
                return await send(
                    HttpRequest("GET", f"{base_url}/{TENANT}/appointment", params={"appointmentId": appointment_id})
                )

            async def create(draft: Draft) -> str:
                return await send(HttpRequest("POST", f"{base_url}/{TENANT}/appointment", json=draft.body()))

            yield Calls(get=get, create=create)


PEER = Peer(
    name="azure-core pipeline",
    features={"auth": "yours, renewed", "retry": "yes", "deadline": "of the retries"},
    open=_open,
)
