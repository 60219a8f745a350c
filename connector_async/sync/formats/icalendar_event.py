"""Conversion between an iCalendar event (RFC 5545, section 3.6.1) and a row of `FIELDS`.

Section numbers below are those of RFC 5545. No message of the icalendar library is passed on, since it repeats the
strings that it could not parse, which are personal data.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from connector_async._timestamps import InstantError, format_instant, zone_named
from connector_async.sync.records import SourceRecord

if TYPE_CHECKING:
    import icalendar

TENANT_ID: Final = "X-CONNECTOR-TENANT-ID"
DOMAIN_ID: Final = "X-CONNECTOR-DOMAIN-ID"
AD_ID: Final = "X-CONNECTOR-AD-ID"
DESCRIPTION_TYPE: Final = "X-CONNECTOR-DESCRIPTION-TYPE"
TIME_ZONE: Final = "X-CONNECTOR-TIME-ZONE"

NULL: Final = "X-CONNECTOR-NULL"
"""A parameter of a property without a value: a description that is `null`, a DTSTAMP that is unknown."""
ENCODING: Final = "X-CONNECTOR-ENCODING"
"""A parameter of a value that is percent-encoded, since iCalendar cannot carry one of its characters."""
MICROSECOND: Final = "X-CONNECTOR-MICROSECOND"
"""A parameter of a date-time: its microseconds, since iCalendar has whole seconds only."""

_FIELD_OF: Final = {
    "UID": "key",
    "RECURRENCE-ID": "key",
    TENANT_ID: "tenant_id",
    AD_ID: "ad_id",
    DOMAIN_ID: "domain_id",
    "SUMMARY": "title",
    "DTSTART": "start_time",
    "DTEND": "end_time",
    "DURATION": "end_time",
    "DESCRIPTION": "description",
    DESCRIPTION_TYPE: "description_type",
    TIME_ZONE: "time_zone",
    "LAST-MODIFIED": "modified",
    "DTSTAMP": "modified",
}
_RECURRENCE: Final = ("RRULE", "RDATE", "EXRULE")

# The characters that do not survive a round trip as they are. Control characters are not allowed (section 3.3.11). Some
# readers interpret line separators and a byte order mark. The icalendar library turns \N into a line feed, and before
# version 7 also other characters after a backslash, and some percent signs as in a URL.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\\\\]|%(?=[0-9A-Fa-f]{2})")


class EventReader:
    """Reads events into rows.

    Args:
        find_zone: Returns the time zone with a TZID, or `None` if it is unknown.
        assume_zone: The time zone of floating times and of dates; `None`: both are rejected.
    """

    def __init__(self, find_zone: Callable[[str], tzinfo | None], assume_zone: tzinfo | None) -> None:
        self._find_zone = find_zone
        self._assume_zone = assume_zone

    def identity(self, event: "icalendar.Component") -> dict[str, str]:
        """Return the fields of the row that identify the record: key, tenant and user.

        Raises:
            ValueError: If one of them is invalid.
        """
        _check_parsed(event, {"UID", "RECURRENCE-ID", TENANT_ID, DOMAIN_ID, AD_ID})
        row = _get_strings(event, {"key": "UID", "tenant_id": TENANT_ID, "domain_id": DOMAIN_ID, "ad_id": AD_ID})
        recurrence_id = _get(event, "RECURRENCE-ID")
        if recurrence_id is not None and "key" in row:
            row["key"] = f"{row['key']}/{self._key_suffix(recurrence_id)}"
        return row

    def content(self, event: "icalendar.Component") -> dict[str, str | None]:
        """Return the other fields of the row.

        Raises:
            ValueError: If one of them is invalid, or the event recurs.
        """
        if any(name in event for name in _RECURRENCE) or "RANGE" in _parameters(event, "RECURRENCE-ID"):
            raise ValueError("recurring events are not supported")
        _check_parsed(event, set(_FIELD_OF))
        row: dict[str, str | None] = dict(
            _get_strings(event, {"title": "SUMMARY", "description_type": DESCRIPTION_TYPE, "time_zone": TIME_ZONE})
        )
        if "DESCRIPTION" in event:
            is_null = NULL in _parameters(event, "DESCRIPTION")
            row["description"] = None if is_null else _get_string(event, "DESCRIPTION")
        start, end = self._times(event)
        row |= {"start_time": format_instant(start), "end_time": format_instant(end)}
        zone_name = _parameters(event, "DTSTART").get("TZID")
        if isinstance(zone_name, str) and zone_named(zone_name) is not None:
            row.setdefault("time_zone", zone_name)
        for name in ("DTSTAMP", "LAST-MODIFIED"):  # the second one wins if both are set
            if name in event and NULL not in _parameters(event, name):
                row["modified"] = format_instant(self._instant(event, name))
        return row

    def _times(self, event: "icalendar.Component") -> tuple[datetime, datetime]:
        if "DTSTART" not in event:
            raise ValueError("start_time is missing")
        start = self._instant(event, "DTSTART")
        if "DTEND" in event and "DURATION" in event:
            raise ValueError("end_time is set twice, by DTEND and by DURATION")
        if "DTEND" in event:
            return start, self._instant(event, "DTEND")
        duration = getattr(_get(event, "DURATION"), "dt", timedelta(0))
        if not isinstance(duration, timedelta):
            raise ValueError("end_time: DURATION must be a duration")
        first = _get(event, "DTSTART").dt
        try:
            if isinstance(first, datetime):
                return start, start + duration
            # Days of the calendar, which may have 23 or 25 hours.
            days = duration if "DURATION" in event else timedelta(days=1)
            return start, self._to_utc(datetime.combine(first, time()) + days, self._assume_zone, "end_time")
        except OverflowError:
            raise ValueError("end_time: outside the years 1 to 9999 in UTC") from None

    def _key_suffix(self, recurrence_id: Any) -> str:
        value = recurrence_id.dt
        if not isinstance(value, date):
            raise ValueError("key: RECURRENCE-ID must be a date-time")
        suffix = value.isoformat()
        if isinstance(value, datetime):
            zone_id = recurrence_id.params.get("TZID")
            if zone_id is not None or value.tzinfo is not None or self._assume_zone is not None:
                suffix = format_instant(self._resolve(value, zone_id, "key"))
        return re.sub("[-:]", "", suffix)

    def _instant(self, event: "icalendar.Component", name: str) -> datetime:
        field = _FIELD_OF[name]
        prop = _get(event, name)
        value = prop.dt
        if isinstance(value, datetime):
            instant = self._resolve(value, prop.params.get("TZID"), field)
        elif isinstance(value, date):
            instant = self._to_utc(datetime.combine(value, time()), self._assume_zone, field)
        else:
            raise ValueError(f"{field} must be a date-time")
        try:
            return instant.replace(microsecond=int(prop.params.get(MICROSECOND, 0)))
        except (TypeError, ValueError):
            raise ValueError(f"{field} has an invalid {MICROSECOND}") from None

    def _resolve(self, value: datetime, zone_id: object, field: str) -> datetime:
        """Return a parsed date-time in UTC.

        The icalendar library keeps the time zones of all files that it has parsed. Here only those of this file count.
        """
        if zone_id is None:
            return self._to_utc(value, value.tzinfo or self._assume_zone, field)
        zone = self._find_zone(zone_id) if isinstance(zone_id, str) else None
        if zone is None:
            raise ValueError(f"{field} has an unknown time zone")
        return self._to_utc(value, zone, field)

    def _to_utc(self, value: datetime, zone: tzinfo | None, field: str) -> datetime:
        if zone is None:
            raise ValueError(f"{field} has no time zone")
        try:
            return value.replace(tzinfo=zone).astimezone(UTC)
        except (InstantError, OverflowError):
            raise ValueError(f"{field}: outside the years 1 to 9999 in UTC") from None


def is_cancelled(event: "icalendar.Component") -> bool:
    """Return whether the status of an event is CANCELLED."""
    status = event.get("STATUS")
    return isinstance(status, str) and status.upper() == "CANCELLED"


def event_lines(record: SourceRecord, row: dict[str, str | None]) -> bytes:
    """Return the lines of the event for a record and its row."""
    # Imported here, since the other formats do not need it.
    import icalendar  # noqa: PLC0415

    event = icalendar.Event()
    strings = {"UID": "key", TENANT_ID: "tenant_id", DOMAIN_ID: "domain_id", AD_ID: "ad_id", "SUMMARY": "title"}
    strings |= {"DESCRIPTION": "description", DESCRIPTION_TYPE: "description_type", TIME_ZONE: "time_zone"}
    for name, field in strings.items():
        if field in row:
            _add_string(event, name, row[field])
    start, end = record.appointment.start_time, record.appointment.end_time
    _add_instant(event, "DTSTART", start)
    if end != start:
        _add_instant(event, "DTEND", end)  # must be later than DTSTART; without DTEND the event ends there (3.6.1)
    if record.modified is None:
        _add_instant(event, "DTSTAMP", start, {NULL: "TRUE"})
    else:
        _add_instant(event, "DTSTAMP", record.modified)
        _add_instant(event, "LAST-MODIFIED", record.modified)
    lines: bytes = event.to_ical()
    return lines


def _add_string(event: "icalendar.Event", name: str, value: str | None) -> None:
    if value is None:
        event.add(name, "", parameters={NULL: "TRUE"})
    elif _UNSAFE.search(value):
        # In lower case, which the library does not decode by itself before version 7.
        encoded = re.sub(f"{_UNSAFE.pattern}|%", lambda match: quote(match[0]).lower(), value)
        event.add(name, encoded, parameters={ENCODING: "PERCENT"})
    else:
        event.add(name, value)


def _add_instant(
    event: "icalendar.Event", name: str, instant: datetime, parameters: dict[str, str] | None = None
) -> None:
    parameters = dict(parameters or {})
    instant = instant.astimezone(UTC)
    if instant.microsecond:
        parameters[MICROSECOND] = str(instant.microsecond)
    event.add(name, instant.replace(microsecond=0), parameters=parameters)


def _check_parsed(event: "icalendar.Component", names: set[str]) -> None:
    """Raise `ValueError` if the library could not parse one of some properties."""
    for name, _ in event.errors:
        if name is None:  # it may be any property
            raise ValueError("a property cannot be parsed")
        if name in names:
            raise ValueError(f"{_FIELD_OF[name]}: {name} cannot be parsed")


def _get(event: "icalendar.Component", name: str) -> Any:
    value = event.get(name)
    if isinstance(value, list):
        raise ValueError(f"{_FIELD_OF[name]}: {name} occurs twice")
    return value


def _parameters(event: "icalendar.Component", name: str) -> Any:
    return getattr(_get(event, name), "params", {})


def _get_string(event: "icalendar.Component", name: str) -> str:
    value = str(_get(event, name))
    if ENCODING not in _parameters(event, name):
        return value
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"{_FIELD_OF[name]}: the percent-encoded value must be UTF-8") from None


def _get_strings(event: "icalendar.Component", names: dict[str, str]) -> dict[str, str]:
    return {field: _get_string(event, name) for field, name in names.items() if name in event}
