"""What a bulk tells while it runs. It draws nothing."""

from typing import Any, Protocol, runtime_checkable

from connector_async._checks import check_plain_methods

from .outcome import Outcome


@runtime_checkable
class ProgressListener(Protocol):
    """Is told of each outcome as it is taken; what it raises ends the loop that takes them.

    After a `begin` that returned there is one `end`, whatever happens between them. After a `begin` that raised there
    is none: nothing has begun then, no outcome has been taken, and the listener has cleaned up by itself.
    """

    def begin(self, total: int | None) -> None:
        """So many outcomes will come; `None`: nobody knows."""
        ...

    def advance(self, outcome: Outcome[Any, Any]) -> None:
        """One more has come."""
        ...

    def end(self) -> None:
        """No more will come: all have, or the loop that takes them was left."""
        ...


def check_progress(progress: ProgressListener | None, total: int | None) -> None:
    """Raise when a listener could not be told, or not of so many.

    Raises:
        ValueError: `total` is negative.
        TypeError: `progress` lacks a method, has one that is a coroutine function, or is a class and no instance; or
            `total` is no int.
    """
    if progress is not None and (isinstance(progress, type) or not isinstance(progress, ProgressListener)):
        raise TypeError(f"progress must be a ProgressListener or None, not {type(progress).__name__}")
    if progress is not None:
        check_plain_methods("progress", progress, "begin", "advance", "end")
    if total is None:
        return
    if isinstance(total, bool) or not isinstance(total, int):
        raise TypeError(f"total must be an int or None, not {type(total).__name__}")
    if total < 0:
        raise ValueError("total must be zero or more")
