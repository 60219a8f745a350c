"""The client against every reading of the contract's open points, as the sandbox speaks it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    ClientCredentials,
    ConnectorSession,
    DecodingError,
    DirectoryUser,
    InvalidRequestError,
    NewAppointment,
    NotFoundError,
    OutcomeUnknownError,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    WireFormat,
)
from connector_async.sandbox import (
    BodyFormat,
    DropAfter,
    DropBefore,
    LimitWindow,
    PutSemantics,
    RevokedToken,
    Sandbox,
    SandboxLimit,
    StatusFault,
    TokenResponse,
    TruncatedResponse,
    UnknownId,
    WriteResponse,
    WrongLength,
)

GUIDE, REFERENCE = WireFormat.GUIDE, WireFormat.REFERENCE
TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
BODY_FORMATS = {GUIDE: BodyFormat.GUIDE, REFERENCE: BodyFormat.REFERENCE}
EMPTY = {WriteResponse.EMPTY_200, WriteResponse.EMPTY_201, WriteResponse.EMPTY_204}

both_formats = pytest.mark.parametrize("wire_format", list(WireFormat), ids=lambda value: value.name)


def user_for(wire_format: WireFormat, ad_id: str = "user-1") -> DirectoryUser | None:
    return DirectoryUser(ad_id, "directory-1") if wire_format.carries_user else None


def sandbox_for(wire_format: WireFormat, **options: Any) -> Sandbox:
    return Sandbox(body_format=BODY_FORMATS[wire_format], **options)


def open_session(sandbox: Sandbox, wire_format: WireFormat) -> ConnectorSession:
    return ConnectorSession(
        sandbox.base_url,
        tenant_id="acme",
        auth=ClientCredentials("sandbox", "sandbox-secret"),
        wire_format=wire_format,
        rate_limit=RateLimit.unlimited(),
    )


def draft(**changes: Any) -> NewAppointment:
    fields: dict[str, Any] = {
        "title": "Meeting with Client",
        "start_time": TEN,
        "end_time": TEN + HOUR,
        "description": "Review",
    }
    return NewAppointment(**fields | changes)


async def only_id(service: AppointmentService) -> str:
    (appointment,) = [item async for item in service.preview(TEN - HOUR, TEN + 2 * HOUR)]
    return appointment.appointment_id


# Each form of a write's response in both formats and with both kinds of ids.
WRITES = [
    (wire_format, reply, (number + (wire_format is REFERENCE)) % 2 == 1)
    for wire_format in WireFormat
    for number, reply in enumerate([None, *WriteResponse])
]


@pytest.mark.parametrize(("wire_format", "write_response", "integer_ids"), WRITES)
async def test_appointment_is_created_changed_and_deleted_for_any_write_response(
    wire_format: WireFormat, write_response: WriteResponse | None, *, integer_ids: bool
) -> None:
    async with (
        sandbox_for(wire_format, write_response=write_response, integer_ids=integer_ids) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        service = AppointmentService(session, user=user_for(wire_format))
        if write_response in EMPTY:
            with pytest.raises(DecodingError):
                await service.create(draft())
            appointment_id = await only_id(service)
        else:
            created = await service.create(draft())
            appointment_id = created.appointment_id
            assert (created.title, created.start_time, created.description) == ("Meeting with Client", TEN, "Review")
            assert attrs.evolve(await service.get(appointment_id), extra=created.extra) == created
        changed = await service.update(appointment_id, title="Updated Meeting Title")
        assert changed is None or changed.title == "Updated Meeting Title"
        assert (await service.get(appointment_id)).title == "Updated Meeting Title"
        await service.delete(appointment_id)
        with pytest.raises(NotFoundError):
            await service.get(appointment_id)


@both_formats
@pytest.mark.parametrize("token_response", list(TokenResponse), ids=str)
async def test_both_forms_of_a_token_response_are_accepted(
    wire_format: WireFormat, token_response: TokenResponse
) -> None:
    async with (
        sandbox_for(wire_format, token_response=token_response) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        await AppointmentService(session, user=user_for(wire_format)).create(draft())
        assert sandbox.log.count(operation="token") == 1


@both_formats
async def test_read_first_keeps_other_fields_when_put_replaces(wire_format: WireFormat) -> None:
    async with (
        sandbox_for(wire_format, put=PutSemantics.REPLACE) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        service = AppointmentService(session, user=user_for(wire_format))
        created = await service.create(draft())
        with pytest.raises(InvalidRequestError):
            await service.update(created.appointment_id, title="Other")
        await service.update(created.appointment_id, title="Other", read_first=True)
        current = await service.get(created.appointment_id)
        assert (current.title, current.start_time, current.end_time, current.description) == (
            "Other",
            TEN,
            TEN + HOUR,
            "Review",
        )
        await service.update(created.appointment_id, description="New", read_first=True)
        assert (await service.get(created.appointment_id)).description == "New"
        assert sandbox.log.count(operation="get") == 4


@both_formats
async def test_read_first_does_not_keep_the_type_of_a_replaced_description(wire_format: WireFormat) -> None:
    types = {"description_type": "Html"} if wire_format.carries_user else {}
    async with (
        sandbox_for(wire_format, put=PutSemantics.REPLACE) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        service = AppointmentService(session, user=user_for(wire_format))
        created = await service.create(draft(description="<p>Review", **types))
        await service.update(created.appointment_id, title="Other", read_first=True)
        current = await service.get(created.appointment_id)
        assert (current.description, current.description_type) == ("<p>Review", types.get("description_type"))
        await service.update(created.appointment_id, description="plain", read_first=True)
        current = await service.get(created.appointment_id)
        assert (current.description, current.description_type) == ("plain", "Text" if types else None)


@both_formats
@pytest.mark.parametrize("unknown_id", list(UnknownId), ids=str)
async def test_any_response_to_an_unknown_id_is_not_found(wire_format: WireFormat, unknown_id: UnknownId) -> None:
    async with (
        sandbox_for(wire_format, unknown_id=unknown_id) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        with pytest.raises(NotFoundError) as caught:
            await AppointmentService(session, user=user_for(wire_format)).get("unknown")
        assert caught.value.path == "/acme/appointment"
        assert caught.value.request_id


@pytest.mark.row("R3")
@pytest.mark.parametrize(
    ("wire_format", "fault", "is_created"),
    [
        (GUIDE, DropAfter(), True),
        (REFERENCE, TruncatedResponse(), True),
        (GUIDE, WrongLength(), True),
        (REFERENCE, DropBefore(), False),
        (GUIDE, StatusFault(code=502), False),
    ],
)
async def test_create_with_a_lost_response_is_unknown_and_not_repeated(
    wire_format: WireFormat, fault: Any, *, is_created: bool
) -> None:
    async with sandbox_for(wire_format) as sandbox, open_session(sandbox, wire_format) as session:
        service = AppointmentService(session, user=user_for(wire_format))
        sandbox.faults.script(fault, operation="create")
        with pytest.raises(OutcomeUnknownError):
            await service.create(draft())
        assert sandbox.log.count(operation="create") == 1
        assert len([item async for item in service.preview(TEN, TEN + HOUR)]) == int(is_created)


@both_formats
async def test_get_with_a_lost_response_is_retried(wire_format: WireFormat) -> None:
    async with sandbox_for(wire_format) as sandbox, open_session(sandbox, wire_format) as session:
        service = AppointmentService(session, user=user_for(wire_format))
        created = await service.create(draft())
        sandbox.faults.script(DropAfter(), operation="get")
        appointment = await service.get(created.appointment_id, retry=RetryPolicy(wait_initial=0))
        assert appointment.appointment_id == created.appointment_id
        assert sandbox.log.count(operation="get") == 2


@both_formats
async def test_revoked_token_is_renewed(wire_format: WireFormat) -> None:
    async with sandbox_for(wire_format) as sandbox, open_session(sandbox, wire_format) as session:
        sandbox.faults.script(RevokedToken(), operation="create")
        await AppointmentService(session, user=user_for(wire_format)).create(draft())
        assert sandbox.log.count(operation="create") == 2
        assert sandbox.log.count(operation="token") == 2


@pytest.mark.parametrize(
    ("wire_format", "window", "status", "retry_after", "error"),
    [
        (GUIDE, LimitWindow.FIXED, 429, True, RateLimitedError),
        (REFERENCE, LimitWindow.FIXED, 503, False, OutcomeUnknownError),
        (GUIDE, LimitWindow.SLIDING, 503, True, ServerError),
        (REFERENCE, LimitWindow.SLIDING, 429, False, RateLimitedError),
        (GUIDE, LimitWindow.TOKEN_BUCKET, 429, False, RateLimitedError),
        (REFERENCE, LimitWindow.TOKEN_BUCKET, 503, True, ServerError),
    ],
)
async def test_refusal_by_the_rate_limit_is_a_typed_error(
    wire_format: WireFormat, window: LimitWindow, status: int, error: type[Exception], *, retry_after: bool
) -> None:
    limit = SandboxLimit(requests=2, per=60.0, window=window, status=status, retry_after=retry_after)
    async with (
        sandbox_for(wire_format, limit=limit, monotonic=lambda: 0.0) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        service = AppointmentService(session, user=user_for(wire_format), retry=RetryPolicy.none())
        await service.create(draft())  # the second request: the token's was the first
        with pytest.raises(error) as caught:
            await service.create(draft())
        if isinstance(caught.value, RateLimitedError | ServerError):
            assert (caught.value.retry_after is not None) is retry_after


async def test_date_times_of_the_reference_may_be_without_offset() -> None:
    async with (
        sandbox_for(REFERENCE, naive_times=True) as sandbox,
        open_session(sandbox, REFERENCE) as session,
    ):
        service = AppointmentService(session, user=user_for(REFERENCE))
        for name in ("UTC", "Europe/Berlin", "W. Europe Standard Time"):
            created = await service.create(draft(time_zone=name))
            appointment = await service.get(created.appointment_id)
            assert (appointment.start_time, appointment.time_zone) == (TEN, name)
            assert appointment.start_time.astimezone(ZoneInfo("Europe/Berlin")).hour == 11


async def test_guide_rejects_a_time_zone() -> None:
    async with sandbox_for(GUIDE) as sandbox, open_session(sandbox, GUIDE) as session:
        with pytest.raises(ValueError, match=r"time_zone is not carried by WireFormat\.GUIDE"):
            await AppointmentService(session).create(draft(time_zone="UTC"))
        assert sandbox.log.count() == 0


async def test_users_of_the_reference_do_not_see_each_other() -> None:
    async with sandbox_for(REFERENCE) as sandbox, open_session(sandbox, REFERENCE) as session:
        mine = AppointmentService(session, user=user_for(REFERENCE, "user-1"))
        theirs = AppointmentService(session, user=user_for(REFERENCE, "user-2"))
        created = await mine.create(draft(description_type="Html"))
        assert [item async for item in theirs.preview(TEN, TEN + HOUR)] == []
        assert (await mine.get(created.appointment_id)).description_type == "Html"
        with pytest.raises(NotFoundError):
            await theirs.get(created.appointment_id)


async def test_services_of_the_guide_see_the_whole_tenant() -> None:
    async with sandbox_for(GUIDE) as sandbox, open_session(sandbox, GUIDE) as session:
        await AppointmentService(session).create(draft())
        appointments: list[Appointment] = [item async for item in AppointmentService(session).preview(TEN, TEN + HOUR)]
        assert len(appointments) == 1


@both_formats
async def test_user_must_fit_the_wire_format(wire_format: WireFormat) -> None:
    async with Sandbox() as sandbox, open_session(sandbox, wire_format) as session:
        wrong = None if wire_format.carries_user else DirectoryUser("a", "d")
        with pytest.raises(ValueError, match="user must be"):
            AppointmentService(session, user=wrong)
        with pytest.raises(TypeError, match="user must be a DirectoryUser or None, not str"):
            AppointmentService(session, user="user-1")  # type: ignore[arg-type]
        service = AppointmentService(session, user=user_for(wire_format))
        if wire_format.carries_user:
            with pytest.raises(ValueError, match="start and end must be given"):
                service.preview(TEN)
        assert sandbox.log.count() == 0
