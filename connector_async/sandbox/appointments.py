"""The values that travel between validation, storage and the answers, and the JSON object of an appointment.

It knows neither HTTP nor SQL. Every datetime is aware and in UTC.
"""

from datetime import datetime

from attrs import frozen

from connector_async.sandbox.instants import to_wire


@frozen(kw_only=True)
class Appointment:
    """One appointment of one tenant."""

    appointment_id: str
    title: str
    start: datetime
    """UTC."""
    end: datetime
    """UTC, not before `start`."""
    description: str | None


@frozen(kw_only=True)
class AppointmentChanges:
    """What an update sets; None leaves a field as it is."""

    appointment_id: str
    title: str | None
    start: datetime | None
    """UTC."""
    end: datetime | None
    """UTC."""
    sets_description: bool
    """A description can be set to None, so None cannot say that it stays."""
    description: str | None


def appointment_body(appointment: Appointment) -> dict[str, object]:
    """Build the JSON object that answers a read or an update."""
    return {
        "appointmentId": appointment.appointment_id,
        "title": appointment.title,
        "startTime": to_wire(appointment.start),
        "endTime": to_wire(appointment.end),
        "description": appointment.description,
    }
