"""The body format of the appointments guide: `title`, `startTime`, `endTime`, `description`.

It knows neither HTTP nor what is stored.
"""

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from .appointments import Appointment, AppointmentChanges, AppointmentKey
from .timestamps import to_wire
from .validation import Fields

_FIELDS: Final = ("title", "startTime", "endTime", "description")


@frozen(kw_only=True)
class GuideFormat:
    """Reads and writes the guide's objects; raises a 400 `Problem` that lists every field that is wrong."""

    integer_ids: bool
    replaces: bool
    """Whether an update must give the title and the times, and resets the description when it does not give it."""

    def read_key(self, query: Mapping[str, str]) -> AppointmentKey:
        """Read `appointmentId`, and ignore other parameters."""
        return self._key(Fields(query, allowed=query))

    def read_range(self, query: Fields) -> None:
        """Take no parameters; None stands for all appointments."""

    def read_new(self, body: Mapping[str, object], *, appointment_id: str) -> Appointment:
        """Require all fields but the description."""
        fields = Fields(body, allowed=_FIELDS)
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

    def read_changes(self, body: Mapping[str, object]) -> AppointmentChanges:
        """Require the id; whether the times are in order depends on what is stored."""
        fields = Fields(body, allowed=("appointmentId", *_FIELDS))
        changes = AppointmentChanges(
            key=AppointmentKey(appointment_id=fields.identifier("appointmentId", integers=self.integer_ids)),
            title=fields.text("title") if self._sets(fields, "title") else None,
            start=fields.instant("startTime") if self._sets(fields, "startTime") else None,
            end=fields.instant("endTime") if self._sets(fields, "endTime") else None,
            sets_description=self._sets(fields, "description"),
            description=fields.optional_text("description"),
        )
        fields.finish()
        return changes

    def read_deletion(self, body: Mapping[str, object]) -> AppointmentKey:
        """Read `appointmentId`."""
        return self._key(Fields(body, allowed=("appointmentId",)))

    def appointment_object(self, appointment: Appointment) -> dict[str, object]:
        """Write the times in UTC."""
        appointment_id = appointment.appointment_id
        return {
            "appointmentId": int(appointment_id) if self.integer_ids else appointment_id,
            "title": appointment.title,
            "startTime": to_wire(appointment.start),
            "endTime": to_wire(appointment.end),
            "description": appointment.description,
        }

    def _key(self, fields: Fields) -> AppointmentKey:
        key = AppointmentKey(appointment_id=fields.identifier("appointmentId", integers=self.integer_ids))
        fields.finish()
        return key

    def _sets(self, fields: Fields, name: str) -> bool:
        return self.replaces or name in fields
