"""What a source says there should be: one appointment under a key of its own, and the hash of what counts of it.

It knows no file format, no state and no API.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import orjson

from connector_async._checks import check_appointment_id, check_tenant_id, check_text, check_type, validator
from connector_async._timestamps import InstantError, format_instant, parse_instant
from connector_async.models import UNSET, Appointment, DirectoryUser, NewAppointment, Unset
from connector_async.wire import WireFormat

FIELDS: Final = (
    "key",
    "tenant_id",
    "ad_id",
    "domain_id",
    "title",
    "start_time",
    "end_time",
    "description",
    "description_type",
    "time_zone",
    "modified",
)
"""The fields of a row, in their order. `ad_id` and `domain_id` go together; those after `end_time` may be missing."""

ABSENT: Final = ""
"""The hash of what is not there."""

_SHOWN: Final = 64  # characters of an id in a message
_TEXT: Final = "Text"  # what a description is unless it says otherwise
_OPTIONAL: Final = ("description", "description_type", "time_zone")


@attrs.frozen(order=True)
class Calendar:
    """Whose appointments they are: a tenant's, and where the wire format has users one user's of it.

    Raises:
        ValueError: The tenant cannot be one, or `ad_id` or `domain_id` is not printable, or there without the other.
        TypeError: A field is no text.
    """

    tenant_id: str = attrs.field(validator=lambda _, __, value: check_tenant_id(value))
    domain_id: str = ""
    """Empty where the wire format carries no user."""
    ad_id: str = ""
    """Empty where the wire format carries no user."""

    def __attrs_post_init__(self) -> None:
        for name in ("domain_id", "ad_id"):
            value = getattr(self, name)
            if value != "":
                check_text(name, value)
        if bool(self.domain_id) is not bool(self.ad_id):
            raise ValueError("ad_id and domain_id must be given together")

    def check(self, wire_format: WireFormat) -> None:
        """Refuse what a wire format cannot name.

        Raises:
            ValueError: There is a user although the format carries none, or none although it names one.
        """
        if bool(self.ad_id) is wire_format.carries_user:
            return
        if wire_format.carries_user:
            raise ValueError(f"ad_id and domain_id must be given: {wire_format} names the user")
        raise ValueError(f"ad_id and domain_id must be missing: {wire_format} carries no user")

    @property
    def user(self) -> DirectoryUser | None:
        """The user; `None`: all of the tenant's."""
        return DirectoryUser(self.ad_id, self.domain_id) if self.ad_id else None


@attrs.frozen(kw_only=True)
class SourceRecord:
    """One record of a source.

    Raises:
        ValueError: The key is empty or not printable, the appointment has `extra`, of which a sync knows nothing, or
            `modified` has no time zone, or lies outside of the years 1 to 9999 in UTC.
        TypeError: A field is of another type.
    """

    key: str = attrs.field(validator=validator(check_text))
    """Stable and unique among its calendar's."""
    calendar: Calendar = attrs.field(validator=validator(check_type, Calendar))
    """Whose it is."""
    appointment: NewAppointment = attrs.field(validator=validator(check_type, NewAppointment))
    """What there should be. A time zone is sent where the wire format carries one; a change of it alone is none."""
    modified: datetime | None = attrs.field(default=None, validator=validator(check_type, datetime, optional=True))
    """When it was last changed; aware. `None`: the source does not say."""

    def __attrs_post_init__(self) -> None:
        if self.appointment.extra:
            raise ValueError("appointment must have no extra: a sync knows nothing of what its fields mean")
        if self.modified is not None and self.modified.utcoffset() is None:
            raise ValueError("modified must be aware: it has no time zone")
        if self.modified is not None:
            try:
                sortable(self.modified)
            except OverflowError:
                raise ValueError("modified must lie within the years 1 to 9999 in UTC") from None


@attrs.frozen(kw_only=True)
class SourceProblem:
    """A record that cannot be read. It does not stop the rest, and nothing is done to what it may stand for.

    Raises:
        ValueError: The key is empty or not printable.
        TypeError: A field is of another type.
    """

    source: str = attrs.field(validator=validator(check_type, str))
    """The file, as it was named, or what else the records come from."""
    line: int | None = attrs.field(validator=validator(check_type, int, optional=True))
    """Where it begins, from 1; `None` where there are no lines."""
    reason: str = attrs.field(validator=validator(check_type, str))
    """The field and the rule it breaks, never a value."""
    key: str | None = attrs.field(default=None, validator=validator(check_text, optional=True))
    """Its key, if that much could be read."""
    calendar: Calendar | None = attrs.field(default=None, validator=validator(check_type, Calendar, optional=True))
    """Whose it is, if that much could be read."""


@attrs.frozen
class LastSynced:
    """What was last in step: not equal of necessity, since a server may write what it is sent in its own way."""

    local: str
    """The hash of the source's side, or `GONE`."""
    remote: str | None
    """The hash of the server's side, or `GONE`; `None`: what it made of the last write is not known yet."""
    pending: frozenset[str] = frozenset()
    """The hashes of what was sent since, `GONE` for a delete, of which nobody knows whether it has happened. Without
    them, a change whose answer was lost would stay when the source takes it back."""


def content_hash(appointment: NewAppointment | Appointment) -> str:
    """Return the hash of what counts of an appointment, 32 hexadecimal digits.

    That is the title, both instants, the description and its type. A description that is missing is an empty one, and
    one without a type is text. The name of a zone does not count, as the instants are told in UTC; nor do fields that
    this version does not know, which a server may set by itself.
    """
    description_type = appointment.description_type
    fields = (
        appointment.title,
        format_instant(appointment.start_time),
        format_instant(appointment.end_time),
        _text(appointment.description),
        "" if description_type == _TEXT else _text(description_type),
    )
    return hashlib.blake2b(orjson.dumps(fields), digest_size=16).hexdigest()


class UnusableIdError(ValueError):
    """The server gave an appointment an id that no request can name. The message shows it escaped."""


def usable_id(appointment_id: str | None) -> str:
    """Return the id of an appointment when a request can name it.

    Raises:
        UnusableIdError: It is missing, `.` or `..`, or has a character that is not printable.
    """
    try:
        return check_appointment_id(appointment_id or "")
    except ValueError as error:
        rule = str(error)
    shown = repr((appointment_id or "")[:_SHOWN])
    raise UnusableIdError(f"{rule}, and the server has given it the id {shown}")


def why_unsayable(appointment: Appointment | None) -> str:
    """Return why no record can say what the server has, for a dead letter."""
    try:
        usable_id(None if appointment is None else appointment.appointment_id)
    except UnusableIdError as error:
        return str(error)
    return "no record can say what the server has"


def sortable(instant: datetime) -> str:
    """Return an instant as the state has it: RFC 3339, in UTC, with six digits of a second, so that texts sort."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def record_from_row(row: Mapping[str, Any], *, tenant_id: str | None = None) -> SourceRecord:
    """Return the record that a row of `FIELDS` says.

    Args:
        row: Texts; `None` and the empty text stand for a field that is missing, but for `description`, where `None` is
            sent as `null` and the empty text as it is. Date-times are of RFC 3339, with an offset.
        tenant_id: The tenant of a row that names none.

    Raises:
        ValueError: A field breaks its rule; the message names the field and the rule, never the value.
        TypeError: A field is no text; the message names it.
    """
    for name in row.keys() - FIELDS:
        raise ValueError(f"{name if name.isidentifier() else 'a field'} is not known")
    appointment = NewAppointment(
        title=_required(row, "title"),
        start_time=_instant(row, "start_time"),
        end_time=_instant(row, "end_time"),
        description=row.get("description", UNSET),
        **{name: row[name] for name in _OPTIONAL[1:] if row.get(name)},
    )
    return SourceRecord(
        key=key_of(row),
        calendar=calendar_of(row, tenant_id=tenant_id),
        appointment=appointment,
        modified=_instant(row, "modified") if row.get("modified") else None,
    )


def key_of(row: Mapping[str, Any]) -> str:
    """Return the key of a row.

    Raises:
        ValueError: It is missing, empty, or has a character that is not printable.
        TypeError: It is no text.
    """
    return check_text("key", _required(row, "key"))


def calendar_of(row: Mapping[str, Any], *, tenant_id: str | None = None) -> Calendar:
    """Return whose a row is.

    Args:
        row: Of `FIELDS`.
        tenant_id: The tenant of a row that names none.

    Raises:
        ValueError: The tenant is missing or cannot be one, or `ad_id` and `domain_id` are not both there.
        TypeError: One is no text.
    """
    tenant = check_tenant_id(row.get("tenant_id") or tenant_id or "")
    if not row.get("ad_id") and not row.get("domain_id"):
        return Calendar(tenant)
    return Calendar(
        tenant,
        domain_id=check_text("domain_id", _required(row, "domain_id")),
        ad_id=check_text("ad_id", _required(row, "ad_id")),
    )


def record_of(appointment: Appointment, *, key: str, calendar: Calendar) -> SourceRecord:
    """Return the record that says what the server has. Fields that this version does not know are left out.

    Raises:
        ValueError: The server has what no record can say, such as a blank title; it names the field.
    """
    options: dict[str, Any] = {}
    if appointment.description:
        options["description"] = appointment.description
        if appointment.description_type is not None:
            options["description_type"] = appointment.description_type
    if appointment.time_zone is not None:
        options["time_zone"] = appointment.time_zone
    new = NewAppointment(
        title=appointment.title, start_time=appointment.start_time, end_time=appointment.end_time, **options
    )
    return SourceRecord(key=key, calendar=calendar, appointment=new)


def row_of(record: SourceRecord) -> dict[str, str | None]:
    """Return the row that says a record: the fields that it sets, date-times in UTC."""
    appointment, calendar = record.appointment, record.calendar
    row: dict[str, str | None] = {"key": record.key, "tenant_id": calendar.tenant_id}
    if calendar.ad_id:
        row |= {"ad_id": calendar.ad_id, "domain_id": calendar.domain_id}
    row |= {
        "title": appointment.title,
        "start_time": format_instant(appointment.start_time),
        "end_time": format_instant(appointment.end_time),
    }
    for name in _OPTIONAL:
        value = getattr(appointment, name)
        if value is not UNSET:
            row[name] = value
    if record.modified is not None:
        row["modified"] = format_instant(record.modified)
    return row


def as_carried(appointment: NewAppointment, wire_format: WireFormat) -> NewAppointment:
    """Return an appointment without what a wire format does not carry and need not.

    That is the name of a zone, as the times are told in UTC, and that a description is text.

    Raises:
        ValueError: It has something else that the format does not carry, or a zone that there is not.
    """
    changes: dict[str, Any] = {}
    if not wire_format.carries("time_zone") and appointment.time_zone is not UNSET:
        changes["time_zone"] = UNSET
    if not wire_format.carries("description_type") and appointment.description_type == _TEXT:
        changes["description_type"] = UNSET
    if changes:
        appointment = attrs.evolve(appointment, **changes)
    wire_format.check(appointment)
    return appointment


def _text(value: str | Unset | None) -> str:
    return value if isinstance(value, str) else ""


def _required(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        raise ValueError(f"{name} is missing")
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, not {type(value).__name__}")
    return value


def _instant(row: Mapping[str, Any], name: str) -> datetime:
    try:
        return parse_instant(_required(row, name))
    except InstantError as error:
        raise ValueError(f"{name}: {error}") from None
