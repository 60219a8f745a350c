"""Date-times on the wire: the RFC 3339 profile of ISO 8601 in, UTC with `Z` out.

It knows nothing of models. Every value it returns is aware and in UTC.
"""

import contextlib
import functools
import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

# RFC 3339, section 5.6, `date-time`; the offset is optional here because the caller may name the zone of bare values.
_DATE_TIME = re.compile(
    r"(?P<minute>\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d)"
    r":(?P<second>[0-5]\d|60)"
    r"(?P<fraction>\.\d+)?"
    r"(?P<offset>Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)?",
    re.ASCII,
)

SEPARATORS: Final = slice(None, 2, -3)
"""Picks every separator of `YYYY-MM-DDTHH:MM:SSZ`, from its end, so that nothing can follow the last one."""
SEPARATORS_IN_UTC: Final = "Z::T--"
"""What `SEPARATORS` picks from that form, the common one. Of the strings that have these there and hold no NUL,
`fromisoformat` accepts those of the profile alone, at a third of the regular expression's cost. (It takes `Z` and a NUL
for the end, and does not look at what follows.)"""


class InstantError(ValueError):
    """A text is no date-time of the profile. The message names the rule, never the text."""


def parse_instant(text: str, assume_zone: tzinfo | None = None) -> datetime:
    """Return the instant that `text` writes, aware and in UTC.

    Digits of the fraction beyond microseconds are cut: .NET writes seven. `:60` is taken where RFC 3339 (section 5.7)
    allows a leap second, the last second of a UTC month, and is the first second of the next one, as POSIX counts.

    Args:
        text: A date-time of RFC 3339, section 5.6; `t` and `z` may be lower case.
        assume_zone: The zone of a value without an offset. `None`: such a value is refused.

    Raises:
        InstantError: `text` is not of the profile, has no offset, or lies outside the years 1 to 9999 in UTC.
    """
    if text[SEPARATORS] == SEPARATORS_IN_UTC and "\0" not in text:
        with contextlib.suppress(ValueError):  # a leap second, or what _parse refuses too
            return datetime.fromisoformat(text)
    return _parse(text.upper(), assume_zone)


@functools.lru_cache(maxsize=1024)  # bounded: a server chooses the names
def zone_named(name: str) -> tzinfo | None:
    """Return the time zone of an IANA or a Windows name; `None` when there is none of that name."""
    # Imported here: both are needed only where a server names zones.
    import zoneinfo  # noqa: PLC0415

    from tzlocal.windows_tz import win_tz  # noqa: PLC0415

    name = win_tz.get(name, name)
    # Looked up before the search for its file, which takes 60 µs for a name that a server made up. Files of the
    # machine's own, and clocks that count leap seconds, are not in the list.
    return zoneinfo.ZoneInfo(name) if name in _zone_names() else None


@functools.cache
def _zone_names() -> frozenset[str]:
    """Return the names in the IANA database, without the one that stands for an unknown zone."""
    import importlib.resources  # noqa: PLC0415 - with the two above

    names = importlib.resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(names.split()) - {"Factory"}


def has_offset(text: str) -> bool:
    """Return whether a date-time of RFC 3339 is written with an offset; of another string this means nothing."""
    return text[-1:] in {"Z", "z"} or text[-6:-5] in {"+", "-"}


def format_instant(instant: datetime) -> str:
    """Return `instant` in UTC as RFC 3339 writes it, with `Z` and with a fraction only when there is one.

    Raises:
        ValueError: `instant` is naive, or lies outside the years 1 to 9999 in UTC.
    """
    if instant.tzinfo is not UTC:
        instant = _to_utc(instant)
    # Of a subclass too as datetime writes it: pandas' has nine digits of a second.
    return datetime.isoformat(instant)[:-6] + "Z"


def _parse(text: str, assume_zone: tzinfo | None) -> datetime:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise InstantError("not an RFC 3339 date-time")
    minute, second, fraction, offset = match.group("minute", "second", "fraction", "offset")
    if offset is None and assume_zone is None:
        raise InstantError("no offset, and no zone to assume")
    leap = second == "60"
    try:
        instant = datetime.fromisoformat(f"{minute}:{'59' if leap else second}{fraction or ''}{offset or ''}")
    except ValueError:
        raise InstantError("no such day") from None
    instant = _to_utc(instant if offset else instant.replace(tzinfo=assume_zone))
    return _after_leap_second(instant) if leap else instant


def in_utc(instant: datetime) -> datetime:
    """Return the same instant in UTC.

    Two datetimes of one time zone are compared and added to by what the clocks show, which is wrong across a change of
    the clocks: compare and add in UTC. Of a local time that comes twice or not at all, `fold` decides (PEP 495).

    Raises:
        InstantError: `instant` is naive, or lies outside the years 1 to 9999 in UTC.
    """
    return instant if instant.tzinfo is UTC else _to_utc(instant)


def _to_utc(instant: datetime) -> datetime:
    if instant.utcoffset() is None:
        raise InstantError("naive: it has no offset")
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
