"""Reading one event: the record that it makes, or the problem if it breaks a rule."""

import re
from contextlib import suppress
from typing import Final

import attrs

from connector_async._timestamps import format_instant, zone_named
from connector_async.sync.formats.reading import ReadingCounts, RowReader
from connector_async.sync.records import SourceProblem, SourceRecord

from .event import FIELD_OF, Event
from .names import DESCRIPTION_TYPE, NULL, TIME_ZONE
from .times import Moment, Times

_NOT_EXPANDED: Final = "a recurring event is read only within a time range, and as a whole"
_TEXTS: Final = {"title": "SUMMARY", "description_type": DESCRIPTION_TYPE, "time_zone": TIME_ZONE}
_OF_THE_ORGANIZER: Final = {"", "PUBLISH", "REQUEST", "ADD"}
_CANCEL: Final = "CANCEL"

Item = SourceRecord | SourceProblem
Row = dict[str, str | None]


@attrs.frozen
class CalendarContext:
    """What a calendar says about its events."""

    times: Times
    """Reads their times."""
    method: str = ""
    """The method of iTIP (RFC 5546, section 1.4), in upper case; empty without one."""


@attrs.frozen
class EventReader:
    """Reads single events of one file.

    Args:
        rows: Makes records of rows.
        counts: Counts the cancelled events.
    """

    rows: RowReader
    counts: ReadingCounts

    def read(self, event: Event, context: CalendarContext, *, replaced: Moment | None = None) -> Item | None:
        """Return the record of an event, or the problem; `None` if it is cancelled.

        Args:
            event: The event.
            context: What its calendar says.
            replaced: The occurrence of a series that it replaces; `None` if that is not expanded.
        """
        row: Row = {}
        try:
            identity = event.identity()
            row |= identity
            if "key" in identity and event.is_instance:
                moment = recurrence_id(event, context.times) if replaced is None else replaced
                row["key"] = instance_key(identity["key"], moment)
            if is_cancelled(event, context):
                self.counts.cancelled += 1
                return None
            check(event, context)
            row |= texts(event, context.times) | span(event, context.times)
            if event.is_recurring or (event.has_range and replaced is None):
                raise ValueError(_NOT_EXPANDED)
        except ValueError as error:
            return self.problem(event, str(error), row)
        return self.rows.read(row, event.line)

    def problem(self, event: Event, reason: str, row: Row | None = None) -> SourceProblem:
        """Return the problem of an event.

        Args:
            event: The event.
            reason: The rule that it breaks.
            row: What is known of its row; `None`: what identifies it.
        """
        if row is None:
            row = {}
            with suppress(ValueError):
                row |= event.identity()
        found = self.rows.problem(reason, event.line, row)
        if event.problem is not None and "tenant_id" not in row:
            found = attrs.evolve(found, calendar=None)  # the lines that are missing may have named one
        is_one_instance = event.is_instance and not event.has_range and "/" in (row.get("key") or "")
        return attrs.evolve(found, is_series=event.is_recurring or (event.is_instance and not is_one_instance))


def is_cancelled(event: Event, context: CalendarContext) -> bool:
    """Return whether an event does not take place: by its status, or since its calendar takes it back.

    Raises:
        ValueError: If its status says both.
    """
    return context.method == _CANCEL or event.is_cancelled()


def check(event: Event, context: CalendarContext) -> None:
    """Reject an event that is not whole, or is not what the organizer says (RFC 5546, section 1.4).

    Raises:
        ValueError: If the event is to be rejected.
    """
    if event.problem is not None:
        raise ValueError(event.problem)
    if event.broken:
        raise ValueError(f"{FIELD_OF.get(name := min(event.broken), name)}: a line of {name} cannot be parsed")
    if context.method not in _OF_THE_ORGANIZER:
        raise ValueError("the METHOD of the calendar says that it is not the organizer's")


def texts(event: Event, times: Times) -> Row:
    """Return the fields of the row of an event without its key and its times.

    Raises:
        ValueError: If one of them is invalid.
    """
    found = {field: event.text(name) for field, name in _TEXTS.items()}
    row: Row = {field: text for field, text in found.items() if text is not None}
    description = event.find("DESCRIPTION")
    if description is not None:
        row["description"] = None if NULL in description.parameters else event.text("DESCRIPTION")
    start = event.find("DTSTART")
    zone = "" if start is None else start.parameters.get("TZID", "").strip()
    if zone_named(zone) is not None:
        row.setdefault("time_zone", zone)
    for name in ("DTSTAMP", "LAST-MODIFIED"):  # the second one wins if both are set
        with suppress(ValueError):  # when it was changed is not needed
            prop = event.find(name)
            if prop is not None and NULL not in prop.parameters:
                row["modified"] = format_instant(times.instant(prop))
    return row


def span(event: Event, times: Times) -> Row:
    """Return the start and the end of the row of an event.

    Raises:
        ValueError: If one of them is invalid or has no time zone.
    """
    moment, start = times.start(event)
    return {"start_time": format_instant(start), "end_time": format_instant(times.end(event, moment))}


def recurrence_id(event: Event, times: Times, *, first: Moment | None = None) -> Moment:
    """Return which occurrence of a series an event stands for. It may have no time zone.

    Args:
        event: The event.
        times: Reads its times.
        first: The first occurrence, if that is known.

    Raises:
        ValueError: If it is invalid.
    """
    prop = event.find("RECURRENCE-ID")
    if prop is None:
        raise ValueError("key: RECURRENCE-ID is missing")
    return times.moment(prop, start=first, needs_zone=False)


def instance_key(uid: str, moment: Moment) -> str:
    """Return the key of an occurrence: the UID and the RECURRENCE-ID in UTC, as a date, or without a time zone.

    Raises:
        ValueError: If the moment is outside the years 1 to 9999 in UTC.
    """
    try:
        text = moment.local.isoformat() if moment.is_date or moment.zone is None else format_instant(moment.instant())
    except OverflowError:
        raise ValueError("key: RECURRENCE-ID is outside the years 1 to 9999 in UTC") from None
    return f"{uid}/{re.sub('[-:]', '', text)}"
