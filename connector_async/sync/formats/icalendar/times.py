"""Dates, date-times and durations (RFC 5545, sections 3.3.4 to 3.3.6) in their time zones.

Messages name the property and the rule, never a value.
"""

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

import attrs

from connector_async._timestamps import InstantError, in_utc

from .event import FIELD_OF, Event
from .lines import Property
from .names import MICROSECOND
from .zones import Zones

_TIME: Final = re.compile(r"(\d{8})(?:(T(?:[01]\d|2[0-3])\d{2})(\d{2}))?(Z?)", re.ASCII)
_DURATION: Final = re.compile(
    r"\+?P(?:(\d{1,7})W)?(?:(\d{1,7})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?", re.ASCII
)
_MICROSECOND: Final = re.compile(r"\d{1,6}", re.ASCII)
_LAST_SECOND: Final = "59"
_LEAP_SECOND: Final = "60"
_DAY: Final = timedelta(days=1)


@attrs.frozen
class Duration:
    """A duration: days of the calendar, which may have 23 or 25 hours, and then exact time."""

    days: timedelta = timedelta(0)
    exact: timedelta = timedelta(0)


@attrs.frozen
class Moment:
    """A date or a date-time in the time zone that it is written in."""

    local: date
    """A date, or a date-time without its time zone."""
    zone: tzinfo | None
    """The time zone; `None` if it is not known and not needed."""

    @property
    def is_date(self) -> bool:
        """Whether it is a whole day."""
        return not isinstance(self.local, datetime)

    def instant(self, after: Duration | None = None) -> datetime:
        """Return the instant, or the one after a duration, in UTC. A date begins at midnight.

        Raises:
            OverflowError: If it is outside the years 1 to 9999 in UTC.
        """
        duration = after or Duration()
        local = self.local if isinstance(self.local, datetime) else datetime.combine(self.local, time())
        try:
            return in_utc((local + duration.days).replace(tzinfo=self.zone)) + duration.exact
        except InstantError:
            raise OverflowError from None


@attrs.frozen
class Times:
    """Reads the times of the events of one calendar."""

    zones: Zones
    """The time zones that it describes."""
    default_zone: tzinfo | None
    """The time zone of floating times and of dates; `None`: both are rejected."""

    def moment(
        self, prop: Property, value: str | None = None, *, start: Moment | None = None, needs_zone: bool = True
    ) -> Moment:
        """Return the moment of a property.

        Args:
            prop: The property.
            value: One of its values, if it may have several.
            start: The start of the event; a floating time is in its time zone. Both must be of one kind, but many
                programs write the time zone only there.
            needs_zone: Whether a moment without a time zone is rejected.

        Raises:
            ValueError: If it cannot be parsed, or has no time zone.
        """
        local, is_utc = _parse(prop, prop.value if value is None else value)
        field, zone_id = FIELD_OF[prop.name], prop.parameters.get("TZID")
        zone = self.zones.find(zone_id) if zone_id is not None else self._floating_zone(start)
        if zone_id is not None and zone is None:
            raise ValueError(f"{field} has an unknown time zone")
        if is_utc and zone_id is not None and _offset(local, zone):
            raise ValueError(f"{field} is in UTC and has another time zone (RFC 5545, section 3.2.19)")
        if is_utc:
            zone = UTC
        if zone is None and needs_zone:
            raise ValueError(f"{field} has no time zone")
        return Moment(local, zone)

    def _floating_zone(self, start: Moment | None) -> tzinfo | None:
        return self.default_zone if start is None or start.zone is UTC else start.zone

    def instant(self, prop: Property) -> datetime:
        """Return the instant of a property in UTC.

        Raises:
            ValueError: If it cannot be parsed, has no time zone, or is outside the years 1 to 9999 in UTC.
        """
        return instant_of(self.moment(prop), prop)

    def start(self, event: Event) -> tuple[Moment, datetime]:
        """Return the start of an event as it is written, and as an instant in UTC.

        Raises:
            ValueError: If it is missing or invalid, or has no time zone.
        """
        prop = event.find("DTSTART")
        if prop is None:
            raise ValueError("start_time is missing")
        moment = self.moment(prop)
        return moment, instant_of(moment, prop)

    def length(self, event: Event, start: Moment) -> Duration:
        """Return how long an event lasts that starts at some moment (sections 3.6.1 and 3.8.5.3).

        It is nominal with DURATION and for whole days, and exact with DTEND.

        Raises:
            ValueError: If it is invalid or has no time zone.
        """
        until, duration = event.find("DTEND"), event.find("DURATION")
        if until is not None and duration is not None:
            raise ValueError("end_time is set twice, by DTEND and by DURATION")
        length = Duration() if duration is None else parse_duration(duration)
        if until is not None:
            last = self.moment(until, start=start)
            if start.is_date and last.is_date and last.zone == start.zone:
                length = Duration(days=last.local - start.local)
            else:
                length = Duration(exact=instant_of(last, until) - self.start(event)[1])
        # A day without a duration lasts as a whole; many programs also write it with DTEND on the same day.
        return Duration(days=_DAY) if start.is_date and length == Duration() else length

    def end(self, event: Event, start: Moment) -> datetime:
        """Return the end of an event that starts at some moment, in UTC.

        Raises:
            ValueError: If it is invalid or has no time zone.
        """
        return end_of(start, self.length(event, start))


def end_of(start: Moment, length: Duration) -> datetime:
    """Return the end of what starts at some moment, in UTC.

    Raises:
        ValueError: If it is outside the years 1 to 9999 in UTC.
    """
    try:
        return start.instant(length)
    except OverflowError:
        raise ValueError("end_time: outside the years 1 to 9999 in UTC") from None


def instant_of(moment: Moment, prop: Property) -> datetime:
    """Return the instant of a property in UTC.

    Raises:
        ValueError: If it is outside the years 1 to 9999 in UTC.
    """
    try:
        return moment.instant()
    except OverflowError:
        raise ValueError(f"{FIELD_OF[prop.name]}: outside the years 1 to 9999 in UTC") from None


def parse_duration(prop: Property, value: str | None = None) -> Duration:
    """Return the duration of a property.

    Args:
        prop: The property.
        value: A part of its value, if it is not all of it.

    Raises:
        ValueError: If it cannot be parsed, or is negative.
    """
    value = (prop.value if value is None else value).strip()
    match = _DURATION.fullmatch(value)
    if match is None or value[-1:] in {"P", "T"}:
        raise ValueError(
            f"{FIELD_OF[prop.name]}: {prop.name} must be a duration that is not negative, of seven digits at most"
        )
    weeks, days, hours, minutes, seconds = map(int, match.groups("0"))
    return Duration(timedelta(weeks=weeks, days=days), timedelta(hours=hours, minutes=minutes, seconds=seconds))


def _parse(prop: Property, value: str) -> tuple[date, bool]:
    """Return a date or a date-time, and whether it is in UTC. The form decides, as VALUE is often wrong.

    Raises:
        ValueError: If it cannot be parsed.
    """
    match = _TIME.fullmatch(value.strip())
    local: date | None = None
    if match is not None:
        day, minute, second, _ = match.groups()
        with suppress(ValueError):  # there is no such day or time
            # A datetime has no leap second (section 3.3.12).
            second = _LAST_SECOND if second == _LEAP_SECOND else second
            local = date.fromisoformat(day) if minute is None else datetime.fromisoformat(f"{day}{minute}{second}")
    if match is None or local is None:
        raise ValueError(f"{FIELD_OF[prop.name]}: {prop.name} must be a date or a date-time")
    if isinstance(local, datetime):
        local = local.replace(microsecond=_microsecond(prop))
    return local, bool(match[4]) and isinstance(local, datetime)


def _microsecond(prop: Property) -> int:
    value = prop.parameters.get(MICROSECOND, "0")
    if not _MICROSECOND.fullmatch(value):
        raise ValueError(f"{FIELD_OF[prop.name]} has an invalid {MICROSECOND}")
    return int(value)


def _offset(local: date, zone: tzinfo | None) -> timedelta | None:
    return local.replace(tzinfo=zone).utcoffset() if isinstance(local, datetime) else None
