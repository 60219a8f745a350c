"""iCalendar (RFC 5545): each event of a calendar is a record. Needs the extra `sync`."""

from .file import ICalendarMirror, ICalendarSource

__all__ = ["ICalendarMirror", "ICalendarSource"]
