import copy
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
        ({"title": ""}, ValueError, "title must not be empty"),
        ({"title": " \t"}, ValueError, "title must not be empty"),
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
            "start_time must have an offset, and lie in the years 1 to 9999",
        ),
    ],
)
def test_a_bad_field_is_refused_by_name(
    build: Any, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(**changes)


@pytest.mark.parametrize("field", ["title", "start_time", "end_time"])
def test_a_new_appointment_has_no_unset_field_but_its_description(field: str) -> None:
    assert new().description is UNSET
    with pytest.raises(TypeError, match=f"{field} must be"):
        new(**{field: UNSET})


def test_the_message_of_a_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(ValueError, match="title") as caught:
        new(title="Jane Doe \ud800")
    assert "Jane" not in str(caught.value)
    assert caught.value.__context__ is None


def test_an_appointment_may_end_when_it_starts() -> None:
    assert new(end_time=TEN).end_time == TEN


def test_an_update_must_change_something_of_some_appointment() -> None:
    with pytest.raises(ValueError, match="at least one field"):
        AppointmentUpdate(appointment_id="1")
    with pytest.raises(ValueError, match="appointment_id must not be empty"):
        update(appointment_id="")
    assert AppointmentUpdate(appointment_id="1", description=None).description is None
    assert AppointmentUpdate(appointment_id="1", end_time=TEN).start_time is UNSET


def test_date_times_are_kept_in_utc_so_that_the_hour_which_comes_twice_stays_unambiguous() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first, second = (datetime(2024, 10, 27, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1))
    made = new(start_time=first, end_time=second)
    assert (made.start_time.hour, made.end_time.hour) == (0, 1)
    assert made.start_time.tzinfo is UTC
    assert made == new(start_time=first.astimezone(UTC), end_time=second.astimezone(UTC))
    with pytest.raises(ValueError, match="end_time must not be before start_time"):
        new(start_time=second, end_time=first)


@pytest.mark.parametrize("model", [new(), update(), DirectoryUser("a", "d")])
def test_what_a_user_builds_is_frozen(model: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(model, attrs.fields(type(model))[0].name, "other")


@pytest.mark.parametrize("model", [new(), update(), DirectoryUser("a", "d"), APPOINTMENT])
def test_models_are_values(model: Any) -> None:
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), attrs.evolve(model)):
        assert twin == model
        assert hash(twin) == hash(model)
    assert not hasattr(model, "__dict__")


def test_unknown_fields_take_part_in_equality_and_not_in_the_hash() -> None:
    other = attrs.evolve(APPOINTMENT, extra={"room": {"floor": 3}})
    assert other != APPOINTMENT
    assert hash(other) == hash(APPOINTMENT)
    assert pickle.loads(pickle.dumps(other)) == other


def test_without_unknown_fields_the_mapping_is_empty_and_stays_so() -> None:
    assert dict(APPOINTMENT.extra) == {}
    assert len(APPOINTMENT.extra) == 0
    assert "room" not in APPOINTMENT.extra
    assert repr(APPOINTMENT.extra) == "{}"
    with pytest.raises(KeyError):
        APPOINTMENT.extra["room"]
    with pytest.raises(TypeError):
        APPOINTMENT.extra["room"] = 1  # type: ignore[index]


@pytest.mark.parametrize("model", [new(description="Secret"), update(description="Secret"), APPOINTMENT])
def test_titles_and_descriptions_do_not_show_in_a_repr(model: object) -> None:
    assert "Visit" not in repr(model)
    assert "Secret" not in repr(model)


@pytest.mark.parametrize("field", ["ad_id", "domain_id"])
def test_a_directory_user_has_both_ids(field: str) -> None:
    ids = {"ad_id": "a", "domain_id": "d"}
    with pytest.raises(ValueError, match=f"{field} must not be empty"):
        DirectoryUser(**ids | {field: ""})


def test_unset_shows_its_name() -> None:
    assert repr(UNSET) == "UNSET"


class _Nanoseconds(datetime):
    """As pandas' Timestamp: a datetime that writes nine digits."""

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return super().isoformat(sep, timespec).replace("+", "123+")


class _NotATime(datetime):
    """As pandas' NaT: a datetime whose methods raise."""

    def utcoffset(self) -> timedelta:
        raise ValueError("NaTType does not support utcoffset")


def test_what_only_derives_from_datetime_is_kept_as_a_datetime() -> None:
    made = new(end_time=_Nanoseconds(2024, 1, 15, 11, 0, 0, 5, tzinfo=UTC))
    assert type(made.end_time) is datetime
    assert made.end_time == ELEVEN.replace(microsecond=5)
    with pytest.raises(ValueError, match="start_time must have an offset"):
        new(start_time=_NotATime(2024, 1, 15, tzinfo=ZoneInfo("Europe/Berlin")))


def test_a_value_that_is_compared_oddly_is_refused_by_name() -> None:
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
        ({"time_zone": ""}, ValueError, "time_zone must not be empty"),
        ({"time_zone": 5}, TypeError, "time_zone must be a str"),
        ({"extra": [("a", 1)]}, TypeError, "extra must be a mapping, not list"),
    ],
)
@pytest.mark.parametrize("build", [new, update])
def test_a_bad_field_of_the_reference_is_refused_by_name(
    build: Any, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(**changes)


@pytest.mark.parametrize("build", [new, update])
def test_further_fields_are_copied_and_named_by_texts(build: Any) -> None:
    given = {"room": 1}
    made = build(extra=given)
    given["room"] = 2
    assert made.extra == {"room": 1}
    with pytest.raises(TypeError, match="extra must have keys of type str"):
        build(extra={1: 2})


def test_an_update_with_an_empty_mapping_changes_nothing_and_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one field"):
        AppointmentUpdate(appointment_id="1", extra={})


@pytest.mark.parametrize("build", [new, update])
def test_a_type_of_description_goes_with_a_description(build: Any) -> None:
    with pytest.raises(ValueError, match="description_type must go with a description"):
        build(description_type="Html")
    assert build(description="x", description_type="Html").description_type == "Html"
