"""The retry quota: when a server fails for long, retries must not multiply what it has to bear.

It knows neither errors nor requests. The figures are those of botocore's standard mode.
"""

import threading
from typing import Final

CAPACITY: Final = 500
RETRY_COST: Final = 14
THROTTLED_RETRY_COST: Final = 5
REFUND_WITHOUT_RETRY: Final = 1


class RetryQuota:
    """What all the retries of one tenant may cost together. It may be used from several threads.

    Args:
        capacity: How much there is at first, and at most.

    Raises:
        ValueError: `capacity` is negative.
        TypeError: `capacity` is no int.
    """

    __slots__ = ("_available", "_capacity", "_lock")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = _checked("capacity", capacity)
        self._available = capacity
        self._lock = threading.Lock()

    @property
    def available(self) -> int:
        """How much is left."""
        return self._available

    def spend(self, cost: int) -> bool:
        """Take `cost` when that much is left, and tell whether it was.

        Raises:
            ValueError: `cost` is negative.
            TypeError: `cost` is no int.
        """
        _checked("cost", cost)
        with self._lock:
            if cost > self._available:
                return False
            self._available -= cost
            return True

    def refund(self, amount: int) -> None:
        """Give back `amount`.

        Raises:
            ValueError: `amount` is negative, and there is room for more.
            TypeError: `amount` is no int, and there is room for more.
        """
        if self._available == self._capacity:
            return  # as after nearly every call, which then takes no lock
        _checked("amount", amount)
        with self._lock:
            self._available = min(self._capacity, self._available + amount)


def _checked(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} must be zero or more")
    return value
