"""The errors that stop a bulk sync. All are picklable, and none holds personal data.

SyncError
├─ StateError              the state cannot be used: it is not readable, not writable, full, or damaged
│  ├─ StateBusyError       another run is using the state
│  ├─ StateUnavailableError the database does not respond, or has ended a transaction
│  ├─ StateDamagedError    the file of the state is damaged
│  ├─ TargetMismatchError  the state, or the saved plan, belongs to another server
│  ├─ StateVersionError    a newer version of this package wrote the state
│  └─ FencedError          another run has taken the lease; this run must not write any more
├─ SourceError             the source cannot be read at all (a single bad record is a `SourceProblem`)
├─ GuardError              more would be deleted, or is missing on the server, than the limit allows
└─ StalePlanError          the plan was made with another state, or the state has changed since
"""

from connector_async.exceptions import SyncError


class StateError(SyncError):
    """The state cannot be used: it is not readable, not writable, damaged, or there is no room for it."""


class StateBusyError(StateError):
    """Another run is using the state."""


class StateUnavailableError(StateError):
    """The database of the state does not respond, or has ended a transaction that another one was in the way of.

    It is raised after some attempts. The next run resumes.
    """


class StateDamagedError(StateError):
    """The file of the state is damaged. The message says what to do."""


class TargetMismatchError(StateError):
    """The state or the saved plan belongs to another server than the one that is to be synced."""


class StateVersionError(StateError):
    """A newer version of this package wrote the state, and this version cannot read it."""


class FencedError(StateError):
    """Another run has taken the lease. This run must not write any more."""


class SourceError(SyncError):
    """The source cannot be read at all, or its file cannot be written."""


class GuardError(SyncError):
    """More would be deleted than the limit allows, or more is missing on the server."""


class StalePlanError(SyncError):
    """The plan was made with another state, or the state has changed since. The plan must not be applied."""
