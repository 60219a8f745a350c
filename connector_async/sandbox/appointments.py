"""The values that travel between the body formats and storage.

It knows neither HTTP nor JSON nor SQL. Every datetime is aware and in UTC.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import frozen


@frozen
class User:
    """Whose calendar it is."""

    domain_id: str
    """The directory tenant's id."""
    ad_id: str
    """The directory user's id."""


NO_USER: Final = User("", "")
"""The owner of all that is written in the guide's format, which names no user."""

TEXT: Final = "Text"
BUSY: Final = "Busy"
UTC_NAME: Final = "UTC"


@frozen(kw_only=True)
class Appointment:
    """One appointment of one tenant."""

    appointment_id: str
    """Unique among its user's."""
    title: str
    start: datetime
    """UTC."""
    end: datetime
    """UTC, not before `start`."""
    description: str | None
    user: User = NO_USER
    content_type: str = TEXT
    """Of the description."""
    time_zone: str = UTC_NAME
    """The name under which the zone was given: IANA's or Windows'."""
    show_as: str = BUSY


@frozen(kw_only=True)
class AppointmentKey:
    """What tells an appointment from all others of its tenant."""

    appointment_id: str
    user: User = NO_USER


@frozen(kw_only=True)
class AppointmentChanges:
    """What an update sets; None leaves a field as it is."""

    key: AppointmentKey
    title: str | None
    start: datetime | None
    """UTC."""
    end: datetime | None
    """UTC."""
    sets_description: bool
    """A description can be set to None, so None cannot say that it stays."""
    description: str | None
    content_type: str | None = None
    time_zone: str | None = None
    show_as: str | None = None


@frozen(kw_only=True)
class PreviewRange:
    """A part of a user's calendar: all that overlaps the time from `start` up to `end`, without it."""

    user: User
    start: datetime
    """UTC."""
    end: datetime
    """UTC, not before `start`."""


@frozen(kw_only=True)
class Position:
    """Where an appointment stands in a preview: by start, then in the order of creation."""

    start: datetime
    """UTC."""
    sequence: int
    """Of two appointments that are there, the one created later has the greater."""


@frozen(kw_only=True)
class Part:
    """Which part of a preview is wanted."""

    limit: int | None = None
    """How many appointments at most; None: any number."""
    after: Position | None = None
    """The part begins behind this position; None: with the first appointment."""
    offset: int = 0
    """How many appointments are left out at the beginning."""
    counts: bool = False
    """Whether the appointments of the whole preview are counted too."""


@frozen(kw_only=True)
class FoundPart:
    """A part of a preview, as it was at one moment."""

    appointments: Sequence[Appointment]
    end: Position | None
    """Of the last one; None: no other follows."""
    total: int
    """How many appointments the whole preview has; 0 unless they were to be counted."""
