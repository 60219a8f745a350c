"""Keeping the appointments of many tenants in step with a local source, with every record accounted for.

The names are loaded when they are first asked for: SQLAlchemy alone takes 300 ms to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .applying.scheduler import Job, LocalRunner, Runner
    from .budget import Budget, StopReason
    from .bulk_sync import BulkSync, SyncSettings
    from .change import Change, ChangeKind
    from .exceptions import (
        FencedError,
        GuardError,
        SourceError,
        StalePlanError,
        StateBusyError,
        StateError,
        StateVersionError,
    )
    from .formats import IterableSource, Mirror, RecordWriter, Source, file_mirror, file_source
    from .guard import MaxDelete
    from .planning.operations import ConflictRules, Kind, Operation
    from .planning.options import Services, SyncOptions
    from .planning.saved_plan import SavedPlan, save_plan
    from .planning.three_way import Conflict, ConflictCallback, Mode, Policy
    from .pull import Pull, PullOptions
    from .records import Calendar, SourceProblem, SourceRecord, content_hash
    from .report import Fate, RunReport, Stopped, TenantReport
    from .scope import Scope
    from .state import State, backup, export_state, import_state
    from .state.inspection import explain_key, read_dead_letters, read_status

_HOMES: Final = {
    "budget": ("Budget", "StopReason"),
    "change": ("Change", "ChangeKind"),
    "planning.three_way": ("Conflict", "ConflictCallback", "Mode", "Policy"),
    "exceptions": (
        "FencedError",
        "GuardError",
        "SourceError",
        "StalePlanError",
        "StateBusyError",
        "StateError",
        "StateVersionError",
    ),
    "formats": ("IterableSource", "Mirror", "RecordWriter", "Source", "file_mirror", "file_source"),
    "guard": ("MaxDelete",),
    "state.inspection": ("explain_key", "read_dead_letters", "read_status"),
    "bulk_sync": ("BulkSync", "SyncSettings"),
    "planning.operations": ("Kind", "Operation", "ConflictRules"),
    "planning.options": ("SyncOptions", "Services"),
    "pull": ("Pull", "PullOptions"),
    "records": ("Calendar", "SourceProblem", "SourceRecord", "content_hash"),
    "report": ("Fate", "RunReport", "Stopped", "TenantReport"),
    "applying.scheduler": ("Job", "LocalRunner", "Runner"),
    "planning.saved_plan": ("SavedPlan", "save_plan"),
    "scope": ("Scope",),
    "state": ("State", "backup", "export_state", "import_state"),
}

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
    "GuardError",
    "IterableSource",
    "Job",
    "Kind",
    "LocalRunner",
    "MaxDelete",
    "Mirror",
    "Mode",
    "Operation",
    "Policy",
    "Pull",
    "PullOptions",
    "RecordWriter",
    "RunReport",
    "Runner",
    "SavedPlan",
    "Scope",
    "Services",
    "Source",
    "SourceError",
    "SourceProblem",
    "SourceRecord",
    "StalePlanError",
    "State",
    "StateBusyError",
    "StateError",
    "StateVersionError",
    "StopReason",
    "Stopped",
    "SyncOptions",
    "SyncSettings",
    "TenantReport",
    "backup",
    "content_hash",
    "explain_key",
    "export_state",
    "file_mirror",
    "file_source",
    "import_state",
    "read_dead_letters",
    "read_status",
    "save_plan",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            try:
                globals()[name] = found = getattr(import_module(f"{__name__}.{home}"), name)
            except ModuleNotFoundError as error:
                if error.name == "sqlalchemy":
                    error.msg = "connector_async.sync needs SQLAlchemy: install connector-async[sync]"
                raise
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
