"""Reads the drafts of `create --from`: each line of a file of JSON Lines, or each record of another source."""

from collections.abc import AsyncIterable, AsyncIterator
from datetime import tzinfo
from typing import Any, Final

import orjson

from connector_async._timestamps import format_instant, zone_named
from connector_async.models import NewAppointment
from connector_async.sync.formats import format_of_suffix
from connector_async.sync.formats.mapping import RowMapper
from connector_async.sync.records import Calendar, SourceProblem, SourceRecord, calendar_of

from .line_reader import read_lines
from .messages import error_message
from .resume_file import Draft
from .source_options import MappingOptions
from .times import TimeError, read_time

_MAPPED: Final = ("title", "start_time", "end_time", "description", "description_type", "time_zone")
_EXTRA: Final = "extra"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class DraftTimes:
    """Reads the times of drafts, as options take them.

    Args:
        assumed_zone: The time zone of a time without a UTC offset, if its draft has none; `None`: such a time is
            rejected.
    """

    def __init__(self, assumed_zone: tzinfo | None) -> None:
        self._assumed_zone = assumed_zone

    def read(self, field: str, value: str, zone_name: object) -> str:
        """Return the time of a field as an RFC 3339 date-time in UTC.

        Raises:
            ValueError: If it is not a time. The message names the field and what is accepted, and not the value.
        """
        zone = zone_named(zone_name) if isinstance(zone_name, str) else None
        zone = self._assumed_zone if zone is None else zone
        try:
            return format_instant(read_time(value, zone, zone_from="a time_zone or --assume-zone", in_file=True))
        except TimeError as error:
            raise ValueError(f"{field} {error}") from None


def is_json_lines(source: str, options: MappingOptions) -> bool:
    """Return whether a file has drafts in JSON Lines; `-` is the standard input."""
    return (options.source_format or format_of_suffix(source) or "jsonl") == "jsonl"


async def read_lines_as_drafts(
    source: str, times: DraftTimes, calendar: Calendar, mapper: RowMapper | None
) -> AsyncIterator[Draft]:
    """Yield a draft for each line of a file of JSON Lines; `-` is the standard input.

    Args:
        source: The file.
        times: Reads the times.
        calendar: The calendar of the drafts. A line that a mapper reads may name it.
        mapper: Reads the fields of a line. `None`: each member has the name of its field.

    Raises:
        ValueError: If the file cannot be read.
    """
    async for number, line in read_lines(source):
        try:
            values = _decoded(line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line)
            if isinstance(values, dict):
                if mapper is not None:
                    values = _mapped(values, mapper, calendar)
                for field in ("start_time", "end_time"):
                    if isinstance(values.get(field), str):
                        values[field] = times.read(field, values[field], values.get("time_zone"))
            yield Draft({"line": number}, NewAppointment.from_dict(values))
        except (ValueError, TypeError) as error:
            yield Draft({"line": number}, None, error_message(error))


def _decoded(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        raise ValueError("not JSON") from None


def _mapped(values: dict[str, Any], mapper: RowMapper, calendar: Calendar) -> dict[str, Any]:
    """Return the fields of an appointment in the members of a line; `extra` is one of them, unless it is mapped.

    Raises:
        ValueError: If the line names another calendar, or has a member that is unknown or invalid.
        TypeError: If a member has another type.
    """
    kept = {} if _EXTRA in mapper.used else {name: value for name, value in values.items() if name == _EXTRA}
    row: dict[str, Any] = {}
    mapper.fill(row, {name: value for name, value in values.items() if name not in kept})
    _check_calendar(calendar_of(row, tenant_id=calendar.tenant_id), calendar)
    fields = {name: row[name] for name in _MAPPED if name in row}
    # An empty description is one; another empty field is missing, as in every source.
    return {name: value for name, value in fields.items() if name == "description" or value not in (None, "")} | kept


def _check_calendar(named: Calendar, calendar: Calendar) -> None:
    if named not in {calendar, Calendar(calendar.tenant_id)}:  # the second one: it names no user
        raise ValueError("the calendar must be that of --tenant-id, --ad-id and --domain-id, or not be named")


async def read_records_as_drafts(
    items: AsyncIterable[SourceRecord | SourceProblem], calendar: Calendar
) -> AsyncIterator[Draft]:
    """Yield a draft for each record of a source. A record of another calendar is a problem.

    Raises:
        SourceError: If the file cannot be read.
    """
    number = 0
    async for item in items:
        number += 1
        position = {"record": number, "line": None, "key": item.key}
        if isinstance(item, SourceProblem):
            yield Draft(position | {"line": item.line}, None, item.reason)
            continue
        try:
            _check_calendar(item.calendar, calendar)
        except ValueError as error:
            yield Draft(position, None, str(error))
        else:
            yield Draft(position, item.appointment)
