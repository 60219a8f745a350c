"""The times that options take: date-times, dates, words for days, and durations from now."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from cyclopts import CycloptsError, convert

from connector_async._timestamps import InstantError, has_offset, in_utc, parse_instant

_ACCEPTED: Final = "2024-01-15T10:00Z; with {zone} also 2024-01-15 10:00 and 2024-01-15"
_FROM_NOW: Final = "; now, today, tomorrow, yesterday; +7d, -12h30m"
_DAYS: Final = {"yesterday": -1, "today": 0, "tomorrow": 1}


class TimeError(ValueError):
    """A string that no option takes as a time. The message starts with a verb, and does not quote the string."""


def parse_time(
    option: str,
    value: str,
    zone: tzinfo | None = None,
    *,
    zone_option: str = "assume-zone",
    now: datetime | None = None,
) -> datetime:
    """Return the time that an option names, in UTC.

    Args:
        option: The name of the option without hyphens, for messages.
        value: As for `read_time`.
        zone: As for `read_time`.
        zone_option: The option that sets `zone`.
        now: The present time; `None`: by the machine's clock.

    Raises:
        ValueError: If `read_time` rejects it. The message names the option and the value.
    """
    try:
        return read_time(value, zone, zone_from=f"--{zone_option}", now=now)
    except TimeError as error:
        reason = str(error)
    raise ValueError(f"--{option}: {value!r} {reason}")


def read_time(
    value: str,
    zone: tzinfo | None = None,
    *,
    zone_from: str,
    now: datetime | None = None,
    in_file: bool = False,
) -> datetime:
    """Return the time that a string names, in UTC.

    A local time that occurs twice is the first of the two, as in every file that is read.

    Args:
        value: A date-time (RFC 3339, where the seconds may be left out and a space may replace the T), a date, which
            is its midnight, `now`, `today`, `tomorrow` or `yesterday`, which are midnights, or a duration from now with
            a sign.
        zone: The time zone of a time without a UTC offset. `None`: such a time is rejected, and days are those of the
            machine's time zone.
        zone_from: What sets `zone`, for messages.
        now: The present time; `None`: by the machine's clock.
        in_file: Whether only date-times and dates are accepted: in a file, what is counted from now is another time
            whenever the file is read.

    Raises:
        TimeError: If `value` is none of them, has no UTC offset while `zone` is `None`, or is skipped by the clocks of
            `zone`.
    """
    now = datetime.now(UTC) if now is None else now
    word = value.strip().lower()
    try:
        if word == "now" and not in_file:
            return now
        if word in _DAYS and not in_file:
            day = now.astimezone(zone or _machine_zone()).date() + timedelta(days=_DAYS[word])
            return parse_instant(f"{day.isoformat()}T00:00:00", zone or _machine_zone())
        if word[:1] in {"+", "-"} and not in_file:
            # In UTC a day has 24 hours: +1d is the same time of day only if the clocks do not change in between.
            return in_utc(now + _duration(value.strip()))
        return _parse_date_time(value.strip(), zone)
    except TimeError:
        raise
    except (InstantError, ValueError, OverflowError) as error:
        reason = str(error)
    has_no_zone = reason.startswith("no UTC offset")
    what = f"has no UTC offset, and {zone_from} is not given" if has_no_zone else "is not a time"
    raise TimeError(f"{what}; accepted are {_ACCEPTED.format(zone=zone_from)}{'' if in_file else _FROM_NOW}")


def _duration(value: str) -> timedelta:
    try:
        converted: Any = convert(timedelta, [value[1:]])
    except CycloptsError:
        raise ValueError("not a duration") from None
    length: timedelta = converted
    return -length if value[0] == "-" else length


def _parse_date_time(value: str, zone: tzinfo | None) -> datetime:
    """Return a date-time or the midnight of a date.

    Raises:
        InstantError: If it has no UTC offset while `zone` is `None`, or is no RFC 3339 date-time.
        TimeError: If the clocks of `zone` skip it.
        ValueError: If it is neither.
    """
    instant = None
    try:
        instant = parse_instant(value, zone)
    except InstantError as error:
        if "no such day" in str(error):
            raise
    if instant is None:
        # RFC 3339 wants seconds; a date has no time. A week, an ordinal date or a date without hyphens is rejected.
        if value[4:5] != "-" or value[7:8] != "-":
            raise ValueError("not a date")
        has_time = len(value) > len("2024-01-15")
        value = datetime.fromisoformat(value).isoformat()
        instant = parse_instant(value, zone)
        if not has_time:
            return instant  # where the clocks skip midnight, the day starts at their next time
    if zone is not None and not has_offset(value):
        _check_exists(datetime.fromisoformat(value[: len("2024-01-15T10:00")]), zone)
    return instant


def _check_exists(local: datetime, zone: tzinfo) -> None:
    """Reject a local time that the clocks of a time zone skip (PEP 495).

    Raises:
        TimeError: If they do. The message has the two times that may be meant: with the offset after and before.
    """
    offsets = [local.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1)]
    if offsets[0] >= offsets[1]:
        return
    meant = [(local - offset).replace(tzinfo=UTC).astimezone(zone) for offset in reversed(offsets)]
    earlier, later = (moment.isoformat(timespec="minutes") for moment in meant)
    raise TimeError(f"does not exist in {zone}: the clocks skip it; {earlier} or {later} may be meant")


def _machine_zone() -> tzinfo:
    from tzlocal import get_localzone  # noqa: PLC0415 - only a day needs it

    return get_localzone()
