"""The options of a run: what it looks at, who wins, what it may delete, and how fast it works."""

import enum
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

import attrs
import orjson

from connector_async._checks import (
    check_callable,
    check_int,
    check_seconds,
    check_text,
    check_timedelta,
    check_type,
    validator,
)
from connector_async.appointments import AppointmentService
from connector_async.exceptions import SyncError
from connector_async.sync.failures import HookError
from connector_async.sync.guard import MaxDelete
from connector_async.sync.records import Calendar
from connector_async.sync.scope import Scope, Selection
from connector_async.wire import WireFormat

from .three_way import ConflictCallback, Policy

Services = Callable[[Calendar], AppointmentService]
"""Returns the service of a calendar, over a session for its tenant."""

GRACE: Final = 30.0
MAX_DELETE: Final = MaxDelete(share=0.1, number=100)


def service_of(services: Services, calendar: Calendar) -> AppointmentService:
    """Return the service of a calendar.

    Raises:
        HookError: If `services` raises anything but a `SyncError`. That concerns this calendar alone.
    """
    try:
        return services(calendar)
    except SyncError:
        raise
    except Exception as error:  # noqa: BLE001 - the application's
        raise HookError("services", error) from None


class Mode(enum.Enum):
    """What a run looks at on the server."""

    TRUST = "trust"
    """Nothing: the server is taken to be as the last run left it. What is unchanged in the source costs no request."""
    CHECK = "check"
    """Each calendar in which the source has changed something, before anything is written to it."""
    TWO_WAY = "two-way"
    """Every known calendar: the source has a record of it, or it was in sync once. What has changed on the server alone
    is written back to the source."""


@attrs.frozen(kw_only=True)
class ConflictRules:
    """Who wins a conflict.

    Raises:
        TypeError: If a field has another type; the message names it.
    """

    policy: Policy = attrs.field(default=Policy.LOCAL, validator=validator(check_type, Policy))
    """The side that wins."""
    on_conflict: ConflictCallback | None = attrs.field(default=None, validator=validator(check_callable, optional=True))
    """Decides each conflict instead of the policy."""
    modified_field: str = attrs.field(default="lastModified", validator=validator(check_type, str))
    """The field, on the wire, in which the server says when an appointment was changed, for `Policy.NEWER`."""


@attrs.frozen(kw_only=True)
class SyncOptions:
    """What a run does.

    Raises:
        ValueError: If a field is out of its range; the message names it.
        TypeError: If a field has another type; the message names it.
    """

    mode: Mode = attrs.field(default=Mode.TRUST, validator=validator(check_type, Mode))
    """What the run looks at on the server."""
    rules: ConflictRules = attrs.field(factory=ConflictRules, validator=validator(check_type, ConflictRules))
    """Who wins a conflict."""
    scope: Scope = attrs.field(factory=Scope, validator=validator(check_type, Scope))
    """The range of time that the source covers and the run looks at."""
    window: timedelta | None = attrs.field(default=None, validator=validator(check_timedelta, optional=True))
    """The length of each preview; `None` to preview the whole scope at once."""
    max_delete: MaxDelete = attrs.field(default=MAX_DELETE, validator=validator(check_type, MaxDelete))
    """How much may be deleted at once."""
    allow_empty: bool = attrs.field(default=False, validator=validator(check_type, bool))
    """Whether a tenant without any record in the source may lose its known appointments."""
    retry_run: str | None = attrs.field(default=None, validator=validator(check_text, optional=True))
    """The run whose dead letters are retried, and nothing else; `None` for everything but dead letters."""
    assume_empty: bool = attrs.field(default=False, validator=validator(check_type, bool))
    """With `Mode.TRUST`: whether calendars that were never looked at are taken to be empty. Otherwise the run looks at
    them before it creates anything there, so that what exists already is recognized."""
    rebind: bool = attrs.field(default=False, validator=validator(check_type, bool))
    """Whether a state of another server forgets what it knows, and belongs to this server from now on."""
    tenants: frozenset[str] | None = attrs.field(
        default=None, validator=validator(check_type, frozenset, optional=True)
    )
    """The tenants to sync; everything else in the source and in the state is left alone. `None`: all. It must be `None`
    with `rebind` and in a two-way run, which concern the whole source."""

    def __attrs_post_init__(self) -> None:
        if self.tenants is not None and self.rebind:
            raise ValueError("tenants must be None with rebind, which concerns the whole source")

    @property
    def looks_at_all_calendars(self) -> bool:
        """Whether the run also looks at the calendars in which the source has changed nothing."""
        return self.mode is Mode.TWO_WAY and self.retry_run is None

    def selection(self, withheld: Iterable[str], expanded: Scope | None) -> Selection:
        """Return the differences to act on.

        Args:
            withheld: The tenants that keep every appointment.
            expanded: The range of time within which the source has occurrences of recurring events.
        """
        return Selection(scope=self.scope, expanded=expanded, withheld=tuple(withheld), retry_run=self.retry_run)

    def check(self, wire_format: WireFormat) -> None:
        """Reject options that the wire format cannot serve.

        Raises:
            ValueError: If there is a window and previews have no range of time, or if an end of the scope is missing
                and previews need both.
        """
        check_preview_range(wire_format, self.scope, self.window, looks=self.mode is not Mode.TRUST)

    def conditions(self) -> str:
        """Return what must be the same for a run to resume one that was ended early, as a JSON object."""
        start, end = self.scope.bounds()
        window = None if self.window is None else self.window.total_seconds()
        conditions: dict[str, Any] = {"start": start, "end": end, "window": window, "retry_run": self.retry_run}
        if self.tenants is not None:
            conditions["tenants"] = sorted(self.tenants)
        return orjson.dumps(conditions).decode()


@attrs.frozen(kw_only=True)
class SyncSettings:
    """How a sync works: the wire format, the concurrency, and the waits.

    Raises:
        ValueError: If a number is out of its range; the message names it.
        TypeError: If a value has another type; the message names it.
    """

    wire_format: WireFormat = attrs.field(default=WireFormat.GUIDE, validator=validator(check_type, WireFormat))
    """The wire format of the services' sessions."""
    concurrency: int = attrs.field(default=4, validator=validator(check_int))
    """How many operations of a tenant are in flight at a time."""
    grace: float = attrs.field(default=GRACE, validator=validator(check_seconds))
    """The seconds that the server may take to show what it was sent. If that is too short, an appointment is created
    twice when the response to its create is lost. For so long after a write, a look that does not show it says nothing
    about its key."""
    passes: int = attrs.field(default=3, validator=validator(check_int))
    """How often a calendar is worked through at most, as long as something in it fails transiently."""
    pause: float = attrs.field(default=5.0, validator=validator(check_seconds))
    """The seconds between two passes."""
    read_first: bool = attrs.field(default=False, validator=validator(check_type, bool))
    """Whether an update reads the appointment first, for servers that replace the whole appointment with a PUT."""

    def recent(self, now: float) -> tuple[float, float]:
        """Return the times between which a write is so recent that a look may not show it.

        A time in the future was written before the wall clock was set back. It is recent for a grace period, and then
        is not believed.

        Args:
            now: The time of the look, in seconds since 1970 in UTC.
        """
        return now - self.grace, now + self.grace


def check_preview_range(wire_format: WireFormat, scope: Scope, window: timedelta | None, *, looks: bool) -> None:
    """Reject a range of time that previews in a wire format cannot have.

    Raises:
        ValueError: If there is a window and previews have no range, or if an end is missing and previews need both
            ends. Without `looks`, nothing is previewed, and an end may be missing.
    """
    if window is not None and not wire_format.carries_user:
        raise ValueError(f"window must be None: {wire_format} previews have no time range")
    if looks and wire_format.carries_user and None in (scope.start, scope.end):
        raise ValueError(f"scope must have a start and an end: {wire_format} previews need both")
