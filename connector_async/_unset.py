"""The value of a field that the caller does not set."""

import enum
from typing import Final


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return self.name


UNSET: Final = Unset.UNSET
"""The value of a field that the caller does not set. It is not sent, whereas `None` is sent as `null`."""
