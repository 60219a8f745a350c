"""Date-times on the wire: reads the RFC 3339 profile of ISO 8601, and writes UTC with `Z`.

Every datetime that it returns is aware and in UTC. An instant is a point in time.
"""

import functools
import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import orjson

# RFC 3339, section 5.6, `date-time`. The UTC offset is optional, because the caller may pass the zone of such values.
_DATE_TIME = re.compile(
    r"(?P<minute>\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d)"
    r":(?P<second>[0-5]\d|60)"
    r"(?P<fraction>\.\d+)?"
    r"(?P<offset>Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)?",
    re.ASCII,
)

SEPARATORS: Final = slice(None, 2, -3)
"""Selects the separators of `YYYY-MM-DDTHH:MM:SSZ`, from its end, so that nothing can follow the last one."""
SEPARATORS_IN_UTC: Final = "Z::T--"
"""The separators of that form, which is the common one. Of the strings that have them and no NUL, `parse_usual` accepts
only those of the profile, at a third of the cost of the regular expression. (It takes a `Z` with a NUL for the
end, and ignores what follows.)"""


def _reject_hour_24(string: str) -> datetime:
    """Return `datetime.fromisoformat(string)`, unless its hour is 24.

    Raises:
        ValueError: If it is, or the string has no such form.
    """
    if string[11:13] == "24":
        raise ValueError("the hour is 24")
    return datetime.fromisoformat(string)


def _accepts_hour_24() -> bool:
    try:
        datetime.fromisoformat("2024-01-15T24:00:00Z")
    except ValueError:
        return False
    return True


parse_usual: Final = _reject_hour_24 if _accepts_hour_24() else datetime.fromisoformat
"""Returns the instant of a string in the common form. Newer versions of Python take hour 24 for the next day, which
RFC 3339 (section 5.6) does not allow."""


class InstantError(ValueError):
    """Raised when a string or a datetime is not a valid instant. The message names the rule, never the value."""


def parse_instant(string: str, assume_zone: tzinfo | None = None) -> datetime:
    """Return the instant in a date-time string, aware and in UTC.

    Digits after the microseconds are cut: .NET writes seven. A leap second (`:60`) is accepted where RFC 3339 (section
    5.7) allows it, in the last second of a UTC month. It becomes the first second of the next month, as in POSIX time.

    Args:
        string: A date-time of RFC 3339, section 5.6. `t` and `z` may be lower case.
        assume_zone: The time zone of a string without a UTC offset. `None`: such a string is rejected.

    Raises:
        InstantError: If `string` is not a date-time of the profile, has no UTC offset while `assume_zone` is `None`,
            or is outside the years 1 to 9999 in UTC.
    """
    if string[SEPARATORS] == SEPARATORS_IN_UTC and "\0" not in string:
        try:
            return parse_usual(string)
        except ValueError:  # a leap second, or a string that _parse rejects as well
            pass
    return _parse(string.upper(), assume_zone)


def have_separators_in_utc(strings: list[str]) -> bool:
    """Return whether strings that `parse_usual` accepts are all `YYYY-MM-DDTHH:MM:SSZ`, in a year such as 2024 or 1066.

    In lines of 3 x 7 characters, one slice has the separators of all, after the second digit of the year. No string can
    be longer or shorter than its line: each starts with four digits, and only the start of a line has four in a row.

    Raises:
        TypeError: If one of `strings` is not a str.
    """
    lines = "\n".join(strings)
    return lines[1::3] == "0--T::Z" * len(strings) and "\0" not in lines


@functools.lru_cache(maxsize=1024)  # bounded: a server chooses the names
def zone_named(name: str) -> tzinfo | None:
    """Return the time zone with an IANA or Windows name. `None`: there is none with that name."""
    # Imported here, because both are needed only if a server names time zones.
    import zoneinfo  # noqa: PLC0415

    from tzlocal.windows_tz import win_tz  # noqa: PLC0415

    name = win_tz.get(name, name)
    # The search for the file of a name that does not exist takes 60 µs, so the list of names is read first. It omits
    # local files of the machine, and the zones that count leap seconds.
    return zoneinfo.ZoneInfo(name) if name in zone_names() else None


@functools.cache
def zone_names() -> frozenset[str]:
    """Return the names in the IANA database, without `Factory`, which means an unknown zone."""
    import importlib.resources  # noqa: PLC0415 - as in zone_named

    names = importlib.resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(names.split()) - {"Factory"}


def has_offset(string: str) -> bool:
    """Return whether an RFC 3339 date-time has a UTC offset. For other strings the result has no meaning."""
    return string[-1:] in {"Z", "z"} or string[-6:-5] in {"+", "-"}


def format_instant(instant: datetime) -> str:
    """Return `instant` as an RFC 3339 string in UTC, with `Z`, and with a fraction only if it is not zero.

    Raises:
        InstantError: If `instant` is naive, or outside the years 1 to 9999 in UTC.
    """
    if instant.tzinfo is not UTC:
        instant = _to_utc(instant)
    if type(instant) is datetime:  # in a quarter of the time of `isoformat`
        return orjson.dumps(instant, option=orjson.OPT_UTC_Z)[1:-1].decode()
    # Not `instant.isoformat()`: that of pandas writes nine digits of a second.
    return datetime.isoformat(instant)[:-6] + "Z"


def _parse(string: str, assume_zone: tzinfo | None) -> datetime:
    match = _DATE_TIME.fullmatch(string)
    if match is None:
        raise InstantError("not an RFC 3339 date-time")
    minute, second, fraction, offset = match.group("minute", "second", "fraction", "offset")
    if offset is None and assume_zone is None:
        raise InstantError("no UTC offset, and no time zone to assume")
    leap = second == "60"
    try:
        instant = datetime.fromisoformat(f"{minute}:{'59' if leap else second}{fraction or ''}{offset or ''}")
    except ValueError:
        raise InstantError("no such day") from None
    instant = _to_utc(instant if offset else instant.replace(tzinfo=assume_zone))
    return _after_leap_second(instant) if leap else instant


def in_utc(instant: datetime) -> datetime:
    """Return the same instant in UTC.

    Compare datetimes, and add to them, only in UTC. Within one time zone Python uses the local times, which is wrong
    across a change of the clocks. For a local time that occurs twice or never, `fold` decides (PEP 495).

    Raises:
        InstantError: If `instant` is naive, or outside the years 1 to 9999 in UTC.
    """
    return instant if instant.tzinfo is UTC else _to_utc(instant)


def _to_utc(instant: datetime) -> datetime:
    if instant.utcoffset() is None:
        raise InstantError("naive: it has no UTC offset")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise InstantError("outside the years 1 to 9999 in UTC") from None


def _after_leap_second(last_second: datetime) -> datetime:
    try:
        following = last_second + timedelta(seconds=1)
    except OverflowError:
        raise InstantError("outside the years 1 to 9999 in UTC") from None
    if (following.day, following.hour, following.minute) != (1, 0, 0):
        raise InstantError("a leap second that is not the last second of a UTC month")
    return following
