"""Creates whose response was lost, and `verify`, which finds out whether they happened."""

import asyncio
import logging
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    Clock,
    InvalidRequestError,
    NewAppointment,
    OutcomeUnknownError,
    RetryPolicy,
    ServerError,
    TransportError,
    found_by_preview,
    last_call,
)
from connector_async.sandbox import DropAfter, DropBefore, Sandbox, StatusFault, TruncatedResponse
from tests.conftest import ManualClock
from tests.support.hostile import HostileServer, drop, hang, http
from tests.support.services import CREATED, open_service
from tests.support.virtual_time import LoopClock

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)


@pytest.fixture
def slept(clock: ManualClock) -> list[float]:
    return clock.sleeps


async def stored(service: AppointmentService) -> list[Appointment]:
    return [appointment async for appointment in service.preview()]


@pytest.mark.row("R3")
@pytest.mark.parametrize("lost", [DropAfter(), TruncatedResponse()], ids=lambda fault: fault.name)
async def test_lost_create_found_by_verify_succeeds_with_one_post(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment, slept: list[float], lost: DropAfter
) -> None:
    sandbox.faults.script(lost, operation="create")
    created = await appointments.create(draft, verify=found_by_preview(grace=3))
    record = last_call.get()
    assert sandbox.log.count(operation="create") == 1
    assert await stored(appointments) == [created]
    assert slept == [3]
    assert (record.operation, record.attempts) == ("create", 1)


@pytest.mark.row("R3")
@pytest.mark.parametrize("lost", [DropBefore(), StatusFault(500), StatusFault(503)], ids=lambda fault: fault.name)
async def test_lost_create_not_found_by_verify_is_sent_again(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment, lost: DropBefore
) -> None:
    sandbox.faults.script(lost, operation="create")
    created = await appointments.create(draft, verify=found_by_preview())
    assert sandbox.log.count(operation="create") == 2
    assert await stored(appointments) == [created]


@pytest.mark.row("R3")
async def test_lost_create_without_verify_is_unknown_after_one_post(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
) -> None:
    sandbox.faults.script(DropAfter(), operation="create")
    with pytest.raises(OutcomeUnknownError) as caught:
        await appointments.create(draft)
    assert isinstance(caught.value.__cause__, TransportError)
    assert sandbox.log.count(operation="create") == 1


async def test_create_that_is_never_found_ends_unknown_with_absent_and_status(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
) -> None:
    sandbox.faults.script(DropBefore(), DropBefore(), StatusFault(504), operation="create")
    with pytest.raises(OutcomeUnknownError) as caught:
        await appointments.create(draft, verify=found_by_preview())
    assert (caught.value.absent, caught.value.status, caught.value.attempts) == (True, 504, 3)
    assert sandbox.log.count(operation="create") == 3
    assert await stored(appointments) == []


async def test_create_refused_after_a_lost_attempt_that_was_not_found_raises_the_refusal(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
) -> None:
    sandbox.faults.script(DropBefore(), StatusFault(400), operation="create")
    with pytest.raises(InvalidRequestError) as caught:
        await appointments.create(draft, verify=found_by_preview())
    assert caught.value.attempts == 2


async def test_failing_verify_leaves_the_create_unknown(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
) -> None:
    sandbox.faults.script(DropAfter(), operation="create")
    sandbox.faults.script(*[StatusFault(500)] * 3, operation="preview")
    with pytest.raises(OutcomeUnknownError) as caught:
        await appointments.create(draft, verify=found_by_preview())
    assert caught.value.absent is False
    assert isinstance(caught.value.__cause__, TransportError)
    assert sandbox.log.count(operation="create") == 1


async def raise_bug(_: AppointmentService, __: NewAppointment) -> Appointment | None:
    raise ZeroDivisionError


async def return_invalid_value(_: AppointmentService, __: NewAppointment) -> Any:
    return False


@pytest.mark.parametrize(("verify", "error"), [(raise_bug, ZeroDivisionError), (return_invalid_value, TypeError)])
async def test_bug_in_a_custom_verify_is_logged_and_leaves_the_create_unknown(
    appointments: AppointmentService,
    sandbox: Sandbox,
    draft: NewAppointment,
    caplog: pytest.LogCaptureFixture,
    verify: Any,
    error: type[Exception],
) -> None:
    sandbox.faults.script(DropAfter(), operation="create")
    with pytest.raises(OutcomeUnknownError) as caught:
        await appointments.create(draft, verify=verify)
    assert isinstance(caught.value.__cause__, TransportError)
    assert caught.value.absent is False
    assert sandbox.log.count(operation="create") == 1
    (line,) = [line for line in caplog.records if line.levelno == logging.ERROR]
    assert line.getMessage() == "verify raised"
    assert line.exc_info is not None
    assert line.exc_info[0] is error


async def test_cancellation_within_verify_is_logged_and_leaves_the_create_unknown(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment, caplog: pytest.LogCaptureFixture
) -> None:
    async def await_a_cancelled_task(_: AppointmentService, __: NewAppointment) -> Appointment | None:
        task = asyncio.create_task(asyncio.sleep(1))
        task.cancel()
        await task
        return None

    sandbox.faults.script(DropAfter(), operation="create")
    with pytest.raises(OutcomeUnknownError) as caught:
        await appointments.create(draft, verify=await_a_cancelled_task)
    assert caught.value.absent is False
    assert sandbox.log.count(operation="create") == 1
    assert [line.getMessage() for line in caplog.records if line.levelno == logging.ERROR] == ["verify raised"]


async def test_call_cancelled_during_verify_is_cancelled(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
) -> None:
    looking = asyncio.Event()

    async def look_forever(_: AppointmentService, __: NewAppointment) -> Appointment | None:
        looking.set()
        await asyncio.Event().wait()
        return None

    sandbox.faults.script(DropAfter(), operation="create")
    task = asyncio.create_task(appointments.create(draft, verify=look_forever))
    await looking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("during", ["post", "grace"])
async def test_session_closed_meanwhile_leaves_the_create_unknown(draft: NewAppointment, during: str) -> None:
    async with HostileServer(hang if during == "post" else drop) as server:
        service = open_service(server, clock=Clock())
        task = asyncio.create_task(service.create(draft, verify=found_by_preview(grace=60)))
        while not server.requests:
            await asyncio.sleep(0.001)
        if during == "grace":
            await asyncio.sleep(0.02)
        await service.session.aclose()
        async with asyncio.timeout(5):
            with pytest.raises(OutcomeUnknownError):
                await task


async def test_appointment_at_the_end_of_time_is_found(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
) -> None:
    last = attrs.evolve(draft, end_time=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    sandbox.faults.script(DropAfter(), operation="create")
    created = await appointments.create(last, verify=found_by_preview())
    assert await stored(appointments) == [created]


async def test_create_without_a_deadline_is_verified_without_one(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
) -> None:
    sandbox.faults.script(DropAfter(), operation="create")
    service = appointments.with_options(deadline=1)
    await service.create(draft, verify=found_by_preview(grace=2), deadline=math.inf)
    assert sandbox.log.count(operation="create") == 1


@pytest.mark.parametrize("known", [3, "abc", b"abc", bytearray(b"abc"), iter(["1"])])
def test_known_that_is_not_a_container_is_rejected(known: Any) -> None:
    with pytest.raises(TypeError, match="known must be a container of ids"):
        found_by_preview(known=known)


async def test_verify_is_not_called_after_a_refused_create(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
) -> None:
    async def never(_: AppointmentService, __: NewAppointment) -> Appointment | None:
        raise AssertionError

    sandbox.faults.script(StatusFault(429), StatusFault(503, retry_after=1), StatusFault(422), operation="create")
    with pytest.raises(InvalidRequestError):
        await appointments.create(draft, verify=never)
    assert sandbox.log.count(operation="create") == 3


async def test_equal_appointments_are_distinguished_by_their_ids(
    appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
) -> None:
    known = {(await appointments.create(draft)).appointment_id}
    verify = found_by_preview(known=known)
    sandbox.faults.script(DropAfter(), DropBefore(), DropAfter(), operation="create")
    for _ in range(3):
        await appointments.create(draft, verify=verify)
    found = await stored(appointments)
    assert len(found) == len({appointment.appointment_id for appointment in found}) == 4
    assert sandbox.log.count(operation="create") == 1 + 3 + 1
    known |= {appointment.appointment_id for appointment in found}
    assert await verify(appointments, draft) is None


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Another"},
        {"start_time": TEN + timedelta(minutes=1)},
        {"end_time": TEN + timedelta(minutes=59)},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_appointment_with_another_title_or_time_is_not_found(
    appointments: AppointmentService, draft: NewAppointment, change: dict[str, Any]
) -> None:
    await appointments.create(attrs.evolve(draft, **change))
    assert await found_by_preview()(appointments, draft) is None
    created = await appointments.create(draft)
    assert await found_by_preview()(appointments, draft) == created


async def test_appointment_without_duration_is_found(appointments: AppointmentService, draft: NewAppointment) -> None:
    moment = attrs.evolve(draft, end_time=draft.start_time)
    created = await appointments.create(moment)
    assert await found_by_preview()(appointments, moment) == created


@pytest.mark.row("R18")
@pytest.mark.virtual_time
@pytest.mark.parametrize("grace", [2, 30])
async def test_verify_ends_with_the_deadline_of_the_create(draft: NewAppointment, grace: float) -> None:
    loop = asyncio.get_running_loop()
    async with HostileServer(drop, hang) as server:
        service = open_service(server, clock=LoopClock(), attempt_timeout=100)
        started_at = loop.time()
        with pytest.raises(OutcomeUnknownError) as caught:
            await service.create(draft, verify=found_by_preview(grace=grace), deadline=10)
        # A grace that ends after the deadline is not waited for.
        assert loop.time() - started_at == pytest.approx(10 if grace == 2 else 0, abs=0.1)
        assert len(server.requests) == (2 if grace == 2 else 1)
    assert (caught.value.absent, caught.value.attempts) == (False, 1)


@pytest.mark.virtual_time
async def test_custom_verify_gets_the_rest_of_the_deadline_and_is_bounded_by_it(draft: NewAppointment) -> None:
    deadlines = []

    async def endless(service: AppointmentService, _: NewAppointment) -> None:
        deadlines.append(service.deadline)
        await asyncio.sleep(1_000)

    loop = asyncio.get_running_loop()
    async with HostileServer(drop) as server:
        started_at = loop.time()
        with pytest.raises(OutcomeUnknownError):
            await open_service(server, clock=LoopClock()).create(draft, verify=endless, deadline=10)
        assert loop.time() - started_at == pytest.approx(10, abs=0.1)
    assert deadlines == [pytest.approx(10, abs=0.1)]


@pytest.mark.virtual_time
async def test_create_that_hangs_until_its_deadline_is_not_verified(draft: NewAppointment) -> None:
    async with HostileServer(hang) as server:
        with pytest.raises(OutcomeUnknownError) as caught:
            await open_service(server, clock=LoopClock()).create(draft, verify=found_by_preview(), deadline=10)
        assert len(server.requests) == 1
    assert caught.value.elapsed == pytest.approx(10, abs=0.1)


async def test_verify_is_called_after_each_lost_response(draft: NewAppointment) -> None:
    calls = []

    async def look(service: AppointmentService, new: NewAppointment) -> Appointment | None:
        calls.append((service.deadline, new))
        return None

    async with HostileServer(drop, http(500), CREATED) as server:
        policy = RetryPolicy(attempts=3)
        created = await open_service(server, retry=policy).create(draft, verify=look)
    assert created.appointment_id == "123"
    assert calls == [(60, draft), (59.5, draft)]  # the rest of the default deadline


@pytest.mark.parametrize(
    ("options", "error"), [({"grace": -1}, ValueError), ({"grace": "2"}, TypeError), ({"grace": 1e400}, ValueError)]
)
def test_invalid_grace_is_rejected_by_name(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="grace must be"):
        found_by_preview(**options)


async def test_permanent_error_of_a_create_is_raised_without_verify(draft: NewAppointment) -> None:
    async with HostileServer(http(501)) as server:
        with pytest.raises(ServerError):
            await open_service(server).create(draft, verify=found_by_preview())
        assert len(server.requests) == 1
