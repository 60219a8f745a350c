"""Read and check the fields of JSON objects and queries, and collect all errors into one 400 response.

Objects are closed: an unknown field is an error. This module knows no field of an appointment.
"""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final, cast

from .problems import invalid
from .timestamps import parse_instant

INTEGER_DIGITS: Final = 18
"""Maximum number of digits of an integer; every such integer fits in 64 bits."""

END_BEFORE_START: Final[Mapping[str, list[str]]] = {"endTime": ["The endTime field must not be before startTime."]}

_DIGITS: Final = re.compile(rf"[0-9]{{1,{INTEGER_DIGITS}}}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_INVALID_INSTANT: Final = datetime.min.replace(tzinfo=UTC)


class FieldReader:
    """Reads the fields of one object and collects the errors. An invalid field reads as a placeholder.

    Call `raise_if_invalid` before using the values.

    Args:
        values: The object.
        allowed: Names of the fields that the object may have.
        parent: The reader of the object that contains this one, and this object's name in it.
    """

    def __init__(
        self,
        values: Mapping[str, object],
        *,
        allowed: Collection[str],
        parent: "tuple[FieldReader, str] | None" = None,
    ) -> None:
        self._values = values
        self._prefix = f"{parent[1]}." if parent else ""
        self._errors: dict[str, list[str]] = parent[0]._errors if parent else {}  # noqa: SLF001 - one 400 for both
        for name in values:
            if name not in allowed:
                self._errors[self._prefix + name] = [f"The field {self._prefix}{name} is unknown."]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def non_empty_string(self, name: str) -> str:
        """Return a required string of at least one character."""
        value = self._values.get(name)
        if isinstance(value, str) and value:
            return value
        self.reject(name, "must be a non-empty string")
        return ""

    def string(self, name: str) -> str:
        """Return a required string, which may be empty."""
        value = self._values.get(name)
        if isinstance(value, str):
            return value
        self.reject(name, "must be a string")
        return ""

    def optional_string(self, name: str) -> str | None:
        """Return a string, or None if the field is null or missing."""
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return value
        self.reject(name, "must be a string or null")
        return None

    def choice(self, name: str, choices: Collection[str]) -> str:
        """Return a required string, which must be one of the choices."""
        value = self._values.get(name)
        if isinstance(value, str) and value in choices:
            return value
        self.reject(name, f"must be one of {', '.join(choices)}")
        return ""

    def identifier(self, name: str, *, integers: bool) -> str:
        """Return a required id: a non-empty string, or an integer or a string of its digits if ids are integers."""
        if not integers:
            return self.non_empty_string(name)
        value = self._values.get(name)
        digits = str(value) if isinstance(value, str | int) else ""
        if _DIGITS.fullmatch(digits):
            return str(int(digits))
        self.reject(name, f"must be an integer, or a string of its digits, of at most {INTEGER_DIGITS} digits")
        return ""

    def instant(self, name: str, *, default_zone: tzinfo | None = None) -> datetime:
        """Return a required date-time, which must have a UTC offset unless there is a default zone."""
        rule = f"must be an RFC 3339 date-time {'' if default_zone else 'with an offset'}".rstrip()
        return self._instant(name, self._values.get(name), default_zone, rule)

    def date_or_instant(self, name: str, *, default_zone: tzinfo) -> datetime:
        """Return a required date-time, or the first instant of a date."""
        value = self._values.get(name)
        is_date = isinstance(value, str) and _DATE.fullmatch(value)
        date_time = f"{value}T00:00:00" if is_date else value
        return self._instant(name, date_time, default_zone, "must be a date or an RFC 3339 date-time")

    def _instant(self, name: str, value: object, default_zone: tzinfo | None, rule: str) -> datetime:
        try:
            return parse_instant(value if isinstance(value, str) else "", default_zone=default_zone)
        except ValueError:
            self.reject(name, rule)
            return _INVALID_INSTANT

    def digits(self, name: str, *, default: int, minimum: int) -> int:
        """Return the integer in a string of digits, or the default if the field is missing."""
        if name not in self:
            return default
        value = self._values[name]
        if isinstance(value, str) and _DIGITS.fullmatch(value) and int(value) >= minimum:
            return int(value)
        self.reject(name, f"must be an integer, {minimum} or more, of at most {INTEGER_DIGITS} digits")
        return default

    def nested(self, name: str, *, allowed: Collection[str]) -> "FieldReader | None":
        """Return a reader of a required object, or None if the field is not one; errors are collected here."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            self.reject(name, "must be an object")
            return None
        return FieldReader(cast("Mapping[str, object]", value), allowed=allowed, parent=(self, name))

    def require_order(self, start: datetime, end: datetime) -> None:
        """Reject the end time if it is before the start time, unless one of the two is already rejected."""
        if end < start and not self._errors.keys() & {"startTime", "endTime"}:
            self._errors.update(END_BEFORE_START)

    def reject(self, name: str, reason: str) -> None:
        """Add an error for a field; if the field is missing, the error is that it is required."""
        reason = reason if name in self._values else "is required"
        self._errors[self._prefix + name] = [f"The {self._prefix}{name} field {reason}."]

    def raise_if_invalid(self) -> None:
        """Raise a 400 `Problem` that lists every error, if there are any."""
        if self._errors:
            raise invalid(self._errors)
