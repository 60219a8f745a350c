"""The guide's bodies: what is decoded, what is rejected with which path and rule, and what is sent."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from cattrs import BaseValidationError
from hypothesis import given
from hypothesis import strategies as st

from connector_async import (
    UNSET,
    Appointment,
    AppointmentUpdate,
    DecodingError,
    NewAppointment,
    WireFormat,
)
from connector_async.wire.converters import get_converters
from connector_async.wire.field_layout import GUIDE_LAYOUT
from connector_async.wire.hooks import MismatchError
from tests.support.strategies import extras, hostile_fields, json_values, spans, strings, titles

GUIDE = WireFormat.GUIDE
TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
ELEVEN = TEN + timedelta(hours=1)
FIELDS = {
    "appointmentId": "123",
    "title": "Meeting with Client",
    "startTime": "2024-01-15T10:00:00Z",
    "endTime": "2024-01-15T11:00:00Z",
    "description": "Quarterly review meeting",
}
APPOINTMENT = Appointment("123", "Meeting with Client", TEN, ELEVEN, "Quarterly review meeting")
SENT = NewAppointment(title="Sent", start_time=TEN, end_time=ELEVEN)


def body(**changes: Any) -> bytes:
    return orjson.dumps(FIELDS | changes)


def without(name: str) -> bytes:
    return orjson.dumps({key: value for key, value in FIELDS.items() if key != name})


def test_example_of_the_guide_is_decoded() -> None:
    assert GUIDE.structure(body(), Appointment) == APPOINTMENT
    assert GUIDE.structure(b"[" + body() + b"]", list[Appointment]) == [APPOINTMENT]


def test_description_may_be_null_or_missing() -> None:
    for content in (body(description=None), without("description")):
        assert GUIDE.structure(content, Appointment).description is None


def test_integer_id_becomes_its_digits() -> None:
    assert GUIDE.structure(body(appointmentId=123), Appointment) == APPOINTMENT


@pytest.mark.parametrize("missing", ["", "description"])
def test_unknown_fields_are_kept(missing: str) -> None:
    fields = orjson.loads(without(missing)) | {"room": {"floor": 3}, "etag": None}
    assert GUIDE.structure(orjson.dumps(fields), Appointment).extra == {"room": {"floor": 3}, "etag": None}
    assert GUIDE.structure(body(), Appointment).extra == {}


@pytest.mark.row("R16")
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (body(appointmentId=1.5), "$.appointmentId: expected a non-empty string or an integer, not a float"),
        (body(appointmentId=1).replace(b":1,", b":%d," % 2**64), "$.appointmentId: expected a non-empty string or"),
        (body(appointmentId=True), "$.appointmentId: expected a non-empty string or an integer, not a boolean"),
        (body(appointmentId=""), "$.appointmentId: expected a non-empty string"),
        (body(appointmentId=None), "$.appointmentId: expected a non-empty string or an integer, not null"),
        (body(title=None), "$.title: expected a string, not null"),
        (body(description=["Jane"]), "$.description: expected a string or null, not an array"),
        (body(startTime=1705312800), "$.startTime: expected a string, not an integer"),
        (body(startTime={"dateTime": "x"}), "$.startTime: expected a string, not an object"),
        (body(startTime="2024-01-15"), "$.startTime: not an RFC 3339 date-time"),
        (body(endTime="2024-01-15T11:00:00"), "$.endTime: no UTC offset, and no time zone to assume"),
        (body(endTime="2024-02-30T11:00:00Z"), "$.endTime: no such day"),
        (without("title"), "$.title: required, and missing"),
        (b"[]", "$: expected an object, not an array"),
        (b"null", "$: expected an object, not null"),
        (b'"123"', "$: expected an object, not a string"),
        (b"", "$: not JSON at line 1 column 1"),
        (b"<html>", "$: not JSON at line 1 column 1"),
        (body()[:-1], "$: not JSON at line 1 column"),
        (b"\xff", "$: not JSON"),
        (b"[" * 200_000, "$: not JSON"),
        (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "$: more than one value in 8 bytes"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_invalid_appointment_is_rejected_with_path_and_rule(content: bytes, problem: str) -> None:
    with pytest.raises(DecodingError) as caught:
        GUIDE.structure(content, Appointment)
    assert any(line.startswith(problem) for line in caught.value.problems)
    assert caught.value.__context__ is None


def test_every_fault_is_named_without_its_value() -> None:
    content = orjson.dumps([FIELDS, {"appointmentId": 1.5, "title": 7, "startTime": "Jane Doe"}, 3])
    with pytest.raises(DecodingError) as caught:
        GUIDE.structure(content, list[Appointment])
    assert caught.value.problems == (
        "$[1].appointmentId: expected a non-empty string or an integer, not a float",
        "$[1].title: expected a string, not an integer",
        "$[1].startTime: not an RFC 3339 date-time",
        "$[1].endTime: required, and missing",
        "$[2]: expected an object, not an integer",
    )
    assert "Jane" not in str(caught.value)


def test_problems_are_cut_after_the_first_twenty() -> None:
    with pytest.raises(DecodingError) as caught:
        GUIDE.structure(orjson.dumps([1] * 50), list[Appointment])
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == "and more"


@pytest.mark.parametrize("content", [b"{}", b'"abc"', b"null", b"7", body()])
def test_list_must_be_an_array(content: bytes) -> None:
    with pytest.raises(DecodingError) as caught:
        GUIDE.structure(content, list[Appointment])
    assert caught.value.problems[0].startswith("$: expected an array, not")


def test_date_time_without_offset_is_read_in_the_assumed_zone() -> None:
    local = body(startTime="2024-01-15T11:00:00", endTime="2024-01-15T12:00:00.0000000")
    assert GUIDE.structure(local, Appointment, assume_zone=ZoneInfo("Europe/Berlin")) == APPOINTMENT


def test_leap_second_is_accepted() -> None:
    content = body(startTime="2016-12-31T23:59:60Z", endTime="2017-01-01T00:00:00Z")
    assert GUIDE.structure(content, Appointment).start_time == datetime(2017, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (body(), APPOINTMENT),
        (b'{"appointmentId":"123"}', Appointment("123", "Sent", TEN, ELEVEN, None)),
        (b'{"appointmentId":123,"etag":"x"}', Appointment("123", "Sent", TEN, ELEVEN, extra={"etag": "x"})),
        (b'{"appointmentId":"123","title":"Shortened"}', Appointment("123", "Shortened", TEN, ELEVEN, None)),
        (b'"123"', Appointment("123", "Sent", TEN, ELEVEN, None)),
        (b"123", Appointment("123", "Sent", TEN, ELEVEN, None)),
    ],
)
def test_response_to_a_create_is_completed_from_the_draft(response: bytes, expected: Appointment) -> None:
    assert GUIDE.structure_created(response, SENT) == expected


@pytest.mark.parametrize(
    "response", [b"", b"null", b"{}", b'{"id":"123"}', b'""', b"1.5", b"[]", b'{"appointmentId":null}']
)
def test_response_to_a_create_without_id_is_rejected(response: bytes) -> None:
    with pytest.raises(DecodingError) as caught:
        GUIDE.structure_created(response, SENT)
    assert caught.value.problems[0].startswith("$.appointmentId: ")


def test_response_to_a_create_with_an_invalid_field_is_rejected() -> None:
    with pytest.raises(DecodingError) as caught:
        GUIDE.structure_created(body(startTime="soon"), SENT)
    assert caught.value.problems == ("$.startTime: not an RFC 3339 date-time",)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (body(), APPOINTMENT),
        (b"", None),
        (b"null", None),
        (b'"123"', None),
        (b"123", None),
        (b'{"appointmentId":"123"}', None),
        (b'{"success":true}', None),
    ],
)
def test_response_to_an_update_is_the_appointment_or_none(response: bytes, expected: Appointment | None) -> None:
    assert GUIDE.structure_updated(response) == expected


@pytest.mark.parametrize("response", [b'{"title":"x"}', body(startTime=None), b"<html>"])
def test_invalid_response_to_an_update_is_rejected(response: bytes) -> None:
    with pytest.raises(DecodingError):
        GUIDE.structure_updated(response)


def test_write_sends_only_set_fields() -> None:
    new = NewAppointment(title="Visit", start_time=TEN, end_time=ELEVEN)
    assert orjson.loads(GUIDE.unstructure(new)) == {
        "title": "Visit",
        "startTime": "2024-01-15T10:00:00Z",
        "endTime": "2024-01-15T11:00:00Z",
    }
    update = AppointmentUpdate(appointment_id="1", description=None)
    assert orjson.loads(GUIDE.unstructure(update)) == {"appointmentId": "1", "description": None}
    assert orjson.loads(GUIDE.unstructure_id("1")) == {"appointmentId": "1"}


def test_appointment_is_encoded_with_its_unknown_fields() -> None:
    appointment = Appointment("123", "Visit", TEN, ELEVEN, extra={"room": 5})
    written = orjson.loads(GUIDE.unstructure(appointment))
    assert written["room"] == 5
    assert written["title"] == "Visit"
    with pytest.raises(ValueError, match="extra must not have title: the models have fields for them"):
        GUIDE.unstructure(Appointment("123", "Visit", TEN, ELEVEN, extra={"title": "of another"}))


def test_body_that_breaks_a_rule_of_the_model_is_rejected_without_its_values() -> None:
    content = orjson.dumps({"title": " ", "startTime": FIELDS["startTime"], "endTime": FIELDS["endTime"]})
    with pytest.raises(DecodingError) as caught:
        GUIDE.structure(content, NewAppointment)
    assert caught.value.problems == ("$: breaks a rule of the model",)


@given(strings.filter(bool), strings, spans, st.none() | strings, extras)
def test_appointment_survives_a_round_trip(
    appointment_id: str, title: str, span: list[datetime], description: str | None, extra: dict[str, Any]
) -> None:
    appointment = Appointment(appointment_id, title, span[0], span[1], description, extra=extra)
    assert GUIDE.structure(GUIDE.unstructure(appointment), Appointment) == appointment


@given(titles, spans, st.just(UNSET) | st.none() | strings)
def test_new_appointment_survives_a_round_trip(title: str, span: list[datetime], description: Any) -> None:
    new = NewAppointment(title=title, start_time=span[0], end_time=span[1], description=description)
    assert GUIDE.structure(GUIDE.unstructure(new), NewAppointment) == new


@given(titles, st.just(UNSET) | titles, spans, st.sampled_from([0, 1, 2, 3]), st.just(UNSET) | st.none() | strings)
def test_update_survives_a_round_trip(
    appointment_id: str, title: Any, span: list[datetime], which: int, description: Any
) -> None:
    times: dict[str, Any] = {}
    if which & 1:
        times["start_time"] = span[0]
    if which & 2:
        times["end_time"] = span[1]
    if title is UNSET and description is UNSET and not times:
        return
    update = AppointmentUpdate(appointment_id=appointment_id, title=title, description=description, **times)
    assert GUIDE.structure(GUIDE.unstructure(update), AppointmentUpdate) == update


@given(hostile_fields | json_values)
def test_fast_and_explaining_converter_accept_the_same_values(value: Any) -> None:
    both = get_converters(GUIDE_LAYOUT, None)
    try:
        fast = both.fast.structure(value, Appointment)
    except (AttributeError, KeyError, TypeError, ValueError):
        with pytest.raises((BaseValidationError, MismatchError)):
            both.explaining.structure(value, Appointment)
    else:
        assert both.explaining.structure(value, Appointment) == fast


_TIME = FIELDS["startTime"]


@pytest.mark.parametrize(
    "changes",
    [
        {"description": None},
        {"appointmentId": 1},
        {"appointmentId": ""},
        {"title": None},
        {"title": 1},
        {"description": 1},
        {"location": "x"},
        {"startTime": "2016-12-31T23:59:60Z"},
        {"startTime": "2024-01-15T10:00:00.5Z"},
        {"startTime": "2024-01-15T10:00:00+01:00"},
        {"startTime": "2024-01-15T10:00:00"},
        {"startTime": "2024-01-15 10:00:00Z"},
        {"startTime": "2024-W03-1T10:00:00Z"},
        {"startTime": "2024-01-15T10:00:Z\0Z"},
        {"startTime": "2024-01-15T10:00:012Z"},
        {"startTime": "2024-13-15T10:00:00Z"},
        {"endTime": 1},
        {"endTime": f"{_TIME}\n{_TIME}"},
        {"endTime": ""},
    ],
)
def test_unusual_item_is_read_alike_alone_and_among_others(changes: dict[str, Any]) -> None:
    others = [FIELDS] * 300
    for place in (0, 255, 256, 300):
        page = orjson.dumps([*others[:place], FIELDS | changes, *others[place:]])
        try:
            expected = GUIDE.structure(body(**changes), Appointment)
        except DecodingError as error:
            with pytest.raises(DecodingError) as caught:
                GUIDE.structure(page, list[Appointment])
            assert list(caught.value.problems) == [line.replace("$", f"$[{place}]") for line in error.problems]
        else:
            read = GUIDE.structure(page, list[Appointment])
            assert read.pop(place) == expected
            assert read == [APPOINTMENT] * 300


def test_date_times_of_a_page_cannot_make_up_for_each_other() -> None:
    # The second date-time of each pair has what the first one lacks.
    for pair in (
        ("2024-01-15T10:00:00", f"Z{_TIME}"),
        (f"{_TIME}\n", _TIME[1:]),
        (_TIME[:-1], f"\n{_TIME}"),
        ("2024-01-15T10:00:012Z", "2024-01-15T10:00:0Z"),
    ):
        for fields in (
            [FIELDS | {"startTime": pair[0]}, FIELDS | {"startTime": pair[1]}],
            [FIELDS | {"startTime": pair[0], "endTime": pair[1]}],
        ):
            with pytest.raises(DecodingError):
                GUIDE.structure(orjson.dumps(fields), list[Appointment])


def test_members_of_items_cannot_make_up_for_each_other() -> None:
    without = {name: value for name, value in FIELDS.items() if name != "description"}
    with_unknown, plain = GUIDE.structure(orjson.dumps([FIELDS | {"location": "x"}, without]), list[Appointment])
    assert (with_unknown.extra, plain.description) == ({"location": "x"}, None)


@pytest.mark.parametrize("other", [1, "x", [], None, {}])
def test_item_that_is_no_appointment_is_named(other: Any) -> None:
    with pytest.raises(DecodingError) as caught:
        GUIDE.structure(orjson.dumps([FIELDS, other]), list[Appointment])
    assert caught.value.problems[0].startswith("$[1]")


@given(st.binary() | json_values.map(orjson.dumps) | hostile_fields.map(orjson.dumps))
def test_any_body_is_an_appointment_or_a_decoding_error(content: bytes) -> None:
    try:
        assert isinstance(GUIDE.structure(content, Appointment), Appointment)
    except DecodingError as error:
        assert error.problems


@pytest.mark.row("H7")
def test_byte_order_mark_is_ignored() -> None:
    assert GUIDE.structure(b"\xef\xbb\xbf" + body(), Appointment) == APPOINTMENT
    with pytest.raises(DecodingError, match="not readable JSON"):
        GUIDE.structure(b"\xef\xbb\xbf\xef\xbb\xbf<", Appointment)
