import asyncio
from collections.abc import Iterator

import pytest

from connector_async import AppointmentService, ClientCredentials, ConnectorSession
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from connector_async.testing import ThreadedSandbox
from connector_async.testing.fixture_session import close_in_idle_loops


@pytest.fixture
def session() -> Iterator[ConnectorSession]:
    with ThreadedSandbox() as sandbox:
        credentials = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        yield ConnectorSession(sandbox.base_url, tenant_id="acme", auth=credentials)


async def use(session: ConnectorSession) -> None:
    await AppointmentService(session).preview().collect()


def test_session_is_closed_in_each_idle_loop(session: ConnectorSession) -> None:
    loops = [asyncio.new_event_loop(), asyncio.new_event_loop()]
    for loop in loops:
        loop.run_until_complete(use(session))
    assert set(session._state.transport.loops) == set(loops)
    close_in_idle_loops(session)
    assert session.closed
    assert session._state.transport.loops == []
    for loop in loops:
        loop.close()


async def test_session_of_a_running_loop_stays_open(session: ConnectorSession) -> None:
    await use(session)
    close_in_idle_loops(session)
    assert not session.closed
    await session.aclose()
