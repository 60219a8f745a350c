from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from connector_async.sandbox import Sandbox
from tests.support.sandbox_user import MEETING, fetch_token, signed_in


async def preview_status(sandbox: Sandbox, token: str, tenant: str = "acme") -> int:
    headers = {"Authorization": f"Bearer {token}", "tenantId": tenant}
    async with (
        aiohttp.ClientSession(sandbox.base_url, headers=headers) as session,
        session.get(f"/{tenant}/appointment/preview") as response,
    ):
        return response.status


@pytest.fixture
def make_sandbox(tmp_path: Path) -> Callable[[], Sandbox]:
    return lambda: Sandbox(database=tmp_path / "sandbox.db")


async def test_tokens_and_appointments_survive_a_restart_with_the_same_file(
    make_sandbox: Callable[[], Sandbox],
) -> None:
    async with signed_in(make_sandbox()) as acme:
        appointment_id = await acme.create(MEETING)
    async with make_sandbox() as sandbox:
        assert await preview_status(sandbox, acme.token) == 200
        async with (
            aiohttp.ClientSession(sandbox.base_url, headers=acme.headers) as session,
            session.get("/acme/appointment", params={"appointmentId": appointment_id}) as response,
        ):
            assert (await response.json())["title"] == MEETING["title"]


async def test_revocation_survives_a_restart_and_spares_later_tokens(make_sandbox: Callable[[], Sandbox]) -> None:
    async with signed_in(make_sandbox()) as acme:
        other = await fetch_token(acme.session, "other")
    async with make_sandbox() as sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        early = await fetch_token(session)
        sandbox.revoke_tokens("acme")
        late = await fetch_token(session)
    async with make_sandbox() as sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        assert [await preview_status(sandbox, token) for token in (acme.token, early, late)] == [401, 401, 200]
        assert await preview_status(sandbox, other, "other") == 200
        assert await preview_status(sandbox, await fetch_token(session)) == 200
        sandbox.revoke_tokens("acme")
    async with make_sandbox() as sandbox:
        assert await preview_status(sandbox, late) == 401


async def test_revocation_is_on_the_disk_before_the_sandbox_closes(make_sandbox: Callable[[], Sandbox]) -> None:
    first = make_sandbox()
    async with signed_in(first) as acme:
        first.revoke_tokens("acme")
        async with make_sandbox() as second:
            assert await preview_status(second, acme.token) == 401


async def test_restart_without_a_file_invalidates_tokens() -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        pass
    async with sandbox:
        assert await preview_status(sandbox, acme.token) == 401


async def test_revoking_requires_a_running_sandbox() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        Sandbox().revoke_tokens("acme")
