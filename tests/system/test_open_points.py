"""The client against every reading of the contract's open points, each spoken by the sandbox."""

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

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
FORMATS = {WireFormat.GUIDE: BodyFormat.GUIDE, WireFormat.REFERENCE: BodyFormat.REFERENCE}
EMPTY = {WriteResponse.EMPTY_200, WriteResponse.EMPTY_201, WriteResponse.EMPTY_204}

pytestmark = pytest.mark.parametrize("wire_format", list(WireFormat), ids=lambda value: value.name)


def user_for(wire_format: WireFormat, ad_id: str = "user-1") -> DirectoryUser | None:
    return DirectoryUser(ad_id, "directory-1") if wire_format.carries_user else None


def open_session(sandbox: Sandbox, wire_format: WireFormat, **options: Any) -> ConnectorSession:
    auth = ClientCredentials("sandbox", "sandbox-secret")
    return ConnectorSession(
        sandbox.base_url,
        tenant_id="acme",
        auth=auth,
        wire_format=wire_format,
        rate_limit=RateLimit.unlimited(),
        **options,
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
    (found,) = [item async for item in service.preview(TEN - HOUR, TEN + 2 * HOUR)]
    return found.appointment_id


@pytest.mark.parametrize("integer_ids", [False, True])
@pytest.mark.parametrize("write_response", [None, *WriteResponse], ids=str)
async def test_an_appointment_lives_whatever_a_write_answers(
    wire_format: WireFormat, write_response: WriteResponse | None, *, integer_ids: bool
) -> None:
    async with (
        Sandbox(body_format=FORMATS[wire_format], write_response=write_response, integer_ids=integer_ids) as sandbox,
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
            known = attrs.evolve(await service.get(appointment_id), extra=created.extra)
            assert known == created
        changed = await service.update(appointment_id, title="Updated Meeting Title")
        assert changed is None or changed.title == "Updated Meeting Title"
        assert (await service.get(appointment_id)).title == "Updated Meeting Title"
        await service.delete(appointment_id)
        with pytest.raises(NotFoundError):
            await service.get(appointment_id)


@pytest.mark.parametrize("token_response", list(TokenResponse), ids=str)
async def test_both_answers_of_the_token_endpoint_serve(wire_format: WireFormat, token_response: TokenResponse) -> None:
    async with (
        Sandbox(body_format=FORMATS[wire_format], token_response=token_response) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        await AppointmentService(session, user=user_for(wire_format)).create(draft())
        assert sandbox.log.count(operation="token") == 1


async def test_where_put_replaces_the_rest_is_read_first(wire_format: WireFormat) -> None:
    async with (
        Sandbox(body_format=FORMATS[wire_format], put=PutSemantics.REPLACE) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        service = AppointmentService(session, user=user_for(wire_format))
        created = await service.create(draft())
        with pytest.raises(InvalidRequestError):
            await service.update(created.appointment_id, title="Other")
        await service.update(created.appointment_id, title="Other", read_first=True)
        found = await service.get(created.appointment_id)
        assert (found.title, found.start_time, found.end_time, found.description) == (
            "Other",
            TEN,
            TEN + HOUR,
            "Review",
        )
        await service.update(created.appointment_id, description="New", read_first=True)
        assert (await service.get(created.appointment_id)).description == "New"
        assert sandbox.log.count(operation="get") == 4


async def test_what_is_read_first_tells_no_type_of_a_text_that_is_replaced(wire_format: WireFormat) -> None:
    types = {"description_type": "Html"} if wire_format.carries_user else {}
    async with (
        Sandbox(body_format=FORMATS[wire_format], put=PutSemantics.REPLACE) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        service = AppointmentService(session, user=user_for(wire_format))
        created = await service.create(draft(description="<p>Review", **types))
        await service.update(created.appointment_id, title="Other", read_first=True)
        found = await service.get(created.appointment_id)
        assert (found.description, found.description_type) == ("<p>Review", types.get("description_type"))
        await service.update(created.appointment_id, description="plain", read_first=True)
        found = await service.get(created.appointment_id)
        assert (found.description, found.description_type) == ("plain", "Text" if types else None)


@pytest.mark.parametrize("unknown_id", list(UnknownId), ids=str)
async def test_an_unknown_id_is_not_found_however_it_is_told(wire_format: WireFormat, unknown_id: UnknownId) -> None:
    async with (
        Sandbox(body_format=FORMATS[wire_format], unknown_id=unknown_id) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        with pytest.raises(NotFoundError) as caught:
            await AppointmentService(session, user=user_for(wire_format)).get("unknown")
        assert caught.value.path == "/acme/appointment"
        assert caught.value.request_id


@pytest.mark.parametrize(
    "fault", [DropAfter(), TruncatedResponse(), WrongLength(), DropBefore(), StatusFault(code=502)]
)
async def test_a_create_whose_answer_is_lost_is_told_as_unknown_and_not_repeated(
    wire_format: WireFormat, fault: Any
) -> None:
    async with (
        Sandbox(body_format=FORMATS[wire_format]) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        service = AppointmentService(session, user=user_for(wire_format))
        sandbox.faults.script(fault, operation="create")
        with pytest.raises(OutcomeUnknownError):
            await service.create(draft())
        assert sandbox.log.count(operation="create") == 1
        found = [item async for item in service.preview(TEN, TEN + HOUR)]
        assert len(found) == int(isinstance(fault, DropAfter | TruncatedResponse | WrongLength))


async def test_a_get_whose_answer_is_lost_is_asked_again(wire_format: WireFormat) -> None:
    async with (
        Sandbox(body_format=FORMATS[wire_format]) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        service = AppointmentService(session, user=user_for(wire_format))
        created = await service.create(draft())
        sandbox.faults.script(DropAfter(), operation="get")
        found = await service.get(created.appointment_id, retry=RetryPolicy(wait_initial=0))
        assert found.appointment_id == created.appointment_id
        assert sandbox.log.count(operation="get") == 2


async def test_a_token_revoked_in_the_middle_is_renewed(wire_format: WireFormat) -> None:
    async with (
        Sandbox(body_format=FORMATS[wire_format]) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        sandbox.faults.script(RevokedToken(), operation="create")
        await AppointmentService(session, user=user_for(wire_format)).create(draft())
        assert sandbox.log.count(operation="create") == 2
        assert sandbox.log.count(operation="token") == 2


@pytest.mark.parametrize("window", list(LimitWindow), ids=str)
@pytest.mark.parametrize(("status", "error"), [(429, RateLimitedError), (503, ServerError)])
@pytest.mark.parametrize("retry_after", [False, True])
async def test_a_refusal_for_too_many_requests_is_told_as_it_comes(
    wire_format: WireFormat, window: LimitWindow, status: int, error: type[Exception], *, retry_after: bool
) -> None:
    limit = SandboxLimit(requests=2, per=60.0, window=window, status=status, retry_after=retry_after)
    async with (
        Sandbox(body_format=FORMATS[wire_format], limit=limit, monotonic=lambda: 0.0) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        service = AppointmentService(session, user=user_for(wire_format), retry=RetryPolicy.none())
        await service.create(draft())  # the second request: the token's was the first
        expected = OutcomeUnknownError if status == 503 and not retry_after else error
        with pytest.raises(expected) as caught:
            await service.create(draft())
        if isinstance(caught.value, RateLimitedError | ServerError):
            assert (caught.value.retry_after is not None) is retry_after


async def test_date_times_may_come_without_offset_in_a_zone_beside_them(wire_format: WireFormat) -> None:
    async with (
        Sandbox(body_format=FORMATS[wire_format], naive_times=wire_format.carries_user) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        service = AppointmentService(session, user=user_for(wire_format))
        for name in ("UTC", "Europe/Berlin", "W. Europe Standard Time"):
            if wire_format is WireFormat.GUIDE:
                with pytest.raises(ValueError, match=r"time_zone is not carried by WireFormat\.GUIDE"):
                    await service.create(draft(time_zone=name))
                continue
            created = await service.create(draft(time_zone=name))
            found = await service.get(created.appointment_id)
            assert (found.start_time, found.time_zone) == (TEN, name)
            assert found.start_time.astimezone(ZoneInfo("Europe/Berlin")).hour == 11


async def test_the_references_users_do_not_see_each_other(wire_format: WireFormat) -> None:
    async with (
        Sandbox(body_format=FORMATS[wire_format]) as sandbox,
        open_session(sandbox, wire_format) as session,
    ):
        mine = AppointmentService(session, user=user_for(wire_format, "user-1"))
        theirs = AppointmentService(session, user=user_for(wire_format, "user-2"))
        created = await mine.create(draft(**({"description_type": "Html"} if wire_format.carries_user else {})))
        found: list[Appointment] = [item async for item in theirs.preview(TEN, TEN + HOUR)]
        assert len(found) == (0 if wire_format.carries_user else 1)
        if wire_format.carries_user:
            assert (await mine.get(created.appointment_id)).description_type == "Html"
            with pytest.raises(NotFoundError):
                await theirs.get(created.appointment_id)


async def test_the_services_user_must_fit_the_wire_format(wire_format: WireFormat) -> None:
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
