"""The two documented body formats: they read appointments from requests and write them into responses.

An invalid request body or query raises a 400 `Problem` that lists every invalid field.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from attrs import frozen

from .models import (
    BUSY,
    CONTENT_TYPES,
    PLAIN_TEXT,
    SHOW_AS_VALUES,
    UTC_NAME,
    Appointment,
    AppointmentChanges,
    AppointmentKey,
    PreviewRange,
    User,
)
from .settings import BodyFormat, PutSemantics, SandboxSettings
from .timestamps import find_zone, to_local_wire, to_wire
from .validation import FieldReader

_GUIDE_FIELDS: Final = ("title", "startTime", "endTime", "description")
_USER_FIELDS: Final = ("domainId", "adId")
_REFERENCE_FIELDS: Final = (*_USER_FIELDS, "subject", "body", "startTime", "endTime", "timeZone", "showAs")
# The offset of a zone is less than a day, so every instant between these has a local time in all zones.
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)
_LATEST: Final = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)


@frozen(kw_only=True)
class GuideFormat:
    """The format of the appointments guide: `title`, `startTime`, `endTime`, `description`."""

    integer_ids: bool
    replaces: bool
    """Whether an update must have the title and the times, and resets the description if it is missing."""

    def read_key(self, query: Mapping[str, str]) -> AppointmentKey:
        """Return the key in a query; other parameters are ignored."""
        return self._key(FieldReader(query, allowed=query))

    def read_range(self, query: FieldReader) -> None:
        """Return None: a preview in this format has no range and lists all appointments."""

    def read_new(self, body: Mapping[str, object], *, appointment_id: str) -> Appointment:
        """Return the appointment to create; every field but the description is required."""
        fields = FieldReader(body, allowed=_GUIDE_FIELDS)
        appointment = Appointment(
            appointment_id=appointment_id,
            title=fields.non_empty_string("title"),
            start=fields.instant("startTime"),
            end=fields.instant("endTime"),
            description=fields.optional_string("description"),
        )
        fields.require_order(appointment.start, appointment.end)
        fields.raise_if_invalid()
        return appointment

    def read_changes(self, body: Mapping[str, object]) -> AppointmentChanges:
        """Return the changes of an update; the order of the times is checked when they are stored."""
        fields = FieldReader(body, allowed=("appointmentId", *_GUIDE_FIELDS))
        changes = AppointmentChanges(
            key=AppointmentKey(appointment_id=fields.identifier("appointmentId", integers=self.integer_ids)),
            title=fields.non_empty_string("title") if self._sets(fields, "title") else None,
            start=fields.instant("startTime") if self._sets(fields, "startTime") else None,
            end=fields.instant("endTime") if self._sets(fields, "endTime") else None,
            sets_description=self._sets(fields, "description"),
            description=fields.optional_string("description"),
        )
        fields.raise_if_invalid()
        return changes

    def read_deletion(self, body: Mapping[str, object]) -> AppointmentKey:
        """Return the key in the body of a delete."""
        return self._key(FieldReader(body, allowed=("appointmentId",)))

    def appointment_object(self, appointment: Appointment) -> dict[str, object]:
        """Return the JSON object of the appointment, with its times in UTC."""
        appointment_id = appointment.appointment_id
        return {
            "appointmentId": int(appointment_id) if self.integer_ids else appointment_id,
            "title": appointment.title,
            "startTime": to_wire(appointment.start),
            "endTime": to_wire(appointment.end),
            "description": appointment.description,
        }

    def _key(self, fields: FieldReader) -> AppointmentKey:
        key = AppointmentKey(appointment_id=fields.identifier("appointmentId", integers=self.integer_ids))
        fields.raise_if_invalid()
        return key

    def _sets(self, fields: FieldReader, name: str) -> bool:
        return self.replaces or name in fields


@frozen(kw_only=True)
class ReferenceFormat:
    """The format of the API reference: `subject`, `body`, `timeZone`, `showAs`, for a directory user.

    The readable part of the reference does not show `adId` in the bodies of create and update. That it belongs there
    is our reading of an open point.
    """

    integer_ids: bool
    replaces: bool
    """Whether an update must have the subject and the times, and resets every other field that is missing."""
    naive_times: bool
    """Whether times are written in the appointment's zone without an offset, instead of in UTC."""

    def read_key(self, query: Mapping[str, str]) -> AppointmentKey:
        """Return the key in a query, user included; other parameters are ignored."""
        return self._key(FieldReader(query, allowed=query))

    def read_range(self, query: FieldReader) -> PreviewRange:
        """Return the range of a preview: dates or RFC 3339 date-times, in UTC if they have no offset.

        Errors are added to the query's reader, which the caller must check.
        """
        start, end = (query.date_or_instant(name, default_zone=UTC) for name in ("startDate", "endDate"))
        if end < start:
            query.reject("endDate", "must not be before startDate")
        return PreviewRange(user=_user(query), start=start, end=end)

    def read_new(self, body: Mapping[str, object], *, appointment_id: str) -> Appointment:
        """Return the appointment to create.

        The user, the subject and the times are required, and so is `timeZone` for times without an offset.
        """
        fields = FieldReader(body, allowed=_REFERENCE_FIELDS)
        zone = _zone(fields)
        content, content_type = _content(fields)
        appointment = Appointment(
            appointment_id=appointment_id,
            user=_user(fields),
            title=fields.non_empty_string("subject"),
            start=_instant(fields, "startTime", zone),
            end=_instant(fields, "endTime", zone),
            description=content,
            content_type=content_type,
            time_zone=str(body.get("timeZone", UTC_NAME)),
            show_as=_show_as(fields) or BUSY,
        )
        fields.require_order(appointment.start, appointment.end)
        fields.raise_if_invalid()
        return appointment

    def read_changes(self, body: Mapping[str, object]) -> AppointmentChanges:
        """Return the changes of an update.

        The user and the id are required. A time without an offset needs `timeZone` in the same body; the stored zone
        does not apply.
        """
        fields = FieldReader(body, allowed=("appointmentId", *_REFERENCE_FIELDS))
        zone = _zone(fields)
        content, content_type = _content(fields)
        changes = AppointmentChanges(
            key=self._read_key(fields),
            title=fields.non_empty_string("subject") if self._sets(fields, "subject") else None,
            start=_instant(fields, "startTime", zone) if self._sets(fields, "startTime") else None,
            end=_instant(fields, "endTime", zone) if self._sets(fields, "endTime") else None,
            sets_description=self._sets(fields, "body"),
            description=content,
            content_type=content_type if self._sets(fields, "body") else None,
            time_zone=str(body.get("timeZone", UTC_NAME)) if self._sets(fields, "timeZone") else None,
            show_as=_show_as(fields) or (BUSY if self.replaces else None),
        )
        fields.raise_if_invalid()
        return changes

    def read_deletion(self, body: Mapping[str, object]) -> AppointmentKey:
        """Return the key in the body of a delete, user included."""
        return self._key(FieldReader(body, allowed=(*_USER_FIELDS, "appointmentId")))

    def appointment_object(self, appointment: Appointment) -> dict[str, object]:
        """Return the JSON object of the appointment, with its times in UTC or in its own zone without an offset."""
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

    def _key(self, fields: FieldReader) -> AppointmentKey:
        key = self._read_key(fields)
        fields.raise_if_invalid()
        return key

    def _read_key(self, fields: FieldReader) -> AppointmentKey:
        appointment_id = fields.identifier("appointmentId", integers=self.integer_ids)
        return AppointmentKey(appointment_id=appointment_id, user=_user(fields))

    def _sets(self, fields: FieldReader, name: str) -> bool:
        return self.replaces or name in fields


Format = GuideFormat | ReferenceFormat


def choose_format(settings: SandboxSettings) -> Format:
    """Return the body format that the settings select."""
    replaces = settings.put is PutSemantics.REPLACE
    if settings.body_format is BodyFormat.GUIDE:
        return GuideFormat(integer_ids=settings.integer_ids, replaces=replaces)
    return ReferenceFormat(integer_ids=settings.integer_ids, replaces=replaces, naive_times=settings.naive_times)


def _user(fields: FieldReader) -> User:
    return User(*(fields.non_empty_string(name) for name in _USER_FIELDS))


def _zone(fields: FieldReader) -> ZoneInfo | None:
    """Return the zone of `timeZone`, or None if it is missing or rejected."""
    if "timeZone" not in fields:
        return None
    try:
        return find_zone(fields.non_empty_string("timeZone"))
    except LookupError:
        fields.reject("timeZone", "must be the IANA or Windows name of a time zone")
        return None


def _content(fields: FieldReader) -> tuple[str, str]:
    """Return the content and content type of `body`; empty plain text if it is missing or rejected."""
    body = fields.nested("body", allowed=("content", "contentType")) if "body" in fields else None
    if body is None:
        return "", PLAIN_TEXT
    return body.string("content"), body.choice("contentType", CONTENT_TYPES)


def _show_as(fields: FieldReader) -> str | None:
    return fields.choice("showAs", SHOW_AS_VALUES) if "showAs" in fields else None


def _instant(fields: FieldReader, name: str, zone: ZoneInfo | None) -> datetime:
    instant = fields.instant(name, default_zone=zone)
    if not _EARLIEST <= instant <= _LATEST:
        fields.reject(name, "must be an RFC 3339 date-time, with an offset unless timeZone is given")
    return instant
