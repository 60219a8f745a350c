"""Errors leave this package without the frames that they were raised in.

Error reporters send the locals of each frame of a traceback along. The frames that send a request and read its response
hold the bearer token, the client secret, and titles and descriptions. So each function through which errors leave drops
the frames below its own, and removes from its own what is secret or personal. A cancellation is treated alike: it is
the `__cause__` of the `TimeoutError` that `asyncio.timeout` raises. The message of the error stays, with its
attributes and its causes. An exception of another kind, such as one of a hook, gets a note of the place
where it was raised.
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
    """Return `error` without the frames of its traceback, and of all that it was raised from.

    Call it outside of the handler that caught `error`: an exception that is being handled there is the application's
    own, and is left as it is.
    """
    drop_frames(error, spared=sys.exception())
    return error


def drop_frames(error: BaseException, *, spared: BaseException | None = None) -> None:
    """Drop the frames of the traceback of `error`, and of all that it was raised from, but for `spared`."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        link = pending.pop()
        if link is None or link is spared or id(link) in seen:
            continue
        seen.add(id(link))
        if not isinstance(link, ConnectorError | asyncio.CancelledError):
            _note_place(link)
        link.with_traceback(None)  # an exception may refuse to have its attributes set
        pending += [link.__cause__, link.__context__]
        if isinstance(link, BaseExceptionGroup):
            pending += link.exceptions


def hiding_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Return `function` with the frames cut from its `TypeError` and `ValueError`, its own included.

    For a constructor that is given a secret.
    """

    @functools.wraps(function)
    def hiding(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError) as error:
            error.__traceback__ = None
            raise  # which adds no frame of this one's

    return hiding


def _note_place(error: BaseException) -> None:
    frames = list(walk_tb(error.__traceback__))[: -_MOST_FRAMES - 1 : -1]
    if not frames or any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
        return
    places = (f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line})" for frame, line in frames)
    with contextlib.suppress(Exception):  # such as a frozen dataclass
        error.add_note(_NOTE + ", called by ".join(places))
