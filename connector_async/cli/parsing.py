"""Reads the appointments to create from the fields of a JSON object, or from the command's options.

No message of it repeats a value.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs
import orjson

from connector_async._timestamps import InstantError, parse_instant
from connector_async.models import NewAppointment

_FIELDS: Final = tuple(field.name for field in attrs.fields(NewAppointment))
_TIMES: Final = ("start_time", "end_time")


def draft_from_line(line: bytes) -> NewAppointment:
    """Return the appointment that a line of JSON Lines says, with the fields of `NewAppointment`.

    Raises:
        ValueError: It is no JSON object, or a field is missing, unknown or breaks its rule; it names the field.
        TypeError: A field is of another type; it names the field.
    """
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise ValueError("not JSON") from None
    if not isinstance(fields, dict):
        raise TypeError("must be a JSON object")
    return draft_from_fields(fields)


def draft_from_fields(fields: Mapping[str, Any]) -> NewAppointment:
    """Return the appointment that fields say; the date-times are texts of RFC 3339 with an offset.

    Raises:
        ValueError: A field is missing, unknown or breaks its rule; it names the field.
        TypeError: A field is of another type; it names the field.
    """
    for name in fields.keys() - _FIELDS:
        raise ValueError(f"{name if name.isidentifier() else 'a field'} is not known; known are {', '.join(_FIELDS)}")
    for name in ("title", *_TIMES):
        if name not in fields:
            raise ValueError(f"{name} is missing")
    times = {name: instant(name, fields[name]) for name in _TIMES}
    return NewAppointment(**{**fields, **times})


def instant(name: str, text: object) -> datetime:
    """Return the instant that a text of RFC 3339 with an offset says.

    Raises:
        ValueError: It says none.
        TypeError: It is no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a text")
    try:
        return parse_instant(text)
    except InstantError as error:
        raise ValueError(f"{name} must be as 2024-01-15T10:00:00Z or with another offset: {error}") from None
