"""The reference's bodies: other names, an object for the description, a time zone, and a user."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import (
    UNSET,
    Appointment,
    AppointmentUpdate,
    DecodingError,
    DirectoryUser,
    NewAppointment,
    WireFormat,
)
from connector_async._timestamps import zone_named
from tests.support.strategies import extras, spans, strings, titles

REFERENCE = WireFormat.REFERENCE
USER = DirectoryUser("user-1", "directory-1")
TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
ELEVEN = TEN + timedelta(hours=1)
FIELDS = {
    "appointmentId": "123",
    "adId": "user-1",
    "domainId": "directory-1",
    "subject": "Meeting with Client",
    "body": {"content": "Quarterly review meeting", "contentType": "Text"},
    "startTime": "2024-01-15T10:00:00Z",
    "endTime": "2024-01-15T11:00:00Z",
    "timeZone": "UTC",
}
APPOINTMENT = Appointment("123", "Meeting with Client", TEN, ELEVEN, "Quarterly review meeting", "Text", "UTC")
SENT = NewAppointment(title="Sent", start_time=TEN, end_time=ELEVEN)


def body(**changes: Any) -> bytes:
    return orjson.dumps(FIELDS | changes)


def problems_of(content: bytes) -> tuple[str, ...]:
    with pytest.raises(DecodingError) as caught:
        REFERENCE.structure(content, Appointment)
    assert caught.value.__context__ is None
    return caught.value.problems


def test_fields_of_the_reference_are_decoded_to_the_same_models() -> None:
    assert REFERENCE.structure(body(), Appointment) == APPOINTMENT
    assert REFERENCE.structure(b"[" + body() + b"]", list[Appointment]) == [APPOINTMENT]


@pytest.mark.parametrize("value", [None, {}, {"content": None}])
def test_description_may_be_missing(value: object) -> None:
    appointment = REFERENCE.structure(body(body=value), Appointment)
    assert (appointment.description, appointment.description_type) == (None, None)


def test_unknown_fields_are_kept_and_those_of_the_user_are_not() -> None:
    content = body(showAs="Busy", body={"content": "x", "contentType": "Html", "preview": "y"})
    assert REFERENCE.structure(content, Appointment).extra == {"showAs": "Busy", "body.preview": "y"}
    assert REFERENCE.structure(body(), Appointment).extra == {}


@pytest.mark.parametrize(
    ("time_zone", "local"),
    [
        ("UTC", "2024-01-15T10:00:00"),
        ("Europe/Berlin", "2024-01-15T11:00:00"),
        ("W. Europe Standard Time", "2024-01-15T11:00:00.0000000"),
        ("Eastern Standard Time", "2024-01-15T05:00:00"),
        ("India Standard Time", "2024-01-15T15:30:00"),
        ("Europe/Berlin", "2024-01-15T10:00:00Z"),
        ("no such zone", "2024-01-15T10:00:00Z"),
    ],
)
def test_date_time_without_offset_is_in_the_named_zone(time_zone: str, local: str) -> None:
    appointment = REFERENCE.structure(body(timeZone=time_zone, startTime=local), Appointment)
    assert appointment.start_time == TEN
    assert appointment.start_time.tzinfo is UTC
    assert appointment.time_zone == time_zone


@pytest.mark.parametrize("time_zone", ["no such zone", "../../etc/passwd", "America", "\0", "x" * 10_000])
def test_unknown_zone_is_not_guessed(time_zone: str) -> None:
    content = body(timeZone=time_zone, startTime="2024-01-15T10:00:00")
    with pytest.raises(DecodingError) as caught:
        REFERENCE.structure(content, Appointment, assume_zone=UTC)
    assert caught.value.problems == ("$.startTime: no UTC offset, and no time zone to assume",)


def test_zone_of_the_session_is_used_when_none_is_named() -> None:
    fields = {key: value for key, value in FIELDS.items() if key != "timeZone"}
    content = orjson.dumps(fields | {"startTime": "2024-01-15T10:00:00"})
    assert REFERENCE.structure(content, Appointment, assume_zone=UTC).start_time == TEN
    assert problems_of(content) == ("$.startTime: no UTC offset, and no time zone to assume",)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"subject": None}, "$.subject: expected a string, not null"),
        ({"body": {"content": 5}}, "$.body.content: expected a string or null, not an integer"),
        ({"body": {"content": "x", "contentType": 1}}, "$.body.contentType: expected a string or null, not an integer"),
        ({"timeZone": 1}, "$.timeZone: expected a string or null, not an integer"),
        ({"startTime": "2024-01-15"}, "$.startTime: not an RFC 3339 date-time"),
        ({"body": "text"}, "$: body must be an object or null"),
        ({"body": [1]}, "$: body must be an object or null"),
    ],
)
def test_faults_are_named_by_the_paths_of_the_reference(changes: dict[str, object], problem: str) -> None:
    assert problems_of(body(**changes)) == (problem,)


def test_fields_of_the_guide_are_rejected() -> None:
    content = b'{"appointmentId":"1","title":"x","startTime":"2024-01-15T10:00:00Z","endTime":"2024-01-15T10:00:00Z"}'
    assert problems_of(content) == ("$.subject: required, and missing",)


def test_create_sends_the_user_the_zone_and_the_type_of_the_description() -> None:
    new = NewAppointment(title="Visit", start_time=TEN, end_time=ELEVEN, description="x")
    assert orjson.loads(REFERENCE.unstructure(new, USER)) == {
        "adId": "user-1",
        "domainId": "directory-1",
        "subject": "Visit",
        "body": {"content": "x", "contentType": "Text"},
        "startTime": "2024-01-15T10:00:00Z",
        "endTime": "2024-01-15T11:00:00Z",
        "timeZone": "UTC",
    }
    other = NewAppointment(
        title="Visit",
        start_time=TEN,
        end_time=ELEVEN,
        description="<p>x",
        description_type="Html",
        time_zone="W. Europe Standard Time",
        extra={"showAs": "Free"},
    )
    written = orjson.loads(REFERENCE.unstructure(other, USER))
    assert written["body"] == {"content": "<p>x", "contentType": "Html"}
    assert (written["timeZone"], written["showAs"]) == ("W. Europe Standard Time", "Free")
    assert written["startTime"] == "2024-01-15T10:00:00Z"


def test_update_sends_set_fields_with_their_companions() -> None:
    assert orjson.loads(REFERENCE.unstructure(AppointmentUpdate(appointment_id="1", title="x"), USER)) == {
        "adId": "user-1",
        "domainId": "directory-1",
        "appointmentId": "1",
        "subject": "x",
    }
    cleared = orjson.loads(REFERENCE.unstructure(AppointmentUpdate(appointment_id="1", description=None), USER))
    assert cleared["body"] == {"content": "", "contentType": "Text"}  # the reference has no null content
    moved = orjson.loads(REFERENCE.unstructure(AppointmentUpdate(appointment_id="1", start_time=TEN), USER))
    assert moved["startTime"] == "2024-01-15T10:00:00Z"
    assert "timeZone" not in moved


def test_delete_names_the_appointment_and_the_user() -> None:
    assert orjson.loads(REFERENCE.unstructure_id("1", USER)) == {
        "adId": "user-1",
        "domainId": "directory-1",
        "appointmentId": "1",
    }


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (body(), APPOINTMENT),
        (b'{"appointmentId":"123"}', Appointment("123", "Sent", TEN, ELEVEN, None, None, "UTC")),
        (b'{"appointmentId":"1","body":{"content":"y"}}', Appointment("1", "Sent", TEN, ELEVEN, "y", None, "UTC")),
        (b'"123"', Appointment("123", "Sent", TEN, ELEVEN, None, None, "UTC")),
    ],
)
def test_response_to_a_create_is_completed_from_the_draft(response: bytes, expected: Appointment) -> None:
    assert REFERENCE.structure_created(response, SENT) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [(body(), APPOINTMENT), (b"", None), (b'{"appointmentId":"1","adId":"a"}', None), (b'{"message":"ok"}', None)],
)
def test_response_to_an_update_is_the_appointment_or_none(response: bytes, expected: Appointment | None) -> None:
    assert REFERENCE.structure_updated(response) == expected


def test_reference_needs_a_user_and_guide_rejects_one() -> None:
    with pytest.raises(ValueError, match=r"user must be given: WireFormat\.REFERENCE"):
        REFERENCE.unstructure_id("1")
    with pytest.raises(ValueError, match=r"user must be None: WireFormat\.GUIDE"):
        WireFormat.GUIDE.unstructure_id("1", USER)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"description": "x", "description_type": "Html"}, "description_type is not carried by WireFormat.GUIDE"),
        ({"time_zone": "UTC"}, "time_zone is not carried by WireFormat.GUIDE"),
        ({"extra": {"title": "x"}}, "extra must not have title"),
    ],
)
def test_guide_rejects_fields_that_it_does_not_carry(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        WireFormat.GUIDE.unstructure(NewAppointment(title="x", start_time=TEN, end_time=TEN, **changes))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone must be the IANA or Windows name"),
        ({"extra": {"body": {}}}, "extra must not have body"),
        ({"extra": {"adId": "other"}}, "extra must not have adId"),
    ],
)
def test_reference_rejects_an_unknown_zone_and_clashing_extra_fields(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        REFERENCE.unstructure(NewAppointment(title="x", start_time=TEN, end_time=TEN, **changes), USER)


def test_preview_sends_the_user_and_both_ends() -> None:
    assert REFERENCE.preview_query(USER, TEN, ELEVEN) == {
        "adId": "user-1",
        "domainId": "directory-1",
        "startDate": "2024-01-15T10:00:00Z",
        "endDate": "2024-01-15T11:00:00Z",
    }
    assert WireFormat.GUIDE.preview_query(None, TEN, ELEVEN) == {}
    for ends in ((None, TEN), (TEN, None)):
        with pytest.raises(ValueError, match="start and end must be given"):
            REFERENCE.preview_query(USER, *ends)


@pytest.mark.parametrize(
    ("start", "end", "rule"),
    [
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), TEN, "start: outside the years 1 to 9999 in UTC"),
        (TEN, datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "end: outside the years 1 to 9999 in UTC"),
        (datetime(2024, 1, 15), TEN, "start: naive"),
    ],
)
def test_invalid_end_of_a_preview_is_named(start: datetime, end: datetime, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        REFERENCE.preview_query(USER, start, end)
    assert caught.value.__context__ is None


NOT_A_MODEL: Any = "hunter2"


@pytest.mark.parametrize(
    ("use", "rule"),
    [
        (lambda: REFERENCE.unstructure(NOT_A_MODEL, USER), "model must be a New.* not str"),
        (
            lambda: REFERENCE.unstructure(cast("Any", NewAppointment), USER),
            "model must be a NewAppointment, .* not type",
        ),
        (lambda: REFERENCE.unstructure_id("1", NOT_A_MODEL), "user must be a DirectoryUser or None, not str"),
        (lambda: REFERENCE.user_fields(cast("Any", DirectoryUser)), "user must be a DirectoryUser or None, not type"),
        (lambda: REFERENCE.structure(NOT_A_MODEL, Appointment), "body must be bytes, not str"),
        (
            lambda: REFERENCE.structure_items(REFERENCE.parse(cast("Any", None)), Appointment),
            "body must be bytes, not NoneType",
        ),
    ],
)
def test_wrong_type_of_model_user_or_body_is_rejected_by_name(use: Callable[[], object], rule: str) -> None:
    with pytest.raises(TypeError, match=rule):
        use()


zone_names = st.sampled_from(["UTC", "Europe/Berlin", "W. Europe Standard Time", "Asia/Kolkata"])
types = st.sampled_from(["Text", "Html"])
descriptions = st.none() | strings
free_extras = extras.map(lambda extra: {key: value for key, value in extra.items() if not key.startswith("body")})


@given(
    strings.filter(bool), strings, spans, st.none() | strings, st.none() | types, st.none() | zone_names, free_extras
)
def test_appointment_survives_a_round_trip(
    appointment_id: str,
    title: str,
    span: list[datetime],
    description: str | None,
    description_type: str | None,
    time_zone: str | None,
    extra: dict[str, Any],
) -> None:
    extra = {key: value for key, value in extra.items() if key not in FIELDS}
    sent = Appointment(
        appointment_id, title, span[0], span[1], description, description_type, time_zone or "UTC", extra
    )
    appointment = REFERENCE.structure(REFERENCE.unstructure(sent, USER), Appointment)
    if description is not None and description_type is None:
        assert appointment.description_type == "Text"
        appointment.description_type = None  # type: ignore[misc]
    assert appointment == sent


@given(titles, spans, st.just(UNSET) | descriptions, types, zone_names)
def test_new_appointment_survives_a_round_trip(
    title: str, span: list[datetime], description: Any, description_type: str, time_zone: str
) -> None:
    new = NewAppointment(
        title=title,
        start_time=span[0],
        end_time=span[1],
        description="" if description is None else description,  # cleared and empty are equal in the reference
        description_type=UNSET if description is UNSET else description_type,
        time_zone=time_zone,
    )
    assert REFERENCE.structure(REFERENCE.unstructure(new, USER), NewAppointment) == new


def test_zone_that_was_sent_is_not_applied_to_times_of_the_response() -> None:
    fields = {key: value for key, value in FIELDS.items() if key != "timeZone"}
    response = orjson.dumps(fields | {"startTime": "2024-01-15T10:00:00", "endTime": "2024-01-15T11:00:00"})
    with pytest.raises(DecodingError):
        REFERENCE.structure_created(response, SENT)
    berlin = ZoneInfo("Europe/Berlin")
    in_berlin = NewAppointment(title="x", start_time=TEN, end_time=ELEVEN, time_zone="Europe/Berlin")
    created = REFERENCE.structure_created(response, in_berlin, assume_zone=berlin)
    assert (created.start_time.hour, created.time_zone) == (9, "Europe/Berlin")
    assert REFERENCE.structure(response, Appointment, assume_zone=berlin).start_time == created.start_time


def test_null_body_in_the_response_to_a_create_overrides_the_draft() -> None:
    sent = NewAppointment(title="x", start_time=TEN, end_time=ELEVEN, description="y")
    assert REFERENCE.structure_created(b'{"appointmentId":"1"}', sent).description == "y"
    assert REFERENCE.structure_created(b'{"appointmentId":"1","body":null}', sent).description is None


def test_full_update_sends_unchanged_fields_as_they_were_read() -> None:
    odd = FIELDS | {
        "subject": "  ",
        "body": {"content": "", "contentType": "html"},
        "timeZone": "tzone://Microsoft/Utc",
        "endTime": "2024-01-15T09:00:00Z",
        "showAs": "Busy",
    }
    current = orjson.dumps(odd)
    update = AppointmentUpdate(appointment_id="123", start_time=TEN - timedelta(hours=2))
    written = orjson.loads(REFERENCE.unstructure_over(current, update, USER))
    assert written == odd | {"startTime": "2024-01-15T08:00:00Z"}
    update = AppointmentUpdate(appointment_id="123", description="new")
    written = orjson.loads(REFERENCE.unstructure_over(current, update, USER))
    assert written["body"] == {"content": "new", "contentType": "Text"}


@pytest.mark.parametrize("name", ["localtime", "posixrules", "Factory", "right/UTC", "posix/UTC"])
def test_zone_that_is_not_in_the_iana_list_is_unknown(name: str) -> None:
    assert zone_named(name) is None


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), datetime(2024, 1, 1), TEN, {1, 2}, object(), "\ud800", 2**64, {1: 2}],
    ids=lambda value: type(value).__name__,
)
def test_extra_field_that_is_not_json_is_rejected(value: object) -> None:
    new = NewAppointment(title="x", start_time=TEN, end_time=TEN, extra={"x": {"y": [value]}})
    for wire_format, user in ((REFERENCE, USER), (WireFormat.GUIDE, None)):
        with pytest.raises(ValueError, match="extra must hold only JSON values"):
            wire_format.unstructure(new, user)
