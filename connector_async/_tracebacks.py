"""Errors leave this package without its inner frames.

Error reporters send the locals of each frame of a traceback along. The frames that send a request and read its response
hold the bearer token, the client secret, and titles and descriptions. So each function through which errors leave drops
the frames below its own, and deletes its own locals that are secret or personal. Cancellations are treated alike, since
`asyncio.timeout` raises a `TimeoutError` with the cancellation as `__cause__`. An error keeps its message, attributes
and causes. An exception of another kind, such as one from a hook, gets a note that says where it was raised.
"""

import asyncio
import contextlib
import functools
import sys
from collections.abc import Callable
from traceback import walk_tb
from typing import Final, ParamSpec, TypeVar

from .exceptions import ConnectorError

E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
T = TypeVar("T")

_NOTE: Final = "raised in "
_MOST_FRAMES: Final = 5


def without_frames(error: E) -> E:
    """Return `error` without the frames of its traceback and of its causes.

    Call it outside the handler that caught `error`. An exception that is being handled there is the application's, and
    is left as it is.
    """
    drop_frames(error, keep=sys.exception())
    return error


def drop_frames(error: BaseException, *, keep: BaseException | None = None) -> None:
    """Drop the frames of the tracebacks of `error` and of its causes, except for those of `keep`."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        link = pending.pop()
        if link is None or link is keep or id(link) in seen:
            continue
        seen.add(id(link))
        if not isinstance(link, ConnectorError | asyncio.CancelledError):
            _note_place(link)
        link.with_traceback(None)  # an exception may have read-only attributes
        pending += [link.__cause__, link.__context__]
        if isinstance(link, BaseExceptionGroup):
            pending += link.exceptions


def hiding_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that gets a secret, so that its `TypeError` and `ValueError` have no frames of it."""

    @functools.wraps(function)
    def hiding(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError) as error:
            error.__traceback__ = None
            raise  # adds only the frame of the caller

    return hiding


def _note_place(error: BaseException) -> None:
    frames = list(walk_tb(error.__traceback__))[: -_MOST_FRAMES - 1 : -1]
    if not frames or any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
        return
    places = (f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line})" for frame, line in frames)
    with contextlib.suppress(Exception):  # such as a frozen dataclass
        error.add_note(_NOTE + ", called by ".join(places))
