"""The values that all parts of the sync share: records, calendars, and the hashes of what they contain.

A `SourceRecord` is one appointment of the source, under a key of its own. The module knows no file format, no database
and no API.
"""

import functools
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import orjson

from connector_async._checks import check_appointment_id, check_tenant_id, check_text, check_type, validator
from connector_async._timestamps import InstantError, format_instant, parse_instant
from connector_async.models import NOTHING_EXTRA, UNSET, Appointment, DirectoryUser, NewAppointment, Unset
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
"""The fields of a row, in order. `ad_id` and `domain_id` are given together; those after `end_time` are optional."""

_KNOWN: Final = frozenset(FIELDS)

ABSENT: Final = ""
"""The hash of an appointment that does not exist."""

_MAX_SHOWN: Final = 64  # characters of an id in a message
_PLAIN: Final = "Text"  # the type of a description that names none
_OPTIONAL: Final = ("description_type", "time_zone")


@attrs.frozen(order=True)
class Calendar:
    """The owner of appointments: a tenant, or one user of a tenant where the wire format has users.

    Raises:
        ValueError: If `tenant_id` cannot be sent, if `ad_id` or `domain_id` is not printable, or if only one of these
            two is given.
        TypeError: If a field is not a str.
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
        """Reject a calendar that the wire format cannot name.

        Raises:
            ValueError: If there is a user and the format carries none, or if there is none and the format needs one.
        """
        if bool(self.ad_id) is wire_format.carries_user:
            return
        if wire_format.carries_user:
            raise ValueError(f"ad_id and domain_id must be given: {wire_format} names the user")
        raise ValueError(f"ad_id and domain_id must be missing: {wire_format} carries no user")

    @property
    def user(self) -> DirectoryUser | None:
        """The user; `None` if the calendar is the whole tenant's."""
        return DirectoryUser(self.ad_id, self.domain_id) if self.ad_id else None


@attrs.frozen(kw_only=True)
class SourceRecord:
    """One record of a source.

    Raises:
        ValueError: If the key is empty or not printable, if the appointment has `extra` fields (a sync does not know
            what they mean), or if `modified` is naive or outside the years 1 to 9999 in UTC.
        TypeError: If a field has another type.
    """

    key: str
    """Stable, and unique within its calendar."""
    calendar: Calendar
    """The calendar that the appointment belongs to."""
    appointment: NewAppointment
    """The content. Its time zone is sent where the wire format carries one; a change of the time zone alone is not
    a change."""
    modified: datetime | None = None
    """The time of the last change in the source; aware. `None` if the source does not say."""

    def __attrs_post_init__(self) -> None:
        check_text("key", self.key)
        if type(self.calendar) is not Calendar or type(self.appointment) is not NewAppointment:  # spares two calls
            check_type("calendar", self.calendar, Calendar)
            check_type("appointment", self.appointment, NewAppointment)
        check_type("modified", self.modified, datetime, optional=True)
        if self.appointment.extra is not NOTHING_EXTRA:
            raise ValueError("appointment must have no extra: a sync does not know what these fields mean")
        if self.modified is None:
            return
        if self.modified.utcoffset() is None:
            raise ValueError("modified must be aware: it has no time zone")
        try:
            sortable(self.modified)
        except OverflowError:
            raise ValueError("modified must lie within the years 1 to 9999 in UTC") from None


@attrs.frozen(kw_only=True)
class SourceProblem:
    """A record that cannot be read. The others are synced, and the appointment under its key stays as it is.

    Raises:
        ValueError: If the key is empty or not printable.
        TypeError: If the key is not a str, or the calendar not a `Calendar`.
    """

    source: str
    """The name of the source: the file as the user named it, for example."""
    line: int | None
    """The line on which the record starts, from 1; `None` where there are no lines."""
    reason: str
    """The field and the rule it breaks, never a value."""
    key: str | None = attrs.field(default=None, validator=validator(check_text, optional=True))
    """The key, if that could be read."""
    calendar: Calendar | None = attrs.field(default=None, validator=validator(check_type, Calendar, optional=True))
    """The calendar, if that could be read."""
    is_series: bool = False
    """Whether the record may be several: those under the key and those whose keys begin with the key and `/`."""


@attrs.frozen
class LastSynced:
    """What both sides had when a key was last in sync.

    The two hashes may differ, since a server may store what it is sent in its own way.
    """

    local: str
    """The hash of the source's record, or `ABSENT`."""
    remote: str | None
    """The hash of the server's appointment, or `ABSENT`; `None` if what the server made of the last write is not known
    yet."""
    pending: frozenset[str] = frozenset()
    """The hashes of what was sent since without a known result, `ABSENT` for a delete. Without them, a change would
    stay on the server if its response was lost and the source then reverts it."""
    summary_hash: str | None = None
    """The hash of the title and the times that the server has; `None` if not known."""
    written_at: float | None = None
    """When the key was last written to the server, in seconds since 1970 in UTC; `None` if not known."""
    replaced: frozenset[str] | None = None
    """The hashes of what the writes of the last hour have replaced on the server, `ABSENT` for a create; `None` if not
    known. A look soon after a write may still show them."""
    is_confirmed: bool = True
    """Whether a look has shown since what the server has made of that. A response may repeat what was sent."""


def content_hash(appointment: NewAppointment | Appointment) -> str:
    """Return the hash of the content that a sync compares, 32 hexadecimal digits.

    The content is the title, both times, the description and its type. A missing description equals an empty one, and
    a description without a type is plain text. The time zone's name does not count, as the times are compared in UTC;
    nor do fields that this version does not know, which a server may set by itself.
    """
    description, description_type = _or_empty(appointment.description), _or_empty(appointment.description_type)
    return _hash(appointment.title, *_times(appointment), description, description_type)


def content_hash_of_row(row: Mapping[str, str | None]) -> str:
    """Return the content hash of the appointment in a row of `row_of`."""
    description, description_type = row.get("description") or "", row.get("description_type") or ""
    return _hash(row["title"], row["start_time"], row["end_time"], description, description_type)


def summary_hash(appointment: NewAppointment | Appointment) -> str:
    """Return the content hash of the title and the times alone: a preview may omit everything else."""
    return _hash(appointment.title, *_times(appointment), "", "")


def _times(appointment: NewAppointment | Appointment) -> tuple[str, str]:
    return format_instant(appointment.start_time), format_instant(appointment.end_time)


def _hash(title: str | None, start_time: str | None, end_time: str | None, description: str, kind: str) -> str:
    fields = (title, start_time, end_time, description, "" if kind == _PLAIN else kind)
    return hashlib.blake2b(orjson.dumps(fields), digest_size=16).hexdigest()


class UnusableIdError(ValueError):
    """The server gave an appointment an id that no request can name. The message shows the id escaped."""


def usable_id(appointment_id: str | None) -> str:
    """Return the id of an appointment if a request can name it.

    Raises:
        UnusableIdError: If the id is missing, `.` or `..`, or has a character that is not printable.
    """
    try:
        return check_appointment_id(appointment_id or "")
    except ValueError as error:
        rule = str(error)
    shown = repr((appointment_id or "")[:_MAX_SHOWN])
    raise UnusableIdError(f"{rule}, and the server has given it the id {shown}")


def is_usable_id(appointment_id: str) -> bool:
    """Return whether a request can name an id."""
    try:
        usable_id(appointment_id)
    except UnusableIdError:
        return False
    return True


def unrecordable_reason(appointment: Appointment | None) -> str:
    """Return why no record can hold an appointment of the server, for a dead letter."""
    try:
        usable_id(None if appointment is None else appointment.appointment_id)
    except UnusableIdError as error:
        return str(error)
    return "no record can hold what the server has"


def sortable(instant: datetime) -> str:
    """Return a date-time as the state stores it: RFC 3339 in UTC with microseconds, so that the strings sort."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def sortable_string(instant: str) -> str:
    """Return what `sortable` returns, for a string of `format_instant`."""
    return instant if "." in instant else f"{instant[:-1]}.000000Z"


def record_from_row(row: Mapping[str, Any], *, tenant_id: str | None = None) -> SourceRecord:
    """Return the record of a row.

    Args:
        row: Strings under names of `FIELDS`. `None` and the empty string mean that a field is missing, except for
            `description`: there `None` is sent as `null` and the empty string as it is. Date-times are RFC 3339 with
            an offset.
        tenant_id: The tenant of a row that names none.

    Raises:
        ValueError: If a field breaks its rule; the message names the field and the rule, never the value.
        TypeError: If a field is not a str; the message names it.
    """
    for name in row.keys() - _KNOWN:
        raise ValueError(f"{name if name.isidentifier() else 'a field'} is not known")
    appointment = appointment_from_row(row)
    return SourceRecord(
        key=key_of(row),
        calendar=calendar_of(row, tenant_id=tenant_id),
        appointment=appointment,
        modified=_instant(row, "modified") if row.get("modified") else None,
    )


def appointment_from_row(row: Mapping[str, Any]) -> NewAppointment:
    """Return the appointment of a row.

    Raises:
        ValueError: If a field breaks its rule; the message names the field and the rule, never the value.
        TypeError: If a field is not a str; the message names it.
    """
    return NewAppointment(
        title=_required(row, "title"),
        start_time=_instant(row, "start_time"),
        end_time=_instant(row, "end_time"),
        description=row.get("description", UNSET),
        **{name: row[name] for name in _OPTIONAL if row.get(name)},
    )


def key_of(row: Mapping[str, Any]) -> str:
    """Return the key of a row.

    Raises:
        ValueError: If it is missing, empty, or has a character that is not printable.
        TypeError: If it is not a str.
    """
    return check_text("key", _required(row, "key"))


def calendar_of(row: Mapping[str, Any], *, tenant_id: str | None = None) -> Calendar:
    """Return the calendar of a row.

    Args:
        row: Strings under names of `FIELDS`.
        tenant_id: The tenant of a row that names none.

    Raises:
        ValueError: If the tenant is missing or cannot be sent, or if only one of `ad_id` and `domain_id` is given.
        TypeError: If one of them is not a str.
    """
    tenant, domain, user = row.get("tenant_id") or tenant_id or "", row.get("domain_id") or "", row.get("ad_id") or ""
    are_strings = isinstance(tenant, str) and isinstance(domain, str) and isinstance(user, str)
    if are_strings and bool(domain) is bool(user):
        return _calendar(tenant, domain, user)
    return Calendar(
        check_tenant_id(tenant),
        domain_id=check_text("domain_id", _required(row, "domain_id")),
        ad_id=check_text("ad_id", _required(row, "ad_id")),
    )


_calendar: Final = functools.lru_cache(maxsize=1024)(Calendar)  # the records of a calendar mostly follow each other


def record_of(appointment: Appointment, *, key: str, calendar: Calendar) -> SourceRecord:
    """Return the record for an appointment of the server, without the fields that this version does not know.

    Raises:
        ValueError: If no record can hold the appointment, as with a blank title; the message names the field.
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
    """Return the row of a record: the fields that it sets, date-times in UTC."""
    appointment, calendar = record.appointment, record.calendar
    row: dict[str, str | None] = {"key": record.key, "tenant_id": calendar.tenant_id}
    if calendar.ad_id:
        row["ad_id"], row["domain_id"] = calendar.ad_id, calendar.domain_id
    row["title"] = appointment.title
    times = orjson.dumps((appointment.start_time, appointment.end_time), option=orjson.OPT_UTC_Z)
    row["start_time"], row["end_time"] = times[2:-2].decode().split('","')  # as format_instant returns them
    if appointment.description is not UNSET:
        row["description"] = appointment.description
    if appointment.description_type is not UNSET:
        row["description_type"] = appointment.description_type
    if appointment.time_zone is not UNSET:
        row["time_zone"] = appointment.time_zone
    if record.modified is not None:
        row["modified"] = format_instant(record.modified)
    return row


def as_carried(appointment: NewAppointment, wire_format: WireFormat) -> NewAppointment:
    """Return an appointment without the fields that a wire format does not carry and that may be left out.

    These are the time zone's name, as the times are sent in UTC, and the type of a plain-text description.

    Raises:
        ValueError: If another field is set that the format does not carry, or the time zone is not known.
    """
    if appointment.time_zone is appointment.description_type is UNSET and appointment.extra is NOTHING_EXTRA:
        return appointment  # each format carries the other fields
    changes: dict[str, Any] = {}
    if appointment.time_zone is not UNSET and not wire_format.carries("time_zone"):
        changes["time_zone"] = UNSET
    if appointment.description_type == _PLAIN and not wire_format.carries("description_type"):
        changes["description_type"] = UNSET
    if changes:
        appointment = attrs.evolve(appointment, **changes)
    wire_format.check(appointment)
    return appointment


def _or_empty(value: str | Unset | None) -> str:
    return value if isinstance(value, str) else ""


def _required(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        raise ValueError(f"{name} is missing")
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return value


def _instant(row: Mapping[str, Any], name: str) -> datetime:
    try:
        return parse_instant(_required(row, name))
    except InstantError as error:
        raise ValueError(f"{name}: {error}") from None
