import asyncio
import threading

import pytest

from connector_async import AppointmentService, ClientCredentials, ConnectorSession
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox, synthetic_seeds
from connector_async.testing import ThreadedSandbox


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
    before = threading.active_count()
    with ThreadedSandbox():
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_its_thread_ends_if_it_cannot_start() -> None:
    with ThreadedSandbox() as sandbox:
        before = threading.active_count()
        taken = int(sandbox.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="address"), ThreadedSandbox(port=taken):
            pass
        assert threading.active_count() == before
