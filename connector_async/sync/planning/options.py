"""How a run goes about its work."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

import attrs

from connector_async._checks import check_text, check_type, validator
from connector_async.appointments import AppointmentService
from connector_async.sync.guard import MaxDelete
from connector_async.sync.records import Calendar
from connector_async.sync.scope import Scope, Selection
from connector_async.wire import WireFormat

from .operations import ConflictRules
from .three_way import Mode

Services = Callable[[Calendar], AppointmentService]
"""Returns the service of a calendar, over a session for its tenant."""

MAX_DELETE: Final = MaxDelete(share=0.5)


def check_window(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """Refuse, as a validator of attrs, what is not a duration above zero, or `None`.

    Raises:
        ValueError: It is zero or less.
        TypeError: It is of another type.
    """
    if value is not None:
        check_type(field.name, value, timedelta)
    if isinstance(value, timedelta) and value <= timedelta(0):
        raise ValueError(f"{field.name} must be above zero")


def check_time(wire_format: WireFormat, scope: Scope, window: timedelta | None, *, looks: bool) -> None:
    """Refuse a time that a wire format cannot ask for.

    Raises:
        ValueError: There is a window although the server is asked for no time, or an end is missing although both are
            asked for.
    """
    if window is not None and not wire_format.carries_user:
        raise ValueError(f"window must be None: {wire_format} asks the server for no time")
    if looks and wire_format.carries_user and None in (scope.start, scope.end):
        raise ValueError(f"scope must have a start and an end: {wire_format} asks the server for both")


@attrs.frozen(kw_only=True)
class SyncOptions:
    """How a run goes about its work.

    Raises:
        ValueError: A field is out of its range; the message names it.
        TypeError: A field is of another type.
    """

    mode: Mode = attrs.field(default=Mode.TRUST, validator=validator(check_type, Mode))
    """What of the server is looked at."""
    rules: ConflictRules = attrs.field(factory=ConflictRules, validator=validator(check_type, ConflictRules))
    """Who wins."""
    scope: Scope = attrs.field(factory=Scope, validator=validator(check_type, Scope))
    """Which time the source speaks of, and is looked at."""
    window: timedelta | None = attrs.field(default=None, validator=check_window)
    """How long a time is previewed at once; `None`: the whole scope."""
    max_delete: MaxDelete = attrs.field(default=MAX_DELETE, validator=validator(check_type, MaxDelete))
    """How much may be deleted at once."""
    allow_empty: bool = attrs.field(default=False, validator=validator(check_type, bool))
    """Whether a tenant of which the source has no record may lose what is known of it."""
    retry_run: str | None = attrs.field(default=None, validator=validator(check_text, optional=True))
    """The run whose dead letters are tried again, and nothing else; `None`: everything but dead letters."""

    def selection(self, withheld: Iterable[str]) -> Selection:
        """Return which differences are meant; of the tenants in `withheld` nothing is deleted."""
        return Selection(scope=self.scope, withheld=tuple(withheld), retry_run=self.retry_run)

    def check(self, wire_format: WireFormat) -> None:
        """Refuse what a wire format cannot do.

        Raises:
            ValueError: It has windows although previews are asked for no time, or no ends although they have to be.
        """
        check_time(wire_format, self.scope, self.window, looks=self.mode is not Mode.TRUST)

    def conditions(self) -> str:
        """Return what has to be the same for a run to go on with one that was ended early."""
        return repr((self.scope.as_texts(), self.window, self.retry_run))
