"""Arguments of a service that are refused by name, before anything is sent."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from connector_async import AppointmentService
from tests.hostile import HostileServer
from tests.services import FOUND, open_service


@pytest.fixture
async def server() -> AsyncIterator[HostileServer]:
    """Yield a server that must not be asked for anything."""
    async with HostileServer(FOUND) as quiet:
        yield quiet
        assert quiet.requests == []


@pytest.fixture
async def service(server: HostileServer) -> AppointmentService:
    return open_service(server)


@pytest.mark.parametrize("value", ["no", 1, None])
async def test_read_first_is_a_bool(service: AppointmentService, value: Any) -> None:
    with pytest.raises(TypeError, match=f"read_first must be a bool, not {type(value).__name__}"):
        await service.update("123", title="Other", read_first=value)
