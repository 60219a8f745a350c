"""The value of a field that the caller does not set."""

import enum
from typing import Final, Literal


class Unset(enum.Enum):
    """The type of `UNSET`, which is false, as `None` is."""

    UNSET = "UNSET"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return self.name


UNSET: Final = Unset.UNSET
"""The value of a field that the caller does not set. It is not sent, whereas `None` is sent as `null`."""
