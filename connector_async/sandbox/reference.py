"""The body format of the API reference: `subject`, `body`, `timeZone`, `showAs`, of a user of a directory.

It knows neither HTTP nor what is stored. That `adId` travels in the bodies of create and update, where the legible
part of the reference does not show it, and the values of `showAs`, are our reading of open points.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from attrs import frozen

from .appointments import (
    BUSY,
    TEXT,
    UTC_NAME,
    Appointment,
    AppointmentChanges,
    AppointmentKey,
    PreviewRange,
    User,
)
from .timestamps import to_local_wire, to_wire
from .validation import Fields
from .zones import find_zone

CONTENT_TYPES: Final = (TEXT, "Html")
SHOW_AS: Final = ("Free", "Tentative", BUSY, "OutOfOffice", "WorkingElsewhere")

_USER: Final = ("domainId", "adId")
_FIELDS: Final = (*_USER, "subject", "body", "startTime", "endTime", "timeZone", "showAs")
# No offset of a zone reaches a day, so that every instant between these has a local time in all of them.
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)
_LATEST: Final = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)


@frozen(kw_only=True)
class ReferenceFormat:
    """Reads and writes the reference's objects; raises a 400 `Problem` that lists every field that is wrong."""

    integer_ids: bool
    replaces: bool
    """Whether an update must give the subject and the times, and resets everything else that it does not give."""
    naive_times: bool
    """Whether times are written in the appointment's zone, without an offset, rather than in UTC."""

    def read_key(self, query: Mapping[str, str]) -> AppointmentKey:
        """Read `domainId`, `adId` and `appointmentId`, and ignore other parameters."""
        return self._key(Fields(query, allowed=query))

    def read_range(self, query: Fields) -> PreviewRange:
        """Read `domainId`, `adId`, `startDate` and `endDate`: ISO 8601 dates or date-times, UTC without an offset.

        Whoever made the fields finishes them.
        """
        start, end = (query.date_or_instant(name, default_zone=UTC) for name in ("startDate", "endDate"))
        if end < start:
            query.refuse("endDate", "must not be before startDate")
        return PreviewRange(user=_user(query), start=start, end=end)

    def read_new(self, body: Mapping[str, object], *, appointment_id: str) -> Appointment:
        """Require the user, the subject and the times; and `timeZone` for times without an offset."""
        fields = Fields(body, allowed=_FIELDS)
        zone = _zone(fields)
        content, content_type = _content(fields)
        appointment = Appointment(
            appointment_id=appointment_id,
            user=_user(fields),
            title=fields.text("subject"),
            start=_instant(fields, "startTime", zone),
            end=_instant(fields, "endTime", zone),
            description=content,
            content_type=content_type,
            time_zone=str(body.get("timeZone", UTC_NAME)),
            show_as=_show_as(fields) or BUSY,
        )
        fields.require_order(appointment.start, appointment.end)
        fields.finish()
        return appointment

    def read_changes(self, body: Mapping[str, object]) -> AppointmentChanges:
        """Require the user and the id; a time without an offset needs `timeZone` beside it, whatever is stored."""
        fields = Fields(body, allowed=("appointmentId", *_FIELDS))
        zone = _zone(fields)
        content, content_type = _content(fields)
        changes = AppointmentChanges(
            key=self._read_key(fields),
            title=fields.text("subject") if self._sets(fields, "subject") else None,
            start=_instant(fields, "startTime", zone) if self._sets(fields, "startTime") else None,
            end=_instant(fields, "endTime", zone) if self._sets(fields, "endTime") else None,
            sets_description=self._sets(fields, "body"),
            description=content,
            content_type=content_type if self._sets(fields, "body") else None,
            time_zone=str(body.get("timeZone", UTC_NAME)) if self._sets(fields, "timeZone") else None,
            show_as=_show_as(fields) or (BUSY if self.replaces else None),
        )
        fields.finish()
        return changes

    def read_deletion(self, body: Mapping[str, object]) -> AppointmentKey:
        """Read `domainId`, `adId` and `appointmentId`."""
        return self._key(Fields(body, allowed=(*_USER, "appointmentId")))

    def appointment_object(self, appointment: Appointment) -> dict[str, object]:
        """Write the times in UTC, or in the appointment's zone without an offset."""
        appointment_id = appointment.appointment_id
        return {
            "appointmentId": int(appointment_id) if self.integer_ids else appointment_id,
            "domainId": appointment.user.domain_id,
            "adId": appointment.user.ad_id,
            "subject": appointment.title,
            "body": {"content": appointment.description or "", "contentType": appointment.content_type},
            "startTime": self._time(appointment.start, appointment),
            "endTime": self._time(appointment.end, appointment),
            "timeZone": appointment.time_zone,
            "showAs": appointment.show_as,
        }

    def _time(self, instant: datetime, appointment: Appointment) -> str:
        return to_local_wire(instant, find_zone(appointment.time_zone)) if self.naive_times else to_wire(instant)

    def _key(self, fields: Fields) -> AppointmentKey:
        key = self._read_key(fields)
        fields.finish()
        return key

    def _read_key(self, fields: Fields) -> AppointmentKey:
        appointment_id = fields.identifier("appointmentId", integers=self.integer_ids)
        return AppointmentKey(appointment_id=appointment_id, user=_user(fields))

    def _sets(self, fields: Fields, name: str) -> bool:
        return self.replaces or name in fields


def _user(fields: Fields) -> User:
    return User(*(fields.text(name) for name in _USER))


def _zone(fields: Fields) -> ZoneInfo | None:
    """Read `timeZone`; None when it is not given, or not known, which is then complained of."""
    if "timeZone" not in fields:
        return None
    try:
        return find_zone(fields.text("timeZone"))
    except LookupError:
        fields.refuse("timeZone", "must be the IANA or Windows name of a time zone")
        return None


def _content(fields: Fields) -> tuple[str, str]:
    """Read `body`: its content and the content's type; empty text when it is not given, or wrong."""
    body = fields.nested("body", allowed=("content", "contentType")) if "body" in fields else None
    if body is None:
        return "", TEXT
    return body.any_text("content"), body.choice("contentType", CONTENT_TYPES)


def _show_as(fields: Fields) -> str | None:
    return fields.choice("showAs", SHOW_AS) if "showAs" in fields else None


def _instant(fields: Fields, name: str, zone: ZoneInfo | None) -> datetime:
    instant = fields.instant(name, default_zone=zone)
    if not _EARLIEST <= instant <= _LATEST:
        fields.refuse(name, "must be an ISO 8601 date-time, with an offset or beside a timeZone")
    return instant
