"""The part of the differences between the source and the server that a run acts on. It knows no database."""

from datetime import datetime, timedelta
from typing import Final, Self

import attrs

from connector_async._checks import check_time_range
from connector_async.models import Appointment, NewAppointment

from .records import sortable

_MARGIN: Final = timedelta(minutes=1)


@attrs.frozen(kw_only=True)
class Scope:
    """The range of time that the source covers. An appointment outside of it is never deleted.

    Raises:
        ValueError: If an end is naive or outside the years 1 to 9999 in UTC, or `end` is before `start`.
        TypeError: If an end is not a datetime.
    """

    start: datetime | None = None
    """Aware; kept in UTC. `None` if there is no start."""
    end: datetime | None = None
    """Aware; kept in UTC. `None` if there is no end."""

    def __attrs_post_init__(self) -> None:
        for name, instant in zip(("start", "end"), check_time_range(self.start, self.end), strict=True):
            object.__setattr__(self, name, instant)  # frozen for others

    @classmethod
    def around(cls, start: datetime, end: datetime) -> Self:
        """Return a range that is wider by a minute at each end, since a server may round times to minutes."""
        return cls(
            start=start - min(_MARGIN, start - datetime.min.replace(tzinfo=start.tzinfo)),
            end=end + min(_MARGIN, datetime.max.replace(tzinfo=end.tzinfo) - end),
        )

    def contains(self, instant: datetime) -> bool:
        """Return whether an aware instant is in the range, which ends before `end`."""
        return (self.start is None or instant >= self.start) and (self.end is None or instant < self.end)

    def overlaps(self, appointment: Appointment | NewAppointment) -> bool:
        """Return whether an appointment overlaps the range."""
        starts_before_end = self.end is None or appointment.start_time < self.end
        is_after_start = self.start is None or appointment.end_time > self.start or appointment.start_time >= self.start
        return starts_before_end and is_after_start

    def bounds(self) -> tuple[str | None, str | None]:
        """Return both ends as the state stores date-times; `None` where the range is open."""
        start = None if self.start is None else sortable(self.start)
        return start, None if self.end is None else sortable(self.end)


@attrs.frozen(kw_only=True)
class Selection:
    """The differences that a run acts on."""

    scope: Scope = attrs.field(factory=Scope)
    """The range of time that the source covers."""
    expanded: Scope | None = None
    """The range of time within which the source has occurrences of recurring events; `None`: it has none. An occurrence
    outside of it is not deleted: it has left the range, not the source."""
    withheld: tuple[str, ...] = ()
    """The tenants that keep every appointment, since one of their records could not be read."""
    retry_run: str | None = None
    """The run whose dead letters are retried, and nothing else; `None` for everything but dead letters."""
