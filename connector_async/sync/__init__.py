"""Keeping the appointments of many tenants in step with a local source, with every record accounted for.

The names are loaded when they are first asked for: SQLAlchemy alone takes 300 ms to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .budget import Budget, StopReason
    from .change import Change, ChangeKind
    from .decision import Conflict, ConflictCallback, Mode, Policy
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
    from .inspection import read_dead_letters, status, why
    from .job import BulkSync, Settings
    from .operations import Kind, Operation, Rules
    from .plan import Plan, Services
    from .pull import Pull, PullPlan
    from .records import Calendar, SourceProblem, SourceRecord, content_hash
    from .report import Fate, RunReport, Stopped, TenantReport
    from .runner import Job, LocalRunner, Runner
    from .saved_plan import SavedPlan, save_plan
    from .selection import Scope
    from .state import State, backup, export_state, import_state

_HOMES: Final = {
    "budget": ("Budget", "StopReason"),
    "change": ("Change", "ChangeKind"),
    "decision": ("Conflict", "ConflictCallback", "Mode", "Policy"),
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
    "inspection": ("read_dead_letters", "status", "why"),
    "job": ("BulkSync", "Settings"),
    "operations": ("Kind", "Operation", "Rules"),
    "plan": ("Plan", "Services"),
    "pull": ("Pull", "PullPlan"),
    "records": ("Calendar", "SourceProblem", "SourceRecord", "content_hash"),
    "report": ("Fate", "RunReport", "Stopped", "TenantReport"),
    "runner": ("Job", "LocalRunner", "Runner"),
    "saved_plan": ("SavedPlan", "save_plan"),
    "selection": ("Scope",),
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
    "Plan",
    "Policy",
    "Pull",
    "PullPlan",
    "RecordWriter",
    "Rules",
    "RunReport",
    "Runner",
    "SavedPlan",
    "Scope",
    "Services",
    "Settings",
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
    "TenantReport",
    "backup",
    "content_hash",
    "export_state",
    "file_mirror",
    "file_source",
    "import_state",
    "read_dead_letters",
    "save_plan",
    "status",
    "why",
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
