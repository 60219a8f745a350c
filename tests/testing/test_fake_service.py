from datetime import UTC, datetime
from typing import Any

import pytest

from connector_async import (
    AppointmentUpdate,
    AuthenticationError,
    BulkReport,
    CallRecord,
    DeadlineExceededError,
    InvalidArgumentError,
    NewAppointment,
    NotFoundError,
    OutcomeUnknownError,
    RetryPolicy,
    ServerError,
    Status,
    last_call,
)
from connector_async._clock import Deadline
from connector_async.testing import FakeAppointmentService, VirtualClock

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)


@pytest.fixture
def fake() -> FakeAppointmentService:
    return FakeAppointmentService()


async def test_calls_are_recorded_with_what_they_are_about(fake: FakeAppointmentService, draft: NewAppointment) -> None:
    await fake.create(draft)
    await fake.get("1")
    await fake.update("1", title="Other")
    await fake.preview(TEN).collect()
    await fake.delete("1")
    assert fake.calls == [
        ("create", draft),
        ("get", "1"),
        ("update", AppointmentUpdate(appointment_id="1", title="Other")),
        ("preview", (TEN, None)),
        ("delete", "1"),
    ]


async def test_calls_with_an_invalid_argument_are_not_recorded(fake: FakeAppointmentService) -> None:
    with pytest.raises(InvalidArgumentError):
        await fake.get("")
    fake.fail_next(ServerError("down", status=503))
    wrong: Any = {"deadline": -1}, {"retry": 3}
    for options in wrong:
        with pytest.raises((TypeError, ValueError)):
            await fake.get("1", **options)
    assert fake.calls == []
    with pytest.raises(ServerError):  # the failure was not used up
        await fake.get("1")


async def test_each_error_fails_one_call(fake: FakeAppointmentService) -> None:
    fake.fail_next(ServerError("down", status=503), AuthenticationError("refused", status=401))
    with pytest.raises(ServerError):
        await fake.get("1")
    with pytest.raises(AuthenticationError):
        await fake.delete("1")
    with pytest.raises(NotFoundError):
        await fake.get("1")
    assert len(fake.calls) == 3


async def test_a_failure_waits_for_its_operation(fake: FakeAppointmentService, draft: NewAppointment) -> None:
    fake.fail_next(ServerError("down", status=503), operation="preview")
    await fake.create(draft)
    with pytest.raises(ServerError):
        await fake.preview().collect()


async def test_a_failed_call_is_not_retried_and_its_error_is_complete(fake: FakeAppointmentService) -> None:
    fake.fail_next(ServerError("down", status=503))
    with pytest.raises(ServerError) as caught:
        await fake.get("1", retry=RetryPolicy(attempts=5))
    error = caught.value
    assert (error.attempts, error.elapsed, error.operation) == (1, 0, "get")
    assert last_call.get().attempts == 1


async def test_a_failed_call_takes_effect_only_if_asked_for(
    fake: FakeAppointmentService, draft: NewAppointment
) -> None:
    fake.fail_next(ServerError("down", status=501))
    fake.fail_next(OutcomeUnknownError("lost"), applied=True)
    for error in (ServerError, OutcomeUnknownError):
        with pytest.raises(error):
            await fake.create(draft)
    assert [appointment.appointment_id async for appointment in fake.preview()] == ["1"]


async def test_any_exception_can_be_raised(fake: FakeAppointmentService) -> None:
    fake.fail_next(ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError):
        await fake.get("1")


async def test_failures_reach_bulk_calls_and_services_with_options(
    fake: FakeAppointmentService, draft: NewAppointment
) -> None:
    fake.fail_next(OutcomeUnknownError("lost"), operation="create")
    report = await BulkReport().collect(fake.with_options(deadline=5).create_many([draft, draft]))
    assert (report.counts[Status.DONE], report.counts[Status.UNKNOWN]) == (1, 1)
    assert fake.calls == [("create", draft)] * 2


def test_invalid_failures_are_rejected(fake: FakeAppointmentService) -> None:
    wrong: Any = ServerError
    with pytest.raises(TypeError, match="errors must be an Exception, not the class ServerError"):
        fake.fail_next(wrong)
    with pytest.raises(InvalidArgumentError, match="operation must be one of get, create, update, delete, preview"):
        fake.fail_next(ServerError("down"), operation="list")


async def test_its_waits_take_no_time_by_a_clock_that_can_be_given() -> None:
    clock = VirtualClock()
    await FakeAppointmentService(clock=clock).sleep(3600)
    assert clock.elapsed == 3600
    assert isinstance(FakeAppointmentService().session.clock, VirtualClock)


async def test_a_deadline_that_has_expired_ends_a_call() -> None:
    class Late(VirtualClock):
        def monotonic(self) -> float:
            self.advance(1)
            return super().monotonic()

    with pytest.raises(DeadlineExceededError):
        await FakeAppointmentService(clock=Late()).get("1", deadline=0.5)


async def test_other_paths_than_those_of_appointments_are_not_found(fake: FakeAppointmentService) -> None:
    with pytest.raises(NotFoundError):
        await fake.session.request("GET", ("calendar",))


async def test_a_call_that_is_none_of_the_five_is_recorded_by_its_name(fake: FakeAppointmentService) -> None:
    class Ping:
        operation = "ping"
        idempotent = True

        async def attempt(self, deadline: Deadline | None, record: CallRecord) -> str:  # noqa: ARG002
            return "pong"

    assert await fake._make(Ping(), None, None) == "pong"
    assert fake.calls == [("ping", None)]
