"""Date-times between the three forms they take: RFC 3339 text received, sortable text stored, .NET's text sent.

It does not know which fields hold them. Every datetime here is aware and in UTC.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

# datetime.fromisoformat alone would also take week dates, the basic format, comma fractions, other separators and,
# since Python 3.13, hour 24.
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:Z|([+-])(\d{2}):([0-5]\d))", re.ASCII
)


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 date-time with its offset; digits beyond microseconds are cut, as .NET sends seven.

    Raises:
        ValueError: It is anything else, a leap second, or outside the years 1 to 9999 once in UTC.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 date-time with an offset")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, *offset = match.groups()[6:]
    microsecond = int((fraction or "").ljust(6, "0")[:6])
    try:
        return datetime(year, month, day, hour, minute, second, microsecond, _zone(*offset)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("not an existing date and time of the years 1 to 9999") from error


def _zone(sign: str | None, hours: str | None, minutes: str | None) -> timezone:
    if sign is None:
        return UTC
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return timezone(-offset if sign == "-" else offset)


def to_stored(instant: datetime) -> str:
    """Write the instant as UTC text of fixed width, whose order is the order of time."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def from_stored(text: str) -> datetime:
    """Read what `to_stored` wrote."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def to_wire(instant: datetime) -> str:
    """Write the instant as .NET does: `Z`, and no fraction or seven digits of it."""
    text = to_stored(instant)
    return f"{text}0Z" if instant.microsecond else f"{text[:-7]}Z"
