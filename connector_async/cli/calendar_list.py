"""Reads the list of calendars that `sync pull --calendars` names: CSV with a header, or JSON Lines."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from connector_async._files import open_regular
from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import Calendar, calendar_of
from connector_async.wire import WireFormat

_FIELDS: Final = frozenset({"tenant_id", "ad_id", "domain_id"})


def read_calendars(path: Path, wire_format: WireFormat, *, tenant_id: str | None) -> list[Calendar]:
    """Return the calendars of a file, which is CSV if its name ends in `.csv`.

    Args:
        path: The file.
        wire_format: Decides whether each calendar must name a user.
        tenant_id: The tenant of lines without one.

    Raises:
        SourceError: If the file cannot be read.
        ValueError: If a line is invalid. The message has its number.
    """
    calendars = []
    try:
        with open_regular(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as lines:
            rows = _csv_rows(lines) if path.suffix.lower() == ".csv" else _json_rows(lines)
            for number, row in rows:
                try:
                    calendars.append(_calendar(row, wire_format, tenant_id))
                except (ValueError, TypeError) as error:
                    raise ValueError(f"{path}:{number}: {error}") from None
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not UTF-8") from None
    return calendars


def _csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Yield each row with its line number; `None` if it cannot be read."""
    reader = csv.DictReader(lines, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error:  # wrong quotes, or a field that is too long
        yield reader.line_num + 1, None


def _json_rows(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Yield each value with its line number; `None` if it cannot be read."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError:
                yield number, None


def _calendar(row: Any, wire_format: WireFormat, tenant_id: str | None) -> Calendar:
    if not isinstance(row, dict):
        raise TypeError("must be a JSON object or a valid row of CSV")
    if not row.keys() <= _FIELDS:
        raise ValueError("only tenant_id, ad_id and domain_id are accepted")
    calendar = calendar_of(row, tenant_id=tenant_id)
    calendar.check(wire_format)
    return calendar
