"""File formats of sources and mirrors: JSON Lines, CSV and iCalendar; and a source over any iterable.

It knows neither the state nor the API.
"""

from .csv_file import CsvMirror, CsvSource
from .detection import (
    FileFormat,
    FileSource,
    check_same_reading,
    choose_format,
    file_mirror,
    file_source,
    format_of_suffix,
)
from .icalendar import ICalendarMirror, ICalendarSource
from .json_lines import JsonLinesMirror, JsonLinesSource
from .mapping import FieldMapping
from .mirror import MergingMirror, Mirror, ReadableMirror, RecordChange, RecordId, RecordWriter
from .source import ExpandingSource, IterableSource, Source, expanded_range

__all__ = [
    "CsvMirror",
    "CsvSource",
    "ExpandingSource",
    "FieldMapping",
    "FileFormat",
    "FileSource",
    "ICalendarMirror",
    "ICalendarSource",
    "IterableSource",
    "JsonLinesMirror",
    "JsonLinesSource",
    "MergingMirror",
    "Mirror",
    "ReadableMirror",
    "RecordChange",
    "RecordId",
    "RecordWriter",
    "Source",
    "check_same_reading",
    "choose_format",
    "expanded_range",
    "file_mirror",
    "file_source",
    "format_of_suffix",
]
