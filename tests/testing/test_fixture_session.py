import asyncio
from collections.abc import Iterator

import pytest

from connector_async import AppointmentService, ClientCredentials, Clock, ConnectorSession
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DelayFault, Sandbox
from connector_async.testing import ThreadedSandbox, VirtualClock
from connector_async.testing.fixture_session import close_in_idle_loops, fixture_session


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with ThreadedSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def session(sandbox: Sandbox) -> ConnectorSession:
    return session_with(sandbox, Clock())


def session_with(sandbox: Sandbox, clock: Clock) -> ConnectorSession:
    credentials = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, clock=clock)
    return fixture_session(sandbox.base_url, tenant_id="acme", auth=credentials, clock=clock)


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


async def test_virtual_time_stands_still_while_a_request_is_in_flight(sandbox: Sandbox) -> None:
    clock = VirtualClock()
    async with session_with(sandbox, clock) as session:
        await use(session)
        sandbox.faults.script(DelayFault(0.04))
        waiting = asyncio.create_task(clock.sleep(10))
        await use(session)
        assert clock.elapsed == 0
        await waiting
        assert clock.elapsed == 10
