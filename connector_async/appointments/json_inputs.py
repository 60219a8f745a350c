"""Drafts and updates out of JSON, as `BulkReport.write_jsonl` says them: an object of the model's set fields.

It knows no file and no body of the API: the fields have the names of the models.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, TypeVar

import attrs

from connector_async._timestamps import InstantError, parse_instant
from connector_async.models import AppointmentUpdate, NewAppointment

ModelT = TypeVar("ModelT", NewAppointment, AppointmentUpdate)

_INSTANTS: Final = ("start_time", "end_time")


def new_appointment_from_json(value: object) -> NewAppointment:
    """Return the draft that a decoded JSON value says.

    Args:
        value: An object of fields of `NewAppointment`; date-times are of RFC 3339, with an offset.

    Raises:
        ValueError: It is no such object, or a field breaks its rule; the message names the field and the rule.
    """
    return _build(NewAppointment, value, required=("title", "start_time", "end_time"))


def appointment_update_from_json(value: object) -> AppointmentUpdate:
    """Return the update that a decoded JSON value says.

    Args:
        value: An object of fields of `AppointmentUpdate`; date-times are of RFC 3339, with an offset.

    Raises:
        ValueError: It is no such object, or a field breaks its rule; the message names the field and the rule.
    """
    return _build(AppointmentUpdate, value, required=("appointment_id",))


def _build(model: type[ModelT], value: object, *, required: Collection[str]) -> ModelT:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object of the fields of {model.__name__}, not {type(value).__name__}")
    known = {field.name for field in attrs.fields(model)}
    for name in value.keys() - known:
        is_name = isinstance(name, str) and name.isidentifier()
        raise ValueError(f"{name if is_name else 'a field'} is not known")
    for name in required:
        if name not in value:
            raise ValueError(f"{name} is missing")
    fields: dict[str, Any] = value | {name: _instant(name, value[name]) for name in _INSTANTS if name in value}
    try:
        return model(**fields)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _instant(name: str, value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be an RFC 3339 date-time, not {type(value).__name__}")
    try:
        return parse_instant(value)
    except InstantError as error:
        raise ValueError(f"{name}: {error}") from None
