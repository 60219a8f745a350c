"""Idle connections that the server closes, on an event loop whose time jumps."""

import asyncio
from typing import Any

import aiohttp.connector
import pytest

from connector_async import NewAppointment, OutcomeUnknownError
from connector_async.session import pool
from tests.support.hostile import HostileServer
from tests.support.services import CREATED, open_service
from tests.support.virtual_time import LoopClock

pytestmark = pytest.mark.virtual_time

PAUSES = [4.9, 4.95, 5.0, 5.0, 5.05, 5.1]


async def post_at_the_edge(draft: NewAppointment, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[int, int]:
    """Post around the moment at which the server closes; return the posts that it got, and the unknown outcomes."""
    loop = asyncio.get_running_loop()
    for module in (aiohttp.connector, pool):  # by which they tell what is idle for too long
        monkeypatch.setattr(module, "monotonic", loop.time)
    unknown = 0

    async def answer_and_close_when_idle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CREATED)
        loop.call_later(5, writer.close)

    async with HostileServer(answer_and_close_when_idle) as server:
        appointments = open_service(server, clock=LoopClock(), **options)
        for pause in PAUSES:
            try:
                await appointments.create(draft)
            except OutcomeUnknownError:
                unknown += 1
            await asyncio.sleep(pause)
        return len(server.requests), unknown


async def test_r20_no_create_meets_a_connection_that_is_just_being_closed(
    draft: NewAppointment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await post_at_the_edge(draft, monkeypatch) == (len(PAUSES), 0)


async def test_no_create_is_lost_although_connections_are_kept_for_longer_than_the_server_keeps_them(
    draft: NewAppointment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await post_at_the_edge(draft, monkeypatch, keepalive_timeout=60) == (len(PAUSES), 0)
