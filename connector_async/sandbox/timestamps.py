"""Date-times in their three forms, RFC 3339 in requests, sortable in the database, .NET's in responses; and time zones.

Every datetime here is aware and in UTC.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from tzlocal.windows_tz import win_tz

# datetime.fromisoformat alone would also accept week dates, the basic format, comma fractions, other separators and,
# in newer versions of Python, hour 24.
_DATE_TIME: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:(Z)|([+-])(\d{2}):([0-5]\d))?", re.ASCII
)
# "localtime" is the zone of this machine, whichever that is.
_MACHINE_ZONES: Final = {"localtime"}


def parse_instant(value: str, *, default_zone: tzinfo | None = None) -> datetime:
    """Parse an RFC 3339 date-time; digits beyond microseconds are dropped, since .NET sends seven.

    Args:
        value: A date-time with a UTC offset, which is optional if there is a default zone.
        default_zone: The zone of a date-time without an offset. A local time that the zone skips or repeats gets the
            offset from before the change (PEP 495, fold 0).

    Raises:
        ValueError: If the value has another form, is a leap second, or is outside the years 1 to 9999 in UTC.
    """
    match = _DATE_TIME.fullmatch(value)
    zone = None if match is None else _parse_offset(*match.groups()[7:]) or default_zone
    if match is None or zone is None:
        raise ValueError("not an RFC 3339 date-time with an offset")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    microsecond = int((match[7] or "").ljust(6, "0")[:6])
    try:
        return datetime(year, month, day, hour, minute, second, microsecond, zone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("not an existing date and time of the years 1 to 9999") from error


def _parse_offset(zulu: str | None, sign: str | None, hours: str | None, minutes: str | None) -> timezone | None:
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
    """Return the instant in UTC as a string of fixed width; strings sort as the instants do."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def from_stored(stored: str) -> datetime:
    """Parse a string that `to_stored` returned."""
    return datetime.fromisoformat(stored).replace(tzinfo=UTC)


def to_wire(instant: datetime) -> str:
    """Format the instant in UTC as .NET does: with `Z`, and either no fraction or seven digits."""
    return to_local_wire(instant, UTC) + "Z"


def to_local_wire(instant: datetime, zone: tzinfo) -> str:
    """Format the instant as local time of the zone, without an offset, and with no fraction or seven digits."""
    local = instant.astimezone(zone).replace(tzinfo=None)
    return local.isoformat(timespec="microseconds") + "0" if local.microsecond else local.isoformat(timespec="seconds")


@cache
def _zone_keys() -> Mapping[str, str]:
    """Return the IANA key of each IANA name, and of each Windows name as the Unicode CLDR maps it."""
    iana = available_timezones() - _MACHINE_ZONES
    windows = {name: key for name, key in win_tz.items() if key in iana}
    return {**windows, **{name: name for name in iana}}


def zone_names() -> list[str]:
    """Return every name that `find_zone` accepts, sorted."""
    return sorted(_zone_keys())


def find_zone(name: str) -> ZoneInfo:
    """Return the time zone with this IANA or Windows name, matched exactly.

    Raises:
        LookupError: If no zone has this name.
    """
    return ZoneInfo(_zone_keys()[name])
