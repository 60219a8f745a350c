"""Models as JSON objects: the set fields of an attrs class by its own names, with RFC 3339 date-times in UTC."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from ._timestamps import InstantError, format_instant, parse_instant
from ._unset import UNSET
from .exceptions import InvalidArgumentError

_INSTANTS: Final = ("start_time", "end_time")


def json_object(model: Any) -> dict[str, Any]:
    """Return the fields that are not `UNSET`, in the order of the class.

    Raises:
        ValueError: If a date-time is naive.
    """
    return {
        field.name: _json_value(value)
        for field in attrs.fields(type(model))
        if (value := getattr(model, field.name)) is not UNSET
    }


def read_fields(model: type[Any], value: object) -> dict[str, Any]:
    """Return the fields in a decoded JSON object, with their date-times read and everything else as it is.

    Raises:
        InvalidArgumentError: If `value` is not an object, a field is unknown or missing, or a date-time is not valid.
            The message names the field and the rule.
    """
    if not isinstance(value, Mapping):
        expected = f"expected an object of the fields of {model.__name__}"
        raise InvalidArgumentError(f"{expected}, not {type(value).__name__}")
    known = attrs.fields_dict(model)
    for name in value.keys() - known:
        is_identifier = isinstance(name, str) and name.isidentifier()  # other names may be personal data
        raise InvalidArgumentError(f"{name if is_identifier else 'a field'} is not known")
    for name, field in known.items():
        if field.default is attrs.NOTHING and name not in value:
            raise InvalidArgumentError(f"{name} is missing", argument=name)
    return {name: _read_instant(name, one) if name in _INSTANTS else one for name, one in value.items()}


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_instant(value)
    return dict(value) if isinstance(value, Mapping) else value


def _read_instant(name: str, value: object) -> datetime:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name} must be an RFC 3339 date-time, not {type(value).__name__}")
    try:
        return parse_instant(value)
    except InstantError as error:
        raise InvalidArgumentError(f"{name}: {error}", argument=name) from None
