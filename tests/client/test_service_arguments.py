"""Invalid arguments of a service are rejected by name before anything is sent."""

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from connector_async import AppointmentService, AppointmentUpdate, NewAppointment, RetryPolicy, found_by_preview
from tests.support.hostile import HostileServer
from tests.support.services import FOUND, open_service


@pytest.fixture
async def server() -> AsyncIterator[HostileServer]:
    """Yield a server that must not get any request."""
    async with HostileServer(FOUND) as unused:
        yield unused
        assert unused.requests == []


@pytest.fixture
async def service(server: HostileServer) -> AppointmentService:
    return open_service(server)


@pytest.mark.parametrize("value", ["no", 1, None])
async def test_read_first_that_is_not_a_bool_is_rejected(service: AppointmentService, value: Any) -> None:
    with pytest.raises(TypeError, match=f"read_first must be a bool, not {type(value).__name__}"):
        await service.update("123", title="Other", read_first=value)


async def yields(_: AppointmentService, __: NewAppointment) -> AsyncIterator[None]:
    yield None


VERIFIES = [
    (found_by_preview, r"verify must be an instance, such as found_by_preview\(\), not a class"),
    (True, r"verify must be callable, such as found_by_preview\(\), or None, not bool"),
    ("found_by_preview", r"verify must be callable, such as found_by_preview\(\), or None, not str"),
    (yields, "verify must return an appointment: it must not be an async generator function"),
]


@pytest.mark.parametrize(("verify", "rule"), VERIFIES)
async def test_invalid_verify_is_rejected(
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


OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"retry": RetryPolicy}, TypeError, "retry must be a RetryPolicy or None, not the class RetryPolicy"),
    ({"deadline": 0}, ValueError, "deadline must be above zero"),
    ({"concurrency": 0}, ValueError, "concurrency must be 1 or more"),
    ({"max_errors": 0}, ValueError, "max_errors must be 1 or more"),
    ({"ordered": "no"}, TypeError, "ordered must be a bool, not str"),
]
OTHER_VALUES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"retry": 3}, TypeError, "retry must be a RetryPolicy or None, not int"),
    ({"deadline": math.nan}, ValueError, "deadline must be above zero"),
    ({"deadline": True}, TypeError, "deadline must be a number of seconds, not bool"),
    ({"concurrency": None}, TypeError, "concurrency must be an int, not NoneType"),
    ({"max_errors": True}, TypeError, "max_errors must be an int, not bool"),
]


@pytest.mark.parametrize(
    ("method", "options", "error", "rule"),
    [
        *((method, *option) for method in MANY for option in OPTIONS),
        *(("get_many", *option) for option in OTHER_VALUES),
    ],
)
async def test_invalid_option_of_a_bulk_operation_is_rejected_at_the_call(
    service: AppointmentService, method: str, options: dict[str, Any], error: type[Exception], rule: str
) -> None:
    with pytest.raises(error, match=rule):
        getattr(service, method)(["1"], **options)


@pytest.mark.parametrize(
    ("method", "inputs"),
    [
        *((method, inputs) for method in MANY for inputs in (None, "123")),
        *(("get_many", inputs) for inputs in (5, b"123", bytearray(b"123"), NewAppointment, yields)),
    ],
)
async def test_inputs_that_are_not_iterable_are_rejected_at_the_call(
    service: AppointmentService, method: str, inputs: Any
) -> None:
    rule = f"{MANY[method]} must be an iterable or an async iterable, not {type(inputs).__name__}"
    with pytest.raises(TypeError, match=rule):
        getattr(service, method)(inputs)


@pytest.mark.parametrize(("verify", "rule"), VERIFIES)
async def test_invalid_verify_of_create_many_is_rejected_at_the_call(
    service: AppointmentService, draft: NewAppointment, verify: Any, rule: str
) -> None:
    with pytest.raises(TypeError, match=rule):
        service.create_many([draft], verify=verify)


@pytest.mark.parametrize("value", ["no", 1, None])
async def test_read_first_of_update_many_that_is_not_a_bool_is_rejected(
    service: AppointmentService, value: Any
) -> None:
    with pytest.raises(TypeError, match=f"read_first must be a bool, not {type(value).__name__}"):
        service.update_many([AppointmentUpdate(appointment_id="1", title="Other")], read_first=value)
