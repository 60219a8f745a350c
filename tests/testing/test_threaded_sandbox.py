import asyncio
import gc
import threading

import pytest

from connector_async import AppointmentService, ClientCredentials, ConnectorSession
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DelayFault, Sandbox, synthetic_seeds
from connector_async.testing import ThreadedSandbox
from tests.support.threads import assert_no_thread_is_left


def session_with(sandbox: Sandbox) -> ConnectorSession:
    credentials = ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    return ConnectorSession(sandbox.base_url, tenant_id="acme", auth=credentials)


async def titles(sandbox: Sandbox) -> list[str]:
    async with session_with(sandbox) as session:
        return [appointment.title async for appointment in AppointmentService(session).preview()]


def test_synchronous_code_uses_it_from_one_event_loop_after_another() -> None:
    with ThreadedSandbox() as sandbox:
        ids = asyncio.run(sandbox.seed("acme", synthetic_seeds(2)))
        assert len(ids) == 2
        assert asyncio.run(titles(sandbox)) == asyncio.run(titles(sandbox)) == ["Visit 1", "Visit 2"]


async def test_tokens_are_revoked_from_another_thread() -> None:
    with ThreadedSandbox() as sandbox:
        async with session_with(sandbox) as session:
            service = AppointmentService(session)
            await service.preview().collect()
            sandbox.revoke_tokens("acme")
            await service.preview().collect()
        assert sandbox.log.count(operation="token") == 2


def test_its_thread_ends_with_it() -> None:
    before = set(threading.enumerate())
    with ThreadedSandbox():
        assert set(threading.enumerate()) - before
    assert_no_thread_is_left(before)


def test_its_thread_ends_if_it_cannot_start() -> None:
    with ThreadedSandbox() as sandbox:
        before = set(threading.enumerate())
        taken = int(sandbox.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="address"), ThreadedSandbox(port=taken):
            pass
        assert_no_thread_is_left(before)


def test_no_task_of_a_request_in_flight_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = threading.Event()

    async def hold(_: float) -> None:
        held.set()
        await asyncio.Event().wait()

    async def request_and_leave(sandbox: Sandbox) -> None:
        async with session_with(sandbox) as session:
            waiting = asyncio.create_task(AppointmentService(session).preview().collect())
            while not held.is_set():
                await asyncio.sleep(0.001)
            waiting.cancel()

    monkeypatch.setattr("connector_async.sandbox.server._SHUTDOWN_TIMEOUT", 0.01)
    with ThreadedSandbox(sleep=hold) as sandbox:
        sandbox.faults.script(DelayFault(1), operation="preview")
        asyncio.run(request_and_leave(sandbox))
    gc.collect()
    assert caplog.messages == []
