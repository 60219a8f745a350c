"""Arguments of a service that are refused by name, before anything is sent."""

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from connector_async import AppointmentService, AppointmentUpdate, NewAppointment, RetryPolicy, found_by_preview
from tests.support.hostile import HostileServer
from tests.support.services import FOUND, open_service


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


MANY = {
    "get_many": "appointment_ids",
    "create_many": "drafts",
    "update_many": "updates",
    "delete_many": "appointment_ids",
}


@pytest.mark.parametrize("method", MANY)
@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"retry": 3}, TypeError, "retry must be a RetryPolicy or None, not int"),
        ({"retry": RetryPolicy}, TypeError, "retry must be a RetryPolicy or None, not the class RetryPolicy"),
        ({"deadline": 0}, ValueError, "deadline must be above zero"),
        ({"deadline": math.nan}, ValueError, "deadline must be above zero"),
        ({"deadline": True}, TypeError, "deadline must be a number of seconds, not bool"),
        ({"concurrency": 0}, ValueError, "concurrency must be 1 or more"),
        ({"concurrency": None}, TypeError, "concurrency must be an int, not NoneType"),
        ({"max_errors": 0}, ValueError, "max_errors must be 1 or more"),
        ({"max_errors": True}, TypeError, "max_errors must be an int, not bool"),
        ({"ordered": "no"}, TypeError, "ordered must be a bool, not str"),
    ],
)
async def test_a_bad_option_of_many_is_refused_at_the_call_and_not_once_for_each_input(
    service: AppointmentService, method: str, options: dict[str, Any], error: type[Exception], rule: str
) -> None:
    with pytest.raises(error, match=rule):
        getattr(service, method)(["1"], **options)


@pytest.mark.parametrize(("method", "argument"), MANY.items())
@pytest.mark.parametrize("inputs", [None, 5, "123", b"123", bytearray(b"123"), NewAppointment, yields])
async def test_what_is_no_iterable_of_inputs_is_refused_at_the_call_by_its_name(
    service: AppointmentService, method: str, argument: str, inputs: Any
) -> None:
    rule = f"{argument} must be an iterable or an async iterable, not {type(inputs).__name__}"
    with pytest.raises(TypeError, match=rule):
        getattr(service, method)(inputs)


@pytest.mark.parametrize(("verify", "rule"), VERIFIES)
async def test_a_verify_of_many_that_could_not_look_is_refused_at_the_call(
    service: AppointmentService, draft: NewAppointment, verify: Any, rule: str
) -> None:
    with pytest.raises(TypeError, match=rule):
        service.create_many([draft], verify=verify)


@pytest.mark.parametrize("value", ["no", 1, None])
async def test_read_first_of_many_is_a_bool(service: AppointmentService, value: Any) -> None:
    with pytest.raises(TypeError, match=f"read_first must be a bool, not {type(value).__name__}"):
        service.update_many([AppointmentUpdate(appointment_id="1", title="Other")], read_first=value)
