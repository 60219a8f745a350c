"""openai-python's generic `get` and `post` into one of its models, on its default transport and on aiohttp."""

import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Final

import openai
from openai import AsyncOpenAI
from pydantic import Field

from benchmarks.peers import HEADERS, TENANT, TOKEN, Calls, Draft, Peer


class _Appointment(openai.BaseModel):
    appointment_id: str = Field(alias="appointmentId")
    title: str
    start_time: str = Field(alias="startTime")
    end_time: str = Field(alias="endTime")
    description: str | None = None


@contextlib.asynccontextmanager
async def _open(base_url: str, *, on_aiohttp: bool) -> AsyncIterator[Calls]:
    async with AsyncOpenAI(
        api_key=TOKEN,
        base_url=base_url,
        default_headers=HEADERS,
        max_retries=2,
        http_client=openai.DefaultAioHttpClient() if on_aiohttp else None,
    ) as client:

        async def get(appointment_id: str) -> str:
            appointment = await client.get(
                f"/{TENANT}/appointment", cast_to=_Appointment, options={"params": {"appointmentId": appointment_id}}
            )
            return appointment.title

        async def create(draft: Draft) -> str:
            return (await client.post(f"/{TENANT}/appointment", cast_to=_Appointment, body=draft.body())).title

        yield Calls(get=get, create=create)


_FEATURES: Final = {"typed result": "unchecked", "auth": "static token", "retry": "yes"}

PEER = Peer(name="openai AsyncOpenAI", features=_FEATURES, open=functools.partial(_open, on_aiohttp=False))
PEER_ON_AIOHTTP = Peer(name="openai on aiohttp", features=_FEATURES, open=functools.partial(_open, on_aiohttp=True))
