"""Time as this package reads it, in one object that tests replace.

It knows nothing of requests.
"""

import time


class Clock:
    """The two clocks a client needs. Subclass it to run on a time of your own."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; for everything that lasts or expires."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since 1970 in UTC; only for dates that a server wrote."""
        return time.time()
