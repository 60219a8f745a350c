"""How the requests of one tenant were spread over the time of a run, in a bounded number of intervals."""

from typing import Final

import attrs

MOST_INTERVALS: Final = 120


@attrs.define
class RequestTimeline:
    """Counts of requests in intervals of equal length. When there are too many, their length is doubled."""

    started_at: float | None = None
    """The start of the first interval, in seconds since 1970 in UTC; `None` without any requests."""
    interval: float = 1.0
    """The length of each interval in seconds."""
    requests: list[int] = attrs.field(factory=list)
    """The number of requests in each interval."""
    limit: tuple[float, float] | None = None
    """The rate limit: the number of requests, and the seconds of its period; `None`: not known, or no limit."""

    def add(self, seconds: float, requests: int) -> None:
        """Count requests that were sent a number of seconds after `started_at`."""
        while seconds >= self.interval * MOST_INTERVALS:
            self.interval *= 2
            self.requests = [sum(self.requests[index : index + 2]) for index in range(0, len(self.requests), 2)]
        index = int(seconds / self.interval)
        self.requests += [0] * (index + 1 - len(self.requests))
        self.requests[index] += requests
