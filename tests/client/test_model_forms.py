"""The models in the JSON of applications and in pydantic: both have one form."""

import json
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from connector_async import (
    UNSET,
    Appointment,
    AppointmentUpdate,
    DirectoryUser,
    InvalidArgumentError,
    NewAppointment,
    to_columns,
)
from tests.support.exposure import exposed
from tests.support.strategies import extras, instants, spans, strings, titles

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
MODELS: list[Any] = [
    Appointment("1", "Visit", TEN, TEN, extra={"room": {"floor": 3}}),
    NewAppointment(title="Visit", start_time=TEN, end_time=TEN, description=None),
    AppointmentUpdate(appointment_id="1", description=None),
    DirectoryUser("a", "d"),
]
DRAFT = {"title": "Visit", "start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00Z"}
FOUND = DRAFT | {"appointment_id": "1"}


class Booking(BaseModel):
    draft: NewAppointment


@given(
    st.builds(
        lambda span, **fields: Appointment(start_time=span[0], end_time=span[1], **fields),
        spans,
        appointment_id=strings.filter(bool),
        title=strings,
        description=st.none() | strings,
        time_zone=st.none() | strings,
        extra=extras,
    )
    | st.builds(
        lambda span, **fields: NewAppointment(start_time=span[0], end_time=span[1], **fields),
        spans,
        title=titles,
        description=st.just(UNSET) | st.none() | strings,
        extra=extras,
    )
    | st.builds(
        AppointmentUpdate,
        appointment_id=strings.filter(bool),
        title=titles,
        start_time=st.just(UNSET) | instants,
        description=st.just(UNSET) | st.none() | strings,
    )
)
def test_model_survives_its_json_and_that_of_pydantic(model: Any) -> None:
    adapter = TypeAdapter(type(model))
    assert type(model).from_dict(json.loads(json.dumps(model.to_dict()))) == model
    assert type(model).from_json(model.to_json()) == model
    assert adapter.validate_json(adapter.dump_json(model)) == model
    assert json.loads(adapter.dump_json(model)) == model.to_dict()


def test_json_is_utf8_on_one_line_and_keeps_integers_of_any_length() -> None:
    found = Appointment("1", "Übung\n", TEN, TEN, extra={"number": 2**70 + 1})  # no float is equal
    written = found.to_json()
    assert written == json.dumps(found.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()
    assert Appointment.from_json(written) == Appointment.from_json(written.decode()) == found


@pytest.mark.parametrize("value", [math.nan, TEN, {1, 2}, "\ud800"])
def test_value_that_json_does_not_have_is_rejected_without_repeating_it(value: object) -> None:
    appointment = Appointment("1", "Visit", TEN, TEN, extra={"hunter2": value})
    for write in (Appointment.to_json, lambda appointment: to_columns([appointment])):
        with pytest.raises(InvalidArgumentError, match="extra must hold only JSON values") as caught:
            write(appointment)
        assert exposed(caught.value, "hunter2") == []


@pytest.mark.parametrize(
    ("value", "error", "rule"),
    [
        ('{"hunter2"', InvalidArgumentError, "value must be JSON: not JSON at line 1"),
        ('"hunter2\ud800"', InvalidArgumentError, "value must be JSON: it has a lone surrogate"),
        ("[" * 2_000 + "]" * 2_000, InvalidArgumentError, "value must be JSON: "),
        (b'["hunter2"]', InvalidArgumentError, "expected an object of the fields of DirectoryUser, not list"),
        ({"ad_id": "hunter2"}, TypeError, "value must be bytes or a str, not dict"),
    ],
)
def test_value_that_is_not_the_json_of_a_model_is_rejected_without_repeating_it(
    value: Any, error: type[Exception], rule: str
) -> None:
    with pytest.raises(error, match=rule) as caught:
        DirectoryUser.from_json(value)
    assert exposed(caught.value, "hunter2") == []
    assert caught.value.__context__ is None


def test_columns_have_aware_date_times_in_utc_and_extra_as_json() -> None:
    in_berlin = TEN.astimezone(ZoneInfo("Europe/Berlin"))
    columns = to_columns(iter([MODELS[0], Appointment("2", "Other", in_berlin, TEN, "x")]))
    assert columns == {
        "appointment_id": ["1", "2"],
        "title": ["Visit", "Other"],
        "start_time": [TEN, TEN],
        "end_time": [TEN, TEN],
        "description": [None, "x"],
        "description_type": [None, None],
        "time_zone": [None, None],
        "extra": ['{"room":{"floor":3}}', "{}"],
    }
    assert {instant.tzinfo for instant in columns["start_time"]} == {UTC}


def test_columns_of_no_appointments_are_empty() -> None:
    assert to_columns([]) == {name: [] for name in attrs.fields_dict(Appointment)}


def test_naive_date_time_has_no_column() -> None:
    with pytest.raises(ValueError, match="naive"):
        to_columns([Appointment("1", "Visit", TEN.replace(tzinfo=None), TEN)])


def test_unset_is_left_out_and_none_is_kept() -> None:
    assert AppointmentUpdate(appointment_id="1", description=None).to_dict() == {
        "appointment_id": "1",
        "description": None,
        "extra": {},
    }


def test_date_times_are_written_in_utc_with_their_microseconds() -> None:
    start = datetime(2024, 1, 15, 10, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    written = Appointment("1", "Visit", start, TEN).to_dict()
    assert (written["start_time"], written["end_time"]) == ("2024-01-15T08:00:00.000005Z", "2024-01-15T10:00:00Z")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"appointment_id": ""}, "appointment_id must not be empty"),
        ({"title": None}, "title must be a str, not NoneType"),
        ({"description": 5}, "description must be a str, not int"),
        ({"time_zone": 5}, "time_zone must be a str, not int"),
        ({"extra": []}, "extra must be a mapping, not list"),
        ({"start_time": "2024-01-15T10:00:00"}, "start_time: no UTC offset"),
        ({"room": 3}, "room is not known"),
    ],
)
def test_appointment_that_is_not_valid_is_rejected_by_the_name_of_its_field(changes: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Appointment.from_dict({**FOUND, **changes})


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_pydantic_accepts_an_instance_unchanged(model: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(type(model))
    assert adapter.validate_python(model) is model


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_json_schema_of_the_output_describes_what_is_written(model: Any) -> None:
    schema = TypeAdapter(type(model)).json_schema(mode="serialization")
    written = model.to_dict()
    assert set(schema["required"]) <= set(written) <= set(schema["properties"])
    assert schema["title"] == type(model).__name__


def test_pydantic_reads_a_list_of_models() -> None:
    assert TypeAdapter(list[Appointment]).validate_python([FOUND, FOUND])[1].title == "Visit"


def test_json_schema_of_the_input_requires_what_has_no_default() -> None:
    schema = Booking.model_json_schema()["$defs"]["NewAppointment"]
    assert schema["required"] == ["title", "start_time", "end_time"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["title"]["pattern"] == r"\S"
    assert schema["properties"]["start_time"]["format"] == "date-time"


@pytest.mark.parametrize(
    ("changes", "place", "rule"),
    [
        ({"title": " "}, ("draft", "title"), "match pattern"),
        ({"title": 5}, ("draft", "title"), "valid string"),
        ({"room": 3}, ("draft", "room"), "not permitted"),
        ({"start_time": "2024-01-15T10:00:00"}, ("draft", "start_time"), "no UTC offset"),
        ({"start_time": datetime(2024, 1, 15)}, ("draft", "start_time"), "must be aware"),
        ({"start_time": 5}, ("draft", "start_time"), "RFC 3339 date-time, not int"),
        ({"end_time": "2023-01-15T10:00:00Z"}, ("draft",), "end_time must not be before start_time"),
    ],
)
def test_pydantic_reports_the_field_and_the_rule(changes: Any, place: tuple[str, ...], rule: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Booking.model_validate({"draft": {**DRAFT, **changes}})
    (error,) = caught.value.errors()
    assert error["loc"] == place
    assert rule in error["msg"]


def test_hidden_input_is_not_in_the_error_of_pydantic() -> None:
    class Hiding(BaseModel):
        model_config = ConfigDict(hide_input_in_errors=True)
        draft: NewAppointment

    with pytest.raises(ValidationError) as caught:
        Hiding.model_validate({"draft": {**DRAFT, "title": "Jane Doe", "end_time": "2023-01-15T10:00:00Z"}})
    assert "Jane" not in str(caught.value)
    assert "end_time must not be before start_time" in str(caught.value)


def test_field_of_a_pydantic_model_is_written_as_by_to_dict() -> None:
    booking = Booking.model_validate_json(json.dumps({"draft": {**DRAFT, "start_time": "2024-01-15T10:00:00+01:00"}}))
    assert booking.model_dump() == {"draft": booking.draft.to_dict()}
    assert booking.draft.start_time == TEN - timedelta(hours=1)


def test_importing_the_models_loads_no_pydantic() -> None:
    code = (
        "import sys; from connector_async import *; sys.exit(any(name.startswith('pydantic') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_changed_copy_of_an_input_is_checked() -> None:
    with pytest.raises(ValueError, match="end_time must not be before start_time"):
        attrs.evolve(MODELS[1], end_time=TEN - timedelta(days=1))
