"""What became of one input of a bulk. It knows nothing of how calls are made."""

import enum
from typing import Generic, TypeVar

import attrs

InputT = TypeVar("InputT")
ResultT = TypeVar("ResultT")


class Status(enum.Enum):
    """What became of an input."""

    DONE = "done"
    """The call returned."""
    FAILED = "failed"
    """The call raised."""
    UNKNOWN = "unknown"
    """The call may have happened, or has: its response was lost or could not be decoded, or it was cut off. Not to be
    repeated without a look."""
    NOT_STARTED = "not_started"
    """The call was not made, since the whole had ended before."""


@attrs.frozen(kw_only=True)
class Outcome(Generic[InputT, ResultT]):
    """What became of one input."""

    index: int
    """Where the input stood, from 0."""
    input: InputT = attrs.field(repr=False)
    """The input itself."""
    status: Status
    """What became of it."""
    result: ResultT | None = attrs.field(default=None, repr=False)
    """What the call returned; `None` unless it is done."""
    error: Exception | None = None
    """What the call raised, without traceback; `None` when it raised nothing, was not made, or was cut off."""
    attempts: int | None = None
    """How many attempts the call made; `None` when it was not made, was cut off, or was none of a service."""
    elapsed: float | None = None
    """Seconds that the call took; `None` when `attempts` is."""
