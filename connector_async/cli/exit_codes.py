"""The exit codes of the command, and which error has which. It prints nothing."""

import enum
from collections.abc import Set as AbstractSet
from typing import Final, Self

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
from connector_async.sync.exceptions import GuardError, StateBusyError, StateUnavailableError


class ExitCode(enum.IntEnum):
    """The exit codes of the command."""

    meaning: str
    """What the code says, for help and manual."""

    def __new__(cls, code: int, meaning: str) -> Self:  # noqa: D102 - of the enumeration
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "Everything was done."
    OTHER = 1, "A failure without an exit code of its own, such as an appointment that does not exist."
    USAGE = 2, "An argument, a setting or an input is invalid; nothing was sent."
    DEAD_LETTERS = (
        3,
        "Of several inputs, at least one failed or has an unknown outcome, and perhaps all; each other one was done.",
    )
    CREDENTIALS = 4, "The credentials were rejected, or do not permit this."
    RETRYABLE = (
        5,
        "A transient failure: the same command may succeed later. After a create with an unknown outcome, look first.",
    )
    GUARD = 6, "The deletion guard stopped the run before it wrote, or later the work for a tenant."
    OUTPUT = 7, "The standard output could not be written. The standard error names what was done on the server."
    LIMIT_REACHED = 8, "A limit was reached; the next run resumes."
    NOTHING_TO_DO = 9, "There was nothing to do; only with --exit-code."
    CHANGES_PENDING = 10, "There are changes to make; only with --exit-code."
    INTERRUPTED = 130, "SIGINT ended the command."
    TERMINATED = 143, "SIGTERM ended the command."


_CODES: Final = (
    ((AuthenticationError, ForbiddenError), ExitCode.CREDENTIALS),
    (
        (
            TransportError,
            ServerError,
            RateLimitedError,
            DeadlineExceededError,
            OutcomeUnknownError,
            StateBusyError,
            StateUnavailableError,
        ),
        ExitCode.RETRYABLE,
    ),
    ((GuardError,), ExitCode.GUARD),
    ((ConnectorError,), ExitCode.OTHER),
    ((ValueError,), ExitCode.USAGE),
    ((KeyboardInterrupt,), ExitCode.INTERRUPTED),
)
"""The first entry with a class of the error decides."""


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code for an error."""
    return next((code for classes, code in _CODES if isinstance(error, classes)), ExitCode.OTHER)


def combined_exit_code(codes: AbstractSet[ExitCode], *, was_ended: bool = False) -> ExitCode:
    """Return the exit code of a command with many inputs.

    Args:
        codes: The exit code that each input would have alone.
        was_ended: Whether rejected credentials have ended the command. One input may also be forbidden alone.
    """
    if codes <= {ExitCode.DONE}:
        return ExitCode.DONE
    if was_ended:
        return ExitCode.CREDENTIALS
    for code in (ExitCode.CREDENTIALS, ExitCode.RETRYABLE):
        if codes == {code}:
            return code
    return ExitCode.DEAD_LETTERS
