"""The models: validation, UTC, equality, and personal data that never shows."""

import copy
import operator
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest

from connector_async import UNSET, Appointment, AppointmentUpdate, DirectoryUser, NewAppointment

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
ELEVEN = TEN + timedelta(hours=1)
APPOINTMENT = Appointment(appointment_id="1", title="Visit", start_time=TEN, end_time=ELEVEN, description=None)


def new(**changes: Any) -> NewAppointment:
    fields: dict[str, Any] = {"title": "Visit", "start_time": TEN, "end_time": ELEVEN}
    return NewAppointment(**fields | changes)


def update(**changes: Any) -> AppointmentUpdate:
    return AppointmentUpdate(**{"appointment_id": "1", "title": "Visit"} | changes)


@pytest.mark.parametrize("build", [new, update])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"title": ""}, ValueError, "title must not be blank"),
        ({"title": " \t"}, ValueError, "title must not be blank"),
        ({"title": 5}, TypeError, "title must be a str, not int"),
        ({"title": "\ud800"}, ValueError, "title must be encodable"),
        ({"description": 5}, TypeError, "description must be a str, not int"),
        ({"description": "\udfff"}, ValueError, "description must be encodable"),
        ({"start_time": datetime(2024, 1, 15)}, ValueError, "start_time must be aware"),
        ({"end_time": datetime(2024, 1, 15)}, ValueError, "end_time must be aware"),
        ({"start_time": "2024-01-15"}, TypeError, "start_time must be a datetime, not str"),
        ({"end_time": TEN.date()}, TypeError, "end_time must be a datetime, not date"),
        ({"start_time": ELEVEN, "end_time": TEN}, ValueError, "end_time must not be before start_time"),
        (
            {"start_time": datetime.min.replace(tzinfo=ZoneInfo("Asia/Tokyo"))},
            ValueError,
            "start_time must have a UTC offset, and lie in the years 1 to 9999",
        ),
    ],
)
def test_invalid_field_is_rejected_by_name(
    build: Any, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(**changes)


@pytest.mark.parametrize("field", ["title", "start_time", "end_time"])
def test_required_fields_of_a_new_appointment_cannot_be_unset(field: str) -> None:
    assert new().description is UNSET
    with pytest.raises(TypeError, match=f"{field} must be"):
        new(**{field: UNSET})


def test_error_message_does_not_repeat_the_value() -> None:
    with pytest.raises(ValueError, match="title") as caught:
        new(title="Jane Doe \ud800")
    assert "Jane" not in str(caught.value)
    assert caught.value.__context__ is None


def test_appointment_may_end_when_it_starts() -> None:
    assert new(end_time=TEN).end_time == TEN


def test_update_needs_an_id_and_at_least_one_change() -> None:
    with pytest.raises(ValueError, match="at least one field"):
        AppointmentUpdate(appointment_id="1")
    with pytest.raises(ValueError, match="appointment_id must not be empty"):
        update(appointment_id="")
    assert AppointmentUpdate(appointment_id="1", description=None).description is None
    assert AppointmentUpdate(appointment_id="1", end_time=TEN).start_time is UNSET


def test_date_times_are_stored_in_utc_so_that_a_repeated_hour_is_unambiguous() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first, second = (datetime(2024, 10, 27, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1))
    made = new(start_time=first, end_time=second)
    assert (made.start_time.hour, made.end_time.hour) == (0, 1)
    assert made.start_time.tzinfo is UTC
    assert made == new(start_time=first.astimezone(UTC), end_time=second.astimezone(UTC))
    with pytest.raises(ValueError, match="end_time must not be before start_time"):
        new(start_time=second, end_time=first)


@pytest.mark.parametrize("model", [new(), update(), DirectoryUser("a", "d")])
def test_models_built_by_users_are_frozen(model: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(model, attrs.fields(type(model))[0].name, "other")


@pytest.mark.parametrize("model", [new(), update(), DirectoryUser("a", "d"), APPOINTMENT])
def test_models_are_values(model: Any) -> None:
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), attrs.evolve(model)):
        assert twin == model
        assert hash(twin) == hash(model)
    assert not hasattr(model, "__dict__")


def test_unknown_fields_count_for_equality_but_not_for_the_hash() -> None:
    other = attrs.evolve(APPOINTMENT, extra={"room": {"floor": 3}})
    assert other != APPOINTMENT
    assert hash(other) == hash(APPOINTMENT)
    assert pickle.loads(pickle.dumps(other)) == other


def test_mapping_of_unknown_fields_is_empty_and_immutable_by_default() -> None:
    assert dict(APPOINTMENT.extra) == {}
    assert len(APPOINTMENT.extra) == 0
    assert "room" not in APPOINTMENT.extra
    assert repr(APPOINTMENT.extra) == "{}"
    with pytest.raises(KeyError):
        APPOINTMENT.extra["room"]
    with pytest.raises(TypeError):
        APPOINTMENT.extra["room"] = 1  # type: ignore[index]


@pytest.mark.parametrize("model", [new(description="Secret"), update(description="Secret"), APPOINTMENT])
def test_titles_and_descriptions_are_not_in_the_repr(model: object) -> None:
    assert "Visit" not in repr(model)
    assert "Secret" not in repr(model)


@pytest.mark.parametrize("field", ["ad_id", "domain_id"])
def test_directory_user_needs_both_ids(field: str) -> None:
    ids = {"ad_id": "a", "domain_id": "d"}
    with pytest.raises(ValueError, match=f"{field} must not be blank"):
        DirectoryUser(**ids | {field: ""})


def test_unset_is_false_and_shows_its_name() -> None:
    assert not UNSET
    assert new().description or "nothing" == "nothing"
    assert repr(UNSET) == "UNSET"


def test_models_match_patterns_and_sort_by_a_key() -> None:
    match APPOINTMENT:
        case Appointment(title="Visit", start_time=start):
            assert start == TEN
        case _:
            raise AssertionError
    later = attrs.evolve(APPOINTMENT, start_time=ELEVEN)
    assert sorted([later, APPOINTMENT], key=operator.attrgetter("start_time")) == [APPOINTMENT, later]
    with pytest.raises(TypeError, match="not supported"):
        sorted([later, APPOINTMENT])


@pytest.mark.parametrize("model", [new(), update(), DirectoryUser("a", "d"), APPOINTMENT])
def test_copy_replace_evolves(model: Any) -> None:
    replace = getattr(copy, "replace", attrs.evolve)  # new in Python 3.13
    name = attrs.fields(type(model))[0].name
    assert replace(model, **{name: "x"}) == attrs.evolve(model, **{name: "x"})


class _Nanoseconds(datetime):
    """Like pandas' Timestamp: a datetime that writes nine digits."""

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return super().isoformat(sep, timespec).replace("+", "123+")


class _NotATime(datetime):
    """Like pandas' NaT: a datetime whose methods raise."""

    def utcoffset(self) -> timedelta:
        raise ValueError("NaTType does not support utcoffset")


def test_subclass_of_datetime_is_stored_as_a_datetime() -> None:
    made = new(end_time=_Nanoseconds(2024, 1, 15, 11, 0, 0, 5, tzinfo=UTC))
    assert type(made.end_time) is datetime
    assert made.end_time == ELEVEN.replace(microsecond=5)
    with pytest.raises(ValueError, match="start_time must have a UTC offset"):
        new(start_time=_NotATime(2024, 1, 15, tzinfo=ZoneInfo("Europe/Berlin")))


def test_value_whose_comparison_raises_is_rejected_by_name() -> None:
    class Array:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> Any:
            raise ValueError("The truth value of an array is ambiguous")

    with pytest.raises(TypeError, match="title must be a str, not Array"):
        update(title=Array())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"description_type": "Markdown"}, ValueError, "description_type must be one of 'Text', 'Html'"),
        ({"description_type": None}, ValueError, "description_type must be one of"),
        ({"time_zone": ""}, ValueError, "time_zone must not be blank"),
        ({"time_zone": 5}, TypeError, "time_zone must be a str"),
        ({"extra": [("a", 1)]}, TypeError, "extra must be a mapping, not list"),
    ],
)
@pytest.mark.parametrize("build", [new, update])
def test_invalid_field_of_the_reference_format_is_rejected_by_name(
    build: Any, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(**changes)


@pytest.mark.parametrize("build", [new, update])
def test_extra_fields_are_copied_and_their_names_must_be_strings(build: Any) -> None:
    given = {"room": 1}
    made = build(extra=given)
    given["room"] = 2
    assert made.extra == {"room": 1}
    with pytest.raises(TypeError, match="extra must have keys of type str"):
        build(extra={1: 2})


def test_update_with_only_an_empty_extra_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least one field"):
        AppointmentUpdate(appointment_id="1", extra={})


@pytest.mark.parametrize("build", [new, update])
def test_description_type_needs_a_description(build: Any) -> None:
    with pytest.raises(ValueError, match="description_type must be set together with a description"):
        build(description_type="Html")
    assert build(description="x", description_type="Html").description_type == "Html"
