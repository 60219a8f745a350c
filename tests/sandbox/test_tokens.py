from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from connector_async.sandbox import Sandbox
from tests.support.sandbox_user import MEETING, fetch_token, joined


async def status(sandbox: Sandbox, token: str, tenant: str = "acme") -> int:
    headers = {"Authorization": f"Bearer {token}", "tenantId": tenant}
    async with (
        aiohttp.ClientSession(sandbox.base_url, headers=headers) as session,
        session.get(f"/{tenant}/appointment/preview") as response,
    ):
        return response.status


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], Sandbox]:
    return lambda: Sandbox(database=tmp_path / "sandbox.db")


async def test_a_token_and_what_was_written_outlive_a_restart_with_the_same_file(make: Callable[[], Sandbox]) -> None:
    async with joined(make()) as acme:
        appointment_id = await acme.create(MEETING)
    async with make() as sandbox:
        assert await status(sandbox, acme.token) == 200
        async with (
            aiohttp.ClientSession(sandbox.base_url, headers=acme.headers) as session,
            session.get("/acme/appointment", params={"appointmentId": appointment_id}) as response,
        ):
            assert (await response.json())["title"] == MEETING["title"]


async def test_a_revocation_outlives_a_restart_and_spares_tokens_issued_after_it(make: Callable[[], Sandbox]) -> None:
    async with joined(make()) as acme:
        other = await fetch_token(acme.session, "other")
    async with make() as sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        early = await fetch_token(session)
        sandbox.revoke_tokens("acme")
        late = await fetch_token(session)
    async with make() as sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        assert [await status(sandbox, token) for token in (acme.token, early, late)] == [401, 401, 200]
        assert await status(sandbox, other, "other") == 200
        assert await status(sandbox, await fetch_token(session)) == 200
        sandbox.revoke_tokens("acme")
    async with make() as sandbox:
        assert await status(sandbox, late) == 401


async def test_a_revocation_is_on_the_disk_before_the_sandbox_is_closed(make: Callable[[], Sandbox]) -> None:
    first = make()
    async with joined(first) as acme:
        first.revoke_tokens("acme")
        async with make() as second:
            assert await status(second, acme.token) == 401


async def test_without_a_file_a_restart_forgets_tokens() -> None:
    sandbox = Sandbox()
    async with joined(sandbox) as acme:
        pass
    async with sandbox:
        assert await status(sandbox, acme.token) == 401


async def test_only_a_running_sandbox_can_revoke() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        Sandbox().revoke_tokens("acme")
