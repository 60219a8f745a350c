"""The time zones of one calendar: those of IANA and of Windows, and those that it describes itself (RFC 5545, 3.6.5).

A description becomes TZif data (RFC 8536), which `zoneinfo` reads. So a local time that a change of the clocks skips or
repeats is resolved in one way, with a description and with a known name: PEP 495 with `fold=0`, as RFC 5545, section
3.3.5, asks for.
"""

import functools
import io
import itertools
import re
import struct
import zoneinfo
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

import attrs
from tzlocal.windows_tz import win_tz

from connector_async._timestamps import zone_named, zone_names

from .components import Component, component_mark
from .lines import Property, parse_property
from .rules import Rule

_LAST_YEAR: Final = 2200
"""The last year whose changes of the clocks are computed. The offset after them stays."""
_MAX_ONSETS: Final = 5_000
"""The changes of the clocks that a description may have. Some begin in the year 1: 2,200 years of two are 4,400."""
_MAX_DESCRIBED: Final = 100
"""The descriptions in a file that are used. One takes 30 ms if it begins in 1601, and 100 ms in the year 1."""
_MANY: Final = 10**9  # those of a year that match a rule are counted when they are there
_EARLIEST: Final = -62_135_596_800  # the year 1
_OFFSET: Final = re.compile(r"([+-])(\d{2})([0-5]\d)([0-5]\d)?")  # section 3.3.14
_LOCAL: Final = re.compile(r"(\d{8}(?:T\d{6})?)Z?")  # a date and a Z are mistakes that are clear
_UNTIL: Final = re.compile(r"(\d{8}T\d{6})Z?|\d{8}")
_ESCAPED: Final = re.compile(r"\\([\\,;])")
_UTC_OF_OUTLOOK: Final = "tzone://microsoft/utc"
_REPEATED: Final = ("RDATE", "RRULE")
_NEEDED: Final = ("DTSTART", "TZOFFSETFROM", "TZOFFSETTO", *_REPEATED)
_NEEDED_STARTS: Final = tuple(name.encode() for name in _NEEDED)
_OBSERVANCES: Final = {b"STANDARD": False, b"DAYLIGHT": True}


class DescribedZones:
    """The time zones that the descriptions in one file have become."""

    def __init__(self) -> None:
        self._zones: dict[tuple[bytes, ...], tzinfo | None] = {}

    def find(self, contents: tuple[bytes, ...]) -> tzinfo | None:
        """Return the time zone of a description with some lines; `None` if it cannot be used, or there are too many."""
        if contents not in self._zones:
            self._zones[contents] = _described_zone(contents) if len(self._zones) < _MAX_DESCRIBED else None
        return self._zones[contents]


class Zones:
    """The time zones of one calendar, which may describe them anywhere.

    Args:
        described: The time zones of the file.
    """

    def __init__(self, described: DescribedZones) -> None:
        self._zones = described
        self._described: dict[str, set[tuple[bytes, ...]]] = defaultdict(set)

    def add(self, component: Component) -> None:
        """Add a description. One without its END line cannot be used."""
        contents = () if component.problem else tuple(line.content for line in component.lines)
        for line in component.own_lines():
            if line.name == b"TZID" and (prop := parse_property(line.content)) is not None:
                self._described[_plain(prop.value)].add(contents)

    def find(self, name: str) -> tzinfo | None:
        """Return the time zone with a TZID; `None` if it is unknown, or described in two ways.

        The rules of a place, such as Europe/Berlin, are known better than most descriptions of it. Any other name means
        what the calendar describes, or else the zone of IANA or Windows with this name, at the end of this globally
        unique name (section 3.8.3.1), or with this name in other upper and lower case.
        """
        name = _plain(name)
        known = zone_named(name)
        if (known is None or "/" not in name) and name in self._described:
            descriptions = self._described[name]
            return self._zones.find(*descriptions) if len(descriptions) == 1 else None
        return known or _guess(name)


def _plain(name: str) -> str:
    """Return a TZID without its escapes and the blanks around it, which differ between parameters and properties."""
    return _ESCAPED.sub(r"\1", name).strip()


def _guess(name: str) -> tzinfo | None:
    if name.lower() == _UTC_OF_OUTLOOK:
        return UTC
    if name.startswith("/"):
        parts = name.split("/")
        for first in range(1, len(parts)):
            if (zone := zone_named("/".join(parts[first:]))) is not None:
                return zone
    return zone_named(_spellings().get(name.lower(), ""))


@functools.cache
def _spellings() -> dict[str, str]:
    return {name.lower(): name for name in (*win_tz, *zone_names())}


@attrs.frozen(order=True)
class _Onset:
    """A change of the clocks."""

    instant: int
    """Seconds since 1970 in UTC."""
    offset: int
    """The seconds to add to UTC from then on."""
    is_dst: bool
    offset_before: int


def _described_zone(contents: tuple[bytes, ...]) -> tzinfo | None:
    """Return the time zone of a description; `None` if it cannot be used."""
    onsets: list[_Onset] = []
    try:
        for is_dst, properties in _observances(contents):
            onsets += _onsets(is_dst, properties)
            if len(onsets) > _MAX_ONSETS:
                return None
        return _zone_with(sorted(onsets)) if onsets else None
    except (KeyError, ValueError, OverflowError):
        return None


def _observances(contents: Sequence[bytes]) -> Iterator[tuple[bool, list[Property]]]:
    """Yield whether each observance is of summer time, and its properties.

    Raises:
        ValueError: If a BEGIN or END line or a needed line is broken or missing: the zone would have other offsets.
    """
    current, properties = b"", list[Property]()
    for content in contents[1:-1]:
        mark = component_mark(content)
        if mark is None:
            prop = parse_property(content)
            if prop is not None and prop.name in _NEEDED:
                properties.append(prop)
            elif prop is None and content.strip().upper().startswith(_NEEDED_STARTS):
                raise ValueError("a line of an observance cannot be parsed")
        elif mark[0] and not current and mark[1] in _OBSERVANCES:
            current, properties = mark[1], []
        elif not mark[0] and current == mark[1]:
            yield _OBSERVANCES[current], properties
            current, properties = b"", []
        else:
            raise ValueError("the BEGIN and END lines of observances do not match")
    if current or properties:
        raise ValueError("an observance has no BEGIN or no END line")


def _onsets(is_dst: bool, properties: list[Property]) -> list[_Onset]:  # noqa: FBT001 - a part of the result
    values: dict[str, str] = {}
    for prop in properties:
        if values.setdefault(prop.name, prop.value.strip()) != prop.value.strip() and prop.name not in _REPEATED:
            raise ValueError("a property of an observance occurs twice")
    before, after = _offset(values["TZOFFSETFROM"]), _offset(values["TZOFFSETTO"])
    start = _local(values["DTSTART"])
    times = [start]
    for prop in properties:
        if prop.name == "RDATE":
            times += [_local(value.strip()) for value in prop.value.split(",")]
        elif prop.name == "RRULE":
            times += _repeated(prop.value, start, before)
    zero = datetime(1970, 1, 1)  # noqa: DTZ001 - local times of the observance
    return [_Onset(round((time - zero).total_seconds()) - before, after, is_dst, before) for time in set(times)]


def _repeated(text: str, start: datetime, offset: int) -> list[datetime]:
    """Return the local times of a rule.

    Raises:
        ValueError: If there are too many, or the rule is invalid.
    """
    from dateutil.rrule import rrulestr  # noqa: PLC0415 - only descriptions of time zones need it

    rule = Rule.parse(text)
    until = rule.parts.get("UNTIL")
    end = datetime(_LAST_YEAR, 12, 31)  # noqa: DTZ001 - as above
    if until is not None:
        end = min(end, _until(until, offset))
    rule.check(start, max(start, end), limit=_MANY, frequencies=("YEARLY",))
    times: Any = rrulestr(rule.without("UNTIL").text, dtstart=start)
    onsets = list(itertools.islice(itertools.takewhile(lambda time: time <= end, times), _MAX_ONSETS + 1))
    if len(onsets) > _MAX_ONSETS:
        raise ValueError("there are too many")
    return onsets


def _until(value: str, offset: int) -> datetime:
    """Return the end of a rule as a local time. It is in UTC as section 3.6.5 asks for, or local by mistake."""
    if not _UNTIL.fullmatch(value):
        raise ValueError("UNTIL must be a date-time")
    if "T" not in value:
        return datetime.fromisoformat(value) + timedelta(days=1)
    end = datetime.fromisoformat(value.removesuffix("Z"))
    return end + timedelta(seconds=offset) if value.endswith("Z") else end


def _local(value: str) -> datetime:
    match = _LOCAL.fullmatch(value)
    if match is None:
        raise ValueError("must be a local time")
    return datetime.fromisoformat(match[1])


def _offset(value: str) -> int:
    match = _OFFSET.fullmatch(value)
    if match is None or int(match[2]) > 23:
        raise ValueError("must be an offset")
    sign, hours, minutes, seconds = match.groups("0")
    return (-1 if sign == "-" else 1) * (int(hours) * 3600 + int(minutes) * 60 + int(seconds))


def _zone_with(onsets: Sequence[_Onset]) -> tzinfo:
    """Return the time zone with some changes of the clocks, in their order.

    Before the first one, the offset is that from which it changes (section 3.8.3.3).

    Raises:
        ValueError: If there are more than 256 different offsets.
    """
    first = _Onset(_EARLIEST, onsets[0].offset_before, is_dst=False, offset_before=onsets[0].offset_before)
    # Outlook lets both observances begin on 1 January 1601, whatever their rules say.
    changes = list({each.instant: each for each in (first, *onsets)}.values())
    kinds = sorted({(each.offset, each.is_dst) for each in changes})
    count, abbreviation = len(changes), b"LMT\0"
    header = struct.pack(">4sc15x6l", b"TZif", b"2", 0, 0, 0, count, len(kinds), len(abbreviation))
    body = struct.pack(f">{count}q", *(each.instant for each in changes))
    body += bytes(kinds.index((each.offset, each.is_dst)) for each in changes)
    body += b"".join(struct.pack(">lBB", offset, is_dst, 0) for offset, is_dst in kinds)
    empty = struct.pack(">4sc15x6l", b"TZif", b"2", 0, 0, 0, 0, 1, 1) + struct.pack(">lBB", 0, 0, 0) + b"\0"
    return zoneinfo.ZoneInfo.from_file(io.BytesIO(empty + header + body + abbreviation + b"\n\n"))
