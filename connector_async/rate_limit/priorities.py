"""Which calls of a tenant go first. The class of a call is that of its context."""

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Priority(enum.Enum):
    """The class of a call under the rate limit of its tenant."""

    INTERACTIVE = "interactive"
    """Somebody waits for it: it takes the next slot at once. Unless told otherwise it has a deadline of 60 seconds."""
    BULK = "bulk"
    """One of many: of those that wait in one event loop only the first holds a slot. It has no deadline unless told."""


priority: ContextVar[Priority] = ContextVar("connector_async.priority", default=Priority.INTERACTIVE)
"""The class of the calls of this context. `bulk()`, the `*_many` operations and the sync set `Priority.BULK` for the
calls that they make."""


@contextmanager
def bulk_priority() -> Iterator[None]:
    """Make the calls in the body bulk calls."""
    token = priority.set(Priority.BULK)
    try:
        yield
    finally:
        priority.reset(token)
