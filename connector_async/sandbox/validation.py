"""Reads the fields of JSON objects and queries: closed, every complaint of an object collected into one refusal.

It knows no field of an appointment, and nothing of tenants, tokens or what is stored.
"""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final, cast

from attrs import field, frozen

from .problems import invalid
from .timestamps import parse_instant

INTEGER_DIGITS: Final = 18
"""Of the longest integer read: all of them fit 64 bits."""

END_BEFORE_START: Final[Mapping[str, list[str]]] = {"endTime": ["The endTime field must not be before startTime."]}

_DIGITS: Final = re.compile(rf"[0-9]{{1,{INTEGER_DIGITS}}}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NO_INSTANT: Final = datetime.min.replace(tzinfo=UTC)


@frozen(kw_only=True)
class Credentials:
    """Who asks for a token."""

    client_id: str
    client_secret: str = field(repr=False)


class Fields:
    """Reads the fields of one object and remembers what was wrong; a wrong field reads as a placeholder.

    Args:
        values: The object.
        allowed: The names it may have; others are complained of.
        parent: The fields of the object this one is a member of, and its name there.
    """

    def __init__(
        self,
        values: Mapping[str, object],
        *,
        allowed: Collection[str],
        parent: "tuple[Fields, str] | None" = None,
    ) -> None:
        self._values = values
        self._prefix = f"{parent[1]}." if parent else ""
        self._errors: dict[str, list[str]] = parent[0]._errors if parent else {}  # noqa: SLF001 - one refusal for both
        for name in values:
            if name not in allowed:
                self._errors[self._prefix + name] = [f"The field {self._prefix}{name} is unknown."]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str:
        """Read a non-empty string that must be there."""
        value = self._values.get(name)
        if isinstance(value, str) and value:
            return value
        self.refuse(name, "must be a non-empty string")
        return ""

    def any_text(self, name: str) -> str:
        """Read a string that must be there and may be empty."""
        value = self._values.get(name)
        if isinstance(value, str):
            return value
        self.refuse(name, "must be a string")
        return ""

    def optional_text(self, name: str) -> str | None:
        """Read a string, null or nothing."""
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return value
        self.refuse(name, "must be a string or null")
        return None

    def choice(self, name: str, choices: Collection[str]) -> str:
        """Read one of the choices, that must be there."""
        value = self._values.get(name)
        if isinstance(value, str) and value in choices:
            return value
        self.refuse(name, f"must be one of {', '.join(choices)}")
        return ""

    def identifier(self, name: str, *, integers: bool) -> str:
        """Read an id that must be there: a non-empty string, or an integer or its digits."""
        if not integers:
            return self.text(name)
        value = self._values.get(name)
        digits = str(value) if isinstance(value, str | int) else ""
        if _DIGITS.fullmatch(digits):
            return str(int(digits))
        self.refuse(name, f"must be an integer, or the digits of one, of at most {INTEGER_DIGITS} digits")
        return ""

    def instant(self, name: str, *, default_zone: tzinfo | None = None) -> datetime:
        """Read a date-time that must be there, with an offset unless there is a default."""
        return self._instant(name, self._values.get(name), default_zone)

    def date_or_instant(self, name: str, *, default_zone: tzinfo) -> datetime:
        """Read a date, which stands for its first moment, or a date-time; it must be there."""
        value = self._values.get(name)
        is_date = isinstance(value, str) and _DATE.fullmatch(value)
        return self._instant(name, f"{value}T00:00:00" if is_date else value, default_zone)

    def _instant(self, name: str, value: object, default_zone: tzinfo | None) -> datetime:
        try:
            return parse_instant(value if isinstance(value, str) else "", default_zone=default_zone)
        except ValueError:
            self.refuse(name, f"must be an RFC 3339 date-time {'' if default_zone else 'with an offset'}".rstrip())
            return _NO_INSTANT

    def count(self, name: str, *, default: int, minimum: int) -> int:
        """Read the digits of a number of at least the minimum, or nothing."""
        if name not in self:
            return default
        value = self._values[name]
        if isinstance(value, str) and _DIGITS.fullmatch(value) and int(value) >= minimum:
            return int(value)
        self.refuse(name, f"must be an integer, {minimum} or more, of at most {INTEGER_DIGITS} digits")
        return default

    def nested(self, name: str, *, allowed: Collection[str]) -> "Fields | None":
        """Read a member that is an object, None when it is not; what is wrong in it is told with the rest."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            self.refuse(name, "must be an object")
            return None
        return Fields(cast("Mapping[str, object]", value), allowed=allowed, parent=(self, name))

    def require_order(self, start: datetime, end: datetime) -> None:
        """Complain when the end precedes the start, unless either is wrong already."""
        if end < start and not self._errors.keys() & {"startTime", "endTime"}:
            self._errors.update(END_BEFORE_START)

    def refuse(self, name: str, reason: str) -> None:
        """Complain of a field; of one that is missing, whatever the reason, that it is required."""
        reason = reason if name in self._values else "is required"
        self._errors[self._prefix + name] = [f"The {self._prefix}{name} field {reason}."]

    def finish(self) -> None:
        """Raise the 400 that lists every complaint, if there is one."""
        if self._errors:
            raise invalid(self._errors)


def read_credentials(body: Mapping[str, object]) -> Credentials:
    """Check the body of a token request; raises a 400 `Problem`."""
    fields = Fields(body, allowed=("clientId", "clientSecret"))
    credentials = Credentials(client_id=fields.text("clientId"), client_secret=fields.text("clientSecret"))
    fields.finish()
    return credentials
