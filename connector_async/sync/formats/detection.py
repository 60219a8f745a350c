"""Which format a file has: by its suffix, or as the caller says."""

import os
from datetime import tzinfo
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from .csv_file import CsvMirror, CsvSource
from .icalendar_file import ICalendarMirror, ICalendarSource
from .json_lines import JsonLinesMirror, JsonLinesSource
from .mirror import Mirror
from .source import Source

FileFormat: TypeAlias = Literal["jsonl", "csv", "ics"]

_BY_SUFFIX: Final[dict[str, FileFormat]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".ics": "ics"}


def file_source(
    path: Path | str,
    *,
    format: FileFormat | None = None,  # noqa: A002 - what users call it
    tenant_id: str | None = None,
    assume_zone: tzinfo | None = None,
) -> Source:
    """Return the source that reads a file, which need not be there yet.

    Args:
        path: The file.
        format: `None`: by the suffix, which is `.jsonl`, `.ndjson`, `.csv` or `.ics`.
        tenant_id: The tenant of a record that names none.
        assume_zone: The zone of floating times and of days in iCalendar. The other formats have neither, and refuse a
            date-time without an offset.

    Raises:
        ValueError: `format` or the suffix of `path` is not known, or another argument cannot be; it names which.
        TypeError: `assume_zone` is no `tzinfo`.
    """
    match _format(path, format):
        case "jsonl":
            return JsonLinesSource(path, tenant_id=tenant_id)
        case "csv":
            return CsvSource(path, tenant_id=tenant_id)
        case "ics":
            return ICalendarSource(path, tenant_id=tenant_id, assume_zone=assume_zone)


def file_mirror(path: Path | str, *, format: FileFormat | None = None) -> Mirror:  # noqa: A002 - as above
    """Return the mirror that is kept in a file.

    Args:
        path: The file.
        format: `None`: by the suffix, which is `.jsonl`, `.ndjson`, `.csv` or `.ics`.

    Raises:
        ValueError: `format` or the suffix of `path` is not known.
    """
    match _format(path, format):
        case "jsonl":
            return JsonLinesMirror(path)
        case "csv":
            return CsvMirror(path)
        case "ics":
            return ICalendarMirror(path)


def _format(path: Path | str, chosen: FileFormat | None) -> FileFormat:
    if chosen is not None:
        if chosen not in get_args(FileFormat):
            raise ValueError(f"format must be one of {', '.join(get_args(FileFormat))}")
        return chosen
    found = _BY_SUFFIX.get(Path(os.fspath(path)).suffix.lower())
    if found is None:
        raise ValueError(f"path must end in one of {', '.join(_BY_SUFFIX)}, or format must say what it is")
    return found
