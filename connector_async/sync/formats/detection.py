"""Choosing the format of a file: by its suffix, or as the caller names it."""

import os
from datetime import tzinfo
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from connector_async.sync.scope import Scope

from .csv_file import CsvMirror, CsvSource
from .icalendar import ICalendarMirror, ICalendarSource
from .json_lines import JsonLinesMirror, JsonLinesSource
from .mirror import MergingMirror, Mirror
from .source import Source

FileFormat: TypeAlias = Literal["jsonl", "csv", "ics"]

_SOURCES: Final = (CsvSource, JsonLinesSource, ICalendarSource)
_MIRRORS: Final = (CsvMirror, JsonLinesMirror, ICalendarMirror)
_BY_SUFFIX: Final[dict[str, FileFormat]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".ics": "ics"}


def file_source(
    path: Path | str,
    *,
    format: FileFormat | None = None,  # noqa: A002 - the word that users know
    tenant_id: str | None = None,
    assume_zone: tzinfo | None = None,
    expand: Scope | None = None,
) -> Source:
    """Return a source that reads a file. The file need not exist yet.

    Args:
        path: The file.
        format: The file format; `None`: chosen by the suffix `.jsonl`, `.ndjson`, `.csv` or `.ics`.
        tenant_id: The tenant of a record without one.
        assume_zone: The time zone of floating times and of dates in iCalendar. The other formats have neither: they
            reject a date-time without a UTC offset.
        expand: The time range within which recurring events of iCalendar are expanded; `None`: they are problems.

    Raises:
        ValueError: If `format` or the suffix of `path` is unknown, or another argument is invalid.
        TypeError: If `assume_zone` is not a `tzinfo`.
    """
    match _choose(path, format):
        case "jsonl":
            return JsonLinesSource(path, tenant_id=tenant_id)
        case "csv":
            return CsvSource(path, tenant_id=tenant_id)
        case "ics":
            return ICalendarSource(path, tenant_id=tenant_id, assume_zone=assume_zone, expand=expand)


def file_mirror(
    path: Path | str,
    *,
    format: FileFormat | None = None,  # noqa: A002 - as above
    tenant_id: str | None = None,
    assume_zone: tzinfo | None = None,
    expand: Scope | None = None,
) -> MergingMirror:
    """Return a mirror that is kept in a file.

    Args:
        path: The file.
        format: The file format; `None`: chosen by the suffix `.jsonl`, `.ndjson`, `.csv` or `.ics`.
        tenant_id: The tenant of a record without one, as for the source that reads the file.
        assume_zone: The time zone of floating times and of dates in iCalendar, as for the source that reads the file.
        expand: The time range within which recurring events of iCalendar are expanded; `None`: they are problems.

    Raises:
        ValueError: If `format` or the suffix of `path` is unknown, or another argument is invalid.
        TypeError: If `assume_zone` is not a `tzinfo`.
    """
    match _choose(path, format):
        case "jsonl":
            return JsonLinesMirror(path, tenant_id=tenant_id)
        case "csv":
            return CsvMirror(path, tenant_id=tenant_id)
        case "ics":
            return ICalendarMirror(path, tenant_id=tenant_id, assume_zone=assume_zone, expand=expand)


def _choose(path: Path | str, chosen: FileFormat | None) -> FileFormat:
    if chosen is not None:
        if chosen not in get_args(FileFormat):
            raise ValueError(f"format must be one of {', '.join(get_args(FileFormat))}")
        return chosen
    by_suffix = _BY_SUFFIX.get(Path(os.fspath(path)).suffix.lower())
    if by_suffix is None:
        raise ValueError(f"path must end in one of {', '.join(_BY_SUFFIX)}, or format must be given")
    return by_suffix


def check_same_reading(source: Source, mirror: Mirror) -> None:
    """Reject a mirror in a file that reads records in another way than the source: it would not find them.

    Raises:
        ValueError: If they have not the same `tenant_id`, or `expand`; nothing was read.
    """
    if isinstance(source, _SOURCES) and isinstance(mirror, _MIRRORS) and source.tenant_id != mirror.tenant_id:
        raise ValueError("mirror must have the same tenant_id as source, to find its records")
    if isinstance(source, ICalendarSource) and isinstance(mirror, ICalendarMirror) and source.expand != mirror.expand:
        raise ValueError("mirror must have the same expand as source, to find its records")
