"""An event of iCalendar (RFC 5545, section 3.6.1) as a row of `FIELDS`.

Sections named here are those of RFC 5545. The messages of the library hold the texts that it could not parse, so that
none of them is passed on.
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
"""A parameter of what must be there and says nothing: a description that is `null`, a DTSTAMP where nobody knows."""
ENCODING: Final = "X-CONNECTOR-ENCODING"
"""A parameter, `PERCENT`: the text has what iCalendar cannot carry, which is written as in a URL."""
MICROSECOND: Final = "X-CONNECTOR-MICROSECOND"
"""A parameter of a date-time, which has whole seconds in iCalendar."""

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

# Control characters cannot stand in a text (section 3.3.11); line separators and a byte order mark may be taken for
# what they are; the library makes a line feed of \N, and before version 7 of more that follows a backslash, and of some
# percent signs what a URL means by them.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\\\\]|%(?=[0-9A-Fa-f]{2})")


class EventReader:
    """Reads events into rows.

    Args:
        zone_of: Returns the zone that a TZID names, or `None`.
        assume_zone: The zone of floating times and of days; `None`: they are refused.
    """

    def __init__(self, zone_of: Callable[[str], tzinfo | None], assume_zone: tzinfo | None) -> None:
        self._zone_of = zone_of
        self._assume_zone = assume_zone

    def identity(self, event: "icalendar.Component") -> dict[str, str]:
        """Return the fields of a row that say which record it is.

        Raises:
            ValueError: One cannot be read.
        """
        _refuse_broken(event, {"UID", "RECURRENCE-ID", TENANT_ID, DOMAIN_ID, AD_ID})
        row = _texts(event, {"key": "UID", "tenant_id": TENANT_ID, "domain_id": DOMAIN_ID, "ad_id": AD_ID})
        instance = _one(event, "RECURRENCE-ID")
        if instance is not None and "key" in row:
            row["key"] = f"{row['key']}/{self._instance(instance)}"
        return row

    def content(self, event: "icalendar.Component") -> dict[str, str | None]:
        """Return the other fields of the row.

        Raises:
            ValueError: One cannot be read, or the event recurs.
        """
        if any(name in event for name in _RECURRENCE) or "RANGE" in _parameters(event, "RECURRENCE-ID"):
            raise ValueError("recurring events are not supported")
        _refuse_broken(event, set(_FIELD_OF))
        row: dict[str, str | None] = dict(
            _texts(event, {"title": "SUMMARY", "description_type": DESCRIPTION_TYPE, "time_zone": TIME_ZONE})
        )
        if "DESCRIPTION" in event:
            null = NULL in _parameters(event, "DESCRIPTION")
            row["description"] = None if null else _text(event, "DESCRIPTION")
        start, end = self._times(event)
        row |= {"start_time": format_instant(start), "end_time": format_instant(end)}
        zone_name = _parameters(event, "DTSTART").get("TZID")
        if isinstance(zone_name, str) and zone_named(zone_name) is not None:
            row.setdefault("time_zone", zone_name)
        for name in ("DTSTAMP", "LAST-MODIFIED"):  # the second one counts where both are there
            if name in event and NULL not in _parameters(event, name):
                row["modified"] = format_instant(self._instant(event, name))
        return row

    def _times(self, event: "icalendar.Component") -> tuple[datetime, datetime]:
        if "DTSTART" not in event:
            raise ValueError("start_time is missing")
        start = self._instant(event, "DTSTART")
        if "DTEND" in event and "DURATION" in event:
            raise ValueError("end_time is said twice, by DTEND and by DURATION")
        if "DTEND" in event:
            return start, self._instant(event, "DTEND")
        length = getattr(_one(event, "DURATION"), "dt", timedelta(0))
        if not isinstance(length, timedelta):
            raise ValueError("end_time: DURATION is no duration")
        begin = _one(event, "DTSTART").dt
        try:
            if isinstance(begin, datetime):
                return start, start + length
            # Days of the calendar, of which one may have 23 hours or 25.
            days = length if "DURATION" in event else timedelta(days=1)
            return start, self._aware(datetime.combine(begin, time()) + days, self._assume_zone, "end_time")
        except OverflowError:
            raise ValueError("end_time: outside the years 1 to 9999 in UTC") from None

    def _instance(self, instance: Any) -> str:
        value = instance.dt
        if not isinstance(value, date):
            raise ValueError("key: RECURRENCE-ID is no date-time")
        text = value.isoformat()
        if isinstance(value, datetime):
            zone_id = instance.params.get("TZID")
            if zone_id is not None or value.tzinfo is not None or self._assume_zone is not None:
                text = format_instant(self._resolved(value, zone_id, "key"))
        return re.sub("[-:]", "", text)

    def _instant(self, event: "icalendar.Component", name: str) -> datetime:
        field = _FIELD_OF[name]
        prop = _one(event, name)
        value = prop.dt
        if isinstance(value, datetime):
            instant = self._resolved(value, prop.params.get("TZID"), field)
        elif isinstance(value, date):
            instant = self._aware(datetime.combine(value, time()), self._assume_zone, field)
        else:
            raise ValueError(f"{field} is no date-time")
        try:
            return instant.replace(microsecond=int(prop.params.get(MICROSECOND, 0)))
        except (TypeError, ValueError):
            raise ValueError(f"{field} has microseconds that are none") from None

    def _resolved(self, value: datetime, zone_id: object, field: str) -> datetime:
        """Return the instant of a parsed date-time.

        The library keeps the zones of all files that it has seen; here those of this file count alone.
        """
        if zone_id is None:
            return self._aware(value, value.tzinfo or self._assume_zone, field)
        zone = self._zone_of(zone_id) if isinstance(zone_id, str) else None
        if zone is None:
            raise ValueError(f"{field} has a zone that is not known")
        return self._aware(value, zone, field)

    def _aware(self, value: datetime, zone: tzinfo | None, field: str) -> datetime:
        if zone is None:
            raise ValueError(f"{field} has no zone")
        try:
            return value.replace(tzinfo=zone).astimezone(UTC)
        except (InstantError, OverflowError):
            raise ValueError(f"{field}: outside the years 1 to 9999 in UTC") from None


def is_cancelled(event: "icalendar.Component") -> bool:
    """Return whether an event says that it does not take place."""
    status = event.get("STATUS")
    return isinstance(status, str) and status.upper() == "CANCELLED"


def event_of(record: SourceRecord, row: dict[str, str | None]) -> bytes:
    """Return the lines of the event that says a record, of which `row` is the row."""
    # Imported here: nobody needs it who reads no such file.
    import icalendar  # noqa: PLC0415

    event = icalendar.Event()
    texts = {"UID": "key", TENANT_ID: "tenant_id", DOMAIN_ID: "domain_id", AD_ID: "ad_id", "SUMMARY": "title"}
    texts |= {"DESCRIPTION": "description", DESCRIPTION_TYPE: "description_type", TIME_ZONE: "time_zone"}
    for name, field in texts.items():
        if field in row:
            _add_text(event, name, row[field])
    start, end = record.appointment.start_time, record.appointment.end_time
    _add_instant(event, "DTSTART", start)
    if end != start:
        _add_instant(event, "DTEND", end)  # which has to be later than DTSTART; without it, it is the same (3.6.1)
    if record.modified is None:
        _add_instant(event, "DTSTAMP", start, {NULL: "TRUE"})
    else:
        _add_instant(event, "DTSTAMP", record.modified)
        _add_instant(event, "LAST-MODIFIED", record.modified)
    lines: bytes = event.to_ical()
    return lines


def _add_text(event: "icalendar.Event", name: str, text: str | None) -> None:
    if text is None:
        event.add(name, "", parameters={NULL: "TRUE"})
    elif _UNSAFE.search(text):
        # In lower case, which the library does not take for its own before version 7.
        encoded = re.sub(f"{_UNSAFE.pattern}|%", lambda found: quote(found[0]).lower(), text)
        event.add(name, encoded, parameters={ENCODING: "PERCENT"})
    else:
        event.add(name, text)


def _add_instant(
    event: "icalendar.Event", name: str, instant: datetime, parameters: dict[str, str] | None = None
) -> None:
    parameters = dict(parameters or {})
    instant = instant.astimezone(UTC)
    if instant.microsecond:
        parameters[MICROSECOND] = str(instant.microsecond)
    event.add(name, instant.replace(microsecond=0), parameters=parameters)


def _refuse_broken(event: "icalendar.Component", names: set[str]) -> None:
    for name, _ in event.errors:
        if name is None:  # which property it was cannot be told
            raise ValueError("a property cannot be parsed")
        if name in names:
            raise ValueError(f"{_FIELD_OF[name]}: {name} cannot be parsed")


def _one(event: "icalendar.Component", name: str) -> Any:
    value = event.get(name)
    if isinstance(value, list):
        raise ValueError(f"{_FIELD_OF[name]}: {name} is there twice")
    return value


def _parameters(event: "icalendar.Component", name: str) -> Any:
    return getattr(_one(event, name), "params", {})


def _text(event: "icalendar.Component", name: str) -> str:
    text = str(_one(event, name))
    if ENCODING not in _parameters(event, name):
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"{_FIELD_OF[name]}: not UTF-8 where it is encoded") from None


def _texts(event: "icalendar.Component", names: dict[str, str]) -> dict[str, str]:
    return {field: _text(event, name) for field, name in names.items() if name in event}
