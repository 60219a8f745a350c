"""Which differences between the source and the server are meant. It knows no database."""

from datetime import datetime

import attrs

from connector_async._checks import check_time_range
from connector_async.models import Appointment

from .records import sortable


@attrs.frozen(kw_only=True)
class Scope:
    """Which time the source speaks of. What is outside of it is never taken for gone.

    Raises:
        ValueError: An end has no time zone, or lies outside the years 1 to 9999 in UTC, or they are the wrong way
            round.
        TypeError: An end is of another type.
    """

    start: datetime | None = None
    """Aware; kept in UTC. `None`: from the beginning of time."""
    end: datetime | None = None
    """Aware; kept in UTC. `None`: to its end."""

    def __attrs_post_init__(self) -> None:
        for name, instant in zip(("start", "end"), check_time_range(self.start, self.end), strict=True):
            object.__setattr__(self, name, instant)  # frozen for others

    def has(self, appointment: Appointment) -> bool:
        """Tell whether an appointment overlaps it."""
        begins = self.end is None or appointment.start_time < self.end
        is_after = self.start is None or appointment.end_time > self.start or appointment.start_time >= self.start
        return begins and is_after

    def as_texts(self) -> tuple[str | None, str | None]:
        """Return both ends as the state has instants; `None` where there is none."""
        start = None if self.start is None else sortable(self.start)
        return start, None if self.end is None else sortable(self.end)


@attrs.frozen(kw_only=True)
class Selection:
    """Which differences are meant."""

    scope: Scope = attrs.field(factory=Scope)
    """Which time the source speaks of."""
    withheld: tuple[str, ...] = ()
    """Tenants of which nothing is deleted, since a record of theirs could not be read."""
    retry_run: str | None = None
    """The run whose dead letters are tried again, and nothing else; `None`: everything but dead letters."""
