"""The appointments of the API as attrs classes.

They do not know the JSON of the API: `to_dict` and `from_dict` are for the JSON of applications. What a user builds is
checked when it is built. Its date-times are converted to UTC, so that equal points in time make equal models, whatever
their time zones.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import attrs

from ._checks import check_utf8, is_utf8, validator
from ._json import JsonError, parse
from ._json_form import json_object, read_fields
from ._pydantic import NOT_BLANK, NOT_EMPTY, core_schema_of, json_schema_of
from ._timestamps import in_utc
from ._tracebacks import hiding_arguments
from ._unset import UNSET, Unset
from .exceptions import InvalidArgumentError

__all__ = [
    "UNSET",
    "Appointment",
    "AppointmentUpdate",
    "DirectoryUser",
    "JsonModel",
    "NewAppointment",
    "Unset",
    "to_columns",
]

T = TypeVar("T")

if TYPE_CHECKING:
    from attrs import frozen as frozen_for_type_checkers
else:
    # A frozen attrs class takes 0.58 µs to build, this one 0.21. Appointments are decoded by the thousand, so they are
    # frozen for type checkers only. What a user builds is frozen at run time as well.
    frozen_for_type_checkers = attrs.define(unsafe_hash=True)


def _if_set(check: Callable[[str, Any], object]) -> Any:
    """Return an attrs validator that runs `check` on a field unless it is `UNSET`."""

    def check_if_set(_: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        if value is not UNSET:
            check(field.name, value)

    return check_if_set


def _check_not_empty(name: str, value: str) -> None:
    if not check_utf8(name, value):
        raise InvalidArgumentError(f"{name} must not be empty", argument=name)


def _check_not_blank(name: str, value: str) -> None:
    if not check_utf8(name, value).strip():
        raise InvalidArgumentError(f"{name} must not be blank", argument=name)


def _check_optional_string(name: str, value: str | None) -> None:
    if value is not None:
        check_utf8(name, value)


def _check_date_time(name: str, value: object) -> None:
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.tzinfo is None:
        raise InvalidArgumentError(f"{name} must be aware: it has no time zone", argument=name)
    if value.tzinfo is not UTC:  # _in_utc could not convert it
        raise InvalidArgumentError(
            f"{name} must have a UTC offset, and lie in the years 1 to 9999 in UTC", argument=name
        )


def _check_extra(name: str, value: object) -> None:
    if value is NOTHING_EXTRA:
        return
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")
    if not all(isinstance(key, str) for key in value):
        raise TypeError(f"{name} must have keys of type str")


def _check_order(instance: Any, field: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not UNSET and instance.start_time is not UNSET and value < instance.start_time:
        raise InvalidArgumentError(f"{field.name} must not be before start_time", argument=field.name)


def _check_description_type(instance: Any, field: "attrs.Attribute[Any]", value: object) -> None:
    if value is UNSET:
        return
    if value not in _DESCRIPTION_TYPES:
        raise InvalidArgumentError(f"{field.name} must be one of 'Text', 'Html', UNSET", argument=field.name)
    if instance.description is UNSET:
        raise InvalidArgumentError(f"{field.name} must be set together with a description", argument=field.name)


def _in_utc(value: datetime) -> datetime:
    """Return an aware datetime in UTC, and any other value unchanged, which the validator then rejects by name."""
    if type(value) is datetime and value.tzinfo is UTC:
        return value
    # pandas' NaT is a datetime with methods that raise ValueError. Its Timestamp has digits that are never sent.
    with contextlib.suppress(OverflowError, ValueError):
        if isinstance(value, datetime) and value.utcoffset() is not None:
            plain = value if type(value) is datetime else datetime.fromisoformat(datetime.isoformat(value))
            return plain.astimezone(UTC)
    return value


def _in_utc_if_set(value: datetime | Unset) -> datetime | Unset:
    return value if isinstance(value, Unset) else _in_utc(value)


def _copy_extra(value: Any) -> Any:
    if value is NOTHING_EXTRA or not isinstance(value, Mapping):
        return value
    return dict(value) if value else NOTHING_EXTRA


class _NothingExtra(Mapping[str, Any]):
    """An immutable empty mapping, which all models without extra fields share."""

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "NOTHING_EXTRA"  # pickles and copies of a model share it as well


NOTHING_EXTRA: Final = _NothingExtra()
_set_frozen: Final = object.__setattr__

_DESCRIPTION_TYPES: Final = ("Text", "Html")


def _json_of(value: Any) -> bytes:
    try:
        # orjson would write NaN as null, and date-times as strings, and it has no integers beyond 64 bits.
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (RecursionError, TypeError, ValueError):
        pass
    raise InvalidArgumentError("extra must hold only JSON values", argument="extra")


def _parsed(value: bytes | str) -> Any:
    if not isinstance(value, bytes | str):
        raise TypeError(f"value must be bytes or a str, not {type(value).__name__}")
    try:
        return parse(value if isinstance(value, bytes) else value.encode(), exact=True)
    except JsonError as error:
        problem = str(error)
    except UnicodeEncodeError:
        problem = "it has a lone surrogate"
    raise InvalidArgumentError(f"value must be JSON: {problem}", argument="value")


def _hides_fields(model: type[T]) -> type[T]:
    """Decorate an attrs class, so that the error of an invalid field has no frames with the others."""
    setattr(model, "__init__", hiding_arguments(model.__init__))  # noqa: B010 - mypy rejects the plain form
    return model


class JsonModel:
    """The form of a model in the JSON of an application. pydantic and FastAPI use the same form."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values for any JSON encoder, by the names of the model.

        Date-times are RFC 3339 strings in UTC, with a fraction only if it is not zero. A field that is `UNSET` is left
        out, and `None` is kept. `extra` is an object of its own.

        Raises:
            ValueError: If a date-time is naive, which only an `Appointment` of the caller's own can have.
        """
        return json_object(self)

    @classmethod
    @hiding_arguments
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Return the model in a decoded JSON value, as `to_dict` returns it.

        Args:
            value: An object of fields of the model, by its names. Date-times are RFC 3339 strings with a UTC offset.

        Raises:
            InvalidArgumentError: If `value` is not such an object, has another field, or a field is not valid. The
                message names the field and the rule.
        """
        try:
            return cls.from_fields(read_fields(cls, value))
        except TypeError as error:
            problem = str(error)
        raise InvalidArgumentError(problem)  # outside the handler: the caught error has frames with the fields

    @hiding_arguments
    def to_json(self) -> bytes:
        """Return `to_dict` as JSON in UTF-8, on one line. Integers may have any length.

        Raises:
            ValueError: If `extra` has a value that JSON does not have, such as NaN or a datetime, or a date-time is
                naive.
        """
        return _json_of(self.to_dict())

    @classmethod
    @hiding_arguments
    def from_json(cls, value: bytes | str) -> Self:
        """Return the model in JSON, as `to_json` writes it. Integers of any length are read exactly.

        Raises:
            InvalidArgumentError: If `value` is not JSON, or `from_dict` rejects it. The message never repeats it.
            TypeError: If `value` is neither bytes nor a str.
        """
        return cls.from_dict(_parsed(value))

    @classmethod
    @hiding_arguments
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Return the model with checked fields, whose date-times are datetimes.

        Raises:
            ValueError: If a field breaks a rule. The message names the field.
            TypeError: If a field has another type. The message names the field.
        """
        return cls(**fields)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Any:
        return core_schema_of(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return json_schema_of(cls, schema, handler)


@attrs.frozen(kw_only=True, init=False)
class NewAppointment(JsonModel):
    """An appointment to create.

    Raises:
        ValueError: If `title` or `time_zone` is blank, a date-time is naive, or `end_time` is before `start_time`. The
            message names the field.
        TypeError: If a field has another type. The message names the field.
    """

    title: str = attrs.field(validator=validator(_check_not_blank), repr=False, metadata=NOT_BLANK)
    """Not blank. Personal data: not in the `repr`."""
    start_time: datetime = attrs.field(converter=_in_utc, validator=validator(_check_date_time))
    """Aware; stored in UTC."""
    end_time: datetime = attrs.field(converter=_in_utc, validator=[validator(_check_date_time), _check_order])
    """Aware; stored in UTC. Not before `start_time`."""
    description: str | Unset | None = attrs.field(default=UNSET, validator=_if_set(_check_optional_string), repr=False)
    """Personal data: not in the `repr`. `UNSET`: not sent."""
    description_type: str | Unset = attrs.field(
        default=UNSET, validator=_check_description_type, metadata={"choices": _DESCRIPTION_TYPES}
    )
    """The type of the description: `Text` or `Html`. `UNSET`: `Text`. The wire format GUIDE does not send it."""
    time_zone: str | Unset = attrs.field(default=UNSET, validator=_if_set(_check_not_blank), metadata=NOT_BLANK)
    """The IANA or Windows name of the appointment's time zone. The times are sent in UTC all the same. `UNSET`:
    `UTC`. The wire format GUIDE does not send it."""
    extra: Mapping[str, Any] = attrs.field(
        default=NOTHING_EXTRA, converter=_copy_extra, validator=validator(_check_extra), hash=False, repr=False
    )
    """Further fields to send, by their names on the wire. Their values are encoded as JSON."""

    def __init__(
        self,
        *,
        title: str,
        start_time: datetime,
        end_time: datetime,
        description: str | Unset | None = UNSET,
        description_type: str | Unset = UNSET,
        time_zone: str | Unset = UNSET,
        extra: Mapping[str, Any] = NOTHING_EXTRA,
    ) -> None:
        if (
            type(title) is str
            and title.strip()
            and is_utf8(title)
            and type(start_time) is type(end_time) is datetime
            and start_time.tzinfo is end_time.tzinfo is UTC
            and start_time <= end_time
            and (description is UNSET or (type(description) is str and is_utf8(description)))
            and description_type is time_zone is UNSET
            and extra is NOTHING_EXTRA
        ):
            # The converters would keep these fields, and the validators accept them. This takes half of their time.
            _set_frozen(self, "title", title)
            _set_frozen(self, "start_time", start_time)
            _set_frozen(self, "end_time", end_time)
            _set_frozen(self, "description", description)
            _set_frozen(self, "description_type", description_type)
            _set_frozen(self, "time_zone", time_zone)
            _set_frozen(self, "extra", extra)
            return
        try:
            self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue] - attrs makes it
                title=title,
                start_time=start_time,
                end_time=end_time,
                description=description,
                description_type=description_type,
                time_zone=time_zone,
                extra=extra,
            )
        except (TypeError, ValueError) as error:  # as in `hiding_arguments`; its wrapper would take 0.3 µs
            error.__traceback__ = None
            raise  # adds only the frame of the caller


@_hides_fields
@attrs.frozen(kw_only=True)
class AppointmentUpdate(JsonModel):
    """New values for some fields of an appointment. A field that is `UNSET` is not sent.

    Raises:
        ValueError: If nothing is set, `appointment_id` is empty, `title` or `time_zone` is blank, a date-time is naive,
            or `end_time` is before `start_time`. The message names the field.
        TypeError: If a field has another type. The message names the field.
    """

    appointment_id: str = attrs.field(validator=validator(_check_not_empty), metadata=NOT_EMPTY)
    """The id of the appointment to update. Not empty."""
    title: str | Unset = attrs.field(default=UNSET, validator=_if_set(_check_not_blank), repr=False, metadata=NOT_BLANK)
    """Not blank. Personal data: not in the `repr`."""
    start_time: datetime | Unset = attrs.field(
        default=UNSET, converter=_in_utc_if_set, validator=_if_set(_check_date_time)
    )
    """Aware; stored in UTC."""
    end_time: datetime | Unset = attrs.field(
        default=UNSET, converter=_in_utc_if_set, validator=[_if_set(_check_date_time), _check_order]
    )
    """Aware; stored in UTC. Not before `start_time` if both are set."""
    description: str | Unset | None = attrs.field(default=UNSET, validator=_if_set(_check_optional_string), repr=False)
    """Personal data: not in the `repr`. `None` clears the description."""
    description_type: str | Unset = attrs.field(
        default=UNSET, validator=_check_description_type, metadata={"choices": _DESCRIPTION_TYPES}
    )
    """The type of the description: `Text` or `Html`. `UNSET`: `Text`. The wire format GUIDE does not send it."""
    time_zone: str | Unset = attrs.field(default=UNSET, validator=_if_set(_check_not_blank), metadata=NOT_BLANK)
    """The IANA or Windows name of the appointment's time zone. The times are sent in UTC all the same. The wire
    format GUIDE does not send it."""
    extra: Mapping[str, Any] = attrs.field(
        default=NOTHING_EXTRA, converter=_copy_extra, validator=validator(_check_extra), hash=False, repr=False
    )
    """Further fields to send, by their names on the wire. Their values are encoded as JSON."""

    def __attrs_post_init__(self) -> None:
        _, *changes = attrs.astuple(self, recurse=False)
        if all(change is UNSET or change is NOTHING_EXTRA for change in changes):
            raise InvalidArgumentError("an update must set at least one field besides appointment_id")


@frozen_for_type_checkers
class Appointment(JsonModel):
    """An appointment of the server. It is hashable, so do not change its fields."""

    appointment_id: str = attrs.field(metadata=NOT_EMPTY)
    """The server's id."""
    title: str = attrs.field(repr=False)
    """Personal data: not in the `repr`."""
    start_time: datetime
    """Aware, in UTC."""
    end_time: datetime
    """Aware, in UTC."""
    description: str | None = attrs.field(default=None, repr=False)
    """Personal data: not in the `repr`. `None`: the server has no description, or did not send it."""
    description_type: str | None = None
    """The type of the description: `Text` or `Html`. `None`: the server did not send it, as with GUIDE."""
    time_zone: str | None = None
    """The name of the appointment's time zone. `None`: the server did not send it, as with GUIDE."""
    extra: Mapping[str, Any] = attrs.field(default=NOTHING_EXTRA, hash=False, repr=False)
    """Fields that this version does not know, by their names on the wire, with their decoded JSON values."""

    @classmethod
    @hiding_arguments
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Return the appointment with checked fields: building one checks nothing, since the server's are decoded so.

        Raises:
            ValueError: If a field breaks a rule. The message names the field.
            TypeError: If a field has another type. The message names the field.
        """
        checked = dict(fields)
        for name, (convert, check) in _APPOINTMENT_RULES.items():
            if name in checked:
                checked[name] = convert(checked[name])
                check(name, checked[name])
        return cls(**checked)


def _unchanged(value: Any) -> Any:
    return value


_APPOINTMENT_RULES: Final[Mapping[str, tuple[Callable[[Any], Any], Callable[[str, Any], object]]]] = {
    "appointment_id": (_unchanged, _check_not_empty),
    "title": (_unchanged, check_utf8),
    "start_time": (_in_utc, _check_date_time),
    "end_time": (_in_utc, _check_date_time),
    "description": (_unchanged, _check_optional_string),
    "description_type": (_unchanged, _check_optional_string),
    "time_zone": (_unchanged, _check_optional_string),
    "extra": (_copy_extra, _check_extra),
}


@hiding_arguments
def to_columns(appointments: Iterable[Appointment]) -> dict[str, list[Any]]:
    """Return appointments as columns, for `pyarrow.table(…)`, `polars.DataFrame(…)` and `pandas.DataFrame(…)`.

    There is one column for each field of `Appointment`, by its name. The date-times are aware, in UTC. `extra` is a
    column of JSON strings, since its fields may differ between appointments.

    Raises:
        ValueError: If a date-time is naive, or `extra` has a value that JSON does not have. Only an `Appointment` of
            the caller's own can have them.
    """
    columns: dict[str, list[Any]] = {name: [] for name in attrs.fields_dict(Appointment)}
    for appointment in appointments:
        for name, column in columns.items():
            column.append(_cell(getattr(appointment, name)))
    return columns


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return in_utc(value)
    return _json_of(dict(value)).decode() if isinstance(value, Mapping) else value


@attrs.frozen
class DirectoryUser(JsonModel):
    """A user of the directory. An `AppointmentService` with a user works on this user's appointments.

    Raises:
        ValueError: If a field is blank.
        TypeError: If a field is not a str.
    """

    ad_id: str = attrs.field(validator=validator(_check_not_blank), metadata=NOT_BLANK)
    """The user's id in the directory. Not blank."""
    domain_id: str = attrs.field(validator=validator(_check_not_blank), metadata=NOT_BLANK)
    """The directory's tenant id. Not blank."""
