"""Checks the JSON bodies: closed schemas, every complaint of a body collected into one refusal.

It knows nothing of tenants, tokens or what is stored.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import field, frozen

from connector_async.sandbox.appointments import Appointment, AppointmentChanges
from connector_async.sandbox.instants import parse_instant
from connector_async.sandbox.problems import invalid

END_BEFORE_START: Final[Mapping[str, list[str]]] = {"endTime": ["The endTime field must not be before startTime."]}

_APPOINTMENT_FIELDS: Final = ("title", "startTime", "endTime", "description")
_NO_INSTANT: Final = datetime.min.replace(tzinfo=UTC)


@frozen(kw_only=True)
class Credentials:
    """Who asks for a token."""

    client_id: str
    client_secret: str = field(repr=False)


class _Fields:
    """Reads the fields of one object and remembers what was wrong; a wrong field reads as a placeholder."""

    def __init__(self, body: Mapping[str, object], *, allowed: Collection[str]) -> None:
        self._body = body
        self._errors = {name: [f"The field {name} is unknown."] for name in body if name not in allowed}

    def __contains__(self, name: str) -> bool:
        return name in self._body

    def text(self, name: str) -> str:
        """Read a non-empty string that must be there."""
        value = self._body.get(name)
        if isinstance(value, str) and value:
            return value
        self._refuse(name, "must be a non-empty string" if name in self else "is required")
        return ""

    def optional_text(self, name: str) -> str | None:
        """Read a string, null or nothing."""
        value = self._body.get(name)
        if value is None or isinstance(value, str):
            return value
        self._refuse(name, "must be a string or null")
        return None

    def instant(self, name: str) -> datetime:
        """Read a date-time that must be there."""
        value = self._body.get(name)
        try:
            return parse_instant(value if isinstance(value, str) else "")
        except ValueError:
            self._refuse(name, "must be an RFC 3339 date-time with an offset" if name in self else "is required")
            return _NO_INSTANT

    def require_order(self, start: datetime, end: datetime) -> None:
        """Complain when the end precedes the start, unless either is wrong already."""
        if end < start and not self._errors.keys() & {"startTime", "endTime"}:
            self._errors.update(END_BEFORE_START)

    def finish(self) -> None:
        """Raise the 400 that lists every complaint, if there is one."""
        if self._errors:
            raise invalid(self._errors)

    def _refuse(self, name: str, reason: str) -> None:
        self._errors[name] = [f"The {name} field {reason}."]


def read_credentials(body: Mapping[str, object]) -> Credentials:
    """Check the body of a token request; raises a 400 `Problem`."""
    fields = _Fields(body, allowed=("clientId", "clientSecret"))
    credentials = Credentials(client_id=fields.text("clientId"), client_secret=fields.text("clientSecret"))
    fields.finish()
    return credentials


def read_new_appointment(body: Mapping[str, object], *, appointment_id: str) -> Appointment:
    """Check the body of a create; raises a 400 `Problem`."""
    fields = _Fields(body, allowed=_APPOINTMENT_FIELDS)
    appointment = Appointment(
        appointment_id=appointment_id,
        title=fields.text("title"),
        start=fields.instant("startTime"),
        end=fields.instant("endTime"),
        description=fields.optional_text("description"),
    )
    fields.require_order(appointment.start, appointment.end)
    fields.finish()
    return appointment


def read_changes(body: Mapping[str, object]) -> AppointmentChanges:
    """Check the body of an update, whose every field but the id may be missing; raises a 400 `Problem`."""
    fields = _Fields(body, allowed=("appointmentId", *_APPOINTMENT_FIELDS))
    changes = AppointmentChanges(
        appointment_id=fields.text("appointmentId"),
        title=fields.text("title") if "title" in fields else None,
        start=fields.instant("startTime") if "startTime" in fields else None,
        end=fields.instant("endTime") if "endTime" in fields else None,
        sets_description="description" in fields,
        description=fields.optional_text("description"),
    )
    fields.finish()
    return changes


def read_appointment_id(values: Mapping[str, object], *, closed: bool = True) -> str:
    """Check the body of a delete, or a query, which is not closed: the reference puts other parameters there.

    Raises a 400 `Problem`.
    """
    fields = _Fields(values, allowed=("appointmentId",) if closed else values)
    appointment_id = fields.text("appointmentId")
    fields.finish()
    return appointment_id
