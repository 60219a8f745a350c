"""The occurrences of a recurring event within a time range (RFC 5545, section 3.8.5), by `recurring-ical-events`.

They are computed in the local time of the event's start, so that the library needs no time zones.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import attrs

from connector_async.sync.scope import Scope

from .event import Event
from .rules import Rule, RuleError
from .times import Duration, Moment, Times, end_of, instant_of, parse_duration

MAX_OCCURRENCES: Final = 100_000
"""The occurrences from the start of an event to the end of the range. A daily event has 36,525 in a century."""
MAX_OF_FILE: Final = 10_000_000
_MARGIN: Final = timedelta(days=2)
"""What local times differ from UTC at most, and a day that is added to a date."""
_END_OF_DAY: Final = "T235959"
_PART: Final = timedelta(days=366)
"""How much is expanded at a time, so that memory is bounded in a long range."""
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY_PARTS: Final = {"BYDAY", "BYMONTHDAY", "BYYEARDAY"}
_UNTIL: Final = re.compile(r"\d{8}(?:T\d{6}Z?)?", re.ASCII)


@attrs.frozen
class Occurrence:
    """One occurrence of a recurring event."""

    start: Moment
    end: datetime
    """In UTC."""


class Expander:
    """Expands the recurring events of one file within a time range.

    Args:
        window: The time range. It has both ends.
    """

    def __init__(self, window: Scope) -> None:
        if window.start is None or window.end is None:
            raise ValueError("expand must have a start and an end")
        self.window = window
        self._start, self._end = window.start, window.end
        self._remaining = MAX_OF_FILE

    def expand(self, event: Event, times: Times) -> Iterator[Occurrence]:
        """Yield the occurrences of an event that overlap the time range, and some around it, in no certain order.

        A local time that a change of the clocks skips is read as section 3.3.5 says, as calendars show it, and not left
        out as section 3.3.10 says. Of two that become the same instant, one is left out.

        Raises:
            ValueError: If the event or one of its rules is invalid, or it occurs too often.
        """
        if "EXRULE" in event.properties:
            raise ValueError("EXRULE is not supported (RFC 5545 has removed it)")
        first, _ = times.start(event)
        length = times.length(event, first)
        dates = _dates(event, times, first, length)
        longest = max((end_of(start, each) - start.instant() for start, each in dates.values()), default=timedelta(0))
        longest = max(longest, end_of(first, length) - first.instant())
        since, until = _local(self._start, first) - longest - _MARGIN, _local(self._end, first) + _MARGIN
        rules = self._rules(event, first, until)
        excluded = excluded_times(event, times)
        # By the instant as well: one in the gap of a change of the clocks has two local times.
        seen = {attrs.evolve(first, local=local).instant() for local in excluded if _is_like(local, first)}
        for local in _local_times(first, rules, dates, excluded, since, until):
            start = attrs.evolve(first, local=local.date() if first.is_date else local)
            start, length_of_this = dates.get(start.local, (start, length))
            if start.instant() in seen:
                continue
            seen.add(start.instant())
            yield Occurrence(start, end_of(start, length_of_this))

    def _rules(self, event: Event, first: Moment, until: datetime) -> list[Rule]:
        rules = []
        for prop in event.properties.get("RRULE", ()):
            rule = _with_weekday(_in_local_time(Rule.parse(prop.value), first), first)
            occurrences = rule.check(as_datetime(first.local), until, limit=MAX_OCCURRENCES)
            if occurrences > self._remaining:
                raise RuleError("the recurring events of the file occur too often together")
            self._remaining -= occurrences
            rules.append(rule)
        return rules


def _local_times(
    first: Moment, rules: list[Rule], dates: Iterable[date], excluded: list[date], since: datetime, until: datetime
) -> Iterator[datetime]:
    """Yield when an event occurs, in local time. Days are taken for their midnights.

    Raises:
        RuleError: If the library rejects a rule.
    """
    # Imported here, since only files with recurring events need it.
    import recurring_ical_events  # noqa: PLC0415
    from icalendar import Calendar, Event  # noqa: PLC0415
    from icalendar.prop import vDDDLists, vDDDTypes, vRecur  # noqa: PLC0415

    event, calendar = Event(), Calendar()
    event["UID"] = ""
    event["DTSTART"] = vDDDTypes(as_datetime(first.local))
    for name, values in (("RDATE", list(map(as_datetime, dates))), ("EXDATE", excluded)):
        if values:
            event[name] = vDDDLists(values)
    try:
        if rules:
            event["RRULE"] = [vRecur.from_ical(rule.text) for rule in rules]
        calendar.add_component(event)
        query: Any = recurring_ical_events.of(calendar)
        while since < until:
            end = min(since + _PART, until)
            for series in query.series:  # not by `query.between`, which copies the event for each occurrence
                for occurrence in series.between(since, end):
                    yield occurrence.start
            since = end
    except Exception:  # noqa: BLE001 - the library raises anything
        raise RuleError("the recurrence rule cannot be expanded") from None


def _dates(event: Event, times: Times, first: Moment, length: Duration) -> dict[date, tuple[Moment, Duration]]:
    """Return the additional occurrences of an event (RDATE) and how long they last, by their local times."""
    dates = {}
    for prop in event.properties.get("RDATE", ()):
        for value in filter(None, map(str.strip, prop.value.split(","))):
            start_text, _, end_text = value.partition("/")  # a period (section 3.3.9)
            start = times.moment(prop, start_text, start=first)
            if start.is_date and not first.is_date:
                raise ValueError("RDATE must be a date-time, as DTSTART is one")
            start = attrs.evolve(first, local=local_in(start, first))
            if end_text[:1] == "P":
                dates[start.local] = start, parse_duration(prop, end_text)
            elif end_text:
                until = instant_of(times.moment(prop, end_text, start=first), prop)
                dates[start.local] = start, Duration(exact=until - start.instant())
            else:
                dates[start.local] = start, length
    return dates


def excluded_times(event: Event, times: Times) -> list[date]:
    """Return the local times of the occurrences that do not take place (EXDATE), or the days without any.

    Raises:
        ValueError: If one of them is invalid, or the event has no start.
    """
    first, _ = times.start(event)
    moments = [
        times.moment(prop, value, start=first)
        for prop in event.properties.get("EXDATE", ())
        for value in filter(None, map(str.strip, prop.value.split(",")))
    ]
    return [local_in(moment, first) for moment in moments]


def local_in(moment: Moment, first: Moment) -> Any:
    """Return the local time of a moment in the time zone of another one; as a date if one of both is a date.

    Raises:
        ValueError: If it is outside the years 1 to 9999 in UTC.
    """
    if moment.is_date or (moment.zone is None and not first.is_date):
        return moment.local
    try:
        local = as_datetime(moment.local) if moment.zone is None else _local(moment.instant(), first)
    except OverflowError:
        raise ValueError("a date-time is outside the years 1 to 9999 in UTC") from None
    if not first.is_date:
        return local
    # Some programs name a day by its midnight, in UTC or in a time zone of their own.
    if moment.zone is UTC and local.time() == time():
        return local.date()
    return as_datetime(moment.local).date()


def _in_local_time(rule: Rule, first: Moment) -> Rule:
    """Return a rule whose UNTIL is in the local time of the first occurrence, of the same type.

    A day as the end of date-times counts as a whole: that is what programs mean which write it against section 3.3.10.
    """
    until = rule.parts.get("UNTIL")
    if until is None:
        return rule
    if not _UNTIL.fullmatch(until):
        raise RuleError("the recurrence rule must have a date or a date-time as its UNTIL")
    if first.is_date:
        local = until[:8]
    elif "T" not in until:
        local = until + _END_OF_DAY
    elif until.endswith("Z"):
        local = re.sub("[-:]", "", _local(datetime.fromisoformat(until), first).isoformat())
    else:
        local = until
    return rule.with_part("UNTIL", local)


def _with_weekday(rule: Rule, first: Moment) -> Rule:
    """Return a rule whose weeks of a year have the day of the first occurrence, where the library takes all seven."""
    if rule.frequency != "YEARLY" or "BYWEEKNO" not in rule.parts or rule.parts.keys() & _DAY_PARTS:
        return rule
    return rule.with_part("BYDAY", _WEEKDAYS[first.local.weekday()])


def _local(instant: datetime, first: Moment) -> datetime:
    """Return an instant in the local time of a moment; near the ends of the calendar, the last one that there is."""
    try:
        return instant.astimezone(first.zone).replace(tzinfo=None)
    except OverflowError:
        return instant.replace(tzinfo=None)


def _is_like(local: date, first: Moment) -> bool:
    return isinstance(local, datetime) is not first.is_date


def as_datetime(local: date) -> datetime:
    """Return a local time as a date-time; a day begins at midnight."""
    return local if isinstance(local, datetime) else datetime.combine(local, time())
