"""The rate limit: how many requests of a tenant are admitted by what window. Off unless a sandbox is given one.

It knows neither requests nor answers; what time it is, it is told.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

import attrs
from attrs import field, frozen, validators

# Sums and differences of binary fractions may fall just short; whoever waits as told is to be admitted.
_ROUNDING: Final = 1e-9


class LimitWindow(Enum):
    """Over what the requests are counted; a refused request is not counted in any of them."""

    FIXED = "fixed"
    """Periods one after the other, the first of which starts with the tenant's first request."""
    SLIDING = "sliding"
    """The period that ends now."""
    TOKEN_BUCKET = "token-bucket"  # noqa: S105 - an algorithm's name
    """A bucket that starts full and refills steadily, over one period from empty to full."""


@frozen(kw_only=True)
class SandboxLimit:
    """How many requests each tenant may make, and how more of them are refused.

    The contract tells 60 per minute; scope, window and refusal are open points of it.
    """

    requests: int = field(default=60, validator=validators.ge(1))
    """Of one tenant, token requests and refused ones of every other kind included."""
    per: float = field(default=60.0, validator=[validators.gt(0), validators.lt(math.inf)])
    """Seconds."""
    window: LimitWindow = LimitWindow.FIXED
    status: int = field(default=429, validator=validators.in_((429, 503)))
    """Of a refusal: 429 (RFC 6585) or 503 (RFC 9110)."""
    retry_after: bool = True
    """Whether a refusal tells in `Retry-After` after how many seconds, rounded up, a request is admitted."""


# Each `admit` counts a request and returns 0, or returns after how many seconds one will be admitted.
@attrs.define
class _Fixed:
    _limit: SandboxLimit
    _start: float
    _count: int = 0

    def admit(self, now: float) -> float:
        periods = math.floor((now - self._start) / self._limit.per + _ROUNDING)
        if periods > 0:
            self._start += periods * self._limit.per
            self._count = 0
        if self._count == self._limit.requests:
            return self._start + self._limit.per - now
        self._count += 1
        return 0


@attrs.define
class _Sliding:
    _limit: SandboxLimit
    _start: float
    _admitted: deque[float] = field(init=False, factory=deque)

    def admit(self, now: float) -> float:
        while self._admitted and now - self._admitted[0] >= self._limit.per - _ROUNDING:
            self._admitted.popleft()
        if len(self._admitted) == self._limit.requests:
            return self._admitted[0] + self._limit.per - now
        self._admitted.append(now)
        return 0


class _TokenBucket:
    def __init__(self, limit: SandboxLimit, now: float) -> None:
        self._limit = limit
        self._tokens = float(limit.requests)
        self._filled_at = now

    def admit(self, now: float) -> float:
        rate = self._limit.requests / self._limit.per
        self._tokens = min(float(self._limit.requests), self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._tokens < 1 - _ROUNDING:
            return (1 - self._tokens) / rate
        self._tokens -= 1
        return 0


_Window = _Fixed | _Sliding | _TokenBucket
_KINDS: Final[Mapping[LimitWindow, Callable[[SandboxLimit, float], _Window]]] = {
    LimitWindow.FIXED: _Fixed,
    LimitWindow.SLIDING: _Sliding,
    LimitWindow.TOKEN_BUCKET: _TokenBucket,
}


class Limiter:
    """Counts the requests of each tenant."""

    def __init__(self, limit: SandboxLimit, *, monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._windows: dict[str, _Window] = {}

    def admit(self, tenant: str) -> float:
        """Count a request of the tenant.

        Returns:
            0 when it is admitted, else the seconds until one will be; such a request is not counted.
        """
        now = self._monotonic()
        window = self._windows.get(tenant)
        if window is None:
            window = self._windows[tenant] = _KINDS[self._limit.window](self._limit, now)
        return window.admit(now)
