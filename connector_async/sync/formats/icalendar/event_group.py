"""The events of one UID: the newest revision of each (RFC 5545, section 3.8.7.4), and the instances of a series."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Final, TypeAlias

import attrs

from connector_async._timestamps import format_instant
from connector_async.sync.records import SourceProblem, SourceRecord

from .event import Event
from .event_reader import (
    CalendarContext,
    EventReader,
    Item,
    Row,
    check,
    instance_key,
    is_cancelled,
    recurrence_id,
    texts,
)
from .series import Expander, as_datetime, excluded_times, local_in
from .times import Duration, Moment, end_of

Found: TypeAlias = tuple[Event, CalendarContext]

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@attrs.frozen
class _Override:
    """An event that stands for one occurrence of a series, or for all from that one on."""

    event: Event
    context: CalendarContext
    moment: Moment
    """Its RECURRENCE-ID, in the local time of the series."""

    def shifted(self, start: Moment) -> tuple[Moment, Duration]:
        """Return when an occurrence starts that would start at some moment, and how long it lasts.

        All later occurrences are rescheduled by the same difference (section 3.8.4.4).
        """
        times = self.context.times
        own, _ = times.start(self.event)
        difference = as_datetime(local_in(own, start)) - as_datetime(local_in(self.moment, start))
        return attrs.evolve(start, local=start.local + difference), times.length(self.event, own)


class EventGroup:
    """All events of a file that have one UID, tenant and user.

    Args:
        found: The events, each with what its calendar says, in the order of the file.
        reader: Reads single events.
        expander: Expands a recurring event; `None`: it is a problem.
    """

    def __init__(self, found: Sequence[Found], reader: EventReader, expander: Expander | None) -> None:
        self._reader = reader
        self._expander = expander
        revisions: defaultdict[str, list[Found]] = defaultdict(list)
        for each in found:
            revisions[_instance_of(*each)].append(each)
        newest = {name: _newest(same) for name, same in revisions.items()}
        self._newest = {event.line: (event, context) for same in newest.values() for event, context in same}
        self._contradicts = {event.line for same in newest.values() if _contradict(same) for event, _ in same}
        self._firsts = newest.get("", [])
        self._series = self._find_series()
        self._overrides = [] if self._series is None else list(self._find_overrides(*self._series))

    def items(self, event: Event) -> Iterator[Item]:
        """Yield what one of the events makes: nothing, a record, a problem, or the occurrences of a series."""
        if event.line not in self._newest:
            self._reader.counts.superseded += 1
            return
        context = self._newest[event.line][1]
        override = next((each for each in self._overrides if each.event.line == event.line), None)
        if event.line in self._contradicts:
            yield self._reader.problem(event, "STATUS differs between two revisions with one SEQUENCE")
        elif event.is_recurring and self._expander is not None and len(self._firsts) > 1:
            yield self._reader.problem(event, "UID is that of several recurring events")
        elif event.is_instance and self._is_cancelled_as_a_whole(event):
            self._reader.counts.cancelled += 1
        elif override is not None:
            yield from self._override(override)
        elif self.is_series(event.line):
            self._reader.counts.series += 1
            yield from self._occurrences(event, context, None)
        elif (item := self._reader.read(event, context)) is not None:
            yield item

    def items_in_order(self, event: Event) -> Iterator[Item]:
        """Yield the same as `items`, but for a series all occurrences at once, by their starts."""
        if self.is_series(event.line):
            events = [event, *(each.event for each in self._overrides)]
            yield from sorted((item for each in events for item in self.items(each)), key=_start_of)
        elif not self.is_override(event.line):
            yield from self.items(event)

    def is_series(self, line: int) -> bool:
        """Return whether the event with a first line is expanded."""
        return self._series is not None and self._series[0].line == line

    def is_override(self, line: int) -> bool:
        """Return whether the event with a first line is an occurrence of the recurring one."""
        return any(each.event.line == line for each in self._overrides)

    def has_range(self, line: int) -> bool:
        """Return whether the event with a first line stands for several occurrences of the recurring one."""
        return any(each.event.line == line and each.event.has_range for each in self._overrides)

    def _find_series(self) -> Found | None:
        """Return the recurring event that is to be expanded, if there is one."""
        if self._expander is None or len(self._firsts) != 1:
            return None
        event, context = self._firsts[0]
        with suppress(ValueError):
            check(event, context)
            context.times.start(event)
            if event.is_recurring and not is_cancelled(event, context):
                return event, context
        return None

    def _find_overrides(self, series: Event, context: CalendarContext) -> Iterator[_Override]:
        first, _ = context.times.start(series)
        for event, own in self._newest.values():
            if event.is_instance:
                with suppress(ValueError):
                    moment = recurrence_id(event, own.times, first=first)
                    yield _Override(event, own, _as_occurrence(moment, first))

    def _is_cancelled_as_a_whole(self, instance: Event) -> bool:
        """Return whether the series of an instance was cancelled since."""
        with suppress(ValueError):
            return any(
                is_cancelled(event, context) and event.sequence > instance.sequence for event, context in self._firsts
            )
        return False

    def _override(self, override: _Override) -> Iterator[Item]:
        """Yield the record of an instance in the time range, by its own times or by those that it replaces.

        With `RANGE=THISANDFUTURE`, also those of the later occurrences.
        """
        item = self._reader.read(override.event, override.context, replaced=override.moment)
        if self._is_excluded(override):
            self._reader.counts.cancelled += 1
        elif isinstance(item, SourceRecord):
            if self._overlaps(item) or self._is_within(override.moment):
                self._reader.counts.instances += 1
                yield item
        elif item is not None:
            yield item
        if override.event.has_range and not isinstance(item, SourceProblem):
            yield from self._occurrences(override.event, override.context, override)

    def _occurrences(self, event: Event, context: CalendarContext, override: _Override | None) -> Iterator[Item]:
        """Yield the records of the occurrences that have the content of an event: the series, or an override."""
        assert self._series is not None  # noqa: S101 - see `items`
        assert self._expander is not None  # noqa: S101
        replaced = {each.moment.local for each in self._overrides}
        try:
            if is_cancelled(event, context):
                return
            identity = event.identity()
            uid = identity["key"]  # a group has one
            row: Row = {**identity, **texts(event, context.times)}
            for occurrence in self._expander.expand(self._series[0], self._series[1].times):
                start, end = occurrence.start, occurrence.end
                if start.local in replaced or self._content_of(start) is not override:
                    continue
                if override is not None:
                    moved, length = override.shifted(start)
                    start, end = moved, end_of(moved, length)
                times: Row = {"start_time": format_instant(start.instant()), "end_time": format_instant(end)}
                times["key"] = instance_key(uid, occurrence.start)
                item = self._reader.rows.read(row | times, event.line)
                if isinstance(item, SourceProblem):  # as all others have it
                    raise ValueError(item.reason)
                if self._overlaps(item):
                    self._reader.counts.instances += 1
                    yield item
        except OverflowError:
            yield self._reader.problem(event, "an occurrence is outside the years 1 to 9999 in UTC")
        except ValueError as error:
            yield self._reader.problem(event, str(error))

    def _content_of(self, start: Moment) -> _Override | None:
        """Return the override that a later occurrence has its content from; `None`: it is the series."""
        instant = start.instant()
        before = [each for each in self._overrides if each.event.has_range and each.moment.instant() <= instant]
        return max(before, key=lambda each: each.moment.instant(), default=None)

    def _is_excluded(self, override: _Override) -> bool:
        assert self._series is not None  # noqa: S101 - see `items`
        with suppress(ValueError):
            event, context = self._series
            return _is_among(override.moment.local, set(excluded_times(event, context.times)))
        return False

    def _is_within(self, moment: Moment) -> bool:
        assert self._expander is not None  # noqa: S101 - see `items`
        try:
            return self._expander.window.contains(moment.instant())
        except OverflowError:
            return False

    def _overlaps(self, record: SourceRecord) -> bool:
        assert self._expander is not None  # noqa: S101 - see `items`
        return self._expander.window.overlaps(record.appointment)


def _as_occurrence(moment: Moment, first: Moment) -> Moment:
    """Return a RECURRENCE-ID in the form of the first occurrence. A day means that day's occurrence."""
    local = local_in(moment, first)
    if isinstance(first.local, datetime) and not isinstance(local, datetime):
        local = datetime.combine(local, first.local.time())
    return attrs.evolve(first, local=local)


def _start_of(item: Item) -> datetime:
    return item.appointment.start_time if isinstance(item, SourceRecord) else _NEVER


def _instance_of(event: Event, context: CalendarContext) -> str:
    """Return which instance of its UID an event is; empty for the first one, or the only one."""
    if not event.is_instance:
        return ""
    try:
        return instance_key("", recurrence_id(event, context.times))
    except ValueError:
        return f"line {event.line}"  # a problem of its own


def _newest(same: list[Found]) -> list[Found]:
    """Return the events with the highest SEQUENCE; if one of them is cancelled, the one that was changed last."""
    highest = max(event.sequence for event, _ in same)
    newest = [(event, context) for event, context in same if event.sequence == highest]
    if not _contradict(newest):
        return newest
    stamps = [_changed(*each) for each in newest]
    return [each for each, stamp in zip(newest, stamps, strict=True) if stamp == max(stamps)]


def _contradict(same: list[Found]) -> bool:
    """Return whether some of the events are cancelled and others are not."""
    with suppress(ValueError):
        return len({is_cancelled(*each) for each in same}) > 1
    return False


def _changed(event: Event, context: CalendarContext) -> datetime:
    with suppress(ValueError):
        prop = event.find("DTSTAMP")
        return _NEVER if prop is None else context.times.instant(prop)
    return _NEVER


def _is_among(local: date, times: set[date]) -> bool:
    """Return whether a local time or its day is among some."""
    return local in times or (isinstance(local, datetime) and local.date() in times)
