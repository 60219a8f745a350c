"""Bulk sync: keeps the appointments of many tenants in sync with a local source, and accounts for every record.

The pipeline is planning (what differs becomes operations), applying (operations are sent), and state (what is known is
remembered between runs). The names are loaded on first use: SQLAlchemy alone takes 300 ms to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .applying.scheduler import LocalRunner, Runner, Slice
    from .budget import Budget, StopReason
    from .bulk_sync import BulkSync
    from .exceptions import (
        FencedError,
        GuardError,
        SourceError,
        StalePlanError,
        StateBusyError,
        StateDamagedError,
        StateError,
        StateUnavailableError,
        StateVersionError,
        TargetMismatchError,
    )
    from .formats import (
        FieldMapping,
        IterableSource,
        MergingMirror,
        Mirror,
        RecordChange,
        RecordId,
        RecordWriter,
        Source,
        file_mirror,
        file_source,
    )
    from .guard import MaxDelete
    from .planning.operations import Kind, Operation
    from .planning.options import ConflictRules, Mode, Services, SyncOptions, SyncSettings
    from .planning.saved_plan import SavedPlan, save_plan
    from .planning.three_way import Conflict, ConflictCallback, Policy
    from .pull import Change, ChangeKind, Pull, PullOptions
    from .records import Calendar, SourceProblem, SourceRecord, content_hash
    from .report import Fate, Reason, RunReport, Stopped, TenantReport
    from .scope import Scope
    from .state import State, backup, export_state, find_damage, import_state
    from .state.inspection import explain_key, read_dead_letters, read_status

_HOMES: Final = {
    "applying.scheduler": ("LocalRunner", "Runner", "Slice"),
    "budget": ("Budget", "StopReason"),
    "bulk_sync": ("BulkSync",),
    "exceptions": (
        "FencedError",
        "GuardError",
        "SourceError",
        "StalePlanError",
        "StateBusyError",
        "StateDamagedError",
        "StateError",
        "StateUnavailableError",
        "StateVersionError",
        "TargetMismatchError",
    ),
    "formats": (
        "FieldMapping",
        "IterableSource",
        "MergingMirror",
        "Mirror",
        "RecordChange",
        "RecordId",
        "RecordWriter",
        "Source",
        "file_mirror",
        "file_source",
    ),
    "guard": ("MaxDelete",),
    "planning.operations": ("Kind", "Operation"),
    "planning.options": ("ConflictRules", "Mode", "Services", "SyncOptions", "SyncSettings"),
    "planning.saved_plan": ("SavedPlan", "save_plan"),
    "planning.three_way": ("Conflict", "ConflictCallback", "Policy"),
    "pull": ("Change", "ChangeKind", "Pull", "PullOptions"),
    "records": ("Calendar", "SourceProblem", "SourceRecord", "content_hash"),
    "report": ("Fate", "Reason", "RunReport", "Stopped", "TenantReport"),
    "scope": ("Scope",),
    "state": ("State", "backup", "export_state", "find_damage", "import_state"),
    "state.inspection": ("explain_key", "read_dead_letters", "read_status"),
}

_PACKAGES: Final = frozenset({"aiosqlite", "alembic", "dateutil", "icalendar", "sqlalchemy"})
"""What the extra `sync` installs."""

__all__ = [
    "Budget",
    "BulkSync",
    "Calendar",
    "Change",
    "ChangeKind",
    "Conflict",
    "ConflictCallback",
    "ConflictRules",
    "Fate",
    "FencedError",
    "FieldMapping",
    "GuardError",
    "IterableSource",
    "Kind",
    "LocalRunner",
    "MaxDelete",
    "MergingMirror",
    "Mirror",
    "Mode",
    "Operation",
    "Policy",
    "Pull",
    "PullOptions",
    "Reason",
    "RecordChange",
    "RecordId",
    "RecordWriter",
    "RunReport",
    "Runner",
    "SavedPlan",
    "Scope",
    "Services",
    "Slice",
    "Source",
    "SourceError",
    "SourceProblem",
    "SourceRecord",
    "StalePlanError",
    "State",
    "StateBusyError",
    "StateDamagedError",
    "StateError",
    "StateUnavailableError",
    "StateVersionError",
    "StopReason",
    "Stopped",
    "SyncOptions",
    "SyncSettings",
    "TargetMismatchError",
    "TenantReport",
    "backup",
    "content_hash",
    "explain_key",
    "export_state",
    "file_mirror",
    "file_source",
    "find_damage",
    "import_state",
    "read_dead_letters",
    "read_status",
    "save_plan",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            try:
                value = getattr(import_module(f"{__name__}.{home}"), name)
            except ModuleNotFoundError as error:
                if error.name not in _PACKAGES:
                    raise
                message = f"connector_async.sync.{name} needs {error.name}: pip install 'connector-async[sync]'"
                raise ImportError(message, name=error.name) from None
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
