"""`RateLimit`: how many requests a tenant may send in how many seconds, and how many of them at once."""

import math
import sys
from typing import Any, Final, Self

import attrs

from connector_async._checks import check_seconds

_BURST: Final = 10


def _check_limit(_: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if isinstance(value, bool) or not (isinstance(value, int) or value == math.inf):
        raise TypeError(f"{field.name} must be an int, not {type(value).__name__}")
    if value < 2:
        # A limit of 1 would leave no room for the time that each request takes to arrive.
        raise ValueError(f"{field.name} must be 2 or more; with 2, one request is sent in each `per` seconds")
    if sys.float_info.max < value < math.inf:
        raise ValueError(f"{field.name} must be less, or math.inf")


def _check_burst(limit: "RateLimit", field: "attrs.Attribute[int]", value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{field.name} must be an int, not {type(value).__name__}")
    if not 1 <= value < limit.limit:
        raise ValueError(f"{field.name} must be 1 or more, and less than limit")


def _check_per(_: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    check_seconds(field.name, value, above_zero=True)


def _default_burst(limit: "RateLimit") -> int:
    # What `limit` must be is checked after the defaults are set.
    is_small = isinstance(limit.limit, int) and limit.limit <= _BURST
    return max(1, int(limit.limit) - 1) if is_small else _BURST


@attrs.frozen
class RateLimit:
    """How many requests a tenant may send: by default the 60 per minute that the API documents.

    After a pause `burst` requests may go at once, and the rest follow at `limit - burst` per `per` seconds. So no more
    than `limit` fall into any `per` seconds, by whatever kind of window the server counts. Only token requests may come
    in addition: they go ahead, and those that come later pay for them.

    Raises:
        ValueError: If a field is out of its range; the message names it.
        TypeError: If a field is of another type.
    """

    limit: float = attrs.field(default=60, validator=_check_limit)
    """Requests, 2 or more: everything that is sent counts, retries, replays and token requests included."""
    per: float = attrs.field(default=60, validator=_check_per)
    """Seconds."""
    burst: int = attrs.field(default=attrs.Factory(_default_burst, takes_self=True), validator=_check_burst)
    """Requests at once, after a pause; by default 10, or `limit - 1` where that is less. The smaller, the nearer the
    steady pace comes to `limit`: 1 suits bulk jobs."""

    interval: float = attrs.field(init=False, repr=False, eq=False)
    """Seconds between two requests, once the burst is used up."""
    tolerance: float = attrs.field(init=False, repr=False, eq=False)
    """Seconds by which the burst may run ahead of that."""

    def __attrs_post_init__(self) -> None:
        interval = self.per / (self.limit - self.burst)
        object.__setattr__(self, "interval", interval)
        object.__setattr__(self, "tolerance", interval * (self.burst - 1))

    @classmethod
    def unlimited(cls) -> Self:
        """Return the limit that keeps no pace. A `Retry-After` of the server is honoured all the same."""
        return cls(limit=math.inf, burst=1)
