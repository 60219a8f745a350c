"""The outcome of one input of a bulk, and how the error of a call decides its status."""

import enum
from asyncio import CancelledError
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import attrs

from connector_async.exceptions import ConnectorError, DecodingError, OutcomeUnknownError
from connector_async.retry import may_have_happened

InputT = TypeVar("InputT")
ResultT = TypeVar("ResultT")

_READS: Final = frozenset({"get", "preview", "GET", "HEAD", "OPTIONS", "TRACE"})
"""The operations that change nothing (RFC 9110, section 9.2.1)."""

_REPEATABLE: Final = _READS | {"create", "update", "delete", "request", "PUT", "DELETE"}
"""The operations that may be repeated after a lost response (RFC 9110, section 9.2.2). `create` and `request` are among
them, because they raise an `OutcomeUnknownError` themselves if something that is not idempotent may have happened."""


class Status(enum.Enum):
    """What happened to an input."""

    DONE = "done"
    """The call returned."""
    FAILED = "failed"
    """The call raised an error."""
    UNKNOWN = "unknown"
    """The call may have happened, or has: its response was lost or could not be decoded, or the call was cut off. Look
    at the server before you repeat it."""
    NOT_STARTED = "not_started"
    """The call was not made, because the bulk had ended."""


@attrs.frozen(kw_only=True)
class Outcome(Generic[InputT, ResultT]):
    """What happened to one input."""

    index: int
    """The position of the input, from 0."""
    input: InputT = attrs.field(repr=False)
    """The input itself."""
    status: Status
    """What happened."""
    result: ResultT | None = attrs.field(default=None, repr=False)
    """What the call returned. `None` unless the status is `DONE`."""
    error: Exception | None = None
    """What the call raised, without its traceback. `None` if it raised nothing, was not made, or was cut off."""
    attempts: int | None = None
    """The number of attempts of the call. `None` if it was not made, was cut off, or was not a call of a service."""
    elapsed: float | None = None
    """The duration of the call in seconds. `None` if `attempts` is."""


def status_of(error: BaseException) -> Status:
    """Return the status of a call that raised `error`.

    It is `UNKNOWN` if the error, a member of its group or one of its causes says that a write was sent and may have
    happened:

    - an `OutcomeUnknownError`;
    - a `DecodingError` with `sent` of anything but a read: the server has processed the request;
    - another error of a request that may have been processed, if its method is not idempotent;
    - a cancellation, such as that of an `asyncio.timeout` in the function: something was cut off.

    Everything else is `FAILED`. A write that was cut off without a trace in the error, for example by a failed sibling
    in a task group, cannot be distinguished from one that was never sent. So writes should not share a group.
    """
    return Status.UNKNOWN if any(map(_may_have_written, _chain(error))) else Status.FAILED


def appointment_id_of(error: BaseException) -> str | None:
    """Return the id of the appointment that a create made although its response could not be decoded, if known."""
    ids = (link.appointment_id for link in _chain(error) if isinstance(link, DecodingError))
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
    """Yield an error, the members of its group, and their causes and contexts.

    An error of a request counts even if `raise … from None` suppresses it: that is meant for readers of the traceback.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        link = pending.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            pending += link.exceptions
        pending.append(link.__cause__)
        if not link.__suppress_context__ or isinstance(link.__context__, ConnectorError):
            pending.append(link.__context__)
