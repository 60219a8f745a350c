"""Writing the properties of iCalendar, and the event of a record."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from connector_async.sync.records import SourceRecord, row_of

from .names import AD_ID, DESCRIPTION_TYPE, DOMAIN_ID, ENCODING, MICROSECOND, NULL, TENANT_ID, TIME_ZONE

if TYPE_CHECKING:
    import icalendar
    from icalendar.parser import Contentline

LINE_END: Final = b"\r\n"
_PROPERTY_OF: Final = {
    "key": "UID",
    "tenant_id": TENANT_ID,
    "domain_id": DOMAIN_ID,
    "ad_id": AD_ID,
    "title": "SUMMARY",
    "description": "DESCRIPTION",
    "description_type": DESCRIPTION_TYPE,
    "time_zone": TIME_ZONE,
}

# The characters that do not survive a round trip as they are. Control characters are not allowed (section 3.3.11). Some
# readers interpret line separators and a byte order mark, and some backslashes and percent signs.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\\\\]|%(?=[0-9A-Fa-f]{2})")


def event_lines(record: SourceRecord) -> bytes:
    """Return the lines of the event for a record."""
    # Imported here, since the other formats do not need it.
    import icalendar  # noqa: PLC0415

    event, row = icalendar.Event(), row_of(record)
    for field, name in _PROPERTY_OF.items():
        if field in row:
            value, parameters = _text(row[field])
            event.add(name, value, parameters=parameters)
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


def text_line(name: str, value: str | None, parameters: Mapping[str, str] | None = None) -> bytes:
    """Return the lines of a property of the type TEXT.

    Args:
        name: The property.
        value: Its text; `None` is kept as a missing one.
        parameters: Further parameters.
    """
    from icalendar.parser import Contentline, Parameters  # noqa: PLC0415 - as above
    from icalendar.prop import vText  # noqa: PLC0415

    value, own = _text(value)
    line = Contentline.from_parts(name, Parameters({**(parameters or {}), **own}), vText(value))
    return _folded(line)


def plain_line(content: str) -> bytes:
    """Return the lines of a property that is given as one unfolded line."""
    from icalendar.parser import Contentline  # noqa: PLC0415 - as above

    return _folded(Contentline(content))  # type: ignore[no-untyped-call]


def instant_line(name: str, instant: datetime) -> bytes:
    """Return the lines of a date-time in UTC."""
    microsecond = f";{MICROSECOND}={instant.microsecond}" if instant.microsecond else ""
    return plain_line(f"{name}{microsecond}:{compact(instant.astimezone(UTC).replace(tzinfo=None))}Z")


def compact(local: datetime) -> str:
    """Return a local time in the form of section 3.3.5, without its microseconds."""
    return re.sub("[-:]", "", local.replace(microsecond=0).isoformat())


def _folded(line: "Contentline") -> bytes:
    content: bytes = line.to_ical()  # type: ignore[no-untyped-call]
    return content + LINE_END


def _text(value: str | None) -> tuple[str, dict[str, str]]:
    """Return a text as it can be written, and the parameters that describe its encoding."""
    if value is None:
        return "", {NULL: "TRUE"}
    if not _UNSAFE.search(value):
        return value, {}
    # In lower case, which the library does not decode by itself before version 7.
    return re.sub(f"{_UNSAFE.pattern}|%", lambda match: quote(match[0]).lower(), value), {ENCODING: "PERCENT"}


def _add_instant(
    event: "icalendar.Event", name: str, instant: datetime, parameters: dict[str, str] | None = None
) -> None:
    parameters = dict(parameters or {})
    instant = instant.astimezone(UTC)
    if instant.microsecond:
        parameters[MICROSECOND] = str(instant.microsecond)
    event.add(name, instant.replace(microsecond=0), parameters=parameters)
