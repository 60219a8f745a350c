"""A user of the sandbox over plain HTTP. The client stays out of the sandbox's own tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
from attrs import frozen

from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox

CREDENTIALS = {"clientId": DEFAULT_CLIENT_ID, "clientSecret": DEFAULT_CLIENT_SECRET}
ANN = {"domainId": "contoso", "adId": "ann"}
BOB = {"domainId": "contoso", "adId": "bob"}
MEETING = {
    "title": "Meeting with Client",
    "startTime": "2024-01-15T10:00:00Z",
    "endTime": "2024-01-15T11:00:00Z",
    "description": "Quarterly review meeting",
}
REFERENCE_MEETING = {
    **ANN,
    "subject": "Meeting with Client",
    "body": {"content": "Quarterly <b>review</b>", "contentType": "Html"},
    "startTime": "2024-01-15T10:00:00Z",
    "endTime": "2024-01-15T11:00:00Z",
    "timeZone": "UTC",
    "showAs": "Free",
}


class ManualClock:
    """A clock that moves only when a test moves it."""

    def __init__(self, time: float = 1_000.0) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time


@frozen
class Tenant:
    """One tenant's view of the server."""

    session: aiohttp.ClientSession
    name: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "tenantId": self.name}

    async def call(self, method: str, path: str = "", **options: Any) -> tuple[int, Any]:
        """Return the status and the JSON; None for an empty body without a content type."""
        url = f"/{self.name}/appointment{path}"
        async with self.session.request(method, url, headers=self.headers, **options) as response:
            if not await response.read():
                assert "Content-Type" not in response.headers
                return response.status, None
            return response.status, await response.json()

    async def create(self, body: object, **changes: object) -> Any:
        """Return the id of the created appointment."""
        assert isinstance(body, dict)
        status, response = await self.call("POST", json={**body, **changes})
        assert status == 200, response
        return response["appointmentId"]

    async def get(self, appointment_id: object, **user: str) -> tuple[int, Any]:
        return await self.call("GET", params={**user, "appointmentId": str(appointment_id)})


def at(hour: int) -> datetime:
    """Return an hour of the day of the meetings."""
    return datetime(2024, 1, 15, hour, tzinfo=UTC)


async def fetch_token(session: aiohttp.ClientSession, tenant: str = "acme") -> str:
    async with session.post(f"/{tenant}/authentication/token", json=CREDENTIALS) as response:
        assert response.status == 200
        return str((await response.json())["accessToken"])


@asynccontextmanager
async def signed_in(sandbox: Sandbox, name: str = "acme") -> AsyncIterator[Tenant]:
    """Start the sandbox and sign in to a tenant."""
    async with sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        yield Tenant(session, name, await fetch_token(session, name))
