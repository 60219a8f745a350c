"""Where records come from and what the mirror is kept in: JSON Lines, CSV and iCalendar files, or any iterable.

It knows no state and no API.
"""

from .csv_file import CsvMirror, CsvSource
from .detection import FileFormat, file_mirror, file_source
from .icalendar_file import ICalendarMirror, ICalendarSource
from .json_lines import JsonLinesMirror, JsonLinesSource
from .mirror import Mirror, RecordWriter
from .source import IterableSource, Source

__all__ = [
    "CsvMirror",
    "CsvSource",
    "FileFormat",
    "ICalendarMirror",
    "ICalendarSource",
    "IterableSource",
    "JsonLinesMirror",
    "JsonLinesSource",
    "Mirror",
    "RecordWriter",
    "Source",
    "file_mirror",
    "file_source",
]
