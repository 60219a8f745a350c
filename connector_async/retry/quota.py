"""The retry quota: while a server fails for long, retries must not multiply its load.

It knows neither errors nor requests. The figures are those of botocore's standard mode.
"""

import threading
from typing import Final

from connector_async._checks import check_int

CAPACITY: Final = 500
RETRY_COST: Final = 14
THROTTLED_RETRY_COST: Final = 5
REFUND_WITHOUT_RETRY: Final = 1


class RetryQuota:
    """The budget of all retries of one tenant. It is thread-safe.

    Args:
        capacity: The initial and largest amount.

    Raises:
        ValueError: If `capacity` is negative.
        TypeError: If `capacity` is not an int.
    """

    __slots__ = ("_available", "_capacity", "_lock")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = check_int("capacity", capacity, minimum=0)
        self._available = capacity
        self._lock = threading.Lock()

    @property
    def available(self) -> int:
        """The amount that is left."""
        return self._available

    def spend(self, cost: int) -> bool:
        """Take `cost` if that much is left, and return whether it was taken.

        Raises:
            ValueError: If `cost` is negative.
            TypeError: If `cost` is not an int.
        """
        check_int("cost", cost, minimum=0)
        with self._lock:
            if cost > self._available:
                return False
            self._available -= cost
            return True

    def refund(self, amount: int) -> None:
        """Give back `amount`, up to the capacity. While nothing is spent this does nothing.

        Raises:
            ValueError: If `amount` is negative.
            TypeError: If `amount` is not an int.
        """
        if self._available == self._capacity:
            return  # without the lock: this is so after nearly every call
        check_int("amount", amount, minimum=0)
        with self._lock:
            self._available = min(self._capacity, self._available + amount)
