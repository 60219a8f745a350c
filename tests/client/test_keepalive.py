"""Creates around the time at which the server closes idle connections."""

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


async def create_at_the_edge(draft: NewAppointment, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[int, int]:
    """Create when the server is about to close; return the numbers of received creates and of unknown outcomes."""
    loop = asyncio.get_running_loop()
    for module in (aiohttp.connector, pool):  # they measure idle time with it
        monkeypatch.setattr(module, "monotonic", loop.time)
    unknown = 0

    async def respond_and_close_when_idle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CREATED)
        loop.call_later(5, writer.close)

    async with HostileServer(respond_and_close_when_idle) as server:
        appointments = open_service(server, clock=LoopClock(), **options)
        for pause in PAUSES:
            try:
                await appointments.create(draft)
            except OutcomeUnknownError:
                unknown += 1
            await asyncio.sleep(pause)
        return len(server.requests), unknown


@pytest.mark.row("R20")
async def test_default_keepalive_avoids_connections_that_the_server_is_closing(
    draft: NewAppointment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await create_at_the_edge(draft, monkeypatch) == (len(PAUSES), 0)


@pytest.mark.row("R20")
async def test_no_create_is_lost_with_a_keepalive_longer_than_the_servers(
    draft: NewAppointment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await create_at_the_edge(draft, monkeypatch, keepalive_timeout=60) == (len(PAUSES), 0)
