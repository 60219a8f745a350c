"""Date-times on the wire: the RFC 3339 profile of ISO 8601 in, UTC with `Z` out.

It knows nothing of models. Every value it returns is aware and in UTC.
"""

import contextlib
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

SEPARATORS: Final = slice(4, None, 3)
"""Picks every separator of `YYYY-MM-DDTHH:MM:SSZ`."""
SEPARATORS_IN_UTC: Final = "--T::Z"
"""What `SEPARATORS` picks from that form, the common one. Of the texts that have these there, `fromisoformat` takes
those of the profile alone, at a third of the regular expression's cost."""


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
    if text[SEPARATORS] == SEPARATORS_IN_UTC:
        with contextlib.suppress(ValueError):  # a leap second, or what _parse refuses too
            return datetime.fromisoformat(text)
    return _parse(text.upper(), assume_zone)


def format_instant(instant: datetime) -> str:
    """Return `instant` in UTC as RFC 3339 writes it, with `Z` and with a fraction only when there is one.

    Raises:
        ValueError: `instant` is naive, or lies outside the years 1 to 9999 in UTC.
    """
    if instant.tzinfo is not UTC:
        instant = _to_utc(instant)
    return instant.isoformat()[:-6] + "Z"


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
