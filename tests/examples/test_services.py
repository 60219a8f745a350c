"""The two web services, which have the same routes: each test runs both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from connector_async import NewAppointment
from connector_async.sandbox import DelayFault, Sandbox, StatusFault
from tests.support.example_process import EXAMPLES, ExampleProcess, running

TENANTS = [f"tenant-{number}" for number in range(20)]
UNKNOWN = "00000000-0000-0000-0000-000000000000"

pytestmark = pytest.mark.parametrize("service", ["fastapi_service", "aiohttp_service"])


@asynccontextmanager
async def serving(sandbox: Sandbox, service: str) -> AsyncIterator[tuple[ExampleProcess, aiohttp.ClientSession]]:
    """Run a service on a free port, with a client of it."""
    async with (
        running(sandbox, str(EXAMPLES / f"{service}.py"), environment={"PORT": "0"}) as process,
        aiohttp.ClientSession(await url_of(process)) as client,
    ):
        yield process, client


async def url_of(process: ExampleProcess) -> str:
    """Return the URL of a service, which it prints as soon as it listens."""
    return (await process.line(r"[Rr]unning on (http://127\.0\.0\.1:\d+)")).group(1)


async def listens(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    writer.close()
    return True


def complaints(process: ExampleProcess) -> list[str]:
    """Return the lines of stderr other than uvicorn's notes on its start and end."""
    return [line for line in process.err if not line.startswith("INFO: ")]


async def test_a_hundred_concurrent_requests_of_many_tenants_share_one_session(
    service: str, sandbox: Sandbox, draft: NewAppointment
) -> None:
    async def ask(client: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with client.request(method, path, json=body) as response:
            return response.status, await response.json()

    async with serving(sandbox, service) as (process, client):
        created = await asyncio.gather(
            *(ask(client, "POST", f"/{tenant}/appointments", draft.to_dict()) for tenant in TENANTS)
        )
        assert {status for status, _ in created} == {201}
        ids = {tenant: body["appointment_id"] for tenant, (_, body) in zip(TENANTS, created, strict=True)}
        paths = [f"/{tenant}/appointments{end}" for tenant in TENANTS for end in ("", f"/{ids[tenant]}") * 2 + ("",)]
        read = await asyncio.gather(*(ask(client, "GET", path) for path in paths))
    assert len(read) == 100
    for path, (status, body) in zip(paths, read, strict=True):
        (found,) = body if isinstance(body, list) else [body]
        assert (status, found["appointment_id"]) == (200, ids[path.split("/")[1]])
        assert found["title"] == draft.title
    for tenant in TENANTS:
        assert sandbox.log.count(tenant=tenant) == 7
        assert sandbox.log.count(tenant=tenant, operation="token") == 1
    assert complaints(process) == []


async def test_errors_have_the_statuses_that_they_mean(service: str, sandbox: Sandbox, draft: NewAppointment) -> None:
    async with serving(sandbox, service) as (process, client):
        async with client.get(f"/acme/appointments/{UNKNOWN}") as response:
            assert (response.status, await response.json()) == (404, {"error": "NotFoundError"})
        async with client.get("/%C3%A9/appointments") as response:
            assert (response.status, await response.json()) == (400, {"error": "InvalidArgumentError"})
        backwards = draft.to_dict() | {"end_time": "2024-01-15T09:00:00Z"}
        for body in ({"json": backwards}, {"data": b"{", "headers": {"Content-Type": "application/json"}}):
            async with client.post("/acme/appointments", **body) as response:
                assert response.status in {400, 422}
        sandbox.faults.script(StatusFault(429, retry_after=300), tenant="acme")
        async with client.get("/acme/appointments") as response:
            assert (response.status, await response.json()) == (503, {"error": "RateLimitedError"})
            assert response.headers["Retry-After"] == "300"
        async with client.get("/acme/appointments") as response:  # is not even sent
            assert (response.status, await response.json()) == (503, {"error": "ThrottledError"})
            assert 290 < int(response.headers["Retry-After"]) <= 330
        async with client.get("/globex/appointments") as response:  # no other tenant waits
            assert (response.status, await response.json()) == (200, [])
    assert sandbox.log.count(operation="create") == 0
    assert complaints(process) == []


async def test_sigterm_lets_requests_in_flight_end(service: str) -> None:
    held, released = asyncio.Event(), asyncio.Event()

    async def hold(_: float) -> None:
        held.set()
        await released.wait()

    async with Sandbox(sleep=hold) as sandbox, serving(sandbox, service) as (process, client):
        sandbox.faults.script(DelayFault(1), operation="preview")
        response = asyncio.create_task(client.get("/acme/appointments"))
        await held.wait()
        process.terminate()
        while await listens(await url_of(process)):
            await asyncio.sleep(0.01)
        released.set()
        async with await response as last:
            assert (last.status, await last.json()) == (200, [])
        assert await process.ended() == 0
    assert complaints(process) == []
