"""Choosing the format of a file: by its suffix, or as the caller names it."""

import os
from datetime import tzinfo
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from connector_async.sync.scope import Scope

from .csv_file import CsvMirror, CsvSource
from .icalendar import ICalendarMirror, ICalendarSource
from .json_lines import JsonLinesMirror, JsonLinesSource
from .mapping import FieldMapping
from .mirror import MergingMirror, Mirror
from .source import Source

FileFormat: TypeAlias = Literal["jsonl", "csv", "ics"]

FileSource: TypeAlias = CsvSource | JsonLinesSource | ICalendarSource

_ROW_SOURCES: Final = (CsvSource, JsonLinesSource)
_ROW_MIRRORS: Final = (CsvMirror, JsonLinesMirror)
_SOURCES: Final = (*_ROW_SOURCES, ICalendarSource)
_MIRRORS: Final = (*_ROW_MIRRORS, ICalendarMirror)
_BY_SUFFIX: Final[dict[str, FileFormat]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".ics": "ics"}
SUFFIXES: Final = tuple(_BY_SUFFIX)
"""The suffixes of files whose formats are known."""


def file_source(
    path: Path | str,
    *,
    format: FileFormat | None = None,  # noqa: A002 - the word that users know
    tenant_id: str | None = None,
    assume_zone: tzinfo | None = None,
    expand: Scope | None = None,
    mapping: FieldMapping | None = None,
    ignore_unknown: bool = False,
) -> FileSource:
    """Return a source that reads a file. The file need not exist yet.

    Args:
        path: The file.
        format: The file format; `None`: chosen by the suffix `.jsonl`, `.ndjson`, `.csv` or `.ics`.
        tenant_id: The tenant of a record without one.
        assume_zone: The time zone of floating times and of dates in iCalendar, and of times that a `date_format` of
            the mapping reads without a UTC offset. Other date-times without one are rejected.
        expand: The range in which recurring events of iCalendar are expanded. `None`: such an event is a problem. The
            other formats have none.
        mapping: The columns of CSV, or the members of JSON Lines, that the fields are read from. `None`: each has the
            name of its field.
        ignore_unknown: Whether columns of CSV and members of JSON Lines that no field is read from are ignored. In
            iCalendar they are in any case.

    Raises:
        ValueError: If `format` or the suffix of `path` is unknown, an argument is invalid, `assume_zone` is missing and
            the mapping has a `date_format` without `%z`, or the format is iCalendar and there is a mapping.
        TypeError: If an argument has another type.
    """
    source: type[CsvSource | JsonLinesSource]
    match choose_format(path, format):
        case "jsonl":
            source = JsonLinesSource
        case "csv":
            source = CsvSource
        case "ics":
            if mapping is not None:
                raise ValueError("mapping must not be given for iCalendar: its properties have fixed names")
            return ICalendarSource(path, tenant_id=tenant_id, assume_zone=assume_zone, expand=expand)
    return source(path, tenant_id=tenant_id, mapping=mapping, assume_zone=assume_zone, ignore_unknown=ignore_unknown)


def file_mirror(
    path: Path | str,
    *,
    format: FileFormat | None = None,  # noqa: A002 - as above
    tenant_id: str | None = None,
    assume_zone: tzinfo | None = None,
    expand: Scope | None = None,
    ignore_unknown: bool = False,
) -> MergingMirror:
    """Return a mirror that is kept in a file.

    Args:
        path: The file.
        format: The file format; `None`: chosen by the suffix `.jsonl`, `.ndjson`, `.csv` or `.ics`.
        tenant_id: The tenant of a record without one, as for the source that reads the file.
        assume_zone: The time zone of floating times and of dates in iCalendar, as for the source that reads the file.
        expand: The range in which recurring events of iCalendar are expanded, as for the source that reads the file.
        ignore_unknown: Whether a merge keeps unknown columns of CSV and members of JSON Lines, as for the source that
            reads the file.

    Raises:
        ValueError: If `format` or the suffix of `path` is unknown, or an argument is invalid.
        TypeError: If an argument has another type.
    """
    match choose_format(path, format):
        case "jsonl":
            return JsonLinesMirror(path, tenant_id=tenant_id, ignore_unknown=ignore_unknown)
        case "csv":
            return CsvMirror(path, tenant_id=tenant_id, ignore_unknown=ignore_unknown)
        case "ics":
            return ICalendarMirror(path, tenant_id=tenant_id, assume_zone=assume_zone, expand=expand)


def choose_format(path: Path | str, chosen: FileFormat | None) -> FileFormat:
    """Return the format of a file: the chosen one, or else that of its suffix.

    Raises:
        ValueError: If the format or the suffix is unknown.
    """
    if chosen is not None:
        if chosen not in get_args(FileFormat):
            raise ValueError(f"format must be one of {', '.join(get_args(FileFormat))}")
        return chosen
    by_suffix = format_of_suffix(path)
    if by_suffix is None:
        raise ValueError(f"path must end in one of {', '.join(_BY_SUFFIX)}, or format must be given")
    return by_suffix


def format_of_suffix(path: Path | str) -> FileFormat | None:
    """Return the format that the suffix of a file names; `None`: it names none."""
    return _BY_SUFFIX.get(Path(os.fspath(path)).suffix.lower())


def check_same_reading(source: Source, mirror: Mirror) -> None:
    """Reject a mirror in a file that reads records in another way than the source: it would not find them.

    Raises:
        ValueError: If they have not the same `tenant_id`, `expand` or `ignore_unknown`, or the source has a mapping;
            nothing was read.
    """
    if isinstance(source, _ROW_SOURCES) and source.mapping is not None:
        raise ValueError("mapping must not be given in two-way mode: its columns cannot be written back exactly")
    if not isinstance(source, _SOURCES) or not isinstance(mirror, _MIRRORS):
        return
    if source.tenant_id != mirror.tenant_id:
        raise ValueError("mirror must have the same tenant_id as source, to find its records")
    if isinstance(source, ICalendarSource) and isinstance(mirror, ICalendarMirror) and source.expand != mirror.expand:
        raise ValueError("mirror must have the same expand as source, to find its records")
    if (
        isinstance(source, _ROW_SOURCES)
        and isinstance(mirror, _ROW_MIRRORS)
        and source.ignore_unknown is not mirror.ignore_unknown
    ):
        raise ValueError("mirror must have the same ignore_unknown as source, to find its records")
