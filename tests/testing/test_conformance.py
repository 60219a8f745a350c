"""The fake service behaves as the real one does with a sandbox: each test runs on both, in both wire formats."""

import inspect
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector_async import (
    UNSET,
    Appointment,
    AppointmentService,
    AppointmentUpdate,
    BulkReport,
    ClientCredentials,
    ConnectorSession,
    Created,
    DirectoryUser,
    InvalidRequestError,
    NewAppointment,
    NotFoundError,
    RateLimit,
    RetryPolicy,
    Status,
    WireFormat,
    last_call,
)
from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, BodyFormat, Sandbox
from connector_async.testing import FakeAppointmentService

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
USERS = {WireFormat.GUIDE: None, WireFormat.REFERENCE: DirectoryUser("ad", "domain")}


@pytest.fixture(params=WireFormat, ids=lambda wire_format: wire_format.value)
def wire_format(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["fake", "sandbox"])
async def service(request: pytest.FixtureRequest, wire_format: WireFormat) -> AsyncIterator[AppointmentService]:
    if request.param == "fake":
        yield FakeAppointmentService(wire_format=wire_format, user=USERS[wire_format])
        return
    async with (
        Sandbox(body_format=BodyFormat(wire_format.value)) as sandbox,
        ConnectorSession(
            sandbox.base_url,
            tenant_id="acme",
            auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
            wire_format=wire_format,
            rate_limit=RateLimit.unlimited(),
        ) as session,
    ):
        yield AppointmentService(session, user=USERS[wire_format])


def draft(title: str = "Visit", *, day: int = 0, **fields: Any) -> NewAppointment:
    start = TEN + timedelta(days=day)
    return NewAppointment(title=title, start_time=start, end_time=start + timedelta(hours=1), **fields)


async def preview(service: AppointmentService, **options: Any) -> list[Appointment]:
    return await service.preview(TEN - timedelta(days=9), TEN + timedelta(days=9), **options).collect()


async def test_an_appointment_lives_from_its_create_to_its_delete(service: AppointmentService) -> None:
    created = await service.create(draft(description="First"))
    found = await service.get(created.appointment_id)
    assert (found.title, found.start_time, found.description) == ("Visit", TEN, "First")
    changed = await service.update(found.appointment_id, title="Other", end_time=TEN + timedelta(hours=2))
    assert changed == await service.get(found.appointment_id)
    assert changed is not None
    assert (changed.title, changed.end_time, changed.description) == ("Other", TEN + timedelta(hours=2), "First")
    assert await preview(service) == [changed]
    await service.delete(found.appointment_id)
    assert await preview(service) == []


async def test_any_endpoint_is_requested_and_an_unknown_one_is_not_found(service: AppointmentService) -> None:
    created = await service.create(draft())
    user = service.session.wire_format.user_fields(service.user)
    query = {"appointmentId": created.appointment_id, **user}
    response = await service.request("GET", "/appointment", query=query)
    found = await service.get(created.appointment_id)
    assert (response.status, response.structure(Appointment)) == (200, found)
    with pytest.raises(NotFoundError):
        await service.request("GET", "/appointment/{appointmentId}/notes", path_parameters={"appointmentId": "1"})


async def test_raw_response_has_the_status_and_the_request_id_beside_the_result(service: AppointmentService) -> None:
    raw = await service.with_raw_response.create(draft())
    assert raw.result.title == (await service.get(raw.result.appointment_id)).title
    assert raw.status in {200, 201}
    assert raw.request_id is not None


async def test_watch_yields_what_has_changed(service: AppointmentService) -> None:
    watch = service.watch(TEN - timedelta(days=9), TEN + timedelta(days=9), interval=0.01)
    await watch.start()
    created = await service.create(draft())
    event = await anext(aiter(watch))
    assert isinstance(event, Created)
    assert event.appointment == await service.get(created.appointment_id)


@pytest.mark.parametrize("description", [UNSET, None, "<b>First</b>"])
async def test_a_description_is_kept_as_the_format_carries_it(
    service: AppointmentService, wire_format: WireFormat, description: Any
) -> None:
    created = await service.create(draft(description=description))
    found = await service.get(created.appointment_id)
    empty = "" if wire_format is WireFormat.REFERENCE else None
    assert found.description == (description if isinstance(description, str) else empty)
    await service.update(created.appointment_id, description="Second")
    cleared = await service.update(created.appointment_id, description=None)
    assert cleared is not None
    assert cleared.description == empty
    assert cleared.description_type == found.description_type
    assert cleared.time_zone == found.time_zone


@pytest.mark.parametrize("operation", ["get", "update", "delete"])
async def test_an_unknown_id_is_not_found(service: AppointmentService, operation: str) -> None:
    fields = {"title": "Other"} if operation == "update" else {}
    with pytest.raises(NotFoundError) as caught:
        await getattr(service, operation)("404", **fields)
    error = caught.value
    assert (error.status, error.path, error.operation) == (404, "/acme/appointment", operation)
    assert (error.attempts, error.sent) == (1, True)
    assert error.request_id
    assert last_call.get().operation == operation


async def test_an_end_before_the_start_is_refused(service: AppointmentService) -> None:
    created = await service.create(draft())
    with pytest.raises(InvalidRequestError):
        await service.update(created.appointment_id, end_time=TEN - timedelta(hours=1))
    assert (await service.get(created.appointment_id)).end_time == TEN + timedelta(hours=1)


async def test_preview_has_the_appointments_that_overlap_by_their_start(service: AppointmentService) -> None:
    for day in (1, 2, 0):
        await service.create(draft(f"Day {day}", day=day))
    found = await service.preview(TEN + timedelta(minutes=30), TEN + timedelta(days=1, minutes=1)).collect()
    assert [appointment.title for appointment in found] == ["Day 0", "Day 1"]


async def test_windows_show_each_appointment_once(service: AppointmentService, wire_format: WireFormat) -> None:
    await service.create(draft(day=1))
    if wire_format is WireFormat.GUIDE:
        with pytest.raises(ValueError, match="window must be None"):
            await preview(service, window=timedelta(days=1))
    else:
        assert len(await preview(service, window=timedelta(hours=1), concurrency=4)) == 1


@pytest.mark.parametrize(
    ("operation", "arguments", "error"),
    [
        ("get", ("",), ValueError),
        ("get", (1,), TypeError),
        ("create", ("Visit",), TypeError),
        ("update", ("1",), ValueError),
        ("delete", ("..",), ValueError),
        ("preview", (TEN.replace(tzinfo=None),), ValueError),
        ("get_many", ("1",), TypeError),
        ("with_options", (), TypeError),
    ],
)
async def test_invalid_arguments_are_rejected(
    service: AppointmentService, operation: str, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    options = {"deadline": "soon"} if operation == "with_options" else {}
    with pytest.raises(error):
        await getattr(service, operation)(*arguments, **options)


async def test_bulk_calls_have_an_outcome_for_each_input(service: AppointmentService) -> None:
    created = await BulkReport().collect(service.create_many([draft(day=day) for day in range(3)]))
    assert created.counts[Status.DONE] == 3
    ids = [appointment.appointment_id for appointment in await preview(service)]
    read = [outcome.result async for outcome in service.get_many(ids, ordered=True)]
    assert read == await preview(service)
    updates = [AppointmentUpdate(appointment_id=appointment_id, title="Other") for appointment_id in [*ids, "404"]]
    updated = await BulkReport().collect(service.update_many(updates, concurrency=2))
    assert (updated.counts[Status.DONE], updated.counts[Status.FAILED]) == (3, 1)
    deleted = await BulkReport().collect(service.delete_many(ids))
    assert deleted.counts[Status.DONE] == 3
    assert await preview(service) == []


async def test_a_service_with_options_shares_the_appointments(service: AppointmentService) -> None:
    patient = service.with_options(retry=RetryPolicy(attempts=8), deadline=120)
    created = await patient.create(draft())
    await service.get(created.appointment_id, deadline=5)
    assert (patient.retry.attempts, patient.deadline, patient.user) == (8, 120, service.user)


async def test_another_tenant_has_appointments_of_its_own(service: AppointmentService) -> None:
    created = await service.create(draft())
    other = AppointmentService(service.session.for_tenant("globex"), user=service.user)
    with pytest.raises(NotFoundError):
        await other.get(created.appointment_id)


def test_methods_of_the_fake_have_the_signatures_of_the_real_service() -> None:
    public = [name for name in dir(AppointmentService) if not name.startswith("_")]
    assert {"get", "create", "update", "delete", "preview", "with_options"} <= set(public)
    for name in public:
        real, fake = getattr(AppointmentService, name), getattr(FakeAppointmentService, name)
        if isinstance(real, property):
            continue
        assert inspect.signature(fake).parameters == inspect.signature(real).parameters, name
        assert inspect.iscoroutinefunction(fake) == inspect.iscoroutinefunction(real), name
