"""Changing an event in its file: only the lines that say something else afterwards are written anew.

LAST-MODIFIED, DTSTAMP and SEQUENCE stay as they are: they are of the program that keeps the calendar.
"""

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, time
from typing import Final, TypeAlias

import attrs

from connector_async.sync.records import SourceRecord

from .components import Component, Kind
from .event import Event
from .lines import ContentLine, content_lines
from .names import DESCRIPTION_TYPE, MICROSECOND, TIME_ZONE
from .times import Moment, Times
from .writing import LINE_END, compact, instant_line, plain_line, text_line

_TEXTS: Final = {
    "title": "SUMMARY",
    "description": "DESCRIPTION",
    "description_type": DESCRIPTION_TYPE,
    "time_zone": TIME_ZONE,
}
_RECURRENCE: Final = {b"RRULE", b"RDATE", b"EXDATE", b"EXRULE", b"RECURRENCE-ID"}
_KEPT_PARAMETERS: Final = {"LANGUAGE"}  # true of another text as well
_HEAD: Final = re.compile(rb'(?:"[^"]*"|[^":])*:')
"""A content line up to its value."""

Lines: TypeAlias = dict[str, bytes]
"""The new lines of properties, by their names; empty for one that is removed."""


@attrs.frozen
class EventEditor:
    """Makes new versions of the events of one calendar."""

    times: Times
    """Reads their times."""

    def changed(self, component: Component, record: SourceRecord, changes: Mapping[str, str | None]) -> bytes:
        """Return an event with the content of a record.

        Args:
            component: The event.
            record: The record.
            changes: The fields of its row that differ from what the event says; `None`: the field is removed.
        """
        event = Event.of(component)
        lines: Lines = {}
        for field, name in _TEXTS.items():
            if field in changes:
                lines[name] = _text(event, name, changes[field])
        if "start_time" in changes or "end_time" in changes:
            lines |= self._span(component, event, record)
        return _with_lines(component, lines)

    def cancelled(self, component: Component) -> bytes:
        """Return an instance as one that does not take place (RFC 5545, section 3.8.1.11)."""
        return _with_lines(component, {"STATUS": plain_line("STATUS:CANCELLED")})

    def excluding(self, component: Component, start: Moment) -> bytes:
        """Return a recurring event without one of its occurrences (section 3.8.5.1)."""
        line = _own_line(component, "DTSTART")
        exclusion = _like(line, start, "EXDATE")
        raws = []
        for each in component.lines:
            raws.append(each.raw)
            if each is line:
                raws.append(_ends_as(exclusion, component))
        return b"".join(raws)

    def override(self, component: Component, start: Moment, first: Moment) -> Component:
        """Return an event for one occurrence of a recurring event, which is as the others are (section 3.8.4.4).

        Args:
            component: The recurring event.
            start: The start of the occurrence.
            first: The start of the recurring event.
        """
        line = _own_line(component, "DTSTART")
        lines: Lines = {"DTSTART": _like(line, start, "DTSTART") + _like(line, start, "RECURRENCE-ID")}
        event = Event.of(component)
        if (until := event.find("DTEND")) is not None:
            length = self.times.length(event, first)
            end, own = start.instant(length), self.times.moment(until)
            lines["DTEND"] = self._moment_line(_own_line(component, "DTEND"), own, end, "DTEND")
        single = attrs.evolve(component, lines=[each for each in component.lines if each.name not in _RECURRENCE])
        raw = _with_lines(single, lines)
        return parsed(raw)

    def _span(self, component: Component, event: Event, record: SourceRecord) -> Lines:
        """Return the lines for another start or end, in the form that the event has."""
        first, old_start = self.times.start(event)
        start, end = record.appointment.start_time, record.appointment.end_time
        if first.is_date:
            days = _day(start, first), _day(end, first)
            if None in days or days[0] == days[1]:
                return {"DTSTART": instant_line("DTSTART", start), "DURATION": b"", "DTEND": _end_line(start, end)}
        lines: Lines = {}
        start_line = _own_line(component, "DTSTART")
        moment = first
        if start != old_start:
            lines["DTSTART"] = self._moment_line(start_line, first, start, "DTSTART")
            moment = attrs.evolve(first, local=_local_as(first, start))
        if self._ends_at(event, moment, start, end):
            return lines
        lines["DURATION"] = b""
        if (until := event.find("DTEND")) is not None and (first.is_date or end != start):
            line, own = _own_line(component, "DTEND"), self.times.moment(until)
            lines["DTEND"] = self._moment_line(line, own, end, "DTEND")
        elif end == start and not first.is_date:
            lines["DTEND"] = b""
        else:
            lines["DTEND"] = self._moment_line(start_line, first, end, "DTEND")
        return lines

    def _ends_at(self, event: Event, moment: Moment, start: datetime, end: datetime) -> bool:
        """Return whether what the event says about its end is right with its new start."""
        until = event.find("DTEND")
        if until is not None:
            return self.times.instant(until) == end and not (moment.is_date and start == end)
        try:
            return moment.instant(self.times.length(event, moment)) == end
        except OverflowError:
            return False

    def _moment_line(self, line: ContentLine, moment: Moment, instant: datetime, name: str) -> bytes:
        """Return the line of an instant in the form of another moment, if that can say it, and otherwise in UTC."""
        new = attrs.evolve(moment, local=_local_as(moment, instant))
        has_fraction = bool(instant.microsecond) or MICROSECOND.encode() in line.content
        with suppress(OverflowError):
            if new.instant() == instant and not has_fraction:
                return _like(line, new, name)
        return instant_line(name, instant)


def parsed(raw: bytes) -> Component:
    """Return an event that was written."""
    return Component(Kind.EVENT, list(content_lines(enumerate(io.BytesIO(raw), 1))))


def start_of_key(key: str, first: Moment) -> Moment:
    """Return the start of the occurrence with a key, in the form of the first one."""
    suffix = key.rpartition("/")[2]
    if first.is_date:
        return attrs.evolve(first, local=date.fromisoformat(suffix))
    instant = datetime.fromisoformat(suffix)
    return attrs.evolve(first, local=instant.astimezone(first.zone).replace(tzinfo=None, fold=0))


def _text(event: Event, name: str, value: str | None) -> bytes:
    if value is None:
        return b""
    prop = event.find(name)
    kept = {} if prop is None else {key: text for key, text in prop.parameters.items() if key in _KEPT_PARAMETERS}
    return text_line(name, value, kept)


def _with_lines(component: Component, lines: Lines) -> bytes:
    """Return a component with new lines of some properties, in the place of the old ones or behind its first line."""
    own = {line.number for line in component.own_lines()}
    new = {name.encode(): _ends_as(line, component) for name, line in lines.items()}
    raws, missing = [], dict(new)
    for line in component.lines:
        if line.number in own and line.name in new:
            raws.append(missing.pop(line.name, b""))
        else:
            raws.append(line.raw)
    return b"".join([raws[0], *missing.values(), *raws[1:]])


def _ends_as(line: bytes, component: Component) -> bytes:
    """Return a line with the line ends of a component."""
    return line if component.lines[0].raw.endswith(LINE_END) else line.replace(LINE_END, b"\n")


def _own_line(component: Component, name: str) -> ContentLine:
    return next(line for line in component.own_lines() if line.name == name.encode())


def _like(line: ContentLine, moment: Moment, name: str) -> bytes:
    """Return a line with the parameters of another one, for a moment in its form."""
    head = _HEAD.match(line.content)
    assert head is not None  # the line has a property  # noqa: S101
    _, separator, parameters = head[0][:-1].decode("utf-8", "surrogateescape").partition(";")
    if isinstance(moment.local, datetime) and line.content.rstrip().upper().endswith(b"Z"):
        return plain_line(f"{name}:{compact(moment.local)}Z")  # a TZID must not stand beside it (section 3.2.19)
    value = compact(moment.local) if isinstance(moment.local, datetime) else moment.local.strftime("%Y%m%d")
    return plain_line(f"{name}{separator}{parameters}:{value}")


def _local_as(moment: Moment, instant: datetime) -> date:
    local = instant.astimezone(moment.zone).replace(tzinfo=None, fold=0)
    return local.date() if moment.is_date else local


def _day(instant: datetime, first: Moment) -> date | None:
    """Return the day that begins at an instant; `None` if none does."""
    local = instant.astimezone(first.zone).replace(tzinfo=None)
    return local.date() if local.time() == time() else None


def _end_line(start: datetime, end: datetime) -> bytes:
    return b"" if start == end else instant_line("DTEND", end)
