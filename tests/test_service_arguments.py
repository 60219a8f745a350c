"""Arguments of a service that are refused by name, before anything is sent."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from connector_async import AppointmentService, NewAppointment, found_by_preview
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


async def yields(_: AppointmentService, __: NewAppointment) -> AsyncIterator[None]:
    yield None


VERIFIES = [
    (found_by_preview, r"verify must be an instance, such as found_by_preview\(\), not a class"),
    (True, r"verify must be callable, such as found_by_preview\(\), or None, not bool"),
    ("found_by_preview", r"verify must be callable, such as found_by_preview\(\), or None, not str"),
    (yields, "verify must return what it finds: it must not be an async generator function"),
]


@pytest.mark.parametrize(("verify", "rule"), VERIFIES)
async def test_a_verify_that_could_not_look_is_refused_at_once(
    service: AppointmentService, draft: NewAppointment, verify: Any, rule: str
) -> None:
    with pytest.raises(TypeError, match=rule):
        await service.create(draft, verify=verify)
