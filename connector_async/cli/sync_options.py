"""The options that the commands of the bulk sync share."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
from cyclopts import Group, Parameter

from connector_async._checks import check_seconds
from connector_async._clock import Clock
from connector_async._files import check_replaceable
from connector_async.sync.budget import Budget
from connector_async.sync.formats import FileFormat
from connector_async.sync.guard import MaxDelete
from connector_async.sync.planning.options import GRACE, ConflictRules, Mode, SyncOptions, SyncSettings
from connector_async.sync.planning.three_way import Policy
from connector_async.sync.scope import Scope
from connector_async.sync.state.db.errors import file_errors
from connector_async.wire import WireFormat

from .options import SETTINGS
from .parsing import instant

SourceFile = Annotated[
    Path, Parameter(name="SOURCE", help="What there should be: a file that ends in .jsonl, .ndjson, .csv or .ics.")
]

_RULES = Group("ConflictRules", sort_key=2)
_WORK = Group("Work", sort_key=3)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class StateFile:
    """Where it is remembered what was in step."""

    state: Annotated[
        str | None, Parameter(group=SETTINGS, help="The file of the state; connector-async.db in this folder.")
    ] = None

    def flags(self) -> dict[str, Any]:
        """Return what is given, by the names of settings; `None`: not given."""
        return {"state": self.state}


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class HeldState(StateFile):
    """A state that no other run may work with meanwhile."""

    wait: Annotated[float, Parameter(group=_WORK, help="Seconds to wait for a run that works with the state.")] = 0.0


@Parameter(name="*", group=_RULES)
@attrs.frozen(kw_only=True)
class PullRules:
    """Which time is looked at, and how much may be gone from it."""

    start: Annotated[
        str | None, Parameter(help="As 2024-01-15T10:00:00Z: what ends before is neither looked at nor deleted.")
    ] = None
    end: Annotated[str | None, Parameter(help="What begins later is neither looked at nor deleted.")] = None
    window: Annotated[
        timedelta | None, Parameter(help="Reference: how long a time is previewed at once, as 7d or 12h.")
    ] = None
    max_delete: Annotated[
        str, Parameter(help="N or N%: how much of a user, of a tenant and of the whole may be deleted at once.")
    ] = "50%"

    def scope(self, wire_format: WireFormat, *, looks: bool) -> Scope:
        """Return the time.

        Args:
            wire_format: In which the server will be asked for it.
            looks: Whether it will be asked.

        Raises:
            ValueError: An end is no instant, or is missing, or there is a window that cannot be asked for.
        """
        if self.window is not None and not wire_format.carries_user:
            raise ValueError("--window must be left out: with the guide, the server is asked for no time")
        if looks and wire_format.carries_user and (self.start is None or self.end is None):
            raise ValueError("--start and --end must be given: without both, the reference does not show anything")
        return Scope(
            start=None if self.start is None else instant("start", self.start),
            end=None if self.end is None else instant("end", self.end),
        )

    def limit(self) -> MaxDelete:
        """Return how much may be deleted.

        Raises:
            ValueError: It is neither a number nor a share.
        """
        return MaxDelete.parse(self.max_delete)


@Parameter(name="*", group=_RULES)
@attrs.frozen(kw_only=True)
class CheckRules(PullRules):
    """How a source is compared with the server."""

    source_format: Annotated[FileFormat | None, Parameter(help="What the source is; by its suffix, unless told.")] = (
        None
    )
    conflict: Annotated[
        Literal["local", "remote", "newer", "fail"], Parameter(help="Who wins where both sides have changed one.")
    ] = "local"
    allow_empty: Annotated[
        bool, Parameter(negative="", help="A tenant of which the source has no record may lose what is known of it.")
    ] = False

    def plan(self, mode: Mode, wire_format: WireFormat, *, retry_run: str | None = None) -> SyncOptions:
        """Return how to go about it.

        Raises:
            ValueError: An option breaks its rule.
        """
        return SyncOptions(
            mode=mode,
            rules=ConflictRules(policy=Policy(self.conflict)),
            scope=self.scope(wire_format, looks=mode is not Mode.TRUST),
            window=self.window,
            max_delete=self.limit(),
            allow_empty=self.allow_empty,
            retry_run=retry_run,
        )


@Parameter(name="*", group=_RULES)
@attrs.frozen(kw_only=True)
class RunRules(CheckRules):
    """How a source is brought into step with the server."""

    mode: Annotated[
        Literal["trust", "check", "two-way"],
        Parameter(
            help="What of the server is looked at: nothing; the calendars in which the source has changed something; "
            "or all of them, and what has changed there is written into the source."
        ),
    ] = "trust"


@Parameter(name="*", group=_WORK)
@attrs.frozen(kw_only=True)
class PerformanceOptions:
    """How hard it is tried."""

    grace: Annotated[
        float, Parameter(help="Seconds that the server may take to show a create whose answer was lost.")
    ] = GRACE
    concurrency: Annotated[int, Parameter(help="How many operations of a tenant are under way at a time.")] = 4
    passes: Annotated[int, Parameter(help="How often a calendar is gone through while something in it may pass.")] = 3
    read_first: Annotated[
        bool, Parameter(negative="", help="Read before each update, for servers that replace the whole.")
    ] = False

    def settings(self, wire_format: WireFormat) -> SyncSettings:
        """Return it as the sync takes it.

        Raises:
            ValueError: An option is out of its range.
        """
        return SyncSettings(
            wire_format=wire_format,
            grace=self.grace,
            concurrency=self.concurrency,
            passes=self.passes,
            read_first=self.read_first,
        )


@Parameter(name="*", group=_WORK)
@attrs.frozen(kw_only=True)
class LimitOptions:
    """When it ends before the work does, and what is told then."""

    max_requests: Annotated[int | None, Parameter(help="Requests after which nothing more is begun.")] = None
    max_duration: Annotated[float | None, Parameter(help="Seconds after which nothing more is begun.")] = None
    stop_timeout: Annotated[
        float, Parameter(help="Seconds that what is under way may take after SIGINT or SIGTERM.")
    ] = 30.0
    dead_letters: Annotated[
        Path | None, Parameter(help="Where to write what was given up: JSON Lines, no personal data.")
    ] = None
    exit_code: Annotated[bool, Parameter(negative="", help="End with 9 when there was nothing to do.")] = False

    def budget(self) -> Budget:
        """Return the limits as the sync takes them, once it is clear that the end can be told.

        Raises:
            ValueError: One is not above zero.
            StateError: The dead letters cannot be written where they should be.
        """
        if self.dead_letters is not None:
            with file_errors(self.dead_letters):
                check_replaceable(self.dead_letters)
        check_seconds("stop_timeout", self.stop_timeout)
        return Budget(Clock(), max_requests=self.max_requests, max_duration=self.max_duration)
