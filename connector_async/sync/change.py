"""What has happened to an appointment on the server since it was last looked at."""

import enum
from typing import Self

import attrs

from connector_async.models import Appointment

from .records import Calendar


class ChangeKind(enum.Enum):
    """What has happened to an appointment."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    MOVED = "moved"
    """It is not in the time that is mirrored any more, nor in the mirror."""


@attrs.frozen(kw_only=True)
class Change:
    """What has happened to one appointment since the server was last looked at."""

    kind: ChangeKind
    calendar: Calendar
    key: str
    """Under which it is mirrored: `server:` and its id."""
    appointment_id: str
    appointment: Appointment | None = attrs.field(default=None, repr=False)
    """What the server has now; `None`: nothing, as with `DELETED`."""

    @classmethod
    def of(cls, kind: ChangeKind, calendar: Calendar, key: str, appointment: Appointment) -> Self:
        """Return the change of what the server has now."""
        return cls(
            kind=kind,
            calendar=calendar,
            key=key,
            appointment_id=appointment.appointment_id,
            appointment=appointment,
        )
