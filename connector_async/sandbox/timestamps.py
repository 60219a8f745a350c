"""Date-times between the forms they take: RFC 3339 text received, sortable text stored, .NET's text sent.

It does not know which fields hold them, nor the names of zones. Every datetime here is aware and in UTC.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

# datetime.fromisoformat alone would also take week dates, the basic format, comma fractions, other separators and,
# since Python 3.13, hour 24.
_ISO8601: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:(Z)|([+-])(\d{2}):([0-5]\d))?", re.ASCII
)


def parse_instant(text: str, *, default_zone: tzinfo | None = None) -> datetime:
    """Read an RFC 3339 date-time; digits beyond microseconds are cut, as .NET sends seven.

    Args:
        text: With an offset, unless there is a default.
        default_zone: The zone of a text without an offset. A local time that it skips or repeats is read with the
            offset from before the change (PEP 495, fold 0).

    Raises:
        ValueError: It is anything else, a leap second, or outside the years 1 to 9999 once in UTC.
    """
    match = _ISO8601.fullmatch(text)
    zone = None if match is None else _zone(*match.groups()[7:]) or default_zone
    if match is None or zone is None:
        raise ValueError("not an RFC 3339 date-time with an offset")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    microsecond = int((match[7] or "").ljust(6, "0")[:6])
    try:
        return datetime(year, month, day, hour, minute, second, microsecond, zone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("not an existing date and time of the years 1 to 9999") from error


def _zone(zulu: str | None, sign: str | None, hours: str | None, minutes: str | None) -> timezone | None:
    if zulu:
        return UTC
    if not sign:
        return None
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        return timezone(-offset if sign == "-" else offset)
    except ValueError as error:
        raise ValueError("not an offset below 24 hours") from error


def to_stored(instant: datetime) -> str:
    """Write the instant as UTC text of fixed width, whose order is the order of time."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def from_stored(text: str) -> datetime:
    """Read what `to_stored` wrote."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def to_wire(instant: datetime) -> str:
    """Write the instant as .NET does: `Z`, and no fraction or seven digits of it."""
    return to_local_wire(instant, UTC) + "Z"


def to_local_wire(instant: datetime, zone: tzinfo) -> str:
    """Write the instant as the zone's clocks show it, without an offset, and no fraction or seven digits of it."""
    local = instant.astimezone(zone).replace(tzinfo=None)
    return local.isoformat(timespec="microseconds") + "0" if local.microsecond else local.isoformat(timespec="seconds")
