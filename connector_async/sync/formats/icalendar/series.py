"""A recurring event with the events that replace some of its occurrences (RFC 5545, section 3.8.4.4)."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date, datetime

import attrs

from connector_async._timestamps import format_instant
from connector_async.sync.records import SourceProblem, SourceRecord

from .event import Event
from .event_reader import CalendarContext, EventReader, Item, Row, instance_key, is_cancelled, recurrence_id, texts
from .expander import Expander, Occurrence, as_datetime, excluded_times, local_in
from .times import Duration, Moment, end_of


@attrs.frozen
class Override:
    """An event that stands for one occurrence of a series, or for all from that one on."""

    event: Event
    context: CalendarContext
    moment: Moment
    """Its RECURRENCE-ID, in the local time of the series."""

    def shifted(self, start: Moment) -> tuple[Moment, Duration]:
        """Return when an occurrence starts that would start at some moment, and how long it lasts.

        All later occurrences are rescheduled by the same difference.
        """
        times = self.context.times
        own, _ = times.start(self.event)
        difference = as_datetime(local_in(own, start)) - as_datetime(local_in(self.moment, start))
        return attrs.evolve(start, local=start.local + difference), times.length(self.event, own)


class Series:
    """Yields the occurrences of a recurring event.

    Args:
        event: The recurring event.
        context: What its calendar says.
        instances: The other events with its UID that have a RECURRENCE-ID.
        reader: Reads single events.
        expander: Expands the recurring event.

    Raises:
        ValueError: If the event has no start that can be read.
    """

    def __init__(
        self,
        event: Event,
        context: CalendarContext,
        instances: Iterable[tuple[Event, CalendarContext]],
        reader: EventReader,
        expander: Expander,
    ) -> None:
        self.event = event
        self._context = context
        self._reader = reader
        self._expander = expander
        self._first, _ = context.times.start(event)
        self._overrides = {each.event.line: each for each in self._read(instances)}
        self._replaced = {each.moment.instant() for each in self._overrides.values()}
        with_range = [each for each in self._overrides.values() if each.event.has_range]
        self._with_range = sorted(with_range, key=_instant_of)
        self._rows: dict[int, Row | None] = {}
        self._of_ranges: set[str] = set()
        self._excluded: set[date] = set()
        with suppress(ValueError):  # reported when the event is expanded
            self._excluded.update(excluded_times(event, context.times))

    @property
    def overrides(self) -> list[Event]:
        """The events that replace occurrences."""
        return [each.event for each in self._overrides.values()]

    def is_override(self, line: int) -> bool:
        """Return whether the event with a first line replaces occurrences."""
        return line in self._overrides

    def is_changed_by_range(self, key: str) -> bool:
        """Return whether an occurrence with a key has its content from an override for several ones."""
        return key in self._of_ranges

    def items_of_override(self, line: int) -> Iterator[Item]:
        """Yield the record of the override with a first line, or its problem.

        The record is left out if it is outside of the time range by its own times and by those that it replaces.
        """
        override = self._overrides[line]
        item = self._reader.read(override.event, override.context, replaced=override.moment)
        if item is not None and self._is_excluded(override.moment):
            self._reader.counts.cancelled += 1
        elif isinstance(item, SourceRecord):
            if self._expander.window.overlaps(item.appointment) or self._is_within(override.moment):
                self._reader.counts.instances += 1
                self._note(override, item.key)
                yield item
        elif item is not None:
            yield item

    def items(self) -> Iterator[Item]:
        """Yield the occurrences in the time range that no override replaces alone."""
        self._reader.counts.series += 1
        try:
            for occurrence in self._expander.expand(self.event, self._context.times):
                if occurrence.start.instant() in self._replaced:
                    continue
                item = self._record(occurrence, self._content_of(occurrence.start))
                if item is not None and self._expander.window.overlaps(item.appointment):
                    self._reader.counts.instances += 1
                    yield item
        except OverflowError:
            yield self._reader.problem(self.event, "an occurrence is outside the years 1 to 9999 in UTC")
        except ValueError as error:
            yield self._reader.problem(self.event, str(error))

    def _read(self, instances: Iterable[tuple[Event, CalendarContext]]) -> Iterator[Override]:
        for event, context in instances:
            with suppress(ValueError):  # a problem of its own
                moment = recurrence_id(event, context.times, first=self._first)
                yield Override(event, context, _as_occurrence(moment, self._first))

    def _record(self, occurrence: Occurrence, override: Override | None) -> SourceRecord | None:
        """Return the record of an occurrence, with the content of the series or of an override for several ones.

        Raises:
            ValueError: If the content is invalid. Then that of all others is as well.
        """
        line = self.event.line if override is None else override.event.line
        if line not in self._rows:
            self._rows[line] = self._row(override)
        row, start, end = self._rows[line], occurrence.start, occurrence.end
        if row is None:
            return None
        if override is not None:
            start, length = override.shifted(start)
            end = end_of(start, length)
        key = instance_key(row["key"] or "", occurrence.start)
        times = {"start_time": format_instant(start.instant()), "end_time": format_instant(end)}
        item = self._reader.rows.read({**row, **times, "key": key}, line)
        if isinstance(item, SourceProblem):
            raise ValueError(item.reason)
        self._note(override, key)
        return item

    def _row(self, override: Override | None) -> Row | None:
        """Return the content of the series or of an override, without times; `None` if it is cancelled."""
        event, context = (self.event, self._context) if override is None else (override.event, override.context)
        return None if is_cancelled(event, context) else {**event.identity(), **texts(event, context.times)}

    def _note(self, override: Override | None, key: str) -> None:
        if override is not None and override.event.has_range:
            self._of_ranges.add(key)

    def _content_of(self, start: Moment) -> Override | None:
        """Return the override that a later occurrence has its content from; `None`: it is the series."""
        position = bisect_right(self._with_range, start.instant(), key=_instant_of)
        return self._with_range[position - 1] if position else None

    def _is_excluded(self, moment: Moment) -> bool:
        """Return whether an occurrence or its day does not take place."""
        return moment.local in self._excluded or as_datetime(moment.local).date() in self._excluded

    def _is_within(self, moment: Moment) -> bool:
        try:
            return self._expander.window.contains(moment.instant())
        except OverflowError:
            return False


def _instant_of(override: Override) -> datetime:
    return override.moment.instant()


def _as_occurrence(moment: Moment, first: Moment) -> Moment:
    """Return a RECURRENCE-ID in the form of the first occurrence. A day means that day's occurrence.

    Raises:
        ValueError: If it is outside the years 1 to 9999 in UTC.
    """
    local = local_in(moment, first)
    if isinstance(first.local, datetime) and not isinstance(local, datetime):
        local = datetime.combine(local, first.local.time())
    occurrence = attrs.evolve(first, local=local)
    try:
        occurrence.instant()
    except OverflowError:
        raise ValueError("key: RECURRENCE-ID is outside the years 1 to 9999 in UTC") from None
    return occurrence
