"""What an error says about the call that raised it: whether that may have happened, and as what. It makes no calls."""

from asyncio import CancelledError
from collections.abc import Iterator
from typing import Final

from connector_async.exceptions import ConnectorError, DecodingError, OutcomeUnknownError
from connector_async.retry import may_have_happened

from .outcome import Status

_READS: Final = frozenset({"get", "preview", "GET", "HEAD", "OPTIONS", "TRACE"})
"""The operations that change nothing (RFC 9110, section 9.2.1)."""

_REPEATABLE: Final = _READS | {"create", "update", "delete", "PUT", "DELETE"}
"""The operations that may be repeated whatever kept their response away (RFC 9110, section 9.2.2). `create` is one,
since it raises an `OutcomeUnknownError` by itself when it may have happened."""


def status_of(error: BaseException) -> Status:
    """Return the status of a call that raised `error`.

    `UNKNOWN`, if the error, a member of its group or what it was raised from says that something was sent and may have
    been done:

    - an `OutcomeUnknownError`;
    - a `DecodingError` with `sent`, unless only reading failed: the server has done what it was asked for;
    - another error of a request that may have been processed, if its method is not idempotent;
    - a cancellation, such as that of the caller's own `asyncio.timeout`: something was cut off.

    All else is `FAILED`. A write that was cut off without a trace in the error, as by a sibling in a task group that
    failed, cannot be told from one that was never sent: do not share a group between writes.
    """
    return Status.UNKNOWN if any(map(_may_have_written, _chain(error))) else Status.FAILED


def appointment_id_of(error: BaseException) -> str | None:
    """Return the id under which a create has happened whose response could not be decoded; `None` without one."""
    ids = (each.appointment_id for each in _chain(error) if isinstance(each, DecodingError))
    return next((appointment_id for appointment_id in ids if appointment_id is not None), None)


def _may_have_written(error: BaseException) -> bool:
    if isinstance(error, OutcomeUnknownError | CancelledError):
        return True
    if not isinstance(error, ConnectorError) or not error.sent:
        return False
    if isinstance(error, DecodingError):
        return error.operation not in _READS
    return error.operation is not None and error.operation not in _REPEATABLE and may_have_happened(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, the members of its group, and what each was raised from.

    An error of a request counts even where `raise … from None` hides it: that is meant for readers of the traceback.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions
        left.append(each.__cause__)
        if not each.__suppress_context__ or isinstance(each.__context__, ConnectorError):
            left.append(each.__context__)
