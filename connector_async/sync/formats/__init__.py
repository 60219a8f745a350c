"""File formats of sources and mirrors: JSON Lines, CSV and iCalendar; and a source over any iterable.

It knows neither the state nor the API.
"""

from .csv_file import CsvMirror, CsvSource
from .detection import FileFormat, check_same_reading, file_mirror, file_source
from .icalendar import ICalendarMirror, ICalendarSource
from .json_lines import JsonLinesMirror, JsonLinesSource
from .mirror import MergingMirror, Mirror, ReadableMirror, RecordChange, RecordId, RecordWriter
from .source import ExpandingSource, IterableSource, Source, expanded_range

__all__ = [
    "CsvMirror",
    "CsvSource",
    "ExpandingSource",
    "FileFormat",
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
    "expanded_range",
    "file_mirror",
    "file_source",
]
