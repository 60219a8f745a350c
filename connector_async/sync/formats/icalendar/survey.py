"""Looking over an iCalendar file before its events are read: what its calendars say, and which events belong together.

Time zones may be behind the events that name them, and revisions of an event anywhere. In memory are only a hash of
each event, the time zones, and the events that belong together.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import tzinfo
from itertools import pairwise
from typing import Final

import attrs

from .components import Component, Kind, read_components
from .event import Event
from .event_group import EventGroup, Found
from .event_reader import CalendarContext, EventReader
from .expander import Expander
from .lines import PropertyError, parse_property, text_of
from .names import AD_ID, DOMAIN_ID, TENANT_ID
from .times import Times
from .zones import DescribedZones, Zones

_IDENTITY: Final = (b"UID", TENANT_ID.encode(), DOMAIN_ID.encode(), AD_ID.encode())
_RECURRENCE: Final = frozenset((b"RRULE", b"RDATE", b"EXRULE", b"RECURRENCE-ID"))


@attrs.define
class _Calendar:
    """What one calendar of the file says."""

    zones: Zones
    default_zones: set[str] = attrs.field(factory=set)
    """The names of the time zone of its floating times: one at most. The property is not of RFC 5545, but common."""
    method: str = ""

    def add_property(self, component: Component) -> None:
        """Read a property of the calendar itself."""
        prop = parse_property(component.lines[0].content)
        if prop is not None and prop.name == "X-WR-TIMEZONE":
            self.default_zones |= {prop.value.strip()} - {""}
        elif prop is not None and prop.name == "METHOD":
            self.method = prop.value.strip().upper()

    def context(self, assume_zone: tzinfo | None) -> CalendarContext:
        """Return how the events of the calendar are read."""
        zone = assume_zone
        if self.default_zones:  # of two, none is known to be right
            zone = self.zones.find(*self.default_zones) if len(self.default_zones) == 1 else None
        return CalendarContext(Times(self.zones, zone), self.method)


class Survey:
    """Knows the calendars of a file, and the groups of its events.

    Args:
        name: The file, for messages.
        assume_zone: The time zone of floating times and of dates in a calendar that names none.
        reader: Reads single events.
        expander: Expands recurring events; `None`: they are problems.
    """

    def __init__(self, name: str, assume_zone: tzinfo | None, reader: EventReader, expander: Expander | None) -> None:
        self._name = name
        self._assume_zone = assume_zone
        self._reader = reader
        self._expander = expander
        self._contexts: list[CalendarContext] = []
        self._groups: dict[int, EventGroup] = {}
        self.events = 0
        """The number of events in the file."""

    def context(self, calendar: int) -> CalendarContext:
        """Return what a calendar says, by its number in the file from 0."""
        return self._contexts[calendar]

    def group(self, line: int) -> EventGroup | None:
        """Return the group of the event with a first line; `None` if it is the only one of its UID."""
        return self._groups.get(line)

    def take(self, lines: Iterable[tuple[int, bytes]]) -> Iterator[None]:
        """Look over the file, with a step for each part of it.

        Args:
            lines: The numbered lines of the file. Each iteration starts from the first.

        Raises:
            SourceError: If it is not an iCalendar file, or was cut off.
        """
        hashes, calendars, related = array("q"), list[_Calendar](), set[int]()
        described = DescribedZones()
        for component in read_components(self._name, lines):
            yield
            if component.kind is Kind.CALENDAR_START:
                calendars.append(_Calendar(Zones(described)))
            elif component.kind is Kind.ZONE:
                calendars[-1].zones.add(component)
            elif component.kind is Kind.PROPERTY:
                calendars[-1].add_property(component)
            elif component.kind is Kind.EVENT:
                self.events += 1
                hashed, is_recurring = _hash_of(component)
                hashes.append(hashed)
                if is_recurring:
                    related.add(hashed)
        self._contexts = [calendar.context(self._assume_zone) for calendar in calendars]
        related.update(one for one, other in pairwise(sorted(hashes)) if one == other)
        if related:
            yield from self._group(lines, related)

    def _group(self, lines: Iterable[tuple[int, bytes]], related: set[int]) -> Iterator[None]:
        groups: defaultdict[tuple[tuple[str, str], ...], list[Found]] = defaultdict(list)
        calendar = -1
        for component in read_components(self._name, lines):
            yield
            calendar += component.kind is Kind.CALENDAR_START
            if component.kind is Kind.EVENT and _hash_of(component)[0] in related:
                event = Event.of(component)
                with suppress(ValueError):  # reported when the event itself is read
                    identity = event.identity()
                    if identity.get("key"):
                        groups[tuple(identity.items())].append((event, self._contexts[calendar]))
        for found in groups.values():
            group = EventGroup(found, self._reader, self._expander)
            self._groups |= {event.line: group for event, _ in found}


def _hash_of(component: Component) -> tuple[int, bool]:
    """Return a hash of the UID, the tenant and the user of an event, and whether it is of a series."""
    texts, is_recurring = dict[bytes, str](), False
    for line in component.own_lines():
        name = line.name
        is_recurring = is_recurring or name in _RECURRENCE
        if name in _IDENTITY and (prop := parse_property(line.content)) is not None:
            with suppress(PropertyError):
                texts[name] = text_of(prop)
    return hash(tuple(map(texts.get, _IDENTITY))), is_recurring
