"""The values that pass between the body formats, paging and storage.

They know nothing of HTTP, JSON or SQL. Every datetime is aware and in UTC.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import frozen


@frozen
class User:
    """The owner of a calendar."""

    domain_id: str
    """The directory tenant's id."""
    ad_id: str
    """The directory user's id."""


NO_USER: Final = User("", "")
"""The owner of every appointment that is written in the guide format, which names no user."""

PLAIN_TEXT: Final = "Text"
BUSY: Final = "Busy"
UTC_NAME: Final = "UTC"
CONTENT_TYPES: Final = (PLAIN_TEXT, "Html")
SHOW_AS_VALUES: Final = ("Free", "Tentative", BUSY, "OutOfOffice", "WorkingElsewhere")
"""Our reading: the readable part of the API reference does not list the values."""


@frozen(kw_only=True)
class Appointment:
    """One appointment of one tenant."""

    appointment_id: str
    """Unique among the appointments of its user."""
    title: str
    start: datetime
    """UTC."""
    end: datetime
    """UTC, not before `start`."""
    description: str | None
    user: User = NO_USER
    content_type: str = PLAIN_TEXT
    """The description's content type."""
    time_zone: str = UTC_NAME
    """The zone's name as the request gave it, an IANA or a Windows name."""
    show_as: str = BUSY


@frozen(kw_only=True)
class AppointmentKey:
    """The identity of an appointment within its tenant."""

    appointment_id: str
    user: User = NO_USER


@frozen(kw_only=True)
class AppointmentChanges:
    """The fields that an update sets; None leaves a field unchanged."""

    key: AppointmentKey
    title: str | None
    start: datetime | None
    """UTC."""
    end: datetime | None
    """UTC."""
    sets_description: bool
    """Whether the update sets the description. None cannot mean "unchanged" here: it is a valid description."""
    description: str | None
    content_type: str | None = None
    time_zone: str | None = None
    show_as: str | None = None


@frozen
class CalendarSummary:
    """What a calendar has."""

    tenant: str
    domain_id: str
    """Empty, like `ad_id`, for the appointments in the guide format."""
    ad_id: str
    count: int
    """The number of appointments."""
    first_start: datetime
    """The start of the first one, UTC."""


@frozen(kw_only=True)
class PreviewRange:
    """A time range of a user's calendar, from `start` up to but not including `end`."""

    user: User
    start: datetime
    """UTC."""
    end: datetime
    """UTC, not before `start`."""


@frozen(kw_only=True)
class Position:
    """The place of an appointment in a preview, which is ordered by start, then by creation."""

    start: datetime
    """UTC."""
    sequence: int
    """Greater for the appointment that was created later, among those that exist now."""


@frozen(kw_only=True)
class PageSelection:
    """The part of a preview to read."""

    limit: int | None = None
    """Maximum number of appointments; None for no limit."""
    after: Position | None = None
    """Read only appointments after this position; None to start with the first one."""
    offset: int = 0
    """Number of appointments to skip."""
    count_total: bool = False
    """Whether to count the appointments of the whole preview."""


@frozen(kw_only=True)
class AppointmentPage:
    """The selected part of a preview, as it was at one moment."""

    appointments: Sequence[Appointment]
    next_after: Position | None
    """Position after which the next page starts; None if this page is the last one."""
    total: int
    """Number of appointments in the whole preview; 0 unless the selection counts them."""
