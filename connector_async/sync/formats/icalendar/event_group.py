"""The events of one UID: the newest revision of each counts (RFC 5545, section 3.8.7.4)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TypeAlias

from connector_async.sync.records import SourceRecord

from .event import Event
from .event_reader import CalendarContext, EventReader, Item, check, instance_key, is_cancelled, recurrence_id
from .expander import Expander
from .series import Series

Found: TypeAlias = tuple[Event, CalendarContext]

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


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
        newest = {name: _newest_of(same) for name, same in revisions.items()}
        self._newest = {event.line: (event, context) for same in newest.values() for event, context in same}
        self._contradicts = {event.line for same in newest.values() if _contradict(same) for event, _ in same}
        self._firsts = newest.get("", [])
        """The newest events without a RECURRENCE-ID: one, unless several have one SEQUENCE."""
        self._cancelled_by = max(
            (event.sequence for event, context in self._firsts if _is_off(event, context)), default=0
        )
        """The SEQUENCE with which all instances of a lower one were cancelled."""
        self._series = None if expander is None else self._find_series(expander)

    def items(self, event: Event) -> Iterator[Item]:
        """Yield what one of the events makes: nothing, a record, a problem, or the occurrences of a series."""
        if event.line not in self._newest:
            self._reader.counts.superseded += 1
        elif event.line in self._contradicts:
            yield self._reader.problem(event, "STATUS differs between two revisions with one SEQUENCE")
        elif event.is_recurring and self._expander is not None and len(self._firsts) > 1:
            yield self._reader.problem(event, "UID is that of several recurring events")
        elif event.is_instance and event.sequence < self._cancelled_by:
            self._reader.counts.cancelled += 1
        elif self._series is not None and self._series.is_override(event.line):
            yield from self._series.items_of_override(event.line)
        elif self._series is not None and self._series.event.line == event.line:
            yield from self._series.items()
        elif (item := self._reader.read(*self._newest[event.line])) is not None:
            yield item

    def items_in_order(self, event: Event) -> Iterator[Item]:
        """Yield the same as `items`, but for a series all occurrences at once, by their starts."""
        if self._series is not None and self.is_series(event.line):
            events = [event, *self._series.overrides]
            yield from sorted((item for each in events for item in self.items(each)), key=_start_of)
        elif not self.is_override(event.line):
            yield from self.items(event)

    def is_series(self, line: int) -> bool:
        """Return whether the event with a first line is expanded."""
        return self._series is not None and self._series.event.line == line

    def is_override(self, line: int) -> bool:
        """Return whether the event with a first line is an occurrence of the recurring one."""
        return self._series is not None and self._series.is_override(line)

    def is_changed_by_range(self, key: str) -> bool:
        """Return whether an occurrence with a key has its content from an event for several ones."""
        return self._series is not None and self._series.is_changed_by_range(key)

    def _find_series(self, expander: Expander) -> Series | None:
        """Return the series that is to be expanded, if there is one."""
        if len(self._firsts) != 1:
            return None
        event, context = self._firsts[0]
        with suppress(ValueError):  # reported when the event itself is read
            check(event, context)
            if event.is_recurring and not is_cancelled(event, context):
                instances = [found for found in self._newest.values() if found[0].is_instance]
                return Series(event, context, instances, self._reader, expander)
        return None


def _instance_of(event: Event, context: CalendarContext) -> str:
    """Return which instance of its UID an event is; empty for the first one, or the only one."""
    if not event.is_instance:
        return ""
    try:
        return instance_key("", recurrence_id(event, context.times))
    except ValueError:
        return f"line {event.line}"  # a problem of its own


def _newest_of(same: list[Found]) -> list[Found]:
    """Return the events with the highest SEQUENCE; if one of them is cancelled, the one that was changed last."""
    highest = max(event.sequence for event, _ in same)
    newest = [(event, context) for event, context in same if event.sequence == highest]
    if not _contradict(newest):
        return newest
    stamps = [_changed(*each) for each in newest]
    return [each for each, stamp in zip(newest, stamps, strict=True) if stamp == max(stamps)]


def _contradict(same: list[Found]) -> bool:
    """Return whether some of the events are cancelled and others are not."""
    return len({_is_off(*each) for each in same}) > 1


def _is_off(event: Event, context: CalendarContext) -> bool:
    try:
        return is_cancelled(event, context)
    except ValueError:  # reported when the event itself is read
        return False


def _changed(event: Event, context: CalendarContext) -> datetime:
    with suppress(ValueError):
        prop = event.find("DTSTAMP")
        return _NEVER if prop is None else context.times.instant(prop)
    return _NEVER


def _start_of(item: Item) -> datetime:
    return item.appointment.start_time if isinstance(item, SourceRecord) else _NEVER
