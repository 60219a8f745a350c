"""What the sandbox answered: the latest requests one by one, and counts of all of them.

It knows no bodies and no headers, so nothing private can be kept here.
"""

from collections import Counter, deque
from typing import Final, Literal

from attrs import frozen

Operation = Literal["create", "delete", "get", "preview", "token", "unknown", "update"]
"""What a request asked for; "unknown" when no operation has its path and method."""

_KEPT_ENTRIES: Final = 10_000


@frozen(kw_only=True)
class LoggedRequest:
    """One answered request."""

    method: str
    operation: Operation
    tenant: str
    """First path segment, percent-decoded; empty when there is none or it is not UTF-8."""
    status: int
    request_id: str
    """The answer's `x-request-id`, which is also the `traceId` of a problem."""


class RequestLog:
    """The latest answered requests, and a count of every one since the sandbox was made.

    A request is recorded when its status is known, before the answer is written: whoever has read an answer finds it
    counted, and so is an answer nobody waited for.
    """

    def __init__(self, *, keep: int = _KEPT_ENTRIES) -> None:
        self._latest: deque[LoggedRequest] = deque(maxlen=keep)
        self._counts: Counter[tuple[Operation, str, int]] = Counter()

    @property
    def entries(self) -> tuple[LoggedRequest, ...]:
        """A snapshot of the latest requests, oldest first: 10,000 at most, unless the log was made to keep others."""
        return tuple(self._latest)

    def record(self, entry: LoggedRequest) -> None:
        """Count the request and keep its entry, dropping the oldest one when full."""
        self._latest.append(entry)
        self._counts[entry.operation, entry.tenant, entry.status] += 1

    def count(self, *, operation: Operation | None = None, tenant: str | None = None, status: int | None = None) -> int:
        """Count the requests that match every filter given, entries dropped since included."""
        return sum(
            times
            for (its_operation, its_tenant, its_status), times in self._counts.items()
            if operation in (None, its_operation) and tenant in (None, its_tenant) and status in (None, its_status)
        )
