"""The retry quota: while a server fails for long, retries must not multiply its load.

It knows neither errors nor requests. The figures are those of botocore's standard mode.
"""

from typing import Final, Protocol, runtime_checkable

from connector_async._checks import check_int
from connector_async._shared_lock import SharedLock

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

    __slots__ = ("_available", "_capacity")

    def __init__(self, capacity: int = CAPACITY) -> None:
        if type(capacity) is not int or capacity < 0:  # cheap: each new tenant comes here
            check_int("capacity", capacity, minimum=0)
        self._capacity = self._available = capacity

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
        with SharedLock.lock:
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
        with SharedLock.lock:
            self._available = min(self._capacity, self._available + amount)


@runtime_checkable
class RetryQuotaStore(Protocol):
    """Keeps retry quotas by key. A `RateLimitStore` that is one, too, shares the retry quota of each tenant."""

    async def spend_quota(self, key: str, cost: int, *, refund: int, capacity: int) -> int | None:
        """Give back `refund`, up to `capacity`, then take `cost`. A new key has all of its capacity.

        Returns:
            What is left. `None`: that much is not left, and nothing was changed.
        """
        ...


class SharedRetryQuota:
    """The budget of all retries of one tenant, in a store that processes share. It is thread-safe.

    A retry is one round trip. Refunds are sent with the next retry, or when they amount to one. Those of a process that
    ends before are lost.
    """

    __slots__ = ("_key", "_left", "_refund", "_store")

    def __init__(self, key: str, store: RetryQuotaStore) -> None:
        self._key = key
        self._store = store
        self._left = CAPACITY
        """What was left when this process last spent or refunded something."""
        self._refund = 0
        """What is to be given back."""

    @property
    def available(self) -> int:
        """The amount that is left, as far as this process knows."""
        return min(CAPACITY, self._left + self._refund)

    @property
    def is_refund_due(self) -> bool:
        """Whether `send_refund` would send something."""
        return self._refund >= RETRY_COST

    def refund(self, amount: int) -> None:
        """Note what `send_refund` or the next retry gives back. While nothing is spent this does nothing."""
        if self._left + self._refund < CAPACITY:
            with SharedLock.lock:
                self._refund += amount

    async def send_refund(self) -> None:
        """Give back what was noted."""
        await self.spend(0)

    async def spend(self, cost: int) -> bool:
        """Take `cost` if that much is left, and return whether it was taken."""
        with SharedLock.lock:
            refund, self._refund = self._refund, 0
        left = await self._store.spend_quota(self._key, cost, refund=refund, capacity=CAPACITY)
        with SharedLock.lock:
            if left is None:
                self._left = min(self._left, cost - 1)
                self._refund += refund
            else:
                self._left = left
        return left is not None
