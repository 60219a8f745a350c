"""The rate limit of a sandbox: how many requests of each tenant are admitted in a window. It is off by default.

This module knows nothing of requests and responses; the clock is passed in.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

import attrs
from attrs import field, frozen, validators

# A floating-point sum may fall just short, but a client that waits for the returned seconds must be admitted.
_ROUNDING: Final = 1e-9


class LimitWindow(Enum):
    """The window over which requests are counted. A rejected request is not counted in any of them."""

    FIXED = "fixed"
    """Consecutive periods; the first one starts with the tenant's first request."""
    SLIDING = "sliding"
    """The period that ends now."""
    TOKEN_BUCKET = "token-bucket"  # noqa: S105 - an algorithm's name
    """A bucket that starts full and refills at a constant rate, from empty to full in one period."""


@frozen(kw_only=True)
class SandboxLimit:
    """How many requests each tenant may make, and how the sandbox rejects more of them.

    The contract states 60 requests per minute. Scope, window and response are open points of it.
    """

    requests: int = field(default=60, validator=validators.ge(1))
    """Requests of one tenant in a period, including token requests and requests that fail for another reason."""
    per: float = field(default=60.0, validator=[validators.gt(0), validators.lt(math.inf)])
    """Length of the period in seconds."""
    window: LimitWindow = LimitWindow.FIXED
    status: int = field(default=429, validator=validators.in_((429, 503)))
    """Status for a rejected request: 429 (RFC 6585) or 503 (RFC 9110)."""
    retry_after: bool = True
    """Whether the response has `Retry-After`: the seconds until a request is admitted, rounded up."""


# `admit` counts a request and returns 0, or returns the seconds until a request will be admitted.
@attrs.define
class _FixedWindow:
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
class _SlidingWindow:
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


_Window = _FixedWindow | _SlidingWindow | _TokenBucket
_WINDOW_CLASSES: Final[Mapping[LimitWindow, Callable[[SandboxLimit, float], _Window]]] = {
    LimitWindow.FIXED: _FixedWindow,
    LimitWindow.SLIDING: _SlidingWindow,
    LimitWindow.TOKEN_BUCKET: _TokenBucket,
}


class RequestLimiter:
    """Counts the requests of each tenant against the limit."""

    def __init__(self, limit: SandboxLimit, *, monotonic: Callable[[], float]) -> None:
        self.limit: Final = limit
        self._monotonic = monotonic
        self._windows: dict[str, _Window] = {}

    def admit(self, tenant: str) -> float:
        """Return 0 and count the request if it is admitted, else the seconds until a request will be admitted."""
        now = self._monotonic()
        window = self._windows.get(tenant)
        if window is None:
            window = self._windows[tenant] = _WINDOW_CLASSES[self.limit.window](self.limit, now)
        return window.admit(now)
