"""What keeps a bulk sync from beginning or going on. Each is picklable and holds no personal data.

SyncError
├─ StateError              the state cannot be used: not readable, not writable, full, damaged
│  ├─ StateBusyError       another run works with it
│  ├─ StateVersionError    a newer version of this package wrote it
│  └─ FencedError          another run has taken over: nothing more may be written by this one
├─ SourceError             the source cannot be read at all; a single bad record is a `SourceProblem` instead
├─ GuardError              more would be deleted than may be; nothing was written
└─ StalePlanError          the state has changed since the plan was made
"""

from connector_async.exceptions import SyncError


class StateError(SyncError):
    """The state cannot be used: it is not readable, not writable, damaged, or there is no room for it."""


class StateBusyError(StateError):
    """Another run works with the state."""


class StateVersionError(StateError):
    """A newer version of this package has written the state, and this one does not know how to read it."""


class FencedError(StateError):
    """Another run has taken the lease over, so that this one must not write any more."""


class SourceError(SyncError):
    """The source cannot be read at all."""


class GuardError(SyncError):
    """More would be deleted than the guard lets pass. Nothing was written."""


class StalePlanError(SyncError):
    """The state has changed since the plan was made, so that it may not be applied any more."""
