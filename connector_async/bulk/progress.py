"""What a bulk tells while it runs. It draws nothing."""

from typing import Any, Protocol

from .outcome import Outcome


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
