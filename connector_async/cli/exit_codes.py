"""With which status the command ends, and why. It prints nothing."""

import enum

from connector_async.exceptions import (
    AuthenticationError,
    ConnectorError,
    DeadlineExceededError,
    ForbiddenError,
    OutcomeUnknownError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from connector_async.sync.exceptions import GuardError, StateBusyError


class ExitCode(enum.IntEnum):
    """The statuses of the command."""

    DONE = 0
    """All was done."""
    OTHER = 1
    """It failed in a way that no other status tells; an appointment that is not there is one."""
    USAGE = 2
    """An argument, a setting or an input breaks its rule; nothing was sent."""
    DEAD_LETTERS = 3
    """It came to its end, and some of the many inputs failed, or may have happened."""
    CREDENTIALS = 4
    """The credentials were rejected, or may not do this."""
    RETRYABLE = 5
    """What failed may pass: the same command may succeed later. After a create whose outcome is unknown, look first."""
    GUARD = 6
    """A guard kept the run from writing."""
    LIMIT_REACHED = 8
    """A limit was reached; the run can go on from where it is."""
    NOTHING_TO_DO = 9
    """There was nothing to do, and the caller asked to be told."""
    CHANGES_PENDING = 10
    """There are changes to be made, and the caller asked to be told."""
    INTERRUPTED = 130
    """SIGINT ended it."""
    TERMINATED = 143
    """SIGTERM ended it."""


_CODES = (
    ((AuthenticationError, ForbiddenError), ExitCode.CREDENTIALS),
    (
        (TransportError, ServerError, RateLimitedError, DeadlineExceededError, OutcomeUnknownError, StateBusyError),
        ExitCode.RETRYABLE,
    ),
    ((GuardError,), ExitCode.GUARD),
    ((ConnectorError,), ExitCode.OTHER),
    ((ValueError,), ExitCode.USAGE),
    ((KeyboardInterrupt,), ExitCode.INTERRUPTED),
)


def exit_code(error: BaseException) -> ExitCode:
    """Return the status after an error."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), ExitCode.OTHER)


class Tally:
    """What became of many inputs, and the status that follows from it."""

    def __init__(self) -> None:
        self._done = 0
        self._failures: set[ExitCode] = set()

    def add(self, failure: ExitCode | None) -> None:
        """One more has come: it is done when `failure` is `None`."""
        if failure is None:
            self._done += 1
        else:
            self._failures.add(failure)

    def exit_code(self) -> ExitCode:
        """Return the status of the whole.

        Rejected credentials come first, since they ended it; when nothing was done and all of it may pass, so may the
        whole.
        """
        if not self._failures:
            return ExitCode.DONE
        if ExitCode.CREDENTIALS in self._failures:
            return ExitCode.CREDENTIALS
        if self._failures == {ExitCode.RETRYABLE} and not self._done:
            return ExitCode.RETRYABLE
        return ExitCode.DEAD_LETTERS
