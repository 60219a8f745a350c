"""`RateLimit`: how many requests a tenant may send in a period, and how many of them at once."""

import math
import sys
from typing import Final, Self

import attrs

from connector_async._checks import check_int, check_seconds, validator
from connector_async.exceptions import InvalidArgumentError

_BURST: Final = 10


def _check_limit(name: str, value: float) -> None:
    if value == math.inf:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int or math.inf, not {type(value).__name__}")
    if value < 2:
        # A limit of 1 would leave no room for the time that each request takes to arrive.
        raise InvalidArgumentError(
            f"{name} must be 2 or more; with 2, one request is sent in each `per` seconds", argument=name
        )
    if value > sys.float_info.max:
        raise InvalidArgumentError(f"{name} must fit in a float; use math.inf for no limit", argument=name)


def _default_burst(limit: "RateLimit") -> int:
    # attrs calls this before it checks `limit`, which may be of any type.
    is_small = isinstance(limit.limit, int) and limit.limit <= _BURST
    return max(1, int(limit.limit) - 1) if is_small else _BURST


@attrs.frozen
class RateLimit:
    """How many requests a tenant may send: by default the 60 per minute that the API documents.

    After a pause, `burst` requests may be sent at once, and the rest follow at `limit - burst` per `per` seconds. So no
    `per` seconds have more than `limit` requests, whatever kind of window the server counts by. Only token requests may
    exceed that: they are sent ahead, and later slots are delayed for them.

    Raises:
        ValueError: If a field is out of range. The message names the field.
        TypeError: If a field has another type. The message names the field.
    """

    limit: float = attrs.field(default=60, validator=validator(_check_limit))
    """Requests, 2 or more. Every request counts, including retries, replays after a 401, and token requests."""
    per: float = attrs.field(default=60, validator=validator(check_seconds, above_zero=True))
    """Seconds."""
    burst: int = attrs.field(default=attrs.Factory(_default_burst, takes_self=True), validator=validator(check_int))
    """Requests at once after a pause, less than `limit`. The default is 10, or `limit - 1` if that is less. The smaller
    the burst, the closer the steady pace is to `limit`: 1 suits bulk jobs."""

    interval: float = attrs.field(init=False, repr=False, eq=False)
    """Seconds between two slots once the burst is used up."""
    tolerance: float = attrs.field(init=False, repr=False, eq=False)
    """Seconds by which the slots of a burst may come early."""

    def __attrs_post_init__(self) -> None:
        if self.burst >= self.limit:
            raise InvalidArgumentError("burst must be less than limit", argument="burst")
        interval = self.per / (self.limit - self.burst)
        object.__setattr__(self, "interval", interval)
        object.__setattr__(self, "tolerance", interval * (self.burst - 1))

    @classmethod
    def unlimited(cls) -> Self:
        """Return a limit that delays nothing. A `Retry-After` of the server is honored all the same."""
        return cls(limit=math.inf, burst=1)
