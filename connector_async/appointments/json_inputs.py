"""Drafts and updates from JSON, as `BulkReport.write_jsonl` writes them: an object of the model's set fields.

The fields have the names of the models, not those of the API.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, TypeVar

import attrs

from connector_async._timestamps import InstantError, parse_instant
from connector_async.exceptions import InvalidArgumentError
from connector_async.models import AppointmentUpdate, NewAppointment

ModelT = TypeVar("ModelT", NewAppointment, AppointmentUpdate)

_INSTANTS: Final = ("start_time", "end_time")


def new_appointment_from_json(value: object) -> NewAppointment:
    """Return the draft in a decoded JSON value.

    Args:
        value: An object of fields of `NewAppointment`. Date-times are RFC 3339 strings with a UTC offset.

    Raises:
        ValueError: If `value` is not such an object, or a field is not valid. The message names the field and the rule.
    """
    return _build(NewAppointment, value, required=("title", "start_time", "end_time"))


def appointment_update_from_json(value: object) -> AppointmentUpdate:
    """Return the update in a decoded JSON value.

    Args:
        value: An object of fields of `AppointmentUpdate`. Date-times are RFC 3339 strings with a UTC offset.

    Raises:
        ValueError: If `value` is not such an object, or a field is not valid. The message names the field and the rule.
    """
    return _build(AppointmentUpdate, value, required=("appointment_id",))


def _build(model: type[ModelT], value: object, *, required: Collection[str]) -> ModelT:
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"expected an object of the fields of {model.__name__}, not {type(value).__name__}")
    known = {field.name for field in attrs.fields(model)}
    for name in value.keys() - known:
        is_identifier = isinstance(name, str) and name.isidentifier()  # other names may be personal data
        raise InvalidArgumentError(
            f"{name if is_identifier else 'a field'} is not known", argument=name if is_identifier else None
        )
    for name in required:
        if name not in value:
            raise InvalidArgumentError(f"{name} is missing", argument=name)
    fields: dict[str, Any] = value | {name: _instant(name, value[name]) for name in _INSTANTS if name in value}
    try:
        return model(**fields)
    except TypeError as error:
        raise InvalidArgumentError(str(error)) from None


def _instant(name: str, value: object) -> datetime:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name} must be an RFC 3339 date-time, not {type(value).__name__}", argument=name)
    try:
        return parse_instant(value)
    except InstantError as error:
        raise InvalidArgumentError(f"{name}: {error}", argument=name) from None
